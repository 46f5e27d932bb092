//! `[data]` as it is written, and as it is miswritten.

use std::path::PathBuf;

use super::*;
use crate::element::{FileDtype, Layout};
use crate::job::{Form, Job, Shape};

/// A job with these keys in `[data]`.
fn parse(keys: &str) -> Result<Job, JobError> {
    let text = format!(
        "name = \"test\"\nseed = 7\n[[stage]]\nops = [{{ op = \"flatten\" }}, {{ op = \"linear\", out = 10 }}]\n[[stage]]\n\
         ops = [{{ op = \"linear\", out = 10 }}]\n[train]\nepochs = 1\n[data]\n{keys}\n"
    );
    Job::parse("job.toml", &text, &[])
}

/// What the keys say, which is the same when it is printed and read again.
fn read(keys: &str) -> Data {
    let job = parse(keys).unwrap_or_else(|error| panic!("{keys}: {error}"));
    let printed = job.to_toml();
    let again = Job::parse("printed", &printed, &[]).unwrap_or_else(|error| panic!("{error}\n{printed}"));
    assert_eq!(again, job, "{printed}");
    job.data
}

fn refused(keys: &str) -> String {
    parse(keys).unwrap_err().to_string()
}

#[test]
fn every_source_has_its_keys() {
    let path = || PathBuf::from("a");
    let test = || Some(PathBuf::from("b"));
    let form = Form { shape: Some(Shape::new([1, 2, 3])), classes: Some(10), scale: Some(0.5), layout: None };
    let last = Form { layout: Some(Layout::ChannelsLast), ..form.clone() };
    let first = Form { layout: Some(Layout::ChannelsFirst), ..Form::default() };
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<String>>();
    for (keys, source) in [
        ("source = \"digits\"", Source::Digits),
        ("source = \"mnist\"\npath = \"a\"", Source::Mnist { path: path(), classes: None }),
        ("source = \"mnist\"\npath = \"a\"\nclasses = 47", Source::Mnist { path: path(), classes: Some(47) }),
        ("source = \"cifar10\"\npath = \"a\"", Source::Cifar10(path())),
        (
            "source = \"text\"\npath = \"a\"\ntest = \"b\"\ncontext = 8",
            Source::Text { path: path(), test: test(), context: 8 },
        ),
        (
            "source = \"tokens\"\npath = \"a\"\ncontext = 8\nvocabulary = 65536",
            Source::Tokens { path: path(), test: None, context: 8, vocabulary: 65536, dtype: None },
        ),
        (
            "source = \"tokens\"\npath = \"a\"\ncontext = 8\nvocabulary = 9\ndtype = \"int64\"",
            Source::Tokens { path: path(), test: None, context: 8, vocabulary: 9, dtype: Some(FileDtype::I64) },
        ),
        (
            "source = \"csv\"\npath = \"a\"\nlabels = \"y\"",
            Source::Csv {
                path: path(),
                test: None,
                labels: names(&["y"]),
                columns: None,
                drop: vec![],
                form: Form::default(),
            },
        ),
        (
            "source = \"csv\"\npath = \"a\"\nlabels = \"y\"\ndrop = \"\"",
            Source::Csv {
                path: path(),
                test: None,
                labels: names(&["y"]),
                columns: None,
                drop: names(&[""]),
                form: Form::default(),
            },
        ),
        (
            "source = \"csv\"\npath = \"a\"\ntest = \"b\"\nlabels = [\"y\", \"z\"]\ncolumns = [\"v\", \"u\"]\nshape = 6",
            Source::Csv {
                path: path(),
                test: test(),
                labels: names(&["y", "z"]),
                columns: Some(names(&["v", "u"])),
                drop: vec![],
                form: Form { shape: Some(Shape::new([6])), ..Form::default() },
            },
        ),
        (
            "source = \"npy\"\npath = \"a\"\nlabels = \"y\"\ntest = \"b\"\ntest_labels = \"c\"\nshape = [1, 2, 3]\n\
             classes = 10\nscale = 0.5",
            Source::Npy {
                path: path(),
                labels: PathBuf::from("y"),
                test: Some((PathBuf::from("b"), PathBuf::from("c"))),
                form: form.clone(),
            },
        ),
        (
            "source = \"npz\"\npath = \"a\"\nshape = [1, 2, 3]\nclasses = 10\nscale = 0.5",
            Source::Npz { path: path(), test: None, form: form.clone() },
        ),
        (
            "source = \"npz\"\npath = \"a\"\nlayout = \"channels_first\"",
            Source::Npz { path: path(), test: None, form: first },
        ),
        (
            "source = \"safetensors\"\npath = \"a\"\ntest = \"b\"\nshape = [1, 2, 3]\nclasses = 10\nscale = 0.5\n\
             layout = \"channels_last\"",
            Source::Safetensors { path: path(), test: test(), form: last },
        ),
    ] {
        let data = read(keys);
        assert_eq!(data, Data { source, normal: None, augment: Augment::default(), validation: 0.1 });
        assert!(keys.starts_with(&format!("source = \"{}\"", data.source.name())));
    }
    assert_eq!(read("source = \"npz\"\npath = \"a\"\nclasses = 10").source.classes(), Some(10));
    assert_eq!(read("source = \"digits\"").source.classes(), None);
}

