//! A run as the owner leads it, on rank 0.
//!
//! The owner alone knows the job, the data and the plan. It opens the run for all ranks, hands out packages at the
//! start of each term, plays its own role in the slots, and collects the results. The steps are those of
//! docs/PROTOCOL.md, 4, 13 and 14.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use rand::RngExt;
use rand::rngs::SysRng;
use rand::{SeedableRng, rngs::StdRng};

use super::epochs::{self, Finished, Ran, Sink, TermWish, Trains};
use super::kept::checkpoint::{Drawn, KeptPlan};
use super::kept::model::Model;
use super::kept::results::{FORMAT, Outcome, VERSION, aead_line, threads_line};
use super::kept::slots::SlotSetup;
use super::letters::announcement::{self, Announced, Introduction};
use super::letters::opening::{self, Pacing, Public};
use super::letters::pieces::{AT_A_TIME, End};
use super::letters::result::Recipient;
use super::letters::start;
use super::letters::{Desk, package, role, shown, verdict};
use super::pace::{self, WorkTime};
use super::platform::{self, Chosen, Platform, Standing};
use super::prepare::Prepared;
use super::refusal::{self, look_for_refusals, told};
use super::resume::states;
use super::seat::{self, Seat};
use super::setting::Setting;
use super::spent::Spent;
use super::trust::Credentials;
use super::{Led, RunError, Watcher, cores};
use crate::crypto::aead::Library;
use crate::crypto::key::Key;
use crate::ids::{Rank, Term};
use crate::job::{LinkEncryption, LossAt, MOST_RANKS, Profile};
use crate::mix::beat::{Order, StageData};
use crate::mix::clock::Pace;
use crate::mix::courier::Noticed;
use crate::mix::package::{Package, Route, TermSecrets, direct_routes, mixed_routes};
use crate::mix::plan::{Placements, Plan};
use crate::nn::{Criterion, Network, StageSpec, snapshot};
use crate::role::owner::{Owner, OwnerStages, TermSetup};
use crate::role::{PassProgress, RoleError};
use crate::slice;
use crate::transport::Transport;

/// What the owner's process says of its surroundings.
pub struct Surroundings<'a> {
    /// The name of this machine.
    pub host: &'a str,
    /// What carries messages: the name of the MPI library, or `local`. It goes into `result.json`.
    pub carrier: &'a str,
    /// Whether it is an error that ranks have different fingerprints. Else it is a warning.
    pub strict: bool,
    /// The identity that the owner shows, and the ranks that it accepts.
    pub credentials: &'a Credentials,
}

/// Checks that `ranks` ranks can run the job: that there are enough and not too many, that all lengths can travel, and
/// that a plan of circuits can be found.
///
/// # Errors
/// [`RunError::Job`], [`RunError::TooFewRanks`], [`RunError::TooManyRanks`], [`RunError::TooLong`], [`RunError::Mix`].
pub fn can_run(prepared: &Prepared, ranks: u16) -> Result<(), RunError> {
    let job = &prepared.job;
    job.can_be_shared()?;
    let (needed, stages) = (job.ranks(), job.remote().len() as u16);
    if ranks < needed {
        return Err(RunError::TooFewRanks { found: ranks, needed, stages, relays: needed - 1 - stages });
    }
    if ranks > MOST_RANKS {
        return Err(RunError::TooManyRanks { found: ranks, most: MOST_RANKS });
    }
    prepared.geometry(ranks)?;
    if job.mix.profile == Profile::Mixed {
        // Which ranks share a host is not known yet. Each gets a host of its own here, as a plan does not need to keep
        // hosts apart.
        let hosts: Vec<u32> = (0..u32::from(ranks)).collect();
        Plan::draw(stages, job.mix.hops, &hosts, &mut rand::rng())?;
    }
    Ok(())
}

