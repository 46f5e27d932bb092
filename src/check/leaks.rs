//! What an observer or a rank might read all the same, and which setting of the job closes it.

use std::fmt;

use serde_json::{Value, json};

use crate::job::{Job, LinkEncryption, LossAt, Pace, Profile};
use crate::pipeline::{DataPass, Depth};
use crate::run::prepare::{Lengths, Prepared};

/// A seed of fewer characters is warned of: a stage could find the job's seed by trying, as its own is derived from it.
const SHORT_SEED: usize = 16;

/// Whether the job names a seed that can be found by trying.
pub(super) fn seed_is_short(job: &Job) -> bool {
    !job.seed_drawn && job.seed.len() < SHORT_SEED
}

/// Something that may be read of a run.
pub(super) struct Leak {
    /// The name of the leak: a word.
    pub(super) name: &'static str,
    /// Whether it can be read under the job's settings.
    pub(super) open: bool,
    /// Who reads what, in words.
    pub(super) what: String,
    /// The setting that closes the leak, or has closed it. `None` where no setting does.
    pub(super) closed_by: Option<String>,
}

impl Leak {
    /// A leak that no setting closes.
    fn always(name: &'static str, what: impl Into<String>) -> Self {
        Self { name, open: true, what: what.into(), closed_by: None }
    }

    /// A leak that is there if `open`. The words `setting` say what closes it, or has closed it.
    fn unless(name: &'static str, open: bool, what: &str, setting: impl Into<String>) -> Self {
        Self { name, open, what: what.to_owned(), closed_by: Some(setting.into()) }
    }

    /// This leak as JSON.
    pub(super) fn json(&self) -> Value {
        json!({ "leak": self.name, "open": self.open, "what": self.what, "closed_by": self.closed_by })
    }
}

impl fmt::Display for Leak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, what, .. } = self;
        let name = format!("  {name}");
        match (self.open, &self.closed_by) {
            (false, setting) => writeln!(f, "{name:<22} closed  {}", setting.as_deref().unwrap_or_default()),
            (true, None) => writeln!(f, "{name:<22} open    {what}"),
            (true, Some(setting)) => writeln!(f, "{name:<22} open    {what}\n{:<30} closed by {setting}", ""),
        }
    }
}

/// All leaks of `prepared` among `ranks` ranks on `hosts` hosts, open or closed.
pub(super) fn of(prepared: &Prepared, ranks: u16, hosts: u16) -> Vec<Leak> {
    let job = &prepared.job;
    let (profile, hops) = (job.mix.profile, job.mix.hops);
    let mut leaks = vec![
        Leak::unless(
            "contents",
            profile == Profile::Bare,
            "whoever sees messages reads activations and gradients",
            "mix.profile = \"sealed\" or \"mixed\"",
        ),
        Leak::unless(
            "addresses",
            profile != Profile::Mixed,
            "messages go straight to the neighbours: who hosts which stage is seen",
            "mix.profile = \"mixed\"",
        ),
    ];
    if profile == Profile::Mixed {
        let what = "the one relay of a circuit sees both its ends";
        leaks.push(Leak::unless("one relay", hops < 3, what, format!("mix.hops = {hops}")));
        leaks.push(links(job.mix.link, hosts < ranks));
    }
    leaks.push(Leak::unless(
        "times",
        profile != Profile::Mixed || job.mix.pace.among(hosts == 1) == Pace::Lockstep,
        "a slot starts when its ranks are ready: arrival times show which ranks compute, in which order",
        match profile {
            Profile::Mixed => {
                "mix.pace = \"hosts\" (between hosts), \"auto\", or a time; with a core for every thread, while no slot overruns"
            }
            _ => "mix.profile = \"mixed\" with a mix.pace",
        },
    ));
    leaks.push(Leak::always("position", "a stage can tell its place from the slots between its messages"));
    leaks.push(slots(prepared, ranks));
    leaks.extend(lengths(prepared, ranks));
    leaks.push(Leak::always("shapes", "a stage knows the shapes at its own boundaries"));
    let (remote, stages) = (job.remote(), job.stages.len());
    leaks.push(Leak::unless(
        "inputs",
        remote.start == 0,
        "the rank of the first stage sees the data",
        "at = \"owner\" in the first stage; what it gives still tells of the data (docs/THREATS.md)",
    ));
    leaks.push(match job.train.loss_at {
        LossAt::Owner => Leak::unless(
            "labels",
            remote.end == stages,
            "the rank of the last stage sees gradients of the loss, which give labels away",
            "at = \"owner\" in the last stage; the gradients behind it still tell of labels (docs/THREATS.md)",
        ),
        LossAt::Last => Leak::unless(
            "labels",
            true,
            "the rank of the last stage is sent the labels of the training samples",
            "train.loss_at = \"owner\", and at = \"owner\" in the last stage",
        ),
    });
    leaks.push(Leak::unless(
        "seed",
        seed_is_short(job),
        "a stage could find the job's seed by trying, and with it the order of samples and the others' initial values, where \
         they are drawn",
        "a seed of 16 characters or more; without one 256 bits are drawn",
    ));
    leaks.push(Leak::unless(
        "hosts",
        hosts < ranks,
        "the ranks of one host share what they know",
        "one rank a host (a matter of the launcher)",
    ));
    let what = "ranks are not authenticated: who can put messages into MPI can take a rank's place, or the owner's";
    let setting = "trust.ranks, and a trust file on each of the other ranks";
    leaks.push(Leak::unless("identity", job.trust.ranks.is_none(), what, setting));
    leaks
}

