// Each value on its own: y[i] of x[i], for i < len, in any grid. src/compute/cuda/elementwise.rs launches the kernels.
//
// The operations are those of src/compute/cpu/elementwise.rs, in the same order, so the bits are the same.
#include "functions.cuh"

// i runs over the values that this thread takes.
#define EACH(i, len) for (u64 i = thread_of_grid(); i < len; i += threads_of_grid())

// A kernel `name`: to[i] = expression, of x = from[i].
#define MAP(name, expression)                                                                        \
  extern "C" __global__ void name(const float *__restrict__ from, float *__restrict__ to, u64 len) { \
    EACH(i, len) {                                                                                   \
      float x = from[i];                                                                             \
      to[i] = (expression);                                                                          \
    }                                                                                                \
  }

// A kernel `name`: dx = expression, which is the slope times dy[i]. The slope is one of the function's input (`of` is x) or of
// its output (y).
#define MAP_BACKWARD(name, of, expression)                                                                     \
  extern "C" __global__ void name(const float *__restrict__ xs, const float *__restrict__ ys,                  \
                                  const float *__restrict__ dy, float *__restrict__ dx, u64 len) {             \
    EACH(i, len) {                                                                                             \
      float of = of##s[i];                                                                                     \
      dx[i] = (expression);                                                                                    \
    }                                                                                                          \
  }

// sqrt(2 / pi); the factor of x^3 in the approximate GELU; 1 / sqrt(2 pi); 1 / sqrt(2).
#define ROOT 0.7978846f
#define CUBE 0.044715f
#define DENSITY 0.3989423f
#define HALF_ROOT 0.707106781f

// The tanh in the approximate GELU.
static __device__ __forceinline__ float gelu_tanh_of(float x) { return tanh_(ROOT * fmaf(CUBE * x * x, x, x)); }

// The derivative of the exact GELU: the normal distribution at x, plus x times its density.
static __device__ __forceinline__ float gelu_slope(float x) {
  return fmaf(x * DENSITY, exp_(-0.5f * x * x), 0.5f * (1.0f + erf_(x * HALF_ROOT)));
}

// The derivative of the GELU with tanh; `inner` is the derivative of what the tanh is of.
static __device__ __forceinline__ float gelu_tanh_slope(float x) {
  float t = gelu_tanh_of(x);
  float inner = ROOT * fmaf(3.0f * CUBE * x, x, 1.0f);
  return fmaf(0.5f * x * fmaf(-t, t, 1.0f), inner, 0.5f * (1.0f + t));
}

// The derivative of SiLU.
static __device__ __forceinline__ float silu_slope(float x) {
  float s = sigmoid_(x);
  return s * fmaf(x, 1.0f - s, 1.0f);
}

MAP(relu_f32, x < 0.0f ? 0.0f : x)
MAP(tanh_f32, tanh_(x))
MAP(sigmoid_f32, sigmoid_(x))
MAP(gelu_f32, 0.5f * x * (1.0f + erf_(x * HALF_ROOT)))
MAP(gelu_tanh_f32, 0.5f * x * (1.0f + gelu_tanh_of(x)))
MAP(silu_f32, x * sigmoid_(x))

MAP_BACKWARD(relu_backward_f32, y, y > 0.0f ? dy[i] : 0.0f)
MAP_BACKWARD(tanh_backward_f32, y, fmaf(-y, y, 1.0f) * dy[i])
MAP_BACKWARD(sigmoid_backward_f32, y, y * (1.0f - y) * dy[i])
MAP_BACKWARD(gelu_backward_f32, x, gelu_slope(x) * dy[i])
MAP_BACKWARD(gelu_tanh_backward_f32, x, gelu_tanh_slope(x) * dy[i])
MAP_BACKWARD(silu_backward_f32, x, silu_slope(x) * dy[i])

// x where it is above 0, else slope x.
extern "C" __global__ void leaky_relu_f32(const float *__restrict__ from, float *__restrict__ to, u64 len, float slope) {
  EACH(i, len) { to[i] = from[i] > 0.0f ? from[i] : slope * from[i]; }
}

extern "C" __global__ void leaky_relu_backward_f32(const float *__restrict__ x, const float *__restrict__ dy,
                                                   float *__restrict__ dx, u64 len, float slope) {
  EACH(i, len) { dx[i] = (x[i] > 0.0f ? 1.0f : slope) * dy[i]; }
}

// y += x
extern "C" __global__ void add_f32(const float *__restrict__ x, float *__restrict__ y, u64 len) {
  EACH(i, len) { y[i] += x[i]; }
}

// to = (1 - part) to + part factor from
extern "C" __global__ void blend_f32(const float *__restrict__ from, float *__restrict__ to, u64 len, float part,
                                     float factor) {
  EACH(i, len) { to[i] = fmaf(1.0f - part, to[i], part * (factor * from[i])); }
}

// Dropout: y = x / (1 - p), or 0 where the value's random number is below p. The number is word i mod 4 of the Philox4x32-10
// block with the counter (i / 4, a, b, c) under the key (k0, k1).
extern "C" __global__ void drop_out_f32(const float *__restrict__ x, float *__restrict__ y, u64 len, float p, u32 k0,
                                        u32 k1, u32 a, u32 b, u32 c) {
  float scale = 1.0f / (1.0f - p);
  EACH(block, (len + 3) / 4) {
    uint4 numbers = philox(make_uint4((u32)block, a, b, c), k0, k1);
    u32 words[4] = {numbers.x, numbers.y, numbers.z, numbers.w};
#pragma unroll
    for (u32 k = 0; k < 4; k++) {
      u64 i = block * 4 + k;
      if (i < len) y[i] = unit(words[k]) < p ? 0.0f : scale * x[i];
    }
  }
}
