//! Tables, row by row: a row is printed as soon as it is known, so that nothing of an interrupted bench is lost.

use serde_json::{Map, Value as Json, json};

use super::machine::Machine;
use crate::run::RunError;
use crate::terminal;

/// In which form a table is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Columns for people, with lines before them that begin with `#`.
    Text,
    /// Values with commas between them, behind one line with the keys of all columns. Lines that begin with `#` go before it.
    Csv,
    /// A JSON object a line. The first says what was measured and where; each other is a row.
    Json,
}

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// The name of the column in CSV and JSON, with its unit.
    pub key: &'static str,
    /// The name of the column for people.
    pub title: &'static str,
    /// The unit, if it has one.
    pub unit: &'static str,
    /// How wide the column is, in characters.
    pub width: usize,
    /// How many decimals its numbers have for people.
    pub decimals: usize,
}

impl Column {
    /// A column of words or counts.
    pub const fn of(key: &'static str, title: &'static str, unit: &'static str, width: usize) -> Self {
        Self { key, title, unit, width, decimals: 0 }
    }

    /// A column of measured numbers.
    pub const fn measured(key: &'static str, title: &'static str, unit: &'static str, decimals: usize) -> Self {
        Self { key, title, unit, width: 10, decimals }
    }
}

/// A value in a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    /// The value is a word.
    Word(String),
    /// The value is a whole number.
    Count(u64),
    /// The value is a number that was measured.
    Number(f64),
    /// There is nothing: it was not measured, or makes no sense in this row.
    Nothing,
}

impl From<&str> for Entry {
    fn from(word: &str) -> Self {
        Self::Word(word.to_owned())
    }
}

impl From<u64> for Entry {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}

impl From<f64> for Entry {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl<T: Into<Entry>> From<Option<T>> for Entry {
    fn from(value: Option<T>) -> Self {
        value.map_or(Entry::Nothing, Into::into)
    }
}

impl Entry {
    /// The value for people, with so many `decimals`.
    fn shown(&self, decimals: usize) -> String {
        match self {
            Entry::Word(word) => word.clone(),
            Entry::Count(count) => count.to_string(),
            Entry::Number(number) => format!("{number:.decimals$}"),
            Entry::Nothing => "-".to_owned(),
        }
    }

    /// The value in CSV. Words of ours have no commas.
    fn csv(&self) -> String {
        match self {
            Entry::Word(word) => word.clone(),
            Entry::Count(count) => count.to_string(),
            Entry::Number(number) => number.to_string(),
            Entry::Nothing => String::new(),
        }
    }

    /// The value as it stands in JSON.
    fn json(&self) -> Json {
        match self {
            Entry::Word(word) => json!(word),
            Entry::Count(count) => json!(count),
            Entry::Number(number) => json!(number),
            Entry::Nothing => Json::Null,
        }
    }
}

/// A table that is being printed.
pub struct Sheet {
    /// The form in which it is printed.
    format: Format,
    /// The columns that each row has values for.
    columns: &'static [Column],
}

impl Sheet {
    /// Prints the head of a table: which `bench` it is, on which `machine`, with which `settings`, and its columns.
    ///
    /// # Errors
    /// [`RunError::Print`].
    pub(super) fn begin(
        format: Format,
        bench: &str,
        machine: &Machine,
        settings: &[(&'static str, String)],
        columns: &'static [Column],
    ) -> Result<Self, RunError> {
        let about = machine.about();
        let lines = about.iter().chain(settings).map(|(name, value)| format!("# {name:<12} {value}"));
        let head = [format!("# mixnn bench {bench}")].into_iter().chain(lines);
        let line = |of: &dyn Fn(&Column) -> String| {
            let cells: Vec<String> = columns.iter().map(|column| aligned(&of(column), column.width)).collect();
            format!("#{}", cells.concat().trim_end())
        };
        let text = match format {
            Format::Text => head
                .chain([
                    line(&|column| column.title.to_owned()),
                    line(&|column| match column.unit {
                        "" => String::new(),
                        unit => format!("({unit})"),
                    }),
                ])
                .collect::<Vec<_>>()
                .join("\n"),
            Format::Csv => {
                let keys = columns.iter().map(|column| column.key).collect::<Vec<_>>().join(",");
                head.chain([keys]).collect::<Vec<_>>().join("\n")
            }
            Format::Json => {
                let object = |pairs: &[(&'static str, String)]| -> Map<String, Json> {
                    pairs.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect()
                };
                json!({ "bench": bench, "machine": object(about), "settings": object(settings) }).to_string()
            }
        };
        terminal::print(&text)?;
        Ok(Self { format, columns })
    }

    /// Prints a row: a value for each column.
    ///
    /// # Errors
    /// [`RunError::Print`].
    pub fn row(&self, values: &[Entry]) -> Result<(), RunError> {
        let pairs = || self.columns.iter().zip(values);
        let text = match self.format {
            Format::Text => {
                let cells: Vec<String> =
                    pairs().map(|(column, value)| aligned(&value.shown(column.decimals), column.width)).collect();
                format!(" {}", cells.concat())
            }
            Format::Csv => values.iter().map(Entry::csv).collect::<Vec<_>>().join(","),
            Format::Json => {
                let row: Map<String, Json> =
                    pairs().map(|(column, value)| (column.key.to_owned(), value.json())).collect();
                Json::Object(row).to_string()
            }
        };
        Ok(terminal::print(&text)?)
    }
}

/// `text` at the right end of a column, with at least one space before it.
fn aligned(text: &str, width: usize) -> String {
    format!(" {text:>width$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_in_each_form() {
        for (value, shown, csv, json) in [
            (Entry::from("ring"), "ring", "ring", "\"ring\""),
            (Entry::from(1024_u64), "1024", "1024", "1024"),
            (Entry::from(1.256), "1.26", "1.256", "1.256"),
            (Entry::from(None::<f64>), "-", "", "null"),
        ] {
            assert_eq!(
                (value.shown(2), value.csv(), value.json().to_string()),
                (shown.into(), csv.into(), json.into())
            );
        }
    }
}
