//! `train.schedule`: how the learning rate changes.

use toml::{Table, Value};

use super::JobError;
use super::section::Section;
use super::table::{exact, put, table};

/// The key under which the schedule stands in `[train]`.
const KEY: &str = "schedule";

/// `train.optimizer.lr` and `train.schedule`: the learning rate, and how it changes over a run.
#[derive(Clone, Debug, PartialEq)]
pub struct LearningRate {
    /// `train.optimizer.lr`: the rate behind the warm-up, above 0.
    pub peak: f32,
    /// `warmup`: the steps at the start in which the rate rises evenly from `peak / warmup` to `peak`, up to 10^9. 0 by default, and with
    /// [`Decay::OneCycle`], which rises by itself.
    pub warmup: u32,
    /// `kind` and its keys: how the rate falls behind the warm-up. It stays as it is by default.
    pub decay: Decay,
}

/// `train.schedule.kind`: how the learning rate falls behind the warm-up.
#[derive(Clone, Debug, PartialEq)]
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
    /// `milestones`: the rate is multiplied by `factor` behind each of the epochs `at` (PyTorch's `MultiStepLR`).
    Milestones {
        /// `at`: the epochs behind which the rate falls, from 1 to 1,000,000, ascending, at most 64 of them. It has no default.
        at: Vec<u32>,
        /// `factor`: what the rate is multiplied by, above 0 and up to 1. 0.1 by default.
        factor: f32,
    },
    /// `linear`: the rate falls by as much in each step behind the warm-up, down to `least`.
    Linear {
        /// `least`: the rate that the last step comes near to, from 0 to the peak. 0 by default.
        least: f32,
    },
    /// `polynomial`: the rate follows (1 - done)^power over all steps behind the warm-up, down to `least` (PyTorch's `PolynomialLR`).
    Polynomial {
        /// `power`: the exponent, above 0 and up to 100. 1 by default, as in a straight line.
        power: f32,
        /// `least`: the rate that the last step comes near to, from 0 to the peak. 0 by default.
        least: f32,
    },
    /// `one_cycle`: the rate rises along half a cosine from the peak divided by `from`, and falls along another one to that start
    /// divided by `to` (PyTorch's `OneCycleLR` without cycling momentum).
    OneCycle {
        /// `rise`: the share of all steps in which the rate rises, above 0 and below 1. 0.3 by default.
        rise: f32,
        /// `from`: what the peak is divided by at the start, from 1 to 10^9. 25 by default.
        from: f32,
        /// `to`: what the start is divided by at the end, from 1 to 10^9. 10,000 by default.
        to: f32,
    },
    /// `cosine`: the rate follows half a cosine over all steps behind the warm-up, down to `least` (Loshchilov and Hutter, 2017,
    /// without restarts).
    Cosine {
        /// `least`: the rate that the last step comes near to, from 0 to the peak. 0 by default.
        least: f32,
    },
}

impl Decay {
    /// All kinds with the defaults of their keys, in the order in which errors list them. Epochs have none: they must be named.
    const ALL: [Self; 7] = [
        Self::Constant,
        Self::Step { every: 1, factor: 0.1 },
        Self::Milestones { at: Vec::new(), factor: 0.1 },
        Self::Linear { least: 0.0 },
        Self::Polynomial { power: 1.0, least: 0.0 },
        Self::Cosine { least: 0.0 },
        Self::OneCycle { rise: 0.3, from: 25.0, to: 10_000.0 },
    ];

    /// The word for the kind in a job.
    fn name(&self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::Step { .. } => "step",
            Self::Milestones { .. } => "milestones",
            Self::Linear { .. } => "linear",
            Self::Polynomial { .. } => "polynomial",
            Self::Cosine { .. } => "cosine",
            Self::OneCycle { .. } => "one_cycle",
        }
    }

    /// Whether the rates depend on how many steps a run has in all.
    pub fn spans_the_run(&self) -> bool {
        match self {
            Self::Constant | Self::Step { .. } | Self::Milestones { .. } => false,
            Self::Linear { .. } | Self::Polynomial { .. } | Self::Cosine { .. } | Self::OneCycle { .. } => true,
        }
    }
}

