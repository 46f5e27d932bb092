//! `train.optimizer` and `train.clip`: how parameters follow their gradients.

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::JobError;
use super::section::Section;
use super::table::{JobTable, exact, put, table};

/// The key under which the optimizer stands in `[train]`.
const KEY: &str = "optimizer";

/// `train.optimizer` and `train.clip`: what a stage's parameters do with the sum of their gradients. The learning rate is no part of
/// it: it comes with each step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Optimizer {
    /// `kind` and its keys: how a parameter follows its gradient. SGD without momentum by default.
    pub rule: Rule,
    /// `weight_decay`: the L2 penalty, or, where [`Rule::Adam`] is `decoupled`, what is taken off the parameters themselves. 0 or
    /// above. By default 0.01 for `adamw`, else 0.
    pub weight_decay: f32,
    /// `train.clip`: the bound on the gradients. `None`, the default: there is no bound.
    pub clip: Option<Clip>,
}

/// `train.optimizer.kind`: how a parameter w follows its gradient g.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Rule {
    /// `sgd`: `v = momentum v + g; w = w - rate v`, as PyTorch has it.
    Sgd {
        /// `momentum`: from 0 up to, not including, 1. 0, the default, keeps no velocity v.
        momentum: f32,
        /// `nesterov`: whether `w = w - rate (g + momentum v)` instead, which needs momentum. False by default.
        nesterov: bool,
    },
    /// `adam` and `adamw`: Adam (Kingma and Ba, 2015), its algorithm 1.
    Adam {
        /// `betas`: how slowly the means of g and of its square follow, each from 0 up to, not including, 1. 0.9 and 0.999 by
        /// default.
        betas: [f64; 2],
        /// `eps`: what is added to the root of the mean square, above 0. 1e-8 by default.
        eps: f32,
        /// Whether weight decay is no part of the gradient (`adamw`; Loshchilov and Hutter, 2019).
        decoupled: bool,
    },
}

/// `train.clip`: a bound on a stage's gradients, which holds before anything else is made of them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Clip {
    /// `value`: each value of a gradient lies between minus this number and this number, which is above 0.
    Value(f32),
    /// `norm`: all gradients of the stage are scaled down so that their norm together is at most this number, which is above 0.
    Norm(f32),
}

/// What errors expect where a number must pass [`is_part`].
const PART: &str = "a part from 0 up to, not including, 1";

/// Whether a number lies from 0 up to, not including, 1.
fn is_part(number: f64) -> bool {
    (0.0..1.0).contains(&number)
}

/// Whether a number is above 0, and finite.
fn is_size(number: f32) -> bool {
    number > 0.0 && number.is_finite()
}

/// Whether a number is 0 or above, and finite.
fn is_decay(number: f32) -> bool {
    number >= 0.0 && number.is_finite()
}

impl Optimizer {
    /// Stochastic gradient descent with this momentum, without weight decay and without a bound on gradients.
    pub fn sgd(momentum: f32) -> Self {
        Self { rule: Rule::Sgd { momentum, nesterov: false }, weight_decay: 0.0, clip: None }
    }

    /// Whether all numbers are such as a job may name. A rank asks this of an optimizer out of a package. In a job that has been read,
    /// they are.
    pub fn fits(&self) -> bool {
        let rule = match self.rule {
            Rule::Sgd { momentum, nesterov } => is_part(momentum.into()) && !(nesterov && momentum == 0.0),
            Rule::Adam { betas, eps, .. } => betas.into_iter().all(is_part) && is_size(eps),
        };
        let clip = match self.clip {
            None => true,
            Some(Clip::Value(most) | Clip::Norm(most)) => is_size(most),
        };
        rule && clip && is_decay(self.weight_decay)
    }

    /// How many values are kept from step to step for each value of a parameter: 0, 1 or 2.
    pub fn state(&self) -> u64 {
        match self.rule {
            Rule::Sgd { momentum: 0.0, .. } => 0,
            Rule::Sgd { .. } => 1,
            Rule::Adam { .. } => 2,
        }
    }

