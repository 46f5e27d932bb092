//! Compiles the kernels for one GPU architecture. NVRTC does it when they are first needed, and the result is kept on disk.
//!
//! NVRTC is asked for machine code of the device's own architecture (a CUBIN). A driver would refuse PTX from an NVRTC that is
//! newer than itself.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use cudarc::nvrtc::{result, sys};
use sha2::{Digest, Sha256};

use crate::compute::ComputeError;
use crate::compute::cuda::FUNCTIONS;

/// Length in bytes of the SHA-256 hash at the end of a CUBIN that is kept on disk.
const HASH: usize = 32;

/// Compiles kernels for one architecture.
pub struct Compiler {
    /// The architecture's name, such as `sm_90`.
    architecture: String,
    /// Version of NVRTC, as [major, minor].
    version: [i32; 2],
    /// The folder where CUBINs are kept. `None` if there is none; then all are compiled each time.
    folder: Option<PathBuf>,
}

impl Compiler {
    /// A compiler for devices of the compute capability `major`.`minor`. CUBINs are kept in `folder`.
    ///
    /// # Errors
    /// [`ComputeError::NoDevice`] if NVRTC is not there.
    pub fn new([major, minor]: [i32; 2], folder: Option<PathBuf>) -> Result<Self, ComputeError> {
        Ok(Self { architecture: format!("sm_{major}{minor}"), version: version()?, folder })
    }

    /// The options of every compilation. Multiplications and additions are not contracted, so that a sum has the bits that its
    /// source says.
    fn options(&self) -> [String; 3] {
        [format!("--gpu-architecture={}", self.architecture), "--std=c++17".to_owned(), "--fmad=false".to_owned()]
    }

    /// The CUBIN of `source`, the file `name` of `kernels/`. It is read from disk if it is kept there undamaged; otherwise, and
    /// if `anew`, it is compiled.
    ///
    /// # Errors
    /// [`ComputeError::Compile`] if the source does not compile.
    pub fn cubin(&self, name: &str, source: &str, anew: bool) -> Result<Vec<u8>, ComputeError> {
        let path = self.folder.as_ref().filter(|folder| is_private(folder));
        let path = path.map(|folder| folder.join(self.file(name, source)));
        if let Some(kept) = path.as_deref().filter(|_| !anew).and_then(read) {
            return Ok(kept);
        }
        let (cubin, _) = self.compile(name, source)?;
        // A CUBIN that cannot be kept is compiled again next time.
        if let Some(path) = path {
            let _ = write(&path, &cubin);
        }
        Ok(cubin)
    }

    /// The file name of a kept CUBIN. It contains a hash of all that the CUBIN depends on.
    fn file(&self, name: &str, source: &str) -> String {
        let mut hash = Sha256::new();
        for part in [source, FUNCTIONS, &self.options().join(" "), &format!("{:?}", self.version)] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        let digits: String = hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        format!("{name}-{}-{digits}.cubin", self.architecture)
    }

    /// Compiles `source`. Returns the CUBIN and NVRTC's log, which is empty if there is nothing to complain about.
    ///
    /// # Errors
    /// [`ComputeError::Compile`] if the source does not compile.
    pub fn compile(&self, name: &str, source: &str) -> Result<(Vec<u8>, String), ComputeError> {
        let refused = |log: String| ComputeError::Compile {
            file: name.to_owned(),
            architecture: self.architecture.clone(),
            log,
        };
        let text = |text: &str| CString::new(text).map_err(|_| refused("a zero byte in the source".to_owned()));
        let (source, file, functions, included) =
            (text(source)?, text(name)?, text(FUNCTIONS)?, text("functions.cuh")?);
        let mut program: sys::nvrtcProgram = std::ptr::null_mut();
        // SAFETY: NVRTC is there, since its version was asked for; the strings outlive the program.
        unsafe {
            sys::nvrtcCreateProgram(
                &raw mut program,
                source.as_ptr(),
                file.as_ptr(),
                1,
                [functions.as_ptr()].as_ptr(),
                [included.as_ptr()].as_ptr(),
            )
        }
        .result()
        .map_err(|error| refused(error.to_string()))?;
        // SAFETY: the program lives until it is destroyed, below.
        let compiled = unsafe { result::compile_program(program, &self.options()) };
        let log = log(program);
        let cubin = match compiled {
            Ok(()) => cubin(program).map(|cubin| (cubin, log)).map_err(|error| refused(error.to_string())),
            Err(error) => Err(refused(format!("{error}\n{log}"))),
        };
        // SAFETY: as above; nothing uses it any more.
        let _ = unsafe { result::destroy_program(program) };
        cubin
    }
}