impl LearningRate {
    /// Reads the schedule that stands in `train`, as a word or as a table, for a rate that starts at `peak`.
    ///
    /// # Errors
    /// A word that is no kind, a key that the kind does not know or lacks, or a value out of its range.
    pub(super) fn read_from(train: &Section<'_>, peak: f32) -> Result<Self, JobError> {
        const AT: &str =
            "1 to 64 epochs from 1 to 1000000, ascending, as in schedule = { kind = \"milestones\", at = [30, 60] }";
        const EVERY: &str = "epochs between two falls of the rate, as in schedule = { kind = \"step\", every = 10 }";
        let (kind, section) = train.kind(KEY, &Decay::ALL.map(|decay| (decay.name(), decay)))?;
        let mut decay = kind.unwrap_or(Decay::Constant);
        // Sets `to` to the number under `key`, if there is one.
        let set = |to: &mut f32, key, expected: &str, fits: &dyn Fn(f32) -> bool| {
            *to = section.number(key, expected, |number| fits(number as f32))?.map_or(*to, |number| number as f32);
            Ok::<_, JobError>(())
        };
        let fall =
            |to: &mut f32| set(to, "factor", "a factor above 0 and up to 1", &|factor| factor > 0.0 && factor <= 1.0);
        let bottom = |to: &mut f32| {
            set(to, "least", &format!("a rate from 0 to the learning rate, {peak}"), &|least| {
                (0.0..=peak).contains(&least)
            })
        };
        match &mut decay {
            Decay::Constant => {}
            Decay::Step { every, factor } => {
                let found = section.integer("every", 1..=1_000_000)?;
                *every = section.required("every", found, EVERY)?;
                fall(factor)?;
            }
            Decay::Milestones { at, factor } => {
                let found = section.integers("at", 1..=64, 1..=1_000_000, AT)?;
                *at = section.required("at", found, AT)?;
                if !at.is_sorted_by(|one, next| one < next) {
                    return Err(section.unfit("at", format!("{at:?}"), AT));
                }
                fall(factor)?;
            }
            Decay::Linear { least } | Decay::Cosine { least } => bottom(least)?,
            Decay::Polynomial { power, least } => {
                set(power, "power", "an exponent above 0 and up to 100", &|power| power > 0.0 && power <= 100.0)?;
                bottom(least)?;
            }
            Decay::OneCycle { rise, from, to } => {
                set(rise, "rise", "a share of all steps above 0 and below 1", &|rise| rise > 0.0 && rise < 1.0)?;
                for (divisor, key) in [(from, "from"), (to, "to")] {
                    set(divisor, key, "a divisor from 1 to 1000000000", &|by| (1.0..=1e9).contains(&by))?;
                }
            }
        }
        // What rises by itself knows no warm-up.
        let rises = matches!(decay, Decay::OneCycle { .. });
        let warmup = if rises { None } else { section.integer("warmup", 0..=1_000_000_000)? };
        let warmup = warmup.unwrap_or(0);
        section.finish()?;
        Ok(Self { peak, warmup, decay })
    }

    /// Puts the table of the schedule into `train`. The optimizer writes the rate itself.
    pub(super) fn write_into(&self, train: &mut Table) {
        let mut keys = table([("kind", self.decay.name().into())]);
        if !matches!(self.decay, Decay::OneCycle { .. }) {
            put(&mut keys, "warmup", i64::from(self.warmup));
        }
        match &self.decay {
            Decay::Constant => {}
            Decay::Step { every, factor } => {
                put(&mut keys, "every", i64::from(*every));
                put(&mut keys, "factor", exact(*factor));
            }
            Decay::Milestones { at, factor } => {
                put(&mut keys, "at", at.iter().map(|epoch| i64::from(*epoch).into()).collect::<Vec<Value>>());
                put(&mut keys, "factor", exact(*factor));
            }
            Decay::Linear { least } | Decay::Cosine { least } => put(&mut keys, "least", exact(*least)),
            Decay::Polynomial { power, least } => {
                put(&mut keys, "power", exact(*power));
                put(&mut keys, "least", exact(*least));
            }
            Decay::OneCycle { rise, from, to } => {
                for (key, number) in [("rise", rise), ("from", from), ("to", to)] {
                    put(&mut keys, key, exact(*number));
                }
            }
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
        let milestones = |at: &[u32], factor| Decay::Milestones { at: at.to_vec(), factor };
        assert_eq!(rate("{ kind = \"milestones\", at = [3, 5] }"), (milestones(&[3, 5], 0.1), 0));
        assert_eq!(rate("{ kind = \"milestones\", at = 3, factor = 0.5, warmup = 2 }"), (milestones(&[3], 0.5), 2));
        assert_eq!(rate("{ kind = \"linear\", warmup = 2 }"), (Decay::Linear { least: 0.0 }, 2));
        assert_eq!(rate("polynomial"), (Decay::Polynomial { power: 1.0, least: 0.0 }, 0));
        let polynomial = Decay::Polynomial { power: 0.9, least: 0.01 };
        assert_eq!(rate("{ kind = \"polynomial\", power = 0.9, least = 0.01 }"), (polynomial, 0));
        assert_eq!(rate("one_cycle"), (Decay::OneCycle { rise: 0.3, from: 25.0, to: 10_000.0 }, 0));
        let cycle = Decay::OneCycle { rise: 0.5, from: 10.0, to: 100.0 };
        assert_eq!(rate("{ kind = \"one_cycle\", rise = 0.5, from = 10, to = 100 }"), (cycle, 0));
        assert_eq!(rate("{ kind = \"step\", every = 2, factor = 1, warmup = 4 }"), (step(2, 1.0), 4));
        let usual = parse(JOB, &[]).unwrap().train.rate;
        assert_eq!(usual, LearningRate { peak: 0.1, warmup: 0, decay: Decay::Constant });
    }

    #[test]
    fn what_is_out_of_its_range_is_refused() {
        for (text, words) in [
            (
                "straight",
                "expected \"constant\" or \"step\" or \"milestones\" or \"linear\" or \"polynomial\" or \"cosine\" or \"one_cycle\"",
            ),
            ("milestones", "lacks the key `at`: 1 to 64 epochs"),
            ("{ kind = \"milestones\", at = [5, 5] }", "1 to 64 epochs from 1 to 1000000, ascending"),
            ("{ kind = \"milestones\", at = [0] }", "1 to 64 epochs from 1 to 1000000, ascending"),
            ("{ kind = \"polynomial\", power = 0 }", "an exponent above 0 and up to 100"),
            ("{ kind = \"linear\", least = 0.2 }", "a rate from 0 to the learning rate, 0.1"),
            ("{ kind = \"one_cycle\", rise = 1 }", "a share of all steps above 0 and below 1"),
            ("{ kind = \"one_cycle\", from = 0.5 }", "a divisor from 1 to 1000000000"),
            ("{ kind = \"one_cycle\", warmup = 3 }", "unknown key `warmup`"),
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
