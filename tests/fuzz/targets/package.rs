//! Packages, with the role in them: what a rank accepts it can work from, and is read again as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mixnn::job::Profile;
use mixnn::run::fuzzing::package;

fuzz_target!(|bytes: &[u8]| {
    let seats = [(Profile::Mixed, 3, 7), (Profile::Mixed, 3, 8), (Profile::Sealed, 1, 2), (Profile::Bare, 1, 3)];
    for (profile, rank, ranks) in seats {
        if let Some(written) = package(bytes, profile, rank, ranks) {
            assert_eq!(written.len(), bytes.len());
            assert_eq!(package(&written, profile, rank, ranks), Some(written));
        }
    }
});
