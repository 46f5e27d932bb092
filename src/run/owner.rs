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
use zeroize::Zeroizing;

use super::epochs::{self, Finished, Ran, Trains};
use super::kept::model::Model;
use super::kept::results::{FORMAT, Outcome, RankTiming, VERSION, aead_line, threads_line};
use super::letters::announcement::{self, Announced, Introduction};
use super::letters::opening::{self, Pacing, Public};
use super::letters::pieces::{End, Pieces, Values};
use super::letters::result::{self, Recipient};
use super::letters::start;
use super::letters::{Desk, package, role, shown, verdict};
use super::pace::{self, Calibration};
use super::platform::{self, Chosen, Platform, Standing};
use super::prepare::{Part, Prepared};
use super::refusal::{self, look_for_refusals, told};
use super::seat::{self, Seat};
use super::setting::Setting;
use super::trust::Credentials;
use super::{RunError, Watcher, cores};
use crate::crypto::aead::Library;
use crate::crypto::key::Key;
use crate::ids::{Rank, Term};
use crate::job::{LinkEncryption, MOST_RANKS, Profile};
use crate::memory;
use crate::mix::beat::Order;
use crate::mix::courier::Noticed;
use crate::mix::package::{Package, Route, TermSecrets, direct_routes, mixed_routes};
use crate::mix::plan::{Placements, Plan, Roles};
use crate::nn::{Criterion, Network, StageSpec};
use crate::role::owner::{Owner, OwnerStages, TermSetup};
use crate::role::score::Tally;
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
) -> Result<(Outcome, Model), RunError> {
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
            job.mix.pace,
            job.mix.hops,
            lengths.result,
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
        given: prepared.gives_values(),
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
) -> Result<(Outcome, Model), RunError> {
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
) -> Result<(Outcome, Model), RunError> {
    let (prepared, surroundings) = (state.prepared, state.surroundings);
    let job = &prepared.job;
    let Finished { epochs, test, model } =
        epochs::run(&mut Leads { state: &mut state, transport }, prepared, watcher)?;
    let Spent { timing, sent, overran } = state.spent;
    let hosts = state.hosts.iter().map(String::as_str);
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
        weights_sha256: model.sha256(),
        seconds: started.elapsed().as_secs_f64(),
        epochs,
        wire_bytes_per_rank: sent / u64::from(transport.ranks()),
        slot_seconds: state.seat.pace().map(|pace| pace.slot().as_secs_f64()),
        overran,
        cores_suffice: cores::suffice(transport.membership().cores),
        timing: if job.output.timing { timing } else { Vec::new() },
    };
    Ok((outcome, model))
}

/// What the owner keeps over a whole run.
struct OwnerState<'a, B: Platform> {
    prepared: &'a Prepared,
    surroundings: &'a Surroundings<'a>,
    public: Public,
    /// All stages of the network, in order.
    specs: Vec<StageSpec>,
    /// Those of `specs` that ranks host. The stages before and behind them run on the owner.
    remote: Range<usize>,
    /// How many bytes a package has for the role, padded so that all ranks are told as much.
    role: usize,
    /// The networks of the stages that run on the owner.
    hosted: OwnerStages<B>,
    /// The term that runs now.
    term: Term,
    seat: Seat<B>,
    desk: Desk<'a>,
    /// The owner's key pair, to whose public half all ranks seal their results.
    recipient: Recipient,
    /// One key for each rank, by rank. It is in that rank's package and proves that a result is from it.
    results: Vec<Key>,
    /// Who is what: drawn once, in the first term.
    drawn: Option<Drawn>,
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
    spent: Spent,
}

/// The owner's state together with its transport: what the loop over epochs drives.
struct Leads<'l, 'a, B: Platform> {
    state: &'l mut OwnerState<'a, B>,
    transport: &'l mut dyn Transport,
}

impl<B: Platform> Trains for Leads<'_, '_, B> {
    fn run(&mut self, part: &Part, so_far: Tally, watcher: &mut dyn Watcher) -> Result<Ran, RunError> {
        let ran = self.state.run_term(self.transport, part, so_far, watcher);
        self.state.term.0 += 1;
        ran
    }
}

