//! The same bits however a job runs: in one process, on threads, among any number of ranks, in every profile. And what a
//! run's files say of it.
#![allow(clippy::unwrap_used)]

mod binary;

use std::num::NonZeroU32;
use std::path::Path;
use std::process::Command;

use binary::{DIGITS, MIXNN, Ran, Run, alone, json, mixnn};
use mixnn::ids::Term;
use mixnn::job::Job;
use mixnn::run::kept::results::{EpochReport, Outcome};
use mixnn::run::prepare::Prepared;
use mixnn::run::{RunError, Watcher, local, single};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// `mixnn run JOB ARGS` in a temporary folder.
fn run(args: &[&str]) -> (tempfile::TempDir, Run) {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    mixnn(folder.path(), &[&["run", DIGITS, "--out", "out"], args].concat()).well();
    (folder, Run::read(out))
}

/// The bits of a run with `args`, separated by spaces, and `sets`.
fn bits(args: &str, sets: &[&str]) -> String {
    let sets = sets.iter().flat_map(|set| ["--set", set]);
    run(&args.split(' ').chain(sets).collect::<Vec<_>>()).1.bits()
}

/// What `mixnn check` reckons for `args`.
fn checked(args: &[&str]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let ran = mixnn(folder.path(), &[&["check", DIGITS, "--json"], args].concat()).well();
    serde_json::from_str(&ran.stdout).unwrap()
}

const SHORT: &str = "train.epochs=2";

/// More ranks than a machine has cores, and more than one word of a set of ranks has bits.
#[test]
fn the_same_bits_among_a_hundred_and_twenty_eight_ranks() {
    let few = ["train.epochs=1", "train.batch=1024", "train.micro_batch=512"];
    let reference = bits("--single", &few);
    for way in ["--local 128", "--local 129 --profile sealed"] {
        assert_eq!(bits(way, &few), reference, "{way}");
    }
    assert_eq!(bits("--local 128", &[&few[..], &["mix.hops=4", "mix.pace=auto"]].concat()), reference);
}

#[test]
fn the_same_bits_whatever_carries_the_messages() {
    let reference = bits("--single", &[SHORT, "compute.threads=1"]);
    let ways = [
        ("--single", vec!["compute.threads=2"]),
        ("--local 7", vec!["compute.threads=1"]),
        ("--local 7", vec!["compute.threads=2"]),
        ("--local 9", vec![]),
        ("--local 6", vec!["mix.relays=2"]),
        ("--local 7", vec!["mix.cell=256"]),
        ("--local 8", vec!["mix.hops=4"]),
        ("--local 7", vec!["mix.message=9000", "mix.package=9000", "mix.result=99000"]),
        ("--local 7 --profile sealed", vec![]),
        ("--local 4 --profile sealed", vec!["mix.cell=256"]),
        ("--local 7 --profile bare", vec![]),
        ("--local 4 --profile bare", vec![]),
        ("--local 7", vec!["mix.depth=5"]),
        ("--local 7", vec!["mix.depth=6", "mix.pace=1ms"]),
        ("--local 4 --profile bare", vec!["mix.depth=4"]),
        ("--local 7", vec!["mix.pace=auto"]),
        ("--local 7", vec!["compute.overlap=true"]),
        ("--local 8", vec!["compute.overlap=true", "mix.depth=6"]),
        ("--local 4 --profile sealed", vec!["compute.overlap=true"]),
        ("--local 4 --profile bare", vec!["compute.overlap=true"]),
        ("--local 9", vec!["mix.pace=1ms", "compute.threads=2"]),
        // No slot is done in this time.
        ("--local 7", vec!["mix.pace=20us"]),
        ("--local 7 --profile sealed", vec!["mix.pace=auto"]),
        ("--local 7", vec!["compute.aead=aws-lc"]),
        ("--local 7", vec!["compute.aead=ring", "mix.link=all"]),
        ("--local 7", vec!["compute.aead=rust", "mix.link=all"]),
        ("--local 4 --profile sealed", vec!["compute.aead=ring"]),
    ];
    for (args, sets) in ways {
        assert_eq!(bits(args, &[&[SHORT], sets.as_slice()].concat()), reference, "{args} {sets:?}");
    }
}

/// The last stage computes the gradient of the loss as the owner would, and two slots a batch fall away.
#[test]
fn the_same_bits_with_the_loss_at_the_last_stage() {
    let at_last = "train.loss_at=last";
    let ways = [
        ("--single", vec![]),
        ("--local 7", vec![]),
        ("--local 9", vec!["mix.hops=4"]),
        ("--local 7", vec!["mix.pace=auto"]),
        ("--local 7", vec!["mix.pace=20us"]),
        ("--local 7", vec!["compute.overlap=true"]),
        ("--local 4 --profile sealed", vec![]),
        ("--local 4 --profile bare", vec!["compute.overlap=true"]),
    ];
    for job in [&[SHORT][..], &[SHORT, "mix.wire=bf16"], &[SHORT, "data.validation=0.15", "train.micro_batch=4"]] {
        let reference = bits("--single", job);
        for (args, sets) in &ways {
            assert_eq!(bits(args, &[job, &[at_last], sets].concat()), reference, "{args} {sets:?} {job:?}");
        }
    }
    // The owner has the first stage, and so waits for gradients itself.
    let ends = "stage=[{ ops = [{ op = \"linear\", out = 24 }, { op = \"relu\" }], at = \"owner\" }, { ops = [{ op = \"linear\", out = 24 }] }, \
                { ops = [{ op = \"linear\", out = 10 }] }]";
    let job = [SHORT, ends];
    let reference = bits("--single", &job);
    for (args, set) in [
        ("--local 6", "mix.pace=lockstep"),
        ("--local 6", "mix.pace=auto"),
        ("--local 3 --profile bare", "mix.pace=lockstep"),
    ] {
        assert_eq!(bits(args, &[&job[..], &[at_last, set]].concat()), reference, "{args} {set}");
    }
    // A single stage goes forward and backward in each slot.
    let alone = [SHORT, "stage=[{ ops = [{ op = \"linear\", out = 10 }] }]", "mix.profile=sealed"];
    assert_eq!(bits("--local 2", &[&alone[..], &[at_last]].concat()), bits("--single", &alone));
    let slots = |sets: &[&str]| {
        let sets = sets.iter().flat_map(|set| ["--set", set]);
        let ran = run(&["--local", "7"].into_iter().chain(sets).collect::<Vec<_>>()).1;
        ran.metrics.iter().map(|epoch| epoch["slots"].as_u64().unwrap()).sum::<u64>()
    };
    // 0 to 7 empty slots begin each term.
    let (owner, last) = (slots(&[SHORT]), slots(&[SHORT, at_last]));
    assert!(owner > last + 50, "{owner} slots, and {last} with the loss at the last stage");
}

