//! A GPU: found, opened, its kernels loaded; and its memory.
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

/// The least compute capability: of those before, a block has not the shared memory in which cells are sealed.
const LEAST: [i32; 2] = [8, 0];

/// What a GPU says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Its number on this host.
    pub ordinal: usize,
    /// `NVIDIA H200`
    pub name: String,
    /// Its compute capability, which is its architecture: [9, 0].
    pub capability: [i32; 2],
    /// Multiprocessors.
    pub units: u32,
    /// Bytes.
    pub memory: usize,
}

/// The GPUs of this host, and the version of their driver: [13, 0].
///
/// # Errors
/// [`ComputeError::NoDevice`], [`ComputeError::Driver`].
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

/// What the driver calls an error, and says of it.
pub(super) fn said(error: result::DriverError) -> String {
    let text =
        |text: Result<&std::ffi::CStr, _>| text.map_or(String::new(), |text| text.to_string_lossy().into_owned());
    format!("{} ({})", text(error.error_string()), text(error.error_name()))
}

/// A GPU that is open, with all kernels.
pub(super) struct Gpu {
    pub(super) about: About,
    pub(super) driver: [i32; 2],
    device: sys::CUdevice,
    context: sys::CUcontext,
    modules: Vec<sys::CUmodule>,
    /// Those that have been launched, by name.
    functions: Mutex<HashMap<&'static str, sys::CUfunction>>,
}

/// The GPUs that this process has open, by number: ranks that are threads share one.
static OPEN: Mutex<Vec<(usize, Weak<Gpu>)>> = Mutex::new(Vec::new());

// SAFETY: the driver's handles may be used from any thread; what they name lives until the `Gpu` is dropped.
unsafe impl Send for Gpu {}
// SAFETY: as above: the driver's calls are thread-safe, and nothing here changes after `open`.
unsafe impl Sync for Gpu {}

impl Gpu {
    /// The GPU `ordinal`, open: with all kernels compiled, or read from disk.
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
        // To compile takes seconds, the first time: side by side.
        let cubins: Vec<_> = SOURCES.par_iter().map(|(file, source)| compiler.cubin(file, source, false)).collect();
        for ((file, source), cubin) in SOURCES.iter().zip(cubins) {
            let module = match load(&cubin?) {
                Ok(module) => module,
                // What was kept may be of a kind that this driver does not take.
                Err(_) => {
                    let anew = compiler.cubin(file, source, true)?;
                    load(&anew).map_err(|error| failed(&format!("load the kernels of {file}"), error))?
                }
            };
            gpu.modules.push(module);
        }
        Ok(Arc::new(gpu))
    }

    /// Makes this GPU the calling thread's.
    pub(super) fn enter(&self) -> Result<(), result::DriverError> {
        // SAFETY: the context lives as long as `self`.
        unsafe { result::ctx::set_current(self.context) }
    }

    /// The kernel of this name, which is always launched with so much shared memory.
    pub(super) fn function(&self, name: &'static str, shared: u32) -> Result<sys::CUfunction, result::DriverError> {
        let mut functions = self.functions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(function) = functions.get(name) {
            return Ok(*function);
        }
        let not_found = result::DriverError(sys::CUresult::CUDA_ERROR_NOT_FOUND);
        for module in &self.modules {
            match function(*module, name, shared) {
                // One of the other modules may have it.
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

/// `call` has failed on this GPU.
pub(super) fn failure(about: &About, call: &str, error: result::DriverError) -> ComputeError {
    ComputeError::Device {
        device: format!("GPU {} ({})", about.ordinal, about.name),
        call: call.to_owned(),
        what: said(error),
    }
}

fn load(cubin: &[u8]) -> Result<sys::CUmodule, result::DriverError> {
    // The driver is not told where it ends, and reads an ELF header at least.
    if cubin.len() < 64 || !cubin.starts_with(b"\x7fELF") {
        return Err(result::DriverError(sys::CUresult::CUDA_ERROR_INVALID_IMAGE));
    }
    // SAFETY: a CUBIN says its own length; the driver copies what it takes.
    unsafe { result::module::load_data(cubin.as_ptr().cast()) }
}

/// Bytes of shared memory that a block may have without asking.
const UNASKED: u32 = 48 << 10;

/// The kernel `name`, allowed `shared` bytes of shared memory beside its own.
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

/// Memory of a GPU.
pub struct GpuMemory {
    pub(super) gpu: Arc<Gpu>,
    pub(super) at: sys::CUdeviceptr,
    pub(super) bytes: usize,
}

impl GpuMemory {
    /// Where its bytes from `at` up to `at + len` are.
    pub(super) fn part(&self, at: usize, len: usize) -> sys::CUdeviceptr {
        let fits = at.checked_add(len).is_some_and(|end| end <= self.bytes);
        assert!(fits, "{len} bytes at {at} of {}", self.bytes);
        self.at + at as u64
    }
}

impl Drop for GpuMemory {
    /// Waits for what is queued, which may use it, zeroes it and gives it back.
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