/// The leak of a rank's own cells, which it may find again if it also sees the blocks of others. `shared` says whether
/// ranks share a host.
fn links(link: LinkEncryption, shared: bool) -> Leak {
    let (open, where_seen) = match link {
        LinkEncryption::Off => (true, "the network, unless that encrypts,"),
        LinkEncryption::Hosts => (shared, "the memory that ranks of one host share"),
        LinkEncryption::All => (false, ""),
    };
    let what = format!(
        "a stage whose operator also sees {where_seen} finds its own cells again in what its relays pass on, and so its neighbours"
    );
    Leak::unless("links", open, &what, "mix.link = \"all\"")
}

/// The leak of the number of stages, S, by the number of slots.
fn slots(prepared: &Prepared, ranks: u16) -> Leak {
    let (batches, mix) = (prepared.batches(0), &prepared.job.mix);
    let stages = prepared.job.remote().len() as u16;
    let turned = prepared.job.train.loss_at == LossAt::Last;
    let depth = |stages| Depth::of(stages).latency(prepared.latency()).turned(turned);
    let slots = |stages| DataPass::training(depth(stages), batches.full(), batches.micro_batches()).slots();
    let more = slots(stages + 1) - slots(stages);
    let what = format!(
        "to stages, and by their number to observers, slots tell how many stages there are: one more makes an epoch {more} \
         slots longer; 0 to {ranks} empty ones at its start blur that"
    );
    let setting = format!("mix.depth above {stages}: so many stages are what slots tell of");
    let closed = mix.depth > stages;
    Leak::unless("slots", !closed, &what, setting)
}

/// The leaks by the lengths of messages, packages and results.
fn lengths(prepared: &Prepared, ranks: u16) -> Vec<Leak> {
    let mix = &prepared.job.mix;
    let Lengths { message, package, result, state } = prepared.needed_lengths(ranks);
    let length = |name, set: u64, needed: u64, what: &str, key: &str| {
        // A length above what is needed is the job's choice, and says nothing of the model.
        Leak::unless(
            name,
            set <= needed,
            what,
            format!("{key} above {needed}: equal ones make two models look alike"),
        )
    };
    let mut leaks = Vec::new();
    if prepared.job.mix.profile != Profile::Bare {
        let what = "the length of messages shows the widest boundary";
        leaks.push(length("messages", mix.message.into(), message, what, "mix.message"));
    }
    let what = "the length of packages shows the longest list of operations";
    leaks.push(length("packages", mix.package.into(), package, what, "mix.package"));
    let what = "the length of results shows the stage with the most parameters";
    leaks.push(length("results", mix.result, result, what, "mix.result"));
    if !prepared.job.checkpoint.every.is_never() {
        let what =
            "the length of states shows the stage with the most parameters, and what the optimizer keeps of them";
        leaks.push(length("states", mix.state, state, what, "mix.state"));
    }
    leaks
}