/// Classes, smoothed and ignored ones, a label for each token, numbers, and probabilities.
#[test]
fn every_loss_may_stand_at_the_last_stage() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    let rows = |y: fn(u32) -> f32| {
        let row = |i: u32| format!("{},{},{}\n", (i * 7 % 11) as f32 / 11.0, (i * 5 % 13) as f32 / 13.0, y(i));
        format!("a,b,y\n{}", (0..60).map(row).collect::<String>())
    };
    write("classes.csv", rows(|i| (i % 3) as f32).as_bytes());
    write("numbers.csv", rows(|i| (i % 9) as f32 / 8.0).as_bytes());
    write("tokens.bin", &(0..400_u16).flat_map(|i| (i * 7 % 20).to_le_bytes()).collect::<Vec<u8>>());
    let csv = |name: &str| format!("source = \"csv\"\npath = \"{name}.csv\"\nlabels = \"y\"");
    let entropy = "{ kind = \"cross_entropy\", label_smoothing = 0.1, ignore_index = 1 }";
    let linear = "{ op = \"linear\", out = 8 }, { op = \"tanh\" }";
    let tokens = "source = \"tokens\"\npath = \"tokens.bin\"\ncontext = 4\nvocabulary = 20".to_owned();
    for (data, loss, first, out) in [
        (csv("classes"), entropy, linear, 3),
        (csv("numbers"), "\"mean_squared_error\"", linear, 1),
        (csv("numbers"), "\"binary_cross_entropy\"", linear, 1),
        (tokens, "\"cross_entropy\"", "{ op = \"embedding\", vocabulary = 20, width = 8 }", 20),
    ] {
        let job = format!(
            "name = \"x\"\nseed = 1\n[data]\n{data}\n[train]\nepochs = 2\nbatch = 8\nmicro_batch = 2\nloss = {loss}\n\
             [[stage]]\nops = [{first}]\n[[stage]]\nops = [{{ op = \"linear\", out = {out} }}]\n"
        );
        write("job.toml", job.as_bytes());
        let bits = |out: &str, args: &[&str]| {
            mixnn(folder.path(), &[&["run", "job.toml", "--out", out], args].concat()).well();
            let Run { folder, result, metrics } = Run::read(folder.path().join(out));
            std::fs::remove_dir_all(folder).unwrap();
            let losses: Vec<&Value> = metrics.iter().map(|epoch| &epoch["train_loss"]).collect();
            assert!(losses.iter().all(|loss| loss.is_f64()), "{losses:?}");
            format!("{} {losses:?} {}", result["weights_sha256"], result["test_loss"])
        };
        let reference = bits("single", &["--single"]);
        for set in ["train.loss_at=owner", "train.loss_at=last"] {
            assert_eq!(bits("local", &["--local", "6", "--set", set]), reference, "{data} {loss} {set}");
        }
    }
}

/// Without epochs nothing is learned, and what the stages start from is tested: in every mode, in micro-batches of any size.
#[test]
fn what_a_run_starts_from_is_tested_without_training() {
    let (_folder, trained) = run(&["--single", "--set", SHORT]);
    let from = format!("init.from={}", trained.folder.join("model.safetensors").display());
    for (args, set) in [
        ("--single", "train.micro_batch=1"),
        ("--local 7", "mix.pace=lockstep"),
        ("--local 7", "mix.pace=auto"),
        ("--local 7", "train.loss_at=last"),
        ("--local 4 --profile bare", "checkpoint.every=never"),
    ] {
        let args: Vec<&str> =
            args.split(' ').chain(["--set", "train.epochs=0", "--set", &from, "--set", set]).collect();
        let (folder, tested) = run(&args);
        assert!(tested.metrics.is_empty() && tested.result["epochs"] == serde_json::json!([]), "{args:?}");
        for key in ["weights_sha256", "test_accuracy"] {
            assert_eq!(tested.result[key], trained.result[key], "{args:?}");
        }
        // The sum over micro-batches has other roundings than that over larger ones.
        let losses = [&tested, &trained].map(|run| run.result["test_loss"].as_f64().unwrap());
        assert!((losses[0] - losses[1]).abs() < 1e-6, "{losses:?}");
        let status = mixnn(folder.path(), &["status", "out"]).well();
        assert!(
            status.stdout.contains("0 of 0 are through") && status.stdout.contains("it is done"),
            "{}",
            status.stdout
        );
        mixnn(folder.path(), &["report", "out", "--out", "page.html"]).well();
    }
}

