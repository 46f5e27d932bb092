//! From what a job says of its data to the samples: which source is read, with which kind of labels, and how the values
//! are prepared.

use crate::data::{self, Augment, Choice, DataError, Loaded, SampleForm, Takes, Wanted};
use crate::job::{self, Job, Loss, Normal, Op, Source};

/// Reads the data of `job`, with the kind of labels that its loss wants.
///
/// # Errors
/// [`DataError`].
pub(super) fn load(job: &Job) -> Result<Loaded, DataError> {
    let source = &job.data.source;
    let wanted = wanted(job.train.loss, source.classes())?;
    let form = source.form().map_or(SampleForm::default(), |form| SampleForm {
        shape: form.shape.as_ref().map(|shape| shape.dims()),
        scale: form.scale,
        layout: form.layout,
        takes: takes(job),
    });
    let loaded = match source {
        Source::Digits => data::digits::load()?.of_classes(wanted, source.name())?,
        Source::Mnist { path, .. } => data::mnist::load(path, wanted)?.of_classes(wanted, source.name())?,
        Source::Cifar10(path) => data::cifar10::load(path)?.of_classes(wanted, source.name())?,
        Source::Text { path, test, context } => {
            data::text::load(path, test.as_deref(), *context)?.of_classes(wanted, source.name())?
        }
        Source::Tokens { path, test, context, vocabulary, dtype } => {
            let loaded = data::tokens::load(path, test.as_deref(), *context, *vocabulary, *dtype)?;
            loaded.of_classes(wanted, source.name())?
        }
        Source::Csv { path, test, labels, columns, drop, .. } => {
            let choice = Choice { labels, inputs: columns.as_deref(), drop };
            data::csv::load(path, test.as_deref(), choice, form.shape, wanted)?
        }
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

/// Checks that the embedding into which the data of `job` go has a row for each of their values. Without an embedding
/// all is well.
///
/// # Errors
/// [`DataError::Content`].
pub(super) fn check_vocabulary(job: &Job, loaded: &Loaded) -> Result<(), DataError> {
    const REMEDY: &str = "count tokens from 0, and let `vocabulary` be above the largest";
    let Some(embedding) = job.embedding() else { return Ok(()) };
    let (path, test) = job.data.source.paths();
    loaded.train.known(path, embedding.vocabulary, REMEDY)?;
    match &loaded.test {
        Some(part) => part.known(test.unwrap_or(path), embedding.vocabulary, REMEDY),
        None => Ok(()),
    }
}

/// What the network of `job` takes a sample for. It takes tokens where an embedding looks them up. It takes an image
/// where an operation or `[data]` tells channels from places. Else it takes numbers.
fn takes(job: &Job) -> Takes {
    if job.embedding().is_some() {
        return Takes::Tokens;
    }
    let normal = job.data.normal.as_ref();
    let has_channels = normal.is_some_and(|normal| normal.mean.len().max(normal.std.len()) > 1);
    let mut image = job.data.augment != job::Augment::default() || has_channels;
    // Behind a `flatten` or a `linear` a sample is a vector, whatever its shape was.
    let mut flat = false;
    for op in job.stages.iter().flat_map(|stage| &stage.ops) {
        match op {
            Op::Flatten(_) | Op::Linear(_) => flat = true,
            op => image |= !flat && tells_channels(op),
        }
    }
    if image { Takes::Image } else { Takes::Numbers }
}

/// Whether `op` treats the channels of an image in another way than its places.
fn tells_channels(op: &Op) -> bool {
    match op {
        Op::Residual(residual) => residual.ops.iter().any(tells_channels),
        Op::Conv2d(_) | Op::MaxPool(_) | Op::AvgPool(_) | Op::GlobalAvgPool(_) => true,
        Op::BatchNorm(_) | Op::GroupNorm(_) => true,
        _ => false,
    }
}

/// What kind of labels `loss` wants. `classes` is the number of classes that the job names, if it names one.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A job whose one stage has `ops`, with `data` in its table of data.
    fn job(data: &str, ops: &str) -> Job {
        let text = format!(
            "name = \"n\"\nseed = 7\n[data]\nsource = \"digits\"\n{data}\n[train]\nepochs = 1\nbatch = 4\n[[stage]]\nops = [{ops}]"
        );
        Job::parse("job.toml", &text, &[]).unwrap()
    }

    /// An embedding needs a row for each value, those to test on among them. Without one, any value will do.
    #[test]
    fn an_embedding_has_a_row_for_each_value() {
        let of = |ops: &str, test: bool| {
            let job = job("", ops);
            let mut loaded = load(&job).unwrap();
            if test {
                let none = loaded.train.first(0);
                loaded.test = Some(std::mem::replace(&mut loaded.train, none));
            }
            check_vocabulary(&job, &loaded)
        };
        // The digits' values go from 0 to 16.
        for test in [false, true] {
            let embedding = |rows| of(&format!("{{ op = \"embedding\", vocabulary = {rows}, width = 4 }}"), test);
            assert!(embedding(17).is_ok());
            assert!(matches!(embedding(16), Err(DataError::Content { .. })));
            assert!(of("{ op = \"linear\", out = 4 }", test).is_ok());
        }
    }

    /// Numbers are read as an image's where the network, or what is done with its data, tells channels from places before it takes a
    /// sample for a vector.
    #[test]
    fn a_sample_is_taken_for_what_the_network_makes_of_it() {
        let conv = "{ op = \"conv2d\", out = 4, kernel = 3 }";
        let norm = "{ op = \"batch_norm\" }";
        let flatten = "{ op = \"flatten\" }";
        let linear = "{ op = \"linear\", out = 4 }";
        let pool = |op: &str| format!("{{ op = \"{op}\", kernel = 2 }}");
        for (data, ops, due) in [
            ("", "{ op = \"embedding\", vocabulary = 17, width = 4 }".to_owned(), Takes::Tokens),
            ("", linear.to_owned(), Takes::Numbers),
            ("", "{ op = \"relu\" }, { op = \"layer_norm\" }".to_owned(), Takes::Numbers),
            ("", conv.to_owned(), Takes::Image),
            ("", pool("max_pool"), Takes::Image),
            ("", pool("avg_pool"), Takes::Image),
            ("", "{ op = \"global_avg_pool\" }".to_owned(), Takes::Image),
            ("", norm.to_owned(), Takes::Image),
            ("", "{ op = \"group_norm\", groups = 1 }".to_owned(), Takes::Image),
            ("", format!("{{ op = \"residual\", ops = [{norm}] }}"), Takes::Image),
            ("", "{ op = \"residual\", ops = [{ op = \"relu\" }] }".to_owned(), Takes::Numbers),
            ("", format!("{flatten}, {norm}"), Takes::Numbers),
            ("", format!("{linear}, {norm}"), Takes::Numbers),
            ("", format!("{conv}, {flatten}, {norm}"), Takes::Image),
            ("augment = { flip = true }", linear.to_owned(), Takes::Image),
            ("mean = 0.5", linear.to_owned(), Takes::Numbers),
            ("mean = [0.5, 0.4]\nstd = [1.0, 2.0]", linear.to_owned(), Takes::Image),
        ] {
            assert_eq!(takes(&job(data, &ops)), due, "{data} {ops}");
        }
    }
}