/// Leads a run on rank 0 and returns what it came to. [`can_run`] must hold for the number of ranks.
///
/// # Errors
/// [`RunError`]. Where the error is not [orderly](RunError::is_orderly), the caller must abort the run on all ranks.
pub fn run(
    transport: &mut dyn Transport,
    prepared: &Prepared,
    surroundings: &Surroundings<'_>,
    watcher: &mut dyn Watcher,
) -> Led {
    let started = Instant::now();
    // 4.1: the opening gives all ranks the public numbers.
    let public = send_opening(transport, prepared)?;
    let (chosen, note) = match platform::choose(public.compute, Standing::of(transport, public.pacing)) {
        // From here on ranks announce themselves, so a refusal must take the place of their packages (4.8).
        Ok(chosen) => chosen,
        Err(error) => return Err(told(error, |code| refusal::refuse_announcements(transport, &public, code))),
    };
    note.iter().for_each(|note| watcher.note(note));
    if let idle @ 1.. = transport.membership().cores.idle() {
        watcher.note(&format!(
            "the launcher has bound the ranks of this host to some of its cores and left {idle} to none; mpirun --bind-to none, or \
             srun --cpu-bind=none, lets ranks use them"
        ));
    }
    if chosen.lanes_on_device(transport, &public) {
        watcher.note("MPI takes the GPU's memory: blocks travel from and to there");
    }
    let where_ranks_are = pace::told(&prepared.job.mix, transport.membership().one_host);
    where_ranks_are.iter().for_each(|note| watcher.note(note));
    match chosen {
        Chosen::Cpu(backend) => run_on(transport, backend, public, prepared, surroundings, started, watcher),
        #[cfg(feature = "cuda")]
        Chosen::Cuda(backend) => run_on(transport, backend, public, prepared, surroundings, started, watcher),
    }
}

/// Sends all ranks the opening with the public numbers (docs/PROTOCOL.md, 4.1). Where there are none, it refuses the
/// run to all.
fn send_opening(transport: &mut dyn Transport, prepared: &Prepared) -> Result<Public, RunError> {
    let (public, opening) = match public_numbers(transport, prepared) {
        Ok(ready) => ready,
        Err(error) => return Err(told(error, |code| refusal::refuse(transport, code))),
    };
    let openings = vec![opening; usize::from(transport.ranks())];
    transport.letters().scatter(&openings, opening::LENGTH)?;
    transport.set_timeout(prepared.job.transport.timeout);
    transport.share_memory(public.windows);
    Ok(public)
}

/// The public numbers of this run, and the bytes of the opening that says them.
fn public_numbers(transport: &dyn Transport, prepared: &Prepared) -> Result<(Public, Vec<u8>), RunError> {
    let job = &prepared.job;
    let ranks = transport.ranks();
    let lengths = prepared.lengths(ranks)?;
    let pacing = match job.mix.profile {
        Profile::Mixed => pace::pacing(
            job.mix.pace.among(transport.membership().one_host),
            lengths.result.max(lengths.state),
            transport.membership().cores.crowd(),
            job.transport.timeout,
        )?,
        Profile::Bare | Profile::Sealed => Pacing::Lockstep,
    };
    let public = Public {
        version: VERSION.to_owned(),
        run: *Key::random()?.bytes(),
        profile: job.mix.profile,
        term: prepared.first_term(),
        geometry: prepared.geometry(ranks)?,
        timeout: u64::try_from(job.transport.timeout.as_millis()).unwrap_or(u64::MAX),
        windows: job.transport.windows,
        compute: job.compute,
        package: lengths.package as u32,
        pacing,
        result: lengths.result,
        state: lengths.state,
        given: prepared.given(),
        digest: [0; 32],
    };
    opening::start(public)
}

/// Runs with `backend`. All ranks have the `public` numbers by now, so an error is told to them in place of their
/// packages.
fn run_on<B: Platform>(
    transport: &mut dyn Transport,
    backend: Arc<B>,
    public: Public,
    prepared: &Prepared,
    surroundings: &Surroundings<'_>,
    started: Instant,
    watcher: &mut dyn Watcher,
) -> Led {
    match OwnerState::new(transport, backend, public.clone(), prepared, surroundings) {
        Ok(state) => run_with(transport, state, started, watcher),
        Err(error) => Err(told(error, |code| refusal::refuse_announcements(transport, &public, code))),
    }
}

