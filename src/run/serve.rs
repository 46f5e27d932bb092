//! A run as every rank but the owner sees it: from the public numbers and its package alone.

use std::time::Duration;

use zeroize::Zeroizing;

use super::opening::{
    ANNOUNCEMENT, Announcement, OPENING, Opening, Public, Returned, package_info, padded, result_info, unpadded,
};
use super::peers::{Peers, SIGNED, announcement_context, package_context};
use super::results::VERSION;
use super::seat::{self, share_of_cores};
use super::trust::Credentials;
use super::{RunError, sealed};
use crate::compute::Backend;
use crate::compute::cpu::Cpu;
use crate::crypto::hpke::{self, KeyPair};
use crate::ids::{Epoch, Rank};
use crate::mix::beat::Order;
use crate::mix::courier::{Post, Timing};
use crate::mix::package::Package;
use crate::nn::StageSpec;
use crate::role::relay::Relay;
use crate::role::stage::StageRole;
use crate::transport::Transport;

/// Serves one run on a rank other than 0; `host` is this machine's name, `credentials` what it shows of itself and the owners
/// that it serves.
///
/// # Errors
/// [`RunError`]. The caller ends the run on all ranks, but for [`RunError::Refused`], which all ranks have heard.
pub fn run<T: Transport>(transport: &mut T, host: &str, credentials: &Credentials) -> Result<(), RunError> {
    let public = hear(transport)?;
    transport.set_timeout(Duration::from_millis(public.timeout));
    transport.share_memory(public.windows);
    let backend = Cpu::new(share_of_cores(public.threads, transport.ranks_on_host()))?;
    let mut post = Post::new(|| backend.bytes(public.geometry.message()))?;
    let mut peers = Peers::new(credentials);
    let mut stage: Option<StageRole<Cpu>> = None;
    let mut timing = Timing::default();
    let mut epoch = Epoch(0);
    loop {
        let package = announce(transport, &public, &mut peers, epoch, host, &backend.fingerprint())?;
        if !package.role.is_empty() {
            let (spec, rest): (StageSpec, &[u8]) = postcard::take_from_bytes(&package.role)
                .map_err(|_| RunError::Unreadable { what: "the package", from: Rank::OWNER })?;
            if !rest.is_empty() {
                return Err(RunError::Unreadable { what: "the package", from: Rank::OWNER });
            }
            stage = Some(StageRole::new(&backend, &spec, public.geometry.message())?);
        }
        let (result, owner) = (package.result, package.owner);
        let mut courier = seat::courier(transport, &public, package.route, epoch)?;
        let (order, slots) = match &mut stage {
            Some(stage) => {
                stage.begin(epoch);
                seat::slots(transport, courier.as_mut(), &backend, stage, &mut post, &mut timing, &mut |_| {})?
            }
            None => {
                seat::slots(transport, courier.as_mut(), &backend, &mut Relay, &mut post, &mut timing, &mut |_| {})?
            }
        };
        if let Order::RunEnds { .. } = order {
            let values = stage.as_ref().map_or(Ok(Vec::new()), |stage| stage.values(&backend))?;
            let returned = Returned { timing: seat::numbers(&timing), values };
            let plain = padded(&returned, public.result as usize)?;
            let info = result_info(&public.run, transport.rank(), slots);
            let blob =
                hpke::seal(&owner, &info, Some(&result), &plain).map_err(sealed("the package", Rank::OWNER))?;
            transport.gather(&blob)?;
            return Ok(());
        }
        epoch.0 += 1;
    }
}

/// The public numbers of the run.
fn hear<T: Transport>(transport: &mut T) -> Result<Public, RunError> {
    let opening = transport.scatter(&[], OPENING)?;
    match unpadded(&opening) {
        Some(Opening::Start(public)) if public.version == VERSION => Ok(public),
        Some(Opening::Refused(code)) => Err(RunError::Refused { code }),
        _ => Err(RunError::Unreadable { what: "the opening", from: Rank::OWNER }),
    }
}

/// Makes a key pair for the epoch, announces it, and opens the package that comes for it.
fn announce<T: Transport>(
    transport: &mut T,
    public: &Public,
    peers: &mut Peers<'_>,
    epoch: Epoch,
    host: &str,
    fingerprint: &str,
) -> Result<Package, RunError> {
    let (rank, ranks, opening) = (transport.rank(), transport.ranks(), public.opening()?);
    let pair = KeyPair::generate();
    let announcement = padded(&Announcement::new(epoch, pair.public(), host, fingerprint), ANNOUNCEMENT)?.to_vec();
    transport.gather(&peers.sign(&announcement_context(&opening, epoch, rank, ranks), announcement))?;
    let signed = transport.scatter(&[], public.package as usize + hpke::OVERHEAD + SIGNED)?;
    let context = package_context(&opening, epoch, rank, ranks, pair.public());
    let package = peers.recognise("the package", Rank::OWNER, &context, &signed)?;
    let info = package_info(&public.run, epoch, rank, public.geometry.ranks);
    let plain = Zeroizing::new(pair.open(&info, None, package).map_err(sealed("the package", Rank::OWNER))?);
    unpadded(&plain).ok_or(RunError::Unreadable { what: "the package", from: Rank::OWNER })
}
