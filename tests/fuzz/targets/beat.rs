//! The record of a beat: every accepted one is written the same way, and ends the epoch where it says.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mixnn::ids::Slot;
use mixnn::mix::beat::Order;

fuzz_target!(|record: [u8; 16]| {
    let Some(order) = Order::from_record(&record) else {
        return;
    };
    assert_eq!(order.to_record(), record);
    match order {
        Order::GoOn => assert!(!order.ends(Slot(u64::MAX))),
        Order::EpochEnds { after } | Order::RunEnds { after } => {
            assert!(order.ends(after) && (after.0 == 0 || !order.ends(Slot(after.0 - 1))));
        }
    }
});
