//! What the owner refuses, tells and counts, without ranks that compute.

use std::path::Path;
use std::sync::Mutex;

use super::*;
use crate::compute::Backend;
use crate::compute::cpu::Cpu;
use crate::ids::Phase;
use crate::job::{Job, Loss};
use crate::mix::plan::Roles;
use crate::role::score::Tally;
use crate::run::kept::KeptError;
use crate::run::kept::checkpoint::{Checkpoint, CheckpointWriter, FileHeader, Reached, Remainder};
use crate::run::kept::results::EpochReport;
use crate::run::{local, serve, single};
use crate::transport::Member;
use crate::transport::local::{Local, connect};

/// The digits, with a few samples, one epoch, and `sets` on top.
fn prepared(sets: &[&str]) -> Prepared {
    let sets: Vec<String> =
        ["train.epochs=1", "compute.threads=1"].iter().chain(sets).map(|set| (*set).to_owned()).collect();
    let job = Job::parse("digits.toml", include_str!("../../../jobs/digits.toml"), &sets).unwrap();
    Prepared::of(job).unwrap().short(64, 16)
}

#[test]
fn a_job_runs_on_no_fewer_ranks_than_it_takes_and_on_no_more_than_there_may_be() {
    let mixed = prepared(&[]);
    assert!(can_run(&mixed, 7).is_ok());
    let refused = can_run(&mixed, 6);
    assert!(
        matches!(refused, Err(RunError::TooFewRanks { found: 6, needed: 7, stages: 3, relays: 3 })),
        "{refused:?}"
    );
    let bare = prepared(&["mix.profile=bare"]);
    assert!(can_run(&bare, MOST_RANKS).is_ok());
    let refused = can_run(&bare, MOST_RANKS + 1);
    assert!(matches!(refused, Err(RunError::TooManyRanks { most: MOST_RANKS, .. })), "{refused:?}");
}

/// A watcher whose run has a folder that is not there.
struct Nowhere;

impl Watcher for Nowhere {
    fn note(&mut self, _: &str) {}
    fn progress(&mut self, _: u32, _: usize, _: usize) {}
    fn epoch(&mut self, _: &EpochReport) -> Result<(), RunError> {
        Ok(())
    }
    fn folder(&self) -> Option<&Path> {
        Some(Path::new("/nowhere/at/all"))
    }
}

/// A watcher that keeps what it is told, and what it is warned of.
#[derive(Default)]
struct Heard {
    notes: Vec<String>,
    warnings: Vec<String>,
}

impl Watcher for Heard {
    fn note(&mut self, line: &str) {
        self.notes.push(line.to_owned());
    }
    fn warn(&mut self, line: &str) {
        self.warnings.push(line.to_owned());
    }
    fn progress(&mut self, _: u32, _: usize, _: usize) {}
    fn epoch(&mut self, _: &EpochReport) -> Result<(), RunError> {
        Ok(())
    }
}

/// Where the owner cannot keep what ranks return, all of them hear its code. None is torn out of the run.
#[test]
fn what_goes_wrong_behind_the_slots_is_told_to_all() {
    let (led, served) = local::run_over(connect(7), &prepared(&[]), "host", &mut Nowhere);
    let error = led.err().unwrap();
    let RunError::Told { why, code: 3 } = &error else { panic!("{error}") };
    assert!(matches!(**why, RunError::Kept(KeptError::Write { .. })), "{error}");
    assert_eq!(served.len(), 6);
    served.iter().for_each(|served| assert!(matches!(served, Err(RunError::Stopped { code: 3 })), "{served:?}"));
}

/// While the owner writes something down, ranks hear to wait. Verdicts are numbered anew in each term.
#[test]
fn ranks_hear_to_wait_and_then_how_the_term_has_ended() {
    let prepared = prepared(&["mix.profile=bare"]);
    let mut ends = connect(7);
    let mut own = ends.remove(0);
    let (public, _) = public_numbers(&own, &prepared).unwrap();
    let credentials = Credentials::default();
    let surroundings = Surroundings { host: "host", carrier: "local", strict: false, credentials: &credentials };
    let backend = Arc::new(Cpu::new(1).unwrap());
    let mut state = OwnerState::new(&own, backend, public.clone(), &prepared, &surroundings).unwrap();
    let psks: Vec<Key> = state.results[1..].iter().map(Key::twin).collect();
    std::thread::scope(|scope| {
        for ((mut end, psk), rank) in ends.into_iter().zip(&psks).zip(1..) {
            let public = &public;
            scope.spawn(move || {
                for (term, number, code) in [(0, 0, verdict::WAIT), (0, 1, verdict::WAIT), (0, 2, 0), (1, 0, 75)] {
                    let heard = end.letters().scatter(&[], verdict::LENGTH).unwrap();
                    let binding = public.binding(Term(term), Rank(rank), 7);
                    assert_eq!(verdict::read(&heard, number, psk, &binding).unwrap(), code);
                }
            });
        }
        let mut leads = Leads { state: &mut state, transport: &mut own };
        leads.stay().unwrap();
        leads.stay().unwrap();
        leads.conclude(Ok(0)).unwrap();
        leads.conclude(Ok(75)).unwrap();
    });
}

