//! Memory that the ranks of one host share, from MPI (MPI 4.1, chapter 12: `MPI_Win_allocate_shared`).

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

/// Keeps the memory; freed by all ranks of the host at once, before MPI ends.
pub(super) struct Window(ffi::MPI_Win);

/// Memory that the ranks of a host share, which none of them has touched.
pub(super) struct Fresh {
    window: Window,
    /// Where the segment of each rank of the host lies, and its bytes.
    segments: Vec<(*mut u8, usize)>,
    me: usize,
}

/// Allocates this rank's segment of `bytes` and maps those of the others of `host`. All its ranks call this at once.
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
    // Freed by all ranks at once, so not here where this one meets an error.
    let window = ManuallyDrop::new(Window(window));
    let mut segments = Vec::new();
    for rank in 0..host.size() {
        let (mut size, mut unit, mut base) = (0, 0, ptr::null_mut::<u8>());
        // SAFETY: as above; MPI 4.1, 12.2.3.
        done(unsafe { ffi::MPI_Win_shared_query(window.0, rank, &mut size, &mut unit, (&raw mut base).cast()) })?;
        segments.push((base, usize::try_from(size).unwrap_or(0)));
    }
    Ok(Fresh { window: ManuallyDrop::into_inner(window), segments, me: host.rank() as usize })
}

impl Fresh {
    /// Takes the pages of this rank's segment, and says whether they are there: MPI may have mapped more than the file system
    /// behind it holds, and whoever touches a page that is not there is killed (SIGBUS). So it is the kernel that writes the
    /// first zeros, by `read`, which fails instead.
    pub(super) fn take_pages(&mut self) -> bool {
        let (base, bytes) = self.segments[self.me];
        if base.is_null() {
            return false;
        }
        // SAFETY: this rank's own segment, which stays as long as the window; no rank writes to another's before all have met.
        let segment = unsafe { std::slice::from_raw_parts_mut(base, bytes) };
        match File::open("/dev/zero") {
            Ok(mut zeros) => zeros.read_exact(segment).is_ok(),
            // Then pages are taken when they are used.
            Err(_) => true,
        }
    }

    /// The lanes' memory, once all ranks of the host have taken their pages.
    ///
    /// # Errors
    /// [`TransportError::Window`].
    pub(super) fn into_shared(self) -> Result<Shared<Window>, TransportError> {
        let Self { window, segments, me } = self;
        let window = ManuallyDrop::new(window);
        let members = segments.len();
        let segment = |(base, bytes)| {
            // SAFETY: the window keeps what MPI has mapped, and stays with the segments.
            unsafe { Segment::new(base, bytes, members) }.ok_or(TransportError::Window { bytes, code: None })
        };
        let segments = segments.into_iter().map(segment).collect::<Result<_, _>>()?;
        Ok(Shared::new(ManuallyDrop::into_inner(window), segments, me))
    }
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
