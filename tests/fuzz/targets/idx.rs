//! IDX files, plain and gzipped: what is accepted has as many elements as its dimensions say, within the limits, and is
//! the same packed or not.
#![no_main]

use std::io::Read;
use std::path::Path;

use flate2::Compression;
use flate2::read::GzEncoder;
use libfuzzer_sys::fuzz_target;
use mixnn::data::{idx, unpacked};

/// The most bytes that a file may unpack to here.
const LIMIT: u64 = 1 << 20;

fuzz_target!(|bytes: &[u8]| {
    let Ok(plain) = unpacked(bytes.to_vec(), LIMIT) else {
        return;
    };
    assert!(plain.len() as u64 <= LIMIT);
    for dimensions in 0..=4 {
        let Ok(idx) = idx::parse(Path::new("fuzzed"), plain.clone(), dimensions) else {
            continue;
        };
        assert_eq!(idx.dims.len(), dimensions);
        assert_eq!(idx.dims.iter().product::<usize>(), idx.values.len());
        let mut written = vec![0, 0, 8, dimensions as u8];
        idx.dims.iter().for_each(|&dim| written.extend((dim as u32).to_be_bytes()));
        written.extend(&idx.values);
        assert_eq!(written, plain);

        let mut packed = Vec::new();
        GzEncoder::new(plain.as_slice(), Compression::fast()).read_to_end(&mut packed).expect("memory takes all");
        assert_eq!(unpacked(packed, LIMIT).ok(), Some(plain.clone()));
    }
});
