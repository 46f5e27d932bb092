//! What a model gives for samples, as a NumPy file.

/// The bytes of a NumPy file of f32: an array of shape `shape` with `values`, row-major, as numpy.save writes it
/// (`numpy.lib.format`, version 1.0).
pub fn npy(shape: &[usize], values: &[f32]) -> Vec<u8> {
    let dims = shape.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
    // Python writes a tuple of one entry with a comma.
    let dims = if shape.len() == 1 { dims + "," } else { dims };
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({dims}), }}");
    // The values begin at a multiple of 64 bytes.
    let before = b"\x93NUMPY\x01\x00".len() + 2;
    let end = (before + header.len() + 1).next_multiple_of(64) - before;
    header = format!("{header:width$}\n", width = end - 1);
    let mut bytes = Vec::with_capacity(before + header.len() + 4 * values.len());
    bytes.extend_from_slice(b"\x93NUMPY\x01\x00");
    bytes.extend_from_slice(&(header.len() as u16).to_le_bytes());
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected bytes are those of `numpy.save(file, numpy.array([[1, -2]], numpy.float32))`.
    #[test]
    fn the_file_is_numpys() {
        let bytes = npy(&[1, 2], &[1.0, -2.0]);
        let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }";
        assert_eq!(bytes[..10], *b"\x93NUMPY\x01\x00v\x00");
        assert_eq!(std::str::from_utf8(&bytes[10..128]).unwrap(), format!("{header:117}\n"));
        assert_eq!(bytes[128..], [[0, 0, 128, 63], [0, 0, 0, 192]].concat());
    }
}
