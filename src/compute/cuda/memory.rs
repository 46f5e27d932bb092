//! Tensors and messages in device memory, and conversions between them by launches of `kernels/wire.cu`.

use std::sync::PoisonError;

use zeroize::Zeroizing;

use super::{Arg, Cuda, Device, Message, Tensor};
use crate::compute::{ComputeError, Memory};
use crate::element::{Element, Encoding};
use crate::float::Float;

impl<D: Device> Cuda<D> {
    /// A new tensor of `len` zeros.
    pub(super) fn tensor(&self, len: usize) -> Result<Tensor<D::Memory>, ComputeError> {
        let bytes = len.checked_mul(4).ok_or(ComputeError::OutOfMemory { bytes: usize::MAX })?;
        Ok(Tensor { memory: self.device.allocate(bytes)?, len })
    }
}

/// The values as little-endian bytes, as the device has them. They are wiped on drop, since they may be parameters.
pub(super) fn bytes_of(values: &[f32]) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(vec![0; 4 * values.len()]);
    for (bytes, value) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(values) {
        *bytes = value.to_le_bytes();
    }
    bytes
}

impl<D: Device> Memory for Cuda<D> {
    type Buf = Tensor<D::Memory>;
    type Bytes = Message<D::Memory>;

    fn zeros(&self, len: usize) -> Result<Self::Buf, ComputeError> {
        self.tensor(len)
    }

    fn upload(&self, values: &[f32], buf: &mut Self::Buf) {
        buf.check(values.len());
        self.device.write(&bytes_of(values), &buf.memory, 0);
    }

    fn download(&self, buf: &Self::Buf, values: &mut [f32]) {
        buf.check(values.len());
        let mut bytes = Zeroizing::new(vec![0; 4 * values.len()]);
        self.device.read(&buf.memory, 0, &mut bytes);
        for (value, bytes) in values.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *value = f32::from_le_bytes(*bytes);
        }
    }

    fn bytes(&self, len: usize) -> Result<Self::Bytes, ComputeError> {
        Ok(Message { memory: self.device.allocate(len)?, len })
    }

    fn get(&self, bytes: &Self::Bytes, at: usize, host: &mut [u8]) {
        bytes.check(at, host.len());
        self.device.read(&bytes.memory, at, host);
    }

    fn put(&self, host: &[u8], bytes: &mut Self::Bytes, at: usize) {
        bytes.check(at, host.len());
        self.device.write(host, &bytes.memory, at);
    }

    fn clear(&self, bytes: &mut Self::Bytes, at: usize, end: usize) {
        bytes.check(at, end - at);
        self.device.clear(&bytes.memory, at, end);
    }

    fn decode(&self, format: Float, bytes: &Self::Bytes, at: usize, len: usize, to: &mut Self::Buf) {
        let kernel = match format {
            Float::F32 => "decode_f32",
            Float::Bf16 => "decode_bf16",
            Float::F16 => "decode_f16",
        };
        let from = bytes.arg(at, format.bytes() as usize * len);
        self.over(len, kernel, &[from, to.arg(len), Arg::U64(len as u64)]);
    }

    fn decode_data(
        &self,
        encoding: &Encoding,
        bytes: &Self::Bytes,
        at: usize,
        rows: usize,
        n: usize,
        to: &mut Self::Buf,
    ) {
        let kernel = match encoding.element {
            Element::U8 => "decode_data_u8",
            Element::U16 => "decode_data_u16",
            Element::F32 => "decode_data_f32",
        };
        let (len, channels) = (rows * n, encoding.scale.len());
        let from = bytes.arg(at, encoding.element.bytes() as usize * len);
        self.with_scratch(2 * channels, |scratch| {
            let numbers = [&encoding.scale[..], &encoding.shift[..channels]].concat();
            self.device.write(&bytes_of(&numbers), &scratch.memory, 0);
            let (scale, shift) = (scratch.arg(channels), Arg::Memory(&scratch.memory, 4 * channels));
            let sizes = [Arg::U32(n as u32), Arg::U32((n / channels) as u32)];
            let [n, width] = sizes;
            self.over(len, kernel, &[from, scale, shift, to.arg(len), Arg::U64(len as u64), n, width]);
        });
    }

    fn encode(&self, format: Float, from: &Self::Buf, len: usize, bytes: &mut Self::Bytes, at: usize) {
        let kernel = match format {
            Float::F32 => "encode_f32",
            Float::Bf16 => "encode_bf16",
            Float::F16 => "encode_f16",
        };
        let to = bytes.arg(at, format.bytes() as usize * len);
        self.over(len, kernel, &[from.arg(len), to, Arg::U64(len as u64)]);
    }

    fn round(&self, format: Float, len: usize, from: &Self::Buf, to: &mut Self::Buf) {
        let kernel = match format {
            Float::F32 => return self.copy(len, from, to),
            Float::Bf16 => "round_bf16",
            Float::F16 => "round_f16",
        };
        self.over(len, kernel, &[from.arg(len), to.arg(len), Arg::U64(len as u64)]);
    }

    fn copy(&self, len: usize, from: &Self::Buf, to: &mut Self::Buf) {
        from.check(len);
        to.check(len);
        self.device.copy(&from.memory, &to.memory, 4 * len);
    }

    fn finish(&self) -> Result<(), ComputeError> {
        self.device.finish()?;
        match self.failed.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}
