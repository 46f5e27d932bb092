// Attention, for each head of each sample on its own: y[t] = the sum over s of p[t, s] v[s], where p[t] is the softmax over s
// of scale q[t] k[s]. If causal, s runs only up to t. x is (rows, tokens, 3, heads, width): of each token q, then k, then v. y
// and dy are (rows, tokens, heads, width). src/compute/cuda/attention.rs launches the kernels.
//
// The matrix p of tokens x tokens is never in memory ("FlashAttention", Dao et al., 2022). A block takes TILE tokens against
// tiles of TILE others, in order. When a larger score comes, it scales down what it has added up so far. Backward computes p
// again, and dp[t, s] = dy[t] v[s], and ds = p (dp - D), where D[t] is the sum over s of p dp. Then dq = scale ds k, dk = scale
// ds^T q, dv = p^T dy. Each sum belongs to one thread, or to the 16 threads of a row, and has one order.
//
// A block has 16 x 16 threads. Thread (ty, tx) holds the scores of rows 4 ty .. 4 ty + 3 and columns 4 tx .. 4 tx + 3. Of a sum
// of rows it holds those rows, and the columns 4 tx + 64 g .. 4 tx + 64 g + 3. Widths beyond a block's COLUMNS are split over
// several blocks, each of which computes the scores for itself.
#include "functions.cuh"

// Tokens of a tile.
#define TILE 64
// Values of a head that a product takes at once.
#define DEPTH 32
#define THREADS 256
// Values of tokens in shared memory: DEPTH values each of TILE tokens on both sides, or rows of COLUMNS values.
#define STAGED (2 * DEPTH * TILE)

// The tokens of a tile: token t is at `at + t stride`, and there are `tokens` of them.
struct Rows {
  const float *at;
  u64 stride;
  u32 tokens;
};

// A block's part of the work. All offsets and distances count values.
struct Task {
  u64 pair;      // of sample and head
  u64 in, out;   // where this head's values of the sample's first token begin in x and in y
  u64 from, to;  // values from a token to the next in x and in y
  u32 tile;      // of tokens
  u32 column;    // the first value of the head that it adds up
};

// The task of this block. Blocks are ordered by sample, head, columns, tile. With `last`, the last tile comes first: if causal,
// the last tile of queries has the most to do.
static __device__ __forceinline__ Task task_of(u32 tokens, u32 heads, u32 width, u32 columns, bool last) {
  Task task;
  u32 tiles = (tokens + TILE - 1) / TILE, parts = (width + columns - 1) / columns;
  u32 tile = blockIdx.x % tiles, rest = blockIdx.x / tiles;
  task.tile = last ? tiles - 1 - tile : tile;
  task.column = rest % parts * columns;
  task.pair = rest / parts;
  task.to = (u64)heads * width;
  task.from = 3 * task.to;
  u64 row = task.pair / heads, head = task.pair % heads * width;
  task.in = row * tokens * task.from + head;
  task.out = row * tokens * task.to + head;
  return task;
}

// Tile number `tile` of the tokens, the first of which is at `at`.
static __device__ __forceinline__ Rows rows_of(const float *at, u64 stride, u32 tile, u32 tokens) {
  return {at + (u64)tile * TILE * stride, stride, tokens - tile * TILE};
}

// Four values of a token, from `column` on. They are 0 beyond the head and beyond the last token.
static __device__ __forceinline__ float4 values_of(Rows rows, u32 token, u32 column, u32 width) {
  if (token >= rows.tokens || column >= width) return make_float4(0.0f, 0.0f, 0.0f, 0.0f);
  const float *at = rows.at + token * rows.stride + column;
  // Then all heads begin on a boundary of four values.
  if (width % 4 == 0) return *(const float4 *)at;
  return make_float4(at[0], column + 1 < width ? at[1] : 0.0f, column + 2 < width ? at[2] : 0.0f,
                     column + 3 < width ? at[3] : 0.0f);
}

// Where token `token` is in line `line` of TILE tokens. Groups of four tokens change places from four lines to the next four.
// So threads that write a column use different banks, and four tokens are read at once.
static __device__ __forceinline__ u32 place(u32 line, u32 token) {
  return line * TILE + ((token >> 2 ^ (line >> 2 & 7u)) << 2) + (token & 3u);
}

