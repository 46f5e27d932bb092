// Norms: x is seen as (outer, sets, inner), and all values with the same middle index form a set. src/compute/cuda/norm.rs
// chooses the kernel for a shape. There are four kinds:
//
// rows: outer is 1, so a set's values lie side by side. A warp or a block has a set, and does all there is to do while the set
// is in the cache.
// sums: a block sums up a part of a set. Its threads take every so-many-th value, whichever run it lies in.
// columns: inner is 1. A block has 32 sets side by side, and each of its 8 lines of threads takes every 8th row of the part.
// values: a thread has the same place in every row of sets x inner values, and so one set, whose numbers it loads once.
//
// If a set has several parts, their sums (set, part) are folded afterwards: lane l takes the parts l, l + 32, ..., and the
// lanes are added as a tree. No order depends on which block is first.
#include "functions.cuh"

// Sets that a block of `columns` has side by side, and its lines of threads.
#define TILE 32
#define LINES 8

// The kinds of terms that are summed.
#define SUM 0      // x
#define DOT 1      // x y
#define SQUARES 2  // (x - centre)^2
#define SLOPES 3   // two sums: x, and x y

// Adds the term at `at` to `sum`, and for SLOPES the second one to `other`.
template <u32 MODE>
static __device__ __forceinline__ void add_term(const float *__restrict__ x, const float *__restrict__ y, u64 at,
                                                float centre, float &sum, float &other) {
  float value = x[at];
  if (MODE == SUM || MODE == SLOPES) sum += value;
  if (MODE == DOT) sum = fmaf(value, y[at], sum);
  if (MODE == SQUARES) sum = fmaf(value - centre, value - centre, sum);
  if (MODE == SLOPES) other = fmaf(value, y[at], other);
}

// The sum over a warp, in all its lanes.
static __device__ __forceinline__ float warp_sum(float x) {
  for (int step = 16; step > 0; step >>= 1) x += __shfl_xor_sync(0xffffffffu, x, step);
  return x;
}

// ---- rows

// The set of this thread's warp (or block), and which of its values the thread takes: first, first + step, ...
template <bool WARPS> struct Row {
  u64 set;
  u32 first, step;
  __device__ __forceinline__ Row() {
    set = WARPS ? (u64)blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32 : blockIdx.x;
    first = WARPS ? threadIdx.x % 32 : threadIdx.x;
    step = WARPS ? 32 : blockDim.x;
  }
  __device__ __forceinline__ float sum(float x, float *partial) const {
    return WARPS ? warp_sum(x) : block_sum(x, partial);
  }
};

// Mean and variance of a row. The variance is summed in a second pass, from distances to the mean.
template <bool WARPS>
static __device__ __forceinline__ void moments_of_row(const float *__restrict__ xs, float *__restrict__ mean,
                                                      float *__restrict__ variance, u64 sets, u32 inner, u32 centred,
                                                      float *partial) {
  Row<WARPS> row;
  if (row.set >= sets) return;
  const float *x = xs + row.set * inner;
  float sum = 0.0f, squares = 0.0f, none = 0.0f;
  if (centred) {
#pragma unroll 4
    for (u32 i = row.first; i < inner; i += row.step) add_term<SUM>(x, x, i, 0.0f, sum, none);
    sum = row.sum(sum, partial) / (float)inner;
  }
#pragma unroll 4
  for (u32 i = row.first; i < inner; i += row.step) add_term<SQUARES>(x, x, i, sum, squares, none);
  squares = row.sum(squares, partial) / (float)inner;
  if (row.first == 0) {
    mean[row.set] = sum;
    variance[row.set] = squares;
  }
}

extern "C" __launch_bounds__(1024) __global__ void moments_rows_f32(const float *__restrict__ x, float *__restrict__ mean,
                                            float *__restrict__ variance, u64 sets, u32 inner, u32 centred, u32 warps) {
  __shared__ float partial[32];
  if (warps) moments_of_row<true>(x, mean, variance, sets, inner, centred, partial);
  else moments_of_row<false>(x, mean, variance, sets, inner, centred, partial);
}

// y = (x - mean) / sqrt(variance + eps), of a row.
template <bool WARPS>
static __device__ __forceinline__ void normalize_row(const float *__restrict__ x, const float *__restrict__ mean,
                                                     const float *__restrict__ variance, float *__restrict__ y,
                                                     u64 sets, u32 inner, float eps) {
  Row<WARPS> row;
  if (row.set >= sets) return;
  float centre = mean[row.set], scale = 1.0f / sqrtf(variance[row.set] + eps);
  u64 at = row.set * inner;
#pragma unroll 4
  for (u32 i = row.first; i < inner; i += row.step) y[at + i] = (x[at + i] - centre) * scale;
}

extern "C" __launch_bounds__(1024) __global__ void normalize_rows_f32(const float *__restrict__ x, const float *__restrict__ mean,
                                              const float *__restrict__ variance, float *__restrict__ y, u64 sets,
                                              u32 inner, float eps, u32 warps) {
  if (warps) normalize_row<true>(x, mean, variance, y, sets, inner, eps);
  else normalize_row<false>(x, mean, variance, y, sets, inner, eps);
}