    /// Reads the optimizer and the bound on gradients that stand in `train`. Returns them with the learning rate, which is a key of the
    /// optimizer's table.
    ///
    /// # Errors
    /// A word that is no optimizer, a key that the optimizer does not know, a value out of its range, or values that do not go
    /// together.
    pub(super) fn read_from(train: &Section<'_>) -> Result<(Self, f32), JobError> {
        #[derive(Clone, Copy)]
        enum OptimizerKind {
            Sgd,
            Adam { decoupled: bool },
        }
        let kinds = [
            ("sgd", OptimizerKind::Sgd),
            ("adam", OptimizerKind::Adam { decoupled: false }),
            ("adamw", OptimizerKind::Adam { decoupled: true }),
        ];
        let clip = Option::<Clip>::read_from(train)?;
        let (kind, section) = train.kind(KEY, &kinds)?;
        let kind = kind.unwrap_or(OptimizerKind::Sgd);
        let lr = section.number("lr", "a learning rate above 0", |lr| is_size(lr as f32))?;
        let decay = section.number("weight_decay", "a number of 0 or above", |decay| is_decay(decay as f32))?;
        let (rule, usual_lr, usual_decay) = match kind {
            OptimizerKind::Sgd => {
                let momentum = section.number("momentum", PART, |momentum| is_part((momentum as f32).into()))?;
                let momentum = momentum.unwrap_or(0.0) as f32;
                let nesterov = section.boolean("nesterov")?.unwrap_or(false);
                if nesterov && momentum == 0.0 {
                    let (problem, fix) =
                        ("nesterov = true without momentum", "set momentum = 0.9, or leave `nesterov` out");
                    return Err(section.conflict("nesterov", problem, fix));
                }
                (Rule::Sgd { momentum, nesterov }, 0.1, 0.0)
            }
            OptimizerKind::Adam { decoupled } => {
                let betas = section.numbers("betas", 2, "two parts from 0 up to, not including, 1", is_part)?;
                let betas = betas.map_or([0.9, 0.999], |betas| [betas[0], betas[1]]);
                let eps = section.number("eps", "a small number above 0", |eps| is_size(eps as f32))?;
                let rule = Rule::Adam { betas, eps: eps.map_or(1e-8, |eps| eps as f32), decoupled };
                (rule, 1e-3, if decoupled { 0.01 } else { 0.0 })
            }
        };
        section.finish()?;
        let weight_decay = decay.unwrap_or(usual_decay) as f32;
        Ok((Self { rule, weight_decay, clip }, lr.unwrap_or(usual_lr) as f32))
    }

    /// Puts the table of the optimizer, with the learning rate `lr`, and the bound on gradients into `train`.
    pub(super) fn write_into(&self, train: &mut Table, lr: f32) {
        let mut keys = match self.rule {
            Rule::Sgd { momentum, nesterov } => {
                table([("kind", "sgd".into()), ("momentum", exact(momentum)), ("nesterov", nesterov.into())])
            }
            Rule::Adam { betas, eps, decoupled } => table([
                ("kind", if decoupled { "adamw" } else { "adam" }.into()),
                ("betas", betas.map(Value::from).to_vec().into()),
                ("eps", exact(eps)),
            ]),
        };
        put(&mut keys, "lr", exact(lr));
        put(&mut keys, "weight_decay", exact(self.weight_decay));
        put(train, KEY, keys);
        self.clip.write_into(train);
    }
}

impl JobTable for Option<Clip> {
    const KEY: &'static str = "clip";

    fn read(section: &Section<'_>) -> Result<Self, JobError> {
        const BOUND: &str = "a bound above 0";
        let value = section.number("value", BOUND, |most| is_size(most as f32))?;
        let norm = section.number("norm", BOUND, |most| is_size(most as f32))?;
        section.finish()?;
        match (value, norm) {
            (None, None) => Ok(None),
            (Some(most), None) => Ok(Some(Clip::Value(most as f32))),
            (None, Some(most)) => Ok(Some(Clip::Norm(most as f32))),
            (Some(_), Some(_)) => {
                Err(section.conflict("norm", "train.clip has both value and norm", "keep one of them"))
            }
        }
    }

