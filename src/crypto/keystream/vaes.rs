//! AES-256 in counter mode by the vector AES instructions of processors with AVX2 (VAES): two blocks an instruction, twelve under
//! way at a time, so that both of a core's AES units stay busy.

use std::arch::x86_64::{
    __m128i, __m256i, _mm_aeskeygenassist_si128, _mm_loadu_si128, _mm_shuffle_epi32, _mm_slli_si128, _mm_xor_si128,
    _mm256_add_epi32, _mm256_aesenc_epi128, _mm256_aesenclast_epi128, _mm256_broadcastsi128_si256,
    _mm256_loadu_si256, _mm256_setr_epi8, _mm256_setr_epi32, _mm256_setzero_si256, _mm256_shuffle_epi8,
    _mm256_storeu_si256, _mm256_xor_si256,
};

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::FIRST;
use crate::crypto::aead::Nonce;
use crate::crypto::key::Key;

/// How many pairs of blocks are under way at a time.
const PAIRS: usize = 6;
/// How many bytes that is.
const STEP: usize = PAIRS * 32;
/// How many round keys AES-256 has.
const ROUND_KEYS: usize = 15;

/// The round keys of AES-256, on a processor that has the instructions for them.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct RoundKeys([__m128i; ROUND_KEYS]);

impl RoundKeys {
    /// Expands `key`. `None` where the processor lacks the instructions.
    #[expect(unsafe_code, reason = "instructions that not every processor has")]
    pub(super) fn new(key: &Key) -> Option<Self> {
        let here =
            is_x86_feature_detected!("avx2") && is_x86_feature_detected!("aes") && is_x86_feature_detected!("vaes");
        // SAFETY: the processor has them.
        here.then(|| unsafe { Self::expand(key.bytes()) })
    }

    /// The key expansion of FIPS 197, 5.2.
    #[target_feature(enable = "aes")]
    fn expand(key: &[u8; 32]) -> Self {
        let [low, high] = [0, 16].map(|at| load(&key[at..]));
        let mut keys = Self([low; ROUND_KEYS]);
        keys.0[1] = high;
        keys.two::<0x01>(2);
        keys.two::<0x02>(4);
        keys.two::<0x04>(6);
        keys.two::<0x08>(8);
        keys.two::<0x10>(10);
        keys.two::<0x20>(12);
        // AES-256 has no use for a sixteenth.
        keys.0[14] = next(keys.0[12], _mm_shuffle_epi32::<0xff>(_mm_aeskeygenassist_si128::<0x40>(keys.0[13])));
        keys
    }

    /// Makes the round keys `at` and `at + 1` from the two before them.
    #[target_feature(enable = "aes")]
    fn two<const ROUND: i32>(&mut self, at: usize) {
        let keys = &mut self.0;
        keys[at] = next(keys[at - 2], _mm_shuffle_epi32::<0xff>(_mm_aeskeygenassist_si128::<ROUND>(keys[at - 1])));
        keys[at + 1] = next(keys[at - 1], _mm_shuffle_epi32::<0xaa>(_mm_aeskeygenassist_si128::<0>(keys[at])));
    }

    /// Adds the keystream of `nonce` to `from` and writes that to `to`, which is as long.
    #[expect(unsafe_code, reason = "instructions that not every processor has")]
    pub(super) fn add(&self, nonce: &Nonce, from: &[u8], to: &mut [u8]) {
        // SAFETY: round keys are made where the processor has the instructions, and nowhere else.
        unsafe { self.add_all(nonce, from, to) }
    }

    /// [`add`](Self::add), step by step.
    #[target_feature(enable = "avx2,vaes")]
    fn add_all(&self, nonce: &Nonce, from: &[u8], to: &mut [u8]) {
        let mut counters = Counters::of(nonce);
        let (steps, rest) = from.as_chunks();
        let (to_steps, to_rest) = to.as_chunks_mut();
        for (from, to) in steps.iter().zip(to_steps) {
            self.add_step(&mut counters, from, to);
        }
        if !rest.is_empty() {
            let (mut from, mut to) = ([0; STEP], [0; STEP]);
            from[..rest.len()].copy_from_slice(rest);
            self.add_step(&mut counters, &from, &mut to);
            to_rest.copy_from_slice(&to[..rest.len()]);
            // Behind the text stands the stream itself.
            to.zeroize();
        }
    }