// dx = (dn - mean(dn) - n mean(n dn)) / sqrt(variance + eps), of a row.
template <bool WARPS>
static __device__ __forceinline__ void backward_row(const float *__restrict__ ns, const float *__restrict__ variance,
                                                    const float *__restrict__ dns, float *__restrict__ dx, u64 sets,
                                                    u32 inner, float eps, u32 centred, float *partial) {
  Row<WARPS> row;
  if (row.set >= sets) return;
  u64 at = row.set * inner;
  const float *n = ns + at, *dn = dns + at;
  float mean = 0.0f, slope = 0.0f;
#pragma unroll 4
  for (u32 i = row.first; i < inner; i += row.step) add_term<SLOPES>(dn, n, i, 0.0f, mean, slope);
  mean = centred ? row.sum(mean, partial) / (float)inner : 0.0f;
  slope = row.sum(slope, partial) / (float)inner;
  float scale = 1.0f / sqrtf(variance[row.set] + eps);
#pragma unroll 4
  for (u32 i = row.first; i < inner; i += row.step) dx[at + i] = fmaf(-n[i], slope, dn[i] - mean) * scale;
}

extern "C" __launch_bounds__(1024) __global__ void normalize_backward_rows_f32(const float *__restrict__ n, const float *__restrict__ variance,
                                                       const float *__restrict__ dn, float *__restrict__ dx, u64 sets,
                                                       u32 inner, float eps, u32 centred, u32 warps) {
  __shared__ float partial[32];
  if (warps) backward_row<true>(n, variance, dn, dx, sets, inner, eps, centred, partial);
  else backward_row<false>(n, variance, dn, dx, sets, inner, eps, centred, partial);
}

// ---- sums and columns. Both write sums (sets, parts). If there is one part, they write the result, which is sum / members,
// added to what is there if `accumulate`. The second sums of SLOPES come behind all of the first.

static __device__ __forceinline__ void put_sum(float *sums, u64 at, float sum, u32 parts, float members,
                                               u32 accumulate) {
  if (parts > 1) sums[at * parts + blockIdx.y] = sum;
  else sums[at] = accumulate ? sums[at] + sum / members : sum / members;
}

// Sums up a part of a set: its members from blockIdx.y share on.
template <u32 MODE>
static __device__ __forceinline__ void sum_set(const float *__restrict__ x, const float *__restrict__ y, float centre,
                                               float *__restrict__ sums, u64 outer, u32 sets, u64 inner, u64 share,
                                               float members, u32 accumulate, float *partial) {
  u32 set = blockIdx.x;
  u64 first = blockIdx.y * share, count = outer * inner;
  u64 end = first + share < count ? first + share : count;
  u64 m = first + threadIdx.x, row = sets * inner;
  u64 i = m % inner, at = m / inner * row + set * inner + i;
  // What blockDim.x members further on means: whole runs, which lie a row apart, and a rest, which may end in the next run.
  u64 rest = blockDim.x % inner, step = blockDim.x / inner * row + rest;
  float sum = 0.0f, other = 0.0f;
#pragma unroll 4
  for (; m < end; m += blockDim.x) {
    add_term<MODE>(x, y, at, centre, sum, other);
    i += rest;
    at += step;
    if (i >= inner) {
      i -= inner;
      at += row - inner;
    }
  }
  sum = block_sum(sum, partial);
  if (MODE == SLOPES) other = block_sum(other, partial);
  if (threadIdx.x != 0) return;
  put_sum(sums, set, sum, gridDim.y, members, accumulate);
  if (MODE == SLOPES) put_sum(sums, (u64)sets + set, other, gridDim.y, members, accumulate);
}

extern "C" __global__ void sums_f32(const float *__restrict__ x, const float *__restrict__ y,
                                    const float *__restrict__ centre, float *__restrict__ sums, u64 outer, u32 sets,
                                    u64 inner, u64 share, u32 mode, float members, u32 accumulate) {
  __shared__ float partial[32];
  float c = mode == SQUARES ? centre[blockIdx.x] : 0.0f;
  if (mode == SUM) sum_set<SUM>(x, y, c, sums, outer, sets, inner, share, members, accumulate, partial);
  if (mode == DOT) sum_set<DOT>(x, y, c, sums, outer, sets, inner, share, members, accumulate, partial);
  if (mode == SQUARES) sum_set<SQUARES>(x, y, c, sums, outer, sets, inner, share, members, accumulate, partial);
  if (mode == SLOPES) sum_set<SLOPES>(x, y, c, sums, outer, sets, inner, share, members, accumulate, partial);
}