    fn write(&self) -> Table {
        match *self {
            None => Table::new(),
            Some(Clip::Value(most)) => table([("value", exact(most))]),
            Some(Clip::Norm(most)) => table([("norm", exact(most))]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::tests::{JOB, parse, refused};

    /// A `--set` of an optimizer with these keys.
    fn optimizer(keys: &str) -> String {
        format!("train.optimizer={{ {keys} }}")
    }

    #[test]
    fn every_key_has_its_default_and_is_written_as_it_is_read() {
        let sgd = |momentum, nesterov| Rule::Sgd { momentum, nesterov };
        let adam = |decoupled| Rule::Adam { betas: [0.9, 0.999], eps: 1e-8, decoupled };
        let other = Rule::Adam { betas: [0.5, 0.25], eps: 0.5, decoupled: true };
        for (keys, rule, weight_decay, lr) in [
            ("", sgd(0.0, false), 0.0, 0.1),
            ("kind = \"sgd\", momentum = 0.5, nesterov = true, lr = 2", sgd(0.5, true), 0.0, 2.0),
            ("kind = \"adam\"", adam(false), 0.0, 1e-3),
            ("kind = \"adam\", weight_decay = 0.25", adam(false), 0.25, 1e-3),
            ("kind = \"adamw\"", adam(true), 0.01, 1e-3),
            ("kind = \"adamw\", betas = [0.5, 0.25], eps = 0.5, weight_decay = 0", other, 0.0, 1e-3),
        ] {
            let job = parse(JOB, &[&optimizer(keys)]).unwrap();
            assert_eq!(job.train.optimizer, Optimizer { rule, weight_decay, clip: None }, "{keys}");
            assert_eq!(job.train.rate.peak, lr, "{keys}");
            assert_eq!(parse(&job.to_toml(), &[]).unwrap(), job, "{keys}");
        }
        for (keys, clip) in
            [("{}", None), ("{ norm = 1 }", Some(Clip::Norm(1.0))), ("{ value = 0.5 }", Some(Clip::Value(0.5)))]
        {
            let job = parse(JOB, &[&format!("train.clip={keys}")]).unwrap();
            assert_eq!(job.train.optimizer.clip, clip, "{keys}");
            assert_eq!(parse(&job.to_toml(), &[]).unwrap(), job, "{keys}");
        }
    }

    #[test]
    fn what_is_out_of_its_range_is_refused() {
        for (set, words) in [
            (optimizer("kind = \"adam\", momentum = 0.9"), "unknown key `momentum`"),
            (optimizer("kind = \"sgd\", betas = [0.9, 0.9]"), "unknown key `betas`"),
            (optimizer("kind = \"lion\""), "\"sgd\" or \"adam\" or \"adamw\""),
            (optimizer("kind = \"adam\", betas = [0.9, 1.0]"), "two parts from 0 up to, not including, 1"),
            (optimizer("kind = \"adam\", betas = [0.9]"), "two parts from 0 up to, not including, 1"),
            (optimizer("kind = \"adam\", eps = 0"), "a small number above 0"),
            (optimizer("momentum = 1"), "a part from 0 up to, not including, 1"),
            (optimizer("nesterov = true"), "nesterov = true without momentum; set momentum = 0.9"),
            (optimizer("lr = 0"), "a learning rate above 0"),
            (optimizer("weight_decay = -0.1"), "a number of 0 or above"),
            ("train.clip={ value = 1, norm = 1 }".to_owned(), "both value and norm; keep one of them"),
            ("train.clip={ norm = 0 }".to_owned(), "a bound above 0"),
            ("train.clip={ norms = 1 }".to_owned(), "did you mean `norm`?"),
        ] {
            let found = refused(JOB, &[&set]);
            assert!(found.contains(words), "{set}: {found}");
        }
    }
}
