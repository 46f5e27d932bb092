//! The stand-ins see what the driver's code must not do: without them the tests beside this one would see nothing.
#![allow(unsafe_code)]

use std::ffi::c_void;

use cudarc::driver::sys::CUresult::{
    CUDA_ERROR_INVALID_CONTEXT, CUDA_ERROR_INVALID_HANDLE, CUDA_ERROR_INVALID_VALUE,
};
use cudarc::driver::{result, sys};

use crate::{driver, ended_by_stand_ins, with_stand_ins};

/// A context, as that of this thread, and a queue.
fn queue() -> sys::CUstream {
    result::init().unwrap();
    // SAFETY: the stand-ins check what they are given.
    unsafe { result::ctx::set_current(result::primary_ctx::retain(0).unwrap()).unwrap() };
    result::stream::create(result::stream::StreamKind::NonBlocking).unwrap()
}

/// Memory of the processor that is page-locked.
fn pinned(bytes: usize) -> &'static mut [u8] {
    // SAFETY: so many bytes are taken, and never given back.
    unsafe { std::slice::from_raw_parts_mut(result::malloc_host(bytes, 0).unwrap().cast(), bytes) }
}

#[test]
fn work_is_done_when_it_is_waited_for() {
    with_stand_ins(&[], || {
        let queue = queue();
        let host = pinned(8);
        // SAFETY: as above.
        unsafe {
            let at = result::malloc_sync(8).unwrap();
            host.fill(1);
            result::memcpy_htod_async(at, host, queue).unwrap();
            // Changed too early: what arrives is this.
            host.fill(2);
            let event = result::event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING).unwrap();
            // Never recorded: over.
            result::event::synchronize(event).unwrap();
            result::event::record(event, queue).unwrap();
            result::memset_d8_async(at, 3, 4, queue).unwrap();
            // Read too early.
            let seen = pinned(8);
            result::memcpy_dtoh_async(seen, at, queue).unwrap();
            assert_eq!(*seen, [0xff; 8]);
            // The event stands before the rest.
            result::event::synchronize(event).unwrap();
            let there = std::slice::from_raw_parts(at as *const u8, 8);
            assert_eq!(there, [2; 8]);
            result::stream::synchronize(queue).unwrap();
            assert_eq!(*seen, [3, 3, 3, 3, 2, 2, 2, 2]);
        }
    });
}

#[test]
fn the_stream_without_a_handle_is_waited_for_by_none() {
    with_stand_ins(&[], || {
        let queue = queue();
        // SAFETY: as above.
        unsafe {
            let at = result::malloc_sync(8).unwrap();
            result::memset_d8_sync(at, 5, 8).unwrap();
            let there = std::slice::from_raw_parts(at as *const u8, 8);
            result::stream::synchronize(queue).unwrap();
            assert_eq!(there, [0xff; 8]);
            result::ctx::synchronize().unwrap();
            assert_eq!(there, [5; 8]);
        }
    });
}

#[test]
fn calls_with_nonsense_are_refused() {
    with_stand_ins(&[], || {
        let queue = queue();
        let host = pinned(16);
        // SAFETY: as above.
        unsafe {
            let at = result::malloc_sync(8).unwrap();
            let refused = |call: Result<(), result::DriverError>, why| assert_eq!(call.unwrap_err().0, why);
            refused(result::memset_d8_async(at + 1, 0, 8, queue), CUDA_ERROR_INVALID_VALUE);
            refused(result::memcpy_htod_async(at, host, queue), CUDA_ERROR_INVALID_VALUE);
            // Not page-locked.
            refused(result::memcpy_htod_async(at, &[0_u8; 8], queue), CUDA_ERROR_INVALID_VALUE);
            refused(result::memcpy_dtod_async(at, host.as_ptr() as u64, 8, queue), CUDA_ERROR_INVALID_VALUE);
            refused(result::stream::synchronize(at as sys::CUstream), CUDA_ERROR_INVALID_HANDLE);
            refused(result::event::synchronize(at as sys::CUevent), CUDA_ERROR_INVALID_HANDLE);
            refused(result::free_sync(at + 1), CUDA_ERROR_INVALID_VALUE);
            assert!(result::module::load_data([0_u8; 200].as_ptr().cast::<c_void>()).is_err());
            // Another thread has no context until it says so.
            std::thread::spawn(move || refused(result::free_sync(at), CUDA_ERROR_INVALID_CONTEXT)).join().unwrap();
        }
    });
}

#[test]
fn memory_that_is_not_zero_may_not_be_given_back() {
    ended_by_stand_ins("cuMemFree: memory that is not zero", || {
        queue();
        // SAFETY: as above.
        let _ = unsafe { result::free_sync(result::malloc_sync(8).unwrap()) };
    });
}

#[test]
fn memory_that_work_still_uses_may_not_be_given_back() {
    ended_by_stand_ins("cuMemFreeHost: memory that queued work still uses", || {
        let queue = queue();
        let host = pinned(8);
        host.fill(0);
        // SAFETY: as above.
        unsafe {
            result::memcpy_htod_async(result::malloc_sync(8).unwrap(), host, queue).unwrap();
            let _ = result::free_host(host.as_mut_ptr().cast());
        }
    });
}

#[test]
fn a_gpu_may_not_be_closed_while_it_holds_anything() {
    ended_by_stand_ins("cuDevicePrimaryCtxRelease: there is still a stream", || {
        queue();
        // SAFETY: as above.
        let _ = unsafe { result::primary_ctx::release(0) };
    });
}

#[test]
fn a_kernel_may_not_write_behind_memory() {
    use mixnn::compute::cuda::{Arg, Device, Launch};
    ended_by_stand_ins("fill_rows_f32: has written behind memory", || {
        let driver = driver();
        let [bias, y] = [4, 40].map(|bytes| driver.allocate(bytes).unwrap());
        let args = [Arg::Memory(&bias, 0), Arg::Memory(&y, 0), Arg::U64(11), Arg::U32(1)];
        driver.launch(Launch { kernel: "fill_rows_f32", grid: [1; 3], block: 32, shared: 0 }, &args);
        let _ = driver.finish();
    });
}
