//! `data.source`: where samples come from. Which keys `[data]` knows depends on it.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::keys::table;
use super::section::Section;
use super::shape::DIMS;
use super::{JobError, MOST_FEATURES, Shape};
use crate::element::{Kind, Layout};

/// The most tokens that two bytes tell apart.
const MOST_TOKENS: u32 = 1 << 16;
/// What tokens may stand as.
const WORDS: [Kind; 6] = [Kind::U8, Kind::U16, Kind::U32, Kind::U64, Kind::I32, Kind::I64];
const LAYOUTS: [Layout; 2] = [Layout::ChannelsFirst, Layout::ChannelsLast];

/// A data set.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// The embedded 8x8 digits; a fifth of them, drawn from the seed, is the test set.
    Digits,
    /// The four IDX files of MNIST, or of a set of the same form, in this folder.
    Mnist(PathBuf),
    /// The six files of CIFAR-10's binary version, in this folder or in `cifar-10-batches-bin` below it.
    Cifar10(PathBuf),
    /// A text, whose bytes are tokens.
    Text {
        /// The file.
        path: PathBuf,
        /// Another to test on.
        test: Option<PathBuf>,
        /// Tokens of a sample.
        context: u32,
    },
    /// Tokens.
    Tokens {
        /// A `.npy` file of whole numbers, or little-endian words and nothing else.
        path: PathBuf,
        /// Another to test on.
        test: Option<PathBuf>,
        /// Tokens of a sample.
        context: u32,
        /// They are below it.
        vocabulary: u32,
        /// What words alone are; `None`: of 16 bits, where they do not look like others.
        dtype: Option<Kind>,
    },
    /// A table with a header.
    Csv {
        /// The file.
        path: PathBuf,
        /// Another to test on.
        test: Option<PathBuf>,
        /// The columns that hold labels, by name.
        labels: Vec<String>,
        /// Those of inputs; `None`: all others.
        columns: Option<Vec<String>>,
        /// Those that are left out.
        drop: Vec<String>,
        /// What they are made into.
        form: Form,
    },
    /// Arrays, each in a file of its own.
    Npy {
        /// Inputs to learn from.
        path: PathBuf,
        /// Their labels.
        labels: PathBuf,
        /// Inputs and labels to test on.
        test: Option<(PathBuf, PathBuf)>,
        /// What they are made into.
        form: Form,
    },
    /// The arrays `inputs` and `labels` in one archive.
    Npz {
        /// The file.
        path: PathBuf,
        /// Another to test on.
        test: Option<PathBuf>,
        /// What they are made into.
        form: Form,
    },
    /// The tensors `inputs` and `labels` in one file.
    Safetensors {
        /// The file.
        path: PathBuf,
        /// Another to test on.
        test: Option<PathBuf>,
        /// What they are made into.
        form: Form,
    },
}

/// What a table or arrays are made into, as far as they do not tell themselves.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Form {
    /// The shape of a sample; `None`: all dimensions behind the first.
    pub shape: Option<Shape>,
    /// Number of classes; `None`: one more than the largest label.
    pub classes: Option<u32>,
    /// What bytes are multiplied by; `None`: 1/255.
    pub scale: Option<f64>,
    /// Where the channels of images stand; `None`: first, where they do not look like last.
    pub layout: Option<Layout>,
}

