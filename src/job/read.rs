//! From the tree to a [`Job`]: every key, its default, its range.

use std::path::PathBuf;
use std::time::Duration;

use super::section::Section;
use super::tree::{Node, Value};
use super::*;

/// Reads a whole job.
pub(super) fn job(tree: &Node) -> Result<Job, JobError> {
    let root = Section::new("the job", tree)?;
    let name = root.text("name", NAME)?;
    let name = root.required("name", name, NAME)?.to_owned();
    if name.is_empty()
        || name.starts_with('.')
        || name.contains(|c: char| !(c.is_alphanumeric() || "-_.".contains(c)))
    {
        return Err(JobError::Value {
            at: root.at("name"),
            key: "name".to_owned(),
            found: format!("{name:?}"),
            expected: NAME.to_owned(),
        });
    }
    let (seed, seed_drawn) = seed(&root)?;
    let job = Job {
        name,
        seed,
        seed_drawn,
        data: data::read(root.section("data")?)?,
        train: train(root.section("train")?)?,
        init: init::read(root.section("init")?)?,
        stages: stages(&root)?,
        mix: mix(root.section("mix")?)?,
        transport: transport(root.section("transport")?)?,
        trust: trust(root.section("trust")?)?,
        compute: compute(root.section("compute")?)?,
        output: output(root.section("output")?)?,
    };
    let mix_at = root.at("mix");
    root.finish()?;
    together(&job, mix_at)?;
    Ok(job)
}

const NAME: &str = "a name of letters, digits, `-`, `_` and `.`, for the run's folder";

fn seed(root: &Section<'_>) -> Result<(String, bool), JobError> {
    match root.get("seed") {
        Some(Node { value: Value::Integer(number), .. }) => Ok((number.to_string(), false)),
        Some(Node { value: Value::Text(text), .. }) if !text.is_empty() => Ok((text.clone(), false)),
        Some(node) => Err(root.wrong("seed", node, "a whole number or a string")),
        None => {
            let drawn: [u64; 4] = std::array::from_fn(|_| rand::random());
            Ok((drawn.iter().map(|word| format!("{word:016x}")).collect(), true))
        }
    }
}

fn train(section: Section<'_>) -> Result<Train, JobError> {
    let epochs = section.integer("epochs", 1..=1_000_000)?;
    let epochs = section.required("epochs", epochs, "how many passes over the data to train")?;
    let batch: u32 = section.integer("batch", 1..=1_000_000)?.unwrap_or(64);
    let micro_batch: u32 = section.integer("micro_batch", 1..=1_000_000)?.unwrap_or(batch);
    let drop_last = section.boolean("drop_last")?.unwrap_or(false);
    let loss = loss::read(&section)?;
    let clip = optimizer::read_clip(section.section("clip")?)?;
    let (optimizer, peak) = optimizer::read(&section, clip)?;
    let rate = schedule::read(&section, peak)?;
    let micro_at = section.at("micro_batch");
    section.finish()?;
    if micro_batch > batch || !batch.is_multiple_of(micro_batch) {
        let fits: Vec<String> = (1..=batch).filter(|m| batch.is_multiple_of(*m)).map(|m| m.to_string()).collect();
        let problem = if micro_batch > batch { "exceeds" } else { "does not divide" };
        return Err(JobError::Conflict {
            at: micro_at,
            problem: format!("micro_batch = {micro_batch} {problem} batch = {batch}"),
            fix: format!("take one of {}", shortened(&fits)),
        });
    }
    Ok(Train { epochs, batch, micro_batch, drop_last, loss, optimizer, rate })
}

fn shortened(items: &[String]) -> String {
    match items.len() {
        0..=12 => items.join(", "),
        many => format!("{}, ..., {}", items[..11].join(", "), items[many - 1]),
    }
}

fn stages(root: &Section<'_>) -> Result<Vec<Stage>, JobError> {
    const STAGES: &str = "one [[stage]] for each rank that is to host layers";
    let found = root.list("stage", STAGES)?;
    let found = root.required("stage", found, STAGES)?;
    let most = usize::from(MOST_RANKS) - 1;
    if found.is_empty() || found.len() > most {
        return Err(JobError::Value {
            at: root.at("stage"),
            key: "stage".to_owned(),
            found: format!("a list of {}", found.len()),
            expected: format!("1 to {most} stages"),
        });
    }
    found.iter().enumerate().map(|(i, node)| stage(i, node)).collect()
}

