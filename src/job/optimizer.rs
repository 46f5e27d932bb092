//! `train.optimizer` and `train.clip`: how parameters follow their gradients.

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::JobError;
use super::keys::{exact, table};
use super::section::Section;

/// What a stage's parameters do with the sum of their gradients. The learning rate comes with each step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Optimizer {
    /// How a parameter follows.
    pub rule: Rule,
    /// L2 penalty, or what [`Rule::Adam`] takes off the parameters themselves where `decoupled`.
    pub weight_decay: f32,
    /// What becomes of gradients that are too large.
    pub clip: Option<Clip>,
}

/// How a parameter follows its gradient g.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Rule {
    /// `v = momentum v + g; w = w - rate v`, as PyTorch has it.
    Sgd {
        /// 0 keeps no velocity.
        momentum: f32,
        /// `w = w - rate (g + momentum v)` instead.
        nesterov: bool,
    },
    /// Adam (Kingma and Ba, 2015), its algorithm 1.
    Adam {
        /// How slowly the means of g and of its square follow.
        betas: [f64; 2],
        /// What is added to the root of the mean square.
        eps: f32,
        /// Whether weight decay is no part of the gradient: AdamW (Loshchilov and Hutter, 2019).
        decoupled: bool,
    },
}

/// A bound on a stage's gradients, before anything else is made of them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Clip {
    /// Each value lies between minus this and this.
    Value(f32),
    /// All gradients of the stage are scaled down so that their norm together is at most this.
    Norm(f32),
}

const PART: &str = "a part from 0 up to, not including, 1";

fn is_part(number: f64) -> bool {
    (0.0..1.0).contains(&number)
}

fn is_size(number: f32) -> bool {
    number > 0.0 && number.is_finite()
}

fn is_decay(number: f32) -> bool {
    number >= 0.0 && number.is_finite()
}

impl Optimizer {
    /// Stochastic gradient descent, nothing else.
    pub fn sgd(momentum: f32) -> Self {
        Self { rule: Rule::Sgd { momentum, nesterov: false }, weight_decay: 0.0, clip: None }
    }

    /// Whether its numbers are such as a job may name. A job's are; those of a package are looked at.
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

    /// Values kept for each value of a parameter, from step to step.
    pub fn state(&self) -> u64 {
        match self.rule {
            Rule::Sgd { momentum: 0.0, .. } => 0,
            Rule::Sgd { .. } => 1,
            Rule::Adam { .. } => 2,
        }
    }

    /// The table `train.optimizer`, with the rate at which it starts.
    pub(super) fn write(&self, lr: f32) -> Value {
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
        keys.extend([("lr".to_owned(), exact(lr)), ("weight_decay".to_owned(), exact(self.weight_decay))]);
        keys.into()
    }
}

impl Clip {
    /// The table `train.clip`.
    pub(super) fn write(self) -> Table {
        match self {
            Clip::Value(most) => table([("value", exact(most))]),
            Clip::Norm(most) => table([("norm", exact(most))]),
        }
    }
}

/// Reads the key `optimizer` of `train`, a word or a table: the optimizer, and the rate at which it starts.
pub(super) fn read(train: &Section<'_>, clip: Option<Clip>) -> Result<(Optimizer, f32), JobError> {
    #[derive(Clone, Copy)]
    enum Kind {
        Sgd,
        Adam { decoupled: bool },
    }
    let kinds =
        [("sgd", Kind::Sgd), ("adam", Kind::Adam { decoupled: false }), ("adamw", Kind::Adam { decoupled: true })];
    let (kind, section) = train.kind("optimizer", &kinds)?;
    let kind = kind.unwrap_or(Kind::Sgd);
    let lr = section.number("lr", "a learning rate above 0", |lr| is_size(lr as f32))?;
    let decay = section.number("weight_decay", "a number of 0 or above", |decay| is_decay(decay as f32))?;
    let (rule, usual_lr, usual_decay) = match kind {
        Kind::Sgd => {
            let momentum = section.number("momentum", PART, |momentum| is_part((momentum as f32).into()))?;
            let momentum = momentum.unwrap_or(0.0) as f32;
            let nesterov = section.boolean("nesterov")?.unwrap_or(false);
            if nesterov && momentum == 0.0 {
                return Err(JobError::Conflict {
                    at: section.at("nesterov"),
                    problem: "nesterov = true without momentum".to_owned(),
                    fix: "set momentum = 0.9, or leave `nesterov` out".to_owned(),
                });
            }
            (Rule::Sgd { momentum, nesterov }, 0.1, 0.0)
        }
        Kind::Adam { decoupled } => {
            let betas = section.numbers("betas", 2, "two parts from 0 up to, not including, 1", is_part)?;
            let betas = betas.map_or([0.9, 0.999], |betas| [betas[0], betas[1]]);
            let eps = section.number("eps", "a small number above 0", |eps| is_size(eps as f32))?;
            let rule = Rule::Adam { betas, eps: eps.map_or(1e-8, |eps| eps as f32), decoupled };
            (rule, 1e-3, if decoupled { 0.01 } else { 0.0 })
        }
    };
    section.finish()?;
    let weight_decay = decay.unwrap_or(usual_decay) as f32;
    Ok((Optimizer { rule, weight_decay, clip }, lr.unwrap_or(usual_lr) as f32))
}

/// Reads `train.clip`.
pub(super) fn read_clip(section: Section<'_>) -> Result<Option<Clip>, JobError> {
    const BOUND: &str = "a bound above 0";
    let value = section.number("value", BOUND, |most| is_size(most as f32))?;
    let norm = section.number("norm", BOUND, |most| is_size(most as f32))?;
    let at = section.at("norm");
    section.finish()?;
    match (value, norm) {
        (None, None) => Ok(None),
        (Some(most), None) => Ok(Some(Clip::Value(most as f32))),
        (None, Some(most)) => Ok(Some(Clip::Norm(most as f32))),
        (Some(_), Some(_)) => Err(JobError::Conflict {
            at,
            problem: "train.clip has both value and norm".to_owned(),
            fix: "keep one of them".to_owned(),
        }),
    }
}
