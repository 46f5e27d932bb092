//! A job on a data set in MNIST's form, small enough to be made by a test.
// Each test's binary uses a part of it.
#![allow(dead_code)]

use std::fs;
use std::path::Path;

use crate::binary::DIGITS;

pub(crate) const TRAIN_IMAGES: &str = "train-images-idx3-ubyte";
pub(crate) const TRAIN_LABELS: &str = "train-labels-idx1-ubyte";
pub(crate) const TEST_IMAGES: &str = "t10k-images-idx3-ubyte";
pub(crate) const TEST_LABELS: &str = "t10k-labels-idx1-ubyte";

/// An IDX file of unsigned bytes.
pub(crate) fn idx(dims: &[u32], values: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, dims.len() as u8];
    bytes.extend(dims.iter().flat_map(|dim| dim.to_be_bytes()));
    bytes.extend_from_slice(values);
    bytes
}

/// Writes 40 training and 10 test images of 4x5 pixels to `folder`.
pub(crate) fn write(folder: &Path) {
    let put = |name: &str, bytes: Vec<u8>| fs::write(folder.join(name), bytes).unwrap();
    let pixels = |count: usize| (0..count * 20).map(|i| (i * 37 % 251) as u8).collect::<Vec<u8>>();
    let labels = |count: u8| (0..count).map(|i| i % 10).collect::<Vec<u8>>();
    put(TRAIN_IMAGES, idx(&[40, 4, 5], &pixels(40)));
    put(TRAIN_LABELS, idx(&[40], &labels(40)));
    put(TEST_IMAGES, idx(&[10, 4, 5], &pixels(10)));
    put(TEST_LABELS, idx(&[10], &labels(10)));
}

/// The digits job, on the images in `data` instead, for one epoch.
pub(crate) fn job(data: &str) -> String {
    let job = fs::read_to_string(DIGITS).unwrap();
    let source = format!("source = \"mnist\"\npath = {data:?}");
    job.replace("source = \"digits\"", &source).replace("epochs = 15", "epochs = 1")
}