/// Each instruction set that the processor has gives one set of bits, which its fingerprint names; what it lacks is refused before
/// anything is left behind.
#[test]
fn the_same_bits_with_each_instruction_set_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let run = |simd: &str, way: &str| {
        let out = format!("{simd}{way}").replace(' ', "");
        let mut command = alone(Command::new(MIXNN));
        command.args(["run", DIGITS, "--set", SHORT, "--out", &out]).args(way.split(' ')).env("MIXNN_SIMD", simd);
        (Ran::of(&command.current_dir(folder.path()).output().unwrap()), folder.path().join(out))
    };
    let mut there = Vec::new();
    for simd in ["avx512", "avx2", "neon", "scalar", "abacus"] {
        let (ran, out) = run(simd, "--single");
        if ran.code != 0 {
            ran.refused(3, &[&format!("MIXNN_SIMD is \"{simd}\"; this processor has"), "scalar"]);
            assert!(!out.exists());
            continue;
        }
        let single = Run::read(out);
        assert_eq!(single.result["fingerprint"], format!("cpu/{simd}"));
        let (ran, out) = run(simd, "--local 7");
        ran.well();
        assert_eq!(Run::read(out).bits(), single.bits(), "{simd}");
        there.push(simd);
    }
    assert!(there.contains(&"scalar") && !there.contains(&"abacus"), "{there:?}");
}

/// The control: what does belong to the job changes the bits.
#[test]
fn other_bits_for_another_job() {
    let reference = bits("--single", &[SHORT]);
    let digest = |bits: &str| bits.split(' ').next().unwrap().to_owned();
    for set in ["seed=8", "train.micro_batch=8", "train.batch=16", "train.lr=0.1001", "data.validation=0.2"] {
        assert_ne!(digest(&bits("--single", &[SHORT, set])), digest(&reference), "{set}");
    }
}

/// Stages so wide that a product is worth more than one thread.
#[test]
fn the_same_bits_for_any_number_of_threads() {
    let wide = "stage=[{ ops = [{ op = \"linear\", out = 1024 }, { op = \"relu\" }] }, { ops = [{ op = \"linear\", out = \
                384 }, { op = \"relu\" }, { op = \"linear\", out = 10 }] }]";
    let sets = ["train.epochs=1", "train.micro_batch=32", wide];
    let with = |threads: &'static str| [sets.as_slice(), &[threads]].concat();
    let reference = bits("--single", &with("compute.threads=1"));
    assert_eq!(bits("--single", &with("compute.threads=2")), reference);
    assert_eq!(bits("--single", &with("compute.threads=5")), reference);
    assert_eq!(bits("--local 6", &with("compute.threads=2")), reference);
}

/// Convolutions, whose images are shared out among threads, batch norm, whose running values follow the micro-batches, and
/// dropout, which draws by their numbers.
#[test]
fn a_convolutional_network_has_the_same_bits_too() {
    let stages = "stage=[{ ops = [{ op = \"conv2d\", out = 24, kernel = 3, padding = 1 }, { op = \"batch_norm\" }, { op = \
                  \"relu\" }, { op = \"max_pool\", kernel = 2 }] }, { ops = [{ op = \"residual\", ops = [{ op = \"conv2d\", \
                  out = 24, kernel = 3, padding = 1 }, { op = \"group_norm\", groups = 4 }, { op = \"gelu\" }] }, { op = \
                  \"global_avg_pool\" }, { op = \"flatten\" }] }, { ops = [{ op = \"dropout\", p = 0.2 }, { op = \
                  \"layer_norm\" }, { op = \"linear\", out = 10 }] }]";
    let sets = ["train.epochs=2", "train.micro_batch=16", stages];
    let with = |threads: &'static str| [sets.as_slice(), &[threads]].concat();
    let reference = bits("--single", &with("compute.threads=1"));
    assert_eq!(bits("--single", &with("compute.threads=5")), reference);
    for args in ["--local 7", "--local 7 --profile bare", "--local 4 --profile sealed"] {
        assert_eq!(bits(args, &with("compute.threads=2")), reference, "{args}");
    }
    assert_ne!(bits("--single", &[&sets[..], &["train.micro_batch=8"]].concat()), reference);
}

/// What travels is rounded in every mode alike, also where nothing travels.
#[test]
fn smaller_numbers_on_the_wire_give_the_same_bits() {
    let reference = bits("--single", &[SHORT]);
    let bytes = |wire: &str| checked(&["--set", wire])["message_bytes"].as_u64().unwrap();
    for wire in ["mix.wire=bf16", "mix.wire=f16"] {
        let rounded = bits("--single", &[SHORT, wire]);
        assert_ne!(rounded, reference, "{wire}");
        for args in ["--local 7", "--local 4 --profile sealed", "--local 4 --profile bare"] {
            assert_eq!(bits(args, &[SHORT, wire]), rounded, "{args} {wire}");
        }
        assert!(bytes(wire) * 10 < bytes("mix.wire=f32") * 6, "{wire}");
    }
}

