// What several families of kernels need: elementary functions, random numbers, number formats, sums over a block.
//
// exp, ln, tanh, erf are those of src/compute/cpu/functions.rs, operation by operation, so that both give the same bits. All is
// compiled without contraction: a multiplication and an addition become one only where it says fmaf.
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

// Shared memory whose size the launch says: `DYNAMIC_SHARED(float, name)` declares the pointer `name`.
#ifndef DYNAMIC_SHARED
#define DYNAMIC_SHARED(type, name)                                 \
  extern __shared__ __align__(16) unsigned char dynamic_shared_[]; \
  type *name = (type *)dynamic_shared_
#endif

#define INFINITE __uint_as_float(0x7f800000u)
#define NO_NUMBER __uint_as_float(0x7fc00000u)

// This thread's number in a one-dimensional grid, and how many there are.
static __device__ __forceinline__ u64 thread_of_grid() { return (u64)blockIdx.x * blockDim.x + threadIdx.x; }
static __device__ __forceinline__ u64 threads_of_grid() { return (u64)gridDim.x * blockDim.x; }

// ---- elementary functions

// See functions.rs, exp.
static __device__ __forceinline__ float exp_(float x) {
  float clamped = x < -87.33f ? -87.33f : x > 88.72f ? 88.72f : x;
  float n = fmaf(clamped, 1.44269504f, 12582912.0f) - 12582912.0f;
  float r = fmaf(n, 2.12194440e-4f, fmaf(n, -0.693359375f, clamped));
  float p = 1.9875691e-4f;
  p = fmaf(p, r, 1.3982e-3f);
  p = fmaf(p, r, 8.333452e-3f);
  p = fmaf(p, r, 4.1665796e-2f);
  p = fmaf(p, r, 1.6666665e-1f);
  p = fmaf(p, r, 5e-1f);
  float e = fmaf(p, r * r, r) + 1.0f;
  // Not a number has no integer; its e stays what it is.
  int whole = n == n ? (int)n : 0;
  int half = whole >> 1;
  float scaled = e * __uint_as_float((u32)(half + 127) << 23) * __uint_as_float((u32)(whole - half + 127) << 23);
  return x < -87.33f ? 0.0f : x > 88.72f ? INFINITE : scaled;
}

// See functions.rs, ln.
static __device__ __forceinline__ float ln_(float x) {
  u32 bits = __float_as_uint(x);
  if ((bits & 0x7f800000u) == 0x7f800000u) return x;
  int exponent = (int)(bits >> 23) - 126;
  float m = __uint_as_float((bits & 0x007fffffu) | 0x3f000000u);
  if (m < 0.707106781f) {
    exponent -= 1;
    m += m;
  }
  m -= 1.0f;
  float e = (float)exponent;
  float square = m * m;
  float p = 7.0376836e-2f;
  p = fmaf(p, m, -1.151461e-1f);
  p = fmaf(p, m, 1.1676999e-1f);
  p = fmaf(p, m, -1.2420141e-1f);
  p = fmaf(p, m, 1.4249323e-1f);
  p = fmaf(p, m, -1.6668057e-1f);
  p = fmaf(p, m, 2.0000715e-1f);
  p = fmaf(p, m, -2.4999994e-1f);
  p = fmaf(p, m, 3.333333e-1f);
  float y = p * m * square;
  y = fmaf(e, -2.1219444e-4f, y);
  y = fmaf(-0.5f, square, y);
  return fmaf(e, 0.6933594f, m + y);
}

// See functions.rs, tanh.
static __device__ __forceinline__ float tanh_(float x) {
  float size = fabsf(x);
  float square = x * x;
  float p = -5.7049886e-3f;
  p = fmaf(p, square, 2.0639088e-2f);
  p = fmaf(p, square, -5.3739715e-2f);
  p = fmaf(p, square, 1.3331442e-1f);
  p = fmaf(p, square, -3.333328e-1f);
  float near = fmaf(p * square, x, x);
  float far = copysignf(1.0f - 2.0f / (exp_(size + size) + 1.0f), x);
  return size < 0.625f ? near : far;
}

static __device__ __forceinline__ float sigmoid_(float x) { return 1.0f / (1.0f + exp_(-x)); }