/// Runs all epochs, and puts together what the run came to.
fn run_with<B: Platform>(
    transport: &mut dyn Transport,
    mut state: OwnerState<'_, B>,
    started: Instant,
    watcher: &mut dyn Watcher,
) -> Led {
    let (prepared, surroundings) = (state.prepared, state.surroundings);
    let job = &prepared.job;
    let Finished { epochs, test, model } =
        epochs::run(&mut Leads { state: &mut state, transport }, prepared, watcher)?;
    let Spent { timing, sent, overran, .. } = state.spent;
    let hosts = state.hosts.iter().map(String::as_str);
    let pace = state.work_time.as_ref().map(WorkTime::chosen).or(state.seat.pace());
    let seconds = |is: fn(&Pace) -> bool| pace.filter(is).map(|pace| pace.time().as_secs_f64());
    let outcome = Outcome {
        format: FORMAT,
        setting: Setting::new(job, hosts),
        profile: job.mix.profile.name().to_owned(),
        ranks: transport.ranks(),
        hops: if job.mix.profile == Profile::Mixed { job.mix.hops } else { 0 },
        backend: B::NAME.to_owned(),
        device_lanes: transport.lanes().lanes_on_device(),
        threads: state.threads,
        aead: state.aead,
        mpi: surroundings.carrier.to_owned(),
        version: VERSION.to_owned(),
        fingerprint: state.seat.backend.fingerprint(),
        test_accuracy: test.accuracy,
        test_loss: test.loss,
        weights_sha256: model.as_ref().map(Model::sha256).unwrap_or_default().to_owned(),
        seconds: prepared.seconds_before() + started.elapsed().as_secs_f64(),
        starts: prepared.starts(),
        epochs,
        wire_bytes_per_rank: sent / u64::from(transport.ranks()),
        slot_seconds: seconds(|pace| matches!(pace, Pace::Slots(_))),
        work_seconds: seconds(|pace| matches!(pace, Pace::Work(_))),
        overran,
        cores_suffice: cores::suffice(transport.membership().cores),
        timing: if job.output.timing { timing } else { Vec::new() },
    };
    Ok((outcome, model))
}

/// How a term has ended.
pub(super) struct TermEnd {
    /// How many slots it had.
    pub(super) slots: u64,
    /// What ranks return.
    pub(super) returns: StageData,
    /// The first fault that the owner knows of.
    pub(super) fault: Option<Noticed>,
    /// The owner's own error, where that was the first fault.
    pub(super) own: Option<RoleError>,
}

/// What the owner keeps over a whole run.
pub(super) struct OwnerState<'a, B: Platform> {
    prepared: &'a Prepared,
    surroundings: &'a Surroundings<'a>,
    pub(super) public: Public,
    /// All stages of the network, in order.
    pub(super) specs: Vec<StageSpec>,
    /// Those of `specs` that ranks host. The stages before and behind them run on the owner.
    pub(super) remote: Range<usize>,
    /// How many bytes a package has for the role, padded so that all ranks are told as much.
    role: usize,
    /// The networks of the stages that run on the owner.
    pub(super) hosted: OwnerStages<B>,
    /// The term that runs now.
    pub(super) term: Term,
    pub(super) seat: Seat<B>,
    pub(super) desk: Desk<'a>,
    /// The owner's key pair, to whose public half all ranks seal their results.
    pub(super) recipient: Recipient,
    /// One key for each rank, by rank. It is in that rank's package and proves that a result is from it.
    pub(super) results: Vec<Key>,
    /// Who is what: drawn once, in the first term, or by an earlier start of the run.
    drawn: Option<Drawn>,
    /// How often plans were drawn for this job, over all starts of the run.
    draws: u32,
    /// How the time for work is chosen, between two terms. `None` before the first one, and where the job names it.
    work_time: Option<WorkTime>,
    /// How the term has ended whose results are to be collected. `None` at any other time.
    pub(super) ended: Option<TermEnd>,
    /// How many verdicts ranks have heard at the end of this term so far.
    verdicts: u64,
    /// The trust domain of each rank, by rank: ranks with equal labels share one. Empty until the ranks have announced
    /// themselves.
    domains: Vec<u32>,
    /// How many threads each rank computes with, by rank; 0 where a GPU computes. Empty until the ranks have announced
    /// themselves.
    threads: Vec<u16>,
    /// Which library seals with AES-256-GCM on each rank's processor, by rank. Empty until the ranks have announced
    /// themselves, and always in `bare`.
    aead: Vec<Library>,
    /// The name of each rank's host, by rank. Empty until the ranks have announced themselves.
    hosts: Vec<String>,
    pub(super) spent: Spent,
}

