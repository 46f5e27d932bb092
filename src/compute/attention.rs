//! Attention: each token of a sequence gathers values of the others, by how its query agrees with their keys.

use super::Memory;

/// How a sequence attends to itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Tokens of a sequence.
    pub tokens: usize,
    /// Heads, each on its own.
    pub heads: usize,
    /// Values of a head.
    pub width: usize,
    /// Whether a token gathers from itself and those before it alone.
    pub causal: bool,
}

impl Heads {
    /// Values of a token, of all heads.
    pub fn values(&self) -> usize {
        self.heads * self.width
    }
}

/// Calls on sequences. x is (rows, tokens, 3, heads, width): of each token its queries, its keys, its values; y is (rows,
/// tokens, heads, width).
pub trait Attention: Memory {
    /// Values of the scratch memory that the calls for `shape` want, for so many rows at most.
    fn attention_scratch(&self, shape: Heads, rows: usize) -> usize;

    /// `y[t] = the sum over s of p[t, s] v[s]` for each head, `p[t]` the softmax over s of `q[t] k[s] / sqrt(width)`; if causal,
    /// over s up to t.
    fn attention(&self, shape: Heads, rows: usize, x: &Self::Buf, scratch: &mut Self::Buf, y: &mut Self::Buf);

    /// The gradient `dx` of what went in. Works p out again.
    fn attention_backward(
        &self,
        shape: Heads,
        rows: usize,
        x: &Self::Buf,
        dy: &Self::Buf,
        scratch: &mut Self::Buf,
        dx: &mut Self::Buf,
    );

    /// Turns queries and keys of `x`: values i and i + width / 2 of each head, as a pair, by the angle of token and i, or the
    /// other way round if `back`. `turns` is (2, tokens, width / 2), the angles' cosines and their sines.
    fn rotate(&self, shape: Heads, rows: usize, back: bool, turns: &Self::Buf, x: &mut Self::Buf);
}
