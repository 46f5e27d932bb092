//! Every operation, forward and backward, against what PyTorch makes of it in f64 (tests/reference/make.py, which holds
//! PyTorch's gradients against central differences); the same bits for any number of threads; what dropout drops.
#![allow(clippy::unwrap_used)]

mod rounding;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use mixnn::compute::Memory;
use mixnn::compute::cpu::Cpu;
use mixnn::float::Float;
use mixnn::ids::{Batch, Epoch, MicroBatch};
use mixnn::job::op::{Attention, Embedding};
use mixnn::job::{Job, Op, Optimizer, Shape};
use mixnn::nn::{Pass, Stage, StageSpec};
use mixnn::random::Seed;
use rounding::likely;
use safetensors::SafeTensors;

const NO_BATCH: (Epoch, Batch, MicroBatch) = (Epoch(0), Batch(0), MicroBatch(0));

/// The operations of a stage as a job writes them.
fn ops(text: &str) -> Vec<Op> {
    let job = format!(
        "name = \"x\"\n[data]\nsource = \"digits\"\n[train]\nepochs = 1\n[mix]\nprofile = \"bare\"\n[[stage]]\nops = [{text}]"
    );
    let job = Job::parse("job.toml", &job, &[]).unwrap();
    assert_eq!(Job::parse("again.toml", &job.to_toml(), &[]).unwrap().stages, job.stages, "{text}");
    job.stages[0].ops.clone()
}

fn spec(ops: Vec<Op>, input: Shape, rows: usize) -> StageSpec {
    let output = ops.iter().fold(input.clone(), |input, op| op.output(&input).unwrap());
    let spec = StageSpec {
        ops,
        input,
        output,
        data: None,
        wire: Float::F32,
        micro_batch: rows as u32,
        optimizer: Optimizer::sgd(0.0),
        seed: Seed::from_text("operations"),
        loss: None,
        values: None,
    };
    assert!(spec.chains());
    spec
}

/// A micro-batch through a stage and back, and what the stage is then.
#[derive(Clone, Debug, PartialEq)]
struct Passed {
    y: Vec<f32>,
    dx: Vec<f32>,
    /// After a step at the rate 1.
    values: Vec<f32>,
    evaluated: Vec<f32>,
}

fn forward(backend: &Cpu, stage: &mut Stage<Cpu>, pass: Pass, x: &[f32], outputs: usize) -> Vec<f32> {
    backend.upload(x, stage.input(backend, pass).unwrap());
    let mut y = vec![0.0; outputs];
    backend.download(stage.forward(backend), &mut y);
    y
}

fn through(backend: &Cpu, spec: &StageSpec, before: Option<&[f32]>, x: &[f32], dy: &[f32]) -> Passed {
    let rows = spec.micro_batch as usize;
    let mut stage = Stage::new(backend, spec).unwrap();
    if let Some(before) = before {
        stage.set_values(backend, before).unwrap();
        assert_eq!(stage.values(backend).unwrap(), before);
    }
    let (epoch, batch, micro_batch) = NO_BATCH;
    let y = forward(backend, &mut stage, Pass::training(rows, epoch, batch, micro_batch), x, dy.len());
    backend.upload(dy, stage.output_gradient());
    let mut dx = vec![0.0; x.len()];
    backend.download(stage.backward_input(backend).unwrap(), &mut dx);
    stage.backward_params(backend);
    stage.step(backend, 1.0);
    let values = stage.values(backend).unwrap();
    // What is evaluated comes before the step.
    if let Some(before) = before {
        let mut before = before.to_vec();
        let mut at = 0;
        for (_, declared) in spec.parameters() {
            let next = at + declared.values() as usize;
            if declared.name.contains("running") {
                before[at..next].copy_from_slice(&values[at..next]);
            }
            at = next;
        }
        stage.set_values(backend, &before).unwrap();
    }
    let evaluated = forward(backend, &mut stage, Pass::evaluation(rows), x, dy.len());
    stage.forget();
    Passed { y, dx, values, evaluated }
}

/// Reference values of one file.
struct Reference {
    ops: String,
    bytes: Vec<u8>,
}

impl Reference {
    fn of(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap();
        let ops = SafeTensors::read_metadata(&bytes).unwrap().1.metadata().clone().unwrap()["ops"].clone();
        Self { ops, bytes }
    }