// Adds the outer product of two vectors of four values to sums[4][stride].
static __device__ __forceinline__ void outer(float4 a, float4 b, float *sums, u32 stride) {
  float left[4] = {a.x, a.y, a.z, a.w}, right[4] = {b.x, b.y, b.z, b.w};
#pragma unroll
  for (u32 i = 0; i < 4; i++)
#pragma unroll
    for (u32 j = 0; j < 4; j++) sums[i * stride + j] = fmaf(left[i], right[j], sums[i * stride + j]);
}

// The scores: s[i][j] = the product, over the head's width, of token 4 ty + i of `left` and token 4 tx + j of `right`.
static __device__ __forceinline__ void scores(Rows left, Rows right, u32 width, float *staged, float (&s)[4][4]) {
  u32 tx = threadIdx.x % 16, ty = threadIdx.x / 16;
#pragma unroll
  for (u32 i = 0; i < 16; i++) s[i / 4][i % 4] = 0.0f;
  for (u32 column = 0; column < width; column += DEPTH) {
    __syncthreads();
#pragma unroll
    for (u32 i = threadIdx.x; i < TILE * DEPTH / 4; i += THREADS) {
      u32 line = i % (DEPTH / 4) * 4, token = i / (DEPTH / 4);
      float4 a = values_of(left, token, column + line, width), b = values_of(right, token, column + line, width);
      float *lefts = staged, *rights = staged + DEPTH * TILE;
      lefts[place(line, token)] = a.x, rights[place(line, token)] = b.x;
      lefts[place(line + 1, token)] = a.y, rights[place(line + 1, token)] = b.y;
      lefts[place(line + 2, token)] = a.z, rights[place(line + 2, token)] = b.z;
      lefts[place(line + 3, token)] = a.w, rights[place(line + 3, token)] = b.w;
    }
    __syncthreads();
#pragma unroll 1
    for (u32 four = 0; four < DEPTH; four += 4) {
      const float *lefts = staged + place(four, 4 * ty), *rights = staged + DEPTH * TILE + place(four, 4 * tx);
#pragma unroll
      for (u32 line = 0; line < 4; line++)
        outer(*(const float4 *)(lefts + line * TILE), *(const float4 *)(rights + line * TILE), s[0], 4);
    }
  }
}

// sums[i][4 g + j] += the sum over the tokens t of `rows` of weights[t][4 ty + i] times value column + 64 g + 4 tx + j of token
// t.
template <u32 COLUMNS>
static __device__ __forceinline__ void gather(const float *weights, Rows rows, u32 column, u32 width, float *staged,
                                              float (&sums)[4][COLUMNS / 16]) {
  const u32 TOKENS = STAGED / COLUMNS;
  u32 tx = threadIdx.x % 16, ty = threadIdx.x / 16;
  for (u32 first = 0; first < TILE; first += TOKENS) {
    // This also waits until the weights are written.
    __syncthreads();
#pragma unroll
    for (u32 i = threadIdx.x; i < STAGED / 4; i += THREADS) {
      u32 token = i / (COLUMNS / 4), at = i % (COLUMNS / 4) * 4;
      *(float4 *)(staged + 4 * i) = values_of(rows, first + token, column + at, width);
    }
    __syncthreads();
#pragma unroll 1
    for (u32 four = 0; four < TOKENS; four += 4) {
      const float *lefts = weights + place(first + four, 4 * ty), *rights = staged + four * COLUMNS + 4 * tx;
#pragma unroll
      for (u32 token = 0; token < 4; token++) {
        float4 a = *(const float4 *)(lefts + token * TILE);
#pragma unroll
        for (u32 g = 0; g < COLUMNS / 64; g++)
          outer(a, *(const float4 *)(rights + token * COLUMNS + 64 * g), sums[0] + 4 * g, COLUMNS / 16);
      }
    }
  }
}

// The largest value among the 16 threads of a row. NaN does not count.
static __device__ __forceinline__ float row_max(float x) {
  for (int step = 8; step > 0; step >>= 1) {
    float other = __shfl_xor_sync(0xffffffffu, x, step);
    x = other > x ? other : x;
  }
  return x;
}

// The sum over the 16 threads of a row, in all of them.
static __device__ __forceinline__ float row_sum(float x) {
  for (int step = 8; step > 0; step >>= 1) x += __shfl_xor_sync(0xffffffffu, x, step);
  return x;
}

// Whether the query may see the key. Both are counted from the first token of the sample.
static __device__ __forceinline__ bool meet(u32 query, u32 key, u32 tokens, u32 causal) {
  return key < tokens && query < tokens && (!causal || key <= query);
}