/// The owner's state together with its transport: what the loop over epochs drives.
struct Leads<'l, 'a, B: Platform> {
    state: &'l mut OwnerState<'a, B>,
    transport: &'l mut dyn Transport,
}

impl<B: Platform> Trains for Leads<'_, '_, B> {
    fn run(&mut self, term: &TermWish<'_>, watcher: &mut dyn Watcher) -> Result<Ran, RunError> {
        self.state.run_term(self.transport, term, watcher)
    }

    fn collect(&mut self, sink: &mut dyn Sink) -> Result<(), RunError> {
        self.state.collect(self.transport, sink)
    }

    fn conclude(&mut self, how: Result<i32, RunError>) -> Result<(), RunError> {
        let code = how.as_ref().map_or_else(RunError::exit_code, |code| *code);
        let told = self.state.tell_verdict(self.transport, code);
        self.state.term.0 += 1;
        self.state.verdicts = 0;
        match (how, told) {
            (Ok(_), told) => told,
            // The owner's own error. All ranks know its code by now, so that none has to be torn out of the run.
            (Err(error), Ok(())) if !error.is_orderly() => Err(RunError::Told { why: Box::new(error), code }),
            // A fault that the owner could not tell to all.
            (Err(RunError::Fault { noticed, .. }), Err(_)) => Err(RunError::Unanswered(noticed)),
            (Err(error), _) => Err(error),
        }
    }

    fn stay(&mut self) -> Result<(), RunError> {
        self.state.tell_verdict(self.transport, verdict::WAIT)
    }

    fn remark(&mut self) -> Option<String> {
        self.state.spent.remark(self.state.public.pacing)
    }

    fn spent(&self) -> Option<&Spent> {
        Some(&self.state.spent)
    }

    fn plan(&self) -> Option<KeptPlan> {
        let OwnerState { drawn, hosts, draws, .. } = &*self.state;
        Some(KeptPlan { hosts: hosts.clone(), drawn: drawn.clone()?, draws: *draws })
    }

    fn fingerprint(&self) -> String {
        self.state.seat.backend.fingerprint()
    }
}

impl<'a, B: Platform> OwnerState<'a, B> {
    /// Makes the owner's state. All ranks have the `public` numbers by now.
    fn new(
        transport: &dyn Transport,
        backend: Arc<B>,
        public: Public,
        prepared: &'a Prepared,
        surroundings: &'a Surroundings<'a>,
    ) -> Result<Self, RunError> {
        let (ranks, specs, remote) = (transport.ranks(), prepared.specs(), prepared.job.remote());
        let own = |which: Range<usize>| -> Result<_, RunError> {
            let mut network = Network::new(&*backend, &specs[which.clone()])?;
            if let (Some(network), Some(checkpoint)) = (&mut network, &prepared.resumed) {
                network.restore(&*backend, &states(checkpoint, &specs, which)?)?;
            }
            Ok(network)
        };
        let hosted = OwnerStages { head: own(0..remote.start)?, tail: own(remote.end..specs.len())? };
        let mut desk = Desk::new(surroundings.credentials)?;
        Ok(Self {
            hosted,
            role: prepared.role_length(),
            remote,
            seat: Seat::new(backend, platform::library(&public), &public)?,
            prepared,
            surroundings,
            specs,
            recipient: Recipient::new(&mut desk),
            desk,
            results: (0..ranks).map(|_| Key::random()).collect::<Result<_, _>>()?,
            drawn: None,
            draws: 0,
            work_time: None,
            ended: None,
            verdicts: 0,
            domains: Vec::new(),
            threads: Vec::new(),
            aead: Vec::new(),
            hosts: Vec::new(),
            spent: Spent::default(),
            term: public.term,
            public,
        })
    }

