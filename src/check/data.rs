//! What `mixnn check` lists of the data: the ranges of the inputs, and the labels.

use std::borrow::Cow;
use std::fmt;

use serde_json::{Value, json};

use crate::data::{Dataset, IGNORED, Targets};
use crate::element::Element;
use crate::job::Source;
use crate::run::prepare::Prepared;

/// How many columns or classes are listed one by one in text at most.
const LISTED: usize = 20;
/// How many classes JSON lists one by one at most.
const MOST: usize = 1000;
/// The parts of the data: their names in JSON, and in text what they are for.
const PARTS: [(&str, &str); 3] = [("train", "to train"), ("validation", "to validate"), ("test", "to test")];

/// What there is to see of the data.
pub(super) struct Listed {
    /// The name of the source.
    source: &'static str,
    /// The shape of a sample.
    shape: Vec<usize>,
    /// How a value of a sample is stored.
    element: Element,
    /// The range of all inputs, as they stand in their file.
    raw: Range,
    /// The range of all inputs, as the first operation gets them.
    taken: Range,
    /// The range of each column with its name. Empty where the data name no columns.
    columns: Vec<(String, Range)>,
    /// What there is to see of the labels.
    labels: Labels,
    /// The names of those columns that seem only to count the lines.
    counting: Vec<String>,
}

/// The least and the largest of some numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Range {
    least: f32,
    largest: f32,
}

/// What there is to see of the labels.
enum Labels {
    /// Each label is a class.
    Classes {
        /// How many labels a sample has.
        places: usize,
        /// How many labels there are of each class, by part of the data and by class.
        counts: [Vec<u64>; 3],
        /// How many labels count for nothing, by part of the data.
        ignored: [u64; 3],
    },
    /// Labels are numbers: the range of each place, with the name of its column where it has one.
    Numbers(Vec<(Option<String>, Range)>),
}

impl Range {
    /// The range of no numbers at all.
    const NONE: Range = Range { least: f32::INFINITY, largest: f32::NEG_INFINITY };

    /// Widens the range so that it holds `value`.
    fn see(&mut self, value: f32) {
        self.least = self.least.min(value);
        self.largest = self.largest.max(value);
    }

    /// The range that holds both ranges.
    fn and(self, other: Range) -> Range {
        Range { least: self.least.min(other.least), largest: self.largest.max(other.largest) }
    }

    /// The range of `scale x + shift`, where x has this range.
    fn scaled(self, scale: f32, shift: f32) -> Range {
        let [one, other] = [self.least, self.largest].map(|value| scale.mul_add(value, shift));
        Range { least: one.min(other), largest: one.max(other) }
    }

    /// This range as JSON.
    fn json(self) -> Value {
        // These are the digits of the f32, and not those of the f64 that equals it.
        let digits = |value: f32| value.to_string().parse::<f64>().ok();
        json!({ "least": digits(self.least), "largest": digits(self.largest) })
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "from {} to {}", self.least, self.largest)
    }
}

impl Listed {
    /// Looks at all data of `prepared`.
    pub(super) fn of(prepared: &Prepared) -> Self {
        let parts = [&prepared.train, &prepared.validation, &prepared.test];
        let data = parts[0];
        let encoding = &data.encoding;
        let names = &prepared.names;
        // Each column has a range of its own, and so has each channel that is scaled by numbers of its own.
        let groups = names.len().max(encoding.scale.len());
        let mut ranges = vec![Range::NONE; groups];
        for part in parts {
            let features = part.features();
            each(part, |at, value| ranges[at * groups / features].see(value));
        }
        let channel = |group: usize| group * encoding.scale.len() / groups;
        let scaled = |(group, range): (usize, &Range)| {
            range.scaled(encoding.scale[channel(group)], encoding.shift[channel(group)])
        };
        let own = ranges.get(..names.len()).unwrap_or_default();
        let columns: Vec<(String, Range)> = names.iter().cloned().zip(own.iter().copied()).collect();
        // One file counts its lines. Where another file holds the test samples, it counts anew.
        let has_test = matches!(&prepared.job.data.source, Source::Csv { test: Some(_), .. });
        let counted = if has_test { &parts[..2] } else { &parts[..] };
        let counts =
            |(at, (name, range)): (usize, &(String, Range))| counts(counted, at, *range).then(|| name.clone());
        Self {
            source: prepared.job.data.source.name(),
            shape: data.sample_shape.clone(),
            element: encoding.element,
            raw: ranges.iter().copied().fold(Range::NONE, Range::and),
            taken: ranges.iter().enumerate().map(scaled).fold(Range::NONE, Range::and),
            counting: columns.iter().enumerate().filter_map(counts).collect(),
            columns,
            labels: Labels::of(parts, &prepared.job.data.source),
        }
    }

