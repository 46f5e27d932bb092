//! Tables of comma-separated values (RFC 4180), with the names of the columns in the first line.
//!
//! Some columns are labels, others are inputs; their names decide. Inputs are read as f32.

use std::path::Path;

use ::csv::{Reader, ReaderBuilder, StringRecord, Trim};
use ndarray::Array2;

use super::columns::Columns;
use super::labels::{MOST_CLASSES, class, classes_below, value, whole};
use super::loaded::shown;
use super::{Choice, DataError, Dataset, Loaded, Targets, Wanted, gzip};
use crate::element::{Element, Encoding};

/// Reads the table `path`, plain or gzipped, and the table `test`, which has the same columns in any order. `shape` is the
/// shape of a sample; without it a sample is a vector.
///
/// # Errors
/// [`DataError::Io`], [`DataError::TooLarge`], [`DataError::CorruptGzip`]; [`DataError::Content`] if the table is not what
/// `choice`, `shape` and `wanted` ask for.
pub fn load(
    path: &Path,
    test: Option<&Path>,
    choice: Choice<'_>,
    shape: Option<&[u32]>,
    wanted: Wanted,
) -> Result<Loaded, DataError> {
    let read = |path| Ok::<_, DataError>((path, gzip::read_file(path, gzip::MAX_OWN)?));
    let (train, test) = (read(path)?, test.map(read).transpose()?);
    let table = CsvTable::open(path, &train.1)?;
    let of_test = test.as_ref().map(|(path, bytes)| CsvTable::open(path, bytes)).transpose()?;
    let others = of_test.as_ref().map_or(&[][..], |table| &table.names);
    let columns = Columns::chosen(&table.names, others, choice).map_err(|why| table.refused(why))?;
    let names = table.names_of(&columns);
    let part = match (of_test, &test) {
        (Some(table), Some((path, _))) => {
            let columns = Columns::alike(&table.names, &names, choice).map_err(|why| table.refused(why))?;
            Some((*path, table.samples(&columns, shape, wanted)?))
        }
        _ => None,
    };
    let train = table.samples(&columns, shape, wanted)?;
    Ok(Loaded { names, ..Loaded::of((path, train), part, wanted.classes())? })
}

/// Reads the unpacked `bytes` of `file`. Returns the names of the columns of inputs, and the samples. The number of classes is
/// not set yet.
///
/// # Errors
/// [`DataError::Content`] if the table is not what `choice`, `shape` and `wanted` ask for.
pub fn parse(
    file: &Path,
    bytes: &[u8],
    choice: Choice<'_>,
    shape: Option<&[u32]>,
    wanted: Wanted,
) -> Result<(Vec<String>, Dataset), DataError> {
    let table = CsvTable::open(file, bytes)?;
    let columns = Columns::chosen(&table.names, &[], choice).map_err(|why| table.refused(why))?;
    Ok((table.names_of(&columns), table.samples(&columns, shape, wanted)?))
}

/// A table whose first line has been read.
struct CsvTable<'a> {
    /// Path of the table, which stands in errors.
    file: &'a Path,
    /// Content of the unpacked file.
    bytes: &'a [u8],
    /// The reader, which has read the names and the line `first`.
    reader: Reader<&'a [u8]>,
    /// The names of all columns of the table.
    names: Vec<String>,
    /// The first line behind the names. `None` if there is none.
    first: Option<StringRecord>,
}

impl<'a> CsvTable<'a> {
    /// Reads the first line of a table, and the one behind it.
    fn open(file: &'a Path, bytes: &'a [u8]) -> Result<Self, DataError> {
        let mut reader = ReaderBuilder::new().flexible(true).trim(Trim::All).from_reader(bytes);
        let header = reader.headers().map_err(|error| unread(file, 1, &error))?;
        let mut names: Vec<String> = header.iter().map(str::to_owned).collect();
        if names.is_empty() {
            let expected = "the names of the columns, and a sample in each line behind them";
            return Err(DataError::content(file, "line 1", "nothing", expected));
        }
        let mut first = StringRecord::new();
        let first = advance(file, &mut reader, &mut first)?.then_some(first);
        // R writes no name for a column that names the rows, so lines have one field more. A comma too many at a line's end is
        // something else.
        let fields = first.as_ref().map_or(0, StringRecord::len);
        let ends_empty = first.as_ref().and_then(|first| first.get(names.len())).is_some_and(str::is_empty);
        if fields == names.len() + 1 && !ends_empty {
            names.insert(0, String::new());
        }
        Ok(Self { file, bytes, reader, names, first })
    }

