//! Tables of comma-separated values (RFC 4180) with the names of the columns in the first line.
//!
//! Some columns are labels, by name; all others are inputs, as f32.

use std::path::Path;

use ::csv::{Reader, ReaderBuilder, StringRecord, Trim};
use ndarray::Array2;

use super::labels::{class, value};
use super::loaded::shown;
use super::{DataError, Dataset, Loaded, Targets, Wanted, gzip};
use crate::element::{Element, Encoding};

/// Reads `path`, plain or gzipped, and `test` with the same columns; `labels` are names of columns, `shape` is a sample's.
///
/// # Errors
/// [`DataError::Io`], [`DataError::TooLarge`], [`DataError::CorruptGzip`], [`DataError::Content`].
pub fn load(
    path: &Path,
    test: Option<&Path>,
    labels: &[String],
    shape: Option<&[u32]>,
    wanted: Wanted,
) -> Result<Loaded, DataError> {
    let read = |path| parse(path, &gzip::read_file(path, gzip::MAX_OWN)?, labels, shape, wanted);
    let (names, train) = read(path)?;
    let Some(test) = test else {
        return Loaded::of((path, train), None, wanted.classes());
    };
    let (of_test, part) = read(test)?;
    if of_test != names {
        let differ = of_test.iter().zip(&names).find(|(one, other)| one != other);
        let (found, expected) = match differ {
            Some((found, expected)) => (format!("the column {found:?}"), format!("{expected:?}")),
            None => (format!("{} columns of inputs", of_test.len()), names.len().to_string()),
        };
        let expected = format!("{expected}, in this place, as in {}", path.display());
        return Err(DataError::content(test, "line 1", found, expected));
    }
    Loaded::of((path, train), Some((test, part)), wanted.classes())
}

/// Takes apart the unpacked `bytes` of `file`: the names of the columns of inputs, and the samples. How many classes there
/// are is not said yet.
///
/// # Errors
/// [`DataError::Content`].
pub fn parse(
    file: &Path,
    bytes: &[u8],
    labels: &[String],
    shape: Option<&[u32]>,
    wanted: Wanted,
) -> Result<(Vec<String>, Dataset), DataError> {
    let mut reader = ReaderBuilder::new().flexible(true).trim(Trim::All).from_reader(bytes);
    let header = reader.headers().map_err(|error| unread(file, 1, &error))?.clone();
    let columns = Columns::new(file, bytes, &header, labels)?;
    let sample_shape = columns.sample_shape(shape)?;
    let mut inputs = Vec::new();
    let mut targets = wanted.none(labels.len());
    let mut samples = 0;
    let mut record = StringRecord::new();
    while advance(file, &mut reader, &mut record)? {
        columns.take(&record, wanted, &mut inputs, &mut targets)?;
        samples += 1;
    }
    if samples == 0 {
        return Err(DataError::content(
            file,
            "line 2",
            "the end",
            "at least one sample behind the names of the columns",
        ));
    }
    let row = columns.inputs.len() * Element::F32.bytes() as usize;
    let inputs = Array2::from_shape_vec((samples, row), inputs)
        .map_err(|error| DataError::content(file, "its inputs", error.to_string(), format!("{row} bytes a line")))?;
    let names = columns.inputs.into_iter().map(|column| header[column].to_owned()).collect();
    Ok((names, Dataset { inputs, encoding: Encoding::scaled(Element::F32, 1.0), sample_shape, targets }))
}

/// Reads the next line; false behind the last.
fn advance(file: &Path, reader: &mut Reader<&[u8]>, record: &mut StringRecord) -> Result<bool, DataError> {
    let line = reader.position().line();
    reader.read_record(record).map_err(|error| unread(file, line, &error))
}

fn unread(file: &Path, line: u64, error: &::csv::Error) -> DataError {
    DataError::content(file, format!("line {line}"), error.to_string(), "a line of numbers, in UTF-8")
}

