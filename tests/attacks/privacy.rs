//! What the ranks next to the owner learn of data and labels, on MNIST: where all stages stand on ranks, and where the first and
//! the last one stand on the owner (docs/THREATS.md).
//!
//!     cargo run --release --example privacy -- data/mnist
//!
//! Trains jobs/mnist-mlp.toml. Then an attacker who holds `k` images with what the rank of stage 1 got for them fits a linear map
//! back to the image (ridge regression) and tries it on others; and one who holds `k` labelled gradients names others' labels
//! after the nearest mean direction, or, with no label, finds ten clusters.
#![allow(clippy::unwrap_used)]

#[path = "../../bench/say.rs"]
mod say;

use std::path::Path;

use mixnn::compute::Memory;
use mixnn::compute::cpu::Cpu;
use mixnn::data::{Dataset, Targets};
use mixnn::ids::{Batch, Epoch, MicroBatch};
use mixnn::nn::{Criterion, Network, Pass};
use mixnn::role::score::weight;
use mixnn::run::prepare::Prepared;
use ndarray::{Array2, Axis, s};
use say::say;

/// Images that the attacker tries its map on.
const TRIED: usize = 5000;
/// What ridge regression adds to the diagonal, as part of its mean: the best of these.
const RIDGES: [f64; 5] = [1e-4, 1e-3, 1e-2, 0.1, 1.0];
const CLASSES: usize = 10;
/// Steps, and starts, of the search for clusters.
const STEPS: usize = 50;
const STARTS: usize = 10;

/// The stages of the job, each by itself, and what passes between them.
struct Net {
    backend: Cpu,
    prepared: Prepared,
    stages: Vec<Network<Cpu>>,
}

/// What one pass through the stages leaves of a batch: `forward[i]` went into stage i, the last is the output; `backward[i]`
/// came back for it.
struct Seen {
    forward: Vec<Vec<f32>>,
    backward: Vec<Vec<f32>>,
    labels: Vec<u32>,
}

impl Net {
    fn new(mnist: &str) -> Self {
        let job = Path::new(env!("CARGO_MANIFEST_DIR")).join("jobs/mnist-mlp.toml");
        let sets = [format!("data.path={mnist:?}"), "train.micro_batch=64".to_owned()];
        let prepared = Prepared::load(&job, &sets).unwrap();
        let backend = Cpu::new(2).unwrap();
        let stages = prepared.specs().chunks(1).map(|spec| Network::new(&backend, spec).unwrap().unwrap()).collect();
        Self { backend, prepared, stages }
    }

    fn forward(&mut self, data: &Dataset, rows: &[u32], pass: Pass) -> Vec<Vec<f32>> {
        let mut bytes = vec![0; rows.len() * data.bytes()];
        data.gather(rows, None, &mut bytes);
        let mut seen = vec![bytes.iter().map(|byte| f32::from(*byte) / 255.0).collect()];
        for stage in &mut self.stages {
            let mut message = self.backend.bytes(bytes.len()).unwrap();
            self.backend.put(&bytes, &mut message, 0);
            let mut values = vec![0.0; rows.len() * stage.output_features()];
            let output = stage.forward(&self.backend, pass, &message, 0).unwrap();
            self.backend.download(output, &mut values);
            bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            seen.push(values);
        }
        seen
    }

    /// Trains an epoch; what the last 100 batches left.
    fn train(&mut self, epoch: u32) -> Vec<Seen> {
        let train = self.prepared.train.clone();
        let (batches, rates) = (self.prepared.batches(epoch), self.prepared.rates());
        let criterion = Criterion::new(self.prepared.job.train.loss);
        let mut kept = Vec::new();
        for batch in 0..batches.batches() {
            let rows = batches.batch(batch);
            let forward =
                self.forward(&train, rows, Pass::training(rows.len(), Epoch(epoch), Batch(batch), MicroBatch(0)));
            let mut targets = train.targets.room(rows.len());
            targets.copy_from(&train.targets, rows);
            let mut logits = self.backend.zeros(rows.len() * CLASSES).unwrap();
            let mut gradient = self.backend.zeros(rows.len() * CLASSES).unwrap();
            self.backend.upload(&forward[self.stages.len()], &mut logits);
            criterion.of(&self.backend, &logits, (&targets).into(), weight(rows.len()), &mut gradient);
            let mut values = vec![0.0; rows.len() * CLASSES];
            self.backend.download(&gradient, &mut values);
            let mut backward = vec![values];
            for stage in self.stages.iter_mut().rev() {
                self.backend.upload(&backward[0], stage.output_gradient());
                let mut values = vec![0.0; rows.len() * stage.input_features()];
                if let Some(gradient) = stage.backward(&self.backend) {
                    self.backend.download(gradient, &mut values);
                    backward.insert(0, values);
                }
                stage.step(&self.backend, rates.at(Epoch(epoch), Batch(batch)));
            }
            backward.insert(0, Vec::new());
            if batch + 100 >= batches.batches() {
                let Targets::Classes { labels, .. } = targets else { unreachable!("MNIST has classes") };
                kept.push(Seen { forward, backward, labels });
            }
        }
        kept
    }
}

