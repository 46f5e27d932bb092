//! `train.schedule`: how the learning rate changes.

use toml::Table;

use super::JobError;
use super::section::Section;
use super::table::{exact, put, table};

/// The key under which the schedule stands in `[train]`.
const KEY: &str = "schedule";

/// `train.optimizer.lr` and `train.schedule`: the learning rate, and how it changes over a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LearningRate {
    /// `train.optimizer.lr`: the rate behind the warm-up, above 0.
    pub peak: f32,
    /// `warmup`: the steps at the start in which the rate rises evenly from `peak / warmup` to `peak`, up to 10^9. 0 by default.
    pub warmup: u32,
    /// `kind` and its keys: how the rate falls behind the warm-up. It stays as it is by default.
    pub decay: Decay,
}

/// `train.schedule.kind`: how the learning rate falls behind the warm-up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Decay {
    /// `constant`: behind the warm-up, the rate stays as it is.
    Constant,
    /// `step`: the rate is multiplied by `factor` each time that `every` epochs are over.
    Step {
        /// `every`: the epochs between two falls, from 1 to 1,000,000. It has no default.
        every: u32,
        /// `factor`: what the rate is multiplied by, above 0 and up to 1. 0.1 by default.
        factor: f32,
    },
    /// `cosine`: the rate follows half a cosine over all steps behind the warm-up, down to `least` (Loshchilov and Hutter, 2017,
    /// without restarts).
    Cosine {
        /// `least`: the rate that the last step comes near to, from 0 to the peak. 0 by default.
        least: f32,
    },
}

impl Decay {
    /// All kinds with the defaults of their keys, in the order in which errors list them. The epochs of a step have none: they must
    /// be named.
    const ALL: [Self; 3] = [Self::Constant, Self::Step { every: 1, factor: 0.1 }, Self::Cosine { least: 0.0 }];

    /// The word for the kind in a job.
    fn name(self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::Step { .. } => "step",
            Self::Cosine { .. } => "cosine",
        }
    }
}

impl LearningRate {
    /// Reads the schedule that stands in `train`, as a word or as a table, for a rate that starts at `peak`.
    ///
    /// # Errors
    /// A word that is no kind, a key that the kind does not know or lacks, or a value out of its range.
    pub(super) fn read_from(train: &Section<'_>, peak: f32) -> Result<Self, JobError> {
        const EVERY: &str = "epochs between two falls of the rate, as in schedule = { kind = \"step\", every = 10 }";
        let (kind, section) = train.kind(KEY, &Decay::ALL.map(|decay| (decay.name(), decay)))?;
        let mut decay = kind.unwrap_or(Decay::Constant);
        match &mut decay {
            Decay::Constant => {}
            Decay::Step { every, factor } => {
                let found = section.integer("every", 1..=1_000_000)?;
                *every = section.required("every", found, EVERY)?;
                let found = section.number("factor", "a factor above 0 and up to 1", |factor| {
                    let factor = factor as f32;
                    factor > 0.0 && factor <= 1.0
                })?;
                *factor = found.map_or(*factor, |factor| factor as f32);
            }
            Decay::Cosine { least } => {
                let expected = format!("a rate from 0 to the learning rate, {peak}");
                let found = section.number("least", &expected, |least| (0.0..=peak).contains(&(least as f32)))?;
                *least = found.map_or(*least, |least| least as f32);
            }
        }
        let warmup = section.integer("warmup", 0..=1_000_000_000)?.unwrap_or(0);
        section.finish()?;
        Ok(Self { peak, warmup, decay })
    }

    /// Puts the table of the schedule into `train`. The optimizer writes the rate itself.
    pub(super) fn write_into(&self, train: &mut Table) {
        let mut keys = table([("kind", self.decay.name().into()), ("warmup", i64::from(self.warmup).into())]);
        match self.decay {
            Decay::Constant => {}
            Decay::Step { every, factor } => {
                put(&mut keys, "every", i64::from(every));
                put(&mut keys, "factor", exact(factor));
            }
            Decay::Cosine { least } => put(&mut keys, "least", exact(least)),
        }
        put(train, KEY, keys);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::tests::{JOB, parse, refused};

    #[test]
    fn a_schedule_is_a_word_or_a_table() {
        let rate = |text: &str| {
            let job = parse(JOB, &[&format!("train.schedule={text}")]).unwrap();
            assert_eq!(parse(&job.to_toml(), &[]).unwrap(), job, "{text}");
            assert_eq!(job.train.rate.peak, 0.1);
            (job.train.rate.decay, job.train.rate.warmup)
        };
        let step = |every, factor| Decay::Step { every, factor };
        assert_eq!(rate("constant"), (Decay::Constant, 0));
        assert_eq!(rate("{ warmup = 3 }"), (Decay::Constant, 3));
        assert_eq!(rate("cosine"), (Decay::Cosine { least: 0.0 }, 0));
        assert_eq!(rate("{ kind = \"cosine\", least = 0.01 }"), (Decay::Cosine { least: 0.01 }, 0));
        assert_eq!(rate("{ kind = \"step\", every = 10 }"), (step(10, 0.1), 0));
        assert_eq!(rate("{ kind = \"step\", every = 2, factor = 1, warmup = 4 }"), (step(2, 1.0), 4));
        let usual = parse(JOB, &[]).unwrap().train.rate;
        assert_eq!(usual, LearningRate { peak: 0.1, warmup: 0, decay: Decay::Constant });
    }

    #[test]
    fn what_is_out_of_its_range_is_refused() {
        for (text, words) in [
            ("linear", "expected \"constant\" or \"step\" or \"cosine\""),
            ("step", "lacks the key `every`: epochs between two falls of the rate"),
            ("{ kind = \"step\" }", "lacks the key `every`"),
            ("{ kind = \"step\", every = 0 }", "from 1 to 1000000"),
            ("{ kind = \"step\", every = 1, factor = 2 }", "a factor above 0 and up to 1"),
            ("{ kind = \"step\", every = 1, factor = 0 }", "a factor above 0 and up to 1"),
            ("{ kind = \"cosine\", least = 0.2 }", "a rate from 0 to the learning rate, 0.1"),
            ("{ every = 1 }", "unknown key `every`"),
            ("{ warmup = -1 }", "from 0 to 1000000000"),
        ] {
            let found = refused(JOB, &[&format!("train.schedule={text}")]);
            assert!(found.contains(words), "{text}: {found}");
        }
    }
}
