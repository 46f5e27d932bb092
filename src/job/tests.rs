//! Jobs as they are written, and as they are miswritten.

use std::time::Duration;

use super::*;
use crate::element::Element;

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
    let dropping = parse(JOB, &["train.drop_last=true"]).unwrap();
    assert!(dropping.train.drop_last && parse(&dropping.to_toml(), &[]).unwrap() == dropping);
    let job = parse(JOB, &[]).unwrap();
    assert!(!job.train.drop_last);
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
        let job = parse(JOB, &["transport.timeout=9h", &format!("mix.pace=\"{written}\"")]).unwrap();
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
    assert_eq!((job.train.optimizer, job.train.rate.peak), (Optimizer::sgd(0.9), 0.05));
    assert_eq!((job.mix.relays, job.name.as_str(), job.data.validation), (5, "other", 0.25));
    assert!(refused(JOB, &["train.epochs"]).contains("there is no `=`"));
    let found = refused(JOB, &["name.first=1"]);
    let due = "`name` is the string \"test\", not a table; set all of it, with --set name=value";
    assert!(found.ends_with(due), "{found}");
    assert!(
        refused(JOB, &["train.epochs=many"])
            .contains("--set train.epochs=many: `train.epochs` is the string \"many\"")
    );
}

/// A word is short for a table, also where a `--set` goes on below it.
#[test]
fn a_short_form_opens_into_its_table() {
    let with = |line: &str| JOB.replace("optimizer = { kind = \"sgd\", lr = 0.1, momentum = 0.9 }", line);
    let words = with("optimizer = \"adamw\"\nloss = \"cross_entropy\"\nschedule = \"cosine\"");
    let tables = with(
        "optimizer = { kind = \"adamw\" }\nloss = { kind = \"cross_entropy\" }\nschedule = { kind = \"cosine\" }",
    );
    assert_eq!(parse(&words, &[]).unwrap(), parse(&tables, &[]).unwrap());
    assert_eq!(parse(&with("optimizer = \"sgd\""), &[]).unwrap(), parse(&with(""), &[]).unwrap());
    let sets = ["train.loss.label_smoothing=0.1", "train.lr=0.01", "train.schedule.warmup=5"];
    let job = parse(&words, &sets).unwrap();
    assert_eq!(job, parse(&tables, &sets).unwrap());
    assert_eq!(job.train.loss, Loss::CrossEntropy { smoothing: 0.1, ignored: None });
    assert_eq!((job.train.optimizer.weight_decay, job.train.rate.peak, job.train.rate.warmup), (0.01, 0.01, 5));
    // A word on top takes the whole table's place, and a later one goes on below it.
    let job = parse(JOB, &["train.optimizer=adam", "train.optimizer.eps=1e-6"]).unwrap();
    assert_eq!(job, parse(JOB, &["train.optimizer={ kind = \"adam\", eps = 1e-6 }"]).unwrap());
    assert!(overrides::KINDS.iter().all(|key| parse(&words, &[&format!("{key}.warp=1")]).is_err()));
    // Errors point at the word, or at what went on below it.
    for (line, sets, words) in [
        (
            "optimizer = \"adamx\"",
            &[][..],
            "job.toml:12:13: `train.optimizer` is the string \"adamx\"; expected \"sgd\"",
        ),
        ("optimizer = 3", &[], "job.toml:12:13: `train.optimizer` is the integer 3; expected \"sgd\" or \"adam\""),
        ("optimizer = \"adamx\"", &["train.lr=1"], "job.toml:12:13: `optimizer.kind` is the string \"adamx\""),
        (
            "loss = \"mean_squared_error\"",
            &["train.loss.ignore_index=1"],
            "--set train.loss.ignore_index=1: unknown key",
        ),
        ("schedule = \"step\"", &[], "job.toml:12:12: [schedule] lacks the key `every`"),
        ("optimizer = 3", &["train.lr=1"], "--set train.lr=1: `train.optimizer` is the integer 3, not a table"),
    ] {
        let found = refused(&with(line), sets);
        assert!(found.starts_with(words), "{line} {sets:?}: {found}");
    }
}

