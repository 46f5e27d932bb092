// Tables (rows, n) whose rows are looked up by the numbers in x (count). src/compute/cuda/lookup.rs launches the kernels.
//
// y[i] = table[x[i]] is a copy. table[x[i]] += y[i] must be done for i in order and without a race. So the indices 0.. of x are
// sorted by the row that their number names. The sort is a stable radix sort from the lowest digit, with eight bits at a time:
// afterwards the indices of each row are side by side and in order. Then each value of the table adds up what is its own. A
// number that names no row looks up NaN. It is sorted behind all rows, and adds nothing.
#include "functions.cuh"

// Values of a digit. A block that sorts has as many threads.
#define DIGITS 256
// Loads of a sum that are under way at once.
#define AHEAD 8

// The row that x names, or `rows` if it names none. See src/compute/cpu/lookup.rs, row.
static __device__ __forceinline__ u32 row_of(float x, u32 rows) {
  if (!(x >= 0.0f && x < 4294967296.0f)) return rows;
  u32 whole = (u32)x;
  return whole < rows && (float)whole == x ? whole : rows;
}

// y[i] = table[x[i]], or NaN. A team of threads takes a row.
extern "C" __global__ void look_up_f32(const float *__restrict__ x, const float *__restrict__ table,
                                       float *__restrict__ y, u64 count, u32 rows, u32 n, u32 team) {
  u32 lane = threadIdx.x % team;
  u64 lines = blockDim.x / team;
  for (u64 i = blockIdx.x * lines + threadIdx.x / team; i < count; i += gridDim.x * lines) {
    u32 row = row_of(x[i], rows);
    float *to = y + i * n;
    if (row == rows) {
      for (u32 k = lane; k < n; k += team) to[k] = NO_NUMBER;
      continue;
    }
    const float *from = table + (u64)row * n;
    if (n % 4 == 0) {
#pragma unroll 4
      for (u32 k = lane; k < n / 4; k += team) ((float4 *)to)[k] = ((const float4 *)from)[k];
    } else {
#pragma unroll 4
      for (u32 k = lane; k < n; k += team) to[k] = from[k];
    }
  }
}

// The index in place `place` of `order`, or the place itself if `order` is null, as in the first pass.
static __device__ __forceinline__ u32 number_at(const u32 *order, u32 place) { return order ? order[place] : place; }
// The digit, from bit `shift` on, of the row that x names.
static __device__ __forceinline__ u32 digit_of(float x, u32 rows, u32 shift) { return row_of(x, rows) >> shift & (DIGITS - 1); }

// counts (tiles, DIGITS) = how often each digit occurs in each tile of `tile` places. A block of DIGITS threads takes a tile.
extern "C" __global__ void count_digits_u32(const float *__restrict__ x, const u32 *__restrict__ order,
                                            u32 *__restrict__ counts, u32 count, u32 rows, u32 shift, u32 tile) {
  __shared__ u32 found[DIGITS];
  found[threadIdx.x] = 0;
  __syncthreads();
  u64 first = (u64)blockIdx.x * tile;
  for (u32 i = threadIdx.x; i < tile && first + i < count; i += DIGITS)
    // These are whole numbers, so their sum does not depend on which thread is first.
    atomicAdd(found + digit_of(x[number_at(order, (u32)(first + i))], rows, shift), 1u);
  __syncthreads();
  counts[(u64)blockIdx.x * DIGITS + threadIdx.x] = found[threadIdx.x];
}

