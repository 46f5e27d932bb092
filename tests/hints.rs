//! What a user is told of data that cannot be read, and what comes of doing so: each hint is taken from the error and followed, until
//! the job trains.
#![allow(clippy::unwrap_used)]

mod binary;
mod npy;

use std::fs;
use std::io::Write;

use binary::mixnn;
use tempfile::TempDir;

/// Samples of every file.
const SAMPLES: usize = 24;

/// A job in a folder of its own, with its files, and what was last said of it.
struct Tried {
    folder: TempDir,
    job: String,
    sets: Vec<String>,
    said: String,
}

impl Tried {
    /// A job of two stages, the first of which begins with `ops`, and the second gives `out` values.
    fn new(data: &str, ops: &str, out: u32) -> Self {
        let job = format!(
            "name = \"hints\"\nseed = 7\n[data]\n{data}\n[train]\nepochs = 1\nbatch = 4\n[mix]\nprofile = \"bare\"\n[[stage]]\nops = [{ops}]\n[[stage]]\nops = \
             [{{ op = \"linear\", out = {out} }}]\n"
        );
        Self { folder: tempfile::tempdir().unwrap(), job, sets: Vec::new(), said: String::new() }
    }

    fn file(self, name: &str, bytes: &[u8]) -> Self {
        fs::write(self.folder.path().join(name), bytes).unwrap();
        self
    }

    fn npy(self, name: &str, descr: &str, dims: &[usize], values: &[u8]) -> Self {
        npy::write(&self.folder.path().join(name), descr, dims, values);
        self
    }

    fn call(&self, args: &[&str]) -> binary::Ran {
        fs::write(self.folder.path().join("job.toml"), &self.job).unwrap();
        let sets = self.sets.iter().flat_map(|set| ["--set", set]);
        mixnn(self.folder.path(), &args.iter().copied().chain(sets).collect::<Vec<&str>>())
    }

    /// `check` and `run` refuse it, and say `words`.
    #[track_caller]
    fn told(mut self, words: &[&str]) -> Self {
        for args in [&["check", "job.toml"][..], &["run", "job.toml", "--single"]] {
            let ran = self.call(args);
            self.said = ran.refused(2, words).stderr.clone();
        }
        assert!(!self.folder.path().join("runs").exists());
        self
    }

    /// Sets the key as the hint `key = value` has it, which must have been given.
    #[track_caller]
    fn set(mut self, hint: &str) -> Self {
        let (key, value) = hint.split_once(" = ").unwrap();
        assert!(self.said.contains(hint), "no {hint:?} in: {}", self.said);
        self.sets.push(format!("{}={value}", if key == "loss" { "train.loss" } else { key }));
        self
    }

    /// Changes the job's text as the hint `said` tells.
    #[track_caller]
    fn change(mut self, said: &str, from: &str, to: &str) -> Self {
        assert!(self.said.contains(said), "no {said:?} in: {}", self.said);
        assert_eq!(self.job.matches(from).count(), 1, "{from:?} is not once in the job");
        self.job = self.job.replace(from, to);
        self
    }

    #[track_caller]
    fn trains(self) -> Self {
        let out = self.folder.path().join("out");
        let _ = fs::remove_dir_all(&out);
        self.call(&["run", "job.toml", "--single", "--out", "out"]).well();
        self.call(&["check", "job.toml"]).well();
        self
    }
}

/// A table of lines that `line` gives, below `header`.
fn table(header: &str, line: impl Fn(usize) -> String) -> Vec<u8> {
    let lines: Vec<String> = (0..SAMPLES).map(line).collect();
    format!("{header}\n{}\n", lines.join("\n")).into_bytes()
}

/// A job of the table `t.csv` with the labels `kind`, of three classes.
fn of_table(bytes: &[u8]) -> Tried {
    let data = "source = \"csv\"\npath = \"t.csv\"\nlabels = \"kind\"";
    Tried::new(data, "{ op = \"linear\", out = 4 }", 3).file("t.csv", bytes)
}