/// Adam counts its steps, a norm is taken over all that a stage learns, and each step has a rate of its own.
#[test]
fn optimizers_and_schedules_give_the_same_bits() {
    let sets = [
        SHORT,
        "train.optimizer={ kind = \"adamw\", lr = 0.01 }",
        "train.clip={ norm = 0.5 }",
        "train.schedule={ kind = \"cosine\", warmup = 20, least = 0.001 }",
    ];
    let reference = bits("--single", &sets);
    for args in ["--local 7", "--local 4 --profile bare"] {
        assert_eq!(bits(args, &sets), reference, "{args}");
    }
    assert_eq!(bits("--local 7", &[&sets[..], &["mix.pace=1ms"]].concat()), reference, "at a pace");
    for set in ["train.clip.norm=0.4", "train.schedule.warmup=21", "train.schedule.least=0.002", "train.clip={}"] {
        assert_ne!(bits("--single", &[&sets[..], &[set]].concat()), reference, "{set}");
    }
}

/// Attention, whose samples are shared out among threads, over the rows of an image as tokens.
#[test]
fn a_transformer_has_the_same_bits_too() {
    let stages = "stage=[{ ops = [{ op = \"reshape\", shape = [8, 8] }, { op = \"linear\", out = 64 }, { op = \"position\" }] }, { \
                  ops = [{ op = \"residual\", ops = [{ op = \"layer_norm\" }, { op = \"attention\", heads = 4, causal = true, \
                  rotary = true }] }, { op = \"residual\", ops = [{ op = \"layer_norm\" }, { op = \"linear\", out = 128 }, { op = \
                  \"gelu\" }, { op = \"linear\", out = 64 }] }] }, { ops = [{ op = \"attention\", heads = 2 }, { op = \"flatten\" \
                  }, { op = \"linear\", out = 10 }] }]";
    let sets = ["train.epochs=1", "train.micro_batch=32", "train.lr=0.01", stages];
    let with = |threads: &'static str| [sets.as_slice(), &[threads]].concat();
    let reference = bits("--single", &with("compute.threads=1"));
    assert_eq!(bits("--single", &with("compute.threads=5")), reference);
    for args in ["--local 7", "--local 7 --profile bare", "--local 4 --profile sealed"] {
        assert_eq!(bits(args, &with("compute.threads=2")), reference, "{args}");
    }
    assert_ne!(bits("--single", &[&sets[..], &["train.micro_batch=16"]].concat()), reference);
}

/// The owner's own stages are rounded and stepped as those of ranks are: it does not matter where they stand.
#[test]
fn stages_on_the_owner_give_the_same_bits() {
    let stages = |places: [&str; 4]| {
        let ops = [
            "{ op = \"linear\", out = 48 }, { op = \"batch_norm\" }, { op = \"relu\" }",
            "{ op = \"linear\", out = 32 }, { op = \"dropout\", p = 0.1 }",
            "{ op = \"relu\" }, { op = \"linear\", out = 24 }",
            "{ op = \"relu\" }, { op = \"linear\", out = 10 }",
        ];
        let stage = |(ops, place): (&str, &str)| format!("{{ ops = [{ops}], at = \"{place}\" }}");
        format!("stage=[{}]", ops.into_iter().zip(places).map(stage).collect::<Vec<String>>().join(", "))
    };
    let on_ranks = stages(["rank"; 4]);
    for wire in ["mix.wire=f32", "mix.wire=bf16"] {
        let reference = bits("--single", &[SHORT, wire, &on_ranks]);
        for places in
            [["owner", "rank", "rank", "rank"], ["rank", "rank", "rank", "owner"], ["owner", "rank", "rank", "owner"]]
        {
            let stages = stages(places);
            let ways: [(&str, &[&str]); 8] = [
                ("--single", &[]),
                ("--local 7", &["compute.threads=2"]),
                ("--local 7", &["mix.depth=5"]),
                ("--local 7", &["mix.pace=1ms"]),
                ("--local 7", &["mix.pace=20us", "mix.depth=4"]),
                ("--local 7", &["compute.overlap=true"]),
                ("--local 4 --profile sealed", &[]),
                ("--local 5 --profile bare", &[]),
            ];
            for (args, sets) in ways {
                let sets = [&[SHORT, wire, &stages], sets].concat();
                assert_eq!(bits(args, &sets), reference, "{args} {sets:?}");
            }
        }
    }
    // Two of four at one end, so that what passes between them never leaves the owner.
    let reference = bits("--single", &[SHORT, &on_ranks]);
    for places in
        [["owner", "owner", "rank", "rank"], ["rank", "rank", "owner", "owner"], ["owner", "owner", "rank", "owner"]]
    {
        assert_eq!(bits("--local 4 --profile sealed", &[SHORT, &stages(places)]), reference, "{places:?}");
    }
}

/// A loss that weighs labels differently.
#[test]
fn a_smoothed_loss_gives_the_same_bits() {
    let smooth = "train.loss={ kind = \"cross_entropy\", label_smoothing = 0.1 }";
    let reference = bits("--single", &[SHORT, smooth]);
    assert_eq!(bits("--local 7", &[SHORT, smooth]), reference);
    assert_ne!(bits("--single", &[SHORT]), reference);
}

/// The last batch of an epoch is short, and its last micro-batch too; tests end on a short one.
#[test]
fn short_batches_give_the_same_bits() {
    for (batch, micro_batch) in [(32, 16), (48, 16), (64, 64), (7, 1)] {
        let sets =
            [format!("train.batch={batch}"), format!("train.micro_batch={micro_batch}"), "train.epochs=1".into()];
        let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
        let samples = &checked(&["--set", sets[0], "--set", sets[1]])["samples"];
        let train = samples["train"].as_u64().unwrap();
        assert!(!train.is_multiple_of(batch), "{train} samples make whole batches of {batch}");
        if micro_batch > 1 {
            assert!(
                !train.is_multiple_of(micro_batch) && !samples["test"].as_u64().unwrap().is_multiple_of(micro_batch)
            );
        }
        assert_eq!(bits("--local 7", &sets), bits("--single", &sets), "{batch} {micro_batch}");
    }
}

