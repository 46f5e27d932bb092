//! Kernels that are compiled, kept, damaged and refused.

use std::path::PathBuf;

use mixnn::compute::ComputeError;
use mixnn::compute::cuda::SOURCES;
use mixnn::compute::cuda::driver::Driver;
use mixnn::compute::cuda::driver::compile::{Compiler, cache_folder};
use mixnn::float::Precision;
use sha2::{Digest, Sha256};

use crate::{driver, own, with_stand_ins};

/// What has been compiled so far.
fn compiled() -> Vec<String> {
    let list = std::fs::read_to_string(own().join("compiled")).unwrap();
    // Those of one start are compiled side by side.
    let mut list: Vec<String> = list.lines().map(str::to_owned).collect();
    let last = list.len().min(SOURCES.len());
    list[..last].sort_unstable();
    list
}

/// What is kept of a file of kernels.
fn kept(file: &str) -> PathBuf {
    let mut files = std::fs::read_dir(cache_folder().unwrap()).unwrap().map(|entry| entry.unwrap().path());
    files.find(|path| path.file_name().unwrap().to_str().unwrap().starts_with(&format!("{file}-sm_90-"))).unwrap()
}

fn with_hash(bytes: &[u8]) -> Vec<u8> {
    [bytes, Sha256::digest(bytes).as_slice()].concat()
}

#[test]
fn what_is_kept_is_compiled_once_and_again_where_it_is_damaged() {
    with_stand_ins(&[], || {
        drop(driver());
        let files: Vec<&str> = SOURCES.iter().map(|(file, _)| *file).collect();
        assert_eq!(compiled(), files);
        drop(driver());
        assert_eq!(compiled(), files, "not taken from the disk");
        let (file, source) = SOURCES[1];
        let path = kept(file);
        let whole = std::fs::read(&path).unwrap();
        let mut flipped = whole.clone();
        flipped[90] ^= 1;
        let elsewhere = Compiler::new([8, 0], None).unwrap().cubin(file, source, true).unwrap();
        let other = [b"\x7fELF".as_slice(), &[0; 200]].concat();
        // The last three are whole, and nothing that the driver takes.
        let whole_ones = [&elsewhere[..], b"kept", &other].map(with_hash);
        for damaged in [flipped, whole[..50].to_vec(), vec![]].into_iter().chain(whole_ones) {
            let before = compiled();
            std::fs::write(&path, damaged).unwrap();
            drop(driver());
            assert_eq!(compiled()[before.len()..], [file]);
            assert_eq!(std::fs::read(&path).unwrap(), whole, "not mended");
        }
    });
}

#[test]
fn a_kernel_that_is_refused_is_an_error_with_its_log() {
    with_stand_ins(&[("MIXNN_FAKE_REFUSED", "matrix.cu")], || {
        let error = Driver::open(0, Precision::Fp32).err().unwrap();
        let ComputeError::Compile { file, architecture, log } = &error else { panic!("{error}") };
        assert_eq!((&file[..], &architecture[..]), ("matrix.cu", "sm_90"));
        assert!(log.contains("NVRTC_ERROR_COMPILATION") && log.contains("matrix.cu(1): error: refused"), "{log}");
        let bad = "void f() {}\n#error no such thing\n";
        let error = Compiler::new([9, 0], None).unwrap().compile("bad.cu", bad).unwrap_err().to_string();
        assert!(error.contains("bad.cu(2): error: #error directive: no such thing"), "{error}");
    });
}

/// Where nothing can be kept, all is compiled each time.
#[test]
fn without_a_place_to_keep_them() {
    with_stand_ins(&[("XDG_CACHE_HOME", "/proc/none")], || {
        drop(driver());
        drop(driver());
        assert_eq!(compiled().len(), 2 * SOURCES.len());
    });
}