/// The checkpoint of a run that has come nowhere, with the plan `kept`.
fn checkpoint_with(kept: KeptPlan, folder: &Path) -> Checkpoint {
    let key = Key::from_bytes([7; 32]);
    let header = FileHeader::new(VERSION, String::new(), String::new(), Reached { epochs: 0, batches: 0 });
    let writer = CheckpointWriter::new(folder, &key, header, Vec::new(), 1, || ()).unwrap();
    let rest = Remainder {
        job: String::new(),
        init: None,
        so_far: Tally::new(Criterion::new(Loss::MeanSquaredError)),
        epochs: Vec::new(),
        plan: Some(kept),
        fingerprint: String::new(),
        seconds: 0.0,
        starts: 1,
    };
    let (path, _) = writer.finish(&rest).unwrap().wait().unwrap();
    Checkpoint::read(&path, &key, &path).unwrap()
}

/// The plan of an earlier start is taken wherever it fits and the ranks stand as they did: each draw shows who looks on another
/// sample. No other plan is taken.
#[test]
fn the_plan_of_an_earlier_start_stays_while_the_ranks_stand_as_before() {
    let alone: Vec<u32> = (0..7).collect();
    let circuits = Plan::draw(3, 3, &alone, &mut StdRng::seed_from_u64(1)).unwrap();
    let mixed = |hops| Drawn::Mixed(Plan { hops, ..circuits.clone() });
    let direct = |stages| Drawn::Direct(Roles { hosts: (1..=stages).map(Rank).collect() });
    let hosts = |names: &str| names.chars().map(String::from).collect::<Vec<_>>();
    for (profile, drawn, stand, stays) in [
        ("bare", direct(3), "abcdefg", true),
        ("sealed", direct(3), "abcdefg", true),
        ("mixed", mixed(3), "abcdefg", true),
        ("bare", direct(3), "abcdegf", false),
        ("mixed", mixed(3), "abcdef", false),
        ("bare", direct(2), "abcdefg", false),
        ("bare", mixed(3), "abcdefg", false),
        ("mixed", direct(3), "abcdefg", false),
        ("mixed", mixed(4), "abcdefg", false),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let roles = drawn.roles().clone();
        let kept = KeptPlan { hosts: hosts("abcdefg"), drawn, draws: 4 };
        let mut prepared = prepared(&[&format!("mix.profile={profile}")]);
        prepared.resumed = Some(checkpoint_with(kept, folder.path()));
        let own = connect(7).remove(0);
        let (public, _) = public_numbers(&own, &prepared).unwrap();
        let credentials = Credentials::default();
        let surroundings = Surroundings { host: "host", carrier: "local", strict: false, credentials: &credentials };
        let backend = Arc::new(Cpu::new(1).unwrap());
        let mut state = OwnerState::new(&own, backend, public, &prepared, &surroundings).unwrap();
        (state.hosts, state.domains) = (hosts(stand), alone.clone());
        let mut heard = Heard::default();
        let (drawn, draws) = state.plan(&mut heard).unwrap();
        assert_eq!(draws, if stays { 4 } else { 5 }, "{profile}, {stand}");
        assert!(!stays || *drawn.roles() == roles);
        let told = heard.notes.iter().any(|line| line.contains("drawn anew, the 5th time"));
        assert_eq!((told, heard.notes.len()), (!stays, usize::from(!stays)), "{:?}", heard.notes);
    }
}

/// A result tells what its run took: how much a rank has sent, in how many slots, and how long that was in all.
#[test]
fn what_a_run_took_stands_in_its_result() {
    for (profile, hops, timing) in [("mixed", 3, true), ("bare", 0, false)] {
        let sets = [format!("mix.profile={profile}"), format!("output.timing={timing}")];
        let prepared = prepared(&[&sets[0], &sets[1]]);
        let (outcome, _) = local::run(&prepared, 7, "host", &mut ()).unwrap();
        assert_eq!((outcome.profile.as_str(), outcome.hops, outcome.ranks), (profile, hops, 7));
        assert_eq!(outcome.timing.len(), if timing { 7 } else { 0 });
        assert_eq!(outcome.fingerprint, Cpu::new(1).unwrap().fingerprint());
        let [epoch] = outcome.epochs.as_slice() else { panic!("{} epochs", outcome.epochs.len()) };
        assert!(outcome.seconds >= epoch.seconds && epoch.seconds > 0.0, "{} {}", outcome.seconds, epoch.seconds);
        if profile == "mixed" {
            // In each slot and phase, a block goes to each of six peers.
            let geometry = prepared.geometry(7).unwrap();
            let slot: u64 = Phase::all(3).map(|phase| 6 * geometry.block(phase) as u64).sum();
            assert_eq!(outcome.wire_bytes_per_rank, epoch.slots * slot);
        }
    }
}

