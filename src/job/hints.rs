//! Tests that follow the hints in a job's errors: what they say to do must help.

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
[[stage]]
ops = [{ op = "linear", out = 16 }, { op = "relu" }]
[[stage]]
ops = [{ op = "linear", out = 10 }]
"#;

/// The job `text` with these `--set` on top, once it fits the digits; else why it does not.
fn checked(text: &str, sets: &[&str]) -> Result<Job, JobError> {
    let sets: Vec<String> = sets.iter().map(ToString::to_string).collect();
    let job = Job::parse("job.toml", text, &sets)?;
    let wanted = Some(Expected::Classes { places: 1, classes: 10 });
    let shape = Shape::new([1, 8, 8]);
    chain(
        &job,
        &Sample { shape, element: Element::U8, is_scaled: true, largest_token: None, is_one_hot: false, wanted },
    )?;
    Ok(job)
}

/// [`JOB`] whose first stage begins with these operations.
fn ops(ops: &str) -> String {
    JOB.replace("{ op = \"linear\", out = 16 }", &format!("{ops}, {{ op = \"linear\", out = 16 }}"))
}

/// [`JOB`] with these keys, each written behind its table: `[mix] relays = 4`.
fn sets(sets: &[&str]) -> String {
    sets.iter().fold(JOB.to_owned(), |text, set| {
        let (table, key) = set.split_once(' ').unwrap();
        match text.contains(table) {
            true => text.replacen(table, &format!("{table}\n{key}"), 1),
            false => text.replacen("[[stage]]", &format!("{table}\n{key}\n[[stage]]"), 1),
        }
    })
}

