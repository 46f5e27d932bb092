//! NumPy files, as a test writes and reads them.
// Each test's binary uses a part of it.
#![allow(dead_code)]

use std::fs;
use std::path::Path;

use mixnn::run::prepare::Prepared;

/// Writes the array of `shape` and type `descr` (`|u1`) whose values are `values`, little-endian.
pub(crate) fn write(path: &Path, descr: &str, shape: &[usize], values: &[u8]) {
    let dims: String = shape.iter().map(|dim| format!("{dim},")).collect();
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({dims})}}");
    let header = format!("{header:117}\n");
    let length = (header.len() as u16).to_le_bytes();
    fs::write(path, [b"\x93NUMPY\x01\x00".as_slice(), &length, header.as_bytes(), values].concat()).unwrap();
}

/// The shape, as the header has it, and the values of a file of f32.
pub(crate) fn read(path: &Path) -> (String, Vec<f32>) {
    let bytes = fs::read(path).unwrap();
    assert!(bytes.starts_with(b"\x93NUMPY\x01\x00"));
    let (header, values) = bytes[10..].split_at(u16::from_le_bytes([bytes[8], bytes[9]]).into());
    let header = std::str::from_utf8(header).unwrap();
    assert!(
        header.starts_with("{'descr': '<f4', 'fortran_order': False, 'shape': (") && header.ends_with('\n'),
        "{header}"
    );
    assert!((10 + header.len()).is_multiple_of(64));
    let shape = &header[header.find('(').unwrap()..=header.find(')').unwrap()];
    (shape.to_owned(), values.as_chunks().0.iter().map(|value| f32::from_le_bytes(*value)).collect())
}

/// Writes the test inputs of the job at `job` to `path`: (samples, values); their labels.
pub(crate) fn write_test_inputs(job: &Path, path: &Path) -> Vec<u32> {
    let test = Prepared::load(job, &[]).unwrap().test;
    let bytes: Vec<u8> = test.inputs.iter().copied().collect();
    write(path, "|u1", &[test.samples(), test.features()], &bytes);
    match test.targets {
        mixnn::data::Targets::Classes { labels, .. } => labels,
        mixnn::data::Targets::Values { .. } => panic!("these are classes"),
    }
}
