//! `relu`, `leaky_relu`, `tanh`, `sigmoid`, `gelu`, `silu`: a function of each value, under PyTorch's names and defaults.

use serde::{Deserialize, Serialize};
use toml::Table;

use super::{Misfit, Read, Spec, put, put_f32};
use crate::job::JobError;
use crate::job::section::Section;
use crate::job::shape::Shape;

/// A function of each value x. The shape stays the same.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Activation {
    /// `relu`: the larger one of x and 0.
    Relu,
    /// `leaky_relu`: x where it is above 0, else `negative_slope` times x.
    LeakyRelu {
        /// `negative_slope`: what x is multiplied by where it is below 0, any finite number. 0.01 by default.
        negative_slope: f32,
    },
    /// `tanh`: the hyperbolic tangent of x.
    Tanh,
    /// `sigmoid`: `1 / (1 + exp(-x))`.
    Sigmoid,
    /// `gelu`: x times the probability that a normally distributed number is below x.
    Gelu {
        /// `approximate`: whether a hyperbolic tangent stands for the error function (`"tanh"`). It does not by default (`"none"`).
        tanh: bool,
    },
    /// `silu`: `x / (1 + exp(-x))`.
    Silu,
}

impl Read for Activation {
    const WORDS: &'static [&'static str] = &["relu", "leaky_relu", "tanh", "sigmoid", "gelu", "silu"];

    fn read(word: &str, section: &Section<'_>) -> Result<Self, JobError> {
        Ok(match word {
            "leaky_relu" => {
                let slope = section.number("negative_slope", "a number", |slope| (slope as f32).is_finite())?;
                Self::LeakyRelu { negative_slope: slope.map_or(0.01, |slope| slope as f32) }
            }
            "tanh" => Self::Tanh,
            "sigmoid" => Self::Sigmoid,
            "gelu" => {
                let tanh = section.choice("approximate", &[("none", false), ("tanh", true)])?;
                Self::Gelu { tanh: tanh.unwrap_or(false) }
            }
            "silu" => Self::Silu,
            _ => Self::Relu,
        })
    }
}

impl Spec for Activation {
    fn word(&self) -> &'static str {
        match self {
            Self::Relu => "relu",
            Self::LeakyRelu { .. } => "leaky_relu",
            Self::Tanh => "tanh",
            Self::Sigmoid => "sigmoid",
            Self::Gelu { .. } => "gelu",
            Self::Silu => "silu",
        }
    }

    fn write(&self, keys: &mut Table) {
        match *self {
            Self::LeakyRelu { negative_slope } => put_f32(keys, "negative_slope", negative_slope),
            Self::Gelu { tanh } => put(keys, "approximate", if tanh { "tanh" } else { "none" }),
            Self::Relu | Self::Tanh | Self::Sigmoid | Self::Silu => {}
        }
    }

    fn fits(&self) -> bool {
        match self {
            Self::LeakyRelu { negative_slope } => negative_slope.is_finite(),
            _ => true,
        }
    }

    fn output(&self, input: &Shape) -> Result<Shape, Misfit> {
        Ok(input.clone())
    }
}
