//! Conversions on the processor: f32 values to the bytes of a message and back, and the data's values to f32.

use half::{bf16, f16};
use pulp::Arch;

use super::vector::vectorised;
use crate::element::{Element, Encoding};
use crate::float::Float;

/// Reads the little-endian numbers of `format` in `from`, and writes them to `to` as f32.
pub(super) fn decode(simd: Arch, format: Float, from: &[u8], to: &mut [f32]) {
    match format {
        Float::F32 => each(simd, from.as_chunks::<4>().0, to, |from| f32::from_le_bytes(*from)),
        Float::Bf16 => each(simd, from.as_chunks::<2>().0, to, |from| bf16::from_le_bytes(*from).to_f32()),
        Float::F16 => each(simd, from.as_chunks::<2>().0, to, |from| f16::from_le_bytes(*from).to_f32()),
    }
}

/// Writes the values of `from` to `to` as little-endian numbers of `format`, each rounded to the nearest.
pub(super) fn encode(simd: Arch, format: Float, from: &[f32], to: &mut [u8]) {
    match format {
        Float::F32 => each(simd, from, to.as_chunks_mut::<4>().0, |from| from.to_le_bytes()),
        Float::Bf16 => each(simd, from, to.as_chunks_mut::<2>().0, |from| bf16::from_f32(*from).to_le_bytes()),
        Float::F16 => each(simd, from, to.as_chunks_mut::<2>().0, |from| f16::from_f32(*from).to_le_bytes()),
    }
}

/// `to` = the values of `from`, rounded to `format` and back.
pub(super) fn round(simd: Arch, format: Float, from: &[f32], to: &mut [f32]) {
    match format {
        Float::F32 => to.copy_from_slice(from),
        Float::Bf16 => each(simd, from, to, |from| bf16::from_f32(*from).to_f32()),
        Float::F16 => each(simd, from, to, |from| f16::from_f32(*from).to_f32()),
    }
}

/// Reads the data's values in `from`, and writes them to `to` (rows, n): each channel of a row is scaled and shifted as
/// `encoding` says.
pub(super) fn decode_data(simd: Arch, encoding: &Encoding, n: usize, from: &[u8], to: &mut [f32]) {
    let (scale, shift) = (&encoding.scale[..], &encoding.shift[..]);
    match encoding.element {
        Element::U8 => channels(simd, n, scale, shift, from, to, |byte| f32::from(*byte)),
        Element::U16 => {
            let from = from.as_chunks::<2>().0;
            channels(simd, n, scale, shift, from, to, |token| f32::from(u16::from_le_bytes(*token)));
        }
        Element::F32 => {
            let from = from.as_chunks::<4>().0;
            channels(simd, n, scale, shift, from, to, |number| f32::from_le_bytes(*number));
        }
    }
}

/// `to = scale f(from) + shift`, where each channel is an equal part of a row of `n` values and has its own scale and shift.
#[inline(always)]
fn channels<X>(
    simd: Arch,
    n: usize,
    scale: &[f32],
    shift: &[f32],
    from: &[X],
    to: &mut [f32],
    f: impl Fn(&X) -> f32,
) {
    let width = n / scale.len();
    for (from, to) in from.chunks_exact(n).zip(to.chunks_exact_mut(n)) {
        let parts = from.chunks_exact(width).zip(to.chunks_exact_mut(width));
        for ((from, to), (scale, shift)) in parts.zip(scale.iter().zip(shift)) {
            each(simd, from, to, |from| f(from).mul_add(*scale, *shift));
        }
    }
}

