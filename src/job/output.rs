//! `[output]`: what a run prints.

use toml::Table;

use super::JobError;
use super::section::Section;
use super::table::{JobTable, table};

/// `[output]`: what a run prints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// `output.timing`: whether the run prints at its end where the time of a slot went, rank by rank. False by default.
    pub timing: bool,
}

impl JobTable for Output {
    const KEY: &'static str = "output";

    fn read(section: &Section<'_>) -> Result<Self, JobError> {
        let timing = section.boolean("timing")?.unwrap_or(false);
        section.finish()?;
        Ok(Self { timing })
    }

    fn write(&self) -> Table {
        table([("timing", self.timing.into())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::tests::{JOB, parse, refused};

    #[test]
    fn every_key_has_its_default_and_is_written_as_it_is_read() {
        assert_eq!(parse(JOB, &[]).unwrap().output, Output { timing: false });
        let job = parse(JOB, &["output.timing=true"]).unwrap();
        assert_eq!(job.output, Output { timing: true });
        assert_eq!(parse(&job.to_toml(), &[]).unwrap(), job);
        assert!(refused(JOB, &["output.timings=true"]).contains("did you mean `timing`?"));
        assert!(refused(JOB, &["output.timing=1"]).contains("true or false"));
    }
}
