//! Jobs as they are written, and as they are miswritten.

use std::time::Duration;

use super::*;

const JOB: &str = r#"
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

fn parse(text: &str, sets: &[&str]) -> Result<Job, JobError> {
    Job::parse("job.toml", text, &sets.iter().map(ToString::to_string).collect::<Vec<_>>())
}

fn refused(text: &str, sets: &[&str]) -> String {
    parse(text, sets).unwrap_err().to_string()
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
    let job = parse(JOB, &[]).unwrap();
    assert_eq!(job.transport.timeout, Duration::from_secs(120));
    assert_eq!((job.mix.hops, job.mix.relays, job.ranks()), (3, 3, 6));
    assert_eq!(parse(JOB, &["mix.profile=bare"]).unwrap().ranks(), 3);
}

/// What is printed has whole milliseconds; so has what is read, or the printed job would be another.
#[test]
fn timeouts_are_whole_milliseconds() {
    for (written, read) in [("1.0005s", 1001), ("0.0001h", 360), ("1.4ms", 1), ("8784h", 31_622_400_000)] {
        let job = parse(JOB, &[&format!("transport.timeout=\"{written}\"")]).unwrap();
        assert_eq!(job.transport.timeout, Duration::from_millis(read), "{written}");
        assert_eq!(parse(&job.to_toml(), &[]).unwrap(), job, "{written}");
    }
    for written in ["0.4ms", "8785h", "1e3s", "1.2.3s", "s"] {
        assert!(refused(JOB, &[&format!("transport.timeout=\"{written}\"")]).contains("transport.timeout"));
    }
}

#[test]
fn a_pace_is_a_word_or_the_time_of_a_slot() {
    let us = |us| Pace::Slots(Duration::from_micros(us));
    let read = [("lockstep", Pace::Lockstep), ("auto", Pace::Auto), ("2ms", us(2000)), ("0.05ms", us(50))];
    for (written, pace) in read.into_iter().chain([("1h", us(3_600_000_000)), ("20us", us(20))]) {
        let job = parse(JOB, &[&format!("mix.pace=\"{written}\"")]).unwrap();
        assert_eq!(job.mix.pace, pace, "{written}");
        assert_eq!(parse(&job.to_toml(), &[]).unwrap(), job, "{written}");
    }
    assert_eq!(parse(JOB, &[]).unwrap().mix.pace, Pace::Lockstep);
    for written in ["fast", "", "19us", "2h", "-1ms", "2"] {
        assert!(refused(JOB, &[&format!("mix.pace=\"{written}\"")]).contains("mix.pace"), "{written}");
    }
}

#[test]
fn sets_go_on_top() {
    let job = parse(JOB, &["train.epochs=9", "train.lr=0.05", "mix.relays=5", "name=other", "data.validation=0.25"])
        .unwrap();
    assert_eq!(job.train.epochs, 9);
    assert_eq!(job.train.optimizer, Optimizer::Sgd { lr: 0.05, momentum: 0.9 });
    assert_eq!((job.mix.relays, job.name.as_str(), job.data.validation), (5, "other", 0.25));
    assert!(refused(JOB, &["train.epochs"]).contains("there is no `=`"));
    assert!(refused(JOB, &["name.first=1"]).contains("`name` is no table"));
    assert!(
        refused(JOB, &["train.epochs=many"])
            .contains("--set train.epochs=many: `train.epochs` is the string \"many\"")
    );
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

#[test]
fn values_must_go_together() {
    assert!(refused(JOB, &["train.micro_batch=64"]).contains("micro_batch = 64 exceeds batch = 32"));
    assert!(
        refused(JOB, &["train.micro_batch=5"]).contains("does not divide batch = 32; take one of 1, 2, 4, 8, 16, 32")
    );
    assert!(refused(JOB, &["mix.relays=62"]).contains("at most 64 ranks"));
    let one = JOB[..JOB.rfind("[[stage]]").unwrap()].to_owned();
    assert!(refused(&one, &[]).contains("needs at least 2 stages"));
    assert!(refused(&one[..one.rfind("[[stage]]").unwrap()], &[]).contains("lacks the key `stage`"));
    assert!(refused(JOB, &["stage=[]"]).contains("a list of 0; expected 1 to 63 stages"));
    assert!(refused(JOB, &["mix.hops=2"]).contains("from 3 to 4"));
}

#[test]
fn shapes_chain_from_the_data_to_the_classes() {
    let job = parse(JOB, &[]).unwrap();
    let boundaries = chain(&job, &Shape::new([1, 8, 8]), 10).unwrap();
    let found: Vec<(u32, u32)> = boundaries.iter().map(|boundary| (boundary.features(), boundary.width)).collect();
    assert_eq!(found, [(64, 1), (16, 4), (10, 4)]);
    let error = chain(&job, &Shape::new([7, 3, 3]), 10).unwrap_err().to_string();
    assert!(error.contains("stage 1: `linear` takes 64 values a sample, but gets 63"), "{error}");
    let error = chain(&job, &Shape::new([64]), 12).unwrap_err().to_string();
    assert!(error.contains("gives 10 values a sample, the data has 12 classes"), "{error}");
}
