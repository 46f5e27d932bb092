//! What the owner and every other rank do alike within a term: slot after slot (docs/PROTOCOL.md, 8).

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::letters::opening::{Pacing, Public};
use super::pace::WorkTime;
use super::platform::Platform;
use super::{RunError, cores};
use crate::crypto::aead::Library;
use crate::crypto::labels;
use crate::ids::{Phase, Rank, Slot, Term};
use crate::job::Profile;
use crate::memory;
use crate::mix::beat::{Fault, Order, Reason};
use crate::mix::clock::{Clock, Pace};
use crate::mix::courier::{Courier, Noticed, Post, Timing, Word};
use crate::mix::direct::Direct;
use crate::mix::package::Route;
use crate::mix::slot::Mixer;
use crate::mix::{BACKWARD, FORWARD};
use crate::role::overlap::Overlapped;
use crate::role::work::{Prompt, Work, Worker};
use crate::role::{PassProgress, Role, RoleError};
use crate::slice;
use crate::threads;
use crate::transport::{Exchange, TransportError};
use crate::wire::HEADER;

/// The associated data of every cell of a run (docs/PROTOCOL.md, 6.6): protocol version, suite and run id. A cell opens
/// with no other.
fn associated_data(run: &[u8; 32]) -> Vec<u8> {
    [labels::CELLS, run].concat()
}

/// What a rank keeps through all slots of a run.
pub(super) struct Seat<B: Platform> {
    /// What computes on this rank.
    pub(super) backend: Arc<B>,
    /// This rank's outgoing and incoming messages.
    pub(super) post: Post<B::Bytes>,
    /// Where this rank's time has gone so far in the run.
    pub(super) timing: Timing,
    /// Which library seals with AES-256-GCM on the processor.
    pub(super) aead: Library,
    /// When slots begin. A pace that the owner says by beat is filled in when it is heard.
    pacing: Pacing,
    /// Whether roles other than the owner's work beside the exchange (`compute.overlap`).
    overlap: bool,
    /// How many bytes a message has in memory.
    message: usize,
}

impl<B: Platform> Seat<B> {
    /// A seat in a run of these `public` numbers, with empty messages.
    ///
    /// # Errors
    /// [`RunError::Compute`], [`RunError::Memory`]: no memory.
    pub(super) fn new(backend: Arc<B>, aead: Library, public: &Public) -> Result<Self, RunError> {
        let message = public.geometry.message();
        // Messages are filled one after the other, which takes seconds where they are long. This asks for the room of
        // all six first, so that a lack of memory shows at once.
        let bytes = message.saturating_mul(6);
        memory::room::<u8>(bytes)?;
        let post = Post::new(|| backend.bytes(message))?;
        let (pacing, overlap) = (public.pacing, public.compute.overlap);
        Ok(Self { post, timing: Timing::default(), aead, pacing, overlap, message, backend })
    }

    /// The pace that slots are to keep, once it is known. `None` in lockstep, too.
    pub(super) fn pace(&self) -> Option<Pace> {
        match self.pacing {
            Pacing::Fixed { pace, .. } => pace,
            Pacing::Lockstep => None,
        }
    }

    /// Takes the keys of a term and lays its lanes. What it returns carries this rank's messages for that term.
    ///
    /// # Errors
    /// [`RunError::Transport`], [`RunError::Mix`], [`RunError::Compute`].
    pub(super) fn courier(
        &self,
        transport: &mut dyn Exchange,
        public: &Public,
        route: Route,
        term: Term,
    ) -> Result<Box<dyn Courier<Bytes = B::Bytes>>, RunError> {
        let sealer = self.backend.sealer(self.aead, associated_data(&public.run), public.pacing)?;
        let clock = Clock::new(self.pace(), cores::suffice(transport.membership().cores));
        Ok(match route {
            Route::Mixed(route) => {
                Box::new(Mixer::new(transport, sealer, public.geometry, route, &public.run, term, clock)?)
            }
            Route::Direct(route) => {
                let seals = public.profile == Profile::Sealed;
                Box::new(Direct::new(transport, sealer, seals, public.geometry, &route)?)
            }
        })
    }

