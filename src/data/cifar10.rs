//! CIFAR-10: photographs of 32x32 pixels in ten classes, in the binary version of its authors.
//!
//! A file consists of records of 3,073 bytes: the class, then 1,024 bytes each of red, green and blue, row by row. Any number
//! of records is read.
//!
//! Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009,
//! <https://www.cs.toronto.edu/~kriz/cifar.html>.

use std::path::{Path, PathBuf};

use ndarray::Array2;

use super::{DataError, Dataset, Loaded, Targets, gzip};
use crate::element::{Element, Encoding};

/// Names of the six files: five of training samples, then one of test samples.
pub const FILES: [&str; 6] = [
    "data_batch_1.bin",
    "data_batch_2.bin",
    "data_batch_3.bin",
    "data_batch_4.bin",
    "data_batch_5.bin",
    "test_batch.bin",
];

/// Name of the folder into which the authors' archive unpacks.
const FOLDER: &str = "cifar-10-batches-bin";

/// Number of classes of CIFAR-10.
const CLASSES: u8 = 10;
/// Shape of an image: (channels, height, width).
const SHAPE: [usize; 3] = [3, 32, 32];
/// Number of values of an image, one byte each.
const FEATURES: usize = SHAPE[0] * SHAPE[1] * SHAPE[2];
/// Length of a record in bytes: the class, then the image.
const RECORD: usize = 1 + FEATURES;

/// Reads the six [`FILES`] in `dir`, or in `cifar-10-batches-bin` in it. Each is read plain or, if there is no plain one, with
/// `.gz` behind its name.
///
/// `sample_shape` is `[3, 32, 32]` and the targets are 10 classes. Bytes go in times 1/255.
///
/// # Errors
/// [`DataError::MissingBatch`], [`DataError::Io`], [`DataError::TooLarge`], [`DataError::CorruptGzip`], and those of [`check`].
pub fn load(dir: &Path) -> Result<Loaded, DataError> {
    let [train @ .., test] = FILES;
    Ok(Loaded { train: part(dir, &train)?, test: Some(part(dir, &[test])?), names: Vec::new() })
}

/// The samples of the files `names`, one file after the other.
fn part(dir: &Path, names: &[&'static str]) -> Result<Dataset, DataError> {
    let (mut inputs, mut labels) = (Vec::new(), Vec::new());
    for name in names {
        let file = locate(dir, name)?;
        let bytes = gzip::read_file(&file, gzip::MAX_BYTES)?;
        for (class, pixels) in records(&file, &bytes)? {
            inputs.extend_from_slice(pixels);
            labels.push(class);
        }
    }
    let inputs = Array2::from_shape_vec((labels.len(), FEATURES), inputs).map_err(|error| {
        DataError::content(dir, "its records", error.to_string(), format!("{FEATURES} bytes of pixels each"))
    })?;
    Ok(Dataset {
        inputs,
        encoding: Encoding::scaled(Element::U8, 1.0 / 255.0),
        sample_shape: SHAPE.to_vec(),
        targets: Targets::classes(labels, CLASSES.into()),
    })
}

/// Checks that `bytes` are those of a file of CIFAR-10. `file` names them in errors.
///
/// # Errors
/// [`DataError::Content`] if there is not a whole number of records, at least one, or a record has none of the ten classes.
pub fn check(file: &Path, bytes: &[u8]) -> Result<(), DataError> {
    records(file, bytes).map(|_| ())
}

/// The records in `bytes`: the class and the pixels of each.
fn records<'a>(file: &Path, bytes: &'a [u8]) -> Result<impl Iterator<Item = (u32, &'a [u8])>, DataError> {
    let (records, rest) = bytes.as_chunks::<RECORD>();
    if records.is_empty() || !rest.is_empty() {
        let expected =
            format!("one or more records of {RECORD}: is it a file of CIFAR-10's binary version, and whole?");
        return Err(DataError::content(file, "the whole", format!("{} bytes", bytes.len()), expected));
    }
    if let Some((at, record)) = records.iter().enumerate().find(|(_, record)| record[0] >= CLASSES) {
        let expected = format!("a class below {CLASSES}: is it a file of CIFAR-10's binary version?");
        return Err(DataError::content(file, format!("record {at}"), format!("the label {}", record[0]), expected));
    }
    Ok(records.iter().map(|record| (record[0].into(), &record[1..])))
}