/// A source's word in a job, and the keys that it knows beside `source` and `validation`.
type Known = (&'static str, &'static [&'static str]);

const SOURCES: [Known; 9] = [
    ("digits", &["mean", "std", "augment"]),
    ("mnist", &["path", "mean", "std", "augment"]),
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

/// All keys that belong to some sources only.
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
    /// The word for it in a job.
    pub fn name(&self) -> &'static str {
        let index = match self {
            Source::Digits => 0,
            Source::Mnist(_) => 1,
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

    /// What a table or arrays are made into.
    pub fn form(&self) -> Option<&Form> {
        match self {
            Source::Csv { form, .. }
            | Source::Npy { form, .. }
            | Source::Npz { form, .. }
            | Source::Safetensors { form, .. } => Some(form),
            Source::Digits | Source::Mnist(_) | Source::Cifar10(_) | Source::Text { .. } | Source::Tokens { .. } => {
                None
            }
        }
    }

    /// Where its inputs are: the file or folder, or its word where it has none, and the file to test on.
    pub fn paths(&self) -> (&Path, Option<&Path>) {
        match self {
            Source::Digits => (Path::new(self.name()), None),
            Source::Mnist(path) | Source::Cifar10(path) => (path, None),
            Source::Npy { path, test, .. } => (path, test.as_ref().map(|(inputs, _)| inputs.as_path())),
            Source::Text { path, test, .. }
            | Source::Tokens { path, test, .. }
            | Source::Csv { path, test, .. }
            | Source::Npz { path, test, .. }
            | Source::Safetensors { path, test, .. } => (path, test.as_deref()),
        }
    }

    /// The number of classes that the job names.
    pub fn classes(&self) -> Option<u32> {
        self.form()?.classes
    }

    /// The source and its keys, as a job has them.
    pub(super) fn write(&self) -> Table {
        let mut keys = table([("source", self.name().into())]);
        let mut add = |key: &str, value: Value| {
            keys.insert(key.to_owned(), value);
        };
        let shown = |path: &Path| Value::from(path.display().to_string());
        match self {
            Source::Digits => {}
            Source::Mnist(path) | Source::Cifar10(path) => add("path", shown(path)),
            Source::Npy { path, labels, test, .. } => {
                add("path", shown(path));
                add("labels", shown(labels));
                if let Some((inputs, labels)) = test {
                    add("test", shown(inputs));
                    add("test_labels", shown(labels));
                }
            }
            Source::Text { path, test, .. }
            | Source::Tokens { path, test, .. }
            | Source::Csv { path, test, .. }
            | Source::Npz { path, test, .. }
            | Source::Safetensors { path, test, .. } => {
                add("path", shown(path));
                if let Some(test) = test {
                    add("test", shown(test));
                }
            }
        }
        match self {
            Source::Text { context, .. } => add("context", i64::from(*context).into()),
            Source::Tokens { context, vocabulary, dtype, .. } => {
                add("context", i64::from(*context).into());
                add("vocabulary", i64::from(*vocabulary).into());
                if let Some(dtype) = dtype {
                    add("dtype", dtype.name().into());
                }
            }
            Source::Csv { labels, columns, drop, .. } => {
                add("labels", labels.clone().into());
                if let Some(columns) = columns {
                    add("columns", columns.clone().into());
                }
                if !drop.is_empty() {
                    add("drop", drop.clone().into());
                }
            }
            _ => {}
        }
        if let Some(form) = self.form() {
            if let Some(shape) = &form.shape {
                add("shape", shape.dims().iter().map(|dim| Value::from(i64::from(*dim))).collect::<Vec<_>>().into());
            }
            if let Some(classes) = form.classes {
                add("classes", i64::from(classes).into());
            }
            if let Some(scale) = form.scale {
                add("scale", scale.into());
            }
            if let Some(layout) = form.layout {
                add("layout", layout.name().into());
            }
        }
        keys
    }
}

/// Reads the source and its keys, and refuses those of others.
pub(super) fn read(section: &Section<'_>) -> Result<Source, JobError> {
    let words = SOURCES.map(|known| (known.0, known));
    let known = section.choice("source", &words)?;
    let expected: Vec<String> = SOURCES.iter().map(|(word, _)| format!("{word:?}")).collect();
    let known = section.required("source", known, &expected.join(" or "))?;
    belong(section, known)?;
    keys(section, known.0)
}

/// Refuses keys of other sources.
fn belong(section: &Section<'_>, (word, known): Known) -> Result<(), JobError> {
    let stranger = KEYS.into_iter().filter(|key| section.get(key).is_some()).find(|key| !known.contains(key));
    let Some(key) = stranger else { return Ok(()) };
    let whose: Vec<&str> = SOURCES.iter().filter(|(_, known)| known.contains(&key)).map(|(word, _)| *word).collect();
    let problem = match (word, key) {
        ("digits", "path") => "`digits` are embedded and have no path".to_owned(),
        _ => format!("the source \"{word}\" has no `{key}`; {} do", whose.join(", ")),
    };
    Err(JobError::Conflict { at: section.at(key), problem, fix: format!("leave `{key}` out") })
}

/// Reads the keys of the source `word`.
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
        "mnist" => Source::Mnist(path("the folder of the four IDX files")?),
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
            Source::Csv { path, test: test()?, labels, columns, drop, form: form(section)? }
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
                    return Err(JobError::Conflict {
                        at: section.at(found),
                        problem: format!("`{found}` stands without `{lacking}`"),
                        fix: "name both files, or neither: then a fifth of the samples is the test set".to_owned(),
                    });
                }
            };
            Source::Npy { path, labels, test, form: form(section)? }
        }
        "npz" => {
            let path = path("a .npz file with the arrays `inputs` and `labels`")?;
            Source::Npz { path, test: test()?, form: form(section)? }
        }
        "safetensors" => {
            let path = path("a .safetensors file with the tensors `inputs` and `labels`")?;
            Source::Safetensors { path, test: test()?, form: form(section)? }
        }
        _ => Source::Digits,
    })
}

/// Which columns of a table are inputs, and which are left out, where its `labels` are these.
fn columns(section: &Section<'_>, labels: &[String]) -> Result<(Option<Vec<String>>, Vec<String>), JobError> {
    let columns = section.texts("columns", "the names of the columns of inputs, in their order, each once")?;
    let drop = section.texts("drop", "the name of a column to leave out, or a list of names, each once")?;
    let conflict =
        |key, problem, fix: &str| Err(JobError::Conflict { at: section.at(key), problem, fix: fix.to_owned() });
    if columns.is_some() && drop.is_some() {
        let problem = "`drop` stands beside `columns`, which says already which columns are inputs".to_owned();
        return conflict("drop", problem, "leave one of them out");
    }
    for (key, names) in [("columns", &columns), ("drop", &drop)] {
        if let Some(label) = names.iter().flatten().find(|name| labels.contains(name)) {
            let problem = format!("the column {label:?} stands in `{key}` and in `labels`");
            return conflict(key, problem, "write it in one of them");
        }
    }
    Ok((columns, drop.unwrap_or_default()))
}

fn form(section: &Section<'_>) -> Result<Form, JobError> {
    let most = i64::from(MOST_FEATURES);
    let expected = format!("one to {DIMS} whole numbers from 1 to {most}, of at most {most} values together");
    let shape = section.integers("shape", 1..=DIMS, 1..=most, &expected)?.map(Shape::new);
    if let Some(shape) = &shape
        && shape.values() > MOST_FEATURES
    {
        return Err(JobError::Value {
            at: section.at("shape"),
            key: "data.shape".to_owned(),
            found: format!("{shape}, {} values", shape.values()),
            expected,
        });
    }
    let classes = section.integer("classes", 1..=most)?;
    let scale = section.number("scale", "a number other than 0", |scale| {
        let scale = scale as f32;
        scale.is_finite() && scale != 0.0
    })?;
    let layout = section.choice("layout", &LAYOUTS.map(|layout| (layout.name(), layout)))?;
    Ok(Form { shape, classes, scale, layout })
}