// See functions.rs, erf.
static __device__ __forceinline__ float erf_(float x) {
  float size = fabsf(x);
  float square = x * x;
  float p = 7.8538615e-5f;
  p = fmaf(p, square, -8.010194e-4f);
  p = fmaf(p, square, 5.1883275e-3f);
  p = fmaf(p, square, -2.6853812e-2f);
  p = fmaf(p, square, 1.1283585e-1f);
  p = fmaf(p, square, -3.7612626e-1f);
  p = fmaf(p, square, 1.12837917f);
  float near = p * x;
  float inverse = 1.0f / (size > 1.0f ? size : 1.0f);
  float steps = inverse * inverse;
  float q;
  if (size < 2.0f) {
    q = 2.32682e-2f;
    q = fmaf(q, steps, -1.3870394e-1f);
    q = fmaf(q, steps, 3.6874247e-1f);
    q = fmaf(q, steps, -5.824733e-1f);
    q = fmaf(q, steps, 6.2100047e-1f);
    q = fmaf(q, steps, -4.9445153e-1f);
    q = fmaf(q, steps, 3.40488e-1f);
    q = fmaf(q, steps, -2.741127e-1f);
    q = fmaf(q, steps, 5.6382594e-1f);
  } else {
    q = -1.0477664e1f;
    q = fmaf(q, steps, 1.29772e1f);
    q = fmaf(q, steps, -7.4955187f);
    q = fmaf(q, steps, 2.921019f);
    q = fmaf(q, steps, -1.0152653f);
    q = fmaf(q, steps, 4.2184634e-1f);
    q = fmaf(q, steps, -2.8207675e-1f);
    q = fmaf(q, steps, 5.641895e-1f);
  }
  float far = copysignf(1.0f - exp_(-square) * inverse * q, x);
  return size < 1.0f ? near : x != x ? x : far;
}

// ---- random numbers