#[test]
fn columns_without_a_meaning_are_left_out() {
    let indexed =
        |header: &str| table(header, |line| format!("{line},{},{},{}", line * 5 % 7, line as f32 / 4.0, line % 3));
    for header in [",a,b,kind", "\"\",\"a\",\"b\",\"kind\"", "a,b,kind"] {
        let tried =
            of_table(&indexed(header)).told(&["t.csv, line 1: column 1, \"\", has no name", "index=False (pandas)"]);
        let dropped = tried.set("data.drop = \"\"").trains();
        let model = |tried: &Tried| fs::read(tried.folder.path().join("out/model.safetensors")).unwrap();
        // The other way that the hint names: a table without the column.
        let plain =
            of_table(&table("a,b,kind", |line| format!("{},{},{}", line * 5 % 7, line as f32 / 4.0, line % 3)))
                .trains();
        assert!(model(&dropped) == model(&plain), "{header}");
        of_table(&indexed(",a,b,kind")).told(&["give it a name"]).file("t.csv", &indexed("id,a,b,kind")).trains();
    }
    of_table(&indexed("Unnamed: 0,a,b,kind"))
        .told(&["as pandas calls it"])
        .set("data.drop = \"Unnamed: 0\"")
        .trains();
    of_table(&indexed("a,a,b,kind")).told(&["2 columns \"a\""]).set("data.drop = \"a\"").trains();
    of_table(&indexed("id,a,b,kidn"))
        .told(&["a column \"kind\", as data.labels says; did you mean \"kidn\"?"])
        .file("t.csv", &indexed("id,a,b,kind"))
        .trains();
    let mut tried = of_table(&indexed("id,a,b,kind"));
    tried.sets.push("data.drop=\"ida\"".to_owned());
    let mut tried = tried.told(&["did you mean \"id\"?"]);
    tried.sets = vec!["data.drop=\"id\"".to_owned()];
    tried.trains();
    let mut tried = of_table(&indexed("id,a,b,kind")).file("more.csv", &indexed("id,a,c,kind"));
    tried.sets.push("data.test=\"more.csv\"".to_owned());
    let mut tried = tried.told(&["more.csv, line 1: the columns", "a column \"b\", as in data.path"]);
    tried.sets.push("data.columns=[\"a\"]".to_owned());
    tried.trains();
    let mut tried = of_table(&table("a,b,kind", |line| format!("{line},{line},{}", line % 3)));
    tried = tried.file("more.csv", &indexed("kind,c,b,a"));
    tried.sets.push("data.test=\"more.csv\"".to_owned());
    tried
        .told(&["the column \"c\", which the table to train on lacks"])
        .set("data.drop = \"c\"")
        .file("more.csv", &table("b,c,kind,a", |line| format!("0,x,{},1", line % 3)))
        .trains();
    let headless = table("5,1,2", |line| format!("{line},{},{}", line * 2, line % 3));
    of_table(&headless)
        .told(&["put a line with the columns' names before it"])
        .file("t.csv", &[b"a,b,kind\n", &headless[..]].concat())
        .trains();
}