#[test]
fn optimizers_say_what_they_take() {
    let optimizer = |keys: &str| format!("train.optimizer={{ {keys} }}");
    let adam = parse(JOB, &[&optimizer("kind = \"adam\""), "train.clip={ norm = 1 }"]).unwrap().train;
    let rule = Rule::Adam { betas: [0.9, 0.999], eps: 1e-8, decoupled: false };
    assert_eq!(adam.optimizer, Optimizer { rule, weight_decay: 0.0, clip: Some(Clip::Norm(1.0)) });
    assert_eq!(adam.rate.peak, 1e-3);
    assert_eq!(parse(JOB, &[&optimizer("kind = \"adamw\"")]).unwrap().train.optimizer.weight_decay, 0.01);
    for (set, words) in [
        (optimizer("kind = \"adam\", momentum = 0.9"), "unknown key `momentum`"),
        (optimizer("kind = \"sgd\", betas = [0.9, 0.9]"), "unknown key `betas`"),
        (optimizer("kind = \"lion\""), "\"sgd\" or \"adam\" or \"adamw\""),
        (optimizer("kind = \"adam\", betas = [0.9, 1.0]"), "two parts from 0 up to, not including, 1"),
        (optimizer("kind = \"adam\", betas = [0.9]"), "two parts from 0 up to, not including, 1"),
        (optimizer("kind = \"adam\", eps = 0"), "a small number above 0"),
        (optimizer("nesterov = true"), "nesterov = true without momentum; set momentum = 0.9"),
        (optimizer("weight_decay = -0.1"), "a number of 0 or above"),
        ("train.clip={ value = 1, norm = 1 }".to_owned(), "both value and norm; keep one of them"),
        ("train.clip={ norm = 0 }".to_owned(), "a bound above 0"),
        ("train.schedule={ kind = \"step\" }".to_owned(), "lacks the key `every`"),
        ("train.schedule={ kind = \"step\", every = 1, factor = 2 }".to_owned(), "a factor above 0 and up to 1"),
        ("train.schedule={ kind = \"cosine\", least = 0.2 }".to_owned(), "a rate from 0 to the learning rate, 0.1"),
        ("train.schedule={ every = 1 }".to_owned(), "unknown key `every`"),
    ] {
        let found = refused(JOB, &[&set]);
        assert!(found.contains(words), "{set}: {found}");
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

#[test]
fn values_must_go_together() {
    assert!(refused(JOB, &["train.micro_batch=64"]).contains("micro_batch = 64 exceeds batch = 32"));
    assert!(
        refused(JOB, &["train.micro_batch=5"]).contains("does not divide batch = 32; take one of 1, 2, 4, 8, 16, 32")
    );
    assert!(refused(JOB, &["mix.relays=62"]).contains("at most 64 ranks"));
    let one = JOB[..JOB.rfind("[[stage]]").unwrap()].to_owned();
    let shared = parse(&one, &[]).unwrap().can_be_shared().unwrap_err().to_string();
    assert!(shared.contains("needs at least 2 stages on ranks, the job has 1"), "{shared}");
    assert!(parse(&one, &["mix.profile=sealed"]).unwrap().can_be_shared().is_ok());
    assert!(refused(&one[..one.rfind("[[stage]]").unwrap()], &[]).contains("lacks the key `stage`"));
    assert!(refused(JOB, &["stage=[]"]).contains("a list of 0; expected 1 to 63 stages"));
    assert!(refused(JOB, &["mix.hops=2"]).contains("from 3 to 4"));
}

/// Bytes of this shape, one of `count` classes each.
fn classes(shape: impl Into<Vec<u32>>, count: u32) -> Sample {
    let wanted = Some(Wanted::Classes { places: 1, classes: count });
    let (element, shape) = (Element::U8, Shape::new(shape));
    Sample { shape, element, is_scaled: false, largest_token: None, is_one_hot: false, wanted }
}

#[test]
fn a_loss_is_a_word_or_a_table() {
    let loss = |text: &str| {
        let job = parse(JOB, &[&format!("train.loss={text}")]).unwrap();
        assert_eq!(parse(&job.to_toml(), &[]).unwrap(), job, "{text}");
        job.train.loss
    };
    let cross_entropy = |smoothing, ignored| Loss::CrossEntropy { smoothing, ignored };
    assert_eq!(loss("cross_entropy"), cross_entropy(0.0, None));
    assert_eq!(loss("{ label_smoothing = 0.1 }"), cross_entropy(0.1, None));
    assert_eq!(loss("{ kind = \"cross_entropy\", ignore_index = -100 }"), cross_entropy(0.0, Some(-100)));
    assert_eq!(loss("mean_squared_error"), Loss::MeanSquaredError);
    assert_eq!(loss("{ kind = \"binary_cross_entropy\" }"), Loss::BinaryCrossEntropy);
    assert_eq!(parse(JOB, &[]).unwrap().train.loss, cross_entropy(0.0, None));
    for (text, words) in [
        ("hinge", "expected \"cross_entropy\" or \"mean_squared_error\" or \"binary_cross_entropy\""),
        ("{ label_smoothing = 1.5 }", "a part from 0 to 1"),
        ("{ label_smothing = 0.1 }", "did you mean `label_smoothing`?"),
        ("{ kind = \"mean_squared_error\", ignore_index = 1 }", "unknown key `ignore_index`"),
    ] {
        let message = refused(JOB, &[&format!("train.loss={text}")]);
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn the_last_stage_gives_what_the_targets_are_compared_with() {
    let with = |last: &str, loss: &str, sample: &Sample| {
        let stages = format!("stage=[{{ ops = [{{ op = \"reshape\", shape = [8, 8] }}] }}, {{ ops = [{last}] }}]");
        chain(&parse(JOB, &[&stages, &format!("train.loss={loss}")]).unwrap(), sample)
            .map_err(|error| error.to_string())
    };
    let (linear, flat) = (|out| format!("{{ op = \"linear\", out = {out} }}"), "{ op = \"flatten\" }, ");
    let wanting = |wanted| Sample { wanted: Some(wanted), ..classes([1, 8, 8], 0) };
    let tokens = wanting(Wanted::Classes { places: 8, classes: 5 });
    assert!(with(&linear(5), "cross_entropy", &tokens).is_ok());
    for last in [linear(6), format!("{flat}{}", linear(40))] {
        let message = with(&last, "cross_entropy", &tokens).unwrap_err();
        assert!(message.contains("a label of 5 classes for each of 8 places"), "{message}");
        assert!(message.contains("a place"), "{message}");
    }
    let values = wanting(Wanted::Values(3));
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

#[test]
fn tokens_go_into_an_embedding() {
    let tokens = |largest| Sample {
        element: Element::U16,
        largest_token: Some(largest),
        wanted: Some(Wanted::Classes { places: 8, classes: 10 }),
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
        assert!(message.contains(&format!("stage 1: `embedding` takes tokens, the data are {words}")), "{message}");
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

/// What other operations compute is no number of a row.
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
        ([&format!("{{ op = \"residual\", ops = [{EMBEDDING}, {{ op = \"linear\", out = 1 }}, {flat}] }}"), flat], 1),
    ] {
        let message = network(stages).unwrap_err().to_string();
        let words = format!(
            "stage {stage}: `embedding` takes the data's tokens, not what other operations make of them; begin stage 1 with it"
        );
        assert!(message.contains(&words), "{message}");
    }
}

#[test]
fn operations_learn_from_enough_samples() {
    let fewest = |op: &str, shape: &[u32]| with_ops(op).stages[0].ops[0].fewest(&Shape::new(shape));
    const NORM: &str = "{ op = \"batch_norm\" }";
    for (shape, due) in [(&[8][..], 2), (&[1], 2), (&[8, 1, 1], 2), (&[8, 1, 2], 1), (&[1, 3, 1], 1)] {
        assert_eq!(fewest(NORM, shape), due, "{shape:?}");
        let residual = |ops: &str| format!("{{ op = \"residual\", ops = [{ops}] }}");
        assert_eq!(fewest(&residual(&format!("{{ op = \"relu\" }}, {}", residual(NORM))), shape), due, "{shape:?}");
    }
    assert_eq!(fewest("{ op = \"relu\" }", &[8]), 1);
    // What goes in within it counts, not what goes into it.
    let pooled = "{ op = \"residual\", ops = [{ op = \"global_avg_pool\" }, { op = \"batch_norm\" }] }";
    assert_eq!(fewest(pooled, &[8, 2, 2]), 2);
}

#[test]
fn the_owner_hosts_stages_at_either_end() {
    let places = |places: &[&str]| {
        let stage = |place: &&str| format!("{{ ops = [{{ op = \"linear\", out = 10 }}], at = \"{place}\" }}");
        format!("stage=[{}]", places.iter().map(stage).collect::<Vec<String>>().join(", "))
    };
    for (at, remote) in [
        (&["rank", "rank"][..], 0..2),
        (&["owner", "rank", "rank"], 1..3),
        (&["rank", "rank", "owner", "owner"], 0..2),
        (&["owner", "rank", "rank", "owner"], 1..3),
    ] {
        let job = parse(JOB, &[&places(at)]).unwrap();
        assert_eq!(job.remote(), remote);
        assert_eq!(usize::from(job.ranks()), 6.max(1 + 3 + remote.len()));
        assert_eq!(parse(&job.to_toml(), &[]).unwrap(), job);
    }
    for (at, words) in [
        (&["rank", "owner", "rank"][..], "stands between stages on ranks"),
        (&["owner", "owner"], "all stages have at = \"owner\""),
        (&["owner", "rank", "owner"], "needs at least 2 stages on ranks, the job has 1"),
        (&["relay", "rank"], "expected \"rank\" or \"owner\""),
    ] {
        let read = parse(JOB, &[&places(at)]);
        let message = read.and_then(|job| job.can_be_shared()).unwrap_err().to_string();
        assert!(message.contains(words), "{message}");
    }
    assert_eq!(parse(JOB, &[&places(&["owner", "rank"]), "mix.profile=bare"]).unwrap().ranks(), 2);
}

#[test]
fn shapes_chain_from_the_data_to_the_classes() {
    let job = parse(JOB, &[]).unwrap();
    let boundaries = chain(&job, &classes([1, 8, 8], 10)).unwrap();
    let found: Vec<(u32, u32)> = boundaries.iter().map(|boundary| (boundary.features(), boundary.width)).collect();
    assert_eq!(found, [(64, 1), (16, 4), (10, 4)]);
    let error = chain(&job, &classes([7, 3, 3], 10)).unwrap_err().to_string();
    assert!(error.contains("stage 1: `linear` takes 64 values a sample, but gets 63"), "{error}");
    let error = chain(&job, &classes([64], 12)).unwrap_err().to_string();
    assert!(error.contains("gives 10 values a sample, (10); the data have 12 classes"), "{error}");
}

/// A job whose first stage has these operations and a linear one.
fn with_ops(ops: &str) -> Job {
    let first = "{ op = \"linear\", in = 64, out = 16 }, { op = \"relu\" }";
    parse(&JOB.replace(first, ops), &[]).unwrap()
}

#[test]
fn operations_say_what_they_take_and_what_they_get() {
    let shapes = |ops: &str, count| chain(&with_ops(ops), &classes([1, 8, 8], count)).unwrap()[1].shape.to_string();
    let shape = |ops: &str| shapes(ops, 10);
    assert_eq!(shape("{ op = \"conv2d\", out = 4, kernel = [3, 2], stride = [2, 1], padding = 1 }"), "(4, 4, 9)");
    assert_eq!(shape("{ op = \"max_pool\", kernel = 3 }"), "(1, 2, 2)");
    assert_eq!(shapes("{ op = \"reshape\", shape = [16, 4] }, { op = \"linear\", out = 5 }", 160), "(16, 5)");
    assert_eq!(shape("{ op = \"reshape\", shape = 64 }"), "(64)");
    assert_eq!(shapes("{ op = \"flatten\" }, { op = \"embedding\", vocabulary = 17, width = 4 }", 640), "(64, 4)");
    for (ops, words) in [
        (
            "{ op = \"flatten\" }, { op = \"conv2d\", out = 4, kernel = 3 }",
            "`conv2d` takes an image (channels, height, width), but gets (64); put a `reshape` before it",
        ),
        (
            "{ op = \"conv2d\", out = 4, kernel = 9 }",
            "images of at least 9x9 with their padding, but gets (1, 8, 8); take a smaller `kernel`",
        ),
        (
            "{ op = \"conv2d\", out = 4, kernel = 3, groups = 2 }",
            "channels in 2 equal groups, but gets (1, 8, 8); let `groups` divide 1 and `out`, 4",
        ),
        ("{ op = \"max_pool\", kernel = 3, padding = 2 }", "a padding of at most half its kernel"),
        ("{ op = \"flatten\" }, { op = \"avg_pool\", kernel = 2 }", "`avg_pool` takes an image"),
        ("{ op = \"flatten\" }, { op = \"global_avg_pool\" }", "`global_avg_pool` takes an image"),
        (
            "{ op = \"reshape\", shape = [3, 20] }",
            "60 values a sample to make (3, 20) of them, but gets (1, 8, 8); name a shape of 64 values",
        ),
        (
            "{ op = \"linear\", out = 1 }, { op = \"layer_norm\" }",
            "`layer_norm` takes two values or more, but gets (1); leave it out",
        ),
        (
            "{ op = \"linear\", out = 8 }, { op = \"group_norm\", groups = 8 }",
            "`group_norm` takes two values a group or more, but gets (8); take fewer than 8 groups",
        ),
        (
            "{ op = \"reshape\", shape = [8, 8] }, { op = \"batch_norm\" }",
            "`batch_norm` takes images or vectors, but gets (8, 8)",
        ),
        (
            "{ op = \"reshape\", shape = [8, 8] }, { op = \"group_norm\", groups = 2 }",
            "`group_norm` takes images or vectors",
        ),
        ("{ op = \"position\" }", "`position` takes a sequence (tokens, width), but gets (1, 8, 8); put a `reshape`"),
        (
            "{ op = \"attention\", heads = 2 }",
            "`attention` takes a sequence (tokens, width), but gets (1, 8, 8); put a",
        ),
        (
            "{ op = \"reshape\", shape = [8, 8] }, { op = \"attention\", heads = 3 }",
            "`attention` takes tokens of 3 equal heads, but gets (8, 8); take heads = 2",
        ),
        (
            "{ op = \"reshape\", shape = [8, 8] }, { op = \"attention\", heads = 8, rotary = true }",
            "heads of an even width where `rotary` is true, but gets (8, 8); take heads = 4",
        ),
        (
            "{ op = \"embedding\", vocabulary = 17, width = 4 }",
            "`embedding` takes a vector of tokens, but gets (1, 8, 8); put a `flatten` before it",
        ),
        ("{ op = \"group_norm\", groups = 3 }", "channels in 3 equal groups"),
        (
            "{ op = \"residual\", ops = [{ op = \"linear\", out = 63 }] }",
            "`residual` gets (1, 8, 8), but its operations make (63) of it; let them give 64 values, and end in",
        ),
        (
            "{ op = \"residual\", ops = [{ op = \"flatten\" }, { op = \"max_pool\", kernel = 2 }] }",
            "in `residual`, `max_pool` takes an image",
        ),
        (
            "{ op = \"linear\", out = 1000000 }, { op = \"relu\" }, { op = \"linear\", out = 900000 }, "
                .repeat(60)
                .trim_end_matches(", "),
            "values a sample, in micro-batches of 8; a stage keeps at most",
        ),
        (
            "{ op = \"conv2d\", out = 1000000, kernel = 1 }",
            "`conv2d` gives 64000000 values a sample, (1000000, 8, 8); an operation gives at most 1000000",
        ),
    ] {
        let error = chain(&with_ops(ops), &classes([1, 8, 8], 10)).unwrap_err().to_string();
        assert!(error.starts_with("job.toml:14:1: stage 1: ") && error.contains(words), "{ops}: {error}");
    }
}

#[test]
fn keys_of_operations_have_ranges() {
    let first = "{ op = \"linear\", in = 64, out = 16 }, { op = \"relu\" }";
    for (op, words) in [
        ("{ op = \"conv2d\", kernel = 3 }", "lacks the key `out`"),
        ("{ op = \"conv2d\", out = 3 }", "lacks the key `kernel`"),
        (
            "{ op = \"conv2d\", out = 3, kernel = 3, padding = 3 }",
            "`padding` is the integer 3; expected a whole number from 0",
        ),
        ("{ op = \"conv2d\", out = 3, kernel = [3, 3, 3] }", "`kernel` is a list of 3"),
        ("{ op = \"conv2d\", out = 3, kernel = 3, stride = 0 }", "the integer 0"),
        ("{ op = \"conv2d\", out = 3, kernel = 3, groups = 2 }", "a whole number that divides `out`"),
        ("{ op = \"max_pool\", kernels = 2 }", "did you mean `kernel`?"),
        ("{ op = \"attention\" }", "lacks the key `heads`"),
        ("{ op = \"attention\", heads = 0 }", "`heads` is the integer 0; expected a whole number from 1"),
        ("{ op = \"attention\", heads = 1, causal = 1 }", "true or false"),
        ("{ op = \"embedding\", width = 4 }", "lacks the key `vocabulary`"),
        ("{ op = \"embedding\", vocabulary = 4, width = 1000001 }", "a whole number from 1 to 1000000"),
        ("{ op = \"dropout\", p = 1 }", "a part from 0 up to, not including, 1"),
        ("{ op = \"batch_norm\", eps = 0 }", "a small number above 0"),
        ("{ op = \"batch_norm\", momentum = 2 }", "a part from 0 to 1"),
        ("{ op = \"gelu\", approximate = \"erf\" }", "\"none\" or \"tanh\""),
        ("{ op = \"residual\", ops = [] }", "one or more operations"),
        ("{ op = \"reshape\", shape = [1, 1, 1, 64] }", "one to three whole numbers"),
        ("{ op = \"relu\", p = 1 }", "unknown key `p`"),
    ] {
        let error = refused(&JOB.replace(first, op), &[]);
        assert!(error.starts_with("job.toml:15:") && error.contains(words), "{op}: {error}");
    }
    let deep = |depth: usize| {
        let [open, close] = ["{ op = \"residual\", ops = [", "] }"].map(|part| part.repeat(depth));
        JOB.replace(first, &format!("{open}{{ op = \"relu\" }}{close}"))
    };
    assert!(parse(&deep(8), &[]).is_ok());
    assert!(refused(&deep(9), &[]).contains("9 residual operations stand within each other; 8 may"));
}
