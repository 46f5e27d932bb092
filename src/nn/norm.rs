//! Layer norm, RMS norm and group norm, which normalise each sample on its own: `n = (x - mean) / sqrt(variance + eps)`, then
//! `y = weight n + bias`. Mean and variance are kept for backward.

use super::initial::Initializer;
use super::{Blueprint, Builder, Declared, Flow, Operation, Parameter, Pass, values};
use crate::compute::{Backend, ComputeError, Grid};
use crate::job::{Shape, op};

/// How the values of a sample are divided into sets, and which weight belongs to which value.
#[derive(Clone, Copy)]
struct Sets {
    /// Number of sets of a sample. Each is normalised on its own.
    sets: usize,
    /// Number of values of a set.
    members: usize,
    /// The sample is also seen as (outer, weights, inner): a value's weight is that of its middle index. This is the first
    /// size.
    outer: usize,
    /// Number of weights, the middle size of the sample seen as (outer, weights, inner).
    weights: usize,
    /// Number of values side by side that share a weight.
    inner: usize,
}

impl Sets {
    /// One set for each token of a sequence, or one for the whole sample.
    fn last(input: &Shape) -> Self {
        let (sets, members) = match *input.dims() {
            [tokens, width] => (tokens as usize, width as usize),
            _ => (1, values(input)),
        };
        Self { sets, members, outer: sets, weights: members, inner: 1 }
    }

    /// One set for each group of channels.
    fn groups(input: &Shape, groups: usize) -> Self {
        let channels = input.dims().first().map_or(1, |channels| *channels as usize);
        let inner = values(input) / channels;
        Self { sets: groups, members: channels / groups * inner, outer: 1, weights: channels, inner }
    }

    /// A micro-batch of `rows` samples, seen by sets.
    fn normalised(self, rows: usize) -> Grid {
        Grid { outer: 1, sets: rows * self.sets, inner: self.members }
    }

    /// A micro-batch of `rows` samples, seen by weights.
    fn weighted(self, rows: usize) -> Grid {
        Grid { outer: rows * self.outer, sets: self.weights, inner: self.inner }
    }
}

/// The parameters `weight` and `bias` of this shape, whichever of them there are. They start from 1 and 0.
pub(super) fn affine(shape: Vec<usize>, weight: bool, bias: bool) -> Vec<Declared> {
    let weight = weight.then(|| Declared::new("weight", shape.clone(), Initializer::Is(1.0)));
    let bias = bias.then(|| Declared::new("bias", shape, Initializer::Is(0.0)));
    weight.into_iter().chain(bias).collect()
}

/// The shape of what is normalised at once, and so of the weight: that of a token, or else of the whole sample.
fn last(input: &Shape) -> Vec<usize> {
    let dims = input.dims().iter().map(|dim| *dim as usize);
    dims.skip(if input.dims().len() == 2 { 1 } else { 0 }).collect()
}

impl Blueprint for op::LayerNorm {
    fn parameters(&self, input: &Shape) -> Vec<Declared> {
        affine(last(input), self.affine, self.affine)
    }

    fn keeps(&self, input: &Shape, rows: usize) -> Vec<usize> {
        vec![rows * Sets::last(input).sets; 2]
    }

    fn build<B: Backend + 'static>(&self, builder: Builder<'_, B>) -> Result<Box<dyn Operation<B>>, ComputeError> {
        Norm::build(Sets::last(builder.input), true, self.eps, builder.parameters(self)?, builder)
    }
}

impl Blueprint for op::RmsNorm {
    fn parameters(&self, input: &Shape) -> Vec<Declared> {
        affine(last(input), self.affine, false)
    }

    fn keeps(&self, input: &Shape, rows: usize) -> Vec<usize> {
        vec![rows * Sets::last(input).sets; 2]
    }

    fn build<B: Backend + 'static>(&self, builder: Builder<'_, B>) -> Result<Box<dyn Operation<B>>, ComputeError> {
        Norm::build(Sets::last(builder.input), false, self.eps, builder.parameters(self)?, builder)
    }
}

impl Blueprint for op::GroupNorm {
    fn parameters(&self, input: &Shape) -> Vec<Declared> {
        affine(vec![input.dims().first().map_or(1, |channels| *channels as usize)], self.affine, self.affine)
    }

    fn keeps(&self, _input: &Shape, rows: usize) -> Vec<usize> {
        vec![rows * self.groups as usize; 2]
    }