// Turns products s into weights exp(scale s - base), where `base` is the row's largest score so far, or 0 if it has no score
// that is finite or above. The weight of a hidden key is 0. Returns the factor for the row's earlier sums.
static __device__ __forceinline__ float weigh(float (&s)[4], u32 query, u32 key, u32 tokens, u32 causal, float scale,
                                              float *most) {
  float top = *most;
#pragma unroll
  for (u32 j = 0; j < 4; j++) {
    s[j] = meet(query, key + j, tokens, causal) ? scale * s[j] : -INFINITE;
    top = s[j] > top ? s[j] : top;
  }
  top = row_max(top);
  float base = top == -INFINITE ? 0.0f : top, keep = exp_(*most - base);
#pragma unroll
  for (u32 j = 0; j < 4; j++) s[j] = exp_(s[j] - base);
  *most = top;
  return keep;
}

// Stores sums[i], times scale[i], as row 4 ty + i of `to`, from `column` of the head on.
template <u32 COLUMNS>
static __device__ __forceinline__ void store(const float (&sums)[4][COLUMNS / 16], const float (&scale)[4], float *to,
                                             u64 stride, u32 tokens, u32 column, u32 width) {
  u32 tx = threadIdx.x % 16, ty = threadIdx.x / 16;
#pragma unroll
  for (u32 i = 0; i < 4; i++) {
    if (4 * ty + i >= tokens) continue;
    float *row = to + (4 * ty + i) * stride;
#pragma unroll
    for (u32 j = 0; j < COLUMNS / 16; j++) {
      u32 at = column + j / 4 * 64 + 4 * tx + j % 4;
      if (at < width) row[at] = scale[i] * sums[i][j];
    }
  }
}

// y of a tile of queries, in one pass over the tiles of keys. `sums` and `total` are scaled down whenever a larger score comes.
template <u32 COLUMNS>
static __device__ __forceinline__ void forward(const float *x, float *y, u32 tokens, u32 heads, u32 width, u32 causal,
                                               float scale) {
  __shared__ __align__(16) float staged[STAGED], weights[TILE * TILE];
  u32 tx = threadIdx.x % 16, ty = threadIdx.x / 16;
  Task task = task_of(tokens, heads, width, COLUMNS, true);
  Rows queries = rows_of(x + task.in, task.from, task.tile, tokens);
  u32 query = task.tile * TILE + 4 * ty;
  float sums[4][COLUMNS / 16] = {}, most[4], total[4];
#pragma unroll
  for (u32 i = 0; i < 4; i++) most[i] = -INFINITE, total[i] = 0.0f;
  u32 tiles = causal ? task.tile + 1 : (tokens + TILE - 1) / TILE;
  // The weights of this tile, then sums += weights times values.
  for (u32 tile = 0; tile < tiles; tile++) {
    float s[4][4];
    scores(queries, rows_of(x + task.in + task.to, task.from, tile, tokens), width, staged, s);
#pragma unroll
    for (u32 i = 0; i < 4; i++) {
      float keep = weigh(s[i], query + i, tile * TILE + 4 * tx, tokens, causal, scale, most + i);
      total[i] = fmaf(total[i], keep, s[i][0] + s[i][1] + (s[i][2] + s[i][3]));
#pragma unroll
      for (u32 j = 0; j < COLUMNS / 16; j++) sums[i][j] *= keep;
    }
#pragma unroll
    for (u32 j = 0; j < 4; j++)
      *(float4 *)(weights + place(4 * tx + j, 4 * ty)) = make_float4(s[0][j], s[1][j], s[2][j], s[3][j]);
    gather<COLUMNS>(weights, rows_of(x + task.in + 2 * task.to, task.from, tile, tokens), task.column, width, staged, sums);
  }
// The sum of all weights of a row is only known now.
#pragma unroll
  for (u32 i = 0; i < 4; i++) total[i] = 1.0f / row_sum(total[i]);
  float *to = y + task.out + (u64)task.tile * TILE * task.to;
  store<COLUMNS>(sums, total, to, task.to, queries.tokens, task.column, width);
}

