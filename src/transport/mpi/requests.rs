//! Messages on their way: MPI's requests, the peers to which they belong, and the raw calls that start and test them.

use std::ffi::c_int;

use mpi::ffi;
use mpi::topology::SimpleCommunicator;
use mpi::traits::AsRaw;

use crate::ids::Rank;
use crate::transport::TransportError;

/// Messages that have been started, and the peer of each, which sends or receives it.
///
/// To drop them does not stop them: MPI reads and writes their memory until they are complete.
#[derive(Default)]
pub(super) struct Requests {
    /// By message: MPI's handle. It is null once the message is complete.
    handles: Vec<ffi::MPI_Request>,
    /// By message: the rank at the other end.
    peers: Vec<Rank>,
    /// Memory that `MPI_Testall` writes to, kept for the next call.
    statuses: Vec<ffi::MPI_Status>,
}

impl Requests {
    /// No messages yet, and room for so many.
    pub(super) fn with_capacity(messages: usize) -> Self {
        Self {
            handles: Vec::with_capacity(messages),
            peers: Vec::with_capacity(messages),
            statuses: Vec::with_capacity(messages),
        }
    }

    /// Whether no message has been started since the last [`clear`](Requests::clear).
    pub(super) fn is_empty(&self) -> bool {
        self.handles.is_empty()
    }

    /// Forgets all messages. Call it only when they are complete.
    pub(super) fn clear(&mut self) {
        self.handles.clear();
        self.peers.clear();
    }

    /// Starts to send `length` bytes from the address `from` on to the rank `to`.
    ///
    /// # Errors
    /// [`TransportError::Mpi`].
    ///
    /// # Safety
    /// MPI is initialized, and `world` is one of its communicators. The bytes must stay where they are, and nobody may
    /// change them, until the requests are [complete](Requests::are_complete), even if these are dropped before.
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
        // SAFETY: the caller promises what MPI asks for (MPI 4.1, 3.7.2). `request` is written before the call returns.
        let code = unsafe {
            let byte = ffi::RSMPI_UINT8_T;
            ffi::MPI_Isend(from.cast(), count(length), byte, to.0.into(), tag, world.as_raw(), &mut request)
        };
        self.started("MPI_Isend", code, request, to)
    }

    /// Starts to receive up to `length` bytes from the rank `from`, to the address `to`.
    ///
    /// # Errors
    /// [`TransportError::Mpi`].
    ///
    /// # Safety
    /// MPI is initialized, and `world` is one of its communicators. The bytes must stay where they are, and nobody else
    /// may read or write them, until the requests are [complete](Requests::are_complete), even if these are dropped
    /// before.
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
        // SAFETY: the caller promises what MPI asks for (MPI 4.1, 3.7.2). `request` is written before the call returns.
        let code = unsafe {
            let byte = ffi::RSMPI_UINT8_T;
            ffi::MPI_Irecv(to.cast(), count(length), byte, from.0.into(), tag, world.as_raw(), &mut request)
        };
        self.started("MPI_Irecv", code, request, from)
    }

    /// Keeps the request that `call` has started for a message to or from `peer`, or returns the error `code` of that
    /// call.
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

    /// Moves the messages on, without waiting. Returns whether all are complete.
    ///
    /// # Errors
    /// [`TransportError::TooLong`] if a message was longer than its memory. [`TransportError::Mpi`].
    pub(super) fn are_complete(&mut self) -> Result<bool, TransportError> {
        if self.handles.is_empty() {
            return Ok(true);
        }
        // SAFETY: a status is a struct of integers, for which zeros are a value.
        self.statuses.resize(self.handles.len(), unsafe { std::mem::zeroed() });
        let mut flag = 0;
        // SAFETY: the handles are requests of this process, and null where a message is complete. There are as many
        // statuses (MPI 4.1, 3.7.5).
        let code = unsafe {
            let handles = self.handles.as_mut_ptr();
            ffi::MPI_Testall(count(self.handles.len()), handles, &mut flag, self.statuses.as_mut_ptr())
        };
        let failed = match class(code) {
            0 => return Ok(flag != 0),
            // Then each message has an error of its own in its status. That of an incomplete one says that it is
            // incomplete.
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
            // SAFETY: it is a request of this process, or null (MPI 4.1, 3.7.3).
            let code = unsafe { ffi::MPI_Test(request, &mut flag, ffi::RSMPI_STATUS_IGNORE) };
            if (code != 0 || flag == 0) && !missing.contains(peer) {
                missing.push(*peer);
            }
        }
        missing
    }
}

/// A length as MPI counts, in a C int. Longer messages are refused where lengths are laid out.
fn count(length: usize) -> c_int {
    c_int::try_from(length).unwrap_or(c_int::MAX)
}

/// The class of MPI's error `code`. 0 is no error.
fn class(code: c_int) -> u32 {
    let mut class = 0;
    // SAFETY: it takes any code, and writes to `class` alone (MPI 4.1, 9.4).
    unsafe { ffi::MPI_Error_class(code, &mut class) };
    class as u32
}
