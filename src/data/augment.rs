//! Augmentation: training images that are moved and mirrored at random, differently in each epoch.

use crate::random::Seed;

/// What is done to each image of a training pass. The draws are new for each image and epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Augment {
    /// Width in pixels of a frame of zeros around the image. A part of the image's own size is cut out of it at a random place.
    pub crop: u32,
    /// Whether every second image, drawn at random, is mirrored left to right.
    pub flip: bool,
}

/// The augmentation of one epoch, with its draws.
pub struct Augmented {
    /// What is done to each image.
    augment: Augment,
    /// The epoch's seed. Each sample's draws are derived from it.
    seed: Seed,
}

impl Augmented {
    /// The augmentation of one epoch, whose draws come from `seed`.
    pub fn new(augment: Augment, seed: Seed) -> Self {
        Self { augment, seed }
    }

    /// Whether anything is done to images at all.
    pub fn is_needed(&self) -> bool {
        self.augment != Augment::default()
    }

    /// Writes the image `from` to `to`, moved and mirrored as the draws of sample `index` say. Both are (channels, height,
    /// width), with values of `bytes` bytes each.
    pub fn apply(&self, index: u32, [channels, height, width]: [usize; 3], bytes: usize, from: &[u8], to: &mut [u8]) {
        let mut draws = self.seed.derive("sample", index.into()).stream();
        let crop = self.augment.crop;
        let [down, right] = [(); 2].map(|()| draws.below(2 * crop + 1) as isize - crop as isize);
        let flip = self.augment.flip && draws.below(2) == 1;
        // The first columns, in `to` and in `from`, of the part that both images have. Its width is `columns`.
        let (to_left, from_left) = (0.max(-right) as usize, 0.max(right) as usize);
        let columns = width.saturating_sub(right.unsigned_abs());
        to.fill(0);
        for channel in 0..channels {
            for y in 0..height {
                let Some(source) = y.checked_add_signed(down).filter(|y| *y < height) else { continue };
                let source = &from[((channel * height + source) * width + from_left.min(width)) * bytes..];
                let row = &mut to[(channel * height + y) * width * bytes..][..width * bytes];
                for x in 0..columns {
                    let place = if flip { width - 1 - (to_left + x) } else { to_left + x };
                    row[place * bytes..][..bytes].copy_from_slice(&source[x * bytes..][..bytes]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(augment: Augment, index: u32, bytes: usize) -> Vec<u8> {
        let seed = Seed::from_text("1");
        let image: Vec<u8> = (1..=(2 * 3 * 4 * bytes) as u8).collect();
        let mut seen = vec![99; image.len()];
        Augmented::new(augment, seed).apply(index, [2, 3, 4], bytes, &image, &mut seen);
        seen
    }

    /// The expected result, worked out value by value: the image is moved, then mirrored.
    fn moved(down: isize, right: isize, flip: bool, bytes: usize) -> Vec<u8> {
        let mut moved = Vec::new();
        for channel in 0..2 {
            for y in 0..3_isize {
                for x in 0..4_isize {
                    let x = if flip { 3 - x } else { x };
                    let (y, x) = (y + down, x + right);
                    let inside = (0..3).contains(&y) && (0..4).contains(&x);
                    let first = ((channel * 3 + y) * 4 + x) * bytes as isize + 1;
                    moved.extend((0..bytes as isize).map(|byte| if inside { (first + byte) as u8 } else { 0 }));
                }
            }
        }
        moved
    }

    #[test]
    fn an_image_is_cut_out_at_each_place_and_mirrored() {
        for bytes in [1, 4] {
            let augment = Augment { crop: 2, flip: true };
            let mut due: Vec<Vec<u8>> = Vec::new();
            for flip in [false, true] {
                due.extend((-2..=2).flat_map(|down| (-2..=2).map(move |right| moved(down, right, flip, bytes))));
            }
            let found: Vec<Vec<u8>> = (0..1000).map(|index| seen(augment, index, bytes)).collect();
            assert!(found.iter().all(|found| due.contains(found)));
            assert!(due.iter().all(|due| found.contains(due)), "1000 draws of 50 miss none");
        }
    }

    #[test]
    fn draws_depend_on_sample_and_seed_alone() {
        let augment = Augment { crop: 1, flip: true };
        assert_eq!(seen(augment, 5, 1), seen(augment, 5, 1));
        assert!((0..20).any(|index| seen(augment, index, 1) != seen(augment, 0, 1)));
        assert!(!Augmented::new(Augment::default(), Seed::from_text("1")).is_needed());
        assert_eq!(seen(Augment::default(), 3, 1), moved(0, 0, false, 1));
    }

    #[test]
    fn an_image_may_be_cut_out_of_zeros_alone() {
        for index in 0..200 {
            seen(Augment { crop: 9, flip: true }, index, 1);
        }
    }
}
