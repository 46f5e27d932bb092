//! Whether the MPI library takes a GPU's memory for messages ("CUDA-aware").
#![allow(unsafe_code)]

use std::ffi::c_int;

/// Asks the library. Returns `None` if it does not say. What it says once MPI is initialized is what counts. Before
/// that it says how it was built, which may be more than what it finds when it starts.
///
/// The answer is that of `MPIX_Query_cuda_support`, an extension that Open MPI and MPICH have and others may have.
pub fn takes_device_memory() -> Option<bool> {
    // SAFETY: the name is a C string that lives as long as the program. The handle means this process's own symbols.
    let symbol = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"MPIX_Query_cuda_support".as_ptr()) };
    if symbol.is_null() {
        return None;
    }
    // SAFETY: a function of that name takes nothing and returns an int, in every library that has it.
    let query = unsafe { std::mem::transmute::<*mut libc::c_void, unsafe extern "C" fn() -> c_int>(symbol) };
    // SAFETY: as above: it takes nothing.
    Some(unsafe { query() } != 0)
}