    fn get(&self, name: &str) -> Vec<f32> {
        let tensors = SafeTensors::deserialize(&self.bytes).unwrap();
        let found = tensors.tensor(name).unwrap_or_else(|_| panic!("{} lacks {name}", self.ops));
        found.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    }

    fn names(&self) -> BTreeSet<String> {
        SafeTensors::deserialize(&self.bytes).unwrap().names().into_iter().map(ToString::to_string).collect()
    }

    fn shape(&self, name: &str) -> Vec<usize> {
        SafeTensors::deserialize(&self.bytes).unwrap().tensor(name).unwrap().shape().to_vec()
    }
}

fn references() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|end| end == "safetensors")).collect();
    files.sort();
    assert!(files.len() > 30, "{files:?}");
    files
}

/// |found - due| / |due|, as vectors; the absolute error where nothing is due.
fn error(found: &[f32], due: &[f32]) -> f64 {
    assert_eq!(found.len(), due.len());
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
    let apart = norm(&mut found.iter().zip(due).map(|(a, b)| f64::from(*a) - f64::from(*b)));
    apart / norm(&mut due.iter().map(|value| f64::from(*value))).max(1e-2)
}

/// The operations of a stage, those within a residual too.
fn count(ops: &[Op]) -> usize {
    let within = |op: &Op| if let Op::Residual(residual) = op { count(&residual.ops) } else { 0 };
    ops.iter().map(|op| 1 + within(op)).sum()
}

/// What [`error`], a mean over many values, may be: no operation has a sum of more terms than there are values of x, of dy or of
/// parameters, and each value goes through all operations, forward and backward.
fn most(ops: &[Op], lengths: [usize; 3]) -> f64 {
    likely(2 * count(ops) * lengths.into_iter().max().unwrap_or(0))
}

#[test]
fn forward_and_backward_are_those_of_pytorch() {
    let backend = Cpu::new(1).unwrap();
    let mut words = BTreeSet::new();
    for path in references() {
        let reference = Reference::of(&path);
        let ops = ops(&reference.ops);
        words.extend(ops.iter().map(Op::name));
        let dims = reference.shape("x");
        let input = Shape::new(dims[1..].iter().map(|dim| *dim as u32).collect::<Vec<_>>());
        let spec = spec(ops, input, dims[0]);
        assert_eq!(spec.output.dims().iter().map(|dim| *dim as usize).collect::<Vec<_>>(), reference.shape("y")[1..]);
        let parameters: Vec<_> = spec
            .parameters()
            .into_iter()
            .map(|(op, declared)| (format!("{op}.{}", declared.name), declared))
            .collect();
        // The names are PyTorch's, none is left out, and so are the shapes.
        let named: BTreeSet<String> = parameters.iter().map(|(name, _)| format!("before.{name}")).collect();
        let due: BTreeSet<String> =
            reference.names().into_iter().filter(|name| name.starts_with("before.")).collect();
        assert_eq!(named, due, "{path:?}");
        for (name, declared) in &parameters {
            assert_eq!(declared.shape, reference.shape(&format!("before.{name}")), "{path:?} {name}");
        }
        let before: Vec<f32> = named_values(&reference, &parameters, "before");
        let [x, dy] = ["x", "dy"].map(|name| reference.get(name));
        let passed = |dy: &[f32]| {
            let passed = through(&backend, &spec, Some(&before), &x, dy);
            let mut found =
                vec![("y".to_owned(), passed.y), ("dx".to_owned(), passed.dx), ("e".to_owned(), passed.evaluated)];
            let mut at = 0;
            for (name, declared) in &parameters {
                let values = at..at + declared.values() as usize;
                at = values.end;
                let after = &passed.values[values.clone()];
                if name.contains("running") {
                    found.push((format!("after.{name}"), after.to_vec()));
                } else {
                    // The step went down the gradient, at the rate 1.
                    let gradient = before[values].iter().zip(after).map(|(before, after)| before - after).collect();
                    found.push((format!("gradient.{name}"), gradient));
                }
            }
            found
        };
        let most = most(&spec.ops, [x.len(), dy.len(), before.len()]);
        for (name, found) in passed(&dy) {
            let error = error(&found, &reference.get(&name));
            assert!(error <= most, "{path:?} {name}: {error:.1e}, not {most:.1e}");
        }
        // The control: gradients that are off by a thousandth are told from PyTorch's.
        let off: Vec<f32> = dy.iter().map(|dy| 1.001 * dy).collect();
        let told = |(name, found): (String, Vec<f32>)| error(&found, &reference.get(&name)) > 10.0 * most;
        assert!(passed(&off).into_iter().any(told), "{path:?}");
    }
    let due = "attention avg_pool batch_norm conv2d embedding flatten gelu global_avg_pool group_norm layer_norm leaky_relu linear max_pool position relu \
               reshape residual rms_norm sigmoid silu softmax tanh";
    assert_eq!(words.into_iter().collect::<Vec<_>>(), due.split_whitespace().collect::<Vec<_>>());
}