    /// Waits, under a pace, until the results of a term are due whose slots were over at `ended`
    /// (docs/PROTOCOL.md, 14.3).
    pub(super) fn wait_for_results(&self, ended: Instant) {
        if let Pacing::Fixed { rest, .. } = self.pacing {
            std::thread::sleep(Duration::from_nanos(rest).saturating_sub(ended.elapsed()));
        }
    }

    /// Runs all slots of a term with `role`. `work_time` is the owner's alone, where it chooses how long ranks have for their work.
    /// `after` is called behind every slot.
    ///
    /// # Errors
    /// [`RunError`].
    pub(super) fn run_slots<R: Role<B>>(
        &mut self,
        transport: &mut dyn Exchange,
        courier: &mut dyn Courier<Bytes = B::Bytes>,
        role: &mut R,
        work_time: Option<&mut WorkTime>,
        after: &mut dyn FnMut(Over),
    ) -> Result<Ended, RunError> {
        // A role that works beside the slots computes with `backend`. The slots then use `beside`, whose calls do not
        // wait for that work.
        let backend = Arc::clone(&self.backend);
        let beside = backend.beside()?;
        let (mut work, workshop): (Box<dyn Work<B>>, _) = match self.pacing {
            Pacing::Fixed { .. } => {
                // Who mixes goes before those who work on the same core: whoever is late with its work delays nobody.
                slice::shorten();
                let (worker, workshop) = Worker::new(&*backend, self.message)?;
                (Box::new(worker), workshop)
            }
            // The owner answers in the same slot: the schedule counts on it (docs/PROTOCOL.md, 11.1).
            Pacing::Lockstep if self.overlap && transport.rank() != Rank::OWNER => {
                let (work, workshop) = Overlapped::new(&*backend, self.message)?;
                (Box::new(work), workshop)
            }
            Pacing::Lockstep => {
                return self.run_slots_with(transport, courier, &backend, &mut Prompt(role), None, after);
            }
        };
        std::thread::scope(|scope| {
            let thread = threads::spawn(scope, "role", || workshop.run(&*backend, role))?;
            let ended = self.run_slots_with(transport, courier, &beside, &mut *work, work_time, after);
            drop(work);
            match thread.join() {
                Ok(()) => ended,
                Err(_) => Err(RunError::Bug("the thread on which this rank computes has panicked".to_owned())),
            }
        })
    }