/// NVRTC's log of a program that was compiled.
fn log(program: sys::nvrtcProgram) -> String {
    // SAFETY: a program that was created and not destroyed.
    let log = unsafe { result::get_program_log(program) }.unwrap_or_default();
    let bytes: Vec<u8> = log.into_iter().map(|c| c as u8).take_while(|byte| *byte != 0).collect();
    String::from_utf8_lossy(&bytes).trim().to_owned()
}

/// The machine code of a program that was compiled.
fn cubin(program: sys::nvrtcProgram) -> Result<Vec<u8>, result::NvrtcError> {
    let mut size = 0;
    // SAFETY: a program that was compiled; the buffer has the size that NVRTC asks for.
    unsafe {
        sys::nvrtcGetCUBINSize(program, &raw mut size).result()?;
        let mut cubin = vec![0_u8; size];
        sys::nvrtcGetCUBIN(program, cubin.as_mut_ptr().cast()).result()?;
        Ok(cubin)
    }
}

/// The version of NVRTC as [major, minor], if it is there.
///
/// # Errors
/// [`ComputeError::NoDevice`] if NVRTC is not found or does not answer.
pub fn version() -> Result<[i32; 2], ComputeError> {
    // SAFETY: loads the library, whose initialisation does nothing that others see.
    if !unsafe { sys::is_culib_present() } {
        let missing = "NVRTC, CUDA's compiler library (libnvrtc.so), is not found; install CUDA's runtime libraries, or name \
                       their folder in LD_LIBRARY_PATH";
        return Err(ComputeError::NoDevice { missing: missing.to_owned() });
    }
    let [mut major, mut minor] = [0; 2];
    // SAFETY: the library is there; both are written.
    let asked = unsafe { sys::nvrtcVersion(&raw mut major, &raw mut minor) };
    match asked.result() {
        Ok(()) => Ok([major, minor]),
        Err(error) => Err(ComputeError::NoDevice { missing: format!("NVRTC does not answer: {error}") }),
    }
}

/// The folder for CUBINs: `$XDG_CACHE_HOME/mixnn`, or else `~/.cache/mixnn`.
pub fn cache_folder() -> Option<PathBuf> {
    let named = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home =
        || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")).filter(|path| path.is_absolute());
    Some(named.or_else(home)?.join("mixnn"))
}

/// Whether the file or folder is this user's and nobody else can write it, or does not exist. Kernels see keys and activations,
/// so nobody else may replace them.
fn is_private(path: &Path) -> bool {
    match (std::fs::metadata(path), std::fs::metadata("/proc/self")) {
        (Ok(found), Ok(own)) => found.uid() == own.uid() && found.mode() & 0o022 == 0,
        // The existence is not asked for a second time, because another thread may have created it by now.
        (Err(error), _) => error.kind() == std::io::ErrorKind::NotFound,
        (Ok(_), Err(_)) => false,
    }
}

/// Reads a kept CUBIN. `None` if it is not there, is damaged, or may have been written by someone else.
fn read(path: &Path) -> Option<Vec<u8>> {
    if !is_private(path) {
        return None;
    }
    let mut bytes = std::fs::read(path).ok()?;
    let hash = bytes.split_off(bytes.len().checked_sub(HASH)?);
    (Sha256::digest(&bytes).as_slice() == hash).then_some(bytes)
}

