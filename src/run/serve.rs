//! A run as every rank but the owner sees it: from the public numbers and its own package alone.

use std::sync::Arc;
use std::time::Duration;

use super::kept::results::VERSION;
use super::letters::announcement::{self, Introduction};
use super::letters::opening::{self, Opening, Pacing, Public};
use super::letters::pieces::Joined;
use super::letters::result::{self, TermResult};
use super::letters::{Desk, package, role, start, verdict};
use super::platform::{self, Chosen, Platform, Standing};
use super::refusal::{self, refused};
use super::seat::{self, Seat};
use super::trust::Credentials;
use super::{RunError, code_of};
use crate::crypto::aead::Library;
use crate::crypto::key::Key;
use crate::ids::{Phase, Rank, Slot, Term};
use crate::mix::beat::{Fault, Order, StageData};
use crate::mix::package::Package;
use crate::role::relay::Relay;
use crate::role::stage::{Returned, StageRole};
use crate::transport::Transport;

/// Serves one run on a rank other than 0. `host` is this machine's name. `credentials` are the identity that the rank
/// shows and the owners that it serves.
///
/// # Errors
/// [`RunError`]. Where the error is not [orderly](RunError::is_orderly), the caller must abort the run on all ranks.
pub fn run(transport: &mut dyn Transport, host: &str, credentials: &Credentials) -> Result<(), RunError> {
    run_watched(transport, host, credentials, &mut ())
}

/// Looks over the shoulder of a rank that serves. An audit does, as it must know what it tries to find out; so do
/// tests.
pub trait Insight {
    /// The rank has opened its package of `term`. What this changes in the package, the rank works with.
    fn package(&mut self, _term: Term, _package: &mut Package) {}

    /// A slot is over. `real` says whether the rank's forward and backward messages were more than cover.
    fn slot(&mut self, _term: Term, _slot: Slot, _real: [bool; 2]) {}
}

impl Insight for () {}

/// Does what [`run`] does, on a rank that changes its packages by `altered`. For tests of what a hostile rank can do.
///
/// # Errors
/// As [`run`].
#[cfg(feature = "hostile")]
pub fn run_altered(
    transport: &mut dyn Transport,
    host: &str,
    credentials: &Credentials,
    altered: &mut dyn FnMut(Term, &mut Package),
) -> Result<(), RunError> {
    struct Altered<'a>(&'a mut dyn FnMut(Term, &mut Package));
    impl Insight for Altered<'_> {
        fn package(&mut self, term: Term, package: &mut Package) {
            (self.0)(term, package);
        }
    }
    run_watched(transport, host, credentials, &mut Altered(altered))
}

/// Does what [`run`] does, and tells `insight` what happens.
///
/// # Errors
/// As [`run`].
pub fn run_watched(
    transport: &mut dyn Transport,
    host: &str,
    credentials: &Credentials,
    insight: &mut dyn Insight,
) -> Result<(), RunError> {
    let public = receive_opening(transport)?;
    match platform::choose(public.compute, Standing::of(transport, public.pacing)) {
        Ok((Chosen::Cpu(backend), _)) => serve(transport, host, credentials, &public, backend, insight),
        #[cfg(feature = "cuda")]
        Ok((Chosen::Cuda(backend), _)) => serve(transport, host, credentials, &public, backend, insight),
        Err(error) => Err(refusal::decline(transport, &public, error)),
    }
}

/// Takes no part in a run, for the reason `why`. Returns what this rank ends with, once all have heard that there is no
/// run.
pub fn decline(transport: &mut dyn Transport, why: RunError) -> RunError {
    match receive_opening(transport) {
        Ok(public) => refusal::decline(transport, &public, why),
        Err(RunError::Refused { code }) => RunError::Told { why: Box::new(why), code },
        Err(_) => why,
    }
}

