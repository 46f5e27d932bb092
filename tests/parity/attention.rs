//! Attention: y and dx nearly, turns with the same bits.

use mixnn::compute::{Attention, Heads, Memory};

use super::{Bench, Check, SUM, Twin};

pub fn checks<B: Memory + Attention>() -> Vec<Check<B>> {
    vec![
        ("attention of any shape", any_shape),
        ("attention at the edges of tiles", edges),
        ("attention of wide heads", wide),
        ("attention to what stands out", outstanding),
        ("attention to no numbers", no_numbers),
        ("rotations", rotations),
    ]
}

/// Values of a token's head: queries and keys from -2 to 2.
const MOST: f32 = 2.0;

/// Forward and backward, of `x` and random gradients up to 1.
///
/// An error of `SUM` of a score's terms makes one of the same part of p, here and in the processor's. y is a mean of v, dp a
/// product of `width` terms, ds its size times p; dq and dk add up ds, whose sum over a row of |p| is 1, times k or q, and dk and
/// dv over as many queries as there are tokens.
fn check<B: Memory + Attention>(bench: &mut Bench<'_, B>, shape: Heads, rows: usize, x: &Twin<B>, most: f32) {
    let (of_y, width) = (rows * shape.tokens * shape.values(), shape.width as f32);
    assert_eq!(x.len, 3 * of_y);
    let (dy, mut y, mut dx) = (bench.tensor(of_y, 1.0), bench.poison(of_y), bench.poison(3 * of_y));
    let mut scratch = bench.backend.zeros(bench.backend.attention_scratch(shape, rows)).unwrap();
    let mut beside = bench.cpu.zeros(bench.cpu.attention_scratch(shape, rows)).unwrap();
    let values = bench.backend.attention_scratch(shape, rows);
    bench.backend.upload(&vec![f32::NAN; values], &mut scratch);
    bench.backend.attention(shape, rows, &x.here, &mut scratch, &mut y.here);
    bench.cpu.attention(shape, rows, &x.there, &mut beside, &mut y.there);
    let score = most * most * width.sqrt();
    let of_p = SUM * (1.0 + score);
    bench.near(&y, 2.0 * most * of_p, &format!("{shape:?}, {rows} rows"));
    bench.backend.attention_backward(shape, rows, &x.here, &dy.here, &mut scratch, &mut dx.here);
    bench.cpu.attention_backward(shape, rows, &x.there, &dy.there, &mut beside, &mut dx.there);
    let of_ds = 2.0 * of_p * most * width / width.sqrt();
    let tokens = shape.tokens as f32;
    bench.near(&dx, of_ds * most + tokens.sqrt() * of_p * (1.0 + most), &format!("{shape:?}, {rows} rows, backward"));
}

fn random<B: Memory + Attention>(bench: &mut Bench<'_, B>, shape: Heads, rows: usize) {
    let x = bench.tensor(3 * rows * shape.tokens * shape.values(), MOST);
    check(bench, shape, rows, &x, MOST);
}

fn any_shape<B: Memory + Attention>(bench: &mut Bench<'_, B>) {
    for causal in [false, true] {
        for most in [40, 70, 150] {
            let (tokens, width) = (bench.size(1, most), bench.size(1, 40));
            let (heads, rows) = (bench.size(1, 3), bench.size(1, 2));
            random(bench, Heads { tokens, heads, width, causal }, rows);
        }
    }
}

fn edges<B: Memory + Attention>(bench: &mut Bench<'_, B>) {
    for causal in [false, true] {
        for (tokens, heads, width) in [(1, 1, 1), (1, 2, 3), (63, 1, 4), (64, 1, 64), (65, 2, 1), (130, 1, 3)] {
            random(bench, Heads { tokens, heads, width, causal }, 1);
        }
    }
}

/// Heads that take several passes over their width, and several blocks over what they add up.
fn wide<B: Memory + Attention>(bench: &mut Bench<'_, B>) {
    for (tokens, width, causal) in
        [(66, 65, true), (10, 100, false), (3, 128, true), (65, 129, false), (7, 300, true)]
    {
        random(bench, Heads { tokens, heads: 2, width, causal }, 1);
    }
}

/// Scores that grow from tile to tile, so that what has been added up is scaled down, and ones that fall; scores far apart, far
/// below 0, and a first tile that counts for nothing.
fn outstanding<B: Memory + Attention>(bench: &mut Bench<'_, B>) {
    for (first, last, hidden) in [(0.0, 6.0, 0), (6.0, 0.0, 0), (-9.0, 9.0, 0), (-60.0, -50.0, 0), (0.0, 1.0, 64)] {
        let shape = Heads { tokens: 140, heads: 1, width: 4, causal: false };
        let mut values = bench.values(3 * 140 * 4, 1.0);
        for (token, values) in values.chunks_exact_mut(12).enumerate() {
            values[0] = 9.0;
            values[4] = first + (last - first) * token as f32 / 139.0;
            if token < hidden {
                values[4] = f32::NEG_INFINITY;
            }
        }
        let x = bench.put(&values);
        check(bench, shape, 1, &x, last.abs().max(9.0));
    }
}

/// What is no number shows wherever it takes part, and nowhere else.
fn no_numbers<B: Memory + Attention>(bench: &mut Bench<'_, B>) {
    for (bad, what) in [(f32::NAN, 0), (f32::NAN, 1), (f32::INFINITY, 1), (f32::NAN, 2), (f32::NEG_INFINITY, 2)] {
        let shape = Heads { tokens: 70, heads: 2, width: 3, causal: true };
        let mut values = bench.values(2 * 3 * 70 * 6, 1.0);
        // The second sample's token 66, of its second head.
        values[(70 + 66) * 18 + what * 6 + 3] = bad;
        let (x, mut y) = (bench.put(&values), bench.poison(2 * 70 * 6));
        let mut scratch = bench.backend.zeros(bench.backend.attention_scratch(shape, 2)).unwrap();
        bench.backend.attention(shape, 2, &x.here, &mut scratch, &mut y.here);
        let [y, _] = bench.both(&y);
        for (i, y) in y.chunks_exact(3).enumerate() {
            let (sample, token, head) = (i / 140, i / 2 % 70, i % 2);
            let reached = sample == 1 && head == 1 && if what == 0 { token == 66 } else { token >= 66 };
            let apart = sample == 0 || head == 0 || token < 64;
            let finite = y.iter().all(|y| y.is_finite());
            // A query below 66 of the same tile may meet it with a weight of 0, which leaves no number either.
            assert!(if reached { !finite || bad.is_infinite() } else { finite || !apart }, "{what} {bad} {i} {y:?}");
        }
    }
}

fn rotations<B: Memory + Attention>(bench: &mut Bench<'_, B>) {
    for (tokens, heads, width, rows) in [(1, 1, 2, 1), (5, 3, 7, 2), (33, 2, 64, 3), (3, 4, 100, 1)] {
        let shape = Heads { tokens, heads, width, causal: false };
        let turns = bench.tensor(2 * tokens * (width / 2), 1.0);
        let mut x = bench.tensor(rows * tokens * 3 * heads * width, 2.0);
        for back in [false, true] {
            bench.backend.rotate(shape, rows, back, &turns.here, &mut x.here);
            bench.cpu.rotate(shape, rows, back, &turns.there, &mut x.there);
            bench.same(&x, &format!("{shape:?}, back {back}"));
        }
    }
}