/// Keeps a CUBIN on disk, with its hash. The file appears whole or not at all.
fn write(path: &Path, cubin: &[u8]) -> std::io::Result<()> {
    let Some(folder) = path.parent() else { return Ok(()) };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(cubin)?;
    file.write_all(&Sha256::digest(cubin))?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::cuda::SOURCES;

    /// A compiler if NVRTC is there. If it is not, that is a failure only where `MIXNN_NVRTC=required` is set.
    fn compiler(capability: [i32; 2], folder: Option<PathBuf>) -> Option<Compiler> {
        match Compiler::new(capability, folder) {
            Ok(compiler) => Some(compiler),
            Err(error) if std::env::var_os("MIXNN_NVRTC").is_some_and(|said| said == "required") => panic!("{error}"),
            Err(error) => {
                eprintln!("not compiled: {error}");
                None
            }
        }
    }

    #[test]
    fn every_kernel_compiles_without_a_word() {
        for capability in [[8, 0], [9, 0], [10, 0]] {
            let Some(compiler) = compiler(capability, None) else { return };
            for (name, source) in SOURCES {
                let (cubin, log) = compiler.compile(name, source).unwrap();
                assert!(cubin.starts_with(b"\x7fELF"), "{name}");
                assert_eq!(log, "", "{name} for {capability:?}");
            }
        }
    }

    #[test]
    fn what_is_refused_is_shown_with_its_log() {
        let Some(compiler) = compiler([9, 0], None) else { return };
        let error = compiler.compile("bad.cu", "__global__ void f() { undeclared = 1; }").unwrap_err().to_string();
        assert!(error.contains("bad.cu") && error.contains("undeclared") && error.contains("sm_90"), "{error}");
    }

    #[test]
    fn what_others_can_write_is_not_taken() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let Some(compiler) = compiler([9, 0], Some(folder.path().join("kept"))) else { return };
        let (name, source) = SOURCES[0];
        let cubin = compiler.cubin(name, source, false).unwrap();
        let (folder, path) =
            (folder.path().join("kept"), folder.path().join("kept").join(compiler.file(name, source)));
        for open in [&path, &folder] {
            write(&path, b"forged").unwrap();
            assert_eq!(compiler.cubin(name, source, false).unwrap(), b"forged");
            let mode = std::fs::metadata(open).unwrap().permissions().mode();
            std::fs::set_permissions(open, std::fs::Permissions::from_mode(mode | 0o020)).unwrap();
            assert_eq!(compiler.cubin(name, source, false).unwrap(), cubin);
            std::fs::set_permissions(open, std::fs::Permissions::from_mode(mode)).unwrap();
        }
    }

    #[test]
    fn a_damaged_kernel_is_compiled_again() {
        let folder = tempfile::tempdir().unwrap();
        let Some(compiler) = compiler([9, 0], Some(folder.path().to_owned())) else { return };
        let (name, source) = SOURCES[0];
        let cubin = compiler.cubin(name, source, false).unwrap();
        let path = folder.path().join(compiler.file(name, source));
        assert_eq!(read(&path).unwrap(), cubin);
        // Shows that the CUBIN is taken from the disk.
        write(&path, b"kept").unwrap();
        assert_eq!(compiler.cubin(name, source, false).unwrap(), b"kept");
        assert_eq!(compiler.cubin(name, source, true).unwrap(), cubin);
        for damage in [|bytes: &mut Vec<u8>| bytes[100] ^= 1, |bytes: &mut Vec<u8>| bytes.truncate(9), Vec::clear] {
            let mut bytes = std::fs::read(&path).unwrap();
            damage(&mut bytes);
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(compiler.cubin(name, source, false).unwrap(), cubin);
            assert_eq!(read(&path).unwrap(), cubin, "not mended");
        }
    }
}
