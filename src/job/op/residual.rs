//! `{ op = "residual", ops = [...] }`: operations with a way around them.

use std::cell::Cell;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use toml::{Table, Value as Toml};

use super::{Misfit, Op, Read, Spec, put};
use crate::job::JobError;
use crate::job::section::Section;
use crate::job::shape::Shape;

/// The most residual operations within each other. A package of more is refused before reading it fills the stack.
pub(super) const DEEPEST: usize = 8;

/// `y = x + f(x)`, where f are operations, one behind the other. What comes out of them has the shape of x.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Residual {
    /// `ops`: the operations of f in order, one or more. They have no default.
    #[serde(deserialize_with = "not_too_deep")]
    pub ops: Vec<Op>,
}

/// Reads the operations within a residual operation of a package.
///
/// # Errors
/// Any error of the format, and where more than [`DEEPEST`] residual operations stand within each other.
fn not_too_deep<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Op>, D::Error> {
    thread_local! {
        static DEPTH: Cell<usize> = const { Cell::new(0) };
    }
    if DEPTH.get() >= DEEPEST {
        return Err(D::Error::custom("residual operations stand too deep within each other"));
    }
    DEPTH.set(DEPTH.get() + 1);
    let ops = Vec::deserialize(from);
    DEPTH.set(DEPTH.get() - 1);
    ops
}

impl Residual {
    /// The shapes of a sample that go into each of the operations, and of what comes out of the last one, where `input` goes in.
    ///
    /// # Errors
    /// [`Misfit`] of the first operation that does not take what it gets.
    pub fn shapes(&self, input: &Shape) -> Result<Vec<Shape>, Misfit> {
        let mut shapes = vec![input.clone()];
        for op in &self.ops {
            let output = op.output(&shapes[shapes.len() - 1])?;
            shapes.push(output);
        }
        Ok(shapes)
    }
}

impl Read for Residual {
    const WORDS: &'static [&'static str] = &["residual"];

    fn read(_word: &str, section: &Section<'_>) -> Result<Self, JobError> {
        const OPS: &str = "a list of one or more operations";
        let found = section.list("ops", OPS)?;
        let found = section.required("ops", found, OPS)?;
        match section.get("ops") {
            Some(node) if found.is_empty() => Err(section.wrong("ops", node, OPS)),
            _ => Ok(Self { ops: found.iter().map(super::read).collect::<Result<_, _>>()? }),
        }
    }
}

impl Spec for Residual {
    fn word(&self) -> &'static str {
        Self::WORDS[0]
    }

    fn write(&self, keys: &mut Table) {
        put(keys, "ops", self.ops.iter().map(super::write).collect::<Vec<Toml>>());
    }

    fn fits(&self) -> bool {
        !self.ops.is_empty() && self.ops.iter().all(Op::fits)
    }

    fn output(&self, input: &Shape) -> Result<Shape, Misfit> {
        let within = |misfit: Misfit| Misfit { problem: format!("in `residual`, {}", misfit.problem), ..misfit };
        let shapes = self.shapes(input).map_err(within)?;
        let output = &shapes[shapes.len() - 1];
        if output == input {
            return Ok(input.clone());
        }
        let fix = match output.dims().len() == input.dims().len() {
            true => "let them keep the shape, with `padding` and `out`".to_owned(),
            false => format!(
                "let them give {} values, and end in {{ op = \"reshape\", shape = {:?} }}",
                input.values(),
                input.dims()
            ),
        };
        Err(Misfit { problem: format!("`residual` gets {input}, but its operations make {output} of it"), fix })
    }

    fn fewest(&self, input: &Shape) -> u32 {
        let shapes = self.shapes(input).unwrap_or_default();
        self.ops.iter().zip(&shapes).map(|(op, input)| op.fewest(input)).max().unwrap_or(1)
    }
}