    /// The names of the columns of inputs among `columns`.
    fn names_of(&self, columns: &Columns) -> Vec<String> {
        columns.inputs.iter().map(|column| self.names[*column].clone()).collect()
    }

    /// The error that the first line is not what was expected.
    fn refused(&self, (found, expected): (String, String)) -> DataError {
        DataError::content(self.file, "line 1", found, expected)
    }

    /// Reads all lines behind the names as samples.
    fn samples(mut self, columns: &Columns, shape: Option<&[u32]>, wanted: Wanted) -> Result<Dataset, DataError> {
        let sample_shape = self.sample_shape(columns, shape)?;
        let mut inputs = Vec::new();
        let mut targets = wanted.none(columns.labels.len());
        let mut samples = 0;
        let Some(mut record) = self.first.take() else {
            let expected = "at least one sample behind the names of the columns";
            return Err(DataError::content(self.file, "line 2", "the end", expected));
        };
        loop {
            self.take(&record, columns, wanted, &mut inputs, &mut targets)?;
            samples += 1;
            if !advance(self.file, &mut self.reader, &mut record)? {
                break;
            }
        }
        let row = columns.inputs.len() * Element::F32.bytes() as usize;
        let inputs = Array2::from_shape_vec((samples, row), inputs).map_err(|error| {
            DataError::content(self.file, "its inputs", error.to_string(), format!("{row} bytes a line"))
        })?;
        Ok(Dataset { inputs, encoding: Encoding::scaled(Element::F32, 1.0), sample_shape, targets })
    }

    /// The shape of a sample: `shape`, if it has as many values as there are inputs, or else a vector.
    fn sample_shape(&self, columns: &Columns, shape: Option<&[u32]>) -> Result<Vec<usize>, DataError> {
        let features = columns.inputs.len();
        let Some(shape) = shape else { return Ok(vec![features]) };
        let shape: Vec<usize> = shape.iter().map(|dim| *dim as usize).collect();
        if shape.iter().try_fold(1_usize, |values, dim| values.checked_mul(*dim)) != Some(features) {
            let expected = format!("as many as data.shape, {}, has values", shown(&shape));
            return Err(self.refused((format!("{features} columns of inputs"), expected)));
        }
        Ok(shape)
    }

    /// Adds the sample in `record` to `inputs` and `targets`.
    fn take(
        &self,
        record: &StringRecord,
        columns: &Columns,
        wanted: Wanted,
        inputs: &mut Vec<u8>,
        targets: &mut Targets,
    ) -> Result<(), DataError> {
        if record.len() != self.names.len() {
            let expected = format!("{}, one for each name in line 1", self.names.len());
            let found = format!("{} fields", record.len());
            return Err(DataError::content(self.file, format!("line {}", self.line(record)), found, expected));
        }
        let refused = |column: usize, expected: String| {
            let place = format!("line {}, column {:?}", self.line(record), &self.names[column]);
            DataError::content(self.file, place, format!("{:?}", &record[column]), expected)
        };
        for &column in &columns.inputs {
            let number = number(&record[column]).map_err(|text| refused(column, text.input(&self.names[column])))?;
            let single = value(number.into()).map_err(|expected| refused(column, expected))?;
            inputs.extend(single.to_le_bytes());
        }
        for &column in &columns.labels {
            let text = &record[column];
            match (wanted, &mut *targets) {
                (Wanted::Classes { ignored, classes }, Targets::Classes { labels, .. }) => {
                    let label = match (text.parse::<i64>(), text.parse::<f64>()) {
                        (Ok(label), _) => Ok(label.into()),
                        (_, Ok(number)) if !number.is_nan() => whole(number),
                        _ => Err(Text::of(text).class(&self.names[column], classes)),
                    };
                    let label = label.and_then(|label| class(label, ignored, classes));
                    labels.push(label.map_err(|expected| refused(column, expected))?);
                }
                (_, Targets::Values { values, .. }) => {
                    let number = number(text).map_err(|text| refused(column, text.number()))?;
                    values.push(wanted.number(number.into()).map_err(|expected| refused(column, expected))?);
                }
                (_, Targets::Classes { .. }) => unreachable!("targets are made as they are wanted"),
            }
        }
        Ok(())
    }

