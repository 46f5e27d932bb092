//! Which columns of a table are inputs and which are labels, by their names.
//!
//! A column's name is all that is known of it. So a column without a name is not taken as an input, unless the job asks for it.

/// Similarity (Jaro-Winkler, 0 to 1) below which a name does not count as a misspelling of another.
const ALIKE: f64 = 0.75;
/// Most names of columns that an error lists.
const SHOWN: usize = 10;

/// What a job says of the columns of a table.
#[derive(Clone, Copy, Debug, Default)]
pub struct Choice<'a> {
    /// Names of the columns of labels, in this order.
    pub labels: &'a [String],
    /// Names of the columns of inputs, in this order. `None` takes all columns that are neither labels nor left out.
    pub inputs: Option<&'a [String]>,
    /// Names of the columns that are left out.
    pub drop: &'a [String],
}

/// Which columns of a table are taken, as indices from 0. Values are taken in this order.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Columns {
    /// Indices of the columns of inputs.
    pub(super) inputs: Vec<usize>,
    /// Indices of the columns of labels.
    pub(super) labels: Vec<usize>,
}

/// Why a table's first line is refused: what was found there, and what was expected.
type Refusal = (String, String);

impl Columns {
    /// Finds the columns of `choice` in a table with the columns `names`. `others` are the columns of the other file: a column
    /// that is left out may be in that file only.
    ///
    /// # Errors
    /// A [`Refusal`] if a column is missing, comes twice, or has no name.
    pub(super) fn chosen(names: &[String], others: &[String], choice: Choice<'_>) -> Result<Self, Refusal> {
        for drop in choice.drop {
            if !names.contains(drop) && !others.contains(drop) {
                return Err(lacking(names, drop, "drop"));
            }
        }
        let labels = places(names, choice.labels, "labels")?;
        let inputs = match choice.inputs {
            Some(inputs) => places(names, inputs, "columns")?,
            None => rest(names, choice)?,
        };
        Ok(Self { inputs, labels })
    }

    /// Finds the columns in the table to test on, which must have all `inputs` of the table to train on, in any order. A column
    /// that the other table lacks is refused, unless the job says which columns are inputs.
    ///
    /// # Errors
    /// A [`Refusal`], as from [`Columns::chosen`].
    pub(super) fn alike(names: &[String], inputs: &[String], choice: Choice<'_>) -> Result<Self, Refusal> {
        let known = |name: &&String| [choice.labels, inputs, choice.drop].iter().any(|some| some.contains(name));
        let labels = places(names, choice.labels, "labels")?;
        let found = places(names, inputs, "path")?;
        match names.iter().find(|name| !known(name)) {
            Some(name) if choice.inputs.is_none() => Err((
                format!("the column {name:?}, which the table to train on lacks"),
                format!("the same columns: leave it out with data.drop = {name:?}"),
            )),
            _ => Ok(Self { inputs: found, labels }),
        }
    }
}

/// All columns that are neither labels nor left out. Each must have a name of its own.
fn rest(names: &[String], choice: Choice<'_>) -> Result<Vec<usize>, Refusal> {
    let is_taken = |name: &String| !choice.labels.contains(name) && !choice.drop.contains(name);
    let inputs: Vec<usize> = (0..names.len()).filter(|column| is_taken(&names[*column])).collect();
    for &column in &inputs {
        let name = &names[column];
        if is_nameless(name) {
            let what = if name.is_empty() { "has no name" } else { "is a column without a name, as pandas calls it" };
            let found = format!("column {}, {name:?}, {what}", column + 1);
            let expected = format!(
                "a name for each: where it only counts the lines, leave it out with data.drop = {name:?}, or write the table without \
                 it, with index=False (pandas) or row.names = FALSE (R); where it is an input, give it a name"
            );
            return Err((found, expected));
        }
        let count = names.iter().filter(|other| *other == name).count();
        if count > 1 {
            let expected = format!(
                "one: rename the others, or leave all out with data.drop = {name:?}; where line 1 is a sample, put a line with \
                 the columns' names before it"
            );
            return Err((format!("{count} columns {name:?}"), expected));
        }
    }
    if inputs.is_empty() {
        return Err(("no column beside those of labels".to_owned(), "at least one, of inputs".to_owned()));
    }
    Ok(inputs)
}