    /// Runs all slots of a term, where `work` gives and takes this rank's messages.
    ///
    /// From the slot on in which this rank has noticed a fault, it tells the owner by beat. The owner tells all to stop
    /// two slots after the fault, when every rank has had a beat to report an earlier one (docs/PROTOCOL.md, 16.2).
    ///
    /// Until then a rank falls silent whose own messages are not what was sent to it, or whose own work has failed: it
    /// sends empty messages. All others work as before. If relays that have found a bad cell fell silent, their
    /// neighbours could tell them from those that have not (16.1).
    fn run_slots_with(
        &mut self,
        transport: &mut dyn Exchange,
        courier: &mut dyn Courier<Bytes = B::Bytes>,
        backend: &B,
        work: &mut dyn Work<B>,
        mut work_time: Option<&mut WorkTime>,
        after: &mut dyn FnMut(Over),
    ) -> Result<Ended, RunError> {
        let Self { post, timing, pacing, message: length, .. } = self;
        // When a term begins nothing is on its way: an empty header makes each incoming message empty.
        for message in &mut post.inbox {
            backend.clear(message, 0, HEADER);
        }
        let rank = transport.rank();
        let mut ended = Ended { order: Order::GoOn, slots: 0, over: Instant::now(), fault: None, own: None };
        let mut waiting_since = None;
        let mut silent = false;
        loop {
            let slot = Slot(ended.slots);
            // Step 1 of section 8: the role fills the messages that leave. Once this rank is silent, it does not.
            let overran = timing.overran;
            courier.wait_to_seal(timing);
            let started = Instant::now();
            let works = !silent;
            if works {
                match work.take(backend, slot, post, timing) {
                    Ok(order) => ended.order = order,
                    Err(error) if courier.reports_faults() => {
                        silent = true;
                        if error.reason() == Reason::Device {
                            // Messages that stand on a lost device cannot be sealed. Empty ones leave instead.
                            courier.send_no_messages();
                        }
                        ended.note_failure(slot, rank, error);
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            // 20.5: a slot that was late, and found the role late, too, has overrun once.
            timing.overran = timing.overran.min(overran + 1);
            // Section 9: what this rank says in its beats. The owner says its order, others what they have noticed.
            let mut worked = work.take_worked();
            if !worked.is_zero() {
                worked += courier.kept_from_work();
            }
            let mut word = Word { order: ended.order, fault: None, worked };
            // 20.6: where it has nothing else to say, the owner may say another pace.
            let trains = work.progress().is_none_or(|pass| pass.trains);
            if word.order == Order::GoOn
                && let Some(pace) = work_time.as_mut().and_then(|work_time| work_time.next(trains))
            {
                word.order = Order::Keep(pace);
            }
            if silent {
                for message in &mut post.outbox {
                    backend.clear(message, 0, *length);
                }
                post.used = [0; 3];
            }
            if let Some(noticed) = ended.fault {
                word.fault = Some(noticed.fault).filter(|_| rank != Rank::OWNER);
                // 16.2: by now every rank has had a beat to report an earlier fault.
                if rank == Rank::OWNER && slot.0 >= noticed.fault.slot.0 + 2 {
                    word.order = Order::Stop(noticed.fault.reason);
                }
                // 16.3: nobody has answered this rank's report in time.
                if waiting_since.get_or_insert(started).elapsed() > transport.timeout() {
                    return Err(unanswered(rank, noticed, TransportError::silent_owner(transport.timeout()).into()));
                }
            }
            // Clearing is done when this returns, so that no old bytes are sealed. A device that fails here leaves
            // nothing to send.
            if let Err(error) = backend.finish() {
                courier.send_no_messages();
                silent = true;
                ended.note_failure(slot, rank, error.into());
            }
            // Steps 2 to 7: seal, exchange and peel in each phase, open.
            let heard = courier.slot(transport, slot, word, post, timing).map_err(|error| match ended.fault {
                // Others may have heard the owner say stop where this rank could not.
                Some(noticed) => unanswered(rank, noticed, error.into()),
                None => error.into(),
            })?;
            let before = std::mem::replace(&mut ended.over, Instant::now());
            if let Some(work_time) = &mut work_time {
                work_time.see(trains, heard.worked.max(worked), ended.over - before);
            }
            // 20.6: the owner has said the pace, which holds from the next slot on.
            if let (Order::Keep(pace), Pacing::Fixed { pace: known, .. }) = (heard.order, &mut *pacing) {
                *known = Some(pace);
            }
            ended.fault = Noticed::first(ended.fault, heard.fault);
            silent |= !heard.intact;
            let real = [FORWARD, BACKWARD].map(|which| post.used[which] > 0);
            // What has arrived may be used where it is what was sent to this rank.
            if works && !silent {
                work.give(backend, slot, post);
            }
            after(Over { slot, real, progress: work.progress(), timing: *timing });
            ended.slots += 1;
            // Step 8: the owner's word says whether this slot was the last.
            if heard.order.ends(slot) {
                ended.order = heard.order;
                return Ok(ended);
            }
        }
    }
}

/// How `rank` ends by itself with `error` after it has noticed a fault. The owner says what was noticed. Any other rank
/// ends like one that has noticed nothing, so that nobody learns where it was noticed.
fn unanswered(rank: Rank, noticed: Noticed, error: RunError) -> RunError {
    match rank {
        Rank::OWNER => RunError::Unanswered(noticed),
        _ => error,
    }
}

/// How the slots of a term have ended.
pub(super) struct Ended {
    /// The owner's word in the last slot.
    pub(super) order: Order,
    /// How many slots the term had.
    pub(super) slots: u64,
    /// When the last slot was over, or the term began.
    pub(super) over: Instant,
    /// The first fault that this rank has noticed or, on the owner, was told of.
    pub(super) fault: Option<Noticed>,
    /// The error of this rank's own work, where that was the first fault.
    pub(super) own: Option<RoleError>,
}

impl Ended {
    /// Notes that `rank` cannot go on with its own work in `slot`. That ends the run, unless a fault was noticed
    /// before.
    fn note_failure(&mut self, slot: Slot, rank: Rank, error: RoleError) {
        if self.fault.is_none() {
            let fault = Fault { slot, phase: Phase(0), peer: rank, reason: error.reason() };
            (self.fault, self.own) = (Some(Noticed { fault, by: rank }), Some(error));
        }
    }
}

/// A slot that is over, as this rank alone knows it.
pub(super) struct Over {
    /// Which slot of the term it was.
    pub(super) slot: Slot,
    /// Whether this rank's forward and backward messages were more than cover.
    pub(super) real: [bool; 2],
    /// What the role says of [its progress](Role::progress).
    pub(super) progress: Option<PassProgress>,
    /// Where this rank's time has gone so far in this start of the run.
    pub(super) timing: Timing,
}

/// A rank's timing as results carry it: nanoseconds of compute, seal, exchange, peel, open and wait, then bytes sent
/// and slots that overran.
pub(super) fn numbers(timing: &Timing) -> [u64; 8] {
    let Timing { compute, seal, exchange, peel, open, wait, sent, overran } = *timing;
    let [compute, seal, exchange, peel, open, wait] =
        [compute, seal, exchange, peel, open, wait].map(|time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    [compute, seal, exchange, peel, open, wait, sent, overran]
}

/// Reads the timing that [`numbers`] made.
pub(super) fn from_numbers(numbers: [u64; 8]) -> Timing {
    let [times @ .., sent, overran] = numbers;
    let [compute, seal, exchange, peel, open, wait] = times.map(Duration::from_nanos);
    Timing { compute, seal, exchange, peel, open, wait, sent, overran }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::cpu::Cpu;
    use crate::compute::{ComputeError, Memory};
    use crate::mix::MixError;
    use crate::mix::courier::Heard;
    use crate::mix::geometry::Geometry;
    use crate::mix::package::direct_routes;
    use crate::run::letters::opening::tests::public;
    use crate::transport::Transport;
    use crate::transport::local::connect;

    /// The slot in which a rank finds a fault.
    const FOUND: Slot = Slot(3);
    /// The slot in which the owner says stop. Who has found a fault in slot 3 tells of it in slot 4.
    const STOPPED: Slot = Slot(5);
    /// How long an answer is waited for that does not come.
    const UNANSWERED: Duration = Duration::from_millis(50);

    /// A courier that finds a bad cell, among the rank's own messages or not, and notes what leaves.
    #[derive(Default)]
    struct Finds {
        /// The slot in which it finds it. `None`: in none.
        finds: Option<Slot>,
        intact: bool,
        /// How long each slot takes, where the owner never says stop.
        unanswered: Option<Duration>,
        /// For each slot: whether the forward message is more than zeros, and whether a fault is reported.
        left: Vec<(bool, bool)>,
        /// The owner's word in each slot, where this rank is the owner.
        orders: Vec<Order>,
        /// Whether nobody can be told of faults, as in `bare` and `sealed`.
        mute: bool,
        /// How often it was asked to send no messages, as they stand on a device that is lost.
        lost: usize,
    }

    impl Courier for Finds {
        type Bytes = <Cpu as Memory>::Bytes;

        fn reports_faults(&self) -> bool {
            !self.mute
        }

        fn send_no_messages(&mut self) {
            self.lost += 1;
        }

        fn slot(
            &mut self,
            transport: &mut dyn Exchange,
            slot: Slot,
            word: Word,
            post: &mut Post<Self::Bytes>,
            _: &mut Timing,
        ) -> Result<Heard, MixError> {
            self.left.push((post.outbox[FORWARD].iter().any(|byte| *byte != 0), word.fault.is_some()));
            let fault = Fault { slot, phase: Phase(2), peer: Rank(4), reason: Reason::Authentication };
            self.orders.push(word.order);
            std::thread::sleep(self.unanswered.unwrap_or_default());
            let told = transport.rank() != Rank::OWNER && slot == STOPPED && self.unanswered.is_none();
            let order = if told { Order::Stop(Reason::Authentication) } else { word.order };
            let finds = self.finds == Some(slot);
            let found = finds.then_some(Noticed { fault, by: transport.rank() });
            Ok(Heard { order, fault: found, intact: self.intact || !finds, worked: Duration::ZERO })
        }
    }

    /// Work that sends something in every slot.
    #[derive(Default)]
    struct Busy {
        /// The slot in which it fails.
        fails: Option<Slot>,
        /// Whether it fails with the device on which it works.
        device: bool,
        /// In which slots it was given what had arrived.
        given: Vec<u64>,
    }

    impl Work<Cpu> for Busy {
        fn take(
            &mut self,
            _: &Cpu,
            slot: Slot,
            post: &mut Post<<Cpu as Memory>::Bytes>,
            _: &mut Timing,
        ) -> Result<Order, RoleError> {
            post.outbox[FORWARD].fill(7);
            post.used[FORWARD] = 1;
            match (self.fails == Some(slot), self.device) {
                (true, true) => {
                    let [device, call, what] = ["GPU 0", "a call", "lost"].map(str::to_owned);
                    Err(RoleError::Compute(ComputeError::Device { device, call, what }))
                }
                (true, false) => Err(RoleError::Untold),
                (false, _) => Ok(Order::GoOn),
            }
        }

        fn give(&mut self, _: &Cpu, slot: Slot, _: &mut Post<<Cpu as Memory>::Bytes>) {
            self.given.push(slot.0);
        }

        fn progress(&self) -> Option<PassProgress> {
            None
        }
    }

    /// Runs the slots of `rank` until it says or hears stop. The time-out is short where nobody answers, else one that no machine comes near.
    fn slots_with(rank: Rank, courier: &mut Finds, work: &mut Busy) -> Result<Ended, RunError> {
        let backend = Arc::new(Cpu::new(1).unwrap());
        let post = Post::new(|| backend.bytes(64)).unwrap();
        let (pacing, timing) = (Pacing::Lockstep, Timing::default());
        let mut seat = Seat {
            post,
            timing,
            aead: Library::AwsLc,
            pacing,
            overlap: false,
            message: 64,
            backend: Arc::clone(&backend),
        };
        let mut end = connect(7).swap_remove(rank.index());
        end.set_timeout(courier.unanswered.map_or(Duration::from_secs(600), |_| UNANSWERED));
        seat.run_slots_with(&mut end, courier, &backend, work, None, &mut |_| {})
    }

    /// Runs the slots of `rank`, which finds a bad cell, until it says or hears stop. `intact`: whether that cell is one that it passes on.
    fn slots(rank: Rank, intact: bool) -> (Finds, Busy) {
        let mut courier = Finds { finds: Some(FOUND), intact, ..Finds::default() };
        let mut work = Busy::default();
        let ended = slots_with(rank, &mut courier, &mut work).unwrap();
        assert_eq!((ended.slots, ended.order), (STOPPED.0 + 1, Order::Stop(Reason::Authentication)));
        assert!(ended.own.is_none());
        (courier, work)
    }

    /// Who has found a bad cell of others sends what it would have sent; who has lost a message of its own sends nothing more,
    /// not even what it sent last. Both tell the owner.
    #[test]
    fn relays_that_find_fault_go_on_and_receivers_fall_silent() {
        let left = |intact| slots(Rank(3), intact).0.left;
        let before = [(true, false); 4];
        assert_eq!(left(true), [before.as_slice(), &[(true, true); 2]].concat());
        assert_eq!(left(false), [before.as_slice(), &[(false, true); 2]].concat());
    }

    /// What has arrived is used where it is what was sent to this rank, and not any more from the slot on in which it is not.
    #[test]
    fn messages_that_are_not_what_was_sent_are_not_used() {
        let given = |intact| slots(Rank(3), intact).1.given;
        assert_eq!(given(true), [0, 1, 2, 3, 4, 5]);
        assert_eq!(given(false), [0, 1, 2]);
    }

    /// Who cannot go on with its own work sends nothing more, not even what it was about to send, and tells the owner.
    #[test]
    fn who_fails_in_its_own_work_falls_silent_and_tells() {
        let mut courier = Finds { intact: true, ..Finds::default() };
        let mut work = Busy { fails: Some(FOUND), ..Busy::default() };
        let ended = slots_with(Rank(3), &mut courier, &mut work).unwrap();
        assert_eq!(courier.left, [[(true, false); 3], [(false, true); 3]].concat());
        assert_eq!(work.given, [0, 1, 2]);
        assert!(matches!(ended.own, Some(RoleError::Untold)));
        let told = Fault { slot: FOUND, phase: Phase(0), peer: Rank(3), reason: RoleError::Untold.reason() };
        assert_eq!(ended.fault, Some(Noticed { fault: told, by: Rank(3) }));
        assert_eq!(courier.lost, 0);
    }

    /// What stands on a device that is lost cannot be sealed: no messages leave.
    #[test]
    fn who_loses_its_device_sends_no_messages() {
        let mut courier = Finds { intact: true, ..Finds::default() };
        let mut work = Busy { fails: Some(FOUND), device: true, ..Busy::default() };
        let ended = slots_with(Rank(3), &mut courier, &mut work).unwrap();
        assert_eq!((courier.lost, ended.fault.unwrap().fault.reason), (1, Reason::Device));
    }

    /// Where nobody can be told, the rank whose work fails ends at once.
    #[test]
    fn who_fails_where_nobody_can_be_told_ends() {
        let mut courier = Finds { mute: true, unanswered: Some(Duration::ZERO), ..Finds::default() };
        let mut work = Busy { fails: Some(FOUND), ..Busy::default() };
        let ended = slots_with(Rank(3), &mut courier, &mut work).map(drop);
        assert!(matches!(ended, Err(RunError::Role(RoleError::Untold))), "{ended:?}");
        assert_eq!(courier.left.len() as u64, FOUND.0);
    }

    /// Only the owner says what was noticed. Any other rank that is not answered ends like one that has noticed nothing.
    #[test]
    fn who_is_not_answered_does_not_say_what_it_has_noticed() {
        let fault = Fault { slot: FOUND, phase: Phase(1), peer: Rank(2), reason: Reason::Message };
        let noticed = Noticed { fault, by: Rank(3) };
        let error = || RunError::Transport(TransportError::TooLong);
        let owner = unanswered(Rank::OWNER, noticed, error());
        assert!(matches!(owner, RunError::Unanswered(found) if found == noticed), "{owner}");
        let other = unanswered(Rank(3), noticed, error());
        assert!(matches!(other, RunError::Transport(TransportError::TooLong)), "{other}");
    }

    /// Under a pace results leave at their time, whoever was ready before.
    #[test]
    fn results_leave_at_their_time() {
        let rest = Duration::from_millis(40);
        let seat = |pacing| {
            let backend = Arc::new(Cpu::new(1).unwrap());
            Seat::new(backend, Library::Rust, &Public { pacing, ..public() }).unwrap()
        };
        let pace = Pace::slots(Duration::from_millis(1));
        let paced = seat(Pacing::Fixed { pace: Some(pace), rest: rest.as_nanos() as u64 });
        assert!(paced.pace() == Some(pace) && seat(Pacing::Lockstep).pace().is_none());
        let ended = Instant::now();
        paced.wait_for_results(ended);
        assert!(ended.elapsed() >= rest);
    }

    #[test]
    fn a_timing_travels_as_numbers() {
        let sent = [1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(numbers(&from_numbers(sent)), sent);
    }

    /// A rank whose report nobody answers ends when its time-out is over, like one that has waited for the owner.
    #[test]
    fn a_report_that_nobody_answers_ends_at_the_time_out() {
        let mut courier =
            Finds { finds: Some(FOUND), unanswered: Some(Duration::from_millis(5)), ..Finds::default() };
        let began = Instant::now();
        let ended = slots_with(Rank(3), &mut courier, &mut Busy::default());
        assert!(matches!(ended, Err(RunError::Transport(TransportError::Timeout { .. }))));
        assert!(began.elapsed() >= UNANSWERED);
        assert!(courier.left.iter().any(|(_, reports)| *reports));
    }

    /// What leaves in `sealed` is sealed. Its neighbour opens it.
    #[test]
    fn the_profile_sealed_seals_and_bare_does_not() {
        for profile in [Profile::Sealed, Profile::Bare] {
            let public = Public { profile, geometry: Geometry::new(3, 3, 1000, 1 << 16).unwrap(), ..public() };
            let readable = std::thread::scope(|scope| {
                let routes = direct_routes(&[Rank(1)], 2).unwrap();
                let ranks: Vec<_> = connect(2)
                    .into_iter()
                    .zip(routes)
                    .map(|(mut end, route)| {
                        let public = &public;
                        scope.spawn(move || {
                            let backend = Arc::new(Cpu::new(1).unwrap());
                            let seat = Seat::new(backend, Library::Rust, public).unwrap();
                            let mut courier = seat.courier(&mut end, public, route, Term(0)).unwrap();
                            let (mut post, mut timing) = (seat.post, Timing::default());
                            post.outbox[FORWARD].fill(7);
                            post.used[FORWARD] = post.outbox[FORWARD].len();
                            courier.slot(&mut end, Slot(0), Word::WELL, &mut post, &mut timing).unwrap();
                            assert!(post.inbox[FORWARD].iter().all(|byte| *byte == 7));
                            end.blocks().1.iter().any(|block| block.as_ref().windows(64).any(|part| part == [7; 64]))
                        })
                    })
                    .collect();
                ranks.into_iter().map(|rank| rank.join().unwrap()).collect::<Vec<_>>()
            });
            assert_eq!(readable, [profile == Profile::Bare; 2], "{profile:?}");
        }
    }

    /// The owner says stop two slots after a fault that it has found itself. In the slot between, the other ranks tell
    /// it what they have found in an earlier phase.
    #[test]
    fn the_owner_leaves_every_rank_a_slot_to_report_in() {
        let orders = slots(Rank::OWNER, true).0.orders;
        let (last, before) = orders.split_last().unwrap();
        assert_eq!((before, *last), ([Order::GoOn; 5].as_slice(), Order::Stop(Reason::Authentication)));
    }

    /// The bytes of docs/PROTOCOL.md, 6.6. Keys are of one run alone, too, so that no run would miss the run's id here:
    /// it is a second line of defence.
    #[test]
    fn cells_are_bound_to_version_and_run() {
        let run: [u8; 32] = std::array::from_fn(|at| at as u8);
        let data = associated_data(&run);
        assert_eq!((&data[..9], &data[9..]), (b"mixnn/1 A".as_slice(), run.as_slice()));
    }
}