/// No sample to test on, no label that counts: there is no loss then, and no accuracy, in any mode.
#[test]
fn a_mean_over_nothing_is_null_and_a_dash() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let job = |data: &str, loss: &str, out: u32| {
        format!(
            "name = \"x\"\nseed = 1\n[data]\nsource = \"csv\"\npath = \"a.csv\"\nlabels = \"y\"\n{data}\n[train]\nepochs = 2\n\
             batch = 2\nloss = {loss}\n[[stage]]\nops = [{{ op = \"linear\", out = 3 }}]\n\
             [[stage]]\nops = [{{ op = \"linear\", out = {out} }}]\n"
        )
    };
    let runs = |name: &str, row: &str, nulls: &dyn Fn(&Run)| {
        for (way, out) in [("--single", "a"), ("--local 6", "b"), ("--local 3 --profile bare", "c")] {
            let args: Vec<&str> = ["run", "job.toml", "--out", out].into_iter().chain(way.split(' ')).collect();
            let ran = mixnn(folder.path(), &args).well();
            assert!(ran.stdout.contains(row), "{name} {way}: {}", ran.stdout);
            let out = folder.path().join(out);
            let run = Run::read(out.clone());
            assert!(run.result["test_loss"].is_null() && run.result["test_accuracy"].is_null(), "{name} {way}");
            assert_eq!(run.result["epochs"].as_array().unwrap(), &run.metrics);
            let validated = ran.stderr.lines().filter(|line| line.contains("   validation -   ")).count();
            assert_eq!(validated, 2, "{name} {way}: {}", ran.stderr);
            nulls(&run);
            std::fs::remove_dir_all(out).unwrap();
        }
    };
    // A fifth of two samples is none.
    write("a.csv", "x,y\n1,0\n2,1\n");
    let learned = |run: &Run| {
        for epoch in &run.metrics {
            assert!(epoch["train_loss"].as_f64().unwrap() > 0.0 && epoch["validation_loss"].is_null(), "{epoch}");
        }
    };
    for (loss, out, row) in
        [("cross_entropy", 2, "test accuracy  -\n"), ("mean_squared_error", 1, "test loss      -\n")]
    {
        write("job.toml", &job("validation = 0.0", &format!("{loss:?}"), out));
        runs(loss, row, &learned);
    }
    write("a.csv", "x,y\n1,-100\n2,-100\n3,-100\n4,-100\n5,-100\n6,-100\n");
    write("job.toml", &job("classes = 2\nvalidation = 0.4", "{ ignore_index = -100 }", 2));
    runs("ignored", "test accuracy  -\n", &|run| {
        for epoch in &run.metrics {
            for key in ["train_loss", "validation_accuracy", "validation_loss"] {
                assert!(epoch[key].is_null(), "{key}: {epoch}");
            }
        }
    });
}

#[test]
fn the_whole_job_learns_the_digits() {
    let (_folder, run) = run(&["--single"]);
    let accuracy = run.result["test_accuracy"].as_f64().unwrap();
    assert!(accuracy >= 0.95, "test accuracy {accuracy}");
    assert_eq!(run.result["epochs"].as_array().unwrap().len(), 15);
    let loss = |epoch: usize| run.result["epochs"][epoch]["train_loss"].as_f64().unwrap();
    assert!(loss(14) < loss(0) / 4.0, "{} {}", loss(0), loss(14));
}