#[test]
fn fields_that_are_no_numbers_are_mended() {
    let with = |field: &'static str| {
        table("color,b,kind", move |line| format!("{},{line},{}", if line == 3 { field } else { "1" }, line % 3))
    };
    of_table(&with("red")).told(&["line 5, column \"color\": \"red\""]).set("data.drop = \"color\"").trains();
    of_table(&with("red")).told(&["number its words, as pandas.factorize"]).file("t.csv", &with("0")).trains();
    of_table(&with(""))
        .told(&["fill in what is missing, as pandas' fillna(0) does"])
        .file("t.csv", &with("0"))
        .trains();
    of_table(&with("True")).told(&["write 1 and 0, as pandas' astype(int) does"]).file("t.csv", &with("1")).trains();
    let labelled = |label: fn(usize) -> String| {
        table("a,b,kind", move |line| format!("{line},{},{}", line * 3 % 5, label(line)))
    };
    let numbers = labelled(|line| (line % 3).to_string());
    let words = labelled(|line| ["setosa", "virginica", "versicolor"][line % 3].to_owned());
    let tried = of_table(&words)
        .told(&["\"setosa\", expected a class", "table[\"kind\"] = pandas.factorize(table[\"kind\"])[0]"]);
    assert!(!tried.said.contains("ignore_index"), "{}", tried.said);
    tried.file("t.csv", &numbers).trains();
    let missing = labelled(|line| if line == 2 { String::new() } else { (line % 3).to_string() });
    of_table(&missing)
        .told(&["leave out lines without a label, as pandas' dropna() does"])
        .file("t.csv", &numbers)
        .trains();
    let truths = labelled(|line| if line % 2 == 0 { "True" } else { "False" }.to_owned());
    let halves = labelled(|line| (line % 2).to_string());
    let tried = of_table(&truths).told(&["\"True\", expected a class", "write 1 and 0"]).file("t.csv", &halves);
    tried.told(&["2 classes"]).change("write out = 2", "out = 3", "out = 2").trains();
    // Whole numbers that are written as floats are classes.
    of_table(&labelled(|line| format!("{}.0", line % 3))).trains();
    let tried = of_table(&labelled(|line| format!("{}.5", line % 3))).told(&["\"0.5\", expected a class"]);
    assert!(!tried.said.contains("ignore_index"), "{}", tried.said);
    let mut tried = tried.set("loss = \"mean_squared_error\"").told(&["the data have 1 number"]).change(
        "write out = 1",
        "out = 3",
        "out = 1",
    );
    // Inputs as large as these want small steps.
    tried.sets.push("train.optimizer.lr=0.0001".to_owned());
    tried.trains();
}

#[test]
fn labels_that_are_no_classes_are_mended() {
    let labelled =
        |label: fn(usize) -> i32| table("a,b,kind", move |line| format!("{line},{},{}", line * 3 % 5, label(line)));
    let ignoring = labelled(|line| if line == 5 { -1 } else { (line % 3) as i32 });
    of_table(&ignoring)
        .told(&["\"-1\", expected a class"])
        .set("train.loss = { kind = \"cross_entropy\", ignore_index = -1 }")
        .trains();
    let signs = labelled(|line| if line % 2 == 0 { -1 } else { 1 });
    let tried =
        of_table(&signs).told(&["number classes from 0 up"]).file("t.csv", &labelled(|line| (line % 2) as i32));
    tried.told(&["2 classes"]).change("write out = 2", "out = 3", "out = 2").trains();
    let mut tried = of_table(&labelled(|line| 1 + (line % 3) as i32));
    tried.sets.push("data.classes=3".to_owned());
    let tried = tried.told(&["as data.classes = 3 says: number classes from 0 up, or say that there are more"]);
    tried.file("t.csv", &labelled(|line| (line % 3) as i32)).trains();
    let hot = table("a,p,q,r", |line| {
        format!("{line},{},{},{}", u8::from(line % 3 == 0), u8::from(line % 3 == 1), u8::from(line % 3 == 2))
    });
    let data = "source = \"csv\"\npath = \"t.csv\"\nlabels = [\"p\", \"q\", \"r\"]";
    let one_hot = || {
        Tried::new(data, "{ op = \"relu\" }", 3)
            .file("t.csv", &hot)
            .told(&["one-hot", "numpy.argmax(table[[...]].to_numpy(), axis=1)"])
    };
    for loss in ["\"binary_cross_entropy\"", "\"mean_squared_error\""] {
        assert!(one_hot().said.contains(loss));
    }
    one_hot().set("loss = \"binary_cross_entropy\"").trains();
    let mut squared = one_hot();
    squared.sets.push("train.loss=mean_squared_error".to_owned());
    squared.trains();
    let mut classes = one_hot().file("t.csv", &table("a,kind", |line| format!("{line},{}", line % 3)));
    classes.sets.push("data.labels=kind".to_owned());
    classes.trains();
}