    /// Number of the line in which `record` begins, from 1. The record's position is just behind the record before, and empty
    /// lines may follow there.
    fn line(&self, record: &StringRecord) -> usize {
        let start = record.position().map_or(0, |position| position.byte() as usize);
        let empty = self.bytes.iter().skip(start).take_while(|byte| matches!(byte, b'\n' | b'\r')).count();
        self.bytes.iter().take(start + empty).filter(|byte| **byte == b'\n').count() + 1
    }
}

/// Reads the next line into `record`. Returns false if there is none.
fn advance(file: &Path, reader: &mut Reader<&[u8]>, record: &mut StringRecord) -> Result<bool, DataError> {
    let line = reader.position().line();
    reader.read_record(record).map_err(|error| unread(file, line, &error))
}

/// The error that a line cannot be read.
fn unread(file: &Path, line: u64, error: &::csv::Error) -> DataError {
    DataError::content(file, format!("line {line}"), error.to_string(), "a line of numbers, in UTF-8")
}

/// The number in a field, or what the field holds instead.
fn number(field: &str) -> Result<f32, Text> {
    match field.parse::<f32>() {
        Ok(number) if !number.is_nan() => Ok(number),
        _ => Err(Text::of(field)),
    }
}

/// What a field holds that is not a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Text {
    /// Nothing, or a word for nothing, such as `NA`.
    Missing,
    /// The word `true` or `false`.
    Truth,
    /// Words that are neither of these.
    Words,
}

impl Text {
    /// What `field` holds, which is not a number.
    fn of(field: &str) -> Self {
        match field.to_ascii_lowercase().as_str() {
            "" | "na" | "nan" | "-nan" | "n/a" | "null" | "none" | "?" => Text::Missing,
            "true" | "false" => Text::Truth,
            _ => Text::Words,
        }
    }

    /// What was expected of an input in the column `name`, with advice how to get there.
    fn input(self, name: &str) -> String {
        let mend = match self {
            Text::Missing => {
                "fill in what is missing, as pandas' fillna(0) does, or leave such lines out, as dropna() does"
            }
            Text::Truth => "write 1 and 0, as pandas' astype(int) does",
            Text::Words => {
                return format!(
                    "a number: leave the column out with data.drop = {name:?}, or number its words, as pandas.factorize(...)[0] does"
                );
            }
        };
        format!("a number: {mend}")
    }

    /// What was expected of a label that is a number, with advice how to get there.
    fn number(self) -> String {
        match self {
            Text::Missing => "a number: leave out lines without a label, as pandas' dropna() does".to_owned(),
            Text::Truth => "a number: write 1 and 0, as pandas' astype(int) does".to_owned(),
            Text::Words => "a number".to_owned(),
        }
    }

