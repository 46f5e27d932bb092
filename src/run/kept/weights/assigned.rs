//! Which tensor of a file has become which parameter of a network, for a person to check.

use std::fmt::Write;

use serde::Serialize;

use crate::job::Op;

/// A tensor of a file, and the parameter that starts from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Assigned {
    /// The tensor's name in the file.
    pub tensor: String,
    /// The dimensions of the tensor, which are those of the parameter.
    pub shape: Vec<usize>,
    /// The parameter's name in the model.
    pub parameter: String,
    /// The name of the parameter's operation. Within a residual it follows the residual's name.
    pub operation: String,
    /// The number of the parameter's stage, from 1.
    pub stage: usize,
}

impl Assigned {
    /// A table in columns for a person: a head, and a line for each of `all`.
    pub fn table(all: &[Self]) -> String {
        let head = ["tensor", "parameter", "operation"].map(str::to_owned);
        let row = |one: &Self| {
            let [parameter, place] = one.place();
            [one.tensor.clone(), parameter, place]
        };
        columns(std::iter::once(head).chain(all.iter().map(row)).collect())
    }

    /// Where the parameter stands in the network: its name and shape, then its operation and stage.
    pub(in crate::run) fn place(&self) -> [String; 2] {
        let dims: Vec<String> = self.shape.iter().map(usize::to_string).collect();
        [format!("{} ({})", self.parameter, dims.join(", ")), format!("{}, stage {}", self.operation, self.stage)]
    }
}

/// The name of the operation that has the parameter `name`, where that is a parameter of `op` or, in a residual, of an
/// operation within.
pub(in crate::run) fn operation(op: &Op, name: &str) -> String {
    let inner = match op {
        Op::Residual(residual) => name
            .split_once('.')
            .and_then(|(at, name)| Some((residual.ops.get(at.parse::<usize>().ok()?)?, name)))
            .map(|(op, name)| operation(op, name)),
        _ => None,
    };
    inner.map_or(op.name().to_owned(), |inner| format!("{} {inner}", op.name()))
}

/// Lays `rows` out in lines, each column as wide as its widest entry.
pub(in crate::run) fn columns<const K: usize>(rows: Vec<[String; K]>) -> String {
    let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
    let widths: [usize; K] = std::array::from_fn(width);
    let mut text = String::new();
    for row in &rows {
        let mut line = String::from(" ");
        for (entry, width) in row.iter().zip(widths) {
            // Writing to a string does not fail.
            let _ = write!(line, " {entry:<width$} ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