fn named_values(reference: &Reference, parameters: &[(String, mixnn::nn::Declared)], what: &str) -> Vec<f32> {
    parameters.iter().flat_map(|(name, _)| reference.get(&format!("{what}.{name}"))).collect()
}

fn values(usage: &str, len: usize) -> Vec<f32> {
    let mut stream = Seed::from_text(usage).stream();
    (0..len).map(|_| stream.unit_f32().mul_add(2.0, -1.0)).collect()
}

/// Two values a channel are the fewest: mean and variance, and the running ones, as PyTorch has them: the output by the variance
/// of the two, the running one by that times n / (n - 1). One value has no variance, and the running one shows it.
#[test]
fn a_batch_norm_of_two_values_is_pytorchs() {
    let (backend, eps, momentum) = (Cpu::new(1).unwrap(), 1e-3_f32, 0.3_f32);
    let after = |rows: usize, x: &[f32]| {
        let text = format!("{{ op = \"batch_norm\", eps = {eps}, momentum = {momentum} }}");
        let mut stage = Stage::new(&backend, &spec(ops(&text), Shape::new([3]), rows)).unwrap();
        let (epoch, batch, micro_batch) = NO_BATCH;
        let pass = Pass::training(rows, epoch, batch, micro_batch);
        let y = forward(&backend, &mut stage, pass, x, x.len());
        // Weight and bias, running mean and variance.
        (y, stage.values(&backend).unwrap()[6..].to_vec())
    };
    let x = [1.0, -2.0, 0.5, 4.0, -2.5, 0.5];
    let (y, running) = after(2, &x);
    let near = |found: f32, due: f32| assert!((found - due).abs() <= 1e-6 * (1.0 + due.abs()), "{found} for {due}");
    for channel in 0..3 {
        let (a, b) = (x[channel], x[channel + 3]);
        let (mean, variance) = ((a + b) / 2.0, (a - b) * (a - b) / 4.0);
        near(y[channel], (a - mean) / (variance + eps).sqrt());
        near(y[channel + 3], (b - mean) / (variance + eps).sqrt());
        near(running[channel], momentum * mean);
        near(running[channel + 3], 1.0 - momentum + momentum * 2.0 * variance);
    }
    assert!(after(1, &x[..3]).1[3..].iter().all(|variance| variance.is_nan()));
}

/// So large that a second thread is worth it.
#[test]
fn the_same_bits_for_any_number_of_threads() {
    let text = "{ op = \"conv2d\", out = 24, kernel = 3, padding = 1 }, { op = \"batch_norm\" }, { op = \"gelu\" }, { op = \
                \"conv2d\", out = 16, kernel = 3, stride = 2, groups = 4 }, { op = \"max_pool\", kernel = 2 }, { op = \
                \"group_norm\", groups = 4 }, { op = \"dropout\", p = 0.2 }, { op = \"linear\", out = 300 }, { op = \
                \"layer_norm\" }, { op = \"softmax\" }";
    for rows in [3, 19, 33] {
        let spec = spec(ops(text), Shape::new([8, 20, 20]), rows);
        let (x, dy) = (values("x", rows * 8 * 20 * 20), values("dy", rows * 300));
        let run = |threads: usize| through(&Cpu::new(threads).unwrap(), &spec, None, &x, &dy);
        let one = run(1);
        assert!(one.values.iter().chain(&one.dx).all(|value| value.is_finite()));
        for threads in [2, 5] {
            assert!(run(threads) == one, "{rows} rows, {threads} threads");
        }
    }
}

