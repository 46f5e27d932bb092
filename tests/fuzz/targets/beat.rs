//! The record of a beat, from the owner and to it: every accepted one is written the same way, ends the epoch where it says,
//! or has room for its phases.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mixnn::ids::Slot;
use mixnn::mix::beat::{Fault, Order, WELL};

fuzz_target!(|record: [u8; 16]| {
    match Fault::from_record(&record) {
        Some(Some(fault)) => assert_eq!(fault.to_record(), record),
        Some(None) => assert_eq!(record, WELL),
        None => {}
    }
    let Some(order) = Order::from_record(&record) else {
        return;
    };
    assert_eq!(order.to_record(), record);
    match order {
        Order::GoOn => assert!(!order.ends(Slot(u64::MAX))),
        Order::Keep(pace) => assert!(!order.ends(Slot(u64::MAX)) && pace.fits()),
        Order::Stop(_) => assert!(order.ends(Slot(0))),
        Order::TermEnds { after, .. } | Order::RunEnds { after, .. } => {
            assert!(order.ends(after) && (after.0 == 0 || !order.ends(Slot(after.0 - 1))));
        }
    }
});
