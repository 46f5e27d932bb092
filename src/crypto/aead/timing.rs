//! How fast the libraries are on this processor, found out by trying.
//!
//! What a processor is able to do tells less: which of its instructions a library uses differs by library and version.

use std::time::{Duration, Instant};

use super::{Library, TAG};
use crate::crypto::key::Key;

/// The longest cell that is tried, in bytes. Longer ones are sealed at the same speed.
const LONGEST: usize = 1 << 16;
/// How many turns each library has. In a turn it seals a cell and opens it. The shortest turn counts, so that it does
/// not matter how much a busy machine disturbs the others.
const TURNS: u32 = 32;
/// After this time no more turns begin, except for the first few. So slow libraries have fewer turns.
const ENOUGH: Duration = Duration::from_millis(4);
/// How many turns every library has at least.
const LEAST: u32 = 4;
/// How many times as fast `ring` must be to be taken. Between two libraries that are alike chance should not decide.
const MARGIN: f64 = 1.1;

/// How many bytes a page of memory has.
const PAGE: usize = 4096;
/// How many bytes the buffers lie apart, besides whole pages. To copy from one place to another that lies 1 to 31 bytes further on
/// in its page takes some AMD processors twenty times as long (`rep movsb`, which the C library copies with).
const APART: usize = 1024;

/// How long it takes each of `libraries` to seal a cell of `length` bytes and to open it, at best.
pub(crate) fn timed<const N: usize>(libraries: [Library; N], length: usize) -> [Duration; N] {
    let length = length.clamp(1, LONGEST);
    let apart = (length + TAG).next_multiple_of(PAGE) + APART;
    let mut room = vec![0; 3 * apart];
    let (plain, rest) = room.split_at_mut(apart);
    let (sealed, opened) = rest.split_at_mut(apart);
    let (plain, sealed, opened) = (&plain[..length], &mut sealed[..length + TAG], &mut opened[..length]);
    // Nothing here is secret, so that one nonce does for all turns.
    let (key, nonce) = (Key::from_bytes([0; 32]), [0; 12]);
    let keys = libraries.map(|library| library.key(&key));
    let mut shortest = [Duration::MAX; N];
    let began = Instant::now();
    for turn in 0..TURNS {
        if turn >= LEAST && began.elapsed() > ENOUGH {
            break;
        }
        for (aead, shortest) in keys.iter().zip(&mut shortest) {
            let turn = Instant::now();
            aead.seal(&nonce, &[], plain, sealed);
            if aead.open(&nonce, &[], sealed, opened).is_ok() {
                *shortest = turn.elapsed().min(*shortest);
            }
        }
    }
    shortest
}

/// The library that is faster for cells of `length` bytes, of the two that may be the fastest.
pub(super) fn fastest(length: usize) -> Library {
    faster(timed([Library::AwsLc, Library::Ring], length))
}

/// The faster of the two, by their times. `ring` must be faster by [`MARGIN`].
fn faster([aws_lc, ring]: [Duration; 2]) -> Library {
    match ring.as_secs_f64() * MARGIN < aws_lc.as_secs_f64() {
        true => Library::Ring,
        false => Library::AwsLc,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ring_is_taken_where_it_is_clearly_faster() {
        let micros = |times: [u64; 2]| faster(times.map(Duration::from_micros));
        assert_eq!(micros([200, 100]), Library::Ring);
        assert_eq!(micros([115, 100]), Library::Ring);
        assert_eq!(micros([105, 100]), Library::AwsLc);
        assert_eq!(micros([100, 100]), Library::AwsLc);
        assert_eq!(micros([100, 130]), Library::AwsLc);
    }

    /// However long a cell is asked for, the time is that of the longest that is tried.
    #[test]
    fn every_library_is_timed_at_every_length() {
        for length in [0, 1, 5808, usize::MAX] {
            for time in timed(Library::ALL, length) {
                assert!(time > Duration::ZERO && time < Duration::MAX, "{length} bytes: {time:?}");
            }
        }
        // A cell that is ten thousand times as long takes longer, on any processor.
        let [short, long] = [1, 10_000].map(|length| timed(Library::ALL, length));
        assert!(short.iter().zip(long).all(|(short, long)| *short < long), "{short:?}, {long:?}");
    }
}