/// Whether the writer of a table had no name for this column. pandas and R leave the name of an index column empty, and pandas
/// reads such a column as `Unnamed: 0`.
fn is_nameless(name: &str) -> bool {
    let number = name.strip_prefix("Unnamed: ");
    name.is_empty()
        || number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The indices of the columns `wanted`, each of which must occur once. `key` is the key of `[data]` that asks for them.
fn places(names: &[String], wanted: &[String], key: &str) -> Result<Vec<usize>, Refusal> {
    let place = |name: &String| {
        let found: Vec<usize> = (0..names.len()).filter(|column| names[*column] == *name).collect();
        match found[..] {
            [column] => Ok(column),
            [] => Err(lacking(names, name, key)),
            _ => Err((
                format!("{} columns {name:?}", found.len()),
                "one, as it is asked for: rename the others".to_owned(),
            )),
        }
    };
    wanted.iter().map(place).collect()
}

/// The refusal if the table with the columns `names` lacks the column `name`, which `data.key` asks for.
fn lacking(names: &[String], name: &str, key: &str) -> Refusal {
    let nearest = names
        .iter()
        .map(|other| (strsim::jaro_winkler(other, name), other))
        .filter(|(alike, _)| *alike > ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    let hint = match nearest {
        Some((_, nearest)) => format!("; did you mean {nearest:?}?"),
        None if names.iter().all(|name| name.parse::<f64>().is_ok()) => {
            "; where line 1 is a sample, put a line with the columns' names before it".to_owned()
        }
        None => String::new(),
    };
    let says = match key {
        "path" => "as in data.path".to_owned(),
        key => format!("as data.{key} says"),
    };
    (format!("the columns {}", some(names)), format!("a column {name:?}, {says}{hint}"))
}

/// The names of columns in words. Of many, only the first are listed.
fn some(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().take(SHOWN).map(|name| format!("{name:?}")).collect();
    let more = if names.len() > SHOWN { format!(" and {} more", names.len() - SHOWN) } else { String::new() };
    shown.join(", ") + &more
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// The indices of the inputs, and of the label `y`.
    fn chosen(names: &[&str], inputs: Option<&[&str]>, drop: &[&str]) -> Result<(Vec<usize>, Vec<usize>), String> {
        let (labels, inputs, drop) = (strings(&["y"]), inputs.map(strings), strings(drop));
        let choice = Choice { labels: &labels, inputs: inputs.as_deref(), drop: &drop };
        let columns = Columns::chosen(&strings(names), &[], choice);
        columns
            .map(|Columns { inputs, labels }| (inputs, labels))
            .map_err(|(found, expected)| format!("{found}, {expected}"))
    }

    #[test]
    fn inputs_are_those_named_or_the_rest() {
        assert_eq!(chosen(&["a", "y", "b"], None, &[]), Ok((vec![0, 2], vec![1])));
        assert_eq!(chosen(&["a", "y", "b"], None, &["a"]), Ok((vec![2], vec![1])));
        assert_eq!(chosen(&["a", "y", "b"], Some(&["b", "a"]), &[]), Ok((vec![2, 0], vec![1])));
        assert_eq!(chosen(&["", "y", "b"], Some(&["b"]), &[]), Ok((vec![2], vec![1])));
        // A job that asks for the nameless column knows what it is.
        assert_eq!(chosen(&["", "y", "b"], Some(&["", "b"]), &[]), Ok((vec![0, 2], vec![1])));
        assert_eq!(chosen(&["", "y", "b", ""], None, &[""]), Ok((vec![2], vec![1])));
        assert_eq!(chosen(&["Unnamed: 0", "y", "Unnamed: x"], None, &["Unnamed: 0"]), Ok((vec![2], vec![1])));
        assert_eq!(chosen(&["b", "y", "b", "c"], None, &["b"]), Ok((vec![3], vec![1])));
    }

    #[test]
    fn what_cannot_be_told_is_refused() {
        for (names, words) in [
            (
                &["", "y", "b"][..],
                "column 1, \"\", has no name, a name for each: where it only counts the lines, leave it out with \
                                   data.drop = \"\", or write the table without it, with index=False (pandas) or row.names = FALSE",
            ),
            (&["a", "y", ""], "column 3, \"\", has no name"),
            (&["a", "y", "Unnamed: 12"], "column 3, \"Unnamed: 12\", is a column without a name, as pandas calls it"),
            (&["a", "y", "a"], "2 columns \"a\", one: rename the others"),
            (&["a", "y", "y"], "2 columns \"y\", one, as it is asked for"),
            (&["a", "Y"], "the columns \"a\", \"Y\", a column \"y\", as data.labels says"),
            (&["5", "0.5"], "where line 1 is a sample, put a line"),
            (&["y"], "no column beside those of labels, at least one"),
        ] {
            let error = chosen(names, None, &[]).unwrap_err();
            assert!(error.contains(words), "{names:?}: {error}");
        }
        let error = chosen(&["length", "y"], Some(&["lenght"]), &[]).unwrap_err();
        assert!(error.ends_with("a column \"lenght\", as data.columns says; did you mean \"length\"?"), "{error}");
        let error = chosen(&["length", "y"], None, &["lengt"]).unwrap_err();
        assert!(error.ends_with("a column \"lengt\", as data.drop says; did you mean \"length\"?"), "{error}");
        let many: Vec<String> = (0..12).map(|column| format!("c{column}")).collect();
        assert!(some(&many).ends_with("\"c9\" and 2 more"));
    }

    #[test]
    fn tables_to_test_on_have_the_same_columns_in_any_order() {
        let (labels, drop, inputs) = (strings(&["y"]), strings(&[""]), strings(&["a", "b"]));
        let choice = Choice { labels: &labels, inputs: None, drop: &drop };
        let alike = |names: &[&str], choice| {
            Columns::alike(&strings(names), &inputs, choice)
                .map_err(|(found, expected)| format!("{found}, {expected}"))
        };
        assert_eq!(alike(&["b", "y", "a"], choice), Ok(Columns { inputs: vec![2, 0], labels: vec![1] }));
        assert_eq!(alike(&["", "a", "b", "y"], choice), Ok(Columns { inputs: vec![1, 2], labels: vec![3] }));
        let error = alike(&["b", "y", "aa"], choice).unwrap_err();
        assert!(error.contains("a column \"a\", as in data.path; did you mean \"aa\"?"), "{error}");
        let error = alike(&["c", "b", "y", "a"], choice).unwrap_err();
        assert!(error.contains("the column \"c\", which the table to train on lacks, the same columns: leave it out with data.drop = \"c\""), "{error}");
        let named = Choice { inputs: Some(&inputs), ..choice };
        assert_eq!(alike(&["c", "b", "y", "a"], named), Ok(Columns { inputs: vec![3, 1], labels: vec![2] }));
        // A column that only the other table has may be left out.
        let drop = strings(&["c"]);
        let choice = Choice { labels: &labels, inputs: None, drop: &drop };
        assert!(Columns::chosen(&strings(&["a", "y"]), &strings(&["c"]), choice).is_ok());
        assert!(Columns::chosen(&strings(&["a", "y"]), &[], choice).is_err());
    }
}