/// Serves the run of these `public` numbers with `backend`, term by term (docs/PROTOCOL.md, 4.3 to 14.5).
fn serve<B: Platform>(
    transport: &mut dyn Transport,
    host: &str,
    credentials: &Credentials,
    public: &Public,
    backend: Arc<B>,
    insight: &mut dyn Insight,
) -> Result<(), RunError> {
    let aead = platform::library(public);
    let introduction = Introduction { host, fingerprint: &backend.fingerprint(), threads: backend.threads(), aead };
    let mut desk = Desk::new(credentials)?;
    let mut first = Some(receive_package(transport, public, &mut desk, public.term, &introduction)?);
    // Until a package has opened, the public numbers may be anyone's. So no memory is taken by them before that.
    let mut seat = Seat::new(Arc::clone(&backend), aead, public)?;
    let mut stage: Option<StageRole<B>> = None;
    let mut term = public.term;
    loop {
        // 4.3 to 4.7: the rank announces a key, and opens the package that is sealed to it.
        let mut package = match first.take() {
            Some(package) => package,
            None => receive_package(transport, public, &mut desk, term, &introduction)?,
        };
        // 4.9: in the first term, what stages start from follows the packages, for relays zeros.
        let given = match term == public.term {
            true => receive_start(transport, public, &package, aead)?,
            false => None,
        };
        insight.package(term, &mut package);
        let told = std::mem::take(&mut package.role);
        // 5.5: the stage is read from the role in its first slot, so that its host is ready no later than a relay.
        if role::is_stage(&told) {
            let (message, paced, public) =
                (public.geometry.message(), public.pacing != Pacing::Lockstep, public.clone());
            stage = Some(StageRole::new(move || role::read(&told, given, &public), message, paced));
        }
        let (psk, owner) = (package.result, package.owner);
        let mut courier = seat.courier(transport.lanes(), public, package.route, term)?;
        let mut after = |over: seat::Over| insight.slot(term, over.slot, over.real);
        // 8: the slots of the term, until the owner's beat ends it.
        let ended = match &mut stage {
            Some(stage) => {
                stage.begin();
                seat.run_slots(transport.lanes(), courier.as_mut(), stage, None, &mut after)?
            }
            None => seat.run_slots(transport.lanes(), courier.as_mut(), &mut Relay, None, &mut after)?,
        };
        // 16.2: the owner has said stop, so that no results follow.
        if let Order::Stop(reason) = ended.order {
            return Err(RunError::Stopped { code: code_of(reason) });
        }
        let mut fault = ended.fault.map(|noticed| noticed.fault);
        // 9.3: the owner's last word says what follows the results.
        let data = match ended.order {
            Order::TermEnds { returns, .. } | Order::RunEnds { returns, .. } => returns,
            Order::GoOn | Order::Stop(_) | Order::Keep(_) => StageData::Nothing,
        };
        // 14.1: a fault is told in the result. That of the stage's own work is told in the same way, and what it returns is then of no
        // use.
        let of_stage = stage.as_mut().filter(|_| fault.is_none()).map(|stage| stage.returned(&*backend, data));
        let of_stage = of_stage.transpose().map(Option::flatten).unwrap_or_else(|error| {
            let slot = Slot(ended.slots.saturating_sub(1));
            fault = Some(Fault { slot, phase: Phase(0), peer: transport.rank(), reason: error.reason() });
            None
        });
        let returned = TermResult { timing: seat::numbers(&seat.timing), fault, key: Key::random()? };
        let binding = public.binding(term, transport.rank(), transport.ranks());
        let blob = result::write(&returned, ended.slots, (owner.as_slice(), &psk), &mut desk, &binding)?;
        // 14.3: under a pace results wait, so that a stage's host is no later with them than a relay.
        seat.wait_for_results(ended.over);
        transport.letters().gather(&blob)?;
        // 14.4: what the stage returns follows in pieces, from a relay as many zeros.
        let pieces = public.pieces(data);
        let end = result::end(pieces, aead, &returned.key, &binding);
        let bytes = of_stage.as_ref().map(Returned::bytes).unwrap_or_default();
        for number in 0..pieces.count {
            transport.letters().gather(&end.write(number, bytes)?)?;
        }
        drop(of_stage);
        // 14.5: the verdict says with which code all ranks end, or that the run goes on.
        let heard = receive_verdict(transport, public, &psk, term);
        match (ended.order, heard) {
            // Nothing more is due from this rank, so it ends alone: an abort could only cost the owner its model.
            (Order::RunEnds { .. }, Err(error @ RunError::Sealed { .. })) => {
                let code = error.exit_code();
                return Err(RunError::Told { why: Box::new(error), code });
            }
            (Order::RunEnds { .. }, heard) => return heard,
            (_, heard) => heard?,
        }
        term.0 += 1;
    }
}

