// The part of CUDA C++ that the kernels use, on the processor: for tests, so that every kernel's arithmetic is checked where there
// is no GPU.
//
// A block's threads are fibers of one system thread. A fiber runs until it comes to a barrier (__syncthreads, a shuffle or a vote) or
// to its end; when all that take part have come, they go on. So a missing barrier shows: what a thread reads was written by those
// that ran before it alone, and the tests run the threads of a block from the first and from the last. Blocks run one after the
// other. A barrier that some threads never come to ends the process and says so.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <type_traits>

#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __forceinline__ inline
#define __restrict__ __restrict
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __shared__ static

struct dim3 { unsigned x, y, z; };
struct __align__(8) uint2 { unsigned x, y; };
struct __align__(16) uint4 { unsigned x, y, z, w; };
struct __align__(8) float2 { float x, y; };
struct __align__(16) float4 { float x, y, z, w; };
struct __align__(16) ulonglong2 { unsigned long long x, y; };
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline ulonglong2 make_ulonglong2(unsigned long long x, unsigned long long y) { return {x, y}; }

extern dim3 threadIdx, blockIdx, blockDim, gridDim;

// A kernel, and its parameters: p for a pointer, u for unsigned, U for unsigned long long, f for float.
struct Named { const char *name; void (*call)(void **); const char *kinds; };
// A file of kernels, and the checksum of its text.
struct Family { const char *file; unsigned long long checksum; const Named *kernels; };
extern const Family shim_families[];
extern "C" const Named *shim_find(const char *name, const Family *only);
extern "C" int shim_launch(const char *name, const unsigned *grid, unsigned block, unsigned shared, void **args,
                           int backwards);

namespace shim {
// Waits for all threads of the block.
void block_barrier();
// Hands each of the warp's threads in `mask` the values of all.
const unsigned *warp_exchange(unsigned mask, unsigned value);
unsigned lane();
// Shared memory beyond what the kernel declares.
unsigned char *dynamic();
int block_any(int mine);
}  // namespace shim

// Dynamic shared memory: `DYNAMIC_SHARED(float, name)` declares the pointer `name`.
#define DYNAMIC_SHARED(type, name) type *name = (type *)shim::dynamic()

inline void __syncthreads() { shim::block_barrier(); }
inline int __syncthreads_or(int mine) { return shim::block_any(mine); }
inline void __syncwarp(unsigned mask = 0xffffffffu) { shim::warp_exchange(mask, 0); }
inline void __threadfence_block() {}

template <class T> inline T shuffled(unsigned mask, T value, unsigned from) {
  static_assert(sizeof(T) == 4, "the shim shuffles 32 bits");
  unsigned bits;
  memcpy(&bits, &value, 4);
  const unsigned *all = shim::warp_exchange(mask, bits);
  if (from > 31 || !(mask >> from & 1)) from = shim::lane();
  memcpy(&value, all + from, 4);
  return value;
}
template <class T> inline T __shfl_sync(unsigned mask, T value, int from) { return shuffled(mask, value, from & 31); }
template <class T> inline T __shfl_xor_sync(unsigned mask, T value, int with) {
  return shuffled(mask, value, shim::lane() ^ (unsigned)with);
}
template <class T> inline T __shfl_down_sync(unsigned mask, T value, unsigned by) {
  return shuffled(mask, value, shim::lane() + by);
}
template <class T> inline T __shfl_up_sync(unsigned mask, T value, unsigned by) {
  return shuffled(mask, value, by > shim::lane() ? shim::lane() : shim::lane() - by);
}
inline unsigned __ballot_sync(unsigned mask, int yes) {
  const unsigned *all = shim::warp_exchange(mask, yes != 0);
  unsigned votes = 0;
  for (int lane = 0; lane < 32; lane++) votes |= (mask >> lane & 1 ? all[lane] : 0) << lane;
  return votes;
}
inline int __any_sync(unsigned mask, int yes) { return __ballot_sync(mask, yes) != 0; }
inline int __all_sync(unsigned mask, int yes) { return __ballot_sync(mask, yes) == mask; }

template <class T> inline T __ldg(const T *from) { return *from; }
inline unsigned __float_as_uint(float x) { unsigned bits; memcpy(&bits, &x, 4); return bits; }
inline float __uint_as_float(unsigned bits) { float x; memcpy(&x, &bits, 4); return x; }
inline int __float_as_int(float x) { return (int)__float_as_uint(x); }
inline float __int_as_float(int bits) { return __uint_as_float((unsigned)bits); }
inline unsigned __brev(unsigned x) {
  unsigned y = 0;
  for (int i = 0; i < 32; i++) y |= (x >> i & 1) << (31 - i);
  return y;
}
inline unsigned __byte_perm(unsigned x, unsigned y, unsigned s) {
  unsigned long long both = (unsigned long long)y << 32 | x;
  unsigned out = 0;
  for (int i = 0; i < 4; i++) out |= (unsigned)(both >> 8 * (s >> 4 * i & 7) & 0xff) << 8 * i;
  return out;
}
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned by) {
  by &= 31;
  return by ? high << by | low >> (32 - by) : high;
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned by) {
  by &= 31;
  return by ? low >> by | high << (32 - by) : low;
}
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline unsigned __umulhi(unsigned x, unsigned y) { return (unsigned)((unsigned long long)x * y >> 32); }
inline unsigned long long __umul64hi(unsigned long long x, unsigned long long y) {
  return (unsigned long long)((unsigned __int128)x * y >> 64);
}
// One system thread runs all: nothing comes between.
inline unsigned atomicMin(unsigned *at, unsigned value) {
  unsigned old = *at;
  if (value < old) *at = value;
  return old;
}
inline unsigned atomicAdd(unsigned *at, unsigned value) {
  unsigned old = *at;
  *at = old + value;
  return old;
}
inline unsigned min(unsigned x, unsigned y) { return x < y ? x : y; }
inline unsigned max(unsigned x, unsigned y) { return x > y ? x : y; }
