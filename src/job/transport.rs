//! `[transport]`: how blocks of bytes are exchanged, and for how long a silent peer is waited for.

use std::time::Duration;

use toml::Table;

use super::JobError;
use super::duration::{LONGEST, duration};
use super::section::Section;
use super::table::{JobTable, table};

/// The longest `transport.timeout`: 366 days.
pub const LONGEST_TIMEOUT: Duration = LONGEST;

/// `[transport]`: how blocks of bytes are exchanged, and for how long a silent peer is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transport {
    /// `transport.timeout`: a peer that stays silent for so long ends the run. Whole milliseconds, from 1 ms to 366 days. 120 seconds
    /// by default.
    pub timeout: Duration,
    /// `transport.windows`: whether the ranks of one host exchange blocks through memory that they share. Otherwise every block is an
    /// MPI message. True by default.
    pub windows: bool,
}

impl JobTable for Transport {
    const KEY: &'static str = "transport";

    fn read(section: &Section<'_>) -> Result<Self, JobError> {
        const TIMEOUT: &str = "a time such as \"120s\", \"500ms\" or \"2m\"";
        let timeout = match section.text("timeout", TIMEOUT)? {
            None => Duration::from_secs(120),
            Some(text) => duration(text, Duration::from_millis(1))
                .ok_or_else(|| section.unfit("timeout", format!("{text:?}"), TIMEOUT))?,
        };
        let windows = section.boolean("windows")?.unwrap_or(true);
        section.finish()?;
        Ok(Self { timeout, windows })
    }

    fn write(&self) -> Table {
        table([("timeout", format!("{}ms", self.timeout.as_millis()).into()), ("windows", self.windows.into())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::tests::{JOB, parse, refused};

    #[test]
    fn every_key_has_its_default_and_is_written_as_it_is_read() {
        let due = Transport { timeout: Duration::from_secs(120), windows: true };
        assert_eq!(parse(JOB, &[]).unwrap().transport, due);
        let job = parse(JOB, &["transport={ timeout = \"250ms\", windows = false }"]).unwrap();
        assert_eq!(job.transport, Transport { timeout: Duration::from_millis(250), windows: false });
        assert_eq!(parse(&job.to_toml(), &[]).unwrap(), job);
        assert!(refused(JOB, &["transport.window=false"]).contains("did you mean `windows`?"));
    }

    /// The resolved job has whole milliseconds. So must the job that was read, else the two would differ.
    #[test]
    fn timeouts_are_whole_milliseconds() {
        for (written, read) in [("1.0005s", 1001), ("0.0001h", 360), ("1.4ms", 1), ("8784h", 31_622_400_000)] {
            let job = parse(JOB, &[&format!("transport.timeout=\"{written}\"")]).unwrap();
            assert_eq!(job.transport.timeout, Duration::from_millis(read), "{written}");
            assert_eq!(parse(&job.to_toml(), &[]).unwrap(), job, "{written}");
        }
        for written in ["0.4ms", "8785h", "1e3s", "1.2.3s", "s"] {
            assert!(refused(JOB, &[&format!("transport.timeout=\"{written}\"")]).contains("transport.timeout"));
        }
    }
}