/// Waits for the opening and takes the public numbers from it (docs/PROTOCOL.md, 4.1). From then on this rank waits for
/// its peers as long as they say.
fn receive_opening(transport: &mut dyn Transport) -> Result<Public, RunError> {
    let public = loop {
        let message = transport.letters().scatter(&[], opening::LENGTH)?;
        if let Some(code) = refused(&message) {
            return Err(RunError::Refused { code });
        }
        match opening::read(&message) {
            Some(Opening::Coming) => {}
            // There is nothing left to do.
            Some(Opening::Refused(0)) => return Err(RunError::Refused { code: 0 }),
            Some(Opening::Start(public)) if public.version == VERSION && public.fits(transport.ranks()) => {
                break public;
            }
            _ => return Err(RunError::Unreadable { what: "the opening", from: Rank::OWNER }),
        }
    };
    transport.set_timeout(Duration::from_millis(public.timeout));
    transport.share_memory(public.windows);
    Ok(public)
}

/// Announces a fresh key for the term, and opens the package that comes for it (docs/PROTOCOL.md, 4.3 to 4.7).
fn receive_package(
    transport: &mut dyn Transport,
    public: &Public,
    desk: &mut Desk<'_>,
    term: Term,
    introduction: &Introduction<'_>,
) -> Result<Package, RunError> {
    let binding = public.binding(term, transport.rank(), transport.ranks());
    let asked = announcement::write(introduction, desk, &binding)?;
    transport.letters().gather(&asked.bytes)?;
    let signed = transport.letters().scatter(&[], package::length(public))?;
    match refused(&signed) {
        Some(code) => Err(RunError::Refused { code }),
        None => package::read(&signed, asked, desk, public, &binding),
    }
}

/// Receives what this rank's stage starts from (docs/PROTOCOL.md, 4.9). A rank without a stage gets zeros, and keeps none of
/// them. `None` for it, and where all is drawn from seeds.
fn receive_start(
    transport: &mut dyn Transport,
    public: &Public,
    package: &Package,
    library: Library,
) -> Result<Option<Joined>, RunError> {
    let pieces = start::pieces(public);
    let binding = public.binding(public.term, transport.rank(), transport.ranks());
    let end = start::end(public, library, &package.result, &binding);
    let mut joined = match pieces.count > 0 && role::is_stage(&package.role) {
        true => Some(Joined::new(pieces)?),
        false => None,
    };
    let mut plain = pieces.room()?;
    for number in 0..pieces.count {
        let piece = transport.letters().scatter(&[], pieces.length())?;
        end.read(number, &piece, &mut plain)?;
        joined.iter_mut().for_each(|joined| joined.take(&plain));
    }
    Ok(joined)
}

/// Waits for the verdict that the owner gives when it has all results, and has written down what it must (docs/PROTOCOL.md, 14.5).
///
/// # Errors
/// [`RunError::Stopped`] where the run has failed; [`RunError::Transport`], [`RunError::Sealed`].
fn receive_verdict(transport: &mut dyn Transport, public: &Public, psk: &Key, term: Term) -> Result<(), RunError> {
    for number in 0.. {
        let verdict = transport.letters().scatter(&[], verdict::LENGTH)?;
        match verdict::read(&verdict, number, psk, &public.binding(term, transport.rank(), transport.ranks()))? {
            verdict::WAIT => {}
            0 => break,
            code => return Err(RunError::Stopped { code }),
        }
    }
    Ok(())
}
