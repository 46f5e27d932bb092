//! Which samples are in which micro-batch: an order of samples is cut into batches, and these into micro-batches.

/// The samples of one pass in their order, cut into batches and micro-batches. The last batch may be short, and so may be its
/// last micro-batch.
#[derive(Clone, Debug)]
pub struct Batches {
    /// The samples, by their index in the data set.
    order: Vec<u32>,
    /// Number of samples in a full batch.
    batch: usize,
    /// Number of samples in a full micro-batch.
    micro_batch: usize,
}

impl Batches {
    /// Cuts `order` into batches of `batch` samples, and these into micro-batches of `micro_batch` samples. `micro_batch` must
    /// divide `batch`.
    pub fn new(order: Vec<u32>, batch: u32, micro_batch: u32) -> Self {
        Self { order, batch: batch.max(1) as usize, micro_batch: micro_batch.max(1) as usize }
    }

    /// Number of samples in the smallest micro-batch, if `samples` samples are cut into micro-batches of `micro_batch`: the
    /// last one, if it is short.
    pub fn smallest(samples: usize, micro_batch: u32) -> usize {
        let micro_batch = micro_batch.max(1) as usize;
        match samples % micro_batch {
            0 => micro_batch,
            short => short,
        }
    }

    /// Number of samples of the pass.
    pub fn samples(&self) -> usize {
        self.order.len()
    }

    /// Number of batches of the pass.
    pub fn batches(&self) -> u32 {
        self.order.len().div_ceil(self.batch) as u32
    }

    /// Number of micro-batches in a full batch.
    pub fn full(&self) -> u32 {
        self.batch.div_ceil(self.micro_batch) as u32
    }

    /// Number of micro-batches in the whole pass.
    pub fn micro_batches(&self) -> u32 {
        let whole = self.order.len() / self.batch * self.batch.div_ceil(self.micro_batch);
        (whole + (self.order.len() % self.batch).div_ceil(self.micro_batch)) as u32
    }

    /// The samples of batch number `batch`, by their index in the data set.
    ///
    /// # Panics
    /// If there is no such batch.
    pub fn batch(&self, batch: u32) -> &[u32] {
        let start = batch as usize * self.batch;
        &self.order[start..self.order.len().min(start + self.batch)]
    }

    /// The samples of micro-batch number `micro_batch` of batch number `batch`, by their index in the data set.
    ///
    /// # Panics
    /// If there is no such batch or micro-batch.
    pub fn micro_batch(&self, batch: u32, micro_batch: u32) -> &[u32] {
        let batch = self.batch(batch);
        let start = micro_batch as usize * self.micro_batch;
        &batch[start..batch.len().min(start + self.micro_batch)]
    }

    /// The micro-batches of batch number `batch`: the number of each, and its samples.
    ///
    /// # Panics
    /// If there is no such batch.
    pub fn micro_batches_of(&self, batch: u32) -> impl Iterator<Item = (u32, &[u32])> {
        (0..).zip(self.batch(batch).chunks(self.micro_batch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_is_in_one_micro_batch_in_order() {
        for (samples, batch, micro) in
            [(100, 32, 8), (64, 64, 16), (65, 64, 16), (5, 64, 64), (33, 32, 32), (33, 32, 1), (41, 32, 8), (0, 4, 2)]
        {
            let batches = Batches::new((0..samples).rev().collect(), batch, micro);
            let mut seen = Vec::new();
            let mut count = 0;
            let mut smallest = micro as usize;
            for b in 0..batches.batches() {
                for (m, rows) in batches.micro_batches_of(b) {
                    assert_eq!(rows, batches.micro_batch(b, m));
                    assert!(!rows.is_empty() && rows.len() <= micro as usize);
                    smallest = smallest.min(rows.len());
                    seen.extend_from_slice(rows);
                    count += 1;
                }
            }
            assert_eq!(seen, (0..samples).rev().collect::<Vec<u32>>());
            assert_eq!(count, batches.micro_batches(), "{samples} {batch} {micro}");
            assert_eq!(smallest, Batches::smallest(samples as usize, micro), "{samples} {batch} {micro}");
        }
    }
}