    /// Warns of each column that seems only to count the lines.
    pub(super) fn warnings(&self) -> impl Iterator<Item = String> {
        self.counting.iter().map(|name| {
            format!(
                "the column {name:?} holds consecutive numbers, each once, as one that only counts the lines: where it does, \
                 leave it out with data.drop = {name:?}"
            )
        })
    }

    /// What is listed, as JSON.
    pub(super) fn json(&self) -> Value {
        let columns = self.columns.iter().map(|(name, range)| named(name, *range));
        json!({
            "source": self.source,
            "inputs": {
                "shape": self.shape,
                "type": self.element.name(),
                "range": self.raw.json(),
                "range_of_first_operation": self.taken.json(),
                "columns": (!self.columns.is_empty()).then(|| columns.collect::<Vec<Value>>()),
            },
            "labels": self.labels.json(),
        })
    }
}

/// `range` as JSON, with the name of what has this range.
fn named(name: &str, range: Range) -> Value {
    let mut json = range.json();
    json["name"] = name.into();
    json
}

/// Whether the values at place `at` of all samples in `parts` are consecutive whole numbers, each once. Their range is
/// `range`.
fn counts(parts: &[&Dataset], at: usize, range: Range) -> bool {
    /// With fewer samples than this it may be so by chance.
    const FEWEST: usize = 10;
    let samples: usize = parts.iter().map(|part| part.samples()).sum();
    let first = f64::from(range.least);
    if samples < FEWEST || f64::from(range.largest) - first + 1.0 < samples as f64 || first.fract() != 0.0 {
        return false;
    }
    let mut seen = vec![false; samples];
    parts.iter().all(|part| {
        let mut well = true;
        each(part, |place, value| {
            if place == at && well {
                let number = f64::from(value) - first;
                let is_new = number.fract() == 0.0 && seen.get(number as usize) == Some(&false);
                well = is_new;
                if is_new {
                    seen[number as usize] = true;
                }
            }
        });
        well
    })
}

/// Calls `see` with each value of each sample of `set`: the value's place in the sample, and the value.
fn each(set: &Dataset, mut see: impl FnMut(usize, f32)) {
    for row in set.inputs.rows() {
        let row = row.to_slice().map_or_else(|| Cow::Owned(row.to_vec()), Cow::Borrowed);
        match set.encoding.element {
            Element::U8 => row.iter().enumerate().for_each(|(at, byte)| see(at, f32::from(*byte))),
            Element::U16 => {
                let words = row.as_chunks().0.iter().map(|word| f32::from(u16::from_le_bytes(*word)));
                words.enumerate().for_each(|(at, word)| see(at, word));
            }
            Element::F32 => {
                let singles = row.as_chunks().0.iter().map(|single| f32::from_le_bytes(*single));
                singles.enumerate().for_each(|(at, single)| see(at, single));
            }
        }
    }
}

impl Labels {
    /// Looks at the labels of `parts`, which come from `source`.
    fn of(parts: [&Dataset; 3], source: &Source) -> Self {
        match &parts[0].targets {
            Targets::Classes { places, classes, .. } => {
                let mut counts = [(); 3].map(|()| vec![0; *classes]);
                let mut ignored = [0; 3];
                for (part, set) in parts.into_iter().enumerate() {
                    let Targets::Classes { labels, .. } = &set.targets else { continue };
                    for label in labels {
                        match counts[part].get_mut(*label as usize) {
                            Some(count) => *count += 1,
                            None => ignored[part] += u64::from(*label == IGNORED),
                        }
                    }
                }
                Labels::Classes { places: *places, counts, ignored }
            }
            Targets::Values { width, .. } => {
                let names: &[String] = if let Source::Csv { labels, .. } = source { labels } else { &[] };
                let mut ranges = vec![Range::NONE; *width];
                for set in parts {
                    let Targets::Values { values, .. } = &set.targets else { continue };
                    values.iter().enumerate().for_each(|(at, value)| ranges[at % width].see(*value));
                }
                Labels::Numbers((0..).map(|at| names.get(at).cloned()).zip(ranges).collect())
            }
        }
    }