#[test]
fn results_and_metrics_have_their_keys() {
    for (args, profile, ranks, hops, mpi) in [
        ("--single", "single", 1, 0, "none"),
        ("--local 7", "mixed", 7, 3, "local"),
        ("--local 4 --profile sealed", "sealed", 4, 0, "local"),
        ("--local 4 --profile bare", "bare", 4, 0, "local"),
    ] {
        let args: Vec<&str> = args.split(' ').chain(["--set", SHORT]).collect();
        let (_folder, run) = run(&args);
        let result = &run.result;
        let text = std::fs::read_to_string(run.folder.join("result.json")).unwrap();
        // What is written can be read, and is the same when it is written again.
        let read: Outcome = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), *result);
        assert_eq!(result["format"], 1);
        assert_eq!(result["profile"], profile);
        assert_eq!((&result["ranks"], &result["hops"], &result["mpi"]), (&ranks.into(), &hops.into(), &mpi.into()));
        assert_eq!(result["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(result["backend"], "cpu");
        assert!(result["fingerprint"].as_str().unwrap().starts_with("cpu/"));
        for key in ["test_accuracy", "test_loss", "seconds"] {
            assert!(result[key].as_f64().unwrap() > 0.0, "{key}: {result}");
        }
        assert_eq!(result["wire_bytes_per_rank"].as_u64().unwrap() > 0, profile != "single");
        let epochs = result["epochs"].as_array().unwrap();
        assert_eq!((epochs, epochs.len()), (&run.metrics, 2));
        for (index, epoch) in epochs.iter().enumerate() {
            assert_eq!(epoch["epoch"], index + 1);
            for key in ["train_loss", "validation_accuracy", "validation_loss", "seconds", "samples_per_second"] {
                assert!(epoch[key].as_f64().unwrap() > 0.0, "{key}: {epoch}");
            }
            assert_eq!(epoch["slots"].as_u64().unwrap() > 0, profile != "single");
        }
        let names: Vec<String> = std::fs::read_dir(&run.folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        for name in ["job.toml", "metrics.jsonl", "result.json", "model.safetensors", "checkpoint", "owner.key"] {
            assert!(names.iter().any(|found| found == name), "{name} is not among {names:?}");
        }
        // Only ranks have slots.
        let slots = usize::from(profile != "single");
        assert_eq!(names.iter().filter(|name| *name == "slots.bin").count(), slots, "{names:?}");
        assert_eq!(names.len(), 6 + slots, "{names:?}");
    }
}

#[test]
fn the_digest_is_that_of_the_model_file() {
    let (_folder, run) = run(&["--local", "7", "--set", SHORT]);
    let bytes = std::fs::read(run.folder.join("model.safetensors")).unwrap();
    let model = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut names = model.names();
    names.sort();
    assert_eq!(names, ["0.bias", "0.weight", "2.bias", "2.weight", "4.bias", "4.weight"]);
    assert_eq!(model.tensor("2.weight").unwrap().shape(), [32, 64]);
    let mut digest = Sha256::new();
    names.iter().for_each(|name| digest.update(model.tensor(name).unwrap().data()));
    let digest: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(run.result["weights_sha256"], digest);
}

/// What `check` reckons beforehand is what a run does: slots, but for the empty ones at an epoch's start, and bytes.
#[test]
fn a_run_takes_the_slots_and_bytes_that_check_names() {
    takes_what_check_names(&["--set", "mix.cell=256"]);
    takes_what_check_names(&["--set", "mix.depth=5"]);
    let first = "stage=[{ ops = [{ op = \"linear\", out = 32 }], at = \"owner\" }, { ops = [{ op = \"relu\" }, { op = \"linear\", \
                 out = 16 }] }, { ops = [{ op = \"linear\", out = 10 }] }]";
    takes_what_check_names(&["--set", first]);
}

fn takes_what_check_names(sets: &[&str]) {
    let due = checked(&[&["--ranks", "9"], sets].concat());
    let (_folder, run) = run(&[&["--local", "9", "--set", SHORT], sets].concat());
    let due = |key: &str| due[key].as_u64().unwrap();
    let mut total = 0;
    for (epoch, testing) in [(0, 0), (1, due("slots_for_testing"))] {
        let slots = run.result["epochs"][epoch]["slots"].as_u64().unwrap();
        let least = due("slots_per_epoch") + testing;
        assert!((least..=least + 9).contains(&slots), "epoch {epoch}: {slots} slots, {least} and up to 9 were due");
        total += slots;
    }
    assert_eq!(run.result["wire_bytes_per_rank"].as_u64().unwrap(), total * due("bytes_per_rank_and_slot"));
}

/// Where the time is too short for the ranks, their user hears it once.
#[test]
fn too_short_a_pace_is_told_once() {
    let told = |pace: &str| {
        let folder = tempfile::tempdir().unwrap();
        let pace = format!("mix.pace={pace}");
        let ran = mixnn(folder.path(), &["run", DIGITS, "--local", "7", "--set", &pace]).well();
        ran.stderr.matches("slots overran: a rank was not ready in time").count()
    };
    assert_eq!([told("20us"), told("lockstep")], [1, 0]);
}

/// Slots go on while a stage works: they take the time that the job says, and carry cover until it is ready.
#[test]
fn under_a_pace_slots_wait_for_no_one() {
    const SLOT: f64 = 0.001;
    let wide = "stage=[{ ops = [{ op = \"linear\", out = 2000 }, { op = \"relu\" }] }, { ops = [{ op = \"linear\", out = 10 }] }]";
    let sets = ["train.epochs=1", "data.validation=0.8", "mix.relays=3", wide, "output.timing=true"];
    let ran = |pace: &str| {
        let pace = format!("mix.pace={pace}");
        let args: Vec<&str> = sets.iter().chain([&pace.as_str()]).flat_map(|set| ["--set", set]).collect();
        run(&[&["--local", "6"], args.as_slice()].concat()).1
    };
    let (lockstep, paced) = (ran("lockstep"), ran("1ms"));
    assert_eq!(lockstep.bits(), paced.bits());
    assert!(lockstep.result["slot_seconds"].is_null() && lockstep.result["overran"] == 0);
    assert_eq!(paced.result["slot_seconds"].as_f64(), Some(SLOT));
    let number = |value: &Value| value.as_f64().unwrap();
    let slots = |run: &Run| number(&run.result["epochs"][0]["slots"]);
    // The wide stage takes longer than a slot: in lockstep slots wait for it, here more of them go by.
    assert!(slots(&paced) > slots(&lockstep) + 6.0, "{} and {} slots", slots(&paced), slots(&lockstep));
    let seconds = number(&paced.result["epochs"][0]["seconds"]);
    assert!(seconds > SLOT * slots(&paced), "{seconds} s for {} slots", slots(&paced));
    assert!(number(&paced.result["overran"]) <= slots(&paced));
    // The time for work is the job's, or the owner's.
    let (named, chosen) = (ran("work 300us"), ran("auto"));
    assert_eq!([named.bits(), chosen.bits()], [lockstep.bits(), lockstep.bits()]);
    assert_eq!(named.result["work_seconds"].as_f64(), Some(0.0003));
    assert!(named.result["slot_seconds"].is_null() && number(&chosen.result["work_seconds"]) > 0.0);
}

/// The library that a job asks for seals, and a run says so.
#[test]
fn a_run_says_whose_aes_it_takes() {
    let short = ["--set", "train.epochs=1", "--set"];
    let results = |args: &[&str]| {
        let folder = tempfile::tempdir().unwrap();
        let ran = mixnn(folder.path(), &[&["run", DIGITS, "--out", "out"], &short[..], args].concat()).well();
        (Run::read(folder.path().join("out")).result["aead"].clone(), ran.stderr)
    };
    for library in ["aws-lc", "ring", "rust"] {
        let (aead, said) = results(&[&format!("compute.aead={library}"), "--local", "7"]);
        assert_eq!(aead, serde_json::json!(vec![library; 7]));
        assert!(said.contains(&format!("AES-256-GCM: {library} on each rank")), "{said}");
    }
    for how in [&["--single"][..], &["--local", "7", "--profile", "bare"]] {
        let (aead, said) = results(&[&["compute.aead=ring"], how].concat());
        assert_eq!(aead, serde_json::json!([]));
        assert!(!said.contains("AES-256-GCM"), "{said}");
    }
}

/// Without a word of the job the faster one seals: not AWS-LC, where it is told that this processor has no instructions for AES.
/// (Those who read the setting are of OpenSSL's kin. `ring` is not, nor are those processors where it has none either.)
#[test]
fn the_faster_library_seals() {
    #[cfg(target_arch = "x86_64")]
    let (has_aes, hidden) = (std::arch::is_x86_feature_detected!("aes"), ("OPENSSL_ia32cap", "~0x200000200000000"));
    #[cfg(target_arch = "aarch64")]
    let (has_aes, hidden) = (std::arch::is_aarch64_feature_detected!("aes"), ("OPENSSL_armcap", "~0x24"));
    let folder = tempfile::tempdir().unwrap();
    let mut command = alone(Command::new(MIXNN));
    command.args(["run", DIGITS, "--set", "train.epochs=1", "--out", "out", "--local", "7"]).env(hidden.0, hidden.1);
    let ran = Ran::of(&command.current_dir(folder.path()).output().unwrap()).well();
    if has_aes {
        let result = Run::read(folder.path().join("out")).result;
        assert_eq!(result["aead"], serde_json::json!(vec!["ring"; 7]), "{}", ran.stderr);
    }
}

/// Runs are compared by their results alone: which job, seed and command, on what, on how many threads.
#[test]
fn a_result_says_what_was_run_and_where() {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim().to_owned();
    for (how, ranks, threads) in [(&["--single"][..], 1, 2), (&["--local", "7"], 7, 1)] {
        let folder = tempfile::tempdir().unwrap();
        let set = format!("compute.threads={threads}");
        let args = [&["run", DIGITS, "--set", SHORT, "--set", &set, "--out", "out"], how].concat();
        mixnn(folder.path(), &args).well();
        let result = Run::read(folder.path().join("out")).result;
        assert_eq!((&result["name"], &result["seed"]), (&"digits".into(), &"7".into()));
        assert_eq!(result["threads"], serde_json::json!(vec![threads; ranks]));
        assert_eq!(result["hosts"], serde_json::json!([{ "host": host, "ranks": ranks }]));
        let command: Vec<&str> =
            result["command"].as_array().unwrap().iter().map(|arg| arg.as_str().unwrap()).collect();
        assert_eq!(command[1..], args);
        assert_eq!(result["processor"], mixnn::compute::processor::name());
        let digest = Sha256::digest(std::fs::read(folder.path().join("out/job.toml")).unwrap());
        let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(result["job_sha256"], digits);
    }
}

/// A seed that nobody named repeats the run, from the result and from what is printed.
#[test]
fn a_drawn_seed_repeats_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let job = std::fs::read_to_string(DIGITS).unwrap();
    let drawn: Vec<&str> = job.lines().filter(|line| !line.starts_with("seed")).collect();
    std::fs::write(folder.path().join("job.toml"), drawn.join("\n")).unwrap();
    let run = |out: &str, sets: &[&str]| {
        let args = ["run", "job.toml", "--single", "--set", SHORT, "--out", out];
        let ran = mixnn(folder.path(), &[&args, sets].concat()).well();
        (ran.stdout, Run::read(folder.path().join(out)))
    };
    let (printed, first) = run("first", &[]);
    let set = format!("seed={}", first.result["seed"].as_str().unwrap());
    assert!(printed.contains(&format!("--set {set} repeats the run")), "{printed}");
    let (named, again) = run("again", &["--set", &set]);
    assert_eq!(first.bits(), again.bits());
    assert!(!named.contains("repeats the run"), "{named}");
    assert_ne!(run("other", &[]).1.bits(), first.bits());
}

