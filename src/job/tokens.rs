//! Whether the data are tokens where the network takes tokens, and the network takes them where the data are.

use super::op::Embedding;
use super::sample::Sample;
use super::{Job, JobError, Op};
use crate::element::Element;

impl Job {
    /// The embedding that the data go into, if there is one: the network's first operation, those left out that hand each value on as it
    /// is.
    pub fn embedding(&self) -> Option<&Embedding> {
        match self.stages[0].ops.iter().find(|op| !matches!(op, Op::Flatten(_) | Op::Reshape(_))) {
            Some(Op::Embedding(embedding)) => Some(embedding),
            _ => None,
        }
    }
}

/// Whether an embedding takes the data as they are, and tokens go into an embedding. Whether it has a row for each token is for those to
/// see who have the data.
///
/// # Errors
/// [`JobError::Conflict`] at the stage that does not fit the data.
pub(super) fn fit(job: &Job, sample: &Sample) -> Result<(), JobError> {
    let conflict = |stage: usize, problem: String, fix: String| {
        let problem = format!("stage {}: {problem}", stage + 1);
        Err(JobError::Conflict { at: job.stages[stage].at.clone(), problem, fix })
    };
    let first = job.embedding();
    for (index, stage) in job.stages.iter().enumerate() {
        let known = usize::from(index == 0 && first.is_some());
        // What is computed is no whole number, and no gradient would pass.
        if embeddings(&stage.ops) > known {
            let fix = "begin stage 1 with it: `flatten` and `reshape` alone may stand before it there";
            let problem = "`embedding` takes the data's tokens, not what other operations make of them";
            return conflict(index, problem.to_owned(), fix.to_owned());
        }
    }
    match (first, sample.largest_token) {
        (Some(_), _) if sample.is_scaled => {
            let (problem, fix) = scaled(job, sample);
            conflict(0, format!("`embedding` takes tokens, the data are {problem}"), fix.to_owned())
        }
        (None, Some(token)) => {
            let fix =
                format!("begin it with {{ op = \"embedding\", vocabulary = {}, width = 128 }}", u32::from(token) + 1);
            match job.data.source.form() {
                Some(_) => conflict(
                    0,
                    "it does not begin with an `embedding`, but the data are uint16, which are tokens".to_owned(),
                    format!(
                        "save numbers, as of 16-bit images, with .astype(numpy.float32), or, where they are tokens, {fix}"
                    ),
                ),
                None => conflict(0, "it does not begin with an `embedding`, but the data are tokens".to_owned(), fix),
            }
        }
        _ => Ok(()),
    }
}

/// How many embeddings there are among `ops`, those within a `residual` too.
fn embeddings(ops: &[Op]) -> usize {
    let of = |op: &Op| match op {
        Op::Embedding(_) => 1,
        Op::Residual(residual) => embeddings(&residual.ops),
        _ => 0,
    };
    ops.iter().map(of).sum()
}