/// Each case is a job that is refused, the hint in its error, and jobs that do as the hint says.
#[test]
fn what_a_hint_says_to_do_helps() {
    let stages = |places: &[&str]| {
        let head = &JOB[..JOB.find("[[stage]]").unwrap()];
        let stage = |place: &&str| format!("[[stage]]\nat = \"{place}\"\nops = [{{ op = \"linear\", out = 10 }}]\n");
        format!("{head}{}", places.iter().map(stage).collect::<String>())
    };
    let within = |inner: &str| ops(&format!("{{ op = \"residual\", ops = [{inner}] }}"));
    let sequence = |op: &str| ops(&format!("{{ op = \"reshape\", shape = [8, 8] }}, {op}"));
    let odd =
        |op: &str| ops(&format!("{{ op = \"linear\", out = 15 }}, {{ op = \"reshape\", shape = [3, 5] }}, {op}"));
    let large = |ops: usize, micro: u32| {
        let linear = "{ op = \"linear\", out = 1000000 }, ".repeat(ops);
        JOB.replace("batch = 32", &format!("batch = 32\nmicro_batch = {micro}")).replacen(
            "{ op",
            &format!("{linear}{{ op"),
            1,
        )
    };
    let cases: Vec<(String, &str, Vec<String>)> = vec![
        (
            sets(&["[train] micro_batch = 5"]),
            "take one of 1, 2, 4, 8, 16, 32",
            [1, 2, 4, 8, 16, 32].iter().map(|m| sets(&[&format!("[train] micro_batch = {m}")])).collect(),
        ),
        (
            sets(&["[train] optimizer = { nesterov = true }"]),
            "set momentum = 0.9, or leave `nesterov` out",
            vec![sets(&["[train] optimizer = { nesterov = true, momentum = 0.9 }"]), JOB.to_owned()],
        ),
        (
            sets(&["[train] clip = { value = 1, norm = 2 }"]),
            "keep one of them",
            vec![sets(&["[train] clip = { value = 1 }"]), sets(&["[train] clip = { norm = 2 }"])],
        ),
        (
            sets(&["[train] schedule = \"step\""]),
            "as in schedule = { kind = \"step\", every = 10 }",
            vec![sets(&["[train] schedule = { kind = \"step\", every = 10 }"])],
        ),
        (
            sets(&["[init] order = [\"a\"]"]),
            "name the file that has these modules, or leave `order` out",
            vec![sets(&["[init] from = \"file\"", "[init] order = [\"a\"]"]), JOB.to_owned()],
        ),
        (
            stages(&["rank", "owner", "rank"]),
            "the owner hosts the first stages, the last ones, or both",
            vec![stages(&["owner", "rank", "rank"]), stages(&["rank", "rank", "owner"])],
        ),
        (
            sets(&["[mix] depth = 1"]),
            "take a mix.depth above the number of stages on ranks, or leave it out",
            vec![sets(&["[mix] depth = 3"]), JOB.to_owned()],
        ),
        (
            sets(&["[mix] pace = \"1m\""]),
            "take shorter slots or a longer time-out",
            vec![sets(&["[mix] pace = \"1s\""]), sets(&["[mix] pace = \"1m\"", "[transport] timeout = \"9m\""])],
        ),
        (sets(&["[mix] relays = 510"]), "take fewer relays", vec![sets(&["[mix] relays = 509"])]),
        (
            ops("{ op = \"linear\", in = 63, out = 64 }"),
            "write in = 64, or leave `in` out",
            vec![ops("{ op = \"linear\", in = 64, out = 64 }"), ops("{ op = \"linear\", out = 64 }")],
        ),
        (
            ops("{ op = \"conv2d\", out = 4, kernel = 9 }"),
            "take a smaller `kernel`, or more `padding`",
            vec![
                ops("{ op = \"conv2d\", out = 4, kernel = 8 }"),
                ops("{ op = \"conv2d\", out = 4, kernel = 9, padding = 1 }"),
            ],
        ),
        (
            ops("{ op = \"conv2d\", out = 6, kernel = 1 }, { op = \"conv2d\", out = 4, kernel = 1, groups = 4 }"),
            "let `groups` divide 6 and `out`, 4",
            vec![ops(
                "{ op = \"conv2d\", out = 6, kernel = 1 }, { op = \"conv2d\", out = 4, kernel = 1, groups = 2 }",
            )],
        ),
        (
            ops("{ op = \"max_pool\", kernel = 3, padding = 2 }"),
            "take a smaller `padding`",
            vec![ops("{ op = \"max_pool\", kernel = 3, padding = 1 }")],
        ),
        (
            ops("{ op = \"flatten\" }, { op = \"max_pool\", kernel = 2 }"),
            "put a `reshape` before it, or take a `linear`",
            vec![
                ops(
                    "{ op = \"flatten\" }, { op = \"reshape\", shape = [1, 8, 8] }, { op = \"max_pool\", kernel = 2 }",
                ),
                ops("{ op = \"flatten\" }, { op = \"linear\", out = 9 }"),
            ],
        ),
        (
            ops("{ op = \"flatten\" }, { op = \"global_avg_pool\" }"),
            "leave it out",
            vec![ops("{ op = \"flatten\" }")],
        ),
        (
            ops("{ op = \"reshape\", shape = [3, 20] }"),
            "name a shape of 64 values",
            vec![ops("{ op = \"reshape\", shape = [4, 16] }, { op = \"flatten\" }")],
        ),
        (
            sequence("{ op = \"batch_norm\" }, { op = \"flatten\" }"),
            "take `layer_norm` for sequences",
            vec![sequence("{ op = \"layer_norm\" }, { op = \"flatten\" }")],
        ),
        (
            ops("{ op = \"group_norm\", groups = 3 }"),
            "let `groups` divide 1",
            vec![ops("{ op = \"group_norm\", groups = 1 }")],
        ),
        (
            ops("{ op = \"position\" }"),
            "put a `reshape` before it",
            vec![sequence("{ op = \"position\" }, { op = \"flatten\" }")],
        ),
        (
            sequence("{ op = \"attention\", heads = 3, rotary = true }"),
            "take heads = 2",
            vec![sequence("{ op = \"attention\", heads = 2, rotary = true }, { op = \"flatten\" }")],
        ),
        (
            sequence("{ op = \"attention\", heads = 8, rotary = true }"),
            "take heads = 4",
            vec![sequence("{ op = \"attention\", heads = 4, rotary = true }, { op = \"flatten\" }")],
        ),
        (
            odd("{ op = \"attention\", heads = 5, rotary = true }"),
            "take tokens of an even width, or leave `rotary` out",
            vec![odd("{ op = \"attention\", heads = 5 }, { op = \"flatten\" }")],
        ),
        (
            within("{ op = \"conv2d\", out = 2, kernel = 3 }"),
            "let them keep the shape, with `padding` and `out`",
            vec![within("{ op = \"conv2d\", out = 1, kernel = 3, padding = 1 }")],
        ),
        (
            within("{ op = \"linear\", out = 63 }"),
            "let them give 64 values, and end in { op = \"reshape\", shape = [1, 8, 8] }",
            vec![within("{ op = \"linear\", out = 64 }, { op = \"reshape\", shape = [1, 8, 8] }")],
        ),
        (large(70, 16), ": take a smaller micro_batch, or more stages", vec![large(70, 8), large(60, 16)]),
    ];
    for (bad, hint, followed) in cases {
        let shown = |text: &str| text.chars().take(500).collect::<String>();
        let error = checked(&bad, &[]).err().map_or_else(String::new, |error| error.to_string());
        assert!(error.ends_with(hint) || error.contains(&format!("; {hint}")), "{}: {error}", shown(&bad));
        for good in followed {
            let refused = checked(&good, &[]).err();
            assert!(refused.is_none(), "{hint}: {}: {}", shown(&good), refused.unwrap());
        }
    }
}

