//! Which vector instructions loops and products use: the best that the processor has, or those that the environment variable
//! [`VARIABLE`] names.
//!
//! Nothing else about a processor affects the bits of a result.

use std::ffi::OsStr;

use pulp::Arch;

use crate::compute::ComputeError;

/// The environment variable that names an instruction set. It is not a key of the job, because each rank's machine has its own
/// sets.
const VARIABLE: &str = "MIXNN_SIMD";

/// The instruction sets that this processor has, the best first. The scalar one is always there.
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

/// The name of an instruction set, as [`VARIABLE`] and fingerprints have it.
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

/// The instruction set to use in this process.
///
/// # Errors
/// [`ComputeError::Simd`] if the environment names a set that the processor lacks.
pub(super) fn chosen() -> Result<Arch, ComputeError> {
    of(std::env::var_os(VARIABLE).as_deref())
}

/// The instruction set named `said`, or the best one if nothing is said.
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
