// Optimizer steps on parameters of `len` values. Each value changes on its own, but for the norm. Kernels take any grid, unless
// they say otherwise. src/compute/cuda/optimize.rs launches them.
//
// The operations are those of src/compute/cpu/optimize.rs, in the same order, so the bits are the same. Only the sum of squares
// has an order of its own: four values in f32, all else in f64.
#include "functions.cuh"

// Threads of a block that sums squares.
#define THREADS 256

// Writes four values back, unless the array is constant.
static __device__ __forceinline__ void put(const float *, float4) {}
static __device__ __forceinline__ void put(float *to, float4 values) { *(float4 *)to = values; }

// Four values of an array, from `at` on. They are written back if the array is not constant.
template <class T> struct Quad {
  T *at;
  float4 v;
  __device__ __forceinline__ explicit Quad(T *from) : at(from), v(*(const float4 *)from) {}
};

// f of each of the four values, which are then written back.
template <class F, class... T> static __device__ __forceinline__ void on_four(F f, Quad<T>... quad) {
  f(quad.v.x...);
  f(quad.v.y...);
  f(quad.v.z...);
  f(quad.v.w...);
  (put(quad.at, quad.v), ...);
}

// f(a[i], b[i], ..) for i < len. A thread reads and writes four values at once, because memory is the bound.
template <class F, class... T> static __device__ __forceinline__ void each(u64 len, F f, T *...arrays) {
  for (u64 i = thread_of_grid(); i < len / 4; i += threads_of_grid()) on_four(f, Quad<T>(arrays + 4 * i)...);
  for (u64 i = len / 4 * 4 + thread_of_grid(); i < len; i += threads_of_grid()) f(arrays[i]...);
}

// g += decay w
extern "C" __global__ void decay_f32(const float *__restrict__ w, float *__restrict__ g, u64 len, float decay) {
  each(len, [=](float w, float &g) { g = fmaf(decay, w, g); }, w, g);
}

// Limits g to the range from -most to most. NaN stays NaN.
extern "C" __global__ void clamp_f32(float *__restrict__ g, u64 len, float most) {
  each(len, [=](float &g) { g = g < -most ? -most : g > most ? most : g; }, g);
}

// w -= rate g
extern "C" __global__ void sgd_f32(const float *__restrict__ g, float *__restrict__ w, u64 len, float rate) {
  each(len, [=](float g, float &w) { w = fmaf(-rate, g, w); }, g, w);
}

// v = momentum v + g, then w -= rate v; with `nesterov` w -= rate (g + momentum v).
extern "C" __global__ void sgd_momentum_f32(const float *__restrict__ g, float *__restrict__ v, float *__restrict__ w,
                                            u64 len, float rate, float momentum, u32 nesterov) {
  auto step = [=](float g, float &v, float &w) {
    v = fmaf(momentum, v, g);
    w = fmaf(-rate, nesterov ? fmaf(momentum, v, g) : v, w);
  };
  each(len, step, g, v, w);
}

// m = mean0 m + mean1 g; s = square0 s + square1 g g; then w = keep w - rate m / (root sqrt(s) + eps).
extern "C" __global__ void adam_f32(const float *__restrict__ g, float *__restrict__ m, float *__restrict__ s,
                                    float *__restrict__ w, u64 len, float mean0, float mean1, float square0,
                                    float square1, float rate, float root, float eps, float keep) {
  auto step = [=](float g, float &m, float &s, float &w) {
    m = fmaf(mean0, m, mean1 * g);
    s = fmaf(square0, s, square1 * g * g);
    w = fmaf(keep, w, -(rate * m / fmaf(root, sqrtf(s), eps)));
  };
  each(len, step, g, m, s, w);
}

// g times most / (norm + 1e-6), where that is below 1. `squares` (1) is the square of the norm.
extern "C" __global__ void bound_norm_f32(const float *__restrict__ squares, float *__restrict__ g, u64 len,
                                          float most) {
  float factor = most / (sqrtf(*squares) + 1e-6f);
  if (!(factor < 1.0f)) return;
  each(len, [=](float &g) { g *= factor; }, g);
}

// sums (blocks) = the sum of the squares of each block's values of g. Blocks have THREADS threads.
extern "C" __global__ void sum_squares_f32(const float *__restrict__ g, double *__restrict__ sums, u64 len) {
  __shared__ double partial[THREADS];
  double sum = 0.0;
  for (u64 i = thread_of_grid(); i < len / 4; i += threads_of_grid()) {
    float4 v = *(const float4 *)(g + 4 * i);
    sum += (double)fmaf(v.w, v.w, fmaf(v.z, v.z, fmaf(v.y, v.y, v.x * v.x)));
  }
  for (u64 i = len / 4 * 4 + thread_of_grid(); i < len; i += threads_of_grid()) sum += (double)(g[i] * g[i]);
  sum = block_total(sum, partial);
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

// total (1) = the sum of `count` sums. If `accumulate`, it is added to what total holds. One block of THREADS threads does it.
extern "C" __global__ void fold_squares_f32(const double *__restrict__ sums, float *__restrict__ total, u32 count,
                                            u32 accumulate) {
  __shared__ double partial[THREADS];
  double sum = 0.0;
  for (u32 i = threadIdx.x; i < count; i += THREADS) sum += sums[i];
  sum = block_total(sum, partial);
  if (threadIdx.x == 0) *total = accumulate ? *total + (float)sum : (float)sum;
}