fn matrix(rows: usize, values: &[f32]) -> Array2<f64> {
    let values: Vec<f64> = values.iter().map(|value| f64::from(*value)).collect();
    Array2::from_shape_vec((rows, values.len() / rows), values).unwrap()
}

/// x of a x = b for a symmetric, positive `a` (Cholesky).
fn solve(mut a: Array2<f64>, mut b: Array2<f64>) -> Array2<f64> {
    let n = a.nrows();
    for j in 0..n {
        let diagonal = (a[[j, j]] - (0..j).map(|k| a[[j, k]] * a[[j, k]]).sum::<f64>()).sqrt();
        a[[j, j]] = diagonal;
        for i in j + 1..n {
            let sum: f64 = (0..j).map(|k| a[[i, k]] * a[[j, k]]).sum();
            a[[i, j]] = (a[[i, j]] - sum) / diagonal;
        }
    }
    for i in 0..n {
        for k in 0..i {
            let (factor, row) = (a[[i, k]], b.row(k).to_owned());
            b.row_mut(i).scaled_add(-factor, &row);
        }
        let diagonal = a[[i, i]];
        b.row_mut(i).mapv_inplace(|value| value / diagonal);
    }
    for i in (0..n).rev() {
        for k in i + 1..n {
            let (factor, row) = (a[[k, i]], b.row(k).to_owned());
            b.row_mut(i).scaled_add(-factor, &row);
        }
        let diagonal = a[[i, i]];
        b.row_mut(i).mapv_inplace(|value| value / diagonal);
    }
    b
}

/// The part of the images' variance that a linear map from `seen` explains on the last [`TRIED`], fitted to the first `known`.
fn reconstructed(seen: &Array2<f64>, images: &Array2<f64>, known: usize) -> f64 {
    let with_one = |rows: Array2<f64>| ndarray::concatenate![Axis(1), rows, Array2::ones((rows.nrows(), 1))];
    let x = with_one(seen.slice(s![..known, ..]).to_owned());
    let (squares, products) = (x.t().dot(&x), x.t().dot(&images.slice(s![..known, ..])));
    let first = images.nrows() - TRIED;
    let (tried, truth) = (with_one(seen.slice(s![first.., ..]).to_owned()), images.slice(s![first.., ..]));
    let variance = (&truth - &truth.mean_axis(Axis(0)).unwrap()).mapv(|e| e * e).sum();
    let explained = |ridge: f64| {
        let mut squares = squares.clone();
        let ridge = ridge * squares.diag().mean().unwrap();
        squares.diag_mut().mapv_inplace(|value| value + ridge);
        let error = (tried.dot(&solve(squares, products.clone())) - truth).mapv(|e| e * e).sum();
        1.0 - error / variance
    };
    RIDGES.into_iter().map(explained).fold(f64::NEG_INFINITY, f64::max)
}

/// Rows of length 1; of nothing where there is nothing.
fn directions(rows: &Array2<f64>) -> Array2<f64> {
    let mut rows = rows.clone();
    for mut row in rows.rows_mut() {
        let norm = row.dot(&row).sqrt();
        row.mapv_inplace(|value| if norm > 0.0 { value / norm } else { 0.0 });
    }
    rows
}

fn nearest(row: &ndarray::ArrayView1<'_, f64>, centres: &Array2<f64>) -> (usize, f64) {
    let near = centres.rows().into_iter().map(|centre| centre.dot(row)).enumerate();
    near.max_by(|a, b| a.1.total_cmp(&b.1)).unwrap()
}

/// Mean directions of the groups that `group` puts the rows in.
fn means(rows: &Array2<f64>, group: &[usize]) -> Array2<f64> {
    let mut sums = Array2::zeros((CLASSES, rows.ncols()));
    for (row, group) in rows.rows().into_iter().zip(group) {
        sums.row_mut(*group).scaled_add(1.0, &row);
    }
    directions(&sums)
}

