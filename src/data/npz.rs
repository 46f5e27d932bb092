//! NumPy's archives, `.npz`: the arrays `inputs` and `labels` in one file, as `numpy.savez` and `numpy.savez_compressed` write
//! it.
//!
//! An archive is a zip file whose members are `.npy` files, see [`super::npy`]. Members of other names are ignored.

use std::io::Cursor;
use std::path::Path;

use zip::ZipArchive;

use super::{DataError, Dataset, Holds, Loaded, SampleForm, Wanted, gzip, npy, samples};

/// A zip archive in memory.
type Archive<'a> = ZipArchive<Cursor<&'a [u8]>>;

/// Reads the training part from `path`, and the test part from `test`, which has the same form.
///
/// # Errors
/// [`DataError::Io`], [`DataError::TooLarge`], [`DataError::CorruptGzip`]; [`DataError::Content`] if an array is missing or not
/// what `form` and `wanted` ask for.
pub fn load(path: &Path, test: Option<&Path>, form: SampleForm<'_>, wanted: Wanted) -> Result<Loaded, DataError> {
    let read = |path| Ok::<_, DataError>((path, parse(path, &gzip::read_file(path, gzip::MAX_OWN)?, form, wanted)?));
    Loaded::of(read(path)?, test.map(read).transpose()?, wanted.classes())
}

/// Reads the `bytes` of `file`. The number of classes is not set yet.
///
/// # Errors
/// [`DataError::TooLarge`]; [`DataError::Content`] if an array is missing or not what `form` and `wanted` ask for.
pub fn parse(file: &Path, bytes: &[u8], form: SampleForm<'_>, wanted: Wanted) -> Result<Dataset, DataError> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| damaged(file, "the archive", error))?;
    let inputs = npy::parse(file, Holds::Inputs, member(file, bytes.len(), &mut archive, "inputs")?)?;
    let labels = npy::parse(file, Holds::labels(wanted), member(file, bytes.len(), &mut archive, "labels")?)?;
    samples::samples(inputs, &labels, form, wanted)
}

/// The unpacked bytes of the array `name` in an archive of `length` bytes.
fn member(file: &Path, length: usize, archive: &mut Archive<'_>, name: &'static str) -> Result<Vec<u8>, DataError> {
    let Some(index) = archive.index_for_name(&format!("{name}.npy")) else {
        let found: Vec<String> =
            archive.file_names_raw().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        let expected = "inputs.npy and labels.npy: write them with numpy.savez(file, inputs=..., labels=...)";
        return Err(DataError::content(file, "the archive", format!("the members {found:?}"), expected));
    };
    let member = archive.by_index(index).map_err(|error| damaged(file, name, error))?;
    // A member that is not packed is no longer than the archive. For a packed one, memory is taken as it is unpacked.
    let room = member.size().min(length as u64);
    let bytes = gzip::read_up_to(member, room, gzip::MAX_OWN).map_err(|error| damaged(file, name, error))?;
    gzip::within(file, bytes, gzip::MAX_OWN)
}

/// The error that something in an archive cannot be read.
fn damaged(file: &Path, place: &str, error: impl std::fmt::Display) -> DataError {
    DataError::content(file, place, error.to_string(), "a .npz archive as numpy.savez writes it: save it again")
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use zip::write::SimpleFileOptions;
    use zip::{CompressionMethod, ZipWriter};

    use super::*;
    use crate::data::Targets;
    use crate::element::Element;

    const CLASSES: Wanted = Wanted::Classes { ignored: None, classes: None };

    fn archive(members: &[(&str, Vec<u8>)], method: CompressionMethod) -> Vec<u8> {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in members {
            writer.start_file(*name, SimpleFileOptions::default().compression_method(method)).unwrap();
            writer.write_all(bytes).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    fn small(method: CompressionMethod) -> Vec<u8> {
        let inputs = npy::encode("|u1", &[2, 40], &(0..80).map(|value| value / 20).collect::<Vec<u8>>());
        let labels = npy::encode("<u2", &[2], &[0, 0, 2, 0]);
        archive(&[("labels.npy", labels), ("notes.txt", vec![1]), ("inputs.npy", inputs)], method)
    }

    fn refused(bytes: &[u8]) -> String {
        parse(Path::new("file"), bytes, SampleForm::default(), CLASSES).unwrap_err().to_string()
    }

    #[test]
    fn archives_are_read_packed_or_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npz");
        for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
            std::fs::write(&path, small(method)).unwrap();
            let loaded =
                load(&path, Some(&path), SampleForm { shape: Some(&[1, 5, 8]), ..SampleForm::default() }, CLASSES)
                    .unwrap();
            assert_eq!((&loaded.train.sample_shape[..], loaded.train.inputs[[1, 0]]), (&[1, 5, 8][..], 2));
            assert_eq!(loaded.train.targets, Targets::classes(vec![0, 2], 3));
            assert_eq!(loaded.test.as_ref(), Some(&loaded.train));
        }
        assert_eq!(load(&dir.path().join("none"), None, SampleForm::default(), CLASSES).unwrap_err().exit_code(), 3);
    }

    /// `tests/reference/arrays.py` says what these files hold.
    #[test]
    fn archives_of_numpy_are_read() {
        let parsed = |bytes| parse(Path::new("file"), bytes, SampleForm::default(), CLASSES).unwrap();
        let stored = parsed(include_bytes!("../../tests/reference/arrays/stored.npz"));
        assert_eq!((&stored.sample_shape[..], stored.encoding.element), (&[1, 2, 3][..], Element::U8));
        assert_eq!(stored.inputs.into_raw_vec_and_offset().0, (0..24).collect::<Vec<u8>>());
        assert_eq!(stored.targets, Targets::classes(vec![2, 0, 1, 2], 0));
        let packed = parsed(include_bytes!("../../tests/reference/arrays/packed.npz"));
        let due: Vec<u8> = (0..24).flat_map(|value| (value as f32 / 4.0).to_le_bytes()).collect();
        assert_eq!((packed.inputs.into_raw_vec_and_offset().0, packed.targets), (due, stored.targets));
    }

    #[test]
    fn missing_arrays_and_damage_are_told() {
        let error = refused(&archive(&[("arr_0.npy", vec![])], CompressionMethod::Stored));
        assert!(error.contains("the members [\"arr_0.npy\"], expected inputs.npy and labels.npy"), "{error}");
        assert!(refused(b"no archive").contains("expected a .npz archive as numpy.savez writes it"));
        let whole = small(CompressionMethod::Deflated);
        for length in 0..whole.len() {
            assert!(refused(&whole[..length]).starts_with("file, "), "cut to {length}");
        }
        let mut flipped = small(CompressionMethod::Stored);
        let at = flipped.windows(3).position(|three| three == [3, 3, 3]).unwrap();
        flipped[at] = 9;
        assert!(refused(&flipped).contains("file, inputs: "));
    }

    #[test]
    fn what_unpacks_to_more_than_it_says_takes_no_memory() {
        let zeros = npy::encode("|u1", &[1, 1 << 24], &vec![0; 1 << 24]);
        let mut bytes = archive(&[("inputs.npy", zeros), ("labels.npy", Vec::new())], CompressionMethod::Deflated);
        assert!(bytes.len() < 1 << 16);
        // The unpacked length that the directory claims. It is in the 4 bytes behind the packed length.
        let entry = bytes.windows(4).position(|four| four == b"PK\x01\x02").unwrap();
        bytes[entry + 24..entry + 28].copy_from_slice(&(1_u32 << 31).to_le_bytes());
        assert!(refused(&bytes).starts_with("file, "));
    }
}