fn floats(count: usize) -> Vec<u8> {
    (0..count).flat_map(|at| ((at * 7 % 11) as f32 / 4.0).to_le_bytes()).collect()
}

fn classes(of: usize) -> Vec<u8> {
    (0..SAMPLES).flat_map(|sample| ((sample % of) as i64).to_le_bytes()).collect()
}

const NPY: &str = "source = \"npy\"\npath = \"x.npy\"\nlabels = \"y.npy\"";
const LINEAR: &str = "{ op = \"linear\", out = 4 }";

/// A job of four floats a sample, of three classes.
fn of_arrays(data: &str) -> Tried {
    let tried = Tried::new(data, LINEAR, 3).npy("x.npy", "<f4", &[SAMPLES, 4], &floats(4 * SAMPLES));
    tried.npy("y.npy", "<i8", &[SAMPLES], &classes(3))
}

#[test]
fn arrays_of_other_types_are_mended() {
    of_arrays(NPY).trains();
    let labels = |descr: &str, bytes: usize| {
        let tried = of_arrays(NPY).npy("y.npy", descr, &[SAMPLES], &vec![b'a'; bytes * SAMPLES]);
        let tried = tried.told(&[
            "y.npy, labels: the type",
            ".astype(numpy.int64)",
            "numpy.unique(labels, return_inverse=True)[1]",
        ]);
        assert!(!tried.said.contains("float32"), "{}", tried.said);
        tried.npy("y.npy", "<i8", &[SAMPLES], &classes(3)).trains();
    };
    labels("|O", 3);
    labels("<U9", 36);
    labels("|S9", 9);
    let mut numbers = of_arrays(NPY).npy("y.npy", "|O", &[SAMPLES], &[0; 3 * SAMPLES]);
    numbers.job =
        numbers.job.replace("batch = 4", "batch = 4\nloss = \"mean_squared_error\"").replace("out = 3", "out = 1");
    numbers
        .told(&["y.npy, labels: the type \"|O\"", ".astype(numpy.float32)"])
        .npy("y.npy", "<f4", &[SAMPLES], &floats(SAMPLES))
        .trains();
    let inputs = of_arrays(NPY).npy("x.npy", "|O", &[SAMPLES, 4], &[0; 12 * SAMPLES]);
    inputs
        .told(&["x.npy, inputs: the type \"|O\"", "save numbers with .astype(numpy.float32)"])
        .npy("x.npy", "<f4", &[SAMPLES, 4], &floats(4 * SAMPLES))
        .trains();

    let longs: Vec<u8> = (0..4 * SAMPLES as i64).flat_map(|at| (at % 9).to_le_bytes()).collect();
    let shorts: Vec<u8> = (0..4 * SAMPLES as u16).flat_map(|at| (at % 9).to_le_bytes()).collect();
    for (descr, values, word) in [("<i8", &longs, "int64"), ("<u2", &shorts, "uint16")] {
        let told = || {
            of_arrays(NPY).npy("x.npy", descr, &[SAMPLES, 4], values).told(&[
                word,
                ".astype(numpy.float32)",
                "`embedding`",
            ])
        };
        told().npy("x.npy", "<f4", &[SAMPLES, 4], &floats(4 * SAMPLES)).trains();
        let embedding = "{ op = \"embedding\", vocabulary = 9, width = 128 }";
        let tokens = told().change("`embedding`", LINEAR, &format!("{embedding}, {LINEAR}"));
        let tokens = tokens.told(&["gives 12 values a sample, (4, 3)"]);
        let flat = "put { op = \"flatten\" } before operation 2, `linear`, of stage 1";
        tokens.change(flat, LINEAR, &format!("{{ op = \"flatten\" }}, {LINEAR}")).trains();
    }
    let scaled =
        || of_arrays(&format!("{NPY}\nscale = 0.5")).told(&["data.scale = 0.5 is for: leave it out, or take"]);
    scaled().change("leave it out", "scale = 0.5\n", "").trains();
    scaled().set("data.std = 2").change("leave it out", "scale = 0.5\n", "").trains();
    let words = of_arrays(&format!("{NPY}\nmean = 1")).npy("x.npy", "<u2", &[SAMPLES, 4], &shorts);
    words
        .told(&["leave both out for tokens, or save other numbers as float32"])
        .npy("x.npy", "<f4", &[SAMPLES, 4], &floats(4 * SAMPLES))
        .trains();
}