    fn build<B: Backend + 'static>(&self, builder: Builder<'_, B>) -> Result<Box<dyn Operation<B>>, ComputeError> {
        let sets = Sets::groups(builder.input, self.groups as usize);
        Norm::build(sets, true, self.eps, builder.parameters(self)?, builder)
    }
}

/// A norm within each sample: PyTorch's `nn.LayerNorm`, `nn.RMSNorm`, `nn.GroupNorm`.
struct Norm<B: Backend> {
    /// How a sample is divided into sets, and its values among the weights.
    sets: Sets,
    /// Whether the mean is subtracted. RMS norm leaves it.
    centred: bool,
    /// What is added to the variance, against division by zero.
    eps: f32,
    /// The weight, then the bias, whichever of them there are.
    parameters: Vec<Parameter<B>>,
    /// For the micro-batch in backward: n and its gradient, (rows, in) each. Forward uses the first for n.
    scratch: [B::Buf; 2],
}

impl<B: Backend + 'static> Norm<B> {
    /// The operation, with memory for n and its gradient.
    fn build(
        sets: Sets,
        centred: bool,
        eps: f32,
        parameters: Vec<Parameter<B>>,
        builder: Builder<'_, B>,
    ) -> Result<Box<dyn Operation<B>>, ComputeError> {
        let scratch = || builder.backend.zeros(builder.rows * values(builder.input));
        Ok(Box::new(Self { sets, centred, eps, parameters, scratch: [scratch()?, scratch()?] }))
    }
}

impl<B: Backend> Operation<B> for Norm<B> {
    fn forward(&mut self, backend: &B, pass: Pass, x: &B::Buf, y: &mut B::Buf, kept: &mut [B::Buf]) {
        let (grid, weighted) = (self.sets.normalised(pass.rows), self.sets.weighted(pass.rows));
        let [mean, variance] = kept else { unreachable!("mean and variance are kept") };
        backend.moments(grid, self.centred, x, mean, variance);
        // y = weight n + bias, or y = n without a weight.
        match self.parameters.as_slice() {
            [] => backend.normalize(grid, self.eps, x, mean, variance, y),
            [weight, bias @ ..] => {
                let n = &mut self.scratch[0];
                backend.normalize(grid, self.eps, x, mean, variance, n);
                backend.scale(weighted, n, &weight.value, bias.first().map(|bias| &bias.value), y);
            }
        }
    }

    fn backward_input(&mut self, backend: &B, pass: Pass, flow: Flow<'_, B>, dx: &mut B::Buf) {
        let (grid, weighted) = (self.sets.normalised(pass.rows), self.sets.weighted(pass.rows));
        let [mean, variance] = flow.kept else { unreachable!("mean and variance are kept") };
        let [n, dn] = &mut self.scratch;
        // n is computed again from x, which saves keeping it.
        backend.normalize(grid, self.eps, flow.x, mean, variance, n);
        // dn = weight dy.
        let dn = match self.parameters.first() {
            Some(weight) => {
                backend.scale(weighted, flow.dy, &weight.value, None, dn);
                &*dn
            }
            None => flow.dy,
        };
        // dx = (dn - mean(dn) - n mean(n dn)) / sqrt(variance + eps).
        backend.normalize_backward(grid, self.centred, self.eps, n, variance, dn, dx);
    }

    fn backward_params(&mut self, backend: &B, pass: Pass, flow: Flow<'_, B>, accumulate: bool) {
        let (grid, weighted) = (self.sets.normalised(pass.rows), self.sets.weighted(pass.rows));
        let [mean, variance] = flow.kept else { unreachable!("mean and variance are kept") };
        let [weight, bias @ ..] = self.parameters.as_mut_slice() else { return };
        let n = &mut self.scratch[0];
        backend.normalize(grid, self.eps, flow.x, mean, variance, n);
        // dweight = the sum of n dy, dbias = the sum of dy, over all values that share a weight.
        backend.set_sums(weighted, flow.dy, Some(n), accumulate, &mut weight.gradient);
        if let [bias] = bias {
            backend.set_sums(weighted, flow.dy, None, accumulate, &mut bias.gradient);
        }
    }

    fn parameters(&self) -> Vec<&Parameter<B>> {
        self.parameters.iter().collect()
    }

    fn parameters_mut(&mut self) -> Vec<&mut Parameter<B>> {
        self.parameters.iter_mut().collect()
    }
}
