//! Whether what the network gives can be compared with what the data want, and what to do where it cannot.
//!
//! A change is proposed only where the network, so changed, gives what is wanted.

use super::op::{Flatten, Linear, Reshape};
use super::sample::{Expected, Sample};
use super::shape::Shape;
use super::{Job, JobError, Loss, Op, Source};

/// Whether the last stage's `output` can be compared with what the data want. Where nobody knows what they want, any output will do.
///
/// # Errors
/// [`JobError::Conflict`] where the loss takes classes and the data have numbers, or the other way round, and where the output has
/// another shape than what is wanted. It proposes a change that makes it fit.
pub(super) fn fit(job: &Job, sample: &Sample, output: &Shape) -> Result<(), JobError> {
    let Some(wanted) = sample.wanted else { return Ok(()) };
    let loss = job.train.loss;
    let at = job.stages[job.stages.len() - 1].at.clone();
    let takes_classes = matches!(loss, Loss::CrossEntropy { .. });
    if takes_classes != matches!(wanted, Expected::Classes { .. }) {
        let (takes, have, fix) = match takes_classes {
            true => ("classes", "numbers", "\"mean_squared_error\" or \"binary_cross_entropy\""),
            false => ("numbers", "classes", "\"cross_entropy\""),
        };
        let problem = format!("train.loss {:?} takes {takes}, the data have {have}", loss.name());
        return Err(JobError::Conflict { at, problem, fix: format!("take {fix}") });
    }
    if is_answer(output, wanted) {
        return Ok(());
    }
    let needed = match wanted {
        Expected::Classes { places: 1, classes } => format!("the data have {classes} classes"),
        Expected::Classes { places, classes } => {
            format!("the data have a label of {classes} classes for each of {places} places")
        }
        Expected::Values(1) => "the data have 1 number".to_owned(),
        Expected::Values(values) => format!("the data have {values} numbers"),
    };
    let problem = format!("the last stage gives {} values a sample, {output}; {needed}", output.values());
    Err(JobError::Conflict { at, problem, fix: mend(job, sample, output, wanted) })
}

/// Whether an `output` of this shape can be compared with what is `wanted`.
fn is_answer(output: &Shape, wanted: Expected) -> bool {
    match wanted {
        Expected::Classes { places: 1, classes } => output.values() == classes,
        Expected::Classes { places, classes } => {
            output.values() == places.saturating_mul(classes) && output.dims().last() == Some(&classes)
        }
        Expected::Values(values) => output.values() == values,
    }
}

/// What to do about an `output` that cannot be compared with what is `wanted`: the least change of the job that makes it fit.
fn mend(job: &Job, sample: &Sample, output: &Shape, wanted: Expected) -> String {
    if sample.is_one_hot {
        let classes = match &job.data.source {
            Source::Csv { .. } => {
                "write one column of classes instead, as numpy.argmax(table[[...]].to_numpy(), axis=1) gives"
            }
            _ => "save them as classes, numpy.argmax(labels, axis=1)",
        };
        return format!(
            "where they are one-hot, as they look, {classes}, or take loss = \"binary_cross_entropy\" or \"mean_squared_error\""
        );
    }
    let (out, per) = match wanted {
        Expected::Classes { places: 1, classes } => (classes, "a sample"),
        Expected::Classes { classes, .. } => (classes, "a place"),
        Expected::Values(values) => (values, "a sample"),
    };
    let stages: Vec<Vec<Op>> = job.stages.iter().map(|stage| stage.ops.clone()).collect();
    let fits = |stages: &[Vec<Op>]| flow(stages, &sample.shape).is_some_and(|output| is_answer(&output, wanted));
    let linear = |out| Op::Linear(Linear { input: None, out, bias: true });
    let text = |out| format!("{{ op = \"linear\", out = {out} }}");

    let widened = widened(&stages, out);
    if let Some((_, last)) = widened.as_ref().filter(|(widened, _)| fits(widened)) {
        return format!("write out = {out}, values {per}, in the last `linear`, of stage {last}");
    }
    if let Some(place) = flattened(&stages).find_map(|(stages, place)| fits(&stages).then_some(place)) {
        return format!("put {{ op = \"flatten\" }} before {place}, so that a sample is one vector");
    }
    let both = widened.and_then(|(stages, last)| {
        let place = flattened(&stages).find_map(|(stages, place)| fits(&stages).then_some(place))?;
        Some(format!(
            "put {{ op = \"flatten\" }} before {place}, and write out = {out} in the last `linear`, of stage {last}"
        ))
    });
    if let Some(both) = both {
        return both;
    }
    let ended = |more: Vec<Op>| {
        let mut stages = stages.clone();
        stages.last_mut().into_iter().for_each(|last| last.extend(more.iter().cloned()));
        fits(&stages)
    };
    if ended(vec![linear(out)]) {
        return format!("let the last stage end in {out} values {per}, as behind {}", text(out));
    }
    if ended(vec![Op::Flatten(Flatten), linear(out)]) {
        return format!(
            "let the last stage end in {out} values {per}, as behind {{ op = \"flatten\" }}, {}",
            text(out)
        );
    }
    if let Expected::Classes { places, classes } = wanted {
        if let &[given, last] = output.dims()
            && last == classes
        {
            return format!(
                "give labels for all {given} places, such as do not count with train.loss = {{ kind = \"cross_entropy\", \
                 ignore_index = -100 }}, or inputs of {places} places"
            );
        }
        let all = places.saturating_mul(classes);
        let shaped = Op::Reshape(Reshape { shape: Shape::new([places, classes]) });
        if ended(vec![linear(all), shaped.clone()]) {
            return format!(
                "let the last stage end in {out} values {per}, as behind {}, {{ op = \"reshape\", shape = [{places}, {classes}] }}",
                text(all)
            );
        }
        if ended(vec![Op::Flatten(Flatten), linear(all), shaped]) {
            return format!(
                "let the last stage end in {out} values {per}, as behind {{ op = \"flatten\" }}, {}, {{ op = \"reshape\", shape = \
                 [{places}, {classes}] }}",
                text(all)
            );
        }
    }
    format!("let the last stage end in {out} values {per}")
}

