//! A [`Device`] that runs the kernels of `kernels/` on the processor, compiled as C++. Matrix products are those of the
//! processor's backend.
#![allow(unreachable_pub, unsafe_code)]

mod build;

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use libloading::Library;
use mixnn::compute::cpu::Cpu;
use mixnn::compute::cuda::{Arg, Device, Launch, OperandLayout, Product};
use mixnn::compute::{ComputeError, Matrix, Memory};
use mixnn::device_memory::DeviceBlocks;

#[allow(unused_imports)]
pub use build::{fakes, kernel_names};

type LaunchKernel =
    unsafe extern "C" fn(*const c_char, *const c_uint, c_uint, c_uint, *mut *mut c_void, c_int) -> c_int;

/// The kernels, compiled once for the sources that there are.
fn kernels() -> &'static Library {
    static LIBRARY: OnceLock<Library> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let path = build::kernels();
        // SAFETY: nothing runs when the library is loaded.
        unsafe { Library::new(&path) }.unwrap_or_else(|error| panic!("cannot load {}: {error}", path.display()))
    })
}

/// Memory on the processor, as if it were a device's. Behind it stand bytes that no kernel may change.
pub struct HostMemory {
    bytes: Mutex<Vec<u128>>,
    len: usize,
}

const FENCE: usize = 64;
const FENCED: u8 = 0xa5;

impl HostMemory {
    fn at(&self) -> *mut u8 {
        self.bytes.lock().unwrap().as_mut_ptr().cast()
    }

    fn with<R>(&self, work: impl FnOnce(&mut [u8]) -> R) -> R {
        let mut bytes = self.bytes.lock().unwrap();
        // SAFETY: the vector owns these bytes, and the lock is held; any byte is a u8.
        work(unsafe { std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), self.len) })
    }

    fn fence(&self) -> bool {
        let bytes = self.bytes.lock().unwrap();
        // SAFETY: the vector owns these bytes, `FENCE` behind the first `len`.
        let fence = unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast::<u8>().add(self.len), FENCE) };
        fence.iter().all(|byte| *byte == FENCED)
    }
}

/// What a kernel's parameters are, as `cuda.h` says them.
fn kinds(kernel: &CStr) -> String {
    type Kinds = unsafe extern "C" fn(*const c_char) -> *const c_char;
    // SAFETY: the library has this function; what it returns is null or a constant of the library, which stays loaded.
    unsafe {
        let ask: libloading::Symbol<'_, Kinds> = kernels().get(b"shim_kinds").unwrap();
        let kinds = ask(kernel.as_ptr());
        assert!(!kinds.is_null(), "there is no kernel {kernel:?}");
        CStr::from_ptr(kinds).to_str().unwrap().to_owned()
    }
}

fn kind<M>(arg: &Arg<'_, M>) -> char {
    match arg {
        Arg::Memory(..) | Arg::Null => 'p',
        Arg::U32(_) => 'u',
        Arg::U64(_) => 'U',
        Arg::F32(_) => 'f',
    }
}

/// See the head of this file.
pub struct Shim {
    /// Whether the threads of a block run from the last to the first.
    backwards: bool,
    /// Blocks and threads are the kernels' own globals: one launch at a time in the process.
    cpu: Arc<Cpu>,
    /// Whether all queues of this device fail from now on.
    pub lost: Arc<AtomicBool>,
    /// How often they can be waited for before they are lost.
    pub finishes: Arc<AtomicI64>,
    /// All launches of its queues.
    pub launched: Arc<Mutex<Vec<Launch>>>,
}

/// One launch at a time.
static RUNNING: Mutex<()> = Mutex::new(());

impl Shim {
    pub fn new(backwards: bool) -> Self {
        let finishes = Arc::new(AtomicI64::new(i64::MAX));
        let cpu = Arc::new(Cpu::new(1).unwrap());
        Self { backwards, cpu, lost: Arc::default(), finishes, launched: Arc::default() }
    }
}

impl Device for Shim {
    type Memory = HostMemory;

    fn allocate(&self, bytes: usize) -> Result<HostMemory, ComputeError> {
        let mut words = Vec::new();
        let room = (bytes + FENCE).div_ceil(16);
        words.try_reserve_exact(room).map_err(|_| ComputeError::OutOfMemory { bytes })?;
        words.resize(room, u128::from_ne_bytes([FENCED; 16]));
        let memory = HostMemory { bytes: Mutex::new(words), len: bytes };
        memory.with(|bytes| bytes.fill(0));
        Ok(memory)
    }

    fn named(&self, memory: &Arc<HostMemory>, blocks: Vec<Range<usize>>) -> Option<DeviceBlocks> {
        assert!(blocks.iter().all(|block| block.end <= memory.len));
        let keeper: Arc<HostMemory> = Arc::clone(memory);
        // SAFETY: the vector never moves, and is there as long as the memory is.
        Some(unsafe { DeviceBlocks::new(memory.at().expose_provenance(), blocks, keeper) })
    }

    fn write(&self, host: &[u8], to: &HostMemory, at: usize) {
        to.with(|bytes| bytes[at..at + host.len()].copy_from_slice(host));
    }