// dq of a tile of queries for each block. It also leaves what `backward_keys` needs of each query's row of p: stats (3, rows
// heads, tokens) are the base of its weights, 1 over their sum, and D.
template <u32 COLUMNS>
static __device__ __forceinline__ void backward_queries(const float *x, const float *dy, float *dx, float *stats,
                                                        u64 all, u32 tokens, u32 heads, u32 width, u32 causal,
                                                        float scale) {
  __shared__ __align__(16) float staged[STAGED], weights[TILE * TILE];
  u32 tx = threadIdx.x % 16, ty = threadIdx.x / 16;
  Task task = task_of(tokens, heads, width, COLUMNS, true);
  Rows queries = rows_of(x + task.in, task.from, task.tile, tokens);
  Rows slopes = rows_of(dy + task.out, task.to, task.tile, tokens);
  u32 query = task.tile * TILE + 4 * ty;
  u32 tiles = causal ? task.tile + 1 : (tokens + TILE - 1) / TILE;
  float base[4], share[4], mean[4];
#pragma unroll
  for (u32 i = 0; i < 4; i++) base[i] = -INFINITE, share[i] = mean[i] = 0.0f;
  // The first pass over the keys finds the base of the weights, their sum, and D, all of which change with the base.
  for (u32 tile = 0; tile < tiles; tile++) {
    float s[4][4], dp[4][4];
    scores(queries, rows_of(x + task.in + task.to, task.from, tile, tokens), width, staged, s);
    scores(slopes, rows_of(x + task.in + 2 * task.to, task.from, tile, tokens), width, staged, dp);
#pragma unroll
    for (u32 i = 0; i < 4; i++) {
      float keep = weigh(s[i], query + i, tile * TILE + 4 * tx, tokens, causal, scale, base + i);
      share[i] = fmaf(share[i], keep, s[i][0] + s[i][1] + (s[i][2] + s[i][3]));
      mean[i] *= keep;
#pragma unroll
      for (u32 j = 0; j < 4; j++) mean[i] = fmaf(s[i][j], dp[i][j], mean[i]);
    }
  }
#pragma unroll
  for (u32 i = 0; i < 4; i++) {
    base[i] = base[i] == -INFINITE ? 0.0f : base[i];
    share[i] = 1.0f / row_sum(share[i]);
    mean[i] = share[i] * row_sum(mean[i]);
    if (tx == 0 && task.column == 0 && query + i < tokens) {
      float *to = stats + task.pair * tokens + query + i;
      to[0] = base[i], to[all] = share[i], to[2 * all] = mean[i];
    }
  }
  // The second pass computes ds = p (dp - D), and adds up dq = scale ds k.
  float sums[4][COLUMNS / 16] = {}, scales[4] = {scale, scale, scale, scale};
  for (u32 tile = 0; tile < tiles; tile++) {
    float s[4][4], dp[4][4];
    Rows keys = rows_of(x + task.in + task.to, task.from, tile, tokens);
    scores(queries, keys, width, staged, s);
    scores(slopes, rows_of(x + task.in + 2 * task.to, task.from, tile, tokens), width, staged, dp);
#pragma unroll
    for (u32 i = 0; i < 4; i++)
#pragma unroll
      for (u32 j = 0; j < 4; j++) {
        bool met = meet(query + i, tile * TILE + 4 * tx + j, tokens, causal);
        float p = exp_(scale * s[i][j] - base[i]) * share[i];
        s[i][j] = met ? p * (dp[i][j] - mean[i]) : 0.0f;
      }
#pragma unroll
    for (u32 j = 0; j < 4; j++)
      *(float4 *)(weights + place(4 * tx + j, 4 * ty)) = make_float4(s[0][j], s[1][j], s[2][j], s[3][j]);
    gather<COLUMNS>(weights, keys, task.column, width, staged, sums);
  }
  float *to = dx + task.in + (u64)task.tile * TILE * task.from;
  store<COLUMNS>(sums, scales, to, task.from, queries.tokens, task.column, width);
}