/// The shape that comes out of `stages` where `input` goes in. `None` where an operation does not take what it gets.
fn flow(stages: &[Vec<Op>], input: &Shape) -> Option<Shape> {
    stages.iter().flatten().try_fold(input.clone(), |flowing, op| op.output(&flowing)).ok()
}

/// Changes `stages` so that their last linear operation gives `out` values. Returns them, and the number of its stage, from 1 on.
/// `None` where no operation is linear.
fn widened(stages: &[Vec<Op>], out: u32) -> Option<(Vec<Vec<Op>>, usize)> {
    let mut stages = stages.to_vec();
    let last = stages.iter().rposition(|ops| ops.iter().any(|op| matches!(op, Op::Linear(_))))?;
    if let Some(Op::Linear(linear)) = stages[last].iter_mut().rev().find(|op| matches!(op, Op::Linear(_))) {
        linear.out = out;
    }
    Some((stages, last + 1))
}

/// For each operation of `stages`, the same stages with a flatten before it, and the words for that place.
fn flattened(stages: &[Vec<Op>]) -> impl Iterator<Item = (Vec<Vec<Op>>, String)> {
    let places = stages.iter().enumerate().flat_map(|(stage, ops)| (0..ops.len()).map(move |op| (stage, op)));
    places.map(|(stage, op)| {
        let mut changed = stages.to_vec();
        let place = match op {
            0 => format!("the operations of stage {}", stage + 1),
            _ => format!("operation {}, `{}`, of stage {}", op + 1, stages[stage][op].name(), stage + 1),
        };
        changed[stage].insert(op, Op::Flatten(Flatten));
        (changed, place)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::element::Element;
    use crate::job::chain;
    use crate::job::tests::{JOB, classes, parse};

    /// A job on the digits, with these operations in its two stages.
    fn job(first: &str, second: &str) -> Job {
        let text = format!(
            "name = \"test\"\nseed = 7\n[data]\nsource = \"digits\"\n[train]\nepochs = 1\n[[stage]]\nops = [{first}]\n[[stage]]\nops = \
             [{second}]\n"
        );
        Job::parse("job.toml", &text, &[]).unwrap()
    }

    /// Floats of this shape that are not scaled, for which this is wanted.
    fn sample(shape: &[u32], wanted: Expected) -> Sample {
        Sample {
            shape: Shape::new(shape),
            element: Element::F32,
            is_scaled: false,
            largest_token: None,
            is_one_hot: false,
            wanted: Some(wanted),
        }
    }

    /// What the error proposes to do about a job of these operations.
    fn proposed(first: &str, second: &str, sample: &Sample) -> String {
        let job = job(first, second);
        let output =
            flow(&job.stages.iter().map(|stage| stage.ops.clone()).collect::<Vec<_>>(), &sample.shape).unwrap();
        let error = fit(&job, sample, &output).unwrap_err().to_string();
        error.split_once("; the data have ").unwrap().1.split_once("; ").unwrap().1.to_owned()
    }

    const RELU: &str = "{ op = \"linear\", out = 8 }, { op = \"relu\" }";

    /// A linear operation that gives so many values.
    fn linear(out: u32) -> String {
        format!("{{ op = \"linear\", out = {out} }}")
    }

    /// Each proposal is followed: the network that it leads to gives what is wanted.
    #[test]
    fn what_is_proposed_is_what_the_network_lacks() {
        let one = Expected::Classes { places: 1, classes: 10 };
        let answers = |first: &str, second: &str, sample: &Sample| {
            let stages: Vec<Vec<Op>> = job(first, second).stages.into_iter().map(|stage| stage.ops).collect();
            assert!(is_answer(&flow(&stages, &sample.shape).unwrap(), sample.wanted.unwrap()), "{first} {second}");
        };
        let image = sample(&[12, 12], one);
        let flatten = "{ op = \"flatten\" }, ";
        assert_eq!(
            proposed(RELU, &linear(10), &image),
            "put { op = \"flatten\" } before the operations of stage 1, so that a sample is one vector"
        );
        answers(&format!("{flatten}{RELU}"), &linear(10), &image);
        assert_eq!(
            proposed(RELU, &linear(9), &image),
            "put { op = \"flatten\" } before the operations of stage 1, and write out = 10 in the last `linear`, of stage 2"
        );
        let vector = sample(&[4], one);
        assert_eq!(
            proposed(RELU, &linear(9), &vector),
            "write out = 10, values a sample, in the last `linear`, of stage 2"
        );
        assert_eq!(
            proposed(RELU, "{ op = \"relu\" }", &vector),
            "write out = 10, values a sample, in the last `linear`, of stage 1"
        );
        assert_eq!(
            proposed("{ op = \"relu\" }", "{ op = \"tanh\" }", &vector),
            "let the last stage end in 10 values a sample, as behind { op = \"linear\", out = 10 }"
        );
        answers("{ op = \"relu\" }", &format!("{{ op = \"tanh\" }}, {}", linear(10)), &vector);
        assert_eq!(
            proposed("{ op = \"relu\" }", "{ op = \"tanh\" }", &image),
            "let the last stage end in 10 values a sample, as behind { op = \"flatten\" }, { op = \"linear\", out = 10 }"
        );
        answers("{ op = \"relu\" }", &format!("{{ op = \"tanh\" }}, {flatten}{}", linear(10)), &image);
        let numbers = sample(&[5, 4], Expected::Values(3));
        // Numbers are wanted by another loss.
        let mut of_numbers = job(RELU, &linear(3));
        of_numbers.train.loss = Loss::MeanSquaredError;
        let error = fit(&of_numbers, &numbers, &Shape::new([5, 3])).unwrap_err().to_string();
        assert!(error.contains("put { op = \"flatten\" } before the operations of stage 1"), "{error}");
    }

    #[test]
    fn labels_of_places_want_an_answer_for_each() {
        let five = |shape: &[u32]| sample(shape, Expected::Classes { places: 5, classes: 3 });
        assert_eq!(
            proposed(RELU, &linear(4), &five(&[5, 2])),
            "write out = 3, values a place, in the last `linear`, of stage 2"
        );
        assert_eq!(
            proposed(RELU, &linear(3), &five(&[4])),
            "let the last stage end in 3 values a place, as behind { op = \"linear\", out = 15 }, { op = \"reshape\", shape = [5, 3] }"
        );
        assert_eq!(
            proposed(RELU, &linear(3), &five(&[6, 2])),
            "give labels for all 6 places, such as do not count with train.loss = { kind = \"cross_entropy\", ignore_index = -100 }, \
             or inputs of 5 places"
        );
    }

    #[test]
    fn one_hot_labels_are_told() {
        let hot = Sample { is_one_hot: true, ..sample(&[4], Expected::Classes { places: 2, classes: 2 }) };
        let text = proposed(RELU, &linear(2), &hot);
        assert!(text.starts_with(
            "where they are one-hot, as they look, save them as classes, numpy.argmax(labels, axis=1), or"
        ));
    }

    #[test]
    fn the_last_stage_gives_what_the_targets_are_compared_with() {
        let with = |last: &str, loss: &str, sample: &Sample| {
            let stages =
                format!("stage=[{{ ops = [{{ op = \"reshape\", shape = [8, 8] }}] }}, {{ ops = [{last}] }}]");
            chain(&parse(JOB, &[&stages, &format!("train.loss={loss}")]).unwrap(), sample)
                .map_err(|error| error.to_string())
        };
        let flat = "{ op = \"flatten\" }, ";
        let wanting = |wanted| Sample { wanted: Some(wanted), ..classes([1, 8, 8], 0) };
        let tokens = wanting(Expected::Classes { places: 8, classes: 5 });
        assert!(with(&linear(5), "cross_entropy", &tokens).is_ok());
        for last in [linear(6), format!("{flat}{}", linear(40))] {
            let message = with(&last, "cross_entropy", &tokens).unwrap_err();
            assert!(message.contains("a label of 5 classes for each of 8 places"), "{message}");
            assert!(message.contains("a place"), "{message}");
        }
        let values = wanting(Expected::Values(3));
        let three = format!("{flat}{}", linear(3));
        assert!(with(&three, "mean_squared_error", &values).is_ok());
        assert!(with(&three, "binary_cross_entropy", &values).is_ok());
        let message = with(&format!("{flat}{}", linear(4)), "mean_squared_error", &values).unwrap_err();
        assert!(message.contains("gives 4 values a sample, (4); the data have 3 numbers"), "{message}");
        let message = with(&three, "cross_entropy", &values).unwrap_err();
        assert!(message.contains("train.loss \"cross_entropy\" takes classes, the data have numbers"), "{message}");
        let message = with(&three, "mean_squared_error", &tokens).unwrap_err();
        assert!(message.contains("takes numbers, the data have classes; take \"cross_entropy\""), "{message}");
    }
}
