//! `[trust]`: which ranks the owner accepts.

use std::path::PathBuf;

use toml::Table;

use super::JobError;
use super::section::Section;
use super::table::{JobTable, put};

/// `[trust]`: which ranks the owner accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    /// `trust.ranks`: the file that lists the identities of the ranks that the owner accepts. `None`, the default: it accepts all.
    pub ranks: Option<PathBuf>,
}

impl JobTable for Trust {
    const KEY: &'static str = "trust";

    fn read(section: &Section<'_>) -> Result<Self, JobError> {
        const RANKS: &str =
            "the file that lists the identities of the ranks, a line each, as mixnn keygen prints them";
        let ranks = section.text("ranks", RANKS)?;
        if ranks == Some("") {
            return Err(section.unfit("ranks", "an empty string", RANKS));
        }
        section.finish()?;
        Ok(Self { ranks: ranks.map(PathBuf::from) })
    }

    fn write(&self) -> Table {
        let mut keys = Table::new();
        if let Some(ranks) = &self.ranks {
            put(&mut keys, "ranks", ranks.display().to_string());
        }
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::tests::{JOB, parse, refused};

    #[test]
    fn every_key_has_its_default_and_is_written_as_it_is_read() {
        let job = parse(JOB, &[]).unwrap();
        assert_eq!(job.trust, Trust { ranks: None });
        assert!(!job.to_toml().contains("[trust]"));
        let job = parse(JOB, &["trust.ranks=the ranks"]).unwrap();
        assert_eq!(job.trust, Trust { ranks: Some("the ranks".into()) });
        assert_eq!(parse(&job.to_toml(), &[]).unwrap(), job);
    }

    #[test]
    fn what_names_no_file_is_refused() {
        for (set, words) in [
            ("trust.ranks=\"\"", "`trust.ranks` is an empty string; expected the file that lists"),
            ("trust.ranks=1", "`trust.ranks` is the integer 1; expected the file that lists"),
            ("trust.rank=a", "did you mean `ranks`?"),
        ] {
            let found = refused(JOB, &[set]);
            assert!(found.starts_with(&format!("--set {set}: ")) && found.contains(words), "{found}");
        }
    }
}