#[test]
fn arrays_of_other_dimensions_are_mended() {
    let hot: Vec<u8> = (0..3 * SAMPLES).flat_map(|at| i64::from(at % 3 == at / 3 % 3).to_le_bytes()).collect();
    let one_hot =
        || of_arrays(NPY).npy("y.npy", "<i8", &[SAMPLES, 3], &hot).told(&["one-hot", "numpy.argmax(labels, axis=1)"]);
    one_hot().npy("y.npy", "<i8", &[SAMPLES], &classes(3)).trains();
    one_hot().set("loss = \"binary_cross_entropy\"").trains();
    let halves: Vec<u8> = (0..3 * SAMPLES).flat_map(|at| f32::from(at % 3 == at / 3 % 3).to_le_bytes()).collect();
    of_arrays(NPY)
        .npy("y.npy", "<f4", &[SAMPLES, 3], &halves)
        .told(&["one-hot"])
        .set("loss = \"binary_cross_entropy\"")
        .trains();

    let images = |dims: &[usize], ops: &str| {
        let values = dims.iter().product::<usize>() * SAMPLES;
        let tried = Tried::new(NPY, ops, 3).npy("y.npy", "<i8", &[SAMPLES], &classes(3));
        tried.npy("x.npy", "<f4", &[&[SAMPLES], dims].concat(), &floats(values))
    };
    let flat = "put { op = \"flatten\" } before the operations of stage 1";
    images(&[12, 12], LINEAR)
        .told(&["gives 36 values a sample, (12, 3)"])
        .change(flat, LINEAR, &format!("{{ op = \"flatten\" }}, {LINEAR}"))
        .trains();
    const CONV: &str = "{ op = \"conv2d\", out = 2, kernel = 3 }";
    let last = || images(&[8, 8, 3], CONV).told(&["x.npy, inputs: images (8, 8, 3), which look like channels last"]);
    let conv = |tried: &Tried| {
        let model = fs::read(tried.folder.path().join("out/model.safetensors")).unwrap();
        safetensors::SafeTensors::deserialize(&model).unwrap().tensor("0.weight").unwrap().shape().to_vec()
    };
    assert_eq!(conv(&last().set("data.layout = \"channels_last\"").trains()), [2, 3, 3, 3]);
    let first = images(&[8, 8, 3], CONV).told(&["channels last"]).set("data.layout = \"channels_first\"");
    assert_eq!(conv(&first.trains()), [2, 8, 3, 3]);
    let mut shaped = images(&[192], CONV);
    shaped.sets.push("data.shape=[8, 8, 3]".to_owned());
    let shaped = shaped
        .told(&["look like channels last"])
        .set("data.layout = \"channels_last\"")
        .set("data.shape = [3, 8, 8]");
    assert_eq!(conv(&shaped.trains()), [2, 3, 3, 3]);
    let wrong = images(&[12, 12], CONV);
    wrong
        .told(&["`conv2d` takes an image (channels, height, width), but gets (12, 12); put a `reshape` before it"])
        .change("reshape", CONV, &format!("{{ op = \"reshape\", shape = [1, 12, 12] }}, {CONV}"))
        .trains();
    let mut moved = images(&[12, 12], LINEAR);
    moved.sets.push("data.augment={ flip = true }".to_owned());
    let mut moved = moved.told(&["say so with a `shape` such as [1, 28, 28]"]);
    moved.sets.push("data.shape=[1, 12, 12]".to_owned());
    moved.trains();
    let deep =
        images(&[2, 1, 3, 4], LINEAR).told(&["at most three dimensions a sample: write data.shape, as [2, 3, 4]"]);
    let mut deep = deep.change("data.shape", NPY, &format!("{NPY}\nshape = [2, 3, 4]"));
    deep.said.clear();
    deep.trains();
}