// Sums up a part of the rows of 32 sets side by side.
template <u32 MODE>
static __device__ __forceinline__ void sum_columns(const float *__restrict__ x, const float *__restrict__ y,
                                                   const float *__restrict__ centre, float *__restrict__ sums,
                                                   u64 outer, u32 sets, u64 share, float members, u32 accumulate,
                                                   float (*partial)[LINES][TILE]) {
  u32 lane = threadIdx.x % TILE, line = threadIdx.x / TILE;
  u64 set = (u64)blockIdx.x * TILE + lane;
  u64 first = blockIdx.y * share;
  u64 end = first + share < outer ? first + share : outer;
  float sum = 0.0f, other = 0.0f;
  if (set < sets) {
    float c = MODE == SQUARES ? centre[set] : 0.0f;
#pragma unroll 4
    for (u64 row = first + line; row < end; row += LINES) add_term<MODE>(x, y, row * sets + set, c, sum, other);
  }
  partial[0][line][lane] = sum;
  partial[1][line][lane] = other;
  __syncthreads();
  if (line != 0 || set >= sets) return;
  for (u32 next = 1; next < LINES; next++) {
    sum += partial[0][next][lane];
    other += partial[1][next][lane];
  }
  put_sum(sums, set, sum, gridDim.y, members, accumulate);
  if (MODE == SLOPES) put_sum(sums, sets + set, other, gridDim.y, members, accumulate);
}

extern "C" __global__ void sums_of_columns_f32(const float *__restrict__ x, const float *__restrict__ y,
                                               const float *__restrict__ centre, float *__restrict__ sums, u64 outer,
                                               u32 sets, u64 share, u32 mode, float members, u32 accumulate) {
  __shared__ float partial[2][LINES][TILE];
  if (mode == SUM) sum_columns<SUM>(x, y, centre, sums, outer, sets, share, members, accumulate, partial);
  if (mode == DOT) sum_columns<DOT>(x, y, centre, sums, outer, sets, share, members, accumulate, partial);
  if (mode == SQUARES) sum_columns<SQUARES>(x, y, centre, sums, outer, sets, share, members, accumulate, partial);
  if (mode == SLOPES) sum_columns<SLOPES>(x, y, centre, sums, outer, sets, share, members, accumulate, partial);
}

// sums (count) = the sums of parts (count, each), divided by `members`. If `accumulate`, they are added to what sums holds. A
// warp takes one.
extern "C" __global__ void fold_sums_f32(const float *__restrict__ parts, float *__restrict__ sums, u32 count, u32 each,
                                         float members, u32 accumulate) {
  u64 at = thread_of_grid() / 32;
  u32 lane = threadIdx.x % 32;
  if (at >= count) return;
  float sum = 0.0f;
  for (u32 part = lane; part < each; part += 32) sum += parts[at * each + part];
  sum = warp_sum(sum) / members;
  if (lane == 0) sums[at] = accumulate ? sums[at] + sum : sum;
}

// ---- values

// The set of a place in a row of sets x inner values. A division of 64 bits is avoided where it can be, because it takes much
// longer.
static __device__ __forceinline__ u64 set_of(u64 place, u64 row, u64 inner) {
  return row >> 32 ? place / inner : (u32)place / (u32)inner;
}

#define OVER_ROWS(at) for (u64 at = blockIdx.y * row + place; at < outer * row; at += gridDim.y * row)

extern "C" __global__ void normalize_f32(const float *__restrict__ x, const float *__restrict__ mean,
                                         const float *__restrict__ variance, float *__restrict__ y, u64 outer,
                                         u32 sets, u64 inner, float eps) {
  u64 place = thread_of_grid(), row = sets * inner;
  if (place >= row) return;
  u64 set = set_of(place, row, inner);
  float centre = mean[set], scale = 1.0f / sqrtf(variance[set] + eps);
#pragma unroll 4
  OVER_ROWS(at) y[at] = (x[at] - centre) * scale;
}

// dx as in `backward_row`. `means` (2, sets) are the means of dn and of n dn.
extern "C" __global__ void normalize_backward_f32(const float *__restrict__ n, const float *__restrict__ variance,
                                                  const float *__restrict__ dn, const float *__restrict__ means,
                                                  float *__restrict__ dx, u64 outer, u32 sets, u64 inner, float eps,
                                                  u32 centred) {
  u64 place = thread_of_grid(), row = sets * inner;
  if (place >= row) return;
  u64 set = set_of(place, row, inner);
  float mean = centred ? means[set] : 0.0f, slope = means[sets + set];
  float scale = 1.0f / sqrtf(variance[set] + eps);
#pragma unroll 4
  OVER_ROWS(at) dx[at] = fmaf(-n[at], slope, dn[at] - mean) * scale;
}

// y = weight[set] x + bias[set]. `bias` may be null.
extern "C" __global__ void scale_f32(const float *__restrict__ x, const float *__restrict__ weight,
                                     const float *__restrict__ bias, float *__restrict__ y, u64 outer, u32 sets,
                                     u64 inner) {
  u64 place = thread_of_grid(), row = sets * inner;
  if (place >= row) return;
  u64 set = set_of(place, row, inner);
  float w = weight[set];
  if (bias) {
    float b = bias[set];
#pragma unroll 4
    OVER_ROWS(at) y[at] = fmaf(w, x[at], b);
  } else {
#pragma unroll 4
    OVER_ROWS(at) y[at] = w * x[at];
  }
}
