//! Attention: each token of a sequence gathers values of the other tokens, weighted by how well its query agrees with their
//! keys.

use super::Memory;

/// The shape of self-attention over a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Number of tokens in a sequence.
    pub tokens: usize,
    /// Number of heads. Each attends on its own.
    pub heads: usize,
    /// Number of values that one head has of one token.
    pub width: usize,
    /// Whether a token gathers only from itself and from the tokens before it.
    pub causal: bool,
}

impl Heads {
    /// Number of values of one token, all heads together: `heads * width`.
    pub fn values(&self) -> usize {
        self.heads * self.width
    }
}

/// Attention over `rows` sequences at once.
///
/// The input x is (rows, tokens, 3, heads, width), row-major: of each token its queries, then its keys, then its values. The
/// output y is (rows, tokens, heads, width).
pub trait Attention: Memory {
    /// Length of the scratch buffer, in values, that the calls below need for `shape` and at most `rows` sequences.
    fn attention_scratch(&self, shape: Heads, rows: usize) -> usize;

    /// For each head, `y[t] = the sum over s of p[t, s] v[s]`, where `p[t]` is the softmax over s of `q[t] k[s] / sqrt(width)`.
    /// If `causal`, s runs only up to t.
    fn attention(&self, shape: Heads, rows: usize, x: &Self::Buf, scratch: &mut Self::Buf, y: &mut Self::Buf);

    /// The gradient `dx` of the input, in the shape of `x`, from the gradient `dy` of the output. The weights p are not kept
    /// from forward: they are computed again.
    fn attention_backward(
        &self,
        shape: Heads,
        rows: usize,
        x: &Self::Buf,
        dy: &Self::Buf,
        scratch: &mut Self::Buf,
        dx: &mut Self::Buf,
    );

    /// Rotary position embedding, in place: turns the queries and keys of `x`, and leaves the values alone. In each head,
    /// values i and i + width / 2 form a pair, which turns by the angle of (token, i), or by its negative if `back`. `turns` is
    /// (2, tokens, width / 2): the cosines of all angles, then their sines.
    fn rotate(&self, shape: Heads, rows: usize, back: bool, turns: &Self::Buf, x: &mut Self::Buf);
}
