//! What is not promised (docs/THREATS.md), as figures: what ranks can do with what they are given in any case.
#![allow(clippy::unwrap_used)]

mod rounding;

use mixnn::compute::cpu::Cpu;
use mixnn::compute::{Loss, Memory};
use mixnn::float::Float;
use mixnn::job::op::Linear;
use mixnn::job::{Op, Optimizer, Shape};
use mixnn::nn::{Pass, Stage, StageSpec};
use mixnn::random::Seed;
use rounding::gamma;

const IN: usize = 64;
const OUT: usize = 32;
const SAMPLES: usize = 200;

/// Gaussian elimination with pivoting: x of a x = b, for several b at once, in place.
fn solve(a: &mut [Vec<f64>], b: &mut [Vec<f64>]) {
    let n = a.len();
    for column in 0..n {
        let pivot = (column..n).max_by(|i, j| a[*i][column].abs().total_cmp(&a[*j][column].abs())).unwrap();
        a.swap(column, pivot);
        b.swap(column, pivot);
        for row in (0..n).filter(|row| *row != column) {
            let factor = a[row][column] / a[column][column];
            for of in [&mut *a, &mut *b] {
                let pivot = of[column].clone();
                of[row].iter_mut().zip(pivot).for_each(|(value, pivot)| *value -= factor * pivot);
            }
        }
    }
    for row in 0..n {
        b[row].iter_mut().for_each(|value| *value /= a[row][row]);
    }
}

/// The ranks before and after a linear stage have what goes in and what comes out: least squares gives its parameters.
#[test]
fn two_neighbours_solve_for_a_linear_stage() {
    let backend = Cpu::new(1).unwrap();
    let spec = StageSpec {
        ops: vec![Op::Linear(Linear { input: None, out: OUT as u32, bias: true })],
        input: Shape::new([IN as u32]),
        output: Shape::new([OUT as u32]),
        data: None,
        wire: Float::F32,
        micro_batch: SAMPLES as u32,
        optimizer: Optimizer::sgd(0.0),
        seed: Seed::from_text("a stage"),
        loss: None,
        values: None,
    };
    let mut stage = Stage::new(&backend, &spec).unwrap();
    let mut stream = Seed::from_text("what goes in").stream();
    let inputs: Vec<f32> = (0..SAMPLES * IN).map(|_| stream.unit_f32()).collect();
    backend.upload(&inputs, stage.input(&backend, Pass::evaluation(SAMPLES)).unwrap());
    let mut outputs = vec![0.0; SAMPLES * OUT];
    backend.download(stage.forward(&backend), &mut outputs);

    // Normal equations of [x, 1] W = y.
    let row = |sample: usize| {
        let x = inputs[sample * IN..][..IN].iter().map(|x| f64::from(*x));
        x.chain([1.0]).collect::<Vec<f64>>()
    };
    let mut a = vec![vec![0.0; IN + 1]; IN + 1];
    let mut b = vec![vec![0.0; OUT]; IN + 1];
    for sample in 0..SAMPLES {
        let x = row(sample);
        for i in 0..=IN {
            (0..=IN).for_each(|j| a[i][j] += x[i] * x[j]);
            (0..OUT).for_each(|j| b[i][j] += x[i] * f64::from(outputs[sample * OUT + j]));
        }
    }
    solve(&mut a, &mut b);
    let values = stage.values(&backend).unwrap();
    let (weight, bias) = values.split_at(IN * OUT);
    let found = |input: usize, output: usize| b[input][output];
    let true_value = |input: usize, output: usize| match input {
        IN => f64::from(bias[output]),
        _ => f64::from(weight[output * IN + input]),
    };
    let places = || (0..=IN).flat_map(|input| (0..OUT).map(move |output| (input, output)));
    let error: f64 = places().map(|(i, o)| (found(i, o) - true_value(i, o)).powi(2)).sum::<f64>().sqrt();
    let norm: f64 = places().map(|(i, o)| true_value(i, o).powi(2)).sum::<f64>().sqrt();
    println!("relative error of all parameters: {:.1e}", error / norm);
    // What sums of so many terms are off by; three equations for an unknown make less than ten times that of it.
    assert!(error / norm < 10.0 * gamma(IN + 1), "{error} of {norm}");
}

/// The rank of the last stage gets the gradient of its output: its one negative entry is the label.
#[test]
fn a_gradient_of_the_loss_gives_the_label_away() {
    const CLASSES: usize = 10;
    const ROWS: usize = 1000;
    let backend = Cpu::new(1).unwrap();
    let mut stream = Seed::from_text("logits").stream();
    let logits: Vec<f32> = (0..ROWS * CLASSES).map(|_| 6.0 * stream.unit_f32() - 3.0).collect();
    let labels: Vec<u32> = (0..ROWS).map(|_| stream.next_u32() % CLASSES as u32).collect();
    let (mut x, mut dx) = (backend.zeros(ROWS * CLASSES).unwrap(), backend.zeros(ROWS * CLASSES).unwrap());
    backend.upload(&logits, &mut x);
    backend.cross_entropy(CLASSES, &x, &labels, 0.0, 1.0 / 64.0, &mut dx);
    let mut gradient = vec![0.0; ROWS * CLASSES];
    backend.download(&dx, &mut gradient);
    let guessed = gradient.chunks(CLASSES).zip(&labels).filter(|(row, label)| {
        let least = (0..CLASSES).min_by(|i, j| row[*i].total_cmp(&row[*j])).unwrap();
        least == **label as usize
    });
    let guessed = guessed.count();
    println!("labels read off the gradient: {guessed} of {ROWS}");
    assert_eq!(guessed, ROWS);
}