    /// Adds the keystream to [`STEP`] bytes.
    #[target_feature(enable = "avx2,vaes")]
    #[expect(unsafe_code, reason = "vectors are read from and written to memory")]
    fn add_step(&self, counters: &mut Counters, from: &[u8; STEP], to: &mut [u8; STEP]) {
        let [first, middle @ .., last] = &self.0;
        let (first, last) = (_mm256_broadcastsi128_si256(*first), _mm256_broadcastsi128_si256(*last));
        let mut pairs = [_mm256_setzero_si256(); PAIRS];
        for pair in &mut pairs {
            *pair = _mm256_xor_si256(counters.next(), first);
        }
        for key in middle {
            let key = _mm256_broadcastsi128_si256(*key);
            for pair in &mut pairs {
                *pair = _mm256_aesenc_epi128(*pair, key);
            }
        }
        for ((pair, from), to) in pairs.iter().zip(from.as_chunks::<32>().0).zip(to.as_chunks_mut::<32>().0) {
            // SAFETY: both have the 32 bytes of a vector, at any address.
            unsafe {
                // The last round adds its key last, and so the text with it.
                let text = _mm256_xor_si256(last, _mm256_loadu_si256(from.as_ptr().cast()));
                _mm256_storeu_si256(to.as_mut_ptr().cast(), _mm256_aesenclast_epi128(*pair, text));
            }
        }
    }
}

/// The next round key but one after `key`, where `word` is what comes of the round key between them.
#[target_feature(enable = "sse2")]
fn next(mut key: __m128i, word: __m128i) -> __m128i {
    for _ in 0..3 {
        key = _mm_xor_si128(key, _mm_slli_si128::<4>(key));
    }
    _mm_xor_si128(key, word)
}

/// The first 16 bytes of `bytes`.
#[expect(unsafe_code, reason = "a vector is read from memory")]
fn load(bytes: &[u8]) -> __m128i {
    let bytes: &[u8; 16] = bytes.first_chunk().unwrap_or(&[0; 16]);
    // SAFETY: there are 16 bytes, at any address.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

/// What is encrypted to a keystream: the nonce and a number, block after block, two at a time.
struct Counters {
    /// The next two, with their numbers in the processor's order of bytes.
    two: __m256i,
}

impl Counters {
    /// Those of the text of `nonce`.
    #[target_feature(enable = "avx2")]
    fn of(nonce: &Nonce) -> Self {
        let mut block = [0; 16];
        block[..12].copy_from_slice(nonce);
        let both = _mm256_broadcastsi128_si256(load(&block));
        let first = FIRST as i32;
        Self { two: _mm256_add_epi32(both, _mm256_setr_epi32(0, 0, 0, first, 0, 0, 0, first + 1)) }
    }

    /// The next two, with their numbers in network order, as AES takes them.
    #[target_feature(enable = "avx2")]
    fn next(&mut self) -> __m256i {
        let swapped = _mm256_setr_epi8(
            0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 15, 14, 13, 12, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 15, 14, 13,
            12,
        );
        let two = _mm256_shuffle_epi8(self.two, swapped);
        self.two = _mm256_add_epi32(self.two, _mm256_setr_epi32(0, 0, 0, 2, 0, 0, 0, 2));
        two
    }
}

#[cfg(test)]
mod tests {
    use std::mem::MaybeUninit;

    use super::*;

    /// FIPS 197, C.3: the key of the example with 256 bits, and its last round key.
    #[test]
    fn round_keys_are_those_of_the_standard() {
        let key: Vec<u8> = (0..32).collect();
        let Some(keys) = RoundKeys::new(&Key::from_bytes(key.try_into().unwrap())) else {
            println!("not tried: this processor has no vector AES");
            return;
        };
        let last: u128 = pulp::cast(keys.0[ROUND_KEYS - 1]);
        assert_eq!(last.to_be(), 0x24fc_79cc_bf09_79e9_371a_c23c_6d68_de36);
    }

    #[test]
    #[expect(unsafe_code, reason = "round keys are dropped where they stand, and their memory is looked at")]
    fn dropped_round_keys_leave_zeros() {
        let Some(keys) = RoundKeys::new(&Key::from_bytes([7; 32])) else {
            println!("not tried: this processor has no vector AES");
            return;
        };
        let mut place = Box::new(MaybeUninit::new(keys));
        let start = place.as_ptr().cast::<u8>();
        // SAFETY: the memory is that of `place`, which stays allocated, and nobody writes to it meanwhile.
        let bytes =
            || (0..size_of::<RoundKeys>()).map(|at| unsafe { start.add(at).read_volatile() }).collect::<Vec<_>>();
        assert!(bytes().iter().any(|byte| *byte != 0), "the control: round keys are not all zeros");
        // SAFETY: the round keys were written above, and are not touched again.
        unsafe { place.assume_init_drop() };
        assert!(bytes().iter().all(|byte| *byte == 0));
    }
}
