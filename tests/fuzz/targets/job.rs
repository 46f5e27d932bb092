//! Job files, with what `--set` lays on top: what is accepted is within the documented ranges, and is the same job when it
//! is printed and read again; what is refused says where and why.
//!
//! An input is a job's text and any number of `--set`s, with a zero byte before each.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use mixnn::ids::{Batch, Epoch};
use mixnn::job::op::Linear;
use mixnn::job::{Form, Job, JobError, MOST_FEATURES, MOST_RANKS, Normal, Op, Train};
use mixnn::nn::Rates;

fuzz_target!(|text: &str| {
    let mut parts = text.split('\0');
    let file = parts.next().unwrap_or_default();
    let sets: Vec<String> = parts.map(str::to_owned).collect();
    let job = match Job::parse("fuzzed.toml", file, &sets) {
        Ok(job) => job,
        Err(error) => return tells(&error),
    };
    within_ranges(&job);
    let printed = job.to_toml();
    let again = Job::parse("printed.toml", &printed, &[]);
    let again = again.unwrap_or_else(|error| panic!("what was printed is refused: {error}\n{printed}"));
    let train = Train { micro_batch_open: false, ..job.train.clone() };
    assert_eq!(again, Job { seed_drawn: false, train, ..job });
    assert_eq!(again.to_toml(), printed);
});

/// An error of a job names the place: in the file, or the `--set`.
fn tells(error: &JobError) {
    let text = error.to_string();
    assert!(text.starts_with("fuzzed.toml:") || text.starts_with("--set"), "no place: {text}");
}

fn within_ranges(job: &Job) {
    assert!(!job.name.is_empty() && !job.name.contains(['/', '\\']) && job.name != "..");
    assert!(!job.seed.is_empty() && (0.0..1.0).contains(&job.data.validation));
    let fits = |numbers: &[f64]| !numbers.is_empty() && numbers.iter().all(|number| (*number as f32).is_finite());
    if let Some(Normal { mean, std }) = &job.data.normal {
        assert!(fits(mean) && fits(std) && std.iter().all(|std| *std as f32 > 0.0));
    }
    if let Some(Form { shape: Some(shape), .. }) = job.data.source.form() {
        assert!(shape.fits() && shape.values() <= MOST_FEATURES);
    }
    assert!(job.init.from.is_some() || job.init.order.is_empty());
    let train = &job.train;
    assert!(train.micro_batch > 0 && train.batch.is_multiple_of(train.micro_batch));
    assert!(train.optimizer.fits() && train.rate.peak > 0.0 && train.rate.peak.is_finite());
    let rates = Rates::new(train.rate.clone(), train.epochs, 7);
    for batch in 0..7 {
        let rate = rates.at(Epoch(train.epochs.saturating_sub(1)), Batch(batch));
        assert!((0.0..=train.rate.peak).contains(&rate), "a rate of {rate}");
    }
    assert!((1..MOST_RANKS.into()).contains(&job.stages.len()) && job.ranks() <= MOST_RANKS);
    for stage in &job.stages {
        let fits = |op: &Op| op.fits() && !matches!(op, Op::Linear(Linear { input: Some(0), .. }));
        assert!(!stage.ops.is_empty() && stage.ops.iter().all(fits));
    }
    assert!((3..=4).contains(&job.mix.hops) && job.mix.cell >= 128);
    assert!((Duration::from_millis(1)..=Duration::from_secs(366 * 86_400)).contains(&job.transport.timeout));
}