    fn read(&self, from: &HostMemory, at: usize, host: &mut [u8]) {
        from.with(|bytes| host.copy_from_slice(&bytes[at..at + host.len()]));
    }

    fn copy(&self, from: &HostMemory, to: &HostMemory, bytes: usize) {
        let copied = from.with(|from| from[..bytes].to_vec());
        to.with(|to| to[..bytes].copy_from_slice(&copied));
    }

    fn clear(&self, memory: &HostMemory, at: usize, end: usize) {
        memory.with(|bytes| bytes[at..end].fill(0));
    }

    fn launch(&self, launch: Launch, args: &[Arg<'_, HostMemory>]) {
        let mut words: Vec<u64> = args
            .iter()
            .map(|arg| match arg {
                Arg::Memory(memory, at) => {
                    assert!(*at <= memory.len);
                    memory.at() as u64 + *at as u64
                }
                Arg::Null => 0,
                Arg::U32(number) => (*number).into(),
                Arg::U64(number) => *number,
                Arg::F32(number) => number.to_bits().into(),
            })
            .collect();
        let mut pointers: Vec<*mut c_void> = words.iter_mut().map(|word| std::ptr::from_mut(word).cast()).collect();
        self.launched.lock().unwrap().push(launch);
        let name = CString::new(launch.kernel).unwrap();
        let given: String = args.iter().map(kind).collect();
        assert_eq!(given, kinds(&name), "{} is given arguments other than it has", launch.kernel);
        let _running = RUNNING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // SAFETY: the library has this function; `words` are as many and of the types that the kernel takes, as was asked,
        // little-endian as this processor is; device memory outlives the call.
        let known = unsafe {
            let run: libloading::Symbol<'_, LaunchKernel> = kernels().get(b"shim_launch").unwrap();
            let Launch { grid, block, shared, .. } = launch;
            run(name.as_ptr(), grid.as_ptr(), block, shared, pointers.as_mut_ptr(), self.backwards.into())
        };
        assert_eq!(known, 1, "there is no kernel {}", launch.kernel);
        for (i, arg) in args.iter().enumerate() {
            if let Arg::Memory(memory, _) = arg {
                assert!(memory.fence(), "{} has written behind the end of its argument {i}", launch.kernel);
            }
        }
    }

    fn multiply(&self, product: Product, a: &HostMemory, b: &HostMemory, c: &HostMemory, bias: Option<&HostMemory>) {
        let mixnn::compute::Gemm { m, n, k, a_transposed, b_transposed, accumulate } = product.shape;
        let stored = |transposed: bool, [rows, columns]: [usize; 2]| match transposed {
            true => [columns, rows],
            false => [rows, columns],
        };
        let place = |side: OperandLayout, i: usize, row: usize, column: usize| {
            side.at + i * side.step + row * side.row + column
        };
        let cpu = &self.cpu;
        let taken = |memory: &HostMemory, side: OperandLayout, i: usize, [rows, columns]: [usize; 2]| {
            let all = floats(memory);
            let each = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
            let values: Vec<f32> = each.map(|(row, column)| all[place(side, i, row, column)]).collect();
            let mut buffer = cpu.zeros(values.len()).unwrap();
            cpu.upload(&values, &mut buffer);
            buffer
        };
        for i in 0..product.count {
            let left = taken(a, product.a, i, stored(a_transposed, [m, k]));
            let right = taken(b, product.b, i, stored(b_transposed, [k, n]));
            let mut out = match accumulate {
                true => taken(c, product.c, i, [m, n]),
                false => cpu.zeros(m * n).unwrap(),
            };
            cpu.gemm(product.shape, &left, &right, &mut out);
            let mut values = vec![0.0; m * n];
            cpu.download(&out, &mut values);
            if let Some(bias) = bias {
                let bias = floats(bias);
                values.iter_mut().enumerate().for_each(|(i, value)| *value += bias[i % n]);
                // As cuBLASLt, it has this behind a bias alone.
                let below = values.iter_mut().filter(|value| product.relu && **value < 0.0);
                below.for_each(|value| *value = 0.0);
            }
            c.with(|bytes| {
                for (at, value) in values.iter().enumerate() {
                    let to = 4 * place(product.c, i, at / n, at % n);
                    bytes[to..to + 4].copy_from_slice(&value.to_le_bytes());
                }
            });
        }
    }

    fn finish(&self) -> Result<(), ComputeError> {
        if self.finishes.fetch_sub(1, Ordering::Relaxed) <= 0 {
            self.lost.store(true, Ordering::Relaxed);
        }
        match self.lost.load(Ordering::Relaxed) {
            true => Err(ComputeError::Device { device: "shim".into(), call: "finish".into(), what: "lost".into() }),
            false => Ok(()),
        }
    }

    fn beside(&self) -> Result<Self, ComputeError> {
        let (cpu, lost, finishes) = (Arc::clone(&self.cpu), Arc::clone(&self.lost), Arc::clone(&self.finishes));
        Ok(Self { backwards: self.backwards, cpu, lost, finishes, launched: Arc::clone(&self.launched) })
    }

    fn fingerprint(&self) -> String {
        "shim".to_owned()
    }
}

fn floats(memory: &HostMemory) -> Vec<f32> {
    memory.with(|bytes| bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}