/// Which columns are what, in the order in which they are taken.
struct Columns<'a> {
    file: &'a Path,
    bytes: &'a [u8],
    names: &'a StringRecord,
    inputs: Vec<usize>,
    labels: Vec<usize>,
}

impl<'a> Columns<'a> {
    fn new(file: &'a Path, bytes: &'a [u8], names: &'a StringRecord, labels: &[String]) -> Result<Self, DataError> {
        let refused = |found: String, expected: &str| Err(DataError::content(file, "line 1", found, expected));
        if names.is_empty() {
            return refused("nothing".to_owned(), "the names of the columns, and a sample in each line behind them");
        }
        let mut places = Vec::new();
        for label in labels {
            let found: Vec<usize> = (0..names.len()).filter(|column| names[*column] == **label).collect();
            match found[..] {
                [column] => places.push(column),
                [] => {
                    let expected = format!("a column {label:?}, as data.labels says");
                    return refused(format!("the columns {}", some(names)), &expected);
                }
                _ => {
                    return refused(
                        format!("{} columns {label:?}", found.len()),
                        "one, as it holds labels: rename the others",
                    );
                }
            }
        }
        let inputs: Vec<usize> = (0..names.len()).filter(|column| !places.contains(column)).collect();
        if inputs.is_empty() {
            return refused("no column beside those of labels".to_owned(), "at least one, of inputs");
        }
        Ok(Self { file, bytes, names, inputs, labels: places })
    }

    fn sample_shape(&self, shape: Option<&[u32]>) -> Result<Vec<usize>, DataError> {
        let features = self.inputs.len();
        let Some(shape) = shape else { return Ok(vec![features]) };
        let shape: Vec<usize> = shape.iter().map(|dim| *dim as usize).collect();
        if shape.iter().try_fold(1_usize, |values, dim| values.checked_mul(*dim)) != Some(features) {
            let expected = format!("as many as data.shape, {}, has values", shown(&shape));
            return Err(DataError::content(self.file, "line 1", format!("{features} columns of inputs"), expected));
        }
        Ok(shape)
    }

    /// Adds the sample in `record` to `inputs` and `targets`.
    fn take(
        &self,
        record: &StringRecord,
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
        let number = |column: usize, made: &dyn Fn(f64) -> Result<f32, String>| {
            let number = record[column].parse::<f32>().map_err(|_| refused(column, "a number".to_owned()))?;
            made(number.into()).map_err(|expected| refused(column, expected))
        };
        for &column in &self.inputs {
            inputs.extend(number(column, &value)?.to_le_bytes());
        }
        for &column in &self.labels {
            match (wanted, &mut *targets) {
                (Wanted::Classes { ignored, classes }, Targets::Classes { labels, .. }) => {
                    // What is no whole number at all is no class either.
                    let label = record[column].parse::<i64>().map_or(i128::MIN, i128::from);
                    labels.push(class(label, ignored, classes).map_err(|expected| refused(column, expected))?);
                }
                (_, Targets::Values { values, .. }) => values.push(number(column, &|label| wanted.number(label))?),
                (_, Targets::Classes { .. }) => unreachable!("targets are made as they are wanted"),
            }
        }
        Ok(())
    }

    /// The line in which `record` begins. By its position it begins behind the record before, where empty lines may follow.
    fn line(&self, record: &StringRecord) -> usize {
        let start = record.position().map_or(0, |position| position.byte() as usize);
        let empty = self.bytes.iter().skip(start).take_while(|byte| matches!(byte, b'\n' | b'\r')).count();
        self.bytes.iter().take(start + empty).filter(|byte| **byte == b'\n').count() + 1
    }
}

