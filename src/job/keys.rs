//! Tables of TOML with keys and values.

use toml::{Table, Value};

/// The f64 whose shortest text is that of the f32, so that 0.1 is printed as 0.1.
pub(in crate::job) fn exact(number: f32) -> Value {
    number.to_string().parse::<f64>().unwrap_or(f64::from(number)).into()
}

/// A table of these entries.
pub(in crate::job) fn table<const K: usize>(entries: [(&str, Value); K]) -> Table {
    entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}
