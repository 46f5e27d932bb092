//! Memory that the ranks of one host share, from MPI (`MPI_Win_allocate_shared`; MPI 4.1, chapter 12).

use std::ffi::c_int;
use std::fs::File;
use std::io::Read;
use std::mem::ManuallyDrop;
use std::ptr;

use mpi::ffi;
use mpi::topology::{Communicator, SimpleCommunicator};
use mpi::traits::AsRaw;

use crate::transport::TransportError;
use crate::transport::shared::{Segment, Shared};

/// Keeps shared memory mapped. To drop it frees the memory, for which all ranks of the host have to drop theirs at
/// once, before MPI ends.
pub(super) struct Window(ffi::MPI_Win);

/// Memory that the ranks of a host share, and that none of them has touched yet.
pub(super) struct Fresh {
    window: Window,
    /// By the number of the rank on the host: where its segment begins in this process, and how many bytes it has.
    segments: Vec<(*mut u8, usize)>,
    /// This rank's number on the host.
    me: usize,
}

/// Allocates a segment of `bytes` bytes for this rank, and maps those of the other ranks of `host`. All of these call
/// this at once. It waits for them without a deadline.
///
/// # Errors
/// [`TransportError::Window`].
pub(super) fn allocate(host: &SimpleCommunicator, bytes: usize) -> Result<Fresh, TransportError> {
    let done = |code: c_int| match code {
        0 => Ok(()),
        code => Err(TransportError::Window { bytes, code: Some(code) }),
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
    // All ranks free the window at once. So it is not dropped here, where this rank alone may meet an error.
    let window = ManuallyDrop::new(Window(window));
    let mut segments = Vec::new();
    for rank in 0..host.size() {
        let (mut size, mut unit, mut base) = (0, 0, ptr::null_mut::<u8>());
        // SAFETY: as above (MPI 4.1, 12.2.3).
        done(unsafe { ffi::MPI_Win_shared_query(window.0, rank, &mut size, &mut unit, (&raw mut base).cast()) })?;
        segments.push((base, usize::try_from(size).unwrap_or(0)));
    }
    Ok(Fresh { window: ManuallyDrop::into_inner(window), segments, me: host.rank() as usize })
}

impl Fresh {
    /// Takes the pages of this rank's segment, and returns whether they are there. MPI may have mapped more than the
    /// file system behind the memory holds, and a process that touches a page that is not there is killed (SIGBUS). So
    /// the kernel writes the first zeros, in a `read`. That fails instead.
    pub(super) fn take_pages(&mut self) -> bool {
        let (base, bytes) = self.segments[self.me];
        if base.is_null() {
            return false;
        }
        // SAFETY: it is this rank's own segment, which is mapped as long as the window stays. No other rank touches it
        // before all have met, and this one uses nothing else of it while the slice lives.
        let segment = unsafe { std::slice::from_raw_parts_mut(base, bytes) };
        match File::open("/dev/zero") {
            Ok(mut zeros) => zeros.read_exact(segment).is_ok(),
            // Without such a file, pages are taken when they are used.
            Err(_) => true,
        }
    }

    /// Turns this into the memory of lanes. Call it only when all ranks of the host have taken their pages.
    ///
    /// # Errors
    /// [`TransportError::Window`] if a segment is too small.
    pub(super) fn into_shared(self) -> Result<Shared<Window>, TransportError> {
        let Self { window, segments, me } = self;
        let window = ManuallyDrop::new(window);
        let members = segments.len();
        let segment = |(base, bytes)| {
            // SAFETY: the window keeps what MPI has mapped, and stays with the segments in `Shared`. Only segments use
            // it from here on. All ranks have mapped the same memory, at addresses that differ by whole pages.
            unsafe { Segment::new(base, bytes, members) }.ok_or(TransportError::Window { bytes, code: None })
        };
        let segments = segments.into_iter().map(segment).collect::<Result<_, _>>()?;
        Ok(Shared::new(ManuallyDrop::into_inner(window), segments, me))
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // SAFETY: `allocate` has allocated and locked the window, and nothing uses its memory any more. MPI is not
        // finalized before its transport is dropped.
        unsafe {
            ffi::MPI_Win_unlock_all(self.0);
            ffi::MPI_Win_free(&mut self.0);
        }
    }
}
