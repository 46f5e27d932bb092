//! `data.source`: where samples come from. Which keys `[data]` knows depends on it.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::section::Section;
use super::shape::DIMS;
use super::table::put;
use super::{JobError, MOST_FEATURES, Shape};
use crate::element::{FileDtype, Layout};

/// The most different tokens, `data.vocabulary`: two bytes tell so many apart.
const MOST_TOKENS: u32 = 1 << 16;
/// The types that tokens may have in a file, `data.dtype`, in the order in which errors list them.
const WORDS: [FileDtype; 6] =
    [FileDtype::U8, FileDtype::U16, FileDtype::U32, FileDtype::U64, FileDtype::I32, FileDtype::I64];
/// The places where the channels of images may stand in a file, `data.layout`, in the order in which errors list them.
const LAYOUTS: [Layout; 2] = [Layout::ChannelsFirst, Layout::ChannelsLast];

/// `data.source`: where samples come from, with the keys that only some sources know. A source without a test set gets one: a fifth
/// of its samples, drawn from the job's seed.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// `digits`: the digits of 8x8 pixels that are part of the program. A fifth of them, drawn from the seed, is the test set.
    Digits,
    /// `mnist`: the four IDX files of MNIST, or of a data set of the same form.
    Mnist {
        /// `path`: the folder with the four files. It has no default.
        path: PathBuf,
        /// `classes`: the number of classes, from 1 to 1,000,000. `None`, the default: one more than the largest label.
        classes: Option<u32>,
    },
    /// `cifar10`: the folder `path` with the six files of CIFAR-10's binary version, or with `cifar-10-batches-bin`, which has them.
    Cifar10(PathBuf),
    /// `text`: a text, whose bytes are the tokens.
    Text {
        /// `path`: the file of the text to learn from.
        path: PathBuf,
        /// `test`: the file of a text to test on. `None`, the default: a fifth of the samples is the test set.
        test: Option<PathBuf>,
        /// `context`: the tokens of a sample, from 1 to 1,000,000. It has no default.
        context: u32,
    },
    /// `tokens`: tokens as whole numbers.
    Tokens {
        /// `path`: the file of the tokens to learn from, a `.npy` file of whole numbers, or little-endian words and nothing else.
        path: PathBuf,
        /// `test`: a file of the same form to test on. `None`, the default: a fifth of the samples is the test set.
        test: Option<PathBuf>,
        /// `context`: the tokens of a sample, from 1 to 1,000,000. It has no default.
        context: u32,
        /// `vocabulary`: how many different tokens there are, from 1 to 65,536. All are below it. It has no default.
        vocabulary: u32,
        /// `dtype`: the type of the words in a file that is no `.npy` file. `None`, the default: 16 bits. Words that look like something
        /// else are then refused.
        dtype: Option<FileDtype>,
    },
    /// `csv`: a table with the names of its columns in the first line.
    Csv {
        /// `path`: the file of the table to learn from.
        path: PathBuf,
        /// `test`: the file of a table to test on. `None`, the default: a fifth of the samples is the test set.
        test: Option<PathBuf>,
        /// `labels`: the names of the columns that hold labels, one or more. It has no default.
        labels: Vec<String>,
        /// `columns`: the names of the columns that are inputs, in their order. `None`, the default: all columns but `labels` and `drop`.
        columns: Option<Vec<String>>,
        /// `drop`: the names of the columns that are left out. Empty by default.
        drop: Vec<String>,
        /// What samples the table's values are made into.
        form: Form,
    },
    /// `npy`: arrays, each in a `.npy` file of its own.
    Npy {
        /// `path`: the file of the inputs to learn from, (samples, ...).
        path: PathBuf,
        /// `labels`: the file of the labels of these inputs, (samples) or (samples, ...).
        labels: PathBuf,
        /// `test` and `test_labels`: the files of inputs to test on and of their labels. `None`, the default: a fifth of the samples is
        /// the test set.
        test: Option<(PathBuf, PathBuf)>,
        /// What samples the arrays' values are made into.
        form: Form,
    },
    /// `npz`: the arrays `inputs` and `labels` in one archive.
    Npz {
        /// `path`: the archive to learn from.
        path: PathBuf,
        /// `test`: an archive of the same form to test on. `None`, the default: a fifth of the samples is the test set.
        test: Option<PathBuf>,
        /// What samples the arrays' values are made into.
        form: Form,
    },
    /// `safetensors`: the tensors `inputs` and `labels` in one file.
    Safetensors {
        /// `path`: the file to learn from.
        path: PathBuf,
        /// `test`: a file of the same form to test on. `None`, the default: a fifth of the samples is the test set.
        test: Option<PathBuf>,
        /// What samples the tensors' values are made into.
        form: Form,
    },
}

