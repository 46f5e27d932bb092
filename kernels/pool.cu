// Pools, plane by plane: y (planes, high, wide) of x (planes, height, width). src/compute/cuda/images.rs launches the kernels.
//
// The grid's x goes over the places (or pixels) of `stripe` planes at a time, y over these stripes. So a thread computes only
// once where on the plane it is. Sums go by rows, then by columns, from 0 on, as on the processor, so the bits are the same.
#include "functions.cuh"

// No place on a plane.
#define NOWHERE 0xffffffffu

// The index in the plane of the first of the largest values under the window at (row, column), and that value in `most`. K is
// the side of the kernel, or 0 for any size.
template <u32 K>
static __device__ __forceinline__ u32 largest(Window w, const float *__restrict__ x, u32 row, u32 column, float *most) {
  u32 kernel_h = known<K>(w.kernel_h), kernel_w = known<K>(w.kernel_w);
  u32 top = row * w.stride_h - w.padding_h, left = column * w.stride_w - w.padding_w;
  u32 best = NOWHERE;
  *most = 0.0f;
#pragma unroll
  for (u32 i = 0; i < kernel_h; i++) {
#pragma unroll
    for (u32 j = 0; j < kernel_w; j++) {
      u32 at = (top + i) * w.width + left + j;
      if (top + i >= w.height || left + j >= w.width) continue;
      float value = x[at];
      if (best == NOWHERE || is_larger(value, *most)) {
        best = at;
        *most = value;
      }
    }
  }
  return best;
}

// The sum of the values under the window at (row, column).
template <u32 K>
static __device__ __forceinline__ float sum_under(Window w, const float *__restrict__ x, u32 row, u32 column) {
  u32 kernel_h = known<K>(w.kernel_h), kernel_w = known<K>(w.kernel_w);
  u32 top = row * w.stride_h - w.padding_h, left = column * w.stride_w - w.padding_w;
  float sum = 0.0f;
#pragma unroll
  for (u32 i = 0; i < kernel_h; i++) {
#pragma unroll
    for (u32 j = 0; j < kernel_w; j++)
      if (top + i < w.height && left + j < w.width) sum += x[(top + i) * w.width + left + j];
  }
  return sum;
}

// What a pool writes for each place: the largest value, where that lies, or the mean.
#define VALUE 0
#define PLACE 1
#define MEAN 2

// Writes one place in each plane that this thread takes.
template <u32 K, u32 WHAT>
static __device__ __forceinline__ void pool_of(Window w, const float *__restrict__ x, float *__restrict__ y,
                                               u32 *__restrict__ at, u64 planes, u32 stripe) {
  u32 places = w.high * w.wide, pixels = w.height * w.width;
  u64 thread = thread_of_grid();
  if (thread >= (u64)stripe * places) return;
  u32 first = (u32)thread / places, place = (u32)thread % places;
  u32 row = place / w.wide, column = place % w.wide;
  float size = (float)(w.kernel_h * w.kernel_w);
  for (u64 plane = (u64)blockIdx.y * stripe + first; plane < planes; plane += (u64)gridDim.y * stripe) {
    const float *from = x + plane * pixels;
    u64 to = plane * places + place;
    if (WHAT == MEAN) {
      y[to] = sum_under<K>(w, from, row, column) / size;
    } else {
      float most;
      u32 best = largest<K>(w, from, row, column, &most);
      if (WHAT == VALUE) y[to] = most;
      else at[to] = best;
    }
  }
}

// Chooses the kernel that is compiled for the window's size.
template <u32 WHAT>
static __device__ __forceinline__ void pool_(Window w, const float *__restrict__ x, float *__restrict__ y,
                                             u32 *__restrict__ at, u64 planes, u32 stripe) {
  if (w.kernel_h == 2 && w.kernel_w == 2) pool_of<2, WHAT>(w, x, y, at, planes, stripe);
  else if (w.kernel_h == 3 && w.kernel_w == 3) pool_of<3, WHAT>(w, x, y, at, planes, stripe);
  else pool_of<0, WHAT>(w, x, y, at, planes, stripe);
}

