//! Copies between the processor's memory and a GPU's, through page-locked memory that the GPU reads and writes by itself.
//!
//! There is one buffer for each direction, as large as the largest copy so far. It is wiped when it is given back. Parameters,
//! samples and labels pass through it; activations only in the profile `bare`.
#![allow(unsafe_code)]

use cudarc::driver::sys::CUdeviceptr;
use cudarc::driver::{result, sys};
use zeroize::Zeroize;

/// Smallest size of a buffer, in bytes.
const LEAST: usize = 64 << 10;

/// The page-locked buffers of a queue.
pub(super) struct Pinned {
    /// The buffer for copies to the GPU.
    outward: Buffer,
    /// The buffer for copies from the GPU.
    inward: Buffer,
    /// An event that is recorded behind the last copy to the GPU. When it has occurred, the outward buffer is free.
    left: Option<sys::CUevent>,
}

/// A buffer that the system keeps in memory (page-locked).
struct Buffer {
    /// Address of the buffer's first byte.
    at: *mut u8,
    /// Length in bytes. 0 if there is no buffer.
    bytes: usize,
}

// SAFETY: the buffers are this value's alone, and the driver's memory may be used from any thread.
unsafe impl Send for Pinned {}

impl Buffer {
    /// The state in which there is no buffer.
    const NONE: Self = Self { at: std::ptr::null_mut(), bytes: 0 };

    /// The buffer, grown to at least `bytes` bytes if it is shorter. Nothing may use the buffer during the call.
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

    /// Wipes the buffer and gives it back.
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
    /// No buffers yet: they are made when the first copy needs them.
    pub(super) fn none() -> Self {
        Self { outward: Buffer::NONE, inward: Buffer::NONE, left: None }
    }

    /// Queues copies of the `parts`, each from the host to its device address. The host's bytes may change once it returns.
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

    /// Copies the `parts`, each from its device address to the host, after all that is queued. It is done when it returns.
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
    /// Wipes both buffers. The queue's owner must have waited for the queue.
    fn drop(&mut self) {
        self.outward.release();
        self.inward.release();
        if let Some(left) = self.left.take() {
            // SAFETY: made in `write`, and recorded by nothing any more.
            let _ = unsafe { result::event::destroy(left) };
        }
    }
}