/// The names of columns, the first of many.
fn some(names: &StringRecord) -> String {
    let shown: Vec<String> = names.iter().take(10).map(|name| format!("{name:?}")).collect();
    let more = if names.len() > 10 { format!(" and {} more", names.len() - 10) } else { String::new() };
    shown.join(", ") + &more
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::IGNORED;

    const CLASSES: Wanted = Wanted::Classes { ignored: Some(-1), classes: None };
    const TABLE: &str = "height,kind,width\n1.5,2,-3e2\n\n 0 , -1 , 7 \n";

    fn parsed(text: &str, labels: &[&str], wanted: Wanted) -> Result<(Vec<String>, Dataset), DataError> {
        let labels: Vec<String> = labels.iter().map(|label| (*label).to_owned()).collect();
        parse(Path::new("file"), text.as_bytes(), &labels, None, wanted)
    }

    fn refused(text: &str, labels: &[&str], wanted: Wanted) -> String {
        parsed(text, labels, wanted).unwrap_err().to_string()
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
        // Labels stand in the order of their names in the job.
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
            ("a,b\n1,2,3\n", "line 2: 3 fields"),
            ("a,b\n\nx,2\n", "line 3, column \"a\": \"x\", expected a number"),
            ("a,b\n,2\n", "line 2, column \"a\": \"\", expected a number"),
            ("a,b\nNaN,2\n", "line 2, column \"a\": \"NaN\", expected a finite number"),
            ("a,b\n-inf,2\n", "line 2, column \"a\": \"-inf\", expected a finite number"),
            ("a,b\n1e39,2\n", "\"1e39\", expected a finite number"),
            (
                "a,b\n1,2.0\n",
                "line 2, column \"b\": \"2.0\", expected a class, a whole number from 0 to 999999, or -1, which is ignored",
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
        let error = parse(Path::new("file"), b"a,b\n1,2\n1,\xff\n", &["b".to_owned()], None, CLASSES).unwrap_err();
        assert!(error.to_string().starts_with("file, line 3: "), "{error}");
        assert!(refused("a,b\n1,x\n", &["b"], Wanted::Values).contains("column \"b\": \"x\", expected a number"));
        let error = refused("a,b\n7,1\n7,-1\n", &["b"], Wanted::Chances);
        assert!(error.contains("line 3, column \"b\": \"-1\", expected a number from 0 to 1"), "{error}");
        let many: Vec<String> = (0..12).map(|column| column.to_string()).collect();
        assert!(refused(&many.join(","), &["b"], CLASSES).contains("\"9\" and 2 more"));
    }

    #[test]
    fn files_have_the_same_columns() {
        let dir = tempfile::tempdir().unwrap();
        let [train, test] = ["train.csv", "test.csv.gz"].map(|name| dir.path().join(name));
        std::fs::write(&train, "a,b,c\n1,0,2\n").unwrap();
        let load = |text: &str, shape| {
            std::fs::write(&test, gzip::pack(text.as_bytes())).unwrap();
            load(&train, Some(&test), &["b".to_owned()], shape, CLASSES)
        };
        // Where labels stand does not matter.
        let loaded = load("a,c,b\n1,2,4\n", Some(&[2, 1])).unwrap();
        assert_eq!(
            (loaded.train.targets, &loaded.train.sample_shape[..]),
            (Targets::classes(vec![0], 5), &[2, 1][..])
        );
        assert_eq!(loaded.test.unwrap().targets, Targets::classes(vec![4], 5));
        let error = load("c,a,b\n1,2,4\n", None).unwrap_err().to_string();
        assert!(
            error.contains("test.csv.gz, line 1: the column \"c\", expected \"a\", in this place, as in"),
            "{error}"
        );
        let error = load("a,b\n1,2\n", None).unwrap_err().to_string();
        assert!(error.contains("1 columns of inputs, expected 2"), "{error}");
        let error = load("a,b,c\n1,2,3\n", Some(&[3])).unwrap_err().to_string();
        assert!(error.contains("line 1: 2 columns of inputs, expected as many as data.shape, (3), has"), "{error}");
        let none = super::load(&dir.path().join("none"), None, &[], None, CLASSES).unwrap_err();
        assert_eq!(none.exit_code(), 3);
    }
}