    /// Runs the slots of one term, with packages before them.
    fn run_term(
        &mut self,
        transport: &mut dyn Transport,
        term: &TermWish<'_>,
        watcher: &mut dyn Watcher,
    ) -> Result<Ran, RunError> {
        let TermWish { part, so_far, returns, early } = term;
        let prepared = self.prepared;
        // 4.3 to 4.7: keys are announced, packages go out, lanes are laid.
        let route = self.hand_out(transport, watcher)?;
        let mut courier = self.seat.courier(transport.lanes(), &self.public, route, self.term)?;
        if let Some(slots) = watcher.slots() {
            slots.begin(self.slot_setup(transport.ranks()));
        }
        let micro_batch = prepared.job.train.micro_batch;
        let passes = prepared.passes(part);
        let rates = prepared.rates();
        let capacity = self.public.geometry.message();
        // 11.2: a random number of empty slots comes first, so that an observer who counts slots does not learn how
        // many the passes take.
        let lead = rand::rng().random_range(0..=u64::from(transport.ranks()));
        let paced = self.public.pacing != Pacing::Lockstep;
        let setup = TermSetup {
            epoch: part.epoch,
            last: part.ends_run,
            passes,
            so_far: *so_far,
            returns: *returns,
            early: early.clone(),
            // 15.2: in `bare` and `sealed` the word goes round by one link a slot.
            spread: match self.public.profile {
                Profile::Mixed => 0,
                Profile::Bare | Profile::Sealed => self.remote.len() as u64 + 1,
            },
            lead,
            paced,
            rates,
            criterion: Criterion::new(prepared.job.train.loss),
            loss_at_last: prepared.job.train.loss_at == LossAt::Last,
            features: prepared.boundaries[self.remote.end].features() as usize,
            hosted: &mut self.hosted,
            micro_batch,
            wire: prepared.job.mix.wire,
        };
        let backend = Arc::clone(&self.seat.backend);
        let mut owner = Owner::new(&*backend, setup, capacity)?;
        // 20.6: for `pace = "auto"` the owner begins with the time that dummy work takes, once for each rank that shares a core, and in
        // later terms with the time for work that held before.
        let mut work_time = self.work_time.take();
        if let (Pacing::Fixed { .. }, None, None) = (self.public.pacing, self.seat.pace(), &work_time) {
            let work = pace::measure_work(&*backend, capacity, micro_batch, prepared.job.mix.wire)?
                * transport.membership().cores.crowd();
            // Where this system grants slices, the others' most likely does.
            work_time = Some(WorkTime::new(work, transport.timeout(), slice::shorten()));
        }
        let (number, mut shown) = (self.term, 0);
        let mut progress = |over: seat::Over| {
            if let Some(slots) = watcher.slots() {
                slots.add(number, part.epoch, &over);
            }
            if let Some(PassProgress { done, of, .. }) = over.progress
                && done != shown
            {
                shown = done;
                watcher.progress(part.epoch.0, done, of);
            }
        };
        // 8: the slots of the term. The owner's role says when they end. A fault ends them, too.
        let ended = self.seat.run_slots(
            transport.lanes(),
            courier.as_mut(),
            &mut owner,
            work_time.as_mut(),
            &mut progress,
        )?;
        self.work_time = work_time;
        let (tallies, (until, whole)) = (owner.tallies(), owner.reached());
        let inferred = owner.into_inferred();
        let seat::Ended { order, slots, fault, own, .. } = ended;
        let returns = match (order, fault) {
            // 16.2: all ranks have heard the owner say stop, so that no results follow.
            (Order::Stop(_), Some(noticed)) => return Err(RunError::Fault { noticed, own }),
            (Order::TermEnds { returns, .. } | Order::RunEnds { returns, .. }, _) => returns,
            (order, _) => return Err(RunError::Bug(format!("a term has ended by {order:?}"))),
        };
        self.ended = Some(TermEnd { slots, returns, fault, own });
        Ok(Ran { tallies, slots, until, whole, returns, inferred })
    }

