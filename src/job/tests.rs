//! Whole jobs as they are written, and as they are miswritten. Tests of single tables, which stand in their files, start from the same
//! job.

use super::*;
use crate::element::Element;

/// A job of two stages on the digits. Its first stage stands in line 14.
pub(super) const JOB: &str = r#"
name = "test"
seed = 7

[data]
source = "digits"

[train]
epochs = 2
batch = 32
micro_batch = 8
optimizer = { kind = "sgd", lr = 0.1, momentum = 0.9 }

[[stage]]
ops = [{ op = "linear", in = 64, out = 16 }, { op = "relu" }]
[[stage]]
ops = [{ op = "linear", out = 10, bias = false }]
"#;

/// The job `text` with these `--set` on top.
pub(super) fn parse(text: &str, sets: &[&str]) -> Result<Job, JobError> {
    Job::parse("job.toml", text, &sets.iter().map(ToString::to_string).collect::<Vec<_>>())
}

/// Why the job `text` with these `--set` on top is refused.
#[track_caller]
pub(super) fn refused(text: &str, sets: &[&str]) -> String {
    parse(text, sets).unwrap_err().to_string()
}

/// [`JOB`] with these operations in its first stage.
pub(super) fn with_ops(ops: &str) -> Job {
    let first = "{ op = \"linear\", in = 64, out = 16 }, { op = \"relu\" }";
    parse(&JOB.replace(first, ops), &[]).unwrap()
}

/// Data of bytes of this shape, each sample of one of `count` classes.
pub(super) fn classes(shape: impl Into<Vec<u32>>, count: u32) -> Sample {
    let wanted = Some(Expected::Classes { places: 1, classes: count });
    let (element, shape) = (Element::U8, Shape::new(shape));
    Sample { shape, element, is_scaled: false, largest_token: None, is_one_hot: false, wanted }
}

#[test]
fn the_resolved_job_is_read_back_the_same() {
    for sets in [
        &[][..],
        &["mix.profile=bare", "transport.timeout=\"250ms\"", "seed=\"a longer seed\"", "trust.ranks=the ranks"],
    ] {
        let job = parse(JOB, sets).unwrap();
        let again = Job::parse("resolved", &job.to_toml(), &[]).unwrap();
        assert_eq!(again, job);
    }
}

/// The resolved job has all tables, those left out that would be empty.
#[test]
fn the_resolved_job_has_all_tables() {
    let keys = |sets: &[&str]| {
        let job = parse(JOB, sets).unwrap();
        let toml: Table = job.to_toml().parse().unwrap();
        assert_eq!(job.to_json(), serde_json::to_value(&toml).unwrap());
        toml.keys().cloned().collect::<Vec<String>>()
    };
    let due = ["checkpoint", "compute", "data", "mix", "name", "output", "seed", "stage", "train", "transport"];
    assert_eq!(keys(&[]), due);
    let due = [
        "checkpoint",
        "compute",
        "data",
        "init",
        "mix",
        "name",
        "output",
        "seed",
        "stage",
        "train",
        "transport",
        "trust",
    ];
    assert_eq!(keys(&["init.from=a file", "trust.ranks=another"]), due);
}

#[test]
fn a_name_is_that_of_a_folder() {
    for name in ["a", "7", "digits-2_b.c", "zähler"] {
        assert_eq!(parse(JOB, &[&format!("name=\"{name}\"")]).unwrap().name, name);
    }
    for name in ["", ".", ".hidden", "a/b", "a b", "a\tb"] {
        let found = refused(JOB, &[&format!("name={name:?}")]);
        assert!(found.contains(&format!("`name` is {name:?}; expected a name of letters, digits")), "{found}");
    }
    let found = refused(&JOB.replace("name = \"test\"", ""), &[]);
    assert!(found.contains("the job lacks the key `name`: a name of letters"), "{found}");
}

#[test]
fn a_seed_is_a_number_or_a_string() {
    for (written, seed) in [("7", "7"), ("-1", "-1"), ("\"a longer seed\"", "a longer seed")] {
        let job = parse(JOB, &[&format!("seed={written}")]).unwrap();
        assert_eq!((job.seed.as_str(), job.seed_drawn), (seed, false));
    }
    for written in ["\"\"", "1.5", "[]"] {
        let found = refused(JOB, &[&format!("seed={written}")]);
        assert!(found.contains("expected a whole number or a string"), "{found}");
    }
}

#[test]
fn a_seed_that_is_absent_is_drawn() {
    let text = JOB.replace("seed = 7", "");
    let (one, other) = (parse(&text, &[]).unwrap(), parse(&text, &[]).unwrap());
    assert!(one.seed_drawn && one.seed.len() == 64 && one.seed != other.seed);
}

#[test]
fn errors_name_the_place_and_the_nearest_key() {
    let found = refused(&JOB.replace("micro_batch = 8", "microbatch = 8"), &[]);
    assert!(
        found.starts_with("job.toml:11:1: unknown key `microbatch` in [train]; did you mean `micro_batch`?"),
        "{found}"
    );
    let found = refused(&JOB.replace("epochs = 2", "epoch = 2"), &[]);
    assert!(found.starts_with("job.toml:9:1: unknown key `epoch`"), "{found}");
    let found = refused(&JOB.replace("batch = 32", "batch = \"32\""), &[]);
    assert!(found.contains("`train.batch` is the string \"32\"; expected a whole number from 1"), "{found}");
    let found = refused(&JOB.replace("epochs = 2", "epochs 2"), &[]);
    assert!(found.starts_with("job.toml:9:"), "{found}");
    let found = refused(&JOB.replace("out = 16", "out = 0"), &[]);
    assert!(found.contains("job.toml:15:"), "{found}");
    let found = refused(&JOB.replace("\"relu\"", "\"rleu\""), &[]);
    assert!(found.contains("expected \"linear\" or \"relu\""), "{found}");
}
