//! Every call of a backend against the processor's: fresh random inputs each time, outputs that hold no number before.
//!
//! What is done to each value on its own has the same bits. Sums and products have an order of their own: a difference of
//! `SUM` times the sum of the terms' sizes is far above what orders make, and far below what a wrong term would.
//!
//! Included by the tests, over the shim, and by the benchmark of a GPU, over that.
#![allow(dead_code, unreachable_pub)]

#[path = "../rounding/mod.rs"]
pub mod rounding;

pub mod attention;
pub mod cells;
pub mod each;
pub mod images;
pub mod lanes;
pub mod losses;
pub mod norm;
pub mod parameters;
pub mod rows;

use mixnn::compute::cpu::Cpu;
use mixnn::compute::{Backend, Memory};
use mixnn::random::{Philox, Seed};

/// A call, its name, and what is wrong with it, if anything is.
pub type Check<B> = (&'static str, fn(&mut Bench<'_, B>));

/// All checks but those of cells, which a device has and not its backend.
pub fn all<B: Backend>() -> Vec<Check<B>> {
    let sums = [rows::checks(), attention::checks(), losses::checks(), parameters::checks(), images::checks()];
    [each::checks(), norm::checks()].into_iter().chain(sums).flatten().collect()
}

/// A backend beside the processor's, and numbers for both.
pub struct Bench<'a, B: Memory> {
    pub backend: &'a B,
    pub cpu: Cpu,
    pub random: Philox,
}

/// A tensor on both.
pub struct Twin<B: Memory> {
    pub here: B::Buf,
    pub there: <Cpu as Memory>::Buf,
    pub len: usize,
}

/// A message on both.
pub struct TwinBytes<B: Memory> {
    pub here: B::Bytes,
    pub there: <Cpu as Memory>::Bytes,
    pub len: usize,
}

impl<'a, B: Memory> Bench<'a, B> {
    /// The numbers follow from `seed`.
    pub fn new(backend: &'a B, seed: &str) -> Self {
        Self { backend, cpu: Cpu::new(1).unwrap(), random: Seed::from_text(seed).stream() }
    }

    /// A number from `least` to `most`.
    pub fn size(&mut self, least: usize, most: usize) -> usize {
        least + self.random.below((most - least + 1) as u32) as usize
    }

    /// Values from -`most` to `most`.
    pub fn values(&mut self, len: usize, most: f32) -> Vec<f32> {
        (0..len).map(|_| (2.0 * self.random.unit_f32() - 1.0) * most).collect()
    }

    /// `values` on both.
    pub fn put(&self, values: &[f32]) -> Twin<B> {
        let (mut here, mut there) =
            (self.backend.zeros(values.len()).unwrap(), self.cpu.zeros(values.len()).unwrap());
        self.backend.upload(values, &mut here);
        self.cpu.upload(values, &mut there);
        Twin { here, there, len: values.len() }
    }

    /// A random tensor on both, of values from -`most` to `most`.
    pub fn tensor(&mut self, len: usize, most: f32) -> Twin<B> {
        let values = self.values(len, most);
        self.put(&values)
    }

    /// What holds no number.
    pub fn poison(&self, len: usize) -> Twin<B> {
        self.put(&vec![f32::NAN; len])
    }

    /// `bytes` on both.
    pub fn put_bytes(&self, bytes: &[u8]) -> TwinBytes<B> {
        let (mut here, mut there) = (self.backend.bytes(bytes.len()).unwrap(), self.cpu.bytes(bytes.len()).unwrap());
        self.backend.put(bytes, &mut here, 0);
        self.cpu.put(bytes, &mut there, 0);
        TwinBytes { here, there, len: bytes.len() }
    }

    /// Random bytes on both.
    pub fn bytes(&mut self, len: usize) -> TwinBytes<B> {
        let bytes: Vec<u8> = (0..len).map(|_| self.random.next_u32() as u8).collect();
        self.put_bytes(&bytes)
    }

    /// What both hold.
    pub fn both(&self, twin: &Twin<B>) -> [Vec<f32>; 2] {
        let [mut here, mut there] = [vec![0.0; twin.len], vec![0.0; twin.len]];
        self.backend.download(&twin.here, &mut here);
        self.cpu.download(&twin.there, &mut there);
        self.backend.finish().unwrap();
        [here, there]
    }

    /// Both hold the same bits; any two that are no numbers are alike.
    pub fn same(&self, twin: &Twin<B>, what: &str) {
        let [here, there] = self.both(twin);
        for (i, (here, there)) in here.iter().zip(&there).enumerate() {
            let alike = here.to_bits() == there.to_bits() || (here.is_nan() && there.is_nan());
            assert!(alike, "{what}: value {i} of {} is {here:e}, the processor has {there:e}", twin.len);
        }
    }

    /// Both hold the same bytes.
    pub fn same_bytes(&self, twin: &TwinBytes<B>, what: &str) {
        let [mut here, mut there] = [vec![0; twin.len], vec![0; twin.len]];
        self.backend.get(&twin.here, 0, &mut here);
        self.cpu.get(&twin.there, 0, &mut there);
        let differ = here.iter().zip(&there).position(|(here, there)| here != there);
        assert!(differ.is_none(), "{what}: byte {differ:?} of {} differs", twin.len);
    }

    /// Each value of the one is within `most` of the other's.
    pub fn near(&self, twin: &Twin<B>, most: f32, what: &str) {
        let [here, there] = self.both(twin);
        for (i, (here, there)) in here.iter().zip(&there).enumerate() {
            let near = here == there || (here - there).abs() <= most || (here.is_nan() && there.is_nan());
            assert!(near, "{what}: value {i} of {} is {here:e}, the processor has {there:e}", twin.len);
        }
    }
}

/// What two orders of a sum may differ by, as a part of the largest sum that the terms' sizes allow.
///
/// The terms are random. So a partial sum of j terms of either sign is some √j of them large; each addition rounds it by at most
/// [`UNIT`](rounding::UNIT) of that, up or down, and n of them come to less than n units of a term. Where all terms have one sign, a
/// set's partial sums have no more than some 300 of them, whose roundings come to some √300 units of the sum. So this is above what
/// any order makes, whatever the instructions, and a small part of a term.
pub const SUM: f32 = 32.0 * rounding::UNIT as f32;
