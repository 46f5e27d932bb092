//! Which tensor of a file has become which parameter of a network, for a person.

use std::fmt::Write;

use serde::Serialize;

use crate::job::Op;

/// A tensor, and the parameter that starts from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Assigned {
    /// The tensor's name in the file.
    pub tensor: String,
    /// The dimensions of both.
    pub shape: Vec<usize>,
    /// The parameter's name in the model.
    pub parameter: String,
    /// Its operation; within a residual, behind that.
    pub operation: String,
    /// Its stage, from 1.
    pub stage: usize,
}

impl Assigned {
    /// A line for each of `all`, in columns.
    pub fn table(all: &[Self]) -> String {
        let head = ["tensor", "parameter", "operation"].map(str::to_owned);
        let row = |one: &Self| {
            let [parameter, place] = one.place();
            [one.tensor.clone(), parameter, place]
        };
        columns(std::iter::once(head).chain(all.iter().map(row)).collect())
    }

    /// The parameter, as far as it is the network's: name and shape, where it stands.
    pub(in crate::run) fn place(&self) -> [String; 2] {
        let dims: Vec<String> = self.shape.iter().map(usize::to_string).collect();
        [format!("{} ({})", self.parameter, dims.join(", ")), format!("{}, stage {}", self.operation, self.stage)]
    }
}

/// The words for the operation of `op` whose parameter is called `name` there.
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

/// Lines of as many columns, each as wide as its widest entry.
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
