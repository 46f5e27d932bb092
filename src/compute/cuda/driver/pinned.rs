//! Copies between the processor's memory and a GPU's, through memory that the GPU reads and writes by itself.
//!
//! One page-locked buffer for each way, as large as the largest copy so far. What passes through is wiped when the buffer is given
//! back; activations do not come here but in the profile `bare`; parameters, samples and labels do.
#![allow(unsafe_code)]

use cudarc::driver::sys::CUdeviceptr;
use cudarc::driver::{result, sys};
use zeroize::Zeroize;

/// Smallest buffer, bytes.
const LEAST: usize = 64 << 10;

/// Page-locked buffers.
pub(super) struct Pinned {
    outward: Buffer,
    inward: Buffer,
    /// Tells when the last copy to the GPU has left its buffer.
    left: Option<sys::CUevent>,
}

struct Buffer {
    at: *mut u8,
    bytes: usize,
}

// SAFETY: the buffers are this value's alone, and the driver's memory may be used from any thread.
unsafe impl Send for Pinned {}

impl Buffer {
    const NONE: Self = Self { at: std::ptr::null_mut(), bytes: 0 };

    /// At least `bytes` bytes. Nothing may use the buffer while it is called.
    fn room(&mut self, bytes: usize) -> Result<&mut [u8], result::DriverError> {
        if self.bytes < bytes {
            self.release();
            let bytes = bytes.next_power_of_two().max(LEAST);
            // SAFETY: the size is not 0; the memory is zeroed before it is used, and given back once.
            unsafe {
                self.at = result::malloc_host(bytes, 0)?.cast();
                std::ptr::write_bytes(self.at, 0, bytes);
            }
            self.bytes = bytes;
        }
        // SAFETY: so many bytes were taken, and all were written.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.at, self.bytes) })
    }

    fn release(&mut self) {
        if self.bytes > 0 {
            // SAFETY: taken in `room` with this size; nothing uses it any more.
            unsafe {
                std::slice::from_raw_parts_mut(self.at, self.bytes).zeroize();
                let _ = result::free_host(self.at.cast());
            }
            *self = Self::NONE;
        }
    }
}

impl Pinned {
    /// Without buffers yet.
    pub(super) fn none() -> Self {
        Self { outward: Buffer::NONE, inward: Buffer::NONE, left: None }
    }

    /// Queues copies of the `parts`, each to its address.
    pub(super) fn write(
        &mut self,
        parts: &[(&[u8], CUdeviceptr)],
        queue: sys::CUstream,
    ) -> Result<(), result::DriverError> {
        let bytes = parts.iter().map(|(host, _)| host.len()).sum();
        if bytes == 0 {
            return Ok(());
        }
        // SAFETY: the event is this value's; the buffer holds the bytes until the event says that they have left.
        unsafe {
            let left = match self.left {
                Some(left) => left,
                None => {
                    let left = result::event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING)?;
                    *self.left.insert(left)
                }
            };
            result::event::synchronize(left)?;
            let mut room = self.outward.room(bytes)?;
            for (host, to) in parts.iter().filter(|(host, _)| !host.is_empty()) {
                let (here, behind) = room.split_at_mut(host.len());
                here.copy_from_slice(host);
                result::memcpy_htod_async(*to, here, queue)?;
                room = behind;
            }
            result::event::record(left, queue)
        }
    }

    /// Copies the `parts`, each from its address, after all that is queued.
    pub(super) fn read(
        &mut self,
        parts: &mut [(CUdeviceptr, &mut [u8])],
        queue: sys::CUstream,
    ) -> Result<(), result::DriverError> {
        let bytes = parts.iter().map(|(_, host)| host.len()).sum();
        if bytes == 0 {
            return Ok(());
        }
        let mut room = self.inward.room(bytes)?;
        let mut arrived = Vec::with_capacity(parts.len());
        for (from, host) in parts.iter().filter(|(_, host)| !host.is_empty()) {
            let (here, behind) = room.split_at_mut(host.len());
            // SAFETY: the buffer stays until the queue is done.
            unsafe { result::memcpy_dtoh_async(here, *from, queue) }?;
            arrived.push(&*here);
            room = behind;
        }
        // SAFETY: the queue is its owner's, who calls.
        unsafe { result::stream::synchronize(queue) }?;
        let hosts = parts.iter_mut().filter(|(_, host)| !host.is_empty());
        hosts.zip(arrived).for_each(|((_, host), here)| host.copy_from_slice(here));
        Ok(())
    }
}

impl Drop for Pinned {
    /// The queue's owner has waited for it.
    fn drop(&mut self) {
        self.outward.release();
        self.inward.release();
        if let Some(left) = self.left.take() {
            // SAFETY: made in `write`, and recorded by nothing any more.
            let _ = unsafe { result::event::destroy(left) };
        }
    }
}
