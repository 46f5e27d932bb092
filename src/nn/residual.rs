//! Residual: `y = x + f(x)`, where f is a chain of operations. The output of each operation is kept for backward, and so is
//! what each keeps itself.

use super::{Blueprint, Builder, Declared, Flow, Operation, Parameter, Pass, output, values};
use crate::compute::{Backend, ComputeError};
use crate::job::{Op, Shape, op};

/// Each operation of the chain, with the shape of a sample that goes into it.
fn inner<'a>(ops: &'a [Op], input: &Shape) -> impl Iterator<Item = (&'a Op, Shape)> {
    let mut flowing = input.clone();
    ops.iter().map(move |op| {
        let output = output(op, &flowing);
        (op, std::mem::replace(&mut flowing, output))
    })
}

impl Blueprint for op::Residual {
    fn parameters(&self, input: &Shape) -> Vec<Declared> {
        let named = |i: usize, declared: Declared| Declared { name: format!("{i}.{}", declared.name), ..declared };
        inner(&self.ops, input)
            .enumerate()
            .flat_map(|(i, (op, input))| op.parameters(&input).into_iter().map(move |declared| named(i, declared)))
            .collect()
    }

    fn affine_maps(&self, input: &Shape) -> Vec<[usize; 3]> {
        inner(&self.ops, input).flat_map(|(op, input)| op.affine_maps(&input)).collect()
    }

    /// The output of each operation, then the buffers that each keeps itself.
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

/// A chain of operations with a way around it.
struct Residual<B: Backend> {
    /// The operations of the chain, in order.
    ops: Vec<Inner<B>>,
    /// Number of values of a sample.
    values: usize,
}

/// An operation of a residual's chain.
struct Inner<B: Backend> {
    /// The operation, with its parameters.
    op: Box<dyn Operation<B>>,
    /// Number of buffers that the operation keeps.
    keeps: usize,
    /// For the micro-batch in backward: the gradient of the operation's output, (rows, out). Empty for the last operation,
    /// whose output has the gradient that comes in.
    gradient: B::Buf,
}

impl<B: Backend> Residual<B> {
    /// Index of the last operation.
    fn last(&self) -> usize {
        self.ops.len() - 1
    }
}

impl<B: Backend> Operation<B> for Residual<B> {
    fn forward(&mut self, backend: &B, pass: Pass, x: &B::Buf, y: &mut B::Buf, kept: &mut [B::Buf]) {
        let last = self.last();
        // `kept` holds the outputs of all operations, then what each of them keeps.
        let (outputs, mut kept) = kept.split_at_mut(self.ops.len());
        for (i, inner) in self.ops.iter_mut().enumerate() {
            let (before, here) = outputs.split_at_mut(i);
            let (own, rest) = kept.split_at_mut(inner.keeps);
            inner.op.forward(backend, pass, before.last().unwrap_or(x), &mut here[0], own);
            kept = rest;
        }
        // y = x + f(x).
        backend.copy(pass.rows * self.values, &outputs[last], y);
        backend.add(pass.rows * self.values, x, y);
    }

    fn backward_input(&mut self, backend: &B, pass: Pass, flow: Flow<'_, B>, dx: &mut B::Buf) {
        let last = self.last();
        let (outputs, kept) = flow.kept.split_at(self.ops.len());
        // From the last operation to the first. Each takes its kept buffers from the end of the list, and leaves the gradient
        // of its input with the operation before.
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
        // dx = df + dy: the way around passes the gradient on as it is.
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