    /// What was expected of a label in the column `name` that is one of `classes`, with advice how to get there.
    fn class(self, name: &str, classes: Option<u32>) -> String {
        let mend = match self {
            Text::Missing => "leave out lines without a label, as pandas' dropna() does".to_owned(),
            Text::Truth => "write 1 and 0, as pandas' astype(int) does".to_owned(),
            Text::Words => format!(
                "number the words, as pandas does with table[{name:?}] = pandas.factorize(table[{name:?}])[0]"
            ),
        };
        format!("{}: {mend}", classes_below(classes.unwrap_or(MOST_CLASSES)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::IGNORED;

    const CLASSES: Wanted = Wanted::Classes { ignored: Some(-1), classes: None };
    const TABLE: &str = "height,kind,width\n1.5,2,-3e2\n\n 0 , -1 , 7 \n";

    fn parsed(text: &str, labels: &[&str], wanted: Wanted) -> Result<(Vec<String>, Dataset), DataError> {
        let labels: Vec<String> = labels.iter().map(|label| (*label).to_owned()).collect();
        let choice = Choice { labels: &labels, ..Choice::default() };
        parse(Path::new("file"), text.as_bytes(), choice, None, wanted)
    }

    fn refused(text: &str, labels: &[&str], wanted: Wanted) -> String {
        parsed(text, labels, wanted).unwrap_err().to_string()
    }

    fn parsed_bytes(bytes: &[u8]) -> Result<(Vec<String>, Dataset), DataError> {
        let labels = ["b".to_owned()];
        parse(Path::new("file"), bytes, Choice { labels: &labels, ..Choice::default() }, None, CLASSES)
    }

    fn floats(set: &Dataset) -> Vec<f32> {
        let bytes: Vec<u8> = set.inputs.iter().copied().collect();
        bytes.as_chunks().0.iter().map(|word| f32::from_le_bytes(*word)).collect()
    }

    #[test]
    fn columns_are_inputs_but_for_those_of_labels() {
        let (names, set) = parsed(TABLE, &["kind"], CLASSES).unwrap();
        assert_eq!(
            (names, floats(&set)),
            (vec!["height".to_owned(), "width".to_owned()], vec![1.5, -300.0, 0.0, 7.0])
        );
        assert_eq!((&set.sample_shape[..], set.encoding), (&[2][..], Encoding::scaled(Element::F32, 1.0)));
        assert_eq!(set.targets, Targets::classes(vec![2, IGNORED], 0));
        // Labels come in the order in which the job names them.
        let (_, set) = parsed(TABLE, &["width", "height"], Wanted::Values).unwrap();
        assert_eq!(set.targets, Targets::Values { values: vec![-300.0, 1.5, 7.0, 0.0], width: 2 });
        assert_eq!(floats(&set), [2.0, -1.0]);
        let bom = format!("\u{feff}{}", TABLE.replace('\n', "\r\n"));
        assert_eq!(parsed(&bom, &["height"], Wanted::Values).unwrap().1.samples(), 2);
    }

    #[test]
    fn what_is_no_number_is_named_by_line_and_column() {
        for (text, words) in [
            ("a,b\n1,2\n1\n", "line 3: 1 fields, expected 2, one for each name in line 1"),
            ("a,b\n1,2,\n", "line 2: 3 fields"),
            ("a,b\n1,2\n1,2,3\n", "line 3: 3 fields"),
            ("a,b\n1,2,3\n", "line 1: column 1, \"\", has no name, expected a name for each"),
            (",a,b\n1,2,3\n", "line 1: column 1, \"\", has no name, expected a name for each"),
            ("a,b\n\nx,2\n", "line 3, column \"a\": \"x\", expected a number"),
            ("a,b\n,2\n", "line 2, column \"a\": \"\", expected a number"),
            ("a,b\nNaN,2\n", "line 2, column \"a\": \"NaN\", expected a number: fill in what is missing"),
            ("a,b\nTrue,2\n", "line 2, column \"a\": \"True\", expected a number: write 1 and 0"),
            ("a,b\nred,2\n", "\"red\", expected a number: leave the column out with data.drop = \"a\", or number"),
            ("a,b\n-inf,2\n", "line 2, column \"a\": \"-inf\", expected a finite number"),
            ("a,b\n1e39,2\n", "\"1e39\", expected a finite number"),
            (
                "a,b\n1,2.5\n",
                "line 2, column \"b\": \"2.5\", expected a class, a whole number from 0 to 999999; where labels are numbers",
            ),
            (
                "a,b\n1,virginica\n",
                "\"virginica\", expected a class, a whole number from 0 to 999999: number the words, as pandas does with \
                 table[\"b\"] = pandas.factorize(table[\"b\"])[0]",
            ),
            ("a,b\n1,\n", "\"\", expected a class, a whole number from 0 to 999999: leave out lines"),
            ("a,b\n1,false\n", "\"false\", expected a class, a whole number from 0 to 999999: write 1 and 0"),
            (
                "a,b\n1,-2\n",
                "\"-2\", expected a class, a whole number from 0 to 999999, or -1, which is ignored: number",
            ),
            ("a,b\n1,-2\n", "\"-2\", expected a class"),
            ("a,b\n", "line 2: the end, expected at least one sample"),
            ("a,c\n1,2\n", "line 1: the columns \"a\", \"c\", expected a column \"b\", as data.labels says"),
            ("b,a,b\n1,2,3\n", "line 1: 2 columns \"b\", expected one"),
            ("b\n1\n", "line 1: no column beside those of labels, expected at least one"),
            ("", "line 1: nothing, expected the names of the columns"),
        ] {
            let error = refused(text, &["b"], CLASSES);
            assert!(error.starts_with("file, line ") && error.contains(words), "{text:?}: {error}");
        }
        let error = parsed_bytes(b"a,b\n1,2\n1,\xff\n").unwrap_err();
        assert!(error.to_string().starts_with("file, line 3: "), "{error}");
        assert!(refused("a,b\n1,x\n", &["b"], Wanted::Values).contains("column \"b\": \"x\", expected a number"));
        assert!(refused("a,b\n1,\n", &["b"], Wanted::Values).contains("a number: leave out lines without a label"));
        let error = refused("a,b\n7,1\n7,-1\n", &["b"], Wanted::Chances);
        assert!(error.contains("line 3, column \"b\": \"-1\", expected a number from 0 to 1"), "{error}");
    }

    #[test]
    fn whole_numbers_are_classes_however_they_are_written() {
        let (_, set) = parsed("a,b\n1,2.0\n1,-1.0\n1,3\n1,1e1\n", &["b"], CLASSES).unwrap();
        assert_eq!(set.targets, Targets::classes(vec![2, IGNORED, 3, 10], 0));
    }

    #[test]
    fn a_column_without_a_name_is_left_out_or_asked_for() {
        let drop = [String::new()];
        let labels = ["b".to_owned()];
        let of = |text: &str, choice| parse(Path::new("file"), text.as_bytes(), choice, None, CLASSES).unwrap();
        let dropping = Choice { labels: &labels, drop: &drop, ..Choice::default() };
        for text in [",a,b\n7,1,2\n8,3,4\n", "\"\",\"a\",\"b\"\n\"7\",1,2\n\"8\",3,4\n", "a,b\nx7,1,2\nx8,3,4\n"] {
            let (names, set) = of(text, dropping);
            assert_eq!((names, floats(&set)), (vec!["a".to_owned()], vec![1.0, 3.0]), "{text}");
            assert_eq!(set.targets, Targets::classes(vec![2, 4], 0));
        }
        let inputs = ["a".to_owned(), String::new()];
        let (_, set) = of(",a,b\n7,1,2\n8,3,4\n", Choice { labels: &labels, inputs: Some(&inputs), drop: &[] });
        assert_eq!(floats(&set), [1.0, 7.0, 3.0, 8.0]);
    }

    #[test]
    fn files_have_the_same_columns() {
        let dir = tempfile::tempdir().unwrap();
        let [train, test] = ["train.csv", "test.csv.gz"].map(|name| dir.path().join(name));
        std::fs::write(&train, "a,b,c\n1,0,2\n").unwrap();
        let labels = ["b".to_owned()];
        let choice = Choice { labels: &labels, ..Choice::default() };
        let load = |text: &str, shape| {
            std::fs::write(&test, gzip::pack(text.as_bytes())).unwrap();
            load(&train, Some(&test), choice, shape, CLASSES)
        };
        // The order of a table's columns does not matter.
        let loaded = load("c,a,b\n1,2,4\n", Some(&[2, 1])).unwrap();
        assert_eq!(
            (&loaded.names[..], floats(&loaded.train)),
            (&["a".to_owned(), "c".to_owned()][..], vec![1.0, 2.0])
        );
        assert_eq!(
            (loaded.train.targets, &loaded.train.sample_shape[..]),
            (Targets::classes(vec![0], 5), &[2, 1][..])
        );
        let part = loaded.test.unwrap();
        assert_eq!((floats(&part), part.targets), (vec![2.0, 1.0], Targets::classes(vec![4], 5)));
        let error = load("a,b\n1,2\n", None).unwrap_err().to_string();
        assert!(
            error.contains("test.csv.gz, line 1: the columns \"a\", \"b\", expected a column \"c\", as in data.path"),
            "{error}"
        );
        let error = load("a,b,c,d\n1,2,3,4\n", None).unwrap_err().to_string();
        assert!(error.contains("line 1: the column \"d\", which the table to train on lacks"), "{error}");
        let error = load("a,b,c\n1,2,3\n", Some(&[3])).unwrap_err().to_string();
        assert!(error.contains("line 1: 2 columns of inputs, expected as many as data.shape, (3), has"), "{error}");
        let none = super::load(&dir.path().join("none"), None, choice, None, CLASSES).unwrap_err();
        assert_eq!(none.exit_code(), 3);
    }
}
