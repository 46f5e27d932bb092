//! The header of a message: every accepted one is written the same way, and its tensor has the length that it says.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mixnn::wire::{Dtype, HEADER, Header};

fuzz_target!(|bytes: [u8; HEADER]| {
    let Ok(header) = Header::from_bytes(&bytes) else {
        return;
    };
    assert_eq!(header.to_bytes(), bytes);
    let width = match header.dtype {
        Dtype::U8 => 1,
        Dtype::U16 => 2,
        Dtype::U32 => 4,
        Dtype::Float(format) => format.bytes().into(),
    };
    let body = u128::from(header.rows) * u128::from(header.features) * width;
    assert_eq!(u128::from(header.body()), body.min(u64::MAX.into()));
});