#[test]
fn tokens_of_other_widths_are_mended() {
    const LENGTH: u32 = 101;
    let tokens = || (0..LENGTH).map(|at| at * 7 % 40);
    let job = |bytes: &[u8]| {
        let data = "source = \"tokens\"\npath = \"t.bin\"\ncontext = 4\nvocabulary = 40";
        Tried::new(data, "{ op = \"embedding\", vocabulary = 40, width = 4 }", 40).file("t.bin", bytes)
    };
    let digest =
        |tried: Tried| binary::json(&tried.folder.path().join("out/result.json"))["weights_sha256"].to_string();
    let words: Vec<u8> = tokens().flat_map(|token| (token as u16).to_le_bytes()).collect();
    let reference = digest(job(&words).trains());
    let wide: Vec<u8> = tokens().flat_map(u32::to_le_bytes).collect();
    let tried = job(&wide).told(&["every second word of 16 bits is zero, as in tokens of 32 bits"]);
    assert_eq!(digest(tried.set("data.dtype = \"int32\"").trains()), reference);
    job(&wide).told(&["or"]).set("data.dtype = \"uint16\"").trains();
    let wider: Vec<u8> = tokens().flat_map(|token| u64::from(token).to_le_bytes()).collect();
    let tried = job(&wider).told(&["three of four words of 16 bits are zero, as in tokens of 64 bits"]);
    assert_eq!(digest(tried.set("data.dtype = \"int64\"").trains()), reference);
    let narrow: Vec<u8> = tokens().map(|token| token as u8).collect();
    assert_eq!(digest(job(&narrow).told(&["101 bytes"]).set("data.dtype = \"uint8\"").trains()), reference);
    assert_eq!(
        digest(
            job(&narrow[..100]).told(&["token 0: "]).set("data.dtype = \"uint8\"").file("t.bin", &narrow).trains()
        ),
        reference
    );
    let turned: Vec<u8> = tokens().flat_map(u32::to_be_bytes).collect();
    let tried = job(&turned).told(&["write them with tokens.astype(numpy.uint16).tofile(...)"]);
    assert_eq!(digest(tried.file("t.bin", &words).trains()), reference);
    // What says itself what it is needs no key, whatever its width.
    assert_eq!(digest(job(&[]).npy("t.bin", "<i8", &[LENGTH as usize], &wider).trains()), reference);
    assert_eq!(digest(job(&[]).npy("t.bin", "<i4", &[LENGTH as usize], &wide).trains()), reference);
    let mut named = job(&[]).npy("t.bin", "<i4", &[LENGTH as usize], &wide);
    named.sets.push("data.dtype=uint16".to_owned());
    let mut named = named.told(&["\"int32\", as that .npy file says: leave it out"]);
    named.sets.clear();
    assert_eq!(digest(named.trains()), reference);
    let floats: Vec<u8> = tokens().flat_map(|token| (token as f32).to_le_bytes()).collect();
    let tried = job(&[]).npy("t.bin", "<f4", &[LENGTH as usize], &floats).told(&["save tokens.astype(numpy.uint16)"]);
    assert_eq!(digest(tried.file("t.bin", &words).trains()), reference);
    let large: Vec<u8> = tokens().flat_map(|token| (token as u16 + 300).to_le_bytes()).collect();
    let tried = job(&large).told(&["token 0: 300"]).set("data.vocabulary = 301");
    tried.told(&[
        "token 1: 307",
        "below data.vocabulary, 301: where there are more, take data.vocabulary = 308 or above",
    ]);
}

