//! Batch norm: each channel is normalised over the micro-batch, `n = (x - mean) / sqrt(variance + eps)`, then `y = weight n +
//! bias`.
//!
//! In training, mean and variance are those of the micro-batch and are kept for backward. Each micro-batch also moves the
//! running mean and variance, in the order in which micro-batches pass. Outside training the running ones are used.

use super::initial::Initializer;
use super::norm::affine;
use super::{Blueprint, Builder, Declared, Flow, Operation, Parameter, Pass, values};
use crate::compute::{Backend, ComputeError, Grid};
use crate::job::{Shape, op};

/// Number of channels, the first dimension of a sample.
fn channels(input: &Shape) -> usize {
    input.dims().first().map_or(1, |channels| *channels as usize)
}

impl Blueprint for op::BatchNorm {
    fn parameters(&self, input: &Shape) -> Vec<Declared> {
        let shape = [channels(input)];
        let running = [
            Declared::followed("running_mean", shape, Initializer::Is(0.0)),
            Declared::followed("running_var", shape, Initializer::Is(1.0)),
        ];
        affine(shape.to_vec(), self.affine, self.affine).into_iter().chain(running).collect()
    }

    fn keeps(&self, input: &Shape, _rows: usize) -> Vec<usize> {
        vec![channels(input); 2]
    }

    fn build<B: Backend + 'static>(&self, builder: Builder<'_, B>) -> Result<Box<dyn Operation<B>>, ComputeError> {
        let scratch = || builder.backend.zeros(builder.rows * values(builder.input));
        let channels = channels(builder.input);
        Ok(Box::new(BatchNorm {
            eps: self.eps,
            momentum: self.momentum,
            channels,
            inner: values(builder.input) / channels,
            affine: self.affine,
            parameters: builder.parameters(self)?,
            scratch: [scratch()?, scratch()?],
        }))
    }
}

/// A norm over the samples of a micro-batch: PyTorch's `nn.BatchNorm1d` and `nn.BatchNorm2d`.
struct BatchNorm<B: Backend> {
    /// What is added to the variance, against division by zero.
    eps: f32,
    /// The share of the micro-batch's mean and variance in the new running ones.
    momentum: f32,
    /// Number of channels, each of which is normalised on its own.
    channels: usize,
    /// Number of values of one channel of a sample.
    inner: usize,
    /// Whether weight and bias come before the running mean and variance in `parameters`.
    affine: bool,
    /// Weight and bias, if there are any, then running mean and running variance: (channels) each.
    parameters: Vec<Parameter<B>>,
    /// For the micro-batch in backward: n and its gradient, (rows, in) each. Forward uses the first for n.
    scratch: [B::Buf; 2],
}

impl<B: Backend> BatchNorm<B> {
    /// A micro-batch seen as (rows, channels, inner).
    fn grid(&self, pass: Pass) -> Grid {
        Grid { outer: pass.rows, sets: self.channels, inner: self.inner }
    }
}

impl<B: Backend> Operation<B> for BatchNorm<B> {
    fn forward(&mut self, backend: &B, pass: Pass, x: &B::Buf, y: &mut B::Buf, kept: &mut [B::Buf]) {
        let grid = self.grid(pass);
        let [affine @ .., running_mean, running_variance] = self.parameters.as_mut_slice() else {
            unreachable!("there are running values")
        };
        let [mean, variance] = kept else { unreachable!("mean and variance are kept") };
        let (mean, variance) = if pass.training {
            backend.moments(grid, true, x, mean, variance);
            // The running variance estimates that of all samples, so it divides by one less than the members. A single member
            // gives no estimate but NaN, which ends the run; the owner accepts no job in which that happens.
            let members = grid.members() as f32;
            let factor = members / (members - 1.0);
            backend.blend(self.channels, self.momentum, 1.0, mean, &mut running_mean.value);
            backend.blend(self.channels, self.momentum, factor, variance, &mut running_variance.value);
            (&*mean, &*variance)
        } else {
            (&running_mean.value, &running_variance.value)
        };
        // y = weight n + bias, or y = n without them.
        match affine {
            [weight, bias] => {
                let n = &mut self.scratch[0];
                backend.normalize(grid, self.eps, x, mean, variance, n);
                backend.scale(grid, n, &weight.value, Some(&bias.value), y);
            }
            _ => backend.normalize(grid, self.eps, x, mean, variance, y),
        }
    }

    fn backward_input(&mut self, backend: &B, pass: Pass, flow: Flow<'_, B>, dx: &mut B::Buf) {
        let grid = self.grid(pass);
        let [mean, variance] = flow.kept else { unreachable!("mean and variance are kept") };
        let [n, dn] = &mut self.scratch;
        // n is computed again from x, which saves keeping it.
        backend.normalize(grid, self.eps, flow.x, mean, variance, n);
        // dn = weight dy.
        let dn = if self.affine {
            backend.scale(grid, flow.dy, &self.parameters[0].value, None, dn);
            &*dn
        } else {
            flow.dy
        };
        // dx = (dn - mean(dn) - n mean(n dn)) / sqrt(variance + eps).
        backend.normalize_backward(grid, true, self.eps, n, variance, dn, dx);
    }

    fn backward_params(&mut self, backend: &B, pass: Pass, flow: Flow<'_, B>, accumulate: bool) {
        let grid = self.grid(pass);
        let [mean, variance] = flow.kept else { unreachable!("mean and variance are kept") };
        let [weight, bias, _, _] = self.parameters.as_mut_slice() else { return };
        let n = &mut self.scratch[0];
        backend.normalize(grid, self.eps, flow.x, mean, variance, n);
        // dweight = the sum over the channel of n dy; dbias = the sum over it of dy.
        backend.set_sums(grid, flow.dy, Some(n), accumulate, &mut weight.gradient);
        backend.set_sums(grid, flow.dy, None, accumulate, &mut bias.gradient);
    }

    fn parameters(&self) -> Vec<&Parameter<B>> {
        self.parameters.iter().collect()
    }

    fn parameters_mut(&mut self) -> Vec<&mut Parameter<B>> {
        self.parameters.iter_mut().collect()
    }
}
