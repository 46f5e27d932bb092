//! From what a job says of its data to the samples: which source is read, with which labels, and what is made of them.

use crate::data::{self, Augment, DataError, Form, Loaded, Wanted};
use crate::job::{self, Job, Loss, Normal, Source};

/// Reads the data of `job`, with labels as its loss wants them.
///
/// # Errors
/// Any [`DataError`].
pub(super) fn load(job: &Job) -> Result<Loaded, DataError> {
    let source = &job.data.source;
    let wanted = wanted(job.train.loss, source.classes())?;
    let form = source.form().map_or(Form::default(), |form| Form {
        shape: form.shape.as_ref().map(|shape| shape.dims()),
        scale: form.scale,
    });
    let loaded = match source {
        Source::Digits => data::digits::load()?.of_classes(wanted, source.name())?,
        Source::Mnist(path) => data::mnist::load(path)?.of_classes(wanted, source.name())?,
        Source::Cifar10(path) => data::cifar10::load(path)?.of_classes(wanted, source.name())?,
        Source::Text { path, test, context } => {
            data::text::load(path, test.as_deref(), *context)?.of_classes(wanted, source.name())?
        }
        Source::Tokens { path, test, context, vocabulary } => {
            data::tokens::load(path, test.as_deref(), *context, *vocabulary)?.of_classes(wanted, source.name())?
        }
        Source::Csv { path, test, labels, .. } => data::csv::load(path, test.as_deref(), labels, form.shape, wanted)?,
        Source::Npy { path, labels, test, .. } => {
            let test = test.as_ref().map(|(inputs, labels)| [inputs.as_path(), labels]);
            data::npy::load([path, labels], test, form, wanted)?
        }
        Source::Npz { path, test, .. } => data::npz::load(path, test.as_deref(), form, wanted)?,
        Source::Safetensors { path, test, .. } => data::safetensors::load(path, test.as_deref(), form, wanted)?,
    };
    let loaded = match &job.data.normal {
        Some(Normal { mean, std }) => loaded.normalized(mean, std)?,
        None => loaded,
    };
    let job::Augment { crop, flip } = job.data.augment;
    loaded.augmentable(Augment { crop, flip })?;
    Ok(loaded)
}

/// Whether the embedding that the data of `job` go into, if one is there, has a row for each of their values.
///
/// # Errors
/// [`DataError::Content`].
pub(super) fn known(job: &Job, loaded: &Loaded) -> Result<(), DataError> {
    const REMEDY: &str = "count tokens from 0, and let `vocabulary` be above the largest";
    let Some(embedding) = job.embedding() else { return Ok(()) };
    let (path, test) = job.data.source.paths();
    loaded.train.known(path, embedding.vocabulary, REMEDY)?;
    match &loaded.test {
        Some(part) => part.known(test.unwrap_or(path), embedding.vocabulary, REMEDY),
        None => Ok(()),
    }
}

/// What `loss` wants of the labels, of which the job says that there are as many `classes`.
fn wanted(loss: Loss, classes: Option<u32>) -> Result<Wanted, DataError> {
    match (loss, classes) {
        (Loss::CrossEntropy { ignored, .. }, classes) => Ok(Wanted::Classes { ignored, classes }),
        (Loss::MeanSquaredError, None) => Ok(Wanted::Values),
        (Loss::BinaryCrossEntropy, None) => Ok(Wanted::Chances),
        (loss, Some(classes)) => Err(DataError::Unfit {
            key: "classes",
            found: classes.to_string(),
            expected: format!("none: loss = \"{}\" wants numbers as labels; leave it out", loss.name()),
        }),
    }
}
