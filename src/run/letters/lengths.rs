//! How long messages and letters are (docs/PROTOCOL.md, 3). The owner computes it once for a job and a number of ranks,
//! and hands it on.

use super::encoded_length;
use crate::crypto::hpke;
use crate::job::Mix;
use crate::mix::geometry::rounded_up;
use crate::nn::{StageSpec, snapshot};
use crate::run::RunError;

/// How many bytes a message or a package may have at most. MPI counts bytes in a C int.
pub(in crate::run) const LONGEST: u64 = 1 << 30;
/// How many bytes the values or the state may have that follow a result. They travel in pieces.
pub(in crate::run) const MOST_VALUES: u64 = 1 << 40;

/// What a job's stages on ranks need of messages and letters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::run) struct Needs {
    /// How many bytes the longest message has.
    pub(in crate::run) message: u64,
    /// How many bytes the longest encoded role has.
    pub(in crate::run) role: usize,
    /// How many bytes the values of the stage have that has most.
    pub(in crate::run) values: u64,
    /// How many bytes the longest state has that a stage goes on from.
    pub(in crate::run) state: u64,
}

/// How long messages and letters are, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lengths {
    /// Bytes of a message, before the length is rounded up.
    pub message: u64,
    /// Bytes of a package before it is sealed.
    pub package: u64,
    /// Bytes of the values that follow a result, of all pieces together, before they are sealed.
    pub result: u64,
    /// Bytes of the state that follows a result where a checkpoint is due, of all pieces together, before they are sealed.
    pub state: u64,
}

impl Needs {
    /// What the stages `remote` need. Their longest message has `message` bytes.
    ///
    /// # Errors
    /// [`RunError::Bug`] where a spec cannot be encoded.
    pub(in crate::run) fn of(message: u64, remote: &[StageSpec]) -> Result<Self, RunError> {
        let role = remote.iter().map(encoded_length).try_fold(0, |most, role| Ok::<_, RunError>(role?.max(most)))?;
        let values = remote.iter().map(snapshot::values_length).max().unwrap_or(0);
        let state = remote.iter().map(snapshot::length).max().unwrap_or(0);
        Ok(Self { message, role, values, state })
    }

    /// The lengths that these needs come to among `ranks` ranks, with circuits of `hops` hops.
    pub(in crate::run) fn lengths(&self, ranks: u16, hops: u8) -> Lengths {
        Lengths {
            message: self.message,
            package: package(ranks, hops, self.role),
            result: rounded_up(self.values),
            state: rounded_up(self.state),
        }
    }
}

impl Lengths {
    /// Takes the lengths that the job names where they are longer.
    ///
    /// # Errors
    /// [`RunError::TooLong`] where one of them is too long to travel.
    pub(in crate::run) fn at_least(self, mix: &Mix) -> Result<Self, RunError> {
        let lengths = Self {
            message: self.message.max(mix.message.into()),
            package: self.package.max(mix.package.into()),
            result: self.result.max(mix.result),
            state: self.state.max(mix.state),
        };
        let split = "split the largest stage, or take a smaller mix.result";
        let split_state = "split the largest stage, or take a smaller mix.state";
        let shorter = "split the stage with the most operations, or take a smaller mix.package";
        for (what, bytes, most, fix) in [
            ("a rank's result", lengths.result, MOST_VALUES, split),
            ("a rank's state", lengths.state, MOST_VALUES, split_state),
            ("a rank's package", lengths.package, LONGEST, shorter),
            ("a message", lengths.message, LONGEST, "take a smaller micro_batch"),
        ] {
            if bytes > most {
                return Err(RunError::TooLong { what, bytes, most, fix });
            }
        }
        Ok(lengths)
    }
}