#[test]
fn where_time_went_is_told_where_the_job_asks_for_it() {
    let (_folder, quiet) = run(&["--local", "6", "--set", "mix.relays=2", "--set", SHORT]);
    assert_eq!(quiet.result["timing"].as_array().unwrap().len(), 0);
    let folder = tempfile::tempdir().unwrap();
    let args = ["--local", "6", "--set", "mix.relays=2", "--set", SHORT, "--set", "output.timing=true", "--json"];
    let ran = mixnn(folder.path(), &[&["run", DIGITS], args.as_slice()].concat()).well();
    let printed: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(printed, json(&folder.path().join("runs/digits/result.json")));
    let timing = printed["timing"].as_array().unwrap();
    assert_eq!(timing.len(), 6);
    for (rank, times) in timing.iter().enumerate() {
        assert_eq!(times["rank"], rank);
        for key in ["seal", "exchange", "peel", "open"] {
            assert!(times[key].as_f64().unwrap() > 0.0, "{key}: {times}");
        }
    }
}

/// By epoch: losses of training and of the held-out samples, and slots.
#[derive(Default)]
struct Reports(Vec<(Option<f64>, Option<f64>, u64)>);

impl Watcher for Reports {
    fn note(&mut self, _: &str) {}
    fn progress(&mut self, _: u32, _: usize, _: usize) {}
    fn epoch(&mut self, report: &EpochReport) -> Result<(), RunError> {
        self.0.push((report.train_loss, report.validation_loss, report.slots));
        Ok(())
    }
}

