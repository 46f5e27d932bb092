//! Images whose channels come last in their file: how they are recognised, and how channels are brought to the front.

/// Whether samples with these dimensions look like (height, width, channels).
pub(super) fn seems_last(dims: &[usize]) -> bool {
    matches!(*dims, [height, width, channels @ (1 | 3 | 4)] if height > channels && width > channels)
}

/// Rearranges the samples in `bytes` from (height, width, channels) to (channels, height, width). Each value has `value` bytes.
pub(super) fn channels_first(bytes: &[u8], [height, width, channels]: [usize; 3], value: usize) -> Vec<u8> {
    let places = height * width;
    let mut first = Vec::with_capacity(bytes.len());
    for image in bytes.chunks_exact((places * channels * value).max(1)) {
        for channel in 0..channels {
            for place in 0..places {
                first.extend_from_slice(&image[(place * channels + channel) * value..][..value]);
            }
        }
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_channels_behind_a_larger_image_are_seen() {
        for dims in [[12, 12, 3], [28, 28, 1], [5, 9, 4], [2, 2, 1]] {
            assert!(seems_last(&dims), "{dims:?}");
        }
        for dims in [[3, 12, 12], [1, 28, 28], [12, 12, 2], [3, 12, 3], [12, 3, 3], [64, 1, 1], [4, 5, 4]] {
            assert!(!seems_last(&dims), "{dims:?}");
        }
        assert!(!seems_last(&[12, 3]) && !seems_last(&[9, 9, 9, 3]));
    }

    #[test]
    fn channels_come_to_the_front_of_each_image() {
        // Two images of 1x2 pixels: red, green and blue of one pixel, then of the next.
        let images = [1, 2, 3, 4, 5, 6, 11, 12, 13, 14, 15, 16];
        assert_eq!(channels_first(&images, [1, 2, 3], 1), [1, 4, 2, 5, 3, 6, 11, 14, 12, 15, 13, 16]);
        let words: Vec<u8> = images.iter().flat_map(|value| [*value, 100 + value]).collect();
        let due = [1, 101, 4, 104, 2, 102, 5, 105, 3, 103, 6, 106];
        assert_eq!(channels_first(&words, [1, 2, 3], 2)[..12], due);
        assert_eq!(channels_first(&images, [3, 2, 1], 1), images[..]);
    }
}