/// How many bytes a package has before it is sealed, among `ranks` ranks, with circuits of `hops` hops and a role of
/// `role` bytes at most (docs/PROTOCOL.md, 3.10).
fn package(ranks: u16, hops: u8, role: usize) -> u64 {
    let lanes = usize::from(ranks);
    // In postcard a rank or a length takes up to 3 bytes, the length of the role up to 10.
    let circuits = lanes * (8 + 32 * usize::from(hops));
    let links = 3 + lanes * 33;
    let next = usize::from(hops) * (3 + 3 * lanes);
    let arrivals = lanes * 4;
    let fixed = 128 + hpke::PUBLIC_KEY;
    rounded_up((fixed + links + circuits + next + arrivals + role) as u64)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use zeroize::Zeroizing;

    use super::*;
    use crate::crypto::key::Key;
    use crate::ids::Rank;
    use crate::mix::package::{MixedRoute, OwnCircuit, Package, Route};
    use crate::run::letters::padded;

    fn lengths(role: usize, values: u64) -> Lengths {
        Needs { message: 100, role, values: 4 * values, state: 12 * values + 8 }.lengths(7, 3)
    }

    /// docs/PROTOCOL.md, 3.10 and 3.11, with the figures of its example. Few lengths are possible, so that one says
    /// little of a model.
    #[test]
    fn packages_and_results_are_rounded() {
        let due = Lengths { message: 100, package: 2560, result: 819_200, state: 2_490_368 };
        assert_eq!(lengths(73, 200_960), due);
        // From one length to its double there are 16 steps.
        let some = || (100_000..200_000).step_by(100);
        assert!(some().map(|values| lengths(0, values).result).collect::<BTreeSet<u64>>().len() <= 17);
        assert!(some().map(|role| lengths(role as usize, 0).package).collect::<BTreeSet<u64>>().len() <= 17);
        // A length is at most a sixteenth longer than needed, and never too short.
        for values in (1..1_000_000).step_by(997) {
            let needed = values * 4;
            assert!((needed..=needed + needed / 16).contains(&lengths(0, values).result), "{values}");
        }
    }

    /// The longest package that there may be has room in its length, whatever the length is rounded to.
    #[test]
    fn every_package_has_room() {
        let key = || Key::from_bytes([0xff; 32]);
        for (ranks, hops) in [(3, 3), (7, 3), (64, 3), (64, 4)] {
            let lanes = usize::from(ranks) - 1;
            let circuit =
                |_| OwnCircuit { message: u8::MAX, part: u16::MAX, layers: (0..hops).map(|_| key()).collect() };
            let route = MixedRoute {
                secret: key(),
                links: (0..lanes).map(|_| Some(key())).collect(),
                circuits: (0..lanes).map(circuit).collect(),
                next: vec![vec![Rank(u16::MAX); lanes]; usize::from(hops) - 1],
                arrivals: vec![(u8::MAX, u16::MAX); lanes],
            };
            let owner = vec![0xff; hpke::PUBLIC_KEY];
            let mut longest =
                Package { route: Route::Mixed(route), role: Zeroizing::default(), result: key(), owner };
            for role in (0..4096).step_by(16) {
                longest.role = Zeroizing::new(vec![0; role]);
                let room = package(ranks, hops, role);
                assert!(padded(&longest, room as usize).is_ok(), "{ranks} ranks, {hops} hops, a role of {role}");
            }
        }
    }

    fn mix(message: u32, package: u32, result: u64, state: u64) -> Mix {
        let mut mix =
            crate::job::Job::parse("digits.toml", include_str!("../../../jobs/digits.toml"), &[]).unwrap().mix;
        (mix.message, mix.package, mix.result, mix.state) = (message, package, result, state);
        mix
    }

    #[test]
    fn a_job_may_ask_for_more() {
        let due = Lengths { message: 5000, package: 4000, result: 1 << 20, state: 1 << 22 };
        assert_eq!(lengths(73, 200_960).at_least(&mix(5000, 4000, 1 << 20, 1 << 22)).unwrap(), due);
        assert_eq!(lengths(73, 200_960).at_least(&mix(0, 0, 0, 0)).unwrap(), lengths(73, 200_960));
    }

    #[test]
    fn what_is_too_long_to_travel_is_told() {
        let most = Lengths { message: LONGEST, package: LONGEST, result: MOST_VALUES, state: MOST_VALUES };
        assert_eq!(most.at_least(&mix(0, 0, 0, 0)).unwrap(), most);
        for (lengths, what) in [
            (Lengths { message: LONGEST + 1, ..most }, "a message"),
            (Lengths { package: LONGEST + 1, ..most }, "a rank's package"),
            (Lengths { package: 1 << 40, ..most }, "a rank's package"),
            (Lengths { result: MOST_VALUES + 1, ..most }, "a rank's result"),
            (Lengths { state: MOST_VALUES + 1, ..most }, "a rank's state"),
        ] {
            let error = lengths.at_least(&mix(0, 0, 0, 0)).unwrap_err();
            assert!(error.to_string().starts_with(&format!("{what} would have")), "{error}");
            assert_eq!(error.exit_code(), 2);
        }
    }
}