/// What the slots of the run have taken so far. It is known at the end of each term, when all ranks have returned their
/// results.
#[derive(Default)]
struct Spent {
    /// Where the time of each rank went so far, by rank.
    timing: Vec<RankTiming>,
    /// How many bytes all ranks together have sent in slots so far.
    sent: u64,
    /// How many slots have overrun the pace so far, on the rank on which most have.
    overran: u64,
}

/// Memory for what is in one piece; and by rank from 1, the owner's end of the way of its values, and room for them if the rank hosts a
/// stage.
type Ends = (Zeroizing<Vec<u8>>, Vec<(End, Option<Values>)>);

/// Who hosts what, drawn once for the whole run.
enum Drawn {
    /// In `mixed`: roles and circuits.
    Mixed(Plan),
    /// In `bare` and `sealed`: roles alone.
    Direct(Roles),
}

impl Drawn {
    /// Which rank hosts which stage.
    fn roles(&self) -> &Roles {
        match self {
            Drawn::Mixed(plan) => &plan.roles,
            Drawn::Direct(roles) => roles,
        }
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
        let hosted = OwnerStages {
            head: Network::new(&*backend, &specs[..remote.start])?,
            tail: Network::new(&*backend, &specs[remote.end..])?,
        };
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
            domains: Vec::new(),
            threads: Vec::new(),
            aead: Vec::new(),
            hosts: Vec::new(),
            spent: Spent::default(),
            term: public.term,
            public,
        })
    }

    /// Runs one term: hands out packages, runs the slots, and takes the results. `so_far` is what this epoch's training
    /// came to in earlier terms.
    fn run_term(
        &mut self,
        transport: &mut dyn Transport,
        part: &Part,
        so_far: Tally,
        watcher: &mut dyn Watcher,
    ) -> Result<Ran, RunError> {
        let prepared = self.prepared;
        // 4.3 to 4.7: keys are announced, packages go out, lanes are laid.
        let route = self.hand_out(transport, watcher)?;
        let mut courier = self.seat.courier(transport.lanes(), &self.public, route, self.term)?;
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
            so_far,
            lead,
            paced,
            rates,
            criterion: Criterion::new(prepared.job.train.loss),
            features: prepared.boundaries[self.remote.end].features() as usize,
            hosted: &mut self.hosted,
            micro_batch,
            wire: prepared.job.mix.wire,
        };
        let backend = Arc::clone(&self.seat.backend);
        let mut owner = Owner::new(&*backend, setup, capacity)?;
        // 20.8: for `pace = "auto"` the owner measures, in the first term, what a pace must leave room for. It starts
        // with the time that dummy work takes, once for each rank that shares a core.
        let calibration = match self.public.pacing {
            Pacing::Fixed { .. } if self.seat.pace().is_none() => {
                let work = pace::measure_work(&*backend, capacity, micro_batch, prepared.job.mix.wire)?
                    * transport.membership().cores.crowd();
                Some(Calibration::new(self.public.geometry.hops, work, transport.timeout()))
            }
            _ => None,
        };
        let mut shown = 0;
        let mut progress = |over: seat::Over| {
            if let Some((done, of)) = over.progress
                && done != shown
            {
                shown = done;
                watcher.progress(part.epoch.0, done, of);
            }
        };
        // 8: the slots of the term. The owner's role says when they end. A fault ends them, too.
        let ended =
            self.seat.run_slots(transport.lanes(), courier.as_mut(), &mut owner, calibration, &mut progress)?;
        let (tallies, inferred) = (owner.tallies(), owner.into_inferred());
        let (fault, own) = (ended.fault, ended.own);
        // 16.2: all ranks have heard the owner say stop, so that no results follow.
        if let (Order::Stop(_), Some(noticed)) = (ended.order, fault) {
            return Err(RunError::Fault { noticed, own });
        }
        // 14.3: every rank returns a result. The owner's own place in each gather is zeros that no one reads. There is memory for
        // them before the first: behind it all letters must be taken, or the others would wait for that.
        let own_piece = memory::zeroed(result::pieces(&self.public).length())?;
        let blobs = transport.letters().gather(&[0; result::LENGTH])?;
        let returned = match self.open_results(&blobs, ended.slots, fault) {
            Ok(Ok(keys)) => Ok(keys),
            Ok(Err(noticed)) => Err(RunError::Fault { noticed, own }),
            Err(error) => Err(error),
        };
        // 14.4: values follow in any case, so that nobody sees from the pieces how the results are.
        let model = self.take_values(transport, &own_piece, returned);
        // 14.5: the verdict tells all ranks the code with which to exit, or 0 where the run goes on or has ended well.
        let code = model.as_ref().err().map_or(0, RunError::exit_code);
        let told = self.tell_verdict(transport, code);
        match (model, told) {
            (Ok(model), Ok(())) => Ok(Ran { tallies, slots: ended.slots, model, inferred }),
            // The owner's own error. All ranks know its code by now, so that none has to be torn out of the run.
            (Err(error), Ok(())) if !error.is_orderly() => Err(RunError::Told { why: Box::new(error), code }),
            // A fault that the owner could not tell to all.
            (Err(RunError::Fault { noticed, .. }), Err(_)) => Err(RunError::Unanswered(noticed)),
            (Err(error), _) | (Ok(_), Err(error)) => Err(error),
        }
    }

    /// Tells all ranks the verdict: to exit with `code`, or, where it is 0, to go on (docs/PROTOCOL.md, 14.5).
    fn tell_verdict(&self, transport: &mut dyn Transport, code: i32) -> Result<(), RunError> {
        let ranks = transport.ranks();
        let verdict = |(rank, psk)| verdict::write(code, psk, &self.public.binding(self.term, rank, ranks));
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
                // 4.9: initial values follow the packages, once.
                if self.term == self.public.term {
                    self.give_values(transport)?;
                }
                Ok(own)
            }
            Err(error) => Err(told(error, |code| refusal::refuse_packages(transport, &self.public, code))),
        }
    }

    /// Gives each rank the values that its stage starts from, piece by piece (docs/PROTOCOL.md, 4.9). A rank without a
    /// stage gets zeros. Sends nothing where the job names no values.
    fn give_values(&mut self, transport: &mut dyn Transport) -> Result<(), RunError> {
        let (ranks, pieces) = (transport.ranks(), start::pieces(&self.public));
        let end = |(rank, psk)| {
            let binding = self.public.binding(self.term, rank, ranks);
            let values = self.spec_of(rank).and_then(|at| self.specs[at].values.clone());
            (start::end(&self.public, self.seat.aead, psk, &binding), values)
        };
        let ends: Vec<_> = Rank::all(ranks).zip(&self.results).map(end).collect();
        for number in 0..pieces.count {
            let piece = |(end, values): &(End, Option<_>)| {
                let values: Option<&Arc<Zeroizing<Vec<f32>>>> = values.as_ref();
                end.write(number, values.map_or(&[], |values| values))
            };
            let messages = ends.iter().map(piece).collect::<Result<Vec<_>, _>>()?;
            transport.letters().scatter(&messages, pieces.length())?;
        }
        // Each stage's rank has its values now, and the owner needs them no more.
        self.specs.iter_mut().for_each(|spec| spec.values = None);
        Ok(())
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
            self.drawn = Some(self.draw_plan(watcher)?);
            self.hosts = announced.iter().map(|announced| announced.says.host.clone()).collect();
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

    /// Opens the results in `blobs`, by rank, after a term of `slots` slots. Returns the keys of the ranks' values, by rank from 1, or the
    /// first fault: of `fault`, which the owner knows, and those that the results tell.
    fn open_results(
        &mut self,
        blobs: &[Vec<u8>],
        slots: u64,
        fault: Option<Noticed>,
    ) -> Result<Result<Vec<Key>, Noticed>, RunError> {
        let mut timing = vec![RankTiming::new(0, &self.seat.timing)];
        let mut sent = self.seat.timing.sent;
        let mut overran = self.seat.timing.overran;
        let mut first = fault;
        let mut keys = Vec::new();
        for (rank, blob) in Rank::all(blobs.len() as u16).zip(blobs).skip(1) {
            let binding = self.public.binding(self.term, rank, blobs.len() as u16);
            let proven = (&self.recipient, &self.results[rank.index()]);
            // 14.2: a result opens only if its rank sealed it for this run, term and number of slots.
            let returned = result::read(blob, slots, proven, &mut self.desk, &binding)?;
            first = Noticed::first(first, returned.fault.map(|fault| Noticed { fault, by: rank }));
            let rank_timing = seat::from_numbers(returned.timing);
            sent += rank_timing.sent;
            overran = overran.max(rank_timing.overran);
            timing.push(RankTiming::new(rank.0, &rank_timing));
            keys.push(returned.key);
        }
        // 14.5: a fault in a result ends the run for all.
        if let Some(noticed) = first {
            return Ok(Err(noticed));
        }
        self.spent = Spent { timing, sent, overran };
        Ok(Ok(keys))
    }

    /// Takes the values that follow the results, piece by piece, and makes the model of them. The pieces are under the keys in
    /// `returned`, by rank from 1. `own` is a piece of zeros. If it is an error, or one of them does not open, the pieces that follow are gathered all the same, as
    /// all ranks send them, and that error is returned.
    fn take_values(
        &mut self,
        transport: &mut dyn Transport,
        own: &[u8],
        returned: Result<Vec<Key>, RunError>,
    ) -> Result<Model, RunError> {
        let pieces = result::pieces(&self.public);
        let mut taken = returned.and_then(|keys| self.ends(pieces, &keys));
        for number in 0..pieces.count {
            let arrived = transport.letters().gather(own)?;
            if let Ok((plain, ends)) = &mut taken {
                let opened = arrived.iter().skip(1).zip(ends).try_for_each(|(piece, (end, values))| {
                    end.read(number, piece, plain)?;
                    values.iter_mut().for_each(|values| values.take(plain));
                    Ok(())
                });
                if let Err(error) = opened {
                    taken = Err(error);
                }
            }
        }
        let (_, ends) = taken?;
        let mut values: Vec<Vec<f32>> = self.specs.iter().map(|_| Vec::new()).collect();
        for (rank, (_, of_rank)) in Rank::all(transport.ranks()).skip(1).zip(ends) {
            if let (Some(at), Some(of_rank)) = (self.spec_of(rank), of_rank) {
                let due = self.specs[at].parameter_count();
                let mut all = of_rank.first(due).ok_or(RunError::Unreadable { what: "the values", from: rank })?;
                values[at] = std::mem::take(&mut *all);
            }
        }
        // The stages that run on the owner have their values here.
        for (hosted, first) in [(&self.hosted.head, 0), (&self.hosted.tail, self.remote.end)] {
            let own = hosted.as_ref().map(|network| network.values(&*self.seat.backend)).transpose()?;
            for (values, own) in values[first..].iter_mut().zip(own.into_iter().flatten()) {
                *values = own;
            }
        }
        Ok(Model::new(&self.specs, &values)?)
    }

    /// The place among all stages of the one that `rank` hosts, if it hosts one.
    fn spec_of(&self, rank: Rank) -> Option<usize> {
        let stage = self.drawn.as_ref()?.roles().stage(rank)?;
        Some(self.remote.start + stage.index())
    }

    /// The owner's ends of the way of all ranks' values, under their `keys`, by rank from 1.
    fn ends(&self, pieces: Pieces, keys: &[Key]) -> Result<Ends, RunError> {
        let ranks = keys.len() as u16 + 1;
        let end = |(rank, key)| {
            let binding = self.public.binding(self.term, rank, ranks);
            let values = self.spec_of(rank).map(|_| Values::new(pieces)).transpose()?;
            Ok((result::end(pieces, self.seat.aead, key, &binding), values))
        };
        let ends = Rank::all(ranks).skip(1).zip(keys).map(end).collect::<Result<_, RunError>>()?;
        Ok((pieces.room()?, ends))
    }
}