/// A job that ranks cannot share is still one that `--single` runs: it is refused for ranks alone.
#[test]
fn a_job_that_ranks_cannot_share_is_told_what_helps() {
    let job = |profile: &str, places: &[&str]| {
        let stage = |place: &&str| format!("{{ ops = [{{ op = \"linear\", out = 10 }}], at = \"{place}\" }}");
        let stages = format!("stage=[{}]", places.iter().map(stage).collect::<Vec<String>>().join(", "));
        checked(JOB, &[&stages, &format!("mix.profile={profile}")]).unwrap().can_be_shared()
    };
    for (profile, bad, hint, good) in [
        ("mixed", &["owner"; 3][..], "leave it out of at least 2 stages", &["owner", "rank", "rank"][..]),
        ("sealed", &["owner"; 2], "leave it out where a rank is to host the stage", &["owner", "rank"]),
        ("mixed", &["rank"], "split the network into two stages", &["rank"; 2]),
    ] {
        let found = job(profile, bad).unwrap_err().to_string();
        assert!(found.contains(hint), "{found}");
        assert!(job(profile, good).is_ok(), "{hint}");
    }
    assert!(job("sealed", &["rank"]).is_ok(), "take mix.profile = \"sealed\"");
}

/// The key that is proposed instead of an unknown one is written in its place.
#[test]
fn a_key_that_is_proposed_is_taken() {
    for (good, bad) in [
        (JOB.to_owned(), ("epochs =", "epoch =")),
        (sets(&["[train] micro_batch = 8"]), ("micro_batch", "microbatch")),
        (sets(&["[mix] relays = 4"]), ("relays", "relay")),
        (sets(&["[train] loss = { label_smoothing = 0.1 }"]), ("label_smoothing", "label_smothing")),
        (ops("{ op = \"max_pool\", kernel = 2 }"), ("kernel", "kernels")),
        (sets(&["[train] optimizer = { momentum = 0.9 }"]), ("momentum", "momemtum")),
    ] {
        let text = good.replace(bad.0, bad.1);
        let Err(JobError::UnknownKey { key, nearest, .. }) = checked(&text, &[]) else { panic!("{text}") };
        assert!(checked(&text.replace(&key, &nearest.clone().unwrap()), &[]).is_ok(), "{key}: {nearest:?}");
    }
    // It is not proposed where it stands already: then the other is to go.
    let text = JOB.replace("epochs = 2", "epochs = 2\nepoch = 3");
    let error = checked(&text, &[]).unwrap_err().to_string();
    assert!(error.contains("unknown key `epoch` in [train]; it knows epochs, batch"), "{error}");
    // On the command line it replaces what stands there.
    let error = checked(JOB, &["train.epoch=3"]).unwrap_err().to_string();
    assert!(error.ends_with("did you mean `epochs`?"), "{error}");
    assert_eq!(checked(JOB, &["train.epochs=3"]).unwrap().train.epochs, 3);
}

/// Each word that an error expects is taken: alone, or as the table that the next error asks for.
#[test]
fn a_word_that_is_expected_is_taken() {
    for key in ["train.loss", "train.optimizer", "train.schedule", "mix.profile", "mix.wire", "compute.backend"] {
        let Err(JobError::Value { expected, .. }) = checked(JOB, &[&format!("{key}=none")]) else { panic!("{key}") };
        for word in expected.split(" or ") {
            match Job::parse("job.toml", JOB, &[format!("{key}={word}")]) {
                Ok(_) => {}
                Err(JobError::Missing { expected, .. }) => {
                    let (_, table) = expected.split_once("as in schedule = ").unwrap();
                    assert!(checked(JOB, &[&format!("{key}={table}")]).is_ok(), "{table}");
                }
                Err(error) => panic!("{key} = {word}: {error}"),
            }
        }
    }
}

/// A `--set` that is refused is typed as its error says.
#[test]
fn a_set_that_is_proposed_is_taken() {
    for (set, hint, followed) in [
        ("train.epochs", "as in --set train.epochs=1", "train.epochs=1"),
        ("train..epochs=1", "as in --set train.epochs=1", "train.epochs=1"),
        ("name.first=1", "set all of it, with --set name=value", "name=value"),
        ("train.epochs.most=1", "set all of it, with --set train.epochs=value", "train.epochs=9"),
        (
            "stage.0=1",
            "set all of it, with --set stage=value",
            "stage=[{ ops = [{ op = \"relu\" }] }, { ops = [{ op = \"linear\", out = 10 }] }]",
        ),
    ] {
        let error = checked(JOB, &[set]).unwrap_err().to_string();
        assert!(error.ends_with(hint), "{error}");
        assert!(checked(JOB, &[followed]).is_ok(), "{followed}");
    }
}