    /// Tells all ranks the verdict: to exit with `code`, or, where it is 0, to go on, or to wait for another (docs/PROTOCOL.md, 14.5).
    fn tell_verdict(&mut self, transport: &mut dyn Transport, code: i32) -> Result<(), RunError> {
        let (ranks, number) = (transport.ranks(), self.verdicts);
        self.verdicts += 1;
        let verdict = |(rank, psk)| verdict::write(code, number, psk, &self.public.binding(self.term, rank, ranks));
        let verdicts: Vec<Vec<u8>> = Rank::all(ranks).zip(&self.results).map(verdict).collect();
        transport.letters().scatter(&verdicts, verdict::LENGTH)?;
        Ok(())
    }

    /// Gathers the ranks' announcements and scatters their packages (docs/PROTOCOL.md, 4.3 to 4.6). Returns the owner's
    /// own route. Where it cannot make packages, it refuses the run to all ranks in place of them (4.8).
    fn hand_out(&mut self, transport: &mut dyn Transport, watcher: &mut dyn Watcher) -> Result<Route, RunError> {
        let messages = transport.letters().gather(&[0; announcement::LENGTH])?;
        match self.make_packages(messages, watcher) {
            Ok((own, packages)) => {
                transport.letters().scatter(&packages, package::length(&self.public))?;
                // 4.9: what stages start from follows the packages, once.
                if self.term == self.public.term {
                    self.give_start(transport)?;
                }
                Ok(own)
            }
            Err(error) => Err(told(error, |code| refusal::refuse_packages(transport, &self.public, code))),
        }
    }

    /// Gives each rank what its stage starts from, piece by piece (docs/PROTOCOL.md, 4.9). A rank without a stage gets zeros. Sends
    /// nothing where all is drawn from seeds.
    fn give_start(&mut self, transport: &mut dyn Transport) -> Result<(), RunError> {
        let (ranks, pieces) = (transport.ranks(), start::pieces(&self.public));
        let end =
            |(rank, psk)| start::end(&self.public, self.seat.aead, psk, &self.public.binding(self.term, rank, ranks));
        let ends: Vec<End> = Rank::all(ranks).zip(&self.results).map(end).collect();
        // The pieces of a checkpoint lie in its file in the order in which they are sent: a round of all stages' after the other.
        let resumed = self.prepared.resumed.as_ref();
        let mut states = resumed.map(|checkpoint| checkpoint.open()).transpose()?;
        let mut rounds =
            resumed.map(|checkpoint| snapshot::rounds(&checkpoint.lengths)).into_iter().flatten().peekable();
        for number in 0..pieces.count {
            let mut messages: Vec<Option<Vec<u8>>> = vec![None; ends.len()];
            while let (Some(states), Some((_, stage, place))) =
                (&mut states, rounds.next_if(|(round, ..)| *round == number))
            {
                let bytes = states.next(place.len())?;
                if let Some(rank) = self.host_of(stage) {
                    let fill = |piece: &mut [u8]| piece[..bytes.len()].copy_from_slice(bytes);
                    messages[rank.index()] = Some(ends[rank.index()].write_piece(number, fill)?);
                }
            }
            for (stage, spec) in self.specs.iter().enumerate() {
                if let (Some(values), Some(rank)) = (&spec.values, self.host_of(stage)) {
                    let fill = |piece: &mut [u8]| {
                        let here = values.get(number * piece.len() / 4..).unwrap_or_default();
                        let (words, _) = piece.as_chunks_mut();
                        words.iter_mut().zip(here).for_each(|(word, value)| *word = value.to_le_bytes());
                    };
                    messages[rank.index()] = Some(ends[rank.index()].write_piece(number, fill)?);
                }
            }
            // Of the ranks without a stage, who get zeros, so many pieces lie in memory at a time.
            for first in Rank::all(ranks).skip(1).step_by(AT_A_TIME) {
                let some = first.following(AT_A_TIME.min(usize::from(ranks - first.0)));
                let message = |rank: Rank| match messages[rank.index()].take() {
                    Some(message) => Ok(message),
                    None => ends[rank.index()].write(number, &[]),
                };
                let given = some.map(message).collect::<Result<Vec<_>, _>>()?;
                transport.letters().give(first, given)?;
            }
        }
        // Each stage's rank has its values now, and the owner needs them no more.
        self.specs.iter_mut().for_each(|spec| spec.values = None);
        Ok(())
    }