    /// What is listed of the labels, as JSON.
    fn json(&self) -> Value {
        match self {
            Labels::Classes { places, counts, ignored } => {
                let parts = PARTS.iter().zip(counts).zip(ignored).map(|(((name, _), counts), ignored)| {
                    let [fewest, most] =
                        extremes(counts).map(|(class, count)| json!({ "class": class, "labels": count }));
                    let each = (counts.len() <= MOST).then_some(counts);
                    (
                        (*name).to_owned(),
                        json!({ "of_each_class": each, "fewest": fewest, "most": most, "ignored": ignored }),
                    )
                });
                let parts: serde_json::Map<String, Value> = parts.collect();
                json!({ "kind": "classes", "classes": counts[0].len(), "places": places, "labels": parts })
            }
            Labels::Numbers(ranges) => {
                let ranges = ranges.iter().map(|(name, range)| match name {
                    Some(name) => named(name, *range),
                    None => range.json(),
                });
                json!({ "kind": "numbers", "numbers": ranges.collect::<Vec<Value>>() })
            }
        }
    }
}

/// The class with the fewest labels and the class with the most, each with their number.
fn extremes(counts: &[u64]) -> [(usize, u64); 2] {
    let classes = || counts.iter().copied().enumerate();
    let fewest = classes().min_by_key(|(_, count)| *count);
    // Of several classes with as many labels the first is taken.
    let most = classes().rev().max_by_key(|(_, count)| *count);
    [fewest, most].map(|found| found.unwrap_or_default())
}

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |name: &str, value: String| writeln!(f, "{name:<22} {value}");
        let shape: Vec<String> = self.shape.iter().map(usize::to_string).collect();
        let taken = if self.taken == self.raw { String::new() } else { format!("; scaled {}", self.taken) };
        row("inputs", format!("({}) of {}, {}{taken}", shape.join(", "), self.element.name(), self.raw))?;
        for (name, range) in self.columns.iter().take(LISTED) {
            row(&format!("  {:?}", name), range.to_string())?;
        }
        if self.columns.len() > LISTED {
            row("  and", format!("{} columns more", self.columns.len() - LISTED))?;
        }
        match &self.labels {
            Labels::Classes { places, counts, ignored } => {
                let classes = counts[0].len();
                let each = if *places == 1 { String::new() } else { format!(" for each of {places} places") };
                row("labels", format!("a class of {classes}{each}"))?;
                let parts = |count: &dyn Fn(usize) -> String| {
                    let parts: Vec<String> =
                        PARTS.iter().enumerate().map(|(part, (_, what))| format!("{} {what}", count(part))).collect();
                    parts.join(", ")
                };
                if classes <= LISTED {
                    (0..classes).try_for_each(|class| {
                        row(&format!("  class {class}"), parts(&|part| counts[part][class].to_string()))
                    })?;
                } else {
                    for (name, which) in [("  fewest", 0), ("  most", 1)] {
                        let of = |part: usize| {
                            let (class, count) = extremes(&counts[part])[which];
                            format!("{count} (class {class})")
                        };
                        row(name, parts(&of))?;
                    }
                }
                if ignored.iter().any(|count| *count > 0) {
                    row("  ignored", parts(&|part| ignored[part].to_string()))?;
                }
            }
            Labels::Numbers(ranges) => {
                row("labels", counted(ranges.len(), "number"))?;
                for (at, (name, range)) in ranges.iter().take(LISTED).enumerate() {
                    let name = name.as_ref().map_or_else(|| format!("  number {at}"), |name| format!("  {name:?}"));
                    row(&name, range.to_string())?;
                }
                if ranges.len() > LISTED {
                    row("  and", format!("{} numbers more", ranges.len() - LISTED))?;
                }
            }
        }
        Ok(())
    }
}