// One block of Philox4x32-10: src/random.rs.
static __device__ __forceinline__ uint4 philox(uint4 c, u32 k0, u32 k1) {
  for (int round = 0; round < 10; round++) {
    u64 p0 = (u64)c.x * 0xD2511F53u;
    u64 p1 = (u64)c.z * 0xCD9E8D57u;
    c = make_uint4((u32)(p1 >> 32) ^ c.y ^ k0, (u32)p1, (u32)(p0 >> 32) ^ c.w ^ k1, (u32)p0);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return c;
}

// The upper 24 bits as a part of 1.
static __device__ __forceinline__ float unit(u32 number) { return (float)(number >> 8) * (1.0f / 16777216.0f); }

// ---- formats in which numbers travel: src/float.rs. Rounding is to the nearest, to even between two.

#define FORMAT_F32 0u
#define FORMAT_BF16 1u
#define FORMAT_F16 2u

static __device__ __forceinline__ u16 to_bf16(float x) {
  u32 bits = __float_as_uint(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return (u16)((bits >> 16) | 0x40u);
  return (u16)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

static __device__ __forceinline__ float from_bf16(u16 x) { return __uint_as_float((u32)x << 16); }

static __device__ __forceinline__ u16 to_f16(float x) {
  u32 bits = __float_as_uint(x);
  u32 sign = (bits >> 16) & 0x8000u;
  u32 size = bits & 0x7fffffffu;
  if (size > 0x7f800000u) return (u16)(sign | 0x7e00u | ((size >> 13) & 0x3ffu));
  // What is 65,520 or more rounds to infinity.
  if (size >= 0x477ff000u) return (u16)(sign | 0x7c00u);
  if (size < 0x38800000u) {
    // Below 2^-14 f16 counts in steps of 2^-24: adding 0.5, whose last digit is 2^-24, rounds to them.
    float counted = __uint_as_float(size) + 0.5f;
    return (u16)(sign | (__float_as_uint(counted) - 0x3f000000u));
  }
  u32 rounded = size + 0xfffu + ((size >> 13) & 1u);
  return (u16)(sign | ((rounded - 0x38000000u) >> 13));
}

static __device__ __forceinline__ float from_f16(u16 x) {
  u32 sign = ((u32)x & 0x8000u) << 16;
  u32 exponent = ((u32)x >> 10) & 0x1fu;
  u32 fraction = (u32)x & 0x3ffu;
  if (exponent == 0x1fu) return __uint_as_float(sign | 0x7f800000u | (fraction ? 0x400000u : 0u) | (fraction << 13));
  if (exponent == 0) return __uint_as_float(sign | __float_as_uint((float)fraction * (1.0f / 16777216.0f)));
  return __uint_as_float(sign | ((exponent + 112u) << 23) | (fraction << 13));
}

static __device__ __forceinline__ float rounded_to(u32 format, float x) {
  return format == FORMAT_BF16 ? from_bf16(to_bf16(x)) : format == FORMAT_F16 ? from_f16(to_f16(x)) : x;
}

// ---- windows over images: src/compute/images.rs

// (height, width) of an image and of the window, how far it moves, what lies beside each edge, and its places (high, wide).
struct Window {
  u32 height, width, kernel_h, kernel_w, stride_h, stride_w, padding_h, padding_w, high, wide;
};

// A kernel's parameters for one, and the one that they make. An image and its places have fewer than 2^32 values.
#define WINDOW                                                                                                  \
  u32 height, u32 width, u32 kernel_h, u32 kernel_w, u32 stride_h, u32 stride_w, u32 padding_h, u32 padding_w, \
      u32 high, u32 wide
#define WINDOW_OF_PARAMETERS \
  { height, width, kernel_h, kernel_w, stride_h, stride_w, padding_h, padding_w, high, wide }

// The window's size where it is known when this is compiled, so that loops over it unroll and their loads are under way at once;
// K = 0: any.
template <u32 K> static __device__ __forceinline__ u32 known(u32 size) { return K ? K : size; }

// ---- over the threads of a block

// Not a number is larger than any.
static __device__ __forceinline__ bool is_larger(float value, float than) {
  return value > than || (value != value && than == than);
}

// The sum of every thread's x, in one order; the same in all threads. `partial` has room for 32 values; blocks have a multiple of
// 32 threads. All threads of the block must call it.
static __device__ __forceinline__ float block_sum(float x, float *partial) {
  for (int step = 16; step > 0; step >>= 1) x += __shfl_xor_sync(0xffffffffu, x, step);
  __syncthreads();
  if ((threadIdx.x & 31u) == 0) partial[threadIdx.x >> 5] = x;
  __syncthreads();
  float sum = 0.0f;
  for (u32 warp = 0; warp < blockDim.x >> 5; warp++) sum += partial[warp];
  return sum;
}

// The largest of every thread's x; what is not a number does not count.
static __device__ __forceinline__ float block_max(float x, float *partial) {
  for (int step = 16; step > 0; step >>= 1) {
    float other = __shfl_xor_sync(0xffffffffu, x, step);
    x = other > x ? other : x;
  }
  __syncthreads();
  if ((threadIdx.x & 31u) == 0) partial[threadIdx.x >> 5] = x;
  __syncthreads();
  float most = partial[0];
  for (u32 warp = 1; warp < blockDim.x >> 5; warp++) most = partial[warp] > most ? partial[warp] : most;
  return most;
}

// The sum of every thread's x, in one order; the same in all threads. `partial` has room for a value a thread; blocks have a
// multiple of 32 threads. All threads of the block must call it.
static __device__ __forceinline__ double block_total(double x, double *partial) {
  __syncthreads();
  partial[threadIdx.x] = x;
  __syncthreads();
  if (threadIdx.x < 32)
    for (u32 other = threadIdx.x + 32; other < blockDim.x; other += 32) partial[threadIdx.x] += partial[other];
  __syncthreads();
  double total = 0.0;
  for (u32 lane = 0; lane < 32; lane++) total += partial[lane];
  return total;
}

// ---- over the threads of a team: a power of two up to 32, of one warp, or else the whole block. All of the block must call these.

static __device__ __forceinline__ float team_sum(float x, u32 team, float *partial) {
  if (team > 32) return block_sum(x, partial);
  for (u32 step = team >> 1; step > 0; step >>= 1) x += __shfl_xor_sync(0xffffffffu, x, (int)step);
  return x;
}

// What is not a number does not count.
static __device__ __forceinline__ float team_max(float x, u32 team, float *partial) {
  if (team > 32) return block_max(x, partial);
  for (u32 step = team >> 1; step > 0; step >>= 1) {
    float other = __shfl_xor_sync(0xffffffffu, x, (int)step);
    x = other > x ? other : x;
  }
  return x;
}
