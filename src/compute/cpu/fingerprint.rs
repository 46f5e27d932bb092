//! What the bits of a product depend on besides the program: `gemm` chooses its kernel by the instruction set and its
//! blocks by the cache sizes.

use gemm_common::cache::CACHE_INFO;
use pulp::Arch;

/// `cpu/<vector instructions>/<L1d>-<L2>-<L3 bytes>`, as gemm sees them.
pub(super) fn of(simd: Arch) -> String {
    let vectors = match format!("{simd:?}") {
        name if name.starts_with("V4") => "avx512",
        name if name.starts_with("V3") => "avx2",
        name if name.starts_with("Neon") => "neon",
        _ => "scalar",
    };
    let caches: Vec<String> = CACHE_INFO.iter().map(|cache| cache.cache_bytes.to_string()).collect();
    format!("cpu/{vectors}/{}", caches.join("-"))
}
