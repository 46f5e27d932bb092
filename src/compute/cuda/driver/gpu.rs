//! A GPU: how it is found and opened, its kernels, and its memory.
#![allow(unsafe_code)]

use std::collections::HashMap;
use std::ffi::CString;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use cudarc::driver::sys::CUdevice_attribute as Is;
use cudarc::driver::{result, sys};
use rayon::prelude::*;

use super::compile::{Compiler, cache_folder};
use crate::compute::ComputeError;
use crate::compute::cuda::SOURCES;

/// The least compute capability, as [major, minor]. Earlier GPUs lack the shared memory that a block needs to seal cells.
const LEAST: [i32; 2] = [8, 0];

/// What the driver says of a GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Number of the GPU on this host, from 0.
    pub ordinal: usize,
    /// Name of the model, such as `NVIDIA H200`.
    pub name: String,
    /// Compute capability as [major, minor], such as [9, 0]. It names the architecture.
    pub capability: [i32; 2],
    /// Number of the GPU's multiprocessors.
    pub units: u32,
    /// Size of the GPU's memory in bytes.
    pub memory: usize,
}

/// The GPUs of this host that this process may use, and the version of their driver as [major, minor].
///
/// # Errors
/// [`ComputeError::NoDevice`] if there is no driver or no GPU; [`ComputeError::Driver`] if the driver does not start.
pub fn found() -> Result<(Vec<About>, [i32; 2]), ComputeError> {
    let missing = |missing: String| ComputeError::NoDevice { missing };
    // SAFETY: loads the library, whose initialisation does nothing that others see.
    if !unsafe { sys::is_culib_present() } {
        let said = "NVIDIA's driver (libcuda.so) is not found: this host has no NVIDIA GPU, or not its driver";
        return Err(missing(said.to_owned()));
    }
    result::init().map_err(|error| match error.0 {
        sys::CUresult::CUDA_ERROR_NO_DEVICE => missing(said(error)),
        _ => ComputeError::Driver { said: said(error) },
    })?;
    let mut version = 0;
    // SAFETY: the driver is there; the number is written.
    let asked = unsafe { sys::cuDriverGetVersion(&raw mut version) };
    asked.result().map_err(|error| missing(format!("NVIDIA's driver does not answer: {}", said(error))))?;
    let count = result::device::get_count().map_err(|error| missing(said(error)))?;
    let gpus = (0..count).map(|ordinal| about(ordinal).map_err(|error| missing(said(error))));
    let gpus = gpus.collect::<Result<Vec<_>, _>>()?;
    if gpus.is_empty() {
        return Err(missing("NVIDIA's driver is there, but no GPU that this process may use".to_owned()));
    }
    Ok((gpus, [version / 1000, version % 1000 / 10]))
}

