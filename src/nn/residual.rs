//! `y = x + f(x)`, where f are operations in order. What comes out of each of them is kept, and what they keep.

use super::{Builder, Declared, Flow, Operation, Parameter, Pass, Spec, output, values};
use crate::compute::{Backend, ComputeError};
use crate::job::{Op, Shape, op};

/// Each operation with the shape that goes in.
fn inner<'a>(ops: &'a [Op], input: &Shape) -> impl Iterator<Item = (&'a Op, Shape)> {
    let mut flowing = input.clone();
    ops.iter().map(move |op| {
        let output = output(op, &flowing);
        (op, std::mem::replace(&mut flowing, output))
    })
}

impl Spec for op::Residual {
    fn parameters(&self, input: &Shape) -> Vec<Declared> {
        let named = |i: usize, declared: Declared| Declared { name: format!("{i}.{}", declared.name), ..declared };
        inner(&self.ops, input)
            .enumerate()
            .flat_map(|(i, (op, input))| op.parameters(&input).into_iter().map(move |declared| named(i, declared)))
            .collect()
    }

    /// What comes out of each operation, then what each keeps.
    fn keeps(&self, input: &Shape, rows: usize) -> Vec<usize> {
        let outputs = inner(&self.ops, input).map(|(op, input)| rows * values(&output(op, &input)));
        let kept = inner(&self.ops, input).flat_map(|(op, input)| op.keeps(&input, rows));
        outputs.chain(kept).collect()
    }

    fn chained(&self) -> bool {
        true
    }

    fn build<B: Backend + 'static>(&self, builder: Builder<'_, B>) -> Result<Box<dyn Operation<B>>, ComputeError> {
        let Builder { backend, rows, seed, .. } = builder;
        let mut ops = Vec::with_capacity(self.ops.len());
        for (i, (op, input)) in inner(&self.ops, builder.input).enumerate() {
            let seed = seed.derive("op", i as u64);
            let built = op.build(Builder { input: &input, input_gradient: true, seed: &seed, ..builder })?;
            let len = if i + 1 < self.ops.len() { rows * values(&output(op, &input)) } else { 0 };
            let gradient = backend.zeros(len)?;
            ops.push(Inner { op: built, keeps: op.keeps(&input, rows).len(), gradient });
        }
        Ok(Box::new(Residual { ops, values: values(builder.input) }))
    }
}

/// An operation with a way around it.
struct Residual<B: Backend> {
    ops: Vec<Inner<B>>,
    /// Of a sample.
    values: usize,
}

struct Inner<B: Backend> {
    op: Box<dyn Operation<B>>,
    /// Buffers that it keeps.
    keeps: usize,
    /// Of what comes out, (rows, out), for the micro-batch that goes back. Of the last that is the gradient that comes in.
    gradient: B::Buf,
}

impl<B: Backend> Residual<B> {
    fn last(&self) -> usize {
        self.ops.len() - 1
    }
}

impl<B: Backend> Operation<B> for Residual<B> {
    fn forward(&mut self, backend: &B, pass: Pass, x: &B::Buf, y: &mut B::Buf, kept: &mut [B::Buf]) {
        let last = self.last();
        let (outputs, mut kept) = kept.split_at_mut(self.ops.len());
        for (i, inner) in self.ops.iter_mut().enumerate() {
            let (before, here) = outputs.split_at_mut(i);
            let (own, rest) = kept.split_at_mut(inner.keeps);
            inner.op.forward(backend, pass, before.last().unwrap_or(x), &mut here[0], own);
            kept = rest;
        }
        backend.copy(pass.rows * self.values, &outputs[last], y);
        backend.add(pass.rows * self.values, x, y);
    }

    fn backward_input(&mut self, backend: &B, pass: Pass, flow: Flow<'_, B>, dx: &mut B::Buf) {
        let last = self.last();
        let (outputs, kept) = flow.kept.split_at(self.ops.len());
        let mut end = kept.len();
        for i in (0..self.ops.len()).rev() {
            let (before, here) = self.ops.split_at_mut(i);
            let Inner { op, keeps, gradient } = &mut here[0];
            let begin = end - *keeps;
            let x = if i == 0 { flow.x } else { &outputs[i - 1] };
            let dy = if i == last { flow.dy } else { &*gradient };
            let within = Flow { x, y: &outputs[i], kept: &kept[begin..end], dy };
            match before.last_mut() {
                Some(before) => op.backward_input(backend, pass, within, &mut before.gradient),
                None => op.backward_input(backend, pass, within, dx),
            }
            end = begin;
        }
        backend.add(pass.rows * self.values, flow.dy, dx);
    }

    fn backward_params(&mut self, backend: &B, pass: Pass, flow: Flow<'_, B>, accumulate: bool) {
        let last = self.last();
        let (outputs, mut kept) = flow.kept.split_at(self.ops.len());
        for (i, Inner { op, keeps, gradient }) in self.ops.iter_mut().enumerate() {
            let (own, rest) = kept.split_at(*keeps);
            let x = if i == 0 { flow.x } else { &outputs[i - 1] };
            let dy = if i == last { flow.dy } else { &*gradient };
            op.backward_params(backend, pass, Flow { x, y: &outputs[i], kept: own, dy }, accumulate);
            kept = rest;
        }
    }

    fn parameters(&self) -> Vec<&Parameter<B>> {
        self.ops.iter().flat_map(|inner| inner.op.parameters()).collect()
    }

    fn parameters_mut(&mut self) -> Vec<&mut Parameter<B>> {
        self.ops.iter_mut().flat_map(|inner| inner.op.parameters_mut()).collect()
    }
}
