//! Which vector instructions loops and products use: the best that the processor has, or those that [`VARIABLE`] names.
//!
//! Nothing else of a processor has a say in the bits of a result.

use std::ffi::OsStr;

use pulp::Arch;

use crate::compute::ComputeError;

/// Names an instruction set in the environment. It is not a key of the job: which sets there are is a matter of each rank's machine.
const VARIABLE: &str = "MIXNN_SIMD";

/// Those that this processor has, the best first.
pub(super) fn there() -> Vec<Arch> {
    let mut sets = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        sets.extend(pulp::x86::V4::try_new().map(Arch::V4));
        sets.extend(pulp::x86::V3::try_new().map(Arch::V3));
    }
    #[cfg(target_arch = "aarch64")]
    sets.extend(pulp::aarch64::Neon::try_new().map(Arch::Neon));
    sets.push(Arch::Scalar);
    sets
}

/// What [`VARIABLE`] and a fingerprint call it.
pub(super) fn name(simd: Arch) -> &'static str {
    match simd {
        #[cfg(target_arch = "x86_64")]
        Arch::V4(_) => "avx512",
        #[cfg(target_arch = "x86_64")]
        Arch::V3(_) => "avx2",
        #[cfg(target_arch = "aarch64")]
        Arch::Neon(_) => "neon",
        _ => "scalar",
    }
}

/// The set to use.
///
/// # Errors
/// [`ComputeError::Simd`]: the environment names one that the processor lacks.
pub(super) fn chosen() -> Result<Arch, ComputeError> {
    of(std::env::var_os(VARIABLE).as_deref())
}

/// The set that is called `said`; the best where nothing is said.
fn of(said: Option<&OsStr>) -> Result<Arch, ComputeError> {
    let sets = there();
    let wanted = |set: &&Arch| said.is_none_or(|said| said.is_empty() || said == name(**set));
    sets.iter().find(wanted).copied().ok_or_else(|| ComputeError::Simd {
        variable: VARIABLE,
        said: said.unwrap_or_default().to_string_lossy().into_owned(),
        there: sets.iter().map(|set| name(*set)).collect::<Vec<_>>().join(", "),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_set_is_found_by_its_name_and_the_best_without() {
        for set in there() {
            assert_eq!(name(of(Some(OsStr::new(name(set)))).unwrap()), name(set));
        }
        for nothing in [None, Some(OsStr::new(""))] {
            assert_eq!(name(of(nothing).unwrap()), name(there()[0]));
            assert_eq!(name(there()[0]), name(Arch::new()));
        }
        let told = of(Some(OsStr::new("avx1024"))).unwrap_err().to_string();
        assert!(
            told.starts_with("MIXNN_SIMD is \"avx1024\"; this processor has ") && told.contains("scalar"),
            "{told}"
        );
    }
}