/// What the driver says of the GPU `ordinal`.
fn about(ordinal: i32) -> Result<About, result::DriverError> {
    let device = result::device::get(ordinal)?;
    // SAFETY: the driver has just named this device.
    let of = |attribute| unsafe { result::device::get_attribute(device, attribute) };
    Ok(About {
        ordinal: ordinal as usize,
        name: result::device::get_name(device)?,
        capability: [
            of(Is::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            of(Is::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        ],
        units: of(Is::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)? as u32,
        // SAFETY: as above.
        memory: unsafe { result::device::total_mem(device) }?,
    })
}

/// The driver's description of an error, and its name in parentheses.
pub(super) fn said(error: result::DriverError) -> String {
    let text =
        |text: Result<&std::ffi::CStr, _>| text.map_or(String::new(), |text| text.to_string_lossy().into_owned());
    format!("{} ({})", text(error.error_string()), text(error.error_name()))
}

/// An open GPU with all kernels loaded.
pub(super) struct Gpu {
    /// What the driver says of this GPU.
    pub(super) about: About,
    /// Version of the driver, as [major, minor].
    pub(super) driver: [i32; 2],
    /// The driver's handle of the GPU.
    device: sys::CUdevice,
    /// The GPU's primary context, which is released on drop.
    context: sys::CUcontext,
    /// The loaded kernels, a module for each source file.
    modules: Vec<sys::CUmodule>,
    /// The kernels that have been launched so far, by name.
    functions: Mutex<HashMap<&'static str, sys::CUfunction>>,
}

/// The GPUs that this process has open, by number. Ranks that are threads of one process share a GPU.
static OPEN: Mutex<Vec<(usize, Weak<Gpu>)>> = Mutex::new(Vec::new());

// SAFETY: the driver's handles may be used from any thread; what they name lives until the `Gpu` is dropped.
unsafe impl Send for Gpu {}
// SAFETY: as above: the driver's calls are thread-safe, and nothing here changes after `open`.
unsafe impl Sync for Gpu {}

impl Gpu {
    /// The open GPU `ordinal`, with all kernels loaded. If this process has it open already, it is shared.
    pub(super) fn open(ordinal: usize) -> Result<Arc<Self>, ComputeError> {
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gpu) = open.iter().filter(|(of, _)| *of == ordinal).find_map(|(_, gpu)| gpu.upgrade()) {
            return Ok(gpu);
        }
        let gpu = Self::open_anew(ordinal)?;
        open.retain(|(_, gpu)| gpu.strong_count() > 0);
        open.push((ordinal, Arc::downgrade(&gpu)));
        Ok(gpu)
    }

    /// Opens the GPU `ordinal`, and loads its kernels from disk or compiles them.
    fn open_anew(ordinal: usize) -> Result<Arc<Self>, ComputeError> {
        let (gpus, driver) = found()?;
        let count = gpus.len();
        let Some(about) = gpus.into_iter().nth(ordinal) else {
            let missing = format!("there is no GPU {ordinal}: this process may use {count}, from 0 on");
            return Err(ComputeError::NoDevice { missing });
        };
        if about.capability < LEAST {
            let [found, least] = [about.capability, LEAST].map(|[major, minor]| format!("{major}.{minor}"));
            let missing = format!("{} has compute capability {found}; {least} or above is needed", about.name);
            return Err(ComputeError::NoDevice { missing });
        }
        let compiler = Compiler::new(about.capability, cache_folder())?;
        let opened = result::device::get(ordinal as i32).and_then(|device| {
            // SAFETY: the driver has named this device; the context is released once, when the `Gpu` is dropped.
            Ok((device, unsafe { result::primary_ctx::retain(device) }?))
        });
        let failed = |call: &str, error| failure(&about, call, error);
        let (device, context) = opened.map_err(|error| failed("open", error))?;
        let (modules, functions) = (Vec::new(), Mutex::new(HashMap::new()));
        let mut gpu = Self { about: about.clone(), driver, device, context, modules, functions };
        gpu.enter().map_err(|error| failed("enter its context", error))?;
        // The first compilation takes seconds, so the files are compiled in parallel.
        let cubins: Vec<_> = SOURCES.par_iter().map(|(file, source)| compiler.cubin(file, source, false)).collect();
        for ((file, source), cubin) in SOURCES.iter().zip(cubins) {
            let module = match load(&cubin?) {
                Ok(module) => module,
                // The CUBIN that was kept may be of a kind that this driver refuses.
                Err(_) => {
                    let anew = compiler.cubin(file, source, true)?;
                    load(&anew).map_err(|error| failed(&format!("load the kernels of {file}"), error))?
                }
            };
            gpu.modules.push(module);
        }
        Ok(Arc::new(gpu))
    }

    /// Makes this GPU's context the current one of the calling thread.
    pub(super) fn enter(&self) -> Result<(), result::DriverError> {
        // SAFETY: the context lives as long as `self`.
        unsafe { result::ctx::set_current(self.context) }
    }

    /// The kernel of this name. `shared` is the size in bytes of its dynamic shared memory, the same at each launch.
    pub(super) fn function(&self, name: &'static str, shared: u32) -> Result<sys::CUfunction, result::DriverError> {
        let mut functions = self.functions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(function) = functions.get(name) {
            return Ok(*function);
        }
        let not_found = result::DriverError(sys::CUresult::CUDA_ERROR_NOT_FOUND);
        for module in &self.modules {
            match function(*module, name, shared) {
                // One of the other modules may have the kernel.
                Err(error) if error == not_found => {}
                Err(error) => return Err(error),
                Ok(found) => {
                    functions.insert(name, found);
                    return Ok(found);
                }
            }
        }
        Err(not_found)
    }
}

/// The error for `call`, which failed on this GPU.
pub(super) fn failure(about: &About, call: &str, error: result::DriverError) -> ComputeError {
    ComputeError::Device {
        device: format!("GPU {} ({})", about.ordinal, about.name),
        call: call.to_owned(),
        what: said(error),
    }
}

/// Loads a CUBIN into the current context.
fn load(cubin: &[u8]) -> Result<sys::CUmodule, result::DriverError> {
    // The driver is not told the CUBIN's length, and reads at least an ELF header.
    if cubin.len() < 64 || !cubin.starts_with(b"\x7fELF") {
        return Err(result::DriverError(sys::CUresult::CUDA_ERROR_INVALID_IMAGE));
    }
    // SAFETY: a CUBIN says its own length; the driver copies what it takes.
    unsafe { result::module::load_data(cubin.as_ptr().cast()) }
}

/// Size of dynamic shared memory in bytes that a block gets without asking.
const UNASKED: u32 = 48 << 10;

/// Finds the kernel `name` in a module, and allows it `shared` bytes of dynamic shared memory.
fn function(module: sys::CUmodule, name: &str, shared: u32) -> Result<sys::CUfunction, result::DriverError> {
    use sys::CUfunction_attribute_enum as Of;
    let Ok(name) = CString::new(name) else { unreachable!("a name without a zero byte") };
    // SAFETY: the module is loaded and stays so; the attribute is this function's.
    unsafe {
        let function = result::module::get_function(module, name)?;
        if shared > UNASKED {
            let dynamic = Of::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            result::function::set_function_attribute(function, dynamic, shared as i32)?;
        }
        Ok(function)
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        // SAFETY: all memory and queues hold the `Gpu`: none is left, so nothing runs.
        unsafe {
            if self.enter().is_ok() {
                for module in &self.modules {
                    let _ = result::module::unload(*module);
                }
            }
            let _ = result::primary_ctx::release(self.device);
        }
    }
}

/// A piece of a GPU's memory. On drop it is zeroed and freed.
pub struct GpuMemory {
    /// The GPU whose memory it is.
    pub(super) gpu: Arc<Gpu>,
    /// The device's address of the first byte.
    pub(super) at: sys::CUdeviceptr,
    /// Length of the memory in bytes.
    pub(super) bytes: usize,
}

impl GpuMemory {
    /// The device's address of the bytes from `at` up to `at + len`. Panics if the memory ends before that.
    pub(super) fn part(&self, at: usize, len: usize) -> sys::CUdeviceptr {
        let fits = at.checked_add(len).is_some_and(|end| end <= self.bytes);
        assert!(fits, "{len} bytes at {at} of {}", self.bytes);
        self.at + at as u64
    }
}

impl Drop for GpuMemory {
    /// Waits for all queued work, which may use the memory, then zeroes the memory and frees it.
    fn drop(&mut self) {
        if self.bytes == 0 || self.gpu.enter().is_err() {
            return;
        }
        // SAFETY: allocated with this size, and freed once. A lost device has no memory left to be zeroed.
        unsafe {
            let _ = result::ctx::synchronize();
            let _ = result::memset_d8_sync(self.at, 0, self.bytes);
            let _ = result::ctx::synchronize();
            let _ = result::free_sync(self.at);
        }
    }
}