#[test]
fn places_in_a_row_are_named() {
    for (number, name) in [(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (21, "21st"), (22, "22nd"), (23, "23rd")] {
        assert_eq!(ordinal(number), format!("{name} time"));
    }
    for number in [0, 10, 11, 12, 13, 20, 111, 112, 113, 1011] {
        assert_eq!(ordinal(number), format!("{number}th time"));
    }
}

/// The values of a large stage travel in several pieces.
#[test]
fn a_stage_starts_from_all_pieces_of_its_values() {
    let wide = "stage=[{ops=[{op=\"linear\",out=4200},{op=\"relu\"}]},{ops=[{op=\"linear\",out=10}]}]";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let (_, model) = single::run(&prepared(&[wide]), &mut ()).unwrap();
    model.unwrap().write(&path).unwrap();
    let from = format!("init.from={}", path.display());
    let prepared = prepared(&["mix.profile=bare", wide, &from]);
    assert!(snapshot::values_length(&prepared.specs()[0]) > snapshot::PIECE as u64);
    let (alone, _) = single::run(&prepared, &mut ()).unwrap();
    let (ranks, _) = local::run(&prepared, prepared.job.ranks(), "host", &mut ()).unwrap();
    assert_eq!(ranks.weights_sha256, alone.weights_sha256);
}

/// Notes over which of its lanes a rank lays a keystream.
struct Links<'a> {
    rank: Rank,
    found: &'a Mutex<Vec<(Rank, Vec<bool>)>>,
}

impl serve::Insight for Links<'_> {
    fn package(&mut self, _: Term, package: &mut Package) {
        let Route::Mixed(route) = &package.route else { panic!("not mixed") };
        self.found.lock().unwrap().push((self.rank, route.links.iter().map(Option::is_some).collect()));
    }
}

/// A keystream lies over what leaves a host, unless the job wants it everywhere, or nowhere.
#[test]
fn a_keystream_lies_over_what_leaves_a_host() {
    let host_of = |rank: Rank| format!("host-{}", rank.0 / 2);
    type Linked = fn(Rank, Rank) -> bool;
    let cases: [(&str, Linked); 3] =
        [("hosts", |rank, peer| rank.0 / 2 != peer.0 / 2), ("all", |_, _| true), ("off", |_, _| false)];
    for (link, linked) in cases {
        let found = Mutex::new(Vec::new());
        let serve = |end: &mut Local, _: &str| {
            let rank = end.rank();
            let mut links = Links { rank, found: &found };
            serve::run_watched(end, &host_of(rank), &Credentials::default(), &mut links)
        };
        let prepared = prepared(&[&format!("mix.link={link}")]).short(16, 1);
        let (led, _) = local::run_served_by(connect(7), &prepared, &host_of(Rank::OWNER), &mut (), serve);
        led.unwrap();
        let found = found.into_inner().unwrap();
        assert_eq!(found.len(), 6);
        for (rank, links) in found {
            let peers = Rank::all(7).filter(|peer| *peer != rank);
            assert_eq!(links, peers.map(|peer| linked(rank, peer)).collect::<Vec<_>>(), "{link}: {rank}");
        }
    }
}

/// Ranks that compute differently are told of, and with `--strict` refused.
#[test]
fn ranks_that_compute_differently_are_told_of_or_refused() {
    let prepared = prepared(&["mix.profile=bare"]);
    let own = connect(7).remove(0);
    let (public, _) = public_numbers(&own, &prepared).unwrap();
    let credentials = Credentials::default();
    let announced = |fingerprint: &str| {
        Announced::own(Term(0), &Introduction { host: "host", fingerprint, threads: 1, aead: Library::Rust })
    };
    for (strict, fingerprints, warned, refused) in [
        (true, ["a", "a", "a"], 0, false),
        (true, ["a", "b", "a"], 0, true),
        (false, ["a", "a", "a"], 0, false),
        (false, ["a", "b", "a"], 1, false),
    ] {
        let surroundings = Surroundings { host: "host", carrier: "local", strict, credentials: &credentials };
        let backend = Arc::new(Cpu::new(1).unwrap());
        let state = OwnerState::new(&own, backend, public.clone(), &prepared, &surroundings).unwrap();
        let mut heard = Heard::default();
        let compared = state.compare_fingerprints(&fingerprints.map(announced), &mut heard);
        assert_eq!(heard.warnings.len(), warned, "{strict} {fingerprints:?}");
        assert_eq!(matches!(compared, Err(RunError::Fingerprints(_))), refused, "{strict} {fingerprints:?}");
        assert_eq!(compared.is_err(), refused);
    }
}
