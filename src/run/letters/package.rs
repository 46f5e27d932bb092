//! The package: what the owner tells a rank of its part at the start of a term, sealed to the key that the rank has
//! announced (docs/PROTOCOL.md, 5).

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::announcement::{Announced, Asked};
use super::opening::Public;
use super::peers::SIGNED;
use super::{Binding, Desk, padded, unpadded};
use crate::crypto::{hpke, labels};
use crate::ids::Rank;
use crate::job::Profile;
use crate::mix::package::{Package, Route};
use crate::run::{RunError, sealed};

/// What a package is called in errors.
const WHAT: &str = "the package";

/// How many bytes a package has as it travels, signature and all.
pub(in crate::run) fn length(public: &Public) -> usize {
    public.package as usize + hpke::OVERHEAD + SIGNED
}

/// What a package is sealed for, HPKE's `info` (docs/PROTOCOL.md, 5.2). It says for whom the package is, and what owner
/// and rank have said before. So it opens only where each has heard the other as it spoke. `announcement` is the
/// rank's, as it travelled.
pub(in crate::run) fn info(binding: &Binding<'_>, announcement: &[u8]) -> Vec<u8> {
    let mut info = binding.sealed(labels::PACKAGE);
    // Two ranks have the lengths of three.
    info.extend_from_slice(&binding.ranks.max(3).to_le_bytes());
    info.extend_from_slice(binding.opening);
    info.extend_from_slice(&Sha256::digest(announcement));
    info
}

/// What the signature of a package covers besides its bytes (docs/PROTOCOL.md, 19.5). `key` is the public key that the
/// rank announced.
pub(in crate::run) fn context(binding: &Binding<'_>, key: &[u8]) -> Vec<u8> {
    let mut context = binding.signed(labels::PACKAGE);
    context.extend_from_slice(&Sha256::digest(key));
    context
}

/// Seals `package` to the key of the rank that has `announced` itself, and signs it. It has `bytes` bytes before it is
/// sealed.
///
/// # Errors
/// [`RunError::Bug`] where it does not fit, [`RunError::Memory`]; [`RunError::Sealed`].
pub(in crate::run) fn write(
    package: &Package,
    bytes: usize,
    announced: &Announced,
    desk: &mut Desk<'_>,
    binding: &Binding<'_>,
) -> Result<Vec<u8>, RunError> {
    let plain = padded(package, bytes)?;
    let key = &announced.says.key;
    let package = hpke::seal(&mut desk.stack, key, &info(binding, &announced.bytes), None, &plain);
    let package = package.map_err(sealed("the key announcement", binding.rank))?;
    Ok(desk.peers.sign(&context(binding, key), package))
}

/// Opens the package in `signed`, for which the rank has `asked`, and wipes the rank's private key. Returns it where
/// the rank can work from it in a run of these `public` numbers.
///
/// # Errors
/// [`TrustError`](crate::run::TrustError) for the owner's identity; [`RunError::Sealed`], [`RunError::Unreadable`].
pub(in crate::run) fn read(
    signed: &[u8],
    asked: Asked,
    desk: &mut Desk<'_>,
    public: &Public,
    binding: &Binding<'_>,
) -> Result<Package, RunError> {
    let Asked { bytes, pair } = asked;
    let package = desk.peers.recognise(WHAT, Rank::OWNER, &context(binding, pair.public()), signed)?;
    let opened = pair.open(&mut desk.stack, &info(binding, &bytes), None, package);
    drop(pair);
    let plain = Zeroizing::new(opened.map_err(sealed(WHAT, Rank::OWNER))?);
    handed(&plain, public, binding.rank, binding.ranks).ok_or(RunError::Unreadable { what: WHAT, from: Rank::OWNER })
}

/// Reads the opened package in `plain`. `None` where `rank`, one of `ranks`, cannot work from it in a run of these
/// `public` numbers.
pub(in crate::run) fn handed(plain: &[u8], public: &Public, rank: Rank, ranks: u16) -> Option<Package> {
    let package: Package = unpadded(plain)?;
    let mixed = matches!(package.route, Route::Mixed(_));
    let fits = mixed == (public.profile == Profile::Mixed) && package.route.fits(&public.geometry, rank, ranks);
    fits.then_some(package)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;
    use crate::crypto::key::Key;
    use crate::ids::Term;
    use crate::mix::package::{TermSecrets, direct_routes, mixed_routes};
    use crate::mix::plan::Plan;
    use crate::run::letters::opening::tests::public;

    /// A package that the owner has signed and sealed may still be for another profile, or for another rank.
    #[test]
    fn a_package_is_taken_where_the_rank_can_work_from_it_in_its_run() {
        let hosts: Vec<u32> = (0..7).collect();
        let plan = Plan::draw(3, 3, &hosts, &mut StdRng::seed_from_u64(1)).unwrap();
        let secrets = TermSecrets::draw(7).unwrap();
        let mixed = mixed_routes(&plan, secrets, &[1; 32], Term(0), |_, _| true).swap_remove(2);
        let direct = direct_routes(&[Rank(2)], 3).unwrap().swap_remove(2);
        let plain = |route| {
            let package =
                Package { route, owner: vec![1], result: Key::from_bytes([2; 32]), role: Zeroizing::default() };
            padded(&package, 1 << 14).unwrap()
        };
        let (mixed, direct) = (plain(mixed), plain(direct));
        let taken =
            |plain: &[u8], profile, rank| handed(plain, &Public { profile, ..public() }, Rank(rank), 7).is_some();
        assert!(taken(&mixed, Profile::Mixed, 2));
        // Of another profile, of another rank, torn.
        assert!(!taken(&mixed, Profile::Sealed, 2) && !taken(&direct, Profile::Mixed, 2));
        assert!(!taken(&mixed, Profile::Mixed, 3) && !taken(&mixed[..100], Profile::Mixed, 2));
        assert!(taken(&direct, Profile::Sealed, 2));
    }
}
