//! Every job of jobs/, shortened, has the same weights however it runs.
#![allow(clippy::unwrap_used)]

mod binary;

use std::fs;
use std::path::{Path, PathBuf};

use binary::{Run, mixnn};

/// What is laid on top of each job, and what makes its data small.
struct Recipe {
    job: &'static str,
    sets: &'static [&'static str],
    data: fn(&Path),
}

const RECIPES: [Recipe; 5] = [
    Recipe { job: "digits.toml", sets: &["train.epochs=2"], data: |_| {} },
    Recipe { job: "mnist-mlp.toml", sets: &["train.epochs=1", "data.path=mnist"], data: mnist },
    Recipe { job: "lenet-mnist.toml", sets: &["train.epochs=1", "data.path=mnist"], data: mnist },
    Recipe {
        job: "resnet-cifar10.toml",
        sets: &["train.epochs=1", "train.batch=32", "train.micro_batch=16", "data.path=cifar10"],
        data: cifar10,
    },
    Recipe {
        job: "gpt-text.toml",
        sets: &["train.epochs=1", "train.batch=4", "train.micro_batch=2", "data.path=text", "data.context=32"],
        data: text,
    },
];

fn jobs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("jobs")
}

/// Bytes that look like nothing, below `bound`.
fn bytes(count: usize, bound: u32) -> Vec<u8> {
    (0..count as u32).map(|i| (i.wrapping_mul(0x9E37_79B1).rotate_left(11) % bound) as u8).collect()
}

/// 100 training and 20 test images of MNIST's size.
fn mnist(folder: &Path) {
    let folder = folder.join("mnist");
    fs::create_dir(&folder).unwrap();
    for (part, count) in [("train", 100), ("t10k", 20)] {
        let head = |kind: u8, dims: &[u32]| {
            let dims = dims.iter().flat_map(|dim| dim.to_be_bytes());
            [0, 0, 8, kind].into_iter().chain(dims).collect::<Vec<u8>>()
        };
        let images = [head(3, &[count, 28, 28]), bytes(count as usize * 784, 256)].concat();
        fs::write(folder.join(format!("{part}-images-idx3-ubyte")), images).unwrap();
        let labels = [head(1, &[count]), bytes(count as usize, 10)].concat();
        fs::write(folder.join(format!("{part}-labels-idx1-ubyte")), labels).unwrap();
    }
}

/// Five files of 20 training images, and 10 test images.
fn cifar10(folder: &Path) {
    let folder = folder.join("cifar10");
    fs::create_dir(&folder).unwrap();
    let records = |count: usize, of: u8| -> Vec<u8> {
        bytes(count * 3073, 256)
            .chunks(3073)
            .flat_map(|record| [&[record[0].wrapping_add(of) % 10], &record[1..]].concat())
            .collect()
    };
    for number in 1..=5 {
        fs::write(folder.join(format!("data_batch_{number}.bin")), records(20, number)).unwrap();
    }
    fs::write(folder.join("test_batch.bin"), records(10, 0)).unwrap();
}

/// The text's beginning, and each of its characters once: the vocabulary is theirs.
fn text(folder: &Path) {
    let whole = fs::read(jobs().join("moby-dick.txt")).unwrap();
    let characters = (0..=u8::MAX).filter(|character| whole.contains(character));
    let part: Vec<u8> = whole[..3000].iter().copied().chain(characters).collect();
    fs::write(folder.join("text"), part).unwrap();
}

#[test]
fn every_job_has_a_recipe() {
    let mut found: Vec<String> = fs::read_dir(jobs())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".toml"))
        .collect();
    let mut known = RECIPES.map(|recipe| recipe.job);
    found.sort();
    known.sort_unstable();
    assert_eq!(found, known);
}

#[test]
fn every_job_has_the_same_bits_in_every_mode() {
    for Recipe { job, sets, data } in RECIPES {
        let folder = tempfile::tempdir().unwrap();
        data(folder.path());
        let path = jobs().join(job);
        let bits = |name: &str, args: &str| {
            let sets = sets.iter().chain(&["data.validation=0.2"]).flat_map(|set| ["--set", set]);
            let args = args.split(' ').chain(sets);
            let call: Vec<&str> = ["run", path.to_str().unwrap(), "--out", name].into_iter().chain(args).collect();
            mixnn(folder.path(), &call).well();
            Run::read(folder.path().join(name)).bits()
        };
        let reference = bits("single", "--single");
        for (name, args) in [
            ("mixed", "--local 8"),
            ("more", "--local 9 --set compute.threads=1"),
            ("sealed", "--local 8 --profile sealed"),
            ("bare", "--local 8 --profile bare"),
        ] {
            assert_eq!(bits(name, args), reference, "{job} {args}");
        }
    }
}