// dk and dv of a tile of keys for each block, over the tiles of queries in order. Rows of the scores are queries here, too, but
// rows of the sums are keys.
template <u32 COLUMNS>
static __device__ __forceinline__ void backward_keys(const float *x, const float *dy, float *dx, const float *stats,
                                                     u64 all, u32 tokens, u32 heads, u32 width, u32 causal,
                                                     float scale) {
  __shared__ __align__(16) float staged[STAGED], weights[TILE * TILE];
  u32 tx = threadIdx.x % 16, ty = threadIdx.x / 16;
  Task task = task_of(tokens, heads, width, COLUMNS, false);
  Rows keys = rows_of(x + task.in + task.to, task.from, task.tile, tokens);
  Rows values = rows_of(x + task.in + 2 * task.to, task.from, task.tile, tokens);
  u32 key = task.tile * TILE + 4 * tx, tiles = (tokens + TILE - 1) / TILE;
  float dk[4][COLUMNS / 16] = {}, dv[4][COLUMNS / 16] = {};
  // If causal, earlier queries see none of these keys.
  for (u32 tile = causal ? task.tile : 0; tile < tiles; tile++) {
    float s[4][4], dp[4][4];
    Rows queries = rows_of(x + task.in, task.from, tile, tokens);
    Rows slopes = rows_of(dy + task.out, task.to, tile, tokens);
    scores(queries, keys, width, staged, s);
    scores(slopes, values, width, staged, dp);
#pragma unroll
    for (u32 i = 0; i < 4; i++) {
      u32 query = tile * TILE + 4 * ty + i;
      const float *of = stats + task.pair * tokens + (query < tokens ? query : 0);
      float base = of[0], share = of[all], mean = of[2 * all];
#pragma unroll
      for (u32 j = 0; j < 4; j++) {
        bool met = meet(query, key + j, tokens, causal);
        s[i][j] = met ? exp_(scale * s[i][j] - base) * share : 0.0f;
        dp[i][j] = met ? s[i][j] * (dp[i][j] - mean) : 0.0f;
      }
      *(float4 *)(weights + place(4 * ty + i, 4 * tx)) = make_float4(s[i][0], s[i][1], s[i][2], s[i][3]);
    }
    // dv += p^T dy, then dk += ds^T q, with the same shared memory.
    gather<COLUMNS>(weights, slopes, task.column, width, staged, dv);
    __syncthreads();
#pragma unroll
    for (u32 i = 0; i < 4; i++)
      *(float4 *)(weights + place(4 * ty + i, 4 * tx)) = make_float4(dp[i][0], dp[i][1], dp[i][2], dp[i][3]);
    gather<COLUMNS>(weights, queries, task.column, width, staged, dk);
  }
  float scales[4] = {scale, scale, scale, scale}, ones[4] = {1.0f, 1.0f, 1.0f, 1.0f};
  float *to = dx + task.in + task.to + (u64)task.tile * TILE * task.from;
  store<COLUMNS>(dk, scales, to, task.from, keys.tokens, task.column, width);
  store<COLUMNS>(dv, ones, to + task.to, task.from, keys.tokens, task.column, width);
}

#define FORWARD(name, columns)                                                                                    \
  extern "C" __global__ void __launch_bounds__(THREADS, 2)                                                         \
      name(const float *__restrict__ x, float *__restrict__ y, u32 tokens, u32 heads, u32 width, u32 causal, float scale) { \
    forward<columns>(x, y, tokens, heads, width, causal, scale);                                                  \
  }

#define BACKWARD(name, of, columns)                                                                               \
  extern "C" __global__ void __launch_bounds__(THREADS, 2)                                                         \
      name(const float *__restrict__ x, const float *__restrict__ dy, float *__restrict__ dx,                     \
           float *__restrict__ stats, u64 all, u32 tokens, u32 heads, u32 width, u32 causal, float scale) {       \
    of<columns>(x, dy, dx, stats, all, tokens, heads, width, causal, scale);                                      \
  }

FORWARD(attention_64_f32, 64)
FORWARD(attention_128_f32, 128)
BACKWARD(attention_dq_64_f32, backward_queries, 64)
BACKWARD(attention_dq_128_f32, backward_queries, 128)
BACKWARD(attention_dkv_64_f32, backward_keys, 64)
BACKWARD(attention_dkv_128_f32, backward_keys, 128)

// Rotates the pairs (i, i + width / 2) of queries and keys, in place. turns (2, tokens, width / 2) are the cosines and the
// sines of the angles; `back` takes their negatives. A block takes a token at a time, in any grid. The operations are those of
// src/compute/cpu/attention.rs, turn, so the bits are the same.
extern "C" __global__ void rotate_f32(const float *__restrict__ turns, float *__restrict__ x, u64 rows, u32 tokens,
                                      u32 heads, u32 width, u32 back) {
  u32 half = width / 2;
  for (u64 row = blockIdx.x; row < rows * tokens; row += gridDim.x) {
    const float *cosines = turns + row % tokens * half, *sines = cosines + (u64)tokens * half;
    for (u32 pair = threadIdx.x; pair < 2 * heads * half; pair += blockDim.x) {
      u32 i = pair % half;
      float *at = x + row * 3 * heads * width + (u64)(pair / half) * width + i;
      float a = at[0], b = at[half], cosine = cosines[i], sine = back ? -sines[i] : sines[i];
      at[0] = fmaf(-sine, b, cosine * a);
      at[half] = fmaf(sine, a, cosine * b);
    }
  }
}
