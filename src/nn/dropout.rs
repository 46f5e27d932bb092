//! Dropout: values are set to 0 at random. Nothing is kept for backward, because the mask follows from the micro-batch and a
//! value's place.

use super::{Blueprint, Builder, Flow, Operation, Pass, values};
use crate::compute::{Backend, ComputeError, PhiloxStream};
use crate::job::op;

impl Blueprint for op::Dropout {
    fn build<B: Backend + 'static>(&self, builder: Builder<'_, B>) -> Result<Box<dyn Operation<B>>, ComputeError> {
        let key = builder.seed.derive("dropout", 0).key();
        Ok(Box::new(Dropout { p: self.p, key, values: values(builder.input) }))
    }
}

/// PyTorch's `nn.Dropout`, with random numbers of our own.
struct Dropout {
    /// The probability that a value is set to 0.
    p: f32,
    /// The key of the random numbers, drawn from the operation's seed.
    key: [u32; 2],
    /// Number of values of a sample.
    values: usize,
}

impl Dropout {
    /// `to` = the values of `from` that stay, scaled by 1 / (1 - p), and 0 for the others. Outside training it is a copy of
    /// `from`. Both are (rows, values).
    fn pass<B: Backend>(&self, backend: &B, pass: Pass, from: &B::Buf, to: &mut B::Buf) {
        let len = pass.rows * self.values;
        let stream = PhiloxStream { key: self.key, counter: [pass.micro_batch.0, pass.batch.0, pass.epoch.0] };
        match pass.training {
            true => backend.drop_out(stream, self.p, len, from, to),
            false => backend.copy(len, from, to),
        };
    }
}

impl<B: Backend> Operation<B> for Dropout {
    fn forward(&mut self, backend: &B, pass: Pass, x: &B::Buf, y: &mut B::Buf, _kept: &mut [B::Buf]) {
        self.pass(backend, pass, x, y);
    }

    fn backward_input(&mut self, backend: &B, pass: Pass, flow: Flow<'_, B>, dx: &mut B::Buf) {
        self.pass(backend, pass, flow.dy, dx);
    }
}
