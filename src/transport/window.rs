//! Memory that the ranks of one host share, from MPI (MPI 4.1, chapter 12: `MPI_Win_allocate_shared`).
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::ptr;

use mpi::ffi;
use mpi::topology::{Communicator, SimpleCommunicator};
use mpi::traits::AsRaw;

use super::TransportError;
use super::shared::{Segment, Shared};

/// Keeps the memory; freed by all ranks of the host at once, before MPI ends.
pub(super) struct Window(ffi::MPI_Win);

/// Allocates this rank's segment of `bytes` and maps those of the others of `host`. All its ranks call this at once.
///
/// # Errors
/// [`TransportError::Window`].
pub(super) fn allocate(host: &SimpleCommunicator, bytes: usize) -> Result<Shared<Window>, TransportError> {
    let done = |code: c_int| match code {
        0 => Ok(()),
        code => Err(TransportError::Window { bytes, code }),
    };
    // SAFETY: an MPI constant, initialized before main.
    let mut window = unsafe { ffi::RSMPI_WIN_NULL };
    let mut base = ptr::null_mut::<u8>();
    // SAFETY: MPI is initialized while `host` lives; `base` and `window` outlive the calls; MPI 4.1, 12.2.3 and 12.5.3. The
    // lock lasts as long as the window: loads and stores go without further calls.
    unsafe {
        done(ffi::MPI_Comm_set_errhandler(host.as_raw(), ffi::RSMPI_ERRORS_RETURN))?;
        let (info, size) = (ffi::RSMPI_INFO_NULL, bytes as ffi::MPI_Aint);
        done(ffi::MPI_Win_allocate_shared(size, 1, info, host.as_raw(), (&raw mut base).cast(), &mut window))?;
        done(ffi::MPI_Win_lock_all(ffi::MPI_MODE_NOCHECK as c_int, window))?;
    }
    let mut segments = Vec::new();
    for rank in 0..host.size() {
        let (mut size, mut unit, mut base) = (0, 0, ptr::null_mut::<u8>());
        // SAFETY: as above; MPI 4.1, 12.2.3.
        done(unsafe { ffi::MPI_Win_shared_query(window, rank, &mut size, &mut unit, (&raw mut base).cast()) })?;
        let size = usize::try_from(size).unwrap_or(0);
        // SAFETY: the window keeps what MPI has mapped, and stays with the segments.
        let segment = unsafe { Segment::new(base, size, host.size() as usize) };
        segments.push(segment.ok_or(TransportError::Window { bytes: size, code: 0 })?);
    }
    // Freed by all ranks at once, so not here where this one has met an error.
    Ok(Shared::new(Window(window), segments, host.rank() as usize))
}

impl Drop for Window {
    fn drop(&mut self) {
        // SAFETY: allocated and locked by `allocate`; MPI is not finalized before its transport is dropped.
        unsafe {
            ffi::MPI_Win_unlock_all(self.0);
            ffi::MPI_Win_free(&mut self.0);
        }
    }
}
