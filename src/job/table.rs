//! What each table of a job does, in a file of its own: it reads itself, and it writes itself again.

use toml::{Table, Value};

use super::JobError;
use super::section::Section;

/// One table of a job, such as `[mix]`. The file of the type that implements it holds all of that table: its keys, their
/// defaults and ranges, how they are read, and how the resolved job prints them. A new key touches no other file.
pub(super) trait JobTable: Sized {
    /// The key under which the table stands in the one around it.
    const KEY: &'static str;

    /// Reads the table, and ends with [`Section::finish`]. The section is empty where the job leaves the table out.
    ///
    /// # Errors
    /// An unknown key, a value out of its range, or values that do not go together.
    fn read(section: &Section<'_>) -> Result<Self, JobError>;

    /// All keys of the table with their values. [`JobTable::read`] makes the same of them again.
    fn write(&self) -> Table;

    /// Reads the table that stands in `outer`.
    ///
    /// # Errors
    /// Those of [`JobTable::read`], and where something other than a table stands there.
    fn read_from(outer: &Section<'_>) -> Result<Self, JobError> {
        Self::read(&outer.section(Self::KEY)?)
    }

    /// Puts the table into `outer`. An empty table is left out.
    fn write_into(&self, outer: &mut Table) {
        let keys = self.write();
        if !keys.is_empty() {
            put(outer, Self::KEY, keys);
        }
    }
}

/// A table with these keys and values.
pub(super) fn table<const K: usize>(entries: [(&str, Value); K]) -> Table {
    entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// Adds `key` with this value to the table `keys`.
pub(super) fn put(keys: &mut Table, key: &str, value: impl Into<Value>) {
    keys.insert(key.to_owned(), value.into());
}

/// The f64 whose shortest text is that of the f32, so that 0.1 is printed as 0.1.
pub(super) fn exact(number: f32) -> Value {
    number.to_string().parse::<f64>().unwrap_or(f64::from(number)).into()
}
