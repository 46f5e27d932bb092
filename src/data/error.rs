//! What can go wrong between a file and a data set.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::memory::OutOfMemory;

/// Where CIFAR-10's authors give it.
pub(in crate::data) const CIFAR10_HOME: &str = "https://www.cs.toronto.edu/~kriz/cifar.html";

/// What can be wrong with a data set or its files. Each message names the file, what was found and
/// what was expected.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The operating system refused to read, write or create something.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried: "read", "write", "create".
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },

    /// There is no memory for what a file holds.
    #[error("cannot hold {}: {source}", path.display())]
    Memory {
        /// The file.
        path: PathBuf,
        /// What was asked for.
        source: OutOfMemory,
    },

    /// A file of MNIST lies neither plain nor gzipped in the folder.
    #[error(
        "{name} and {name}.gz are both missing in {}: run `mixnn data fetch mnist` to bring \
         MNIST into that folder, or name the folder that holds it",
        dir.display()
    )]
    MissingFile {
        /// The file's plain name.
        name: &'static str,
        /// The folder that was looked into.
        dir: PathBuf,
    },

    /// A gzipped file does not unpack: damaged, or cut off.
    #[error("{} is a corrupt or incomplete gzip file ({source}): fetch it again", file.display())]
    CorruptGzip {
        /// The gzipped file.
        file: PathBuf,
        /// The decoder's reason.
        source: io::Error,
    },

    /// A file holds, or unpacks to, more than this program reads.
    #[error(
        "{} holds more than {limit} bytes when unpacked, the most that is read: is it the \
         right file?",
        file.display()
    )]
    TooLarge {
        /// The file.
        file: PathBuf,
        /// The most bytes that are read of such a file.
        limit: u64,
    },

    /// The first two bytes are not those of an IDX file.
    #[error(
        "{} is not an IDX file: it starts with bytes {found:02x?}, expected [00, 00]: is it \
         the right file?",
        file.display()
    )]
    BadMagic {
        /// The file.
        file: PathBuf,
        /// Its first two bytes.
        found: [u8; 2],
    },

    /// An IDX file whose elements are not unsigned bytes.
    #[error(
        "{} holds IDX elements of type 0x{found:02x}, expected 0x08 (unsigned byte): convert \
         it to bytes",
        file.display()
    )]
    ElementType {
        /// The file.
        file: PathBuf,
        /// The type code found.
        found: u8,
    },

    /// An IDX file with another number of dimensions than its role asks for.
    #[error(
        "{} has {found} dimensions, expected {expected} (images have 3, labels 1): are images \
         and labels swapped?",
        file.display()
    )]
    DimensionCount {
        /// The file.
        file: PathBuf,
        /// Dimensions in its header.
        found: usize,
        /// Dimensions that were asked for.
        expected: usize,
    },

    /// An IDX header that promises more bytes than any file that is read may hold.
    #[error(
        "{} claims the dimensions {found:?}, more than the {limit} bytes that are read at \
         most: its header is damaged",
        file.display()
    )]
    AbsurdDimensions {
        /// The file.
        file: PathBuf,
        /// The dimensions in its header.
        found: Vec<usize>,
        /// The most bytes that are read of such a file.
        limit: u64,
    },

    /// A file shorter than its header says.
    #[error(
        "{} is cut off: {found} bytes found, {expected} expected: fetch it again",
        file.display()
    )]
    Truncated {
        /// The file.
        file: PathBuf,
        /// Unpacked bytes in it, header included.
        found: u64,
        /// Unpacked bytes that there should be, header included.
        expected: u64,
    },

    /// A file longer than its header says.
    #[error(
        "{} has trailing bytes: {found} bytes found, {expected} expected: fetch it again",
        file.display()
    )]
    TrailingBytes {
        /// The file.
        file: PathBuf,
        /// Unpacked bytes in it, header included.
        found: u64,
        /// Unpacked bytes that there should be, header included.
        expected: u64,
    },

    /// Images and labels of one part do not belong together.
    #[error(
        "{} holds {labels} labels, expected {images}, one for each image in {}: take both \
         files from one source",
        label_file.display(),
        image_file.display()
    )]
    CountsDiffer {
        /// The file of images.
        image_file: PathBuf,
        /// Images in it.
        images: usize,
        /// The file of labels.
        label_file: PathBuf,
        /// Labels in it.
        labels: usize,
    },

    /// A label that names no class.
    #[error(
        "{}: label {index} is {found}, expected a class below {classes}: is it the right \
         file?",
        file.display()
    )]
    LabelOutOfRange {
        /// The file of labels.
        file: PathBuf,
        /// The sample's index, counted from 0.
        index: usize,
        /// The label found.
        found: u32,
        /// Number of classes.
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
        /// Its (height, width).
        found: [usize; 2],
        /// The file of training images.
        other: PathBuf,
        /// Its (height, width).
        expected: [usize; 2],
    },

    /// A file of images without a single pixel.
    #[error(
        "{} has the dimensions {found:?} (images, height, width), expected at least one image \
         of one pixel: is it the right file?",
        file.display()
    )]
    Empty {
        /// The file of images.
        file: PathBuf,
        /// Its dimensions.
        found: Vec<usize>,
    },

    /// The digits inside the binary are damaged.
    #[error(
        "the embedded digits.csv.gz, line {line}: {found}, expected {expected}: this build of \
         mixnn is damaged, build it again"
    )]
    DamagedDigits {
        /// The line, counted from 1.
        line: usize,
        /// What stands there.
        found: String,
        /// What should.
        expected: String,
    },

    /// Something in a file is not what it should be.
    #[error("{}, {place}: {found}, expected {expected}", file.display())]
    Content {
        /// The file.
        file: PathBuf,
        /// Where in it: a line, a column, an array, a value of one.
        place: String,
        /// What stands there.
        found: String,
        /// What should, and where it is not plain, what to do.
        expected: String,
    },

    /// A source whose labels are classes, for a loss that wants numbers.
    #[error(
        "the loss wants numbers as labels, but those of the source \"{source_name}\" are classes: take loss = \"cross_entropy\", \
         or one of the sources csv, npy, npz and safetensors"
    )]
    ClassesAlone {
        /// The source's word in a job.
        source_name: &'static str,
    },

    /// A key of `[data]` that does not go with the samples.
    #[error("data.{key}: {found}, expected {expected}")]
    Unfit {
        /// The key.
        key: &'static str,
        /// What it says, or what the samples are.
        found: String,
        /// What it should say, or what they should be.
        expected: String,
    },

    /// A file of CIFAR-10 does not lie in the folder.
    #[error(
        "{name} lies neither in {} nor in cifar-10-batches-bin in it: get CIFAR-10's binary version at {} and run \
         `mixnn data fetch cifar10 --from FILE`, or name the folder that holds it",
        dir.display(),
        CIFAR10_HOME
    )]
    MissingBatch {
        /// The file's name.
        name: &'static str,
        /// The folder that was looked into.
        dir: PathBuf,
    },

    /// A data set cannot be split in two as asked.
    #[error("cannot split {samples} samples: {found}, expected {expected}")]
    Split {
        /// Samples in the data set.
        samples: usize,
        /// What is wrong with the count or the permutation.
        found: String,
        /// What it should be.
        expected: &'static str,
    },

    /// A file is not the original.
    #[error(
        "{} is not the original: SHA-256 of its unpacked bytes is {found}, expected \
         {expected}: {remedy}",
        file.display()
    )]
    Digest {
        /// The file, archive member or address.
        file: PathBuf,
        /// Its digest in hexadecimal.
        found: String,
        /// The original's digest in hexadecimal.
        expected: &'static str,
        /// What to do about it.
        remedy: &'static str,
    },

    /// `--from` holds no file of that name.
    #[error(
        "found neither {name} nor {name}.gz in {}: give --from a folder or a .tar, .tar.gz or \
         .tgz that holds all of its files",
        from.display()
    )]
    NotInSource {
        /// The folder or archive.
        from: PathBuf,
        /// The name that was looked for.
        name: &'static str,
    },

    /// `--from` names a file that is no archive.
    #[error(
        "cannot read {} as a .tar, .tar.gz or .tgz ({source}): give --from such an archive or \
         a folder",
        file.display()
    )]
    BadArchive {
        /// The file.
        file: PathBuf,
        /// The reader's reason.
        source: io::Error,
    },

    /// A data set that is not downloaded.
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
        /// The file's plain name.
        name: &'static str,
        /// Each address and why it failed.
        tries: String,
    },
}

impl DataError {
    /// A [`DataError::Content`].
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

    /// For `map_err`: a [`DataError::Io`] that says what was tried on which path.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DataError {
        let path = path.to_owned();
        move |source| DataError::Io { action, path, source }
    }
}

impl DataError {
    /// For `map_err`: a [`DataError::Memory`] for what is read from `path`.
    pub(super) fn memory(path: &Path) -> impl FnOnce(OutOfMemory) -> DataError {
        let path = path.to_owned();
        move |source| DataError::Memory { path, source }
    }

    /// The process's exit code: 3 where something is not there, 2 where what is there cannot be used.
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