fn stage(index: usize, node: &Node) -> Result<Stage, JobError> {
    const OPS: &str = "a list of operations such as { op = \"linear\", out = 10 }";
    let section = Section::new(&format!("[[stage]] {}", index + 1), node)?;
    let found = section.list("ops", OPS)?;
    let found = section.required("ops", found, OPS)?;
    if found.is_empty() || found.len() > MOST_OPS {
        let many = format!("a list of {}", found.len());
        return Err(JobError::Value {
            at: section.at("ops"),
            key: format!("[[stage]] {}.ops", index + 1),
            found: if found.is_empty() { "an empty list".to_owned() } else { many },
            expected: if found.is_empty() { OPS.to_owned() } else { format!("at most {MOST_OPS} operations") },
        });
    }
    let ops = found.iter().map(op::read).collect::<Result<_, _>>()?;
    let on_owner = section.choice("at", &[("rank", false), ("owner", true)])?.unwrap_or(false);
    section.finish()?;
    Ok(Stage { ops, on_owner, at: node.at.clone() })
}

fn mix(section: Section<'_>) -> Result<Mix, JobError> {
    let profiles = [("mixed", Profile::Mixed), ("sealed", Profile::Sealed), ("bare", Profile::Bare)];
    let profile = section.choice("profile", &profiles)?.unwrap_or(Profile::Mixed);
    let relays = section.integer("relays", 0..=i64::from(MOST_RANKS) - 2)?.unwrap_or(3);
    let hops = section.integer("hops", 3..=4)?.unwrap_or(3);
    // A payload of at least 16 bytes, its tags, and room to hold a 64-byte header in a few cells.
    let cell = section.integer("cell", 128..=1 << 24)?.unwrap_or(1 << 16);
    let mix = Mix {
        profile,
        relays,
        hops,
        cell,
        depth: section.integer("depth", 0..=i64::from(MOST_RANKS) - 1)?.unwrap_or(0),
        pace: pace(&section)?,
        link: section.choice("link", &Link::ALL)?.unwrap_or(Link::Hosts),
        wire: section.choice("wire", &Float::ALL)?.unwrap_or_default(),
        message: section.integer("message", 0..=1 << 30)?.unwrap_or(0),
        package: section.integer("package", 0..=1 << 30)?.unwrap_or(0),
        result: section.integer("result", 0..=1 << 40)?.unwrap_or(0),
    };
    section.finish()?;
    Ok(mix)
}

fn pace(section: &Section<'_>) -> Result<Pace, JobError> {
    const PACE: &str = "\"lockstep\", \"auto\", or the time of a slot such as \"2ms\" or \"500us\", at most \"1h\"";
    match section.text("pace", PACE)? {
        None | Some("lockstep") => Ok(Pace::Lockstep),
        Some("auto") => Ok(Pace::Auto),
        Some(text) => match duration(text, Duration::from_micros(1)) {
            Some(slot) if (SHORTEST_SLOT..=LONGEST_SLOT).contains(&slot) => Ok(Pace::Slots(slot)),
            _ => Err(JobError::Value {
                at: section.at("pace"),
                key: "mix.pace".to_owned(),
                found: format!("{text:?}"),
                expected: PACE.to_owned(),
            }),
        },
    }
}

fn transport(section: Section<'_>) -> Result<Transport, JobError> {
    const TIMEOUT: &str = "a time such as \"120s\", \"500ms\" or \"2m\"";
    let timeout = match section.text("timeout", TIMEOUT)? {
        None => Duration::from_secs(120),
        Some(text) => duration(text, Duration::from_millis(1)).ok_or_else(|| JobError::Value {
            at: section.at("timeout"),
            key: "transport.timeout".to_owned(),
            found: format!("{text:?}"),
            expected: TIMEOUT.to_owned(),
        })?,
    };
    let windows = section.boolean("windows")?.unwrap_or(true);
    section.finish()?;
    Ok(Transport { timeout, windows })
}

