//! Messages on their way: MPI's requests and the peers they belong to, and the raw calls that start and test them.

use std::ffi::c_int;

use mpi::ffi;
use mpi::topology::SimpleCommunicator;
use mpi::traits::AsRaw;

use crate::ids::Rank;
use crate::transport::TransportError;

/// Messages that have been started, and who sends or receives each.
///
/// Dropping them does not stop them: MPI reads and writes their memory until they are complete.
#[derive(Default)]
pub(super) struct Requests {
    handles: Vec<ffi::MPI_Request>,
    peers: Vec<Rank>,
    /// Memory for `MPI_Testall`.
    statuses: Vec<ffi::MPI_Status>,
}

impl Requests {
    /// None, with room for `messages`.
    pub(super) fn with_capacity(messages: usize) -> Self {
        Self {
            handles: Vec::with_capacity(messages),
            peers: Vec::with_capacity(messages),
            statuses: Vec::with_capacity(messages),
        }
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.handles.is_empty()
    }

    /// Forgets all of them, which are complete.
    pub(super) fn clear(&mut self) {
        self.handles.clear();
        self.peers.clear();
    }

    /// Starts to send `length` bytes from `from` on to the rank `to`.
    ///
    /// # Errors
    /// [`TransportError::Mpi`].
    ///
    /// # Safety
    /// MPI is initialized and `world` is one of its communicators. The bytes must stay there, unchanged, until the
    /// requests are [complete](Requests::are_complete).
    pub(super) unsafe fn send(
        &mut self,
        world: &SimpleCommunicator,
        from: *const u8,
        length: usize,
        to: Rank,
        tag: c_int,
    ) -> Result<(), TransportError> {
        // SAFETY: an MPI constant, initialized before main.
        let mut request = unsafe { ffi::RSMPI_REQUEST_NULL };
        // SAFETY: as the caller promises; MPI 4.1, 3.7.2.
        let code = unsafe {
            let byte = ffi::RSMPI_UINT8_T;
            ffi::MPI_Isend(from.cast(), count(length), byte, to.0.into(), tag, world.as_raw(), &mut request)
        };
        self.started("MPI_Isend", code, request, to)
    }

    /// Starts to receive up to `length` bytes of the rank `from`, to `to`.
    ///
    /// # Errors
    /// [`TransportError::Mpi`].
    ///
    /// # Safety
    /// MPI is initialized and `world` is one of its communicators. The bytes must stay there, and nobody else may touch
    /// them, until the requests are [complete](Requests::are_complete).
    pub(super) unsafe fn receive(
        &mut self,
        world: &SimpleCommunicator,
        to: *mut u8,
        length: usize,
        from: Rank,
        tag: c_int,
    ) -> Result<(), TransportError> {
        // SAFETY: an MPI constant, initialized before main.
        let mut request = unsafe { ffi::RSMPI_REQUEST_NULL };
        // SAFETY: as the caller promises; MPI 4.1, 3.7.2.
        let code = unsafe {
            let byte = ffi::RSMPI_UINT8_T;
            ffi::MPI_Irecv(to.cast(), count(length), byte, from.0.into(), tag, world.as_raw(), &mut request)
        };
        self.started("MPI_Irecv", code, request, from)
    }

    fn started(
        &mut self,
        call: &'static str,
        code: c_int,
        request: ffi::MPI_Request,
        peer: Rank,
    ) -> Result<(), TransportError> {
        if code != 0 {
            return Err(TransportError::Mpi { call, code });
        }
        self.handles.push(request);
        self.peers.push(peer);
        Ok(())
    }

    /// Moves the messages on; whether all are complete.
    ///
    /// # Errors
    /// [`TransportError::TooLong`] where a message was longer than its memory; [`TransportError::Mpi`].
    pub(super) fn are_complete(&mut self) -> Result<bool, TransportError> {
        if self.handles.is_empty() {
            return Ok(true);
        }
        // SAFETY: a struct of integers.
        self.statuses.resize(self.handles.len(), unsafe { std::mem::zeroed() });
        let mut flag = 0;
        // SAFETY: the handles are requests of this process, complete ones among them null; there are as many statuses;
        // MPI 4.1, 3.7.5.
        let code = unsafe {
            let handles = self.handles.as_mut_ptr();
            ffi::MPI_Testall(count(self.handles.len()), handles, &mut flag, self.statuses.as_mut_ptr())
        };
        let failed = match class(code) {
            0 => return Ok(flag != 0),
            // Then each has its own, those that are not complete one that says so.
            ffi::MPI_ERR_IN_STATUS => self.statuses.iter().map(|status| status.MPI_ERROR).collect(),
            _ => vec![code],
        };
        let of = |wanted: &dyn Fn(u32) -> bool| failed.iter().copied().find(|code| wanted(class(*code)));
        match of(&|class| class == ffi::MPI_ERR_TRUNCATE) {
            Some(_) => Err(TransportError::TooLong),
            None => {
                let code = of(&|class| class != 0 && class != ffi::MPI_ERR_PENDING).unwrap_or(code);
                Err(TransportError::Mpi { call: "MPI_Testall", code })
            }
        }
    }

    /// The peers whose messages are not complete, each once.
    pub(super) fn missing(&mut self) -> Vec<Rank> {
        let mut missing: Vec<Rank> = Vec::new();
        for (request, peer) in self.handles.iter_mut().zip(&self.peers) {
            let mut flag = 0;
            // SAFETY: a request of this process; MPI 4.1, 3.7.3.
            let code = unsafe { ffi::MPI_Test(request, &mut flag, ffi::RSMPI_STATUS_IGNORE) };
            if (code != 0 || flag == 0) && !missing.contains(peer) {
                missing.push(*peer);
            }
        }
        missing
    }
}

/// MPI counts in a C int; those who lay out lengths refuse longer messages.
fn count(length: usize) -> c_int {
    c_int::try_from(length).unwrap_or(c_int::MAX)
}

/// The class of MPI's error `code`, 0 for none.
fn class(code: c_int) -> u32 {
    let mut class = 0;
    // SAFETY: takes any code; MPI 4.1, 9.4.
    unsafe { ffi::MPI_Error_class(code, &mut class) };
    class as u32
}