/// What samples a table or arrays are made into, as far as they do not tell themselves.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Form {
    /// `shape`: the shape of a sample, one to three numbers of at most 1,000,000 values together. `None`, the default: all dimensions
    /// behind the first.
    pub shape: Option<Shape>,
    /// `classes`: the number of classes, from 1 to 1,000,000. `None`, the default: one more than the largest label.
    pub classes: Option<u32>,
    /// `scale`: what inputs that are bytes are multiplied by, other than 0. `None`, the default: 1/255.
    pub scale: Option<f64>,
    /// `layout`: where the channels of images stand in the file. `None`, the default: first. Images that look as if they stood last are
    /// then refused.
    pub layout: Option<Layout>,
}

/// A source's word in a job, and the keys of `[data]` that it knows besides `source` and `validation`.
type Known = (&'static str, &'static [&'static str]);

/// All sources, in the order in which errors list them.
const SOURCES: [Known; 9] = [
    ("digits", &["mean", "std", "augment"]),
    ("mnist", &["path", "classes", "mean", "std", "augment"]),
    ("cifar10", &["path", "mean", "std", "augment"]),
    ("text", &["path", "test", "context"]),
    ("tokens", &["path", "test", "context", "vocabulary", "dtype"]),
    ("csv", &["path", "test", "labels", "columns", "drop", "shape", "classes", "mean", "std", "augment"]),
    (
        "npy",
        &["path", "labels", "test", "test_labels", "shape", "layout", "classes", "scale", "mean", "std", "augment"],
    ),
    ("npz", &["path", "test", "shape", "layout", "classes", "scale", "mean", "std", "augment"]),
    ("safetensors", &["path", "test", "shape", "layout", "classes", "scale", "mean", "std", "augment"]),
];

/// All keys of `[data]` that only some sources know.
const KEYS: [&str; 16] = [
    "path",
    "test",
    "labels",
    "test_labels",
    "columns",
    "drop",
    "context",
    "vocabulary",
    "dtype",
    "shape",
    "layout",
    "classes",
    "scale",
    "mean",
    "std",
    "augment",
];

impl Source {
    /// The word for the source in a job.
    pub fn name(&self) -> &'static str {
        let index = match self {
            Source::Digits => 0,
            Source::Mnist { .. } => 1,
            Source::Cifar10(_) => 2,
            Source::Text { .. } => 3,
            Source::Tokens { .. } => 4,
            Source::Csv { .. } => 5,
            Source::Npy { .. } => 6,
            Source::Npz { .. } => 7,
            Source::Safetensors { .. } => 8,
        };
        SOURCES[index].0
    }

    /// What samples the source's values are made into. `None` where the source tells that itself.
    pub fn form(&self) -> Option<&Form> {
        match self {
            Source::Csv { form, .. }
            | Source::Npy { form, .. }
            | Source::Npz { form, .. }
            | Source::Safetensors { form, .. } => Some(form),
            Source::Digits
            | Source::Mnist { .. }
            | Source::Cifar10(_)
            | Source::Text { .. }
            | Source::Tokens { .. } => None,
        }
    }

    /// Where the inputs are: the file or folder to learn from, or the source's word where it has none, and the file to test on.
    pub fn paths(&self) -> (&Path, Option<&Path>) {
        match self {
            Source::Digits => (Path::new(self.name()), None),
            Source::Mnist { path, .. } | Source::Cifar10(path) => (path, None),
            Source::Npy { path, test, .. } => (path, test.as_ref().map(|(inputs, _)| inputs.as_path())),
            Source::Text { path, test, .. }
            | Source::Tokens { path, test, .. }
            | Source::Csv { path, test, .. }
            | Source::Npz { path, test, .. }
            | Source::Safetensors { path, test, .. } => (path, test.as_deref()),
        }
    }

    /// The number of classes that the job names, if it does.
    pub fn classes(&self) -> Option<u32> {
        match self {
            Source::Mnist { classes, .. } => *classes,
            _ => self.form()?.classes,
        }
    }

    /// Reads the source that stands in `data`, and its keys.
    ///
    /// # Errors
    /// A word that is no source, a key that belongs to other sources, a value out of its range, or values that do not go together.
    pub(super) fn read_from(data: &Section<'_>) -> Result<Self, JobError> {
        let words = SOURCES.map(|known| (known.0, known));
        let known = data.choice("source", &words)?;
        let expected: Vec<String> = SOURCES.iter().map(|(word, _)| format!("{word:?}")).collect();
        let known = data.required("source", known, &expected.join(" or "))?;
        belong(data, known)?;
        keys(data, known.0)
    }

    /// Puts the source and its keys into `data`.
    pub(super) fn write_into(&self, data: &mut Table) {
        let shown = |path: &Path| path.display().to_string();
        put(data, "source", self.name());
        match self {
            Source::Digits => {}
            Source::Cifar10(path) => put(data, "path", shown(path)),
            Source::Mnist { path, classes } => {
                put(data, "path", shown(path));
                if let Some(classes) = classes {
                    put(data, "classes", i64::from(*classes));
                }
            }
            Source::Npy { path, labels, test, .. } => {
                put(data, "path", shown(path));
                put(data, "labels", shown(labels));
                if let Some((inputs, labels)) = test {
                    put(data, "test", shown(inputs));
                    put(data, "test_labels", shown(labels));
                }
            }
            Source::Text { path, test, .. }
            | Source::Tokens { path, test, .. }
            | Source::Csv { path, test, .. }
            | Source::Npz { path, test, .. }
            | Source::Safetensors { path, test, .. } => {
                put(data, "path", shown(path));
                if let Some(test) = test {
                    put(data, "test", shown(test));
                }
            }
        }
        match self {
            Source::Text { context, .. } => put(data, "context", i64::from(*context)),
            Source::Tokens { context, vocabulary, dtype, .. } => {
                put(data, "context", i64::from(*context));
                put(data, "vocabulary", i64::from(*vocabulary));
                if let Some(dtype) = dtype {
                    put(data, "dtype", dtype.name());
                }
            }
            Source::Csv { labels, columns, drop, .. } => {
                put(data, "labels", labels.clone());
                if let Some(columns) = columns {
                    put(data, "columns", columns.clone());
                }
                if !drop.is_empty() {
                    put(data, "drop", drop.clone());
                }
            }
            _ => {}
        }
        if let Some(form) = self.form() {
            form.write_into(data);
        }
    }
}

impl Form {
    /// Reads the keys `shape`, `classes`, `scale` and `layout` of `[data]`.
    ///
    /// # Errors
    /// A value out of its range.
    fn read_from(data: &Section<'_>) -> Result<Self, JobError> {
        let most = i64::from(MOST_FEATURES);
        let expected = format!("one to {DIMS} whole numbers from 1 to {most}, of at most {most} values together");
        let shape = data.integers("shape", 1..=DIMS, 1..=most, &expected)?.map(Shape::new);
        if let Some(shape) = &shape
            && shape.values() > MOST_FEATURES
        {
            return Err(data.unfit("shape", format!("{shape}, {} values", shape.values()), &expected));
        }
        let classes = data.integer("classes", 1..=most)?;
        let scale = data.number("scale", "a number other than 0", |scale| {
            let scale = scale as f32;
            scale.is_finite() && scale != 0.0
        })?;
        let layout = data.choice("layout", &LAYOUTS.map(|layout| (layout.name(), layout)))?;
        Ok(Self { shape, classes, scale, layout })
    }

    /// Puts the keys `shape`, `classes`, `scale` and `layout` into the table `data`, as far as they have values.
    fn write_into(&self, data: &mut Table) {
        if let Some(shape) = &self.shape {
            put(data, "shape", shape.dims().iter().map(|dim| Value::from(i64::from(*dim))).collect::<Vec<_>>());
        }
        if let Some(classes) = self.classes {
            put(data, "classes", i64::from(classes));
        }
        if let Some(scale) = self.scale {
            put(data, "scale", scale);
        }
        if let Some(layout) = self.layout {
            put(data, "layout", layout.name());
        }
    }
}

/// Refuses a key in `section` that belongs to other sources than this one.
///
/// # Errors
/// [`JobError::Conflict`] at the first such key.
fn belong(section: &Section<'_>, (word, known): Known) -> Result<(), JobError> {
    let stranger = KEYS.into_iter().filter(|key| section.get(key).is_some()).find(|key| !known.contains(key));
    let Some(key) = stranger else { return Ok(()) };
    let whose: Vec<&str> = SOURCES.iter().filter(|(_, known)| known.contains(&key)).map(|(word, _)| *word).collect();
    let problem = match (word, key) {
        ("digits", "path") => "`digits` are embedded and have no path".to_owned(),
        _ => format!("the source \"{word}\" has no `{key}`; {} do", whose.join(", ")),
    };
    Err(section.conflict(key, problem, format!("leave `{key}` out")))
}

/// Reads the keys of the source `word`, in the order in which errors shall name them.
///
/// # Errors
/// An absent key, a value out of its range, or values that do not go together.
fn keys(section: &Section<'_>, word: &str) -> Result<Source, JobError> {
    const TEST: &str = "the file of the samples to test on, of the same form as `path`";
    let path = |expected: &str| {
        let path = section.text("path", expected)?;
        section.required("path", path, expected).map(PathBuf::from)
    };
    let test = || Ok::<_, JobError>(section.text("test", TEST)?.map(PathBuf::from));
    let context = || {
        let context = section.integer("context", 1..=MOST_FEATURES.into())?;
        section.required("context", context, "how many tokens make a sample")
    };
    Ok(match word {
        "mnist" => {
            let path = path("the folder of the four IDX files")?;
            Source::Mnist { path, classes: section.integer("classes", 1..=MOST_FEATURES.into())? }
        }
        "cifar10" => Source::Cifar10(path("the folder of the six files of CIFAR-10's binary version")?),
        "text" => Source::Text { path: path("a file of text")?, test: test()?, context: context()? },
        "tokens" => {
            let path = path("a .npy file of whole numbers, or little-endian words alone")?;
            let vocabulary = section.integer("vocabulary", 1..=MOST_TOKENS.into())?;
            let vocabulary = section.required("vocabulary", vocabulary, "how many different tokens there are")?;
            let dtype = section.choice("dtype", &WORDS.map(|kind| (kind.name(), kind)))?;
            Source::Tokens { path, test: test()?, context: context()?, vocabulary, dtype }
        }
        "csv" => {
            const LABELS: &str = "the name of the column of labels, or a list of names";
            let labels = section.texts("labels", LABELS)?;
            let labels = section.required("labels", labels, LABELS)?;
            let path = path("a table with the names of its columns in the first line")?;
            let (columns, drop) = columns(section, &labels)?;
            Source::Csv { path, test: test()?, labels, columns, drop, form: Form::read_from(section)? }
        }
        "npy" => {
            const LABELS: &str = "the .npy file of the labels";
            let path = path("the .npy file of the inputs")?;
            let labels = section.text("labels", LABELS)?;
            let labels = PathBuf::from(section.required("labels", labels, LABELS)?);
            let test_labels = section.text("test_labels", "the .npy file of the labels of `test`")?;
            let test = match (test()?, test_labels) {
                (None, None) => None,
                (Some(test), Some(labels)) => Some((test, PathBuf::from(labels))),
                (test, _) => {
                    let (found, lacking) =
                        if test.is_some() { ("test", "test_labels") } else { ("test_labels", "test") };
                    return Err(section.conflict(
                        found,
                        format!("`{found}` stands without `{lacking}`"),
                        "name both files, or neither: then a fifth of the samples is the test set",
                    ));
                }
            };
            Source::Npy { path, labels, test, form: Form::read_from(section)? }
        }
        "npz" => {
            let path = path("a .npz file with the arrays `inputs` and `labels`")?;
            Source::Npz { path, test: test()?, form: Form::read_from(section)? }
        }
        "safetensors" => {
            let path = path("a .safetensors file with the tensors `inputs` and `labels`")?;
            Source::Safetensors { path, test: test()?, form: Form::read_from(section)? }
        }
        _ => Source::Digits,
    })
}

/// Reads which columns of a table are inputs (`None`: all others), and which are left out. Its labels are the columns `labels`.
///
/// # Errors
/// A value that names no columns, both keys at once, or a column of labels.
fn columns(section: &Section<'_>, labels: &[String]) -> Result<(Option<Vec<String>>, Vec<String>), JobError> {
    let columns = section.texts("columns", "the names of the columns of inputs, in their order, each once")?;
    let drop = section.texts("drop", "the name of a column to leave out, or a list of names, each once")?;
    if columns.is_some() && drop.is_some() {
        let problem = "`drop` stands beside `columns`, which says already which columns are inputs";
        return Err(section.conflict("drop", problem, "leave one of them out"));
    }
    for (key, names) in [("columns", &columns), ("drop", &drop)] {
        if let Some(label) = names.iter().flatten().find(|name| labels.contains(name)) {
            let problem = format!("the column {label:?} stands in `{key}` and in `labels`");
            return Err(section.conflict(key, problem, "write it in one of them"));
        }
    }
    Ok((columns, drop.unwrap_or_default()))
}