/// Where the keys of a run change says nothing of what it learns: a term may end after any batch, and the first of a run need not
/// have the number 0.
#[test]
fn terms_end_after_any_batch() {
    for sets in [
        &[][..],
        &["mix.pace=1ms", "mix.depth=5"],
        &["compute.overlap=true", "train.optimizer={kind=\"adam\",lr=0.01}"],
        &[DROPPED, "mix.profile=sealed"],
    ] {
        ends_after_any_batch(sets);
    }
}

/// The first stage on the owner, with dropout.
const DROPPED: &str = concat!(
    "stage=[{at=\"owner\",ops=[{op=\"linear\",out=24},{op=\"relu\"},{op=\"dropout\",p=0.3}]},",
    "{ops=[{op=\"linear\",out=10}]}]"
);

fn ends_after_any_batch(sets: &[&str]) {
    const RANKS: u16 = 7;
    let sets: Vec<String> = ["train.epochs=2", "train.batch=16", "train.micro_batch=8"]
        .iter()
        .chain(sets)
        .map(|set| (*set).to_owned())
        .collect();
    let job = include_str!("../jobs/digits.toml");
    let prepared = || Prepared::of(Job::parse("digits.toml", job, &sets).unwrap()).unwrap().short(70, 20);
    let mut whole = Reports::default();
    let (due, _) = local::run(&prepared(), RANKS, "host", &mut whole).unwrap();
    assert_eq!(whole.0.len(), 2);
    let (single, _) = single::run(&prepared(), &mut ()).unwrap();
    assert_eq!(single.weights_sha256, due.weights_sha256);
    for batches in 1..=6 {
        let parts = || prepared().in_terms_of(NonZeroU32::new(batches).unwrap(), Term(3));
        let mut reports = Reports::default();
        let (outcome, _) = local::run(&parts(), RANKS, "host", &mut reports).unwrap();
        assert_eq!(outcome.weights_sha256, due.weights_sha256, "in terms of {batches}");
        assert_eq!((outcome.test_loss, outcome.test_accuracy), (due.test_loss, due.test_accuracy));
        let scores = |reports: &Reports| reports.0.iter().map(|report| (report.0, report.1)).collect::<Vec<_>>();
        assert_eq!(scores(&reports), scores(&whole), "in terms of {batches}");
        // Each term has its own empty slots before and behind it. At a pace stages may be late, for any number of slots.
        let slots = |reports: &Reports| reports.0[0].2;
        let counts = batches < 5 && !sets.iter().any(|set| set.contains("pace"));
        assert!(!counts || slots(&reports) + u64::from(RANKS) > slots(&whole), "in terms of {batches}: {sets:?}");
        let (outcome, _) = single::run(&parts(), &mut ()).unwrap();
        assert_eq!(outcome.weights_sha256, due.weights_sha256, "one process, in terms of {batches}");
    }
}

/// Has the model made in this folder.
struct Within<'a>(&'a Path);

impl Watcher for Within<'_> {
    fn note(&mut self, _: &str) {}
    fn progress(&mut self, _: u32, _: usize, _: usize) {}
    fn folder(&self) -> Option<&Path> {
        Some(self.0)
    }
    fn epoch(&mut self, _: &EpochReport) -> Result<(), RunError> {
        Ok(())
    }
}

/// A stage whose values travel in several pieces, both from a file and back, beside stages with few; and lengths that the job asks for.
#[test]
fn values_of_many_pieces_arrive() {
    let folder = tempfile::tempdir().unwrap();
    // 64 times 8192 weights are two pieces, and 8192 biases a part of a third.
    let job =
        r#"stage=[{ops=[{op="linear",out=8192},{op="relu"}]},{ops=[{op="linear",out=10}]},{ops=[{op="relu"}]}]"#;
    let text = include_str!("../jobs/digits.toml");
    let prepared = |more: &[&str]| {
        let sets: Vec<String> = ["train.epochs=1", job].iter().chain(more).map(|set| (*set).to_owned()).collect();
        Prepared::of(Job::parse("digits.toml", text, &sets).unwrap()).unwrap().short(64, 32)
    };
    let (single, model) = single::run(&prepared(&[]), &mut Within(folder.path())).unwrap();
    for more in [&[][..], &["mix.result=5000000"], &["mix.profile=bare"]] {
        let (outcome, _) = local::run(&prepared(more), 7, "host", &mut ()).unwrap();
        assert_eq!(outcome.weights_sha256, single.weights_sha256, "{more:?}");
    }
    let file = folder.path().join("net.safetensors");
    model.unwrap().write(&file).unwrap();
    let from = format!("init.from={:?}", file.to_str().unwrap());
    let (single, _) = single::run(&prepared(&[&from]), &mut ()).unwrap();
    let (outcome, _) = local::run(&prepared(&[&from]), 7, "host", &mut ()).unwrap();
    assert_eq!(outcome.weights_sha256, single.weights_sha256);
}