/// What the data are, which are scaled, and what to do so that tokens stay as they are.
fn scaled(job: &Job, sample: &Sample) -> (&'static str, &'static str) {
    let is_array = job.data.source.form().is_some();
    match (sample.element == Element::U8, job.data.normal.is_some()) {
        (true, _) if !is_array => ("pixels", "take a source of tokens, such as \"tokens\" or \"text\""),
        (true, true) => (
            "scaled, and moved by data.mean and data.std",
            "leave both out, and write data.scale = 1 or save tokens as uint16, with .astype(numpy.uint16)",
        ),
        (true, false) => {
            ("bytes that are scaled", "write data.scale = 1, or save them as uint16, with .astype(numpy.uint16)")
        }
        (false, _) => ("moved or scaled by data.mean and data.std", "leave both out"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::chain;
    use crate::job::sample::Expected;
    use crate::job::tests::{JOB, classes, parse};

    #[test]
    fn tokens_go_into_an_embedding() {
        let tokens = |largest| Sample {
            element: Element::U16,
            largest_token: Some(largest),
            wanted: Some(Expected::Classes { places: 8, classes: 10 }),
            ..classes([8], 0)
        };
        let network = |first: &str| {
            let stages = format!("stage=[{{ ops = [{first}] }}, {{ ops = [{{ op = \"linear\", out = 10 }}] }}]");
            parse(JOB, &[&stages]).unwrap()
        };
        let embedding = network("{ op = \"embedding\", vocabulary = 10, width = 4 }");
        assert_eq!(chain(&embedding, &tokens(9)).unwrap()[0].bytes(2), 2 * 2 * 8);
        assert_eq!(embedding.embedding().map(|first| first.vocabulary), Some(10));
        assert_eq!(parse(JOB, &[]).unwrap().embedding(), None);
        let floats = |is_scaled| Sample { element: Element::F32, is_scaled, largest_token: None, ..tokens(9) };
        let bytes = |is_scaled| Sample { element: Element::U8, ..floats(is_scaled) };
        let with_data = |data: &str| parse(&embedding.to_toml(), &[&format!("data={{ {data} }}")]).unwrap();
        let array = "source = \"npz\", path = \"x\"";
        for (job, sample, words) in [
            (with_data(array), bytes(true), "bytes that are scaled; write data.scale = 1, or save them as uint16"),
            (
                with_data(&format!("{array}, mean = 1, std = 2")),
                bytes(true),
                "scaled, and moved by data.mean and data.std; leave both out, and write data.scale = 1 or save tokens as uint16",
            ),
            (
                with_data(&format!("{array}, mean = 1, std = 2")),
                floats(true),
                "moved or scaled by data.mean and data.std; leave both out",
            ),
            (embedding.clone(), bytes(true), "pixels; take a source of tokens, such as \"tokens\" or \"text\""),
        ] {
            assert!(chain(&job, &Sample { is_scaled: false, ..sample.clone() }).is_ok());
            let message = chain(&job, &sample).unwrap_err().to_string();
            assert!(
                message.contains(&format!("stage 1: `embedding` takes tokens, the data are {words}")),
                "{message}"
            );
        }
        let linear = network("{ op = \"linear\", out = 8 }");
        let message = chain(&linear, &tokens(9)).unwrap_err().to_string();
        assert!(
            message.contains("does not begin with an `embedding`, but the data are tokens; begin it with"),
            "{message}"
        );
        assert!(message.contains("vocabulary = 10"), "{message}");
        // Of an array nobody knows whether it holds tokens or numbers.
        let array = parse(&linear.to_toml(), &[&format!("data={{ {array} }}")]).unwrap();
        let message = chain(&array, &tokens(9)).unwrap_err().to_string();
        for words in ["the data are uint16, which are tokens", ".astype(numpy.float32), or", "vocabulary = 10"] {
            assert!(message.contains(words), "{message}");
        }
    }

    /// An embedding takes the numbers of its rows. What other operations compute is none.
    #[test]
    fn an_embedding_takes_the_data_alone() {
        const EMBEDDING: &str = "{ op = \"embedding\", vocabulary = 10, width = 8 }";
        let network = |stages: [&str; 2]| {
            let stages = stages.map(|ops| format!("{{ ops = [{ops}] }}"));
            chain(&parse(JOB, &[&format!("stage=[{}]", stages.join(", "))]).unwrap(), &classes([8], 64))
        };
        let reshaped = format!("{{ op = \"reshape\", shape = [2, 4] }}, {{ op = \"flatten\" }}, {EMBEDDING}");
        assert!(network([&reshaped, "{ op = \"flatten\" }"]).is_ok());
        let flat = "{ op = \"flatten\" }";
        for (stages, stage) in [
            ([&format!("{{ op = \"relu\" }}, {EMBEDDING}")[..], flat], 1),
            ([flat, EMBEDDING], 2),
            ([&format!("{EMBEDDING}, {{ op = \"linear\", out = 1 }}, {flat}, {EMBEDDING}"), flat], 1),
            (
                [
                    &format!("{{ op = \"residual\", ops = [{EMBEDDING}, {{ op = \"linear\", out = 1 }}, {flat}] }}"),
                    flat,
                ],
                1,
            ),
        ] {
            let message = network(stages).unwrap_err().to_string();
            let words = format!(
                "stage {stage}: `embedding` takes the data's tokens, not what other operations make of them; begin stage 1 with it"
            );
            assert!(message.contains(&words), "{message}");
        }
    }
}
