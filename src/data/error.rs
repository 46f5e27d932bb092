//! What can go wrong between a file and a data set.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::memory::OutOfMemory;

/// Address where CIFAR-10's authors offer it.
pub(in crate::data) const CIFAR10_HOME: &str = "https://www.cs.toronto.edu/~kriz/cifar.html";

/// What can be wrong with a data set or its files. Each message names the file, what was found and what was expected.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The operating system refused to read, write or create something.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried: "read", "write", "create", "unpack".
        action: &'static str,
        /// The file or folder on which it was tried.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },

    /// There is no memory for the content of a file.
    #[error("cannot hold {}: {source}", path.display())]
    Memory {
        /// The file whose content does not fit.
        path: PathBuf,
        /// The memory that was asked for.
        source: OutOfMemory,
    },

    /// A file of MNIST is missing in the folder, both plain and gzipped.
    #[error(
        "{name} and {name}.gz are both missing in {}: run `mixnn data fetch mnist` to bring \
         MNIST into that folder, or name the folder that holds it",
        dir.display()
    )]
    MissingFile {
        /// The file's name when it is plain.
        name: &'static str,
        /// The folder that was searched.
        dir: PathBuf,
    },

    /// A gzipped file does not unpack: it is damaged or cut off.
    #[error("{} is a corrupt or incomplete gzip file ({source}): fetch it again", file.display())]
    CorruptGzip {
        /// The gzipped file.
        file: PathBuf,
        /// The decoder's reason.
        source: io::Error,
    },

    /// A file holds, or unpacks to, more bytes than this program reads.
    #[error(
        "{} holds more than {limit} bytes when unpacked, the most that is read: is it the \
         right file?",
        file.display()
    )]
    TooLarge {
        /// The file that is too large.
        file: PathBuf,
        /// The most bytes that are read of such a file.
        limit: u64,
    },

    /// A file does not start like an IDX file.
    #[error(
        "{} is not an IDX file: it starts with bytes {found:02x?}, expected [00, 00]: is it \
         the right file?",
        file.display()
    )]
    BadMagic {
        /// The file that is not IDX.
        file: PathBuf,
        /// The file's first two bytes.
        found: [u8; 2],
    },

    /// The elements of an IDX file are not unsigned bytes.
    #[error(
        "{} holds IDX elements of type 0x{found:02x}, expected 0x08 (unsigned byte): convert \
         it to bytes",
        file.display()
    )]
    ElementType {
        /// The file whose elements are of another type.
        file: PathBuf,
        /// The element type's code in the file.
        found: u8,
    },

    /// An IDX file has another number of dimensions than images or labels have.
    #[error(
        "{} has {found} dimensions, expected {expected} (images have 3, labels 1): are images \
         and labels swapped?",
        file.display()
    )]
    DimensionCount {
        /// The file with the wrong dimensions.
        file: PathBuf,
        /// Number of dimensions in the file's header.
        found: usize,
        /// Number of dimensions that were expected: 3 of images, 1 of labels.
        expected: usize,
    },

    /// The header of an IDX file claims more bytes than any file that is read may hold.
    #[error(
        "{} claims the dimensions {found:?}, more than the {limit} bytes that are read at \
         most: its header is damaged",
        file.display()
    )]
    AbsurdDimensions {
        /// The file whose header is damaged.
        file: PathBuf,
        /// The dimensions in the header.
        found: Vec<usize>,
        /// The most bytes that are read of such a file.
        limit: u64,
    },

    /// A file is shorter than its header says.
    #[error(
        "{} is cut off: {found} bytes found, {expected} expected: fetch it again",
        file.display()
    )]
    Truncated {
        /// The file that is cut off.
        file: PathBuf,
        /// Length of the unpacked file in bytes, header included.
        found: u64,
        /// Length in bytes that it should have, header included.
        expected: u64,
    },

    /// A file is longer than its header says.
    #[error(
        "{} has trailing bytes: {found} bytes found, {expected} expected: fetch it again",
        file.display()
    )]
    TrailingBytes {
        /// The file with trailing bytes.
        file: PathBuf,
        /// Length of the unpacked file in bytes, header included.
        found: u64,
        /// Length in bytes that it should have, header included.
        expected: u64,
    },

    /// The images and the labels of a part differ in number, so they do not belong together.
    #[error(
        "{} holds {labels} labels, expected {images}, one for each image in {}: take both \
         files from one source",
        label_file.display(),
        image_file.display()
    )]
    CountsDiffer {
        /// The file of images.
        image_file: PathBuf,
        /// Number of images in `image_file`.
        images: usize,
        /// The file of labels.
        label_file: PathBuf,
        /// Number of labels in `label_file`.
        labels: usize,
    },

    /// A label does not name a class.
    #[error(
        "{}: label {index} is {found}, expected a class below {classes}: is it the right \
         file?",
        file.display()
    )]
    LabelOutOfRange {
        /// The file of labels.
        file: PathBuf,
        /// Index of the sample, from 0.
        index: usize,
        /// The label that was found.
        found: u32,
        /// Number of classes. A label must be below it.
        classes: usize,
    },

    /// Training and test images differ in size.
    #[error(
        "{} holds images of {found:?} pixels (height, width), expected {expected:?} as in {}: \
         take both files from one source",
        file.display(),
        other.display()
    )]
    ImageSizesDiffer {
        /// The file of test images.
        file: PathBuf,
        /// Size of the test images, (height, width).
        found: [usize; 2],
        /// The file of training images.
        other: PathBuf,
        /// Size of the training images, (height, width).
        expected: [usize; 2],
    },

    /// A file of images has no pixel.
    #[error(
        "{} has the dimensions {found:?} (images, height, width), expected at least one image \
         of one pixel: is it the right file?",
        file.display()
    )]
    Empty {
        /// The file of images.
        file: PathBuf,
        /// The dimensions in the file's header: (images, height, width).
        found: Vec<usize>,
    },

    /// The digits inside the binary are damaged.
    #[error(
        "the embedded digits.csv.gz, line {line}: {found}, expected {expected}: this build of \
         mixnn is damaged, build it again"
    )]
    DamagedDigits {
        /// Number of the damaged line, from 1.
        line: usize,
        /// What the damaged line holds.
        found: String,
        /// What the damaged line should hold.
        expected: String,
    },

    /// Something in a file is not what it should be.
    #[error("{}, {place}: {found}, expected {expected}", file.display())]
    Content {
        /// The file that is refused.
        file: PathBuf,
        /// Where in the file it is: a line, a column, an array, a value of an array.
        place: String,
        /// What was found in that place.
        found: String,
        /// What was expected there and, where that is not plain, what to do about it.
        expected: String,
    },

    /// The loss wants numbers as labels, but the labels of this source are classes.
    #[error(
        "the loss wants numbers as labels, but those of the source \"{source_name}\" are classes: take loss = \"cross_entropy\", \
         or one of the sources csv, npy, npz and safetensors"
    )]
    ClassesAlone {
        /// The word for the source in a job.
        source_name: &'static str,
    },

    /// A key of `[data]` does not fit the samples.
    #[error("data.{key}: {found}, expected {expected}")]
    Unfit {
        /// Name of the key in `[data]`.
        key: &'static str,
        /// What the key says, or what the samples are.
        found: String,
        /// What the key should say, or what the samples should be.
        expected: String,
    },

    /// A file of CIFAR-10 is missing in the folder.
    #[error(
        "{name} lies neither in {} nor in cifar-10-batches-bin in it: get CIFAR-10's binary version at {} and run \
         `mixnn data fetch cifar10 --from FILE`, or name the folder that holds it",
        dir.display(),
        CIFAR10_HOME
    )]
    MissingBatch {
        /// Name of the missing file.
        name: &'static str,
        /// The folder that was searched.
        dir: PathBuf,
    },

    /// A data set cannot be split in two as asked.
    #[error("cannot split {samples} samples: {found}, expected {expected}")]
    Split {
        /// Number of samples in the data set.
        samples: usize,
        /// What is wrong with the count or the permutation.
        found: String,
        /// What the count or the permutation should be.
        expected: &'static str,
    },

    /// A file is not the original that it should be.
    #[error(
        "{} is not the original: SHA-256 of its unpacked bytes is {found}, expected \
         {expected}: {remedy}",
        file.display()
    )]
    Digest {
        /// The file, the archive's member or the address.
        file: PathBuf,
        /// SHA-256 of the file's unpacked bytes, in hexadecimal.
        found: String,
        /// SHA-256 of the original's bytes, in hexadecimal.
        expected: &'static str,
        /// What the user can do about it, in words.
        remedy: &'static str,
    },

    /// The folder or archive of `--from` lacks a file.
    #[error(
        "found neither {name} nor {name}.gz in {}: give --from a folder or a .tar, .tar.gz or \
         .tgz that holds all of its files",
        from.display()
    )]
    NotInSource {
        /// The folder or archive that `--from` names.
        from: PathBuf,
        /// Name of the missing file when it is plain.
        name: &'static str,
    },

    /// `--from` names a file that cannot be read as an archive.
    #[error(
        "cannot read {} as a .tar, .tar.gz or .tgz ({source}): give --from such an archive or \
         a folder",
        file.display()
    )]
    BadArchive {
        /// The file that is not an archive.
        file: PathBuf,
        /// The archive reader's reason.
        source: io::Error,
    },

    /// CIFAR-10 was to be downloaded. There is no mirror from which it could be.
    #[error(
        "cifar10 is not downloaded: get CIFAR-10's binary version, cifar-10-binary.tar.gz, at {} and run `mixnn data fetch \
         cifar10 --from FILE`",
        CIFAR10_HOME
    )]
    NoMirror,

    /// No mirror delivered a file.
    #[error(
        "cannot download {name}: {tries}. Without Internet here, download the files elsewhere \
         and run `mixnn data fetch mnist --from FOLDER_OR_ARCHIVE`"
    )]
    Download {
        /// Name of the file when it is plain.
        name: &'static str,
        /// Each address that was tried, and why it failed.
        tries: String,
    },
}

impl DataError {
    /// A [`DataError::Content`] for something in `file`.
    pub(super) fn content(
        file: &Path,
        place: impl Into<String>,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) -> DataError {
        DataError::Content {
            file: file.to_owned(),
            place: place.into(),
            found: found.into(),
            expected: expected.into(),
        }
    }

    /// For `map_err`: makes a [`DataError::Io`] that says what was tried on which path.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DataError {
        let path = path.to_owned();
        move |source| DataError::Io { action, path, source }
    }
}

impl DataError {
    /// For `map_err`: makes a [`DataError::Memory`] for the content of `path`.
    pub(super) fn memory(path: &Path) -> impl FnOnce(OutOfMemory) -> DataError {
        let path = path.to_owned();
        move |source| DataError::Memory { path, source }
    }

    /// The exit code of the process: 3 if something is not there, 2 if what is there cannot be used.
    pub fn exit_code(&self) -> i32 {
        match self {
            DataError::Io { .. }
            | DataError::Memory { .. }
            | DataError::MissingFile { .. }
            | DataError::MissingBatch { .. }
            | DataError::NotInSource { .. }
            | DataError::Download { .. } => 3,
            _ => 2,
        }
    }
}
