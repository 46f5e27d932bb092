//! Whether the MPI library takes a GPU's memory for messages ("CUDA-aware").
#![allow(unsafe_code)]

use std::ffi::c_int;

/// What the library says; `None` where it does not say. Once MPI is initialized this is what counts; before, how it was built, which
/// may be more than what it finds when it starts.
///
/// `MPIX_Query_cuda_support`: an extension that Open MPI and MPICH have and others may have.
pub fn takes_device_memory() -> Option<bool> {
    // SAFETY: the name is a C string; the handle means this process's own symbols.
    let symbol = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"MPIX_Query_cuda_support".as_ptr()) };
    if symbol.is_null() {
        return None;
    }
    // SAFETY: the function of that name takes nothing and gives an int, in every library that has it.
    let query = unsafe { std::mem::transmute::<*mut libc::c_void, unsafe extern "C" fn() -> c_int>(symbol) };
    // SAFETY: as above.
    Some(unsafe { query() } != 0)
}