/// The part of the labels that the nearest mean of `known` labelled ones of each class names.
fn named(rows: &Array2<f64>, labels: &[u32], known: usize) -> f64 {
    let rows = directions(rows);
    let mut held = [0; CLASSES];
    let (mine, others): (Vec<usize>, Vec<usize>) = (0..labels.len()).partition(|i| {
        held[labels[*i] as usize] += 1;
        held[labels[*i] as usize] <= known
    });
    let group: Vec<usize> = mine.iter().map(|i| labels[*i] as usize).collect();
    let means = means(&rows.select(Axis(0), &mine), &group);
    let right = others.iter().filter(|i| nearest(&rows.row(**i), &means).0 == labels[**i] as usize).count();
    right as f64 / others.len() as f64
}

/// The part of the labels that fit, where each of ten clusters, found without labels, is given the one that most of it have.
fn clustered(rows: &Array2<f64>, labels: &[u32]) -> f64 {
    let rows = directions(rows);
    let mut best = (f64::NEG_INFINITY, Vec::new());
    for start in 0..STARTS {
        let first: Vec<usize> = (0..CLASSES).map(|i| (start * 97 + i * 613) % rows.nrows()).collect();
        let mut centres = rows.select(Axis(0), &first);
        let (mut group, mut fit) = (Vec::new(), 0.0);
        for _ in 0..STEPS {
            let near: Vec<(usize, f64)> = rows.rows().into_iter().map(|row| nearest(&row, &centres)).collect();
            group = near.iter().map(|near| near.0).collect();
            fit = near.iter().map(|near| near.1).sum();
            centres = means(&rows, &group);
        }
        if fit > best.0 {
            best = (fit, group);
        }
    }
    let mut counts = [[0; CLASSES]; CLASSES];
    best.1.iter().zip(labels).for_each(|(group, label)| counts[*group][*label as usize] += 1);
    let right: u32 = counts.iter().map(|counts| counts.iter().max().unwrap()).sum();
    f64::from(right) / labels.len() as f64
}

fn main() {
    let mnist = std::env::args().nth(1).unwrap_or_else(|| "data/mnist".to_owned());
    let mut net = Net::new(&mnist);
    let last = net.stages.len();
    for epoch in 0..net.prepared.job.train.epochs {
        let seen = net.train(epoch);
        let labels: Vec<u32> = seen.iter().flat_map(|seen| seen.labels.clone()).collect();
        let all = |of: &dyn Fn(&Seen) -> &Vec<f32>| {
            matrix(labels.len(), &seen.iter().flat_map(|seen| of(seen).clone()).collect::<Vec<f32>>())
        };
        say(format!("epoch {}, labels of {} samples", epoch + 1, labels.len()));
        let gradient = all(&|seen| &seen.backward[last]);
        let least = |row: ndarray::ArrayView1<'_, f64>| {
            row.iter().enumerate().min_by(|a, b| a.1.total_cmp(b.1)).map(|(class, _)| class as u32)
        };
        let read =
            gradient.rows().into_iter().zip(&labels).filter(|(row, label)| least(*row) == Some(**label)).count();
        say(format!("  last stage on a rank: its gradient's least value {:.3}", read as f64 / labels.len() as f64));
        for (what, rows) in [
            ("its gradient", all(&|seen| &seen.backward[last - 1])),
            ("its own output", all(&|seen| &seen.forward[last - 1])),
        ] {
            let mut line = format!(
                "  last stage on the owner, the rank before it, {what}: clusters {:.3}",
                clustered(&rows, &labels)
            );
            for known in [1, 10, 100] {
                line += &format!(", {known} known of each class {:.3}", named(&rows, &labels, known));
            }
            say(line);
        }
    }
    let test = net.prepared.test.clone();
    let rows: Vec<u32> = (0..test.samples() as u32).collect();
    let (mut images, mut outputs) = (Vec::new(), Vec::new());
    for rows in rows.chunks(64) {
        let seen = net.forward(&test, rows, Pass::evaluation(rows.len()));
        net.stages.iter_mut().for_each(Network::forget);
        images.extend_from_slice(&seen[0]);
        outputs.extend_from_slice(&seen[1]);
    }
    let (images, outputs) = (matrix(rows.len(), &images), matrix(rows.len(), &outputs));
    say(format!("images: part of the variance of {TRIED} others that is explained"));
    say("  first stage on a rank: 1.000, it gets the bytes");
    for known in [10, 100, 1000, 5000] {
        say(format!(
            "  first stage on the owner, {known} pairs known: {:.3}",
            reconstructed(&outputs, &images, known)
        ));
    }
}