#[test]
fn values_are_normalised_and_images_augmented() {
    let data = |keys: &str| read(&format!("source = \"digits\"\n{keys}"));
    let normal = |mean: &[f64], std: &[f64]| Some(Normal { mean: mean.to_vec(), std: std.to_vec() });
    assert_eq!(data("mean = 0.5").normal, normal(&[0.5], &[1.0]));
    assert_eq!(data("std = [0.1, 2, 3e-3]").normal, normal(&[0.0], &[0.1, 2.0, 0.003]));
    assert_eq!(data("mean = [-1, 0, 1]\nstd = [0.1, 0.2, 0.3]").normal, normal(&[-1.0, 0.0, 1.0], &[0.1, 0.2, 0.3]));
    assert_eq!(data("augment = { crop = 4, flip = true }").augment, Augment { crop: 4, flip: true });
    assert_eq!(data("augment = { flip = true }").augment, Augment { crop: 0, flip: true });
    assert_eq!(data("augment = {}").augment, Augment::default());
}

#[test]
fn what_does_not_go_together_is_refused_with_its_place() {
    for (keys, line, words) in [
        ("source = \"mnits\"", 10, "\"digits\" or \"mnist\" or \"cifar10\" or \"text\""),
        ("path = \"a\"", 9, "lacks the key `source`: \"digits\" or"),
        ("source = \"mnist\"", 9, "lacks the key `path`: the folder of the four IDX files"),
        ("source = \"digits\"\npath = \"a\"", 11, "`digits` are embedded and have no path; leave `path` out"),
        (
            "source = \"mnist\"\npath = \"a\"\ncontext = 8",
            12,
            "the source \"mnist\" has no `context`; text, tokens do; leave",
        ),
        ("source = \"text\"\npath = \"a\"\ncontext = 8\nmean = 1", 13, "the source \"text\" has no `mean`"),
        ("source = \"text\"\npath = \"a\"\ncontext = 8\naugment = {}", 13, "the source \"text\" has no `augment`"),
        (
            "source = \"csv\"\npath = \"a\"\nlabels = \"y\"\nscale = 1",
            13,
            "the source \"csv\" has no `scale`; npy, npz",
        ),
        ("source = \"npz\"\npath = \"a\"\nlabels = \"y\"", 12, "the source \"npz\" has no `labels`; csv, npy do"),
        ("source = \"text\"\npath = \"a\"", 9, "lacks the key `context`: how many tokens make a sample"),
        (
            "source = \"text\"\npath = \"a\"\ncontxt = 8",
            12,
            "unknown key `contxt` in [data]; did you mean `context`?",
        ),
        ("source = \"digits\"\nzzz = 8", 11, "unknown key `zzz` in [data]; it knows source, path, test, labels,"),
        ("source = \"tokens\"\npath = \"a\"\ncontext = 8", 9, "lacks the key `vocabulary`"),
        ("source = \"tokens\"\npath = \"a\"\ncontext = 8\nvocabulary = 65537", 13, "a whole number from 1 to 65536"),
        ("source = \"csv\"\npath = \"a\"", 9, "lacks the key `labels`: the name of the column of labels"),
        ("source = \"csv\"\npath = \"a\"\nlabels = []", 12, "`data.labels` is a list of 0; expected the name"),
        ("source = \"csv\"\npath = \"a\"\nlabels = [\"y\", \"y\"]", 12, "`data.labels` is a list of 2"),
        ("source = \"csv\"\npath = \"a\"\nlabels = [1]", 12, "`data.labels` is a list of 1"),
        (
            "source = \"csv\"\npath = \"a\"\nlabels = \"y\"\ncolumns = [\"a\", \"y\"]",
            13,
            "the column \"y\" stands in `columns` and in `labels`; write it in one of them",
        ),
        ("source = \"csv\"\npath = \"a\"\nlabels = \"y\"\ndrop = \"y\"", 13, "the column \"y\" stands in `drop` and"),
        (
            "source = \"csv\"\npath = \"a\"\nlabels = \"y\"\ncolumns = \"a\"\ndrop = \"b\"",
            14,
            "`drop` stands beside `columns`, which says already which columns are inputs; leave one of them out",
        ),
        (
            "source = \"csv\"\npath = \"a\"\nlabels = \"y\"\ncolumns = []",
            13,
            "`data.columns` is a list of 0; expected the names",
        ),
        (
            "source = \"csv\"\npath = \"a\"\nlabels = \"y\"\nlayout = \"channels_last\"",
            13,
            "has no `layout`; npy, npz, safetensors do",
        ),
        ("source = \"npz\"\npath = \"a\"\nlayout = \"nhwc\"", 12, "expected \"channels_first\" or \"channels_last\""),
        ("source = \"npz\"\npath = \"a\"\ndrop = \"\"", 12, "the source \"npz\" has no `drop`; csv do"),
        ("source = \"npz\"\npath = \"a\"\ndtype = \"int32\"", 12, "the source \"npz\" has no `dtype`; tokens do"),
        (
            "source = \"tokens\"\npath = \"a\"\ncontext = 8\nvocabulary = 9\ndtype = \"float32\"",
            14,
            "`data.dtype` is the string \"float32\"; expected \"uint8\" or \"uint16\" or \"uint32\"",
        ),
        ("source = \"npy\"\npath = \"a\"", 9, "lacks the key `labels`: the .npy file of the labels"),
        (
            "source = \"npy\"\npath = \"a\"\nlabels = \"y\"\ntest = \"b\"",
            13,
            "`test` stands without `test_labels`; name both",
        ),
        (
            "source = \"npy\"\npath = \"a\"\nlabels = \"y\"\ntest_labels = \"b\"",
            13,
            "`test_labels` stands without `test`",
        ),
        ("source = \"npz\"\npath = \"a\"\nshape = [1, 2, 3, 4]", 12, "one to 3 whole numbers from 1 to 1000000"),
        ("source = \"npz\"\npath = \"a\"\nshape = [1000, 1001]", 12, "`data.shape` is (1000, 1001), 1001000 values"),
        ("source = \"npz\"\npath = \"a\"\nshape = [0]", 12, "`data.shape` is a list of 1"),
        ("source = \"npz\"\npath = \"a\"\nclasses = 0", 12, "`data.classes` is the integer 0"),
        ("source = \"npz\"\npath = \"a\"\nscale = 0", 12, "a number other than 0"),
        ("source = \"npz\"\npath = \"a\"\nscale = 1e-50", 12, "a number other than 0"),
        ("source = \"npz\"\npath = \"a\"\nscale = inf", 12, "a number other than 0"),
        ("source = \"digits\"\nmean = nan", 11, "a number, or one for each channel"),
        ("source = \"digits\"\nstd = [1, 0]", 11, "a number above 0, or one for each channel"),
        ("source = \"digits\"\nstd = []", 11, "a number above 0, or one for each channel"),
        ("source = \"digits\"\nstd = 1e-50", 11, "a number above 0"),
        ("source = \"digits\"\nmean = [1, 2]\nstd = [1, 2, 3]", 12, "2 numbers in `mean`, but 3 in `std`; write one"),
        ("source = \"digits\"\naugment = { crop = -1 }", 11, "`augment.crop` is the integer -1"),
        ("source = \"digits\"\naugment = { flips = true }", 11, "did you mean `flip`?"),
        ("source = \"digits\"\naugment = true", 11, "a table"),
        ("source = \"digits\"\nvalidation = 1.0", 11, "a part from 0 up to, not including, 1"),
    ] {
        let error = refused(keys);
        assert!(error.starts_with(&format!("job.toml:{line}:")) && error.contains(words), "{keys}: {error}");
    }
}
