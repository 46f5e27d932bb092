//! Whole runs of the program on GPUs.

use std::path::Path;
use std::process::Command;

use crate::binary::{HANGS, MIXNN, Ran, Run, alone};
use crate::build;
use crate::parity::rounding::gamma;

/// Small: every thread of a GPU is a fiber here.
const JOB: &str = r#"
name = "small"
seed = 7
[data]
source = "csv"
path = "data.csv"
labels = "label"
validation = 0.2
[train]
epochs = 2
batch = 8
micro_batch = 4
optimizer = { kind = "sgd", lr = 0.1, momentum = 0.9 }
[[stage]]
ops = [{ op = "linear", out = 5 }, { op = "relu" }]
[[stage]]
ops = [{ op = "linear", out = 3 }]
"#;

/// `mixnn ARGS` with the stand-ins and `settings`, in `folder`.
pub(crate) fn mixnn(folder: &Path, settings: &[(&str, &str)], args: &[&str]) -> Ran {
    let mut command = alone(Command::new("timeout"));
    command.args(["-k", "5", HANGS, MIXNN]).args(args).current_dir(folder);
    command.env("LD_LIBRARY_PATH", build::fakes()).env("XDG_CACHE_HOME", folder.join("cache"));
    Ran::of(&command.envs(settings.iter().copied()).output().unwrap())
}

pub(crate) fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut data = "a,b,label\n".to_owned();
    for i in 0..40 {
        data += &format!("{},{},{}\n", i % 7, (i * 3) % 11, i % 3);
    }
    std::fs::write(folder.path().join("data.csv"), data).unwrap();
    std::fs::write(folder.path().join("job.toml"), JOB).unwrap();
    folder
}

#[test]
fn the_same_bits_on_any_number_of_ranks_and_those_of_a_run_named() {
    let folder = folder();
    let run = |out: &str, args: &str| {
        let args: Vec<&str> = ["run", "job.toml", "--out", out].into_iter().chain(args.split(' ')).collect();
        let ran = mixnn(folder.path(), &[], &args).well();
        (Run::read(folder.path().join(out)), ran.stderr)
    };
    let (single, said) = run("single", "--single");
    assert!(said.contains("computing on GPU 0"), "{said}");
    assert_eq!(single.result["backend"], "cuda");
    let ways = [
        "--local 6",
        "--local 6 --set compute.overlap=true",
        "--local 6 --set mix.pace=25ms",
        "--local 3 --profile sealed --set compute.backend=cuda",
        "--local 3 --profile bare",
    ];
    for (i, way) in ways.into_iter().enumerate() {
        let (other, _) = run(&i.to_string(), way);
        assert_eq!(other.result["backend"], "cuda", "{way}");
        assert_eq!(other.bits(), single.bits(), "{way}");
    }
    let (cpu, _) = run("cpu", "--single --set compute.backend=cpu");
    assert_eq!(cpu.result["backend"], "cpu");
    // Sums have another order there, so the bits may be others; what is learned is not: values of up to 10 pass sums of 2, 5 and 8
    // terms, forward and backward, in some steps.
    let loss = |run: &Run| run.result["test_loss"].as_f64().unwrap();
    assert!(
        (loss(&cpu) - loss(&single)).abs() < 10.0 * gamma(10 * 2 * (2 + 5 + 8)),
        "{} {}",
        loss(&cpu),
        loss(&single)
    );
}

#[test]
fn without_a_gpu_auto_takes_the_processor_and_cuda_is_refused() {
    let folder = folder();
    let none = [("MIXNN_FAKE_DEVICES", "0")];
    let ran = mixnn(folder.path(), &none, &["run", "job.toml", "--single", "--out", "cpu"]).well();
    assert!(!ran.stderr.contains("GPU"), "{}", ran.stderr);
    assert_eq!(Run::read(folder.path().join("cpu")).result["backend"], "cpu");
    let cuda = ["run", "job.toml", "--set", "compute.backend=cuda", "--out", "none"];
    for how in [&["--single"][..], &["--local", "6"]] {
        mixnn(folder.path(), &none, &[&cuda[..], how].concat()).refused(3, &["no GPU"]);
        assert!(!folder.path().join("none").exists());
    }
}

#[test]
fn a_gpu_that_is_lost_or_full_ends_the_run_everywhere() {
    let folder = folder();
    let run = ["run", "job.toml", "--local", "6", "--set", "transport.timeout=20s", "--out", "lost"];
    let lost = mixnn(folder.path(), &[("MIXNN_FAKE_LOST", "100")], &run);
    // The owner alone says it, and whose it was; of its own, what the driver says.
    let told = ["the GPU of rank ", "GPU 0 (Stand-in 0): "].iter().any(|words| lost.stderr.contains(words));
    assert!(told, "{}", lost.stderr);
    assert_eq!(lost.refused(3, &[]).stderr.matches("mixnn: error:").count(), 1, "{}", lost.stderr);
    std::fs::remove_dir_all(folder.path().join("lost")).unwrap();
    mixnn(folder.path(), &[("MIXNN_FAKE_MEMORY", "20000000")], &run).refused(3, &["memory"]);
}

#[test]
fn a_driver_that_does_not_start_is_not_passed_over() {
    let folder = folder();
    let unfit = [("MIXNN_FAKE_UNFIT", "1")];
    let words = ["the processor computes, not the GPU: NVIDIA's driver does not start"];
    let run = ["run", "job.toml", "--single", "--set", "train.epochs=1"];
    let auto = |out| [&run[..], &["--set", "compute.backend=auto", "--out", out]].concat();
    let ran = mixnn(folder.path(), &unfit, &auto("unfit")).well();
    assert!(words.iter().all(|word| ran.stderr.contains(word)), "{}", ran.stderr);
    let asked = [&run[..], &["--set", "compute.backend=cuda", "--out", "asked"]].concat();
    mixnn(folder.path(), &unfit, &asked).refused(3, &["NVIDIA's driver does not start"]);
    let found = mixnn(folder.path(), &unfit, &["doctor"]);
    assert_eq!(found.code, 3, "{}", found.stdout);
    assert!(found.stdout.contains("BROKEN  driver"), "{}", found.stdout);
    // No GPU is nothing to speak of.
    let none = [("MIXNN_FAKE_DEVICES", "0")];
    mixnn(folder.path(), &none, &["doctor"]).well();
    assert!(!mixnn(folder.path(), &none, &auto("none")).well().stderr.contains("GPU"));
}

#[test]
fn the_doctor_looks_at_every_gpu() {
    let folder = folder();
    let well = mixnn(folder.path(), &[], &["doctor"]).well();
    for word in ["NVRTC", "cuBLASLt", "0: ", "1: ", "results are right"] {
        assert!(well.stdout.contains(word), "{}", well.stdout);
    }
    // What is kept is not compiled again.
    std::fs::remove_dir_all(folder.path().join("cache")).unwrap();
    let broken = mixnn(folder.path(), &[("MIXNN_FAKE_REFUSED", "matrix.cu")], &["doctor"]);
    assert_eq!(broken.code, 3, "{}", broken.stdout);
    assert!(broken.stdout.contains("BROKEN") && broken.stdout.contains("matrix.cu"), "{}", broken.stdout);
}