    /// Who takes part in the slots, of `ranks` ranks, and how they go.
    fn slot_setup(&self, ranks: u16) -> SlotSetup {
        let hosts = self.drawn.iter().flat_map(|drawn| &drawn.roles().hosts).map(|host| host.0);
        SlotSetup {
            ranks,
            hosts: hosts.collect(),
            latency: self.prepared.latency(),
            paced: self.public.pacing != Pacing::Lockstep,
        }
    }

    /// The rank that hosts the stage at this place among all stages. `None` for one of the owner's own.
    pub(super) fn host_of(&self, stage: usize) -> Option<Rank> {
        let remote = stage.checked_sub(self.remote.start)?;
        self.drawn.as_ref()?.roles().hosts.get(remote).copied()
    }

    /// Makes the packages of a term from the ranks' announcements in `messages`, by rank. Returns the owner's own
    /// route, and a sealed package for each rank, by rank.
    fn make_packages(
        &mut self,
        messages: Vec<Vec<u8>>,
        watcher: &mut dyn Watcher,
    ) -> Result<(Route, Vec<Vec<u8>>), RunError> {
        let ranks = messages.len() as u16;
        let announced = self.read_announcements(messages)?;
        // 4.5: in the first term the owner compares the fingerprints and draws the plan, which stays for the whole run.
        let first = self.drawn.is_none();
        if first {
            self.compare_fingerprints(&announced, watcher)?;
            self.threads = announced.iter().map(|announced| announced.says.threads).collect();
            threads_line(&self.threads).iter().for_each(|line| watcher.note(line));
            if self.public.profile != Profile::Bare {
                self.aead = announced.iter().map(|announced| announced.says.aead).collect();
                watcher.note(&aead_line(&self.aead));
            }
            self.domains = self.desk.peers.domains(announced.iter().map(|announced| announced.says.host.as_str()));
            self.hosts = announced.iter().map(|announced| announced.says.host.clone()).collect();
            let (drawn, draws) = self.plan(watcher)?;
            (self.drawn, self.draws) = (Some(drawn), draws);
        }
        let Some(drawn) = &self.drawn else {
            return Err(RunError::Bug("no plan was drawn".to_owned()));
        };
        // 4.6 and 6: the owner draws the keys of this term, and derives what each rank needs of them.
        let routes = match drawn {
            Drawn::Mixed(plan) => {
                // 6.12: which pairs of ranks lay a keystream over their blocks.
                let linked = |a: Rank, b: Rank| match self.prepared.job.mix.link {
                    LinkEncryption::Hosts => self.domains[a.index()] != self.domains[b.index()],
                    LinkEncryption::All => true,
                    LinkEncryption::Off => false,
                };
                mixed_routes(plan, TermSecrets::draw(ranks)?, &self.public.run, self.term, linked)
            }
            Drawn::Direct(roles) => direct_routes(&roles.hosts, ranks)?,
        };
        let mut own = None;
        let mut packages = Vec::new();
        for (rank, route) in Rank::all(ranks).zip(routes) {
            // The owner keeps its own route. Its package is empty and stays here.
            if rank == Rank::OWNER {
                own = Some(route);
                packages.push(Vec::new());
                continue;
            }
            let stage = drawn.roles().stage(rank).map(|stage| &self.specs[self.remote.start + stage.index()]);
            let package = Package {
                route,
                // 5.3: in the first term all ranks get a role of one length, relays zeros. Later terms have none.
                role: match first {
                    true => role::write(stage, self.role)?,
                    false => role::write(None, 0)?,
                },
                result: self.results[rank.index()].twin(),
                owner: self.recipient.key().to_vec(),
            };
            let binding = self.public.binding(self.term, rank, ranks);
            let bytes = self.public.package as usize;
            packages.push(package::write(&package, bytes, &announced[rank.index()], &mut self.desk, &binding)?);
        }
        let own = own.ok_or_else(|| RunError::Bug("the owner has no route".to_owned()))?;
        Ok((own, packages))
    }

