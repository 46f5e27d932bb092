//! `[data]`: what is learned. Which keys it knows depends on its source.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::section::Section;
use super::shape::DIMS;
use super::write::table;
use super::{JobError, MOST_FEATURES, Shape};

/// The most tokens that two bytes tell apart.
const MOST_TOKENS: u32 = 1 << 16;
/// The most channels that have a mean and a standard deviation of their own.
const MOST_CHANNELS: usize = 4096;
/// The most zeros around an image.
const MOST_CROP: i64 = 1024;

/// `[data]`
#[derive(Clone, Debug, PartialEq)]
pub struct Data {
    /// Which data set.
    pub source: Source,
    /// What its values are brought to before the first operation.
    pub normal: Option<Normal>,
    /// What is done to each image of a training pass.
    pub augment: Augment,
    /// Part of the training samples that are held out, 0..1.
    pub validation: f64,
}

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
        /// A `.npy` file of bytes or 16-bit words, or little-endian 16-bit words and nothing else.
        path: PathBuf,
        /// Another to test on.
        test: Option<PathBuf>,
        /// Tokens of a sample.
        context: u32,
        /// They are below it.
        vocabulary: u32,
    },
    /// A table with a header.
    Csv {
        /// The file.
        path: PathBuf,
        /// Another to test on.
        test: Option<PathBuf>,
        /// The columns that hold labels, by name; all others are inputs.
        labels: Vec<String>,
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
}

/// Values x become (x - mean) / std, after the source's scale, as with PyTorch's `Normalize` behind `ToTensor`.
#[derive(Clone, Debug, PartialEq)]
pub struct Normal {
    /// One for all values, or one for each channel of an image.
    pub mean: Vec<f64>,
    /// The same, above 0.
    pub std: Vec<f64>,
}

/// What is done to each image of a training pass, drawn anew for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Augment {
    /// Zeros around the image, out of which a part of the image's own size is cut at a random place.
    pub crop: u32,
    /// Whether it is mirrored left to right, one time in two.
    pub flip: bool,
}

