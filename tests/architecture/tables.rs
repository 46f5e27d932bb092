//! Reads the tables of docs/ARCHITECTURE.md.

use std::collections::{BTreeMap, BTreeSet};

/// The parts of a document between `## ` headings, by heading.
pub(crate) struct Document(BTreeMap<String, String>);

impl Document {
    /// The document with this text.
    pub(crate) fn new(text: &str) -> Self {
        let parts = text.split("\n## ").skip(1);
        Self(parts.filter_map(|part| part.split_once('\n')).map(|(a, b)| (a.to_owned(), b.to_owned())).collect())
    }

    /// The cells of the table number `number`, from 0 on, under `heading`, row by row; without its head.
    pub(crate) fn table(&self, heading: &str, number: usize) -> Vec<Vec<String>> {
        let part = self.0.get(heading).unwrap_or_else(|| panic!("no heading {heading:?}"));
        let mut tables: Vec<Vec<Vec<String>>> = Vec::new();
        let mut within = false;
        for line in part.lines() {
            let row = line.trim().strip_prefix('|').and_then(|row| row.strip_suffix('|'));
            if let Some(row) = row {
                if !within {
                    tables.push(Vec::new());
                }
                let cells = row.split('|').map(|cell| cell.trim().to_owned()).collect();
                tables.last_mut().unwrap().push(cells);
            }
            within = row.is_some();
        }
        // The head, and the line below it.
        tables.swap_remove(number).split_off(2)
    }
}

/// What stands between backticks.
pub(crate) fn names(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Which modules one may import.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum May {
    /// These.
    Import(BTreeSet<String>),
    /// All that there are.
    ImportAll,
}

impl May {
    /// Whether `module` is among them.
    pub(crate) fn import(&self, module: &str) -> bool {
        match self {
            May::Import(those) => those.contains(module),
            May::ImportAll => true,
        }
    }
}

/// Who may import whom, as rows of (modules, what they may import) say it. The first row names the leaves, which import nothing;
/// any other names modules, "the leaves", or "everything".
pub(crate) fn rules(rows: &[Vec<String>]) -> BTreeMap<String, May> {
    let leaves: BTreeSet<String> = names(&rows[0][0]).into_iter().collect();
    let mut rules = BTreeMap::new();
    for row in rows {
        let mut those: BTreeSet<String> = names(&row[1]).into_iter().collect();
        let may = match row[1].as_str() {
            "nothing" => May::Import(those),
            "everything" => May::ImportAll,
            some => {
                assert!(
                    some.starts_with("the leaves"),
                    "{some:?} is neither nothing, everything, nor the leaves and more"
                );
                those.extend(leaves.iter().cloned());
                May::Import(those)
            }
        };
        for module in names(&row[0]) {
            assert!(rules.insert(module.clone(), may.clone()).is_none(), "two rules for {module}");
        }
    }
    rules
}
