//! Openings, announcements and results: what is accepted is written again, in no more bytes, and read as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mixnn::run::fuzzing::{announcement, opening, returned};

fn reads_again(bytes: &[u8], read: impl Fn(&[u8]) -> Option<Vec<u8>>) {
    if let Some(written) = read(bytes) {
        assert_eq!(written.len(), bytes.len());
        assert_eq!(read(&written), Some(written));
    }
}

fuzz_target!(|bytes: &[u8]| {
    for ranks in [2, 7, 64] {
        reads_again(bytes, |bytes| opening(bytes, ranks));
    }
    reads_again(bytes, announcement);
    reads_again(bytes, returned);
});