/// A source's word in a job, and the keys that it knows beside `source` and `validation`.
type Known = (&'static str, &'static [&'static str]);

const SOURCES: [Known; 9] = [
    ("digits", &["mean", "std", "augment"]),
    ("mnist", &["path", "mean", "std", "augment"]),
    ("cifar10", &["path", "mean", "std", "augment"]),
    ("text", &["path", "test", "context"]),
    ("tokens", &["path", "test", "context", "vocabulary"]),
    ("csv", &["path", "test", "labels", "shape", "classes", "mean", "std", "augment"]),
    ("npy", &["path", "labels", "test", "test_labels", "shape", "classes", "scale", "mean", "std", "augment"]),
    ("npz", &["path", "test", "shape", "classes", "scale", "mean", "std", "augment"]),
    ("safetensors", &["path", "test", "shape", "classes", "scale", "mean", "std", "augment"]),
];

/// All keys that belong to some sources only.
const KEYS: [&str; 12] = [
    "path",
    "test",
    "labels",
    "test_labels",
    "context",
    "vocabulary",
    "shape",
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

    /// The number of classes that the job names.
    pub fn classes(&self) -> Option<u32> {
        self.form()?.classes
    }
}

/// Reads `[data]`.
pub(super) fn read(section: Section<'_>) -> Result<Data, JobError> {
    let words = SOURCES.map(|known| (known.0, known));
    let known = section.choice("source", &words)?;
    let expected: Vec<String> = SOURCES.iter().map(|(word, _)| format!("{word:?}")).collect();
    let known = section.required("source", known, &expected.join(" or "))?;
    belong(&section, known)?;
    let source = source(&section, known.0)?;
    let normal = normal(&section)?;
    let augment = augment(section.section("augment")?)?;
    let validation =
        section.number("validation", "a part from 0 up to, not including, 1", |part| (0.0..1.0).contains(&part))?;
    section.finish()?;
    Ok(Data { source, normal, augment, validation: validation.unwrap_or(0.1) })
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

fn source(section: &Section<'_>, word: &str) -> Result<Source, JobError> {
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
            let path = path("a .npy file of uint8 or uint16, or little-endian 16-bit words alone")?;
            let vocabulary = section.integer("vocabulary", 1..=MOST_TOKENS.into())?;
            let vocabulary = section.required("vocabulary", vocabulary, "how many different tokens there are")?;
            Source::Tokens { path, test: test()?, context: context()?, vocabulary }
        }
        "csv" => {
            const LABELS: &str = "the name of the column of labels, or a list of names";
            let labels = section.texts("labels", LABELS)?;
            let labels = section.required("labels", labels, LABELS)?;
            let path = path("a table with the names of its columns in the first line")?;
            Source::Csv { path, test: test()?, labels, form: form(section)? }
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
    Ok(Form { shape, classes, scale })
}

fn normal(section: &Section<'_>) -> Result<Option<Normal>, JobError> {
    let mean = section.one_or_more("mean", 1..=MOST_CHANNELS, "a number, or one for each channel", is_single)?;
    let expected = "a number above 0, or one for each channel";
    let std = section.one_or_more("std", 1..=MOST_CHANNELS, expected, |std| std as f32 > 0.0 && is_single(std))?;
    let (mean, std) = match (mean, std) {
        (None, None) => return Ok(None),
        (mean, std) => (mean.unwrap_or_else(|| vec![0.0]), std.unwrap_or_else(|| vec![1.0])),
    };
    let [means, stds] = [mean.len(), std.len()];
    if means != stds && means != 1 && stds != 1 {
        return Err(JobError::Conflict {
            at: section.at("std"),
            problem: format!("there are {means} numbers in `mean`, but {stds} in `std`"),
            fix: "write one number for each channel in both, or one for all".to_owned(),
        });
    }
    Ok(Some(Normal { mean, std }))
}

/// Whether an f32 holds a number of this size.
fn is_single(number: f64) -> bool {
    (number as f32).is_finite()
}

fn augment(section: Section<'_>) -> Result<Augment, JobError> {
    let crop = section.integer("crop", 0..=MOST_CROP)?.unwrap_or(0);
    let flip = section.boolean("flip")?.unwrap_or(false);
    section.finish()?;
    Ok(Augment { crop, flip })
}

impl Data {
    /// The table `data`.
    pub(super) fn write(&self) -> Table {
        let mut keys = table([("source", self.source.name().into()), ("validation", self.validation.into())]);
        let mut add = |key: &str, value: Value| {
            keys.insert(key.to_owned(), value);
        };
        let shown = |path: &Path| Value::from(path.display().to_string());
        match &self.source {
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
        match &self.source {
            Source::Text { context, .. } => add("context", i64::from(*context).into()),
            Source::Tokens { context, vocabulary, .. } => {
                add("context", i64::from(*context).into());
                add("vocabulary", i64::from(*vocabulary).into());
            }
            Source::Csv { labels, .. } => add("labels", labels.clone().into()),
            _ => {}
        }
        if let Some(form) = self.source.form() {
            if let Some(shape) = &form.shape {
                add("shape", shape.dims().iter().map(|dim| Value::from(i64::from(*dim))).collect::<Vec<_>>().into());
            }
            if let Some(classes) = form.classes {
                add("classes", i64::from(classes).into());
            }
            if let Some(scale) = form.scale {
                add("scale", scale.into());
            }
        }
        if let Some(normal) = &self.normal {
            add("mean", normal.mean.clone().into());
            add("std", normal.std.clone().into());
        }
        if self.augment != Augment::default() {
            let Augment { crop, flip } = self.augment;
            add("augment", table([("crop", i64::from(crop).into()), ("flip", flip.into())]).into());
        }
        keys
    }
}

#[cfg(test)]
mod tests;