/// `to = f(from)`, for each value.
#[inline(always)]
fn each<X, Y>(simd: Arch, from: &[X], to: &mut [Y], f: impl Fn(&X) -> Y) {
    vectorised(
        simd,
        #[inline(always)]
        || {
            for (to, from) in to.iter_mut().zip(from) {
                *to = f(from);
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::super::simd::{chosen, there};
    use super::*;

    /// Each row: the bits of an f32, of the nearest bf16 and of the nearest f16. They are worked out by hand after IEEE
    /// 754-2019, 4.3.1.
    const ROUNDED: [(f32, u16, u16); 9] = [
        (0.0, 0x0000, 0x0000),
        (-1.5, 0xbfc0, 0xbe00),
        // Halfway between two numbers: rounds to the even one, down and up.
        (1.0 + 1.0 / 256.0, 0x3f80, 0x3c04),
        (1.0 + 3.0 / 256.0, 0x3f82, 0x3c0c),
        (1.0 + 1.0 / 2048.0, 0x3f80, 0x3c00),
        (65_504.0, 0x4780, 0x7bff),
        // Too large for f16, which gives infinity.
        (65_520.0, 0x4780, 0x7c00),
        // The smallest number of f16, and a number that rounds to zero.
        (5.960_464_5e-8, 0x3380, 0x0001),
        (2.980_232_2e-8, 0x3300, 0x0000),
    ];

    #[test]
    fn numbers_are_rounded_to_the_nearest_and_read_back() {
        for simd in there() {
            for (number, as_bf16, as_f16) in ROUNDED {
                for (format, bits) in [(Float::Bf16, as_bf16), (Float::F16, as_f16)] {
                    let mut bytes = [0; 2];
                    encode(simd, format, &[number], &mut bytes);
                    assert_eq!(u16::from_le_bytes(bytes), bits, "{number} {format:?}");
                    let (mut decoded, mut rounded) = ([0.0], [1.0]);
                    decode(simd, format, &bytes, &mut decoded);
                    round(simd, format, &[number], &mut rounded);
                    assert_eq!(decoded[0].to_bits(), rounded[0].to_bits(), "{number} {format:?}");
                }
            }
        }
    }

    #[test]
    fn data_are_scaled_and_shifted_by_channel() {
        for simd in there() {
            let decoded = |encoding: &Encoding, from: &[u8]| {
                let mut to = [0.0; 8];
                decode_data(simd, encoding, 4, from, &mut to);
                to
            };
            let scaled = Encoding::scaled(Element::U8, 1.0 / 255.0);
            let bytes = [0, 1, 2, 255, 128, 3, 77, 9];
            assert_eq!(decoded(&scaled, &bytes), bytes.map(|byte| f32::from(byte) * (1.0 / 255.0)));
            let halves = Encoding { scale: vec![0.5, 2.0], shift: vec![1.0, -1.0], ..scaled };
            assert_eq!(decoded(&halves, &bytes), [1.0, 1.5, 3.0, 509.0, 65.0, 2.5, 153.0, 17.0]);
            let words: Vec<u8> =
                [0_u16, 1, 256, 65_535, 7, 8, 9, 10].iter().flat_map(|word| word.to_le_bytes()).collect();
            let tokens = Encoding::scaled(Element::U16, 1.0);
            assert_eq!(decoded(&tokens, &words), [0.0, 1.0, 256.0, 65_535.0, 7.0, 8.0, 9.0, 10.0]);
            let numbers = [0.1_f32, -2.0, 1.0e-40, 3.0e38, 0.0, 5.0, 6.0, 7.0];
            let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
            assert_eq!(decoded(&Encoding::scaled(Element::F32, 1.0), &bytes), numbers);
        }
    }

    #[test]
    fn a_single_is_left_as_it_is() {
        let numbers = [1.0e-40, -0.0, f32::INFINITY, 3.402_823_4e38, 0.1];
        let (mut bytes, mut decoded) = ([0; 20], [0.0; 5]);
        encode(chosen().unwrap(), Float::F32, &numbers, &mut bytes);
        decode(chosen().unwrap(), Float::F32, &bytes, &mut decoded);
        assert_eq!(decoded.map(f32::to_bits), numbers.map(f32::to_bits));
    }

    #[test]
    fn what_is_not_a_number_stays_so() {
        for format in [Float::Bf16, Float::F16] {
            let mut rounded = [0.0];
            round(chosen().unwrap(), format, &[f32::NAN], &mut rounded);
            assert!(rounded[0].is_nan());
        }
    }
}