/// The same for a sequence of tokens. The parts of a micro-batch are of several samples, of one, and fewer than there may be.
#[test]
fn a_sequence_has_the_same_bits_for_any_number_of_threads() {
    let text = "{ op = \"embedding\", vocabulary = 31, width = 48 }, { op = \"position\" }, { op = \"residual\", ops = [{ op = \
                \"layer_norm\" }, { op = \"attention\", heads = 4, causal = true, rotary = true }] }, { op = \"attention\", heads \
                = 3 }, { op = \"linear\", out = 5 }";
    for rows in [3, 8, 19] {
        let spec = spec(ops(text), Shape::new([101]), rows);
        let tokens: Vec<f32> = values("x", rows * 101).iter().map(|x| (15.5 * (x + 1.0)).floor()).collect();
        let dy = values("dy", rows * 101 * 5);
        let run = |threads: usize| through(&Cpu::new(threads).unwrap(), &spec, None, &tokens, &dy);
        let one = run(1);
        assert!(one.values.iter().chain(&one.y).all(|value| value.is_finite()));
        for threads in [2, 5] {
            assert!(run(threads) == one, "{rows} rows, {threads} threads");
        }
    }
}

/// Several micro-batches are under way: what one leaves behind is not another's.
#[test]
fn micro_batches_in_flight_do_not_mix() {
    let text = "{ op = \"conv2d\", out = 4, kernel = 3 }, { op = \"batch_norm\" }, { op = \"dropout\" }, { op = \"residual\", \
                ops = [{ op = \"layer_norm\" }, { op = \"tanh\" }] }, { op = \"max_pool\", kernel = 2 }, { op = \"reshape\", \
                shape = [6, 6] }, { op = \"residual\", ops = [{ op = \"attention\", heads = 2 }] }, { op = \"position\" }, { op \
                = \"flatten\" }, { op = \"linear\", out = 3 }";
    let backend = Cpu::new(1).unwrap();
    let rows = 6;
    let spec = spec(ops(text), Shape::new([1, 8, 8]), rows);
    let xs = ["a", "b", "c"].map(|usage| values(usage, rows * 64));
    let dy = values("dy", rows * 3);
    let pass = |micro_batch| Pass::training(rows, Epoch(1), Batch(2), MicroBatch(micro_batch));
    let back = |stage: &mut Stage<Cpu>| {
        backend.upload(&dy, stage.output_gradient());
        let mut dx = vec![0.0; rows * 64];
        backend.download(stage.backward_input(&backend).unwrap(), &mut dx);
        stage.backward_params(&backend);
        dx
    };
    let run = |ahead: bool| {
        let mut stage = Stage::new(&backend, &spec).unwrap();
        let mut found = Vec::new();
        for (i, x) in xs.iter().enumerate() {
            forward(&backend, &mut stage, pass(i as u32), x, rows * 3);
            if !ahead {
                found.push(back(&mut stage));
            }
        }
        (0..if ahead { xs.len() } else { 0 }).for_each(|_| found.push(back(&mut stage)));
        stage.step(&backend, 0.1);
        (found, stage.values(&backend).unwrap())
    };
    assert!(run(true) == run(false));
}

/// A relu is carried out along with the product before it. A leaky one without a slope, which is not, does the same to numbers.
#[test]
fn a_relu_along_with_a_product_changes_nothing_but_the_memory() {
    let (rows, width) = (5, 33);
    let of = |relu: &str| {
        let text = format!(
            "{{ op = \"linear\", out = {width} }}, {{ op = {relu} }}, {{ op = \"linear\", out = {width}, bias = false }}, \
             {{ op = {relu} }}, {{ op = \"linear\", out = 4 }}, {{ op = {relu} }}"
        );
        spec(ops(&text), Shape::new([7]), rows)
    };
    let [along, behind] = [of("\"relu\""), of("\"leaky_relu\", negative_slope = 0")];
    let [x, dy] = [("x", 7), ("dy", 4)].map(|(usage, width)| values(usage, rows * width));
    for threads in [1, 3] {
        let backend = Cpu::new(threads).unwrap();
        let [along, behind] = [&along, &behind].map(|spec| through(&backend, spec, None, &x, &dy));
        assert!(along.y.contains(&0.0) && along.y.iter().any(|y| *y > 0.0));
        assert_eq!(along, behind);
    }
    // Not along with the product that has no bias.
    assert_eq!((along.unkept_count(), behind.unkept_count()), (rows as u64 * (width as u64 + 4), 0));
}