    /// Reads the announcements of all ranks in `messages`, by rank. The owner's own, which has no key, is at place 0.
    fn read_announcements(&mut self, messages: Vec<Vec<u8>>) -> Result<Vec<Announced>, RunError> {
        look_for_refusals(&messages)?;
        let ranks = messages.len() as u16;
        let Seat { backend, aead, .. } = &self.seat;
        // The owner's words are shortened and escaped like those of others, as they are compared with them.
        let [host, fingerprint] = [self.surroundings.host, &backend.fingerprint()].map(shown);
        let introduction =
            Introduction { host: &host, fingerprint: &fingerprint, threads: backend.threads(), aead: *aead };
        let mut heard = vec![Announced::own(self.term, &introduction)];
        for (from, bytes) in Rank::all(ranks).zip(messages).skip(1) {
            heard.push(announcement::read(bytes, &mut self.desk, &self.public.binding(self.term, from, ranks))?);
        }
        Ok(heard)
    }

    /// Compares the ranks' fingerprints. Where they differ, the owner's user is warned, or with `--strict` the run is
    /// refused.
    fn compare_fingerprints(&self, announced: &[Announced], watcher: &mut dyn Watcher) -> Result<(), RunError> {
        let mut kinds: Vec<&str> = announced.iter().map(|announced| announced.says.fingerprint.as_str()).collect();
        kinds.sort_unstable();
        kinds.dedup();
        match kinds.len() {
            0 | 1 => Ok(()),
            _ if self.surroundings.strict => Err(RunError::Fingerprints(kinds.join(" and "))),
            _ => {
                let kinds = kinds.join(" and ");
                watcher.warn(&format!(
                    "warning: ranks compute differently ({kinds}): the bits depend on who hosts what; on processors one \
                     MIXNN_SIMD in the environment of all ranks mends it"
                ));
                Ok(())
            }
        }
    }

    /// The plan, and how often one was drawn for this job: that of the run's earlier start where it was for the same ranks, else a new
    /// one.
    fn plan(&self, watcher: &mut dyn Watcher) -> Result<(Drawn, u32), RunError> {
        let Some(kept) = self.prepared.resumed.as_ref().and_then(|resumed| resumed.rest.plan.as_ref()) else {
            return Ok((self.draw_plan(watcher)?, 1));
        };
        let fits = match (&kept.drawn, self.public.profile) {
            (Drawn::Mixed(plan), Profile::Mixed) => plan.hops == self.public.geometry.hops,
            (Drawn::Direct(_), Profile::Bare | Profile::Sealed) => true,
            (_, _) => false,
        };
        if fits && kept.hosts == self.hosts && kept.drawn.roles().hosts.len() == self.remote.len() {
            return Ok((kept.drawn.clone(), kept.draws));
        }
        let draws = kept.draws + 1;
        watcher.note(&format!(
            "the plan is drawn anew, the {}, as the ranks do not stand as before: each draw shows who looks on another sample",
            ordinal(draws)
        ));
        Ok((self.draw_plan(watcher)?, draws))
    }

    /// Draws who hosts which stage, and in `mixed` the circuits. Warns where hosts are of such sizes that neighbouring
    /// stages share one more often than they would have to.
    fn draw_plan(&self, watcher: &mut dyn Watcher) -> Result<Drawn, RunError> {
        let hosts = &self.domains;
        let stages = self.remote.len() as u16;
        let mut rng = StdRng::try_from_rng(&mut SysRng)?;
        if let (Profile::Mixed, Some(crowded)) =
            (self.public.profile, Placements::of(stages, hosts, &mut rng).crowded())
        {
            watcher.warn(&format!("warning: {crowded}"));
        }
        Ok(match self.public.profile {
            Profile::Mixed => Drawn::Mixed(Plan::draw(stages, self.public.geometry.hops, hosts, &mut rng)?),
            Profile::Bare | Profile::Sealed => Drawn::Direct(Placements::of(stages, hosts, &mut rng).draw(&mut rng)),
        })
    }
}

/// A number as a place in a row: `3rd time`.
fn ordinal(number: u32) -> String {
    let ending = match (number % 10, number % 100) {
        (1, rest) if rest != 11 => "st",
        (2, rest) if rest != 12 => "nd",
        (3, rest) if rest != 13 => "rd",
        _ => "th",
    };
    format!("{number}{ending} time")
}

#[cfg(test)]
mod tests;