/// `count` and the word `what`, in the plural where that is due.
fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn table(lines: impl Iterator<Item = String>, header: &str, sets: &[&str]) -> Listed {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.csv");
        std::fs::write(&path, format!("{header}\n{}", lines.collect::<String>())).unwrap();
        let stages = "stage=[{ ops = [{ op = \"linear\", out = 3 }] }, { ops = [{ op = \"relu\" }] }]";
        let data = format!("data={{ source = \"csv\", path = {path:?}, labels = \"y\" }}");
        let sets = [&[stages, &data], sets].concat().into_iter().map(str::to_owned).collect::<Vec<String>>();
        Listed::of(&Prepared::load(Path::new("jobs/digits.toml"), &sets).unwrap())
    }

    #[test]
    fn the_digits_are_listed() {
        let listed = Listed::of(&Prepared::load(Path::new("jobs/digits.toml"), &[]).unwrap());
        let text = listed.to_string();
        assert!(
            text.starts_with("inputs                 (1, 8, 8) of uint8, from 0 to 16; scaled from 0 to 1\n"),
            "{text}"
        );
        let json = listed.json();
        assert_eq!(json["inputs"]["shape"], json!([1, 8, 8]));
        assert_eq!((&json["inputs"]["type"], &json["inputs"]["columns"]), (&json!("uint8"), &Value::Null));
        assert_eq!(json["inputs"]["range"], json!({ "least": 0.0, "largest": 16.0 }));
        let labels = &json["labels"]["labels"];
        let of = |part: &str| {
            labels[part]["of_each_class"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).sum::<u64>()
        };
        assert_eq!(["train", "validation", "test"].map(of), [1294, 144, 359]);
        // The set's description says that there are 178 zeros.
        let zeros: u64 = PARTS.iter().map(|(part, _)| labels[*part]["of_each_class"][0].as_u64().unwrap()).sum();
        assert_eq!(zeros, 178);
    }

    #[test]
    fn columns_are_listed_and_those_that_count_lines_are_told() {
        let lines = || (0..30).map(|line| format!("{},{},{}\n", 30 - line, line as f32 / 4.0, line % 3));
        let listed = table(lines(), "id,width,y", &[]);
        let text = listed.to_string();
        for words in [
            "  \"id\"                 from 1 to 30\n",
            "  \"width\"              from 0 to 7.25\n",
            "a class of 3\n  class 0",
        ] {
            assert!(text.contains(words), "{text}");
        }
        let warnings: Vec<String> = listed.warnings().collect();
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].contains("the column \"id\" holds consecutive numbers, each once"), "{warnings:?}");
        assert_eq!(listed.json()["inputs"]["columns"][1], json!({ "name": "width", "least": 0.0, "largest": 7.25 }));
        // One number comes twice, one is left out, or none is whole.
        for change in [|line: usize| (line.max(1)) as f32, |line| (line * 2) as f32, |line| line as f32 + 0.5] {
            let lines = (0..30).map(|line| format!("{},{}\n", change(line), line % 3));
            assert_eq!(table(lines, "id,y", &[]).warnings().count(), 0);
        }
        let normal = table(lines(), "id,width,y", &["data.mean=1", "data.std=0.5"]).to_string();
        assert!(normal.contains("from 0 to 30; scaled from -2 to 58"), "{normal}");
    }

    #[test]
    fn numbers_and_many_classes_are_shortened() {
        let lines = (0..60).map(|line| format!("{},{}\n", line % 7, line as f32 / 8.0));
        let listed = table(
            lines,
            "a,y",
            &[
                "train.loss=mean_squared_error",
                "stage=[{ ops = [{ op = \"linear\", out = 1 }] }, { ops = [{ op = \"relu\" }] }]",
            ],
        );
        assert!(
            listed
                .to_string()
                .ends_with("labels                 1 number\n  \"y\"                  from 0 to 7.375\n"),
            "{listed}"
        );
        assert_eq!(
            listed.json()["labels"],
            json!({ "kind": "numbers", "numbers": [{ "name": "y", "least": 0.0, "largest": 7.375 }] })
        );
        let many =
            Labels::Classes { places: 2, counts: [vec![3; 1001], vec![0; 1001], vec![5; 1001]], ignored: [0, 0, 4] };
        let json = many.json();
        assert_eq!(
            json["labels"]["train"],
            json!({ "of_each_class": null, "fewest": { "class": 0, "labels": 3 }, "most": { "class": 0, "labels": 3 }, "ignored": 0 })
        );
        let text = Listed { labels: many, ..listed }.to_string();
        assert!(text.contains("labels                 a class of 1001 for each of 2 places\n  fewest               3 (class 0) to train, 0 (class 0) to validate"), "{text}");
        assert!(text.ends_with("  ignored              0 to train, 0 to validate, 4 to test\n"), "{text}");
    }
}