// sorted = the indices of `order`, sorted by the digit; those of one digit keep their order. A block of DIGITS threads takes a
// tile.
extern "C" __global__ void place_digits_u32(const float *__restrict__ x, const u32 *__restrict__ order,
                                            const u32 *__restrict__ counts, u32 *__restrict__ sorted, u32 count,
                                            u32 rows, u32 shift, u32 tile) {
  __shared__ u32 totals[DIGITS], next[DIGITS], found[DIGITS / 32][DIGITS];
  u32 thread = threadIdx.x, lane = thread & 31u, warp = thread >> 5;
  // What comes before this tile's first index of a digit: all smaller digits, and the same digit in earlier tiles.
  u32 total = 0, earlier = 0;
  for (u32 other = 0; other < gridDim.x; other++) {
    if (other == blockIdx.x) earlier = total;
    total += counts[(u64)other * DIGITS + thread];
  }
  totals[thread] = total;
  __syncthreads();
  for (u32 digit = 0; digit < thread; digit++) earlier += totals[digit];
  next[thread] = earlier;
  u64 first = (u64)blockIdx.x * tile;
  for (u32 from = 0; from < tile && first + from < count; from += DIGITS) {
    for (u32 other = 0; other < DIGITS / 32; other++) found[other][thread] = 0;
    __syncthreads();
    bool here = from + thread < tile && first + from + thread < count;
    u32 number = here ? number_at(order, (u32)(first + from + thread)) : 0;
    u32 digit = here ? digit_of(x[number], rows, shift) : 0;
    // The lanes of this warp that have the same digit as this thread.
    u32 alike = __ballot_sync(0xffffffffu, here);
    for (u32 bit = 1; bit < DIGITS; bit <<= 1) {
      u32 set = __ballot_sync(0xffffffffu, (digit & bit) != 0);
      alike &= digit & bit ? set : ~set;
    }
    u32 rank = (u32)__popc(alike & ((1u << lane) - 1u));
    if (here && rank == 0) found[warp][digit] = (u32)__popc(alike);
    __syncthreads();
    // From the counts of the warps to the place of each warp's first index.
    u32 at = next[thread];
    for (u32 other = 0; other < DIGITS / 32; other++) {
      u32 many = found[other][thread];
      found[other][thread] = at;
      at += many;
    }
    next[thread] = at;
    __syncthreads();
    if (here) sorted[found[warp][digit] + rank] = number;
    __syncthreads();
  }
}

// bounds (2, rows) = where in `order` the indices of each row begin, and where they end. Rows without any are left as they are.
extern "C" __global__ void bound_rows_u32(const float *__restrict__ x, const u32 *__restrict__ order,
                                          u32 *__restrict__ bounds, u32 count, u32 rows) {
  for (u64 i = thread_of_grid(); i < count; i += threads_of_grid()) {
    u32 row = row_of(x[order[i]], rows);
    if (row == rows) continue;
    if (i == 0 || row_of(x[order[i - 1]], rows) != row) bounds[row] = (u32)i;
    if (i + 1 == count || row_of(x[order[i + 1]], rows) != row) bounds[(u64)rows + row] = (u32)(i + 1);
  }
}

// table[row] += y[i] for the indices i of each row, in order. A team of threads takes a row; the grid's y divides its values.
extern "C" __global__ void add_up_f32(const float *__restrict__ y, const u32 *__restrict__ order,
                                      const u32 *__restrict__ bounds, float *__restrict__ table, u32 rows, u32 n,
                                      u32 accumulate, u32 team) {
  u64 lines = blockDim.x / team;
  for (u64 row = blockIdx.x * lines + threadIdx.x / team; row < rows; row += gridDim.x * lines) {
    u32 begin = bounds[row], end = bounds[rows + row];
    if (accumulate && begin == end) continue;
    for (u32 k = blockIdx.y * team + threadIdx.x % team; k < n; k += gridDim.y * team) {
      float sum = accumulate ? table[row * n + k] : 0.0f;
      u32 at = begin;
      for (; at + AHEAD <= end; at += AHEAD) {
        float values[AHEAD];
#pragma unroll
        for (u32 i = 0; i < AHEAD; i++) values[i] = y[(u64)order[at + i] * n + k];
#pragma unroll
        for (u32 i = 0; i < AHEAD; i++) sum += values[i];
      }
      for (; at < end; at++) sum += y[(u64)order[at] * n + k];
      table[row * n + k] = sum;
    }
  }
}
