//! Random numbers that must repeat: initial values and the order of samples. They follow from the job's seed alone.
//!
//! The generator is Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC'11).
//! It is counter-based, so that a value depends on its place and not on who drew before. What must *not* repeat (keys,
//! plans) comes from the operating system instead, and never from here.
//!
//! This is a leaf: it imports nothing of the crate, and every module may use it.

use hkdf::Hkdf;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// 256 bits from which numbers are drawn that repeat. The seed from which another one was derived does not follow from
/// that.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop, PartialEq, Eq)]
pub struct Seed([u8; 32]);

impl Seed {
    /// The seed that a job's `seed = ...` names: the text, hashed (docs/PROTOCOL.md, 18.1).
    pub fn from_text(text: &str) -> Self {
        Self::expand(Hkdf::new(Some(b"mixnn/1 seed"), text.as_bytes()), b"job")
    }

    /// Derives the seed for one use, such as `("stage", 2)` (docs/PROTOCOL.md, 18.2).
    pub fn derive(&self, usage: &str, index: u64) -> Self {
        let mut info = usage.as_bytes().to_vec();
        info.push(0);
        info.extend_from_slice(&index.to_le_bytes());
        Self::expand(Hkdf::new(Some(b"mixnn/1 derive"), &self.0), &info)
    }

    /// The stream of numbers of this seed (docs/PROTOCOL.md, 18.4).
    pub fn stream(&self) -> Philox {
        let word = |i: usize| u32::from_le_bytes([self.0[i], self.0[i + 1], self.0[i + 2], self.0[i + 3]]);
        // 64 bits are the key of the cipher, and 64 more are the upper half of the counter. The lower half counts.
        Philox::new([word(0), word(4)], [0, 0, word(8), word(12)])
    }

    /// The key of this seed's numbers, for those who count on their own with [`philox4x32_10`].
    pub fn key(&self) -> [u32; 2] {
        self.stream().key
    }

    /// Expands 32 bytes out of `hkdf` for `info`.
    fn expand(hkdf: Hkdf<Sha256>, info: &[u8]) -> Self {
        let mut seed = [0; 32];
        // HKDF fails only where more than 255 * 32 bytes are asked for.
        let _ = hkdf.expand(info, &mut seed);
        Self(seed)
    }
}

/// A stream of blocks of Philox4x32-10, under one key and from a first counter on.
pub struct Philox {
    /// The key of the cipher.
    key: [u32; 2],
    /// The counter of the next block, lowest word first.
    counter: [u32; 4],
    /// The numbers of the last block.
    block: [u32; 4],
    /// How many numbers of that block have been drawn.
    used: usize,
}

impl Philox {
    /// A stream under `key` whose first block is that of `counter`.
    pub fn new(key: [u32; 2], counter: [u32; 4]) -> Self {
        Self { key, counter, block: [0; 4], used: 4 }
    }

    /// The next 32 bits of the stream.
    pub fn next_u32(&mut self) -> u32 {
        if self.used == 4 {
            self.block = philox4x32_10(self.counter, self.key);
            self.used = 0;
            let (low, carry) = self.counter[0].overflowing_add(1);
            self.counter[0] = low;
            self.counter[1] = self.counter[1].wrapping_add(u32::from(carry));
        }
        self.used += 1;
        self.block[self.used - 1]
    }

    /// The next number, uniform in [0, 1). It is a multiple of 2^-24, so that an f32 holds it exactly.
    pub fn unit_f32(&mut self) -> f32 {
        unit(self.next_u32())
    }

    /// The next number, uniform in 0..bound and without bias (Lemire, "Fast random integer generation in an interval",
    /// 2019).
    ///
    /// # Panics
    /// In debug builds, where `bound` is 0.
    pub fn below(&mut self, bound: u32) -> u32 {
        debug_assert!(bound > 0, "an empty range has no number");
        let threshold = bound.wrapping_neg() % bound;
        loop {
            let wide = u64::from(self.next_u32()) * u64::from(bound);
            if wide as u32 >= threshold {
                return (wide >> 32) as u32;
            }
        }
    }

    /// The numbers 0..count in a random order (Fisher and Yates).
    pub fn permutation(&mut self, count: u32) -> Vec<u32> {
        let mut order: Vec<u32> = (0..count).collect();
        for i in (1..order.len()).rev() {
            order.swap(i, self.below(i as u32 + 1) as usize);
        }
        order
    }
}

/// Takes the upper 24 bits as a part of 1: a multiple of 2^-24, which an f32 holds exactly.
#[inline(always)]
pub fn unit(number: u32) -> f32 {
    (number >> 8) as f32 * (1.0 / (1 << 24) as f32)
}

/// One block of the generator: four numbers for the counter `c` under the key `k`.
#[inline(always)]
pub fn philox4x32_10(mut c: [u32; 4], mut k: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let p0 = u64::from(c[0]) * 0xD251_1F53;
        let p1 = u64::from(c[2]) * 0xCD9E_8D57;
        c = [(p1 >> 32) as u32 ^ c[1] ^ k[0], p1 as u32, (p0 >> 32) as u32 ^ c[3] ^ k[1], p0 as u32];
        k = [k[0].wrapping_add(0x9E37_79B9), k[1].wrapping_add(0xBB67_AE85)];
    }
    c
}

#[cfg(test)]
mod tests {
    use super::*;

    /// These are the known answers of Random123's kat_vectors for philox4x32 with 10 rounds.
    #[test]
    fn philox_known_answers() {
        assert_eq!(philox4x32_10([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox4x32_10([u32::MAX; 4], [u32::MAX; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        assert_eq!(
            philox4x32_10([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn counter_carries() {
        let mut stream = Philox::new([1, 2], [u32::MAX, 0, 5, 6]);
        for _ in 0..4 {
            stream.next_u32();
        }
        assert_eq!(stream.next_u32(), philox4x32_10([0, 1, 5, 6], [1, 2])[0]);
    }

    #[test]
    fn permutation_holds_every_number_once() {
        let order = Seed::from_text("7").derive("shuffle", 1).stream().permutation(1000);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..1000).collect::<Vec<u32>>());
        assert_ne!(order, sorted);
    }

    #[test]
    fn below_is_uniform() {
        let mut stream = Seed::from_text("below").stream();
        let mut counts = [0_u32; 7];
        for _ in 0..70_000 {
            counts[stream.below(7) as usize] += 1;
        }
        let chi: f64 = counts.iter().map(|&c| (f64::from(c) - 10_000.0).powi(2) / 10_000.0).sum();
        assert!(chi < 22.5, "chi-squared {chi} with 6 degrees of freedom (p < 0.001): {counts:?}");
    }

    #[test]
    fn seeds_differ_by_use_and_index() {
        let job = Seed::from_text("7");
        let firsts: Vec<u32> = [job.derive("stage", 0), job.derive("stage", 1), job.derive("shuffle", 0)]
            .iter()
            .map(|s| s.stream().next_u32())
            .collect();
        assert!(firsts[0] != firsts[1] && firsts[0] != firsts[2] && firsts[1] != firsts[2]);
    }
}
