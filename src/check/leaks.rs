//! What an observer or a rank might read all the same, and which setting of the job closes it.

use std::fmt;

use serde_json::{Value, json};

use crate::job::{Job, Profile};
use crate::pipeline::Pass;
use crate::run::prepare::Prepared;

/// Seeds of fewer characters are warned of: from its own seed a stage could find the job's by trying.
const SHORT_SEED: usize = 16;

/// Whether the job names a seed that can be found by trying.
pub(super) fn seed_is_short(job: &Job) -> bool {
    !job.seed_drawn && job.seed.len() < SHORT_SEED
}

/// Something that may be read.
pub(super) struct Leak {
    /// A word for it.
    pub(super) name: &'static str,
    /// Whether it can be read under the job's settings.
    pub(super) open: bool,
    /// Who reads what.
    pub(super) what: String,
    /// What closes it, or has closed it.
    pub(super) closed_by: String,
}

impl Leak {
    fn new(name: &'static str, open: bool, what: impl Into<String>, closed_by: impl Into<String>) -> Self {
        Self { name, open, what: what.into(), closed_by: closed_by.into() }
    }

    /// As JSON.
    pub(super) fn json(&self) -> Value {
        json!({ "leak": self.name, "open": self.open, "what": self.what, "closed_by": self.closed_by })
    }
}

impl fmt::Display for Leak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (state, closes) = if self.open { ("open", "closes it") } else { ("closed", "has closed it") };
        write!(f, "{state:<7} {}; {closes}: {}", self.what, self.closed_by)
    }
}

/// No setting closes it.
const NOTHING: &str = "nothing";

/// The leaks of `prepared` among `ranks` ranks on `hosts` hosts.
pub(super) fn of(prepared: &Prepared, ranks: u16, hosts: u16) -> Vec<Leak> {
    let job = &prepared.job;
    let mut leaks = Vec::new();
    match job.mix.profile {
        Profile::Bare => leaks.push(Leak::new(
            "contents",
            true,
            "whoever sees the messages reads activations, gradients and the rate",
            "mix.profile = \"sealed\" or \"mixed\"",
        )),
        Profile::Sealed | Profile::Mixed => leaks.push(Leak::new(
            "contents",
            false,
            "no one but the receiver reads a message",
            format!("mix.profile = \"{}\"", job.mix.profile.name()),
        )),
    }
    if job.mix.profile == Profile::Mixed {
        let hops = job.mix.hops;
        let what = "no single relay sees both ends of a circuit";
        leaks.push(Leak::new("one relay", hops < 3, what, format!("mix.hops = {hops}")));
    } else {
        let what = "messages go straight to the neighbours: every flow is linked, who hosts which stage is seen";
        leaks.push(Leak::new("addresses", true, what, "mix.profile = \"mixed\""));
    }
    leaks.push(Leak::new(
        "times",
        true,
        "a slot starts when its ranks are ready (lockstep): arrival times show which ranks compute, and in which order",
        NOTHING,
    ));
    leaks.push(Leak::new(
        "position",
        true,
        "a stage can tell its place and the number of stages from the slots between its messages",
        NOTHING,
    ));
    leaks.push(slots(prepared, ranks));
    leaks.extend(lengths(prepared, ranks));
    leaks.push(Leak::new("shapes", true, "a stage knows the shapes at its own boundaries", NOTHING));
    leaks.push(Leak::new("inputs", true, "the first stage sees its inputs", NOTHING));
    leaks.push(Leak::new(
        "labels",
        true,
        "the last stage sees the loss's gradient, which gives labels away",
        NOTHING,
    ));
    let what = "from its own seed a stage could find a short seed of the job, and the others' initial values";
    leaks.push(Leak::new("seed", seed_is_short(job), what, "no `seed` in the job, or one of 16 characters or more"));
    let what = "the ranks of one host share what they know";
    leaks.push(Leak::new("hosts", hosts < ranks, what, "one rank a host, by the launcher"));
    let what =
        "ranks are not authenticated: whoever can put messages into MPI can take a rank's place, the owner's too";
    leaks.push(Leak::new("identity", true, what, NOTHING));
    leaks
}

/// What the number of slots says of S.
fn slots(prepared: &Prepared, ranks: u16) -> Leak {
    let (batches, stages) = (prepared.batches(0), prepared.job.stages.len() as u16);
    let slots = |stages| Pass::training(stages, 1, batches.full(), batches.micro_batches()).slots();
    let more = slots(stages + 1) - slots(stages);
    let what = format!(
        "each stage makes an epoch {more} slots longer, the 0 to {ranks} empty slots at its start hide that in part: \
         whoever can guess the number of samples can guess the number of stages"
    );
    Leak::new("slots", true, what, NOTHING)
}

/// What the lengths of messages, packages and results say of the model.
fn lengths(prepared: &Prepared, ranks: u16) -> Vec<Leak> {
    let mix = &prepared.job.mix;
    let [message, package, result] = prepared.needed_lengths(ranks);
    let length = |name, set: u64, needed: u64, what: &str, key: &str| {
        // A length above the need is the job's choice, and says nothing of the model.
        let closed_by = format!("{key}, above {needed}; equal ones make two models look alike");
        Leak::new(name, set <= needed, what, closed_by)
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
    leaks
}