#[test]
fn dropout_keeps_the_mean_and_draws_anew_for_every_micro_batch() {
    let backend = Cpu::new(1).unwrap();
    let (rows, width) = (16, 1001);
    let spec = spec(ops("{ op = \"dropout\", p = 0.3 }"), Shape::new([width as u32]), rows);
    let mut stage = Stage::new(&backend, &spec).unwrap();
    let ones = vec![1.0; rows * width];
    let mut drawn = |epoch, batch, micro_batch| {
        let pass = Pass::training(rows, Epoch(epoch), Batch(batch), MicroBatch(micro_batch));
        let y = forward(&backend, &mut stage, pass, &ones, ones.len());
        backend.upload(&ones, stage.output_gradient());
        let mut dx = vec![0.0; ones.len()];
        backend.download(stage.backward_input(&backend).unwrap(), &mut dx);
        stage.backward_params(&backend);
        assert_eq!(y, dx, "backward drops what forward has dropped");
        y
    };
    let first = drawn(0, 0, 0);
    let kept = first.iter().filter(|value| **value > 0.0).count() as f64 / first.len() as f64;
    // 16,016 draws: a standard deviation of 0.0036.
    assert!((kept - 0.7).abs() < 0.015, "{kept}");
    assert!(first.iter().all(|value| *value == 0.0 || (value - 1.0 / 0.7).abs() <= 2.0 * f32::EPSILON));
    assert_eq!(drawn(0, 0, 0), first);
    let others = [drawn(1, 0, 0), drawn(0, 1, 0), drawn(0, 0, 1)];
    for other in &others {
        let same = other.iter().zip(&first).filter(|(a, b)| a == b).count() as f64 / first.len() as f64;
        // 0.7 squared and 0.3 squared.
        assert!((same - 0.58).abs() < 0.02, "{same}");
    }
    let evaluated = forward(&backend, &mut stage, Pass::evaluation(rows), &ones, ones.len());
    assert_eq!(evaluated, ones);
}

/// A package may name any numbers: what does not fit is told so, before it is built.
#[test]
fn a_spec_that_no_job_may_name_does_not_chain() {
    let good = || {
        spec(
            ops("{ op = \"conv2d\", out = 4, kernel = 3 }, { op = \"max_pool\", kernel = 2 }"),
            Shape::new([1, 8, 8]),
            2,
        )
    };
    let deep = [[14_u8, 1].repeat(100_000), vec![2]].concat();
    assert!(postcard::from_bytes::<Op>(&deep).is_err());
    let conv = |change: fn(&mut mixnn::job::op::Conv2d)| {
        let mut spec = good();
        if let Op::Conv2d(conv) = &mut spec.ops[0] {
            change(conv);
        }
        spec.chains()
    };
    assert!(good().chains() && conv(|_| {}));
    assert!(!conv(|conv| conv.groups = 0) && !conv(|conv| conv.groups = 3) && !conv(|conv| conv.out = 0));
    assert!(!conv(|conv| conv.window.stride = [0, 1]) && !conv(|conv| conv.window.kernel = [0, 3]));
    assert!(!conv(|conv| conv.window.padding = [3, 0]) && !conv(|conv| conv.window.kernel = [u32::MAX; 2]));
    let sequence = |op: Op, input: [u32; 2]| {
        let (input, output) = (Shape::new(input), Shape::new(input));
        StageSpec { ops: vec![op], input, output, ..good() }.chains()
    };
    let attention = |heads, rotary| Op::Attention(Attention { heads, causal: true, rotary, bias: true });
    assert!(sequence(attention(2, true), [3, 4]) && sequence(attention(4, false), [3, 4]));
    assert!(!sequence(attention(0, false), [3, 4]) && !sequence(attention(0, true), [3, 4]));
    assert!(!sequence(attention(3, false), [3, 4]) && !sequence(attention(u32::MAX, true), [3, 4]));
    assert!(!sequence(attention(4, true), [3, 4]) && !sequence(attention(1, true), [u32::MAX, u32::MAX]));
    assert!(!sequence(attention(1, true), [1_000_000, 2]));
    let embedding = |vocabulary, width| {
        let output = Shape::new([5, width]);
        let ops = vec![Op::Embedding(Embedding { vocabulary, width })];
        StageSpec { ops, input: Shape::new([5]), output, ..good() }.chains()
    };
    assert!(embedding(7, 3) && !embedding(0, 3) && !embedding(7, 0) && !embedding(u32::MAX, 3));
    assert!(!embedding(7, u32::MAX) && !embedding(7, 200_001));
    assert!(!StageSpec { micro_batch: u32::MAX, ..good() }.chains());
    assert!(!StageSpec { input: Shape::new([1, 8]), ..good() }.chains());
    assert!(!StageSpec { input: Shape::new([u32::MAX; 3]), ..good() }.chains());
    assert!(!StageSpec { input: Shape::new([]), ..good() }.chains());
}
