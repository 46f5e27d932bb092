//! Who stands behind the ranks of a run: what owner and ranks sign at the start of a term, and what they accept
//! (docs/PROTOCOL.md, "Identities").
//!
//! This module knows nothing of what is inside a message. A message has the same length whether it is signed or not.

use std::collections::BTreeMap;

use crate::crypto::identity::{IDENTITY, PublicIdentity, SIGNATURE};
use crate::ids::Rank;
use crate::run::trust::{Credentials, TrustEntry, TrustError};

/// How many bytes follow a message: its sender's identity and signature, or zeros where it shows none.
pub(in crate::run) const SIGNED: usize = IDENTITY + SIGNATURE;

/// The other ranks, as one rank knows them.
pub(in crate::run) struct Peers<'a> {
    /// What this rank shows of itself, and whom it accepts.
    credentials: &'a Credentials,
    /// The ranks whose signatures were accepted in this run, each with the line of the trust file that names it. This
    /// lasts through all terms.
    met: BTreeMap<Rank, &'a TrustEntry>,
}

impl<'a> Peers<'a> {
    /// The peers of a process with these `credentials`. It knows none of them yet.
    pub(in crate::run) fn new(credentials: &'a Credentials) -> Self {
        Self { credentials, met: BTreeMap::new() }
    }

    /// Appends this rank's identity and its signature of `context` and `message`, [`SIGNED`] bytes. Without an identity
    /// it appends zeros.
    pub(in crate::run) fn sign(&self, context: &[u8], mut message: Vec<u8>) -> Vec<u8> {
        let (identity, signature) = match &self.credentials.identity {
            Some(identity) => (*identity.public().bytes(), identity.sign(&[context, &message].concat())),
            None => ([0; IDENTITY], [0; SIGNATURE]),
        };
        message.extend_from_slice(&identity);
        message.extend_from_slice(&signature);
        message
    }

    /// Checks `signed`, the letter that errors call `what`, from `from`. Returns the message in it, where that rank is
    /// accepted and has signed the message for `context` (docs/PROTOCOL.md, 19.6).
    ///
    /// # Errors
    /// With a trust file: [`TrustError::Unsigned`], [`TrustError::Unknown`], [`TrustError::Signature`],
    /// [`TrustError::Changed`]. Without one: [`TrustError::Garbled`].
    pub(in crate::run) fn recognise<'m>(
        &mut self,
        what: &'static str,
        from: Rank,
        context: &[u8],
        signed: &'m [u8],
    ) -> Result<&'m [u8], TrustError> {
        let (message, behind) = signed.split_at(signed.len().saturating_sub(SIGNED));
        let shown = behind.split_first_chunk::<IDENTITY>();
        let shown = shown.and_then(|(identity, signature)| Some((identity, signature.first_chunk::<SIGNATURE>()?)));
        let Some(trust) = &self.credentials.trust else {
            // Without a trust file everybody is accepted. But a signature that is shown must be right, and without an
            // identity there must be none.
            let right = shown.is_some_and(|(identity, signature)| match PublicIdentity::from_bytes(identity) {
                _ if *identity == [0; IDENTITY] => *signature == [0; SIGNATURE],
                Ok(shown) => shown.verify(&[context, message].concat(), signature).is_ok(),
                Err(_) => false,
            });
            return if right { Ok(message) } else { Err(TrustError::Garbled { what, from }) };
        };
        let Some((identity, signature)) = shown.filter(|(identity, _)| **identity != [0; IDENTITY]) else {
            return Err(TrustError::Unsigned { what, from, path: trust.path.clone() });
        };
        let Some(line) = trust.line(identity) else {
            let found = identity.iter().map(|byte| format!("{byte:02x}")).collect();
            return Err(TrustError::Unknown { from, found, path: trust.path.clone() });
        };
        line.identity.verify(&[context, message].concat(), signature).map_err(|_| TrustError::Signature {
            what,
            from,
            identity: line.identity,
            host: line.host.clone(),
        })?;
        let before = self.met.entry(from).or_insert(line).identity;
        match before == line.identity {
            true => Ok(message),
            false => Err(TrustError::Changed { from, found: line.identity, before }),
        }
    }

    /// Checks that `from`, which says that it runs on `host`, belongs there by its line of the trust file.
    ///
    /// # Errors
    /// [`TrustError::WrongHost`].
    pub(in crate::run) fn check_belongs(&self, from: Rank, host: &str) -> Result<(), TrustError> {
        match (self.met.get(&from), &self.credentials.trust) {
            (Some(line), Some(trust)) if line.host != host => Err(TrustError::WrongHost {
                from,
                found: host.to_owned(),
                expected: line.host.clone(),
                path: trust.path.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// Gives each rank a label; ranks with equal labels are one trust domain (docs/PROTOCOL.md, 4.5). `hosts` are the
    /// hosts that the ranks name, by rank. Where ranks have to show identities, the domain is the identity, as a host
    /// could call itself anything.
    pub(in crate::run) fn domains<'h>(&self, hosts: impl Iterator<Item = &'h str>) -> Vec<u32> {
        let own = self.credentials.identity.as_ref().map(|identity| identity.public().to_string());
        let mut known: Vec<String> = Vec::new();
        let label = |(rank, host): (u16, &str)| {
            let name = match (&self.credentials.trust, self.met.get(&Rank(rank))) {
                (None, _) => host.to_owned(),
                (Some(_), Some(line)) => line.identity.to_string(),
                // This is the owner, which nobody had to accept.
                (Some(_), None) => own.clone().unwrap_or_default(),
            };
            let place = known.iter().position(|known| *known == name);
            place.unwrap_or_else(|| {
                known.push(name);
                known.len() - 1
            }) as u32
        };
        (0..).zip(hosts).map(label).collect()
    }
}