extern "C" __global__ void max_pool_f32(const float *__restrict__ x, float *__restrict__ y, u64 planes, u32 stripe,
                                        WINDOW) {
  Window w = WINDOW_OF_PARAMETERS;
  pool_<VALUE>(w, x, y, nullptr, planes, stripe);
}

extern "C" __global__ void mean_pool_f32(const float *__restrict__ x, float *__restrict__ y, u64 planes, u32 stripe,
                                         WINDOW) {
  Window w = WINDOW_OF_PARAMETERS;
  pool_<MEAN>(w, x, y, nullptr, planes, stripe);
}

// at (planes, high, wide) = the index in the plane of the first of the largest values of each window.
extern "C" __global__ void places_of_largest_f32(const float *__restrict__ x, u32 *__restrict__ at, u64 planes,
                                                 u32 stripe, WINDOW) {
  Window w = WINDOW_OF_PARAMETERS;
  pool_<PLACE>(w, x, nullptr, at, planes, stripe);
}

// The first place of the window, along an axis, at which it holds a pixel. `before` is the pixel's distance from the padded
// edge.
static __device__ __forceinline__ u32 first_place(u32 before, u32 kernel, u32 stride) {
  return before < kernel ? 0 : (before - kernel) / stride + 1;
}

// The last place of the window, along an axis, at which it holds a pixel.
static __device__ __forceinline__ u32 last_place(u32 before, u32 stride, u32 places) {
  return before / stride < places ? before / stride : places - 1;
}

// dx (planes, height, width): each pixel looks at the windows that hold it, in order, and takes dy from those whose largest
// value it is. If `at` is null, it searches the windows for that itself.
extern "C" __global__ void max_pool_backward_f32(const float *__restrict__ x, const u32 *__restrict__ at,
                                                 const float *__restrict__ dy, float *__restrict__ dx, u64 planes,
                                                 u32 stripe, WINDOW) {
  Window w = WINDOW_OF_PARAMETERS;
  u32 places = high * wide, pixels = height * width;
  u64 thread = thread_of_grid();
  if (thread >= (u64)stripe * pixels) return;
  u32 first = (u32)thread / pixels, pixel = (u32)thread % pixels;
  u32 down = pixel / width + padding_h, right = pixel % width + padding_w;
  u32 top = first_place(down, kernel_h, stride_h), bottom = last_place(down, stride_h, high);
  u32 left = first_place(right, kernel_w, stride_w), end = last_place(right, stride_w, wide);
  bool pairs = kernel_h == 2 && kernel_w == 2;
  for (u64 plane = (u64)blockIdx.y * stripe + first; plane < planes; plane += (u64)gridDim.y * stripe) {
    const float *from = x + plane * pixels;
    float sum = 0.0f;
    for (u32 row = top; row <= bottom; row++)
      for (u32 column = left; column <= end; column++) {
        u64 place = plane * places + row * wide + column;
        float most;
        u32 best = at      ? at[place]
                   : pairs ? largest<2>(w, from, row, column, &most)
                           : largest<0>(w, from, row, column, &most);
        if (best == pixel) sum += dy[place];
      }
    dx[plane * pixels + pixel] = sum;
  }
}

// dx (planes, height, width): each pixel takes its share of dy from each window that holds it, in order.
extern "C" __global__ void mean_pool_backward_f32(const float *__restrict__ dy, float *__restrict__ dx, u64 planes,
                                                  u32 stripe, WINDOW) {
  u32 places = high * wide, pixels = height * width;
  u64 thread = thread_of_grid();
  if (thread >= (u64)stripe * pixels) return;
  u32 first = (u32)thread / pixels, pixel = (u32)thread % pixels;
  u32 down = pixel / width + padding_h, right = pixel % width + padding_w;
  u32 top = first_place(down, kernel_h, stride_h), bottom = last_place(down, stride_h, high);
  u32 left = first_place(right, kernel_w, stride_w), end = last_place(right, stride_w, wide);
  float size = (float)(kernel_h * kernel_w);
  for (u64 plane = (u64)blockIdx.y * stripe + first; plane < planes; plane += (u64)gridDim.y * stripe) {
    float sum = 0.0f;
    for (u32 row = top; row <= bottom; row++)
      for (u32 column = left; column <= end; column++) sum += dy[plane * places + row * wide + column] / size;
    dx[plane * pixels + pixel] = sum;
  }
}
