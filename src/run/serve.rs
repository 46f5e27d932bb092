//! A run as every rank but the owner sees it: from the public numbers and its package alone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::kept::results::VERSION;
use super::letters::announcement::{self, Introduction};
use super::letters::opening::{self, Opening, Public};
use super::letters::result::{self, Returned};
use super::letters::start::{self, Pieces};
use super::letters::{Desk, package, role, verdict};
use super::platform::{self, Chosen, Platform, Standing};
use super::refusal::{self, refused};
use super::seat::{self, Seat};
use super::trust::Credentials;
use super::{RunError, code_of};
use crate::crypto::aead::Library;
use crate::crypto::key::Key;
use crate::ids::{Phase, Rank, Slot, Term};
use crate::mix::beat::{Fault, Order};
use crate::mix::package::Package;
use crate::role::relay::Relay;
use crate::role::stage::StageRole;
use crate::transport::Transport;

/// Serves one run on a rank other than 0; `host` is this machine's name, `credentials` what it shows of itself and the owners
/// that it serves.
///
/// # Errors
/// [`RunError`]. The caller ends the run on all ranks, but for [`RunError::Refused`], which all ranks have heard.
pub fn run(transport: &mut dyn Transport, host: &str, credentials: &Credentials) -> Result<(), RunError> {
    run_watched(transport, host, credentials, &mut ())
}

/// Who looks over the shoulder of a rank that serves: an audit, which must know what it tries to tell, or a test.
pub trait Insight {
    /// The rank has opened its package.
    fn package(&mut self, _term: Term, _package: &mut Package) {}

    /// A slot is over. `real`: whether the rank's forward and backward messages were more than cover.
    fn slot(&mut self, _term: Term, _slot: Slot, _real: [bool; 2]) {}
}

impl Insight for () {}

/// As [`run`], on a rank that does with its packages what `altered` does: for tests of what a hostile rank can do.
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

/// As [`run`], with `insight` over its shoulder.
///
/// # Errors
/// As [`run`].
pub fn run_watched(
    transport: &mut dyn Transport,
    host: &str,
    credentials: &Credentials,
    insight: &mut dyn Insight,
) -> Result<(), RunError> {
    let public = hear(transport)?;
    match platform::choose(public.compute, Standing::of(transport, public.pacing)) {
        Ok((Chosen::Cpu(backend), _)) => serve(transport, host, credentials, &public, backend, insight),
        #[cfg(feature = "cuda")]
        Ok((Chosen::Cuda(backend), _)) => serve(transport, host, credentials, &public, backend, insight),
        Err(error) => Err(refusal::decline(transport, &public, error)),
    }
}

/// Takes no part in a run, for `why`; what this rank ends with when all have heard that there is none.
pub fn decline(transport: &mut dyn Transport, why: RunError) -> RunError {
    match hear(transport) {
        Ok(public) => refusal::decline(transport, &public, why),
        Err(RunError::Refused { code }) => RunError::Told { why: Box::new(why), code },
        Err(_) => why,
    }
}

/// Serves the run of these public numbers with `backend`.
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
    let mut first = Some(announce(transport, public, &mut desk, public.term, &introduction)?);
    // No memory is taken by the public numbers before a package has opened, which shows that they are the owner's.
    let mut seat = Seat::new(Arc::clone(&backend), aead, public)?;
    let mut stage: Option<StageRole<B>> = None;
    let mut term = public.term;
    loop {
        let mut package = match first.take() {
            Some(package) => package,
            None => announce(transport, public, &mut desk, term, &introduction)?,
        };
        let given = match term == public.term {
            true => receive_values(transport, public, &package.result, aead)?,
            false => Zeroizing::default(),
        };
        insight.package(term, &mut package);
        let told = std::mem::take(&mut package.role);
        if role::is_stage(&told) {
            let (message, public) = (public.geometry.message(), public.clone());
            stage = Some(StageRole::new(move || role::read(&told, &given, &public), message));
        }
        let (psk, owner) = (package.result, package.owner);
        let mut courier = seat.courier(transport.lanes(), public, package.route, term)?;
        let mut after = |over: seat::Over| insight.slot(term, over.slot, over.real);
        let ended = match &mut stage {
            Some(stage) => {
                stage.begin();
                seat.slots(transport.lanes(), courier.as_mut(), stage, None, &mut after)?
            }
            None => seat.slots(transport.lanes(), courier.as_mut(), &mut Relay, None, &mut after)?,
        };
        let over = Instant::now();
        if let Order::Stop(reason) = ended.order {
            return Err(RunError::Stopped { code: code_of(reason) });
        }
        let mut fault = ended.fault.map(|noticed| noticed.fault);
        // A fault is told like that of any rank, whoever hosts a stage; values are then of no use.
        let values = match stage.as_mut().filter(|_| fault.is_none()).map(|stage| stage.values(&*backend)) {
            Some(Ok(values)) => values,
            Some(Err(error)) => {
                let slot = Slot(ended.slots.saturating_sub(1));
                fault = Some(Fault { slot, phase: Phase(0), peer: transport.rank(), reason: error.reason() });
                Vec::new()
            }
            None => Vec::new(),
        };
        let returned = Returned { timing: seat::numbers(&seat.timing), values, fault };
        let binding = public.binding(term, transport.rank(), transport.ranks());
        let (bytes, to) = (public.result as usize, (owner.as_slice(), &psk));
        let blob = result::write(&returned, bytes, ended.slots, to, &mut desk, &binding)?;
        seat.rest(over);
        transport.letters().gather(&blob)?;
        let heard = hear_verdict(transport, public, &psk, term);
        match (ended.order, heard) {
            // Nothing more is due from this rank: to end the run by force could only cost the owner its model.
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

/// The public numbers of the run, by which this rank and the owner wait for each other from now on.
fn hear(transport: &mut dyn Transport) -> Result<Public, RunError> {
    let public = loop {
        let message = transport.letters().scatter(&[], opening::LENGTH)?;
        if let Some(code) = refused(&message) {
            return Err(RunError::Refused { code });
        }
        match opening::read(&message) {
            Some(Opening::Coming) => {}
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

/// Announces a key for the term, and opens the package that comes for it.
fn announce(
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

/// The values that the stage of this rank starts from, and zeros; nothing where the job names none. A rank without a stage gets as many.
fn receive_values(
    transport: &mut dyn Transport,
    public: &Public,
    psk: &Key,
    library: Library,
) -> Result<Zeroizing<Vec<u8>>, RunError> {
    let pieces = Pieces::of(public);
    let binding = public.binding(public.term, transport.rank(), transport.ranks());
    let (end, mut all) = (start::End::new(pieces, library, psk, &binding), pieces.room()?);
    for number in 0..pieces.count {
        let piece = transport.letters().scatter(&[], pieces.length())?;
        end.read(number, &piece, &mut all)?;
    }
    Ok(all)
}

/// What the owner says when it has all results.
///
/// # Errors
/// [`RunError::Stopped`]: that the run has failed. [`RunError::Transport`], [`RunError::Sealed`].
fn hear_verdict(transport: &mut dyn Transport, public: &Public, psk: &Key, term: Term) -> Result<(), RunError> {
    let verdict = transport.letters().scatter(&[], verdict::LENGTH)?;
    match verdict::read(&verdict, psk, &public.binding(term, transport.rank(), transport.ranks()))? {
        0 => Ok(()),
        code => Err(RunError::Stopped { code }),
    }
}