/// "120s", "500ms", "2m", "1h", in whole `grains`, since that is what is printed and what ranks are told; at least one and at
/// most a year.
pub fn duration(text: &str, grain: Duration) -> Option<Duration> {
    let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
    let (number, unit) = text.split_at(digits);
    let unit = match unit {
        "us" => 1.0,
        "ms" => 1e3,
        "s" => 1e6,
        "m" => 60e6,
        "h" => 3600e6,
        _ => return None,
    };
    let grains = (number.parse::<f64>().ok()? * unit / grain.as_micros() as f64).round();
    let most = LONGEST_TIMEOUT.as_micros() / grain.as_micros();
    (1.0..=most as f64).contains(&grains).then(|| Duration::from_nanos(grain.as_nanos() as u64 * grains as u64))
}

fn trust(section: Section<'_>) -> Result<Trust, JobError> {
    const RANKS: &str = "the file that lists the identities of the ranks, a line each, as mixnn keygen prints them";
    let ranks = section.text("ranks", RANKS)?;
    if ranks == Some("") {
        return Err(JobError::Value {
            at: section.at("ranks"),
            key: "trust.ranks".to_owned(),
            found: "an empty string".to_owned(),
            expected: RANKS.to_owned(),
        });
    }
    section.finish()?;
    Ok(Trust { ranks: ranks.map(PathBuf::from) })
}

fn compute(section: Section<'_>) -> Result<Compute, JobError> {
    let backends = [Backend::Auto, Backend::Cpu, Backend::Cuda].map(|backend| (backend.name(), backend));
    let backend = section.choice("backend", &backends)?;
    let precision = section.choice("precision", &Precision::ALL)?;
    let threads = section.integer("threads", 0..=MOST_THREADS.into())?;
    let overlap = section.boolean("overlap")?;
    let aead = section.choice("aead", &AesGcm::ALL)?;
    section.finish()?;
    Ok(Compute {
        backend: backend.unwrap_or(Backend::Auto),
        precision: precision.unwrap_or_default(),
        threads: threads.unwrap_or(0),
        overlap: overlap.unwrap_or(false),
        aead: aead.unwrap_or(AesGcm::Auto),
    })
}

fn output(section: Section<'_>) -> Result<Output, JobError> {
    let timing = section.boolean("timing")?;
    section.finish()?;
    Ok(Output { timing: timing.unwrap_or(false) })
}

/// What single keys cannot tell: whether they go together.
fn together(job: &Job, mix_at: At) -> Result<(), JobError> {
    let conflict =
        |problem: String, fix: &str| JobError::Conflict { at: mix_at.clone(), problem, fix: fix.to_owned() };
    let remote = job.remote();
    if let Some(between) = job.stages[remote.clone()].iter().find(|stage| stage.on_owner) {
        return Err(JobError::Conflict {
            at: between.at.clone(),
            problem: "a stage with at = \"owner\" stands between stages on ranks".to_owned(),
            fix: "the owner hosts the first stages, the last ones, or both".to_owned(),
        });
    }
    if (1..remote.len()).contains(&job.mix.depth.into()) {
        return Err(conflict(
            format!("{} stages cannot pass for {} (mix.depth)", remote.len(), job.mix.depth),
            "take a mix.depth above the number of stages on ranks, or leave it out",
        ));
    }
    if let Pace::Slots(slot) = job.mix.pace
        && slot * SLOTS_OF_TIMEOUT > job.transport.timeout
    {
        let (slot, timeout) = (slot, job.transport.timeout);
        return Err(conflict(
            format!("{SLOTS_OF_TIMEOUT} slots of {slot:?} (mix.pace) are longer than transport.timeout, {timeout:?}"),
            "take shorter slots or a longer time-out: who waits for a slot hears of nothing",
        ));
    }
    if job.mix.profile == Profile::Mixed && job.ranks() > MOST_RANKS {
        return Err(conflict(
            format!("1 owner, {} stages and {} relays are {} ranks", remote.len(), job.mix.relays, job.ranks()),
            "a job has at most 64 ranks: take fewer relays",
        ));
    }
    Ok(())
}