#[test]
fn texts_of_two_bytes_a_character_are_mended() {
    const TEXT: &str = "to be or not to be, that is the question";
    let wide: Vec<u8> = TEXT.encode_utf16().flat_map(u16::to_le_bytes).collect();
    // ",abehinoqrstu" and the blank.
    let ops = "{ op = \"embedding\", vocabulary = 14, width = 4 }";
    let tried = Tried::new("source = \"text\"\npath = \"t.txt\"\ncontext = 4", ops, 14).file("t.txt", &wide);
    tried.told(&["text in UTF-16, as it looks", "iconv -f UTF-16 -t UTF-8"]).file("t.txt", TEXT.as_bytes()).trains();
}

#[test]
fn archives_without_the_arrays_are_mended() {
    let array = |descr: &str, dims: &[usize], values: &[u8]| {
        let folder = tempfile::tempdir().unwrap();
        npy::write(&folder.path().join("a"), descr, dims, values);
        fs::read(folder.path().join("a")).unwrap()
    };
    let archive = |names: [&str; 2]| {
        let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        let arrays = [array("<f4", &[SAMPLES, 4], &floats(4 * SAMPLES)), array("<i8", &[SAMPLES], &classes(3))];
        for (name, bytes) in names.iter().zip(arrays) {
            writer.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
            writer.write_all(&bytes).unwrap();
        }
        writer.finish().unwrap().into_inner()
    };
    let tried = Tried::new("source = \"npz\"\npath = \"a.npz\"", LINEAR, 3)
        .file("a.npz", &archive(["x_train.npy", "y_train.npy"]));
    let tried =
        tried.told(&["the members [\"x_train.npy\", \"y_train.npy\"]", "numpy.savez(file, inputs=..., labels=...)"]);
    tried.file("a.npz", &archive(["inputs.npy", "labels.npy"])).trains();
}

#[test]
fn inputs_to_infer_are_mended() {
    let values: Vec<u8> = (0..192 * SAMPLES).map(|at| (at * 7 % 251) as u8).collect();
    let data = format!("{NPY}\nlayout = \"channels_last\"");
    let tried = Tried::new(&data, "{ op = \"conv2d\", out = 2, kernel = 3 }", 3);
    let tried =
        tried.npy("x.npy", "|u1", &[SAMPLES, 8, 8, 3], &values).npy("y.npy", "<i8", &[SAMPLES], &classes(3)).trains();
    let infer = |sets: &[&str]| {
        let output = tried.folder.path().join("y.out");
        let _ = fs::remove_file(&output);
        let args = [&["infer", "out", "--input", "new.npy", "--output", "y.out", "--single"], sets].concat();
        (mixnn(tried.folder.path(), &args), output)
    };
    let write = |descr: &str, dims: &[usize], values: &[u8]| {
        npy::write(&tried.folder.path().join("new.npy"), descr, dims, values)
    };
    let first: Vec<u8> = (0..192).map(|at| values[at % 64 * 3 + at / 64]).collect();
    // In the layout of training, in rows of it, and with the channels first where that is said.
    write("|u1", &[1, 8, 8, 3], &values[..192]);
    let (ran, output) = infer(&[]);
    ran.well();
    let due = fs::read(&output).unwrap();
    write("|u1", &[1, 192], &values[..192]);
    infer(&[]).0.well();
    assert!(fs::read(&output).unwrap() == due);
    write("|u1", &[1, 3, 8, 8], &first);
    infer(&[]).0.refused(2, &["expected samples of (8, 8, 3)", "for channels last save x.transpose(0, 2, 3, 1)"]);
    infer(&["--set", "data.layout=channels_first"]).0.well();
    assert!(fs::read(&output).unwrap() == due);
    let scaled: Vec<u8> = values[..192].iter().flat_map(|value| (f32::from(*value) / 255.0).to_le_bytes()).collect();
    write("<f4", &[1, 8, 8, 3], &scaled);
    infer(&[]).0.refused(2, &["numpy.rint(x * 255).astype(numpy.uint8) where x goes from 0 to 1"]);
}
