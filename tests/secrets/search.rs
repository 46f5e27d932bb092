//! The search of this process's memory.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::FileExt;

use zeroize::Zeroize;

use super::{MASK, Secret};

const PIECE: usize = 1 << 16;

/// How often each of `secrets` stands in this process's writable memory. Reads it piece by piece and wipes each, so as to leave
/// nothing behind that a later search would find.
pub(super) fn count(secrets: &[Secret]) -> Vec<usize> {
    let mut counts = vec![0; secrets.len()];
    let sought = Sought::new(secrets);
    let memory = fs::File::open("/proc/self/mem").unwrap();
    let mut piece = vec![0_u8; PIECE];
    for line in fs::read_to_string("/proc/self/maps").unwrap().lines() {
        let mut words = line.split_whitespace();
        let (Some(range), Some(rights)) = (words.next(), words.next()) else { continue };
        if !rights.starts_with("rw") || line.contains("[v") {
            continue;
        }
        let (start, end) = range.split_once('-').unwrap();
        let [start, end] = [start, end].map(|at| u64::from_str_radix(at, 16).unwrap());
        // Pieces overlap, for what stands across their border.
        for at in (start..end).step_by(PIECE - 31) {
            let length = PIECE.min((end - at) as usize);
            if memory.read_exact_at(&mut piece[..length], at).is_err() {
                break;
            }
            for at in 0..length.saturating_sub(31) {
                for secret in sought.beginning_at(&piece[at..at + 32]) {
                    counts[secret] += 1;
                }
            }
            piece.as_mut_slice().zeroize();
        }
    }
    counts
}

/// The secrets by how they begin, since hundreds are compared with every byte.
struct Sought<'a> {
    secrets: &'a [Secret],
    /// Which first two bytes, masked, some secret has.
    begin: Vec<bool>,
    by_beginning: HashMap<[u8; 2], Vec<usize>>,
}

impl<'a> Sought<'a> {
    fn new(secrets: &'a [Secret]) -> Self {
        let (mut begin, mut by_beginning) = (vec![false; 1 << 16], HashMap::<_, Vec<_>>::new());
        for (number, secret) in secrets.iter().enumerate() {
            let first = [secret.masked[0], secret.masked[1]];
            begin[usize::from(u16::from_ne_bytes(first))] = true;
            by_beginning.entry(first).or_default().push(number);
        }
        Self { secrets, begin, by_beginning }
    }

    /// The numbers of those whose 32 bytes are `found`.
    fn beginning_at(&self, found: &[u8]) -> impl Iterator<Item = usize> {
        let first = [found[0] ^ MASK, found[1] ^ MASK];
        let some =
            self.begin[usize::from(u16::from_ne_bytes(first))].then(|| self.by_beginning.get(&first)).flatten();
        let is_found = |number: &usize| found.iter().zip(&self.secrets[*number].masked).all(|(a, b)| a ^ MASK == *b);
        some.into_iter().flatten().copied().filter(is_found)
    }
}