/// The path of the file `name`, in `dir` or in its folder [`FOLDER`], plain before gzipped.
fn locate(dir: &Path, name: &'static str) -> Result<PathBuf, DataError> {
    let names = [name.to_owned(), format!("{name}.gz")];
    for path in names.iter().flat_map(|name| [dir.join(name), dir.join(FOLDER).join(name)]) {
        if path.try_exists().map_err(DataError::io("read", &path))? {
            return Ok(path);
        }
    }
    Err(DataError::MissingBatch { name, dir: dir.to_owned() })
}

/// A file with one record for each of `labels`. Its pixels grow by one from the label on. It is for tests of this and other
/// modules.
#[cfg(test)]
pub(super) fn encode(labels: &[u8]) -> Vec<u8> {
    labels.iter().flat_map(|label| (0..RECORD).map(move |at| (*label as usize + at) as u8)).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;
    use crate::data::error::CIFAR10_HOME;

    /// A folder with six files below `folder`: two records in the first, one in each of the others.
    fn small(folder: &str) -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join(folder)).unwrap();
        for (class, name) in FILES.iter().enumerate() {
            let labels = if class == 0 { vec![9, 0] } else { vec![class as u8] };
            fs::write(dir.path().join(folder).join(name), encode(&labels)).unwrap();
        }
        dir
    }

    #[test]
    fn six_files_are_read_in_either_folder() {
        for folder in ["", FOLDER] {
            let loaded = load(small(folder).path()).unwrap();
            let (train, test) = (loaded.train, loaded.test.unwrap());
            assert_eq!((train.samples(), &train.sample_shape[..]), (6, &[3, 32, 32][..]));
            assert_eq!(train.targets, Targets::classes(vec![9, 0, 1, 2, 3, 4], 10));
            assert_eq!(test.targets, Targets::classes(vec![5], 10));
            assert_eq!((train.inputs[[0, 0]], train.inputs[[1, 0]], test.inputs[[0, 1]]), (10, 1, 7));
            assert_eq!(train.encoding, Encoding::scaled(Element::U8, 1.0 / 255.0));
        }
    }

    #[test]
    fn gzipped_files_are_taken_but_plain_ones_first() {
        for folder in ["", FOLDER] {
            let dir = small(folder);
            let plain = load(dir.path()).unwrap();
            let file = dir.path().join(folder).join(FILES[1]);
            let packed = gzip::pack(&encode(&[8]));
            fs::write(dir.path().join(folder).join("data_batch_2.bin.gz"), packed).unwrap();
            assert_eq!(load(dir.path()).unwrap(), plain);
            fs::remove_file(file).unwrap();
            assert_eq!(load(dir.path()).unwrap().train.targets, Targets::classes(vec![9, 0, 8, 2, 3, 4], 10));
        }
    }

    #[test]
    fn a_missing_file_names_both_folders_and_the_source() {
        let dir = small("");
        fs::remove_file(dir.path().join(FILES[3])).unwrap();
        let error = load(dir.path()).unwrap_err();
        assert_eq!(error.exit_code(), 3);
        for part in [FILES[3], "cifar-10-batches-bin", CIFAR10_HOME, "mixnn data fetch cifar10 --from"] {
            assert!(error.to_string().contains(part), "{error}");
        }
    }

    #[test]
    fn damage_is_named_by_file_and_record() {
        let refused = |name: &str, bytes: &[u8]| {
            let dir = small("");
            fs::write(dir.path().join(name), bytes).unwrap();
            load(dir.path()).unwrap_err().to_string()
        };
        let error = refused(FILES[1], &encode(&[1, 2])[..2 * RECORD - 1]);
        assert!(
            error.contains("data_batch_2.bin, the whole: 6145 bytes, expected one or more records of 3073"),
            "{error}"
        );
        assert!(refused(FILES[5], &[]).contains("test_batch.bin, the whole: 0 bytes"));
        let error = refused(FILES[5], &encode(&[1, 2, 10]));
        assert!(error.contains("test_batch.bin, record 2: the label 10, expected a class below 10"), "{error}");
    }
}
