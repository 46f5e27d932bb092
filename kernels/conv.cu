// Convolution: the values under the window are copied to columns, or columns are added up to pixels. src/compute/cuda/conv.rs
// launches the kernels. The products are cuBLASLt's.
//
// Column p of an image n holds in row u = (c, i, j) the value x[n, c, s p + (i, j) - padding], or 0 beside the image. It is at
// columns[n image_step + u row_step + p]. The grid's x goes over the channels and places (or pixels) of one image, so that a
// thread computes only once what depends on its place. The grid's y goes over images.
#include "functions.cuh"

// Writes one column's rows of one channel, for a kernel of K x K, or of any size if K is 0.
template <u32 K>
static __device__ __forceinline__ void columns_of(Window w, const float *__restrict__ x, float *__restrict__ columns,
                                                  u32 images, u32 channels, u64 image_step, u64 row_step) {
  u32 kernel_h = known<K>(w.kernel_h), kernel_w = known<K>(w.kernel_w);
  u32 places = w.high * w.wide, pixels = w.height * w.width;
  u64 thread = thread_of_grid();
  if (thread >= (u64)channels * places) return;
  u32 channel = (u32)thread / places, place = (u32)thread % places;
  // Above and left of the image these wrap, and are then larger than any size.
  u32 top = place / w.wide * w.stride_h - w.padding_h, left = place % w.wide * w.stride_w - w.padding_w;
  for (u32 image = blockIdx.y; image < images; image += gridDim.y) {
    const float *from = x + ((u64)image * channels + channel) * pixels;
    float *to = columns + image * image_step + (u64)channel * kernel_h * kernel_w * row_step + place;
#pragma unroll
    for (u32 i = 0; i < kernel_h; i++) {
      u32 row = top + i;
#pragma unroll
      for (u32 j = 0; j < kernel_w; j++) {
        u32 column = left + j;
        *to = row < w.height && column < w.width ? from[row * w.width + column] : 0.0f;
        to += row_step;
      }
    }
  }
}

// columns of x (images, channels, height, width).
extern "C" __global__ void columns_f32(const float *__restrict__ x, float *__restrict__ columns, u32 images,
                                       u32 channels, WINDOW, u64 image_step, u64 row_step) {
  Window w = WINDOW_OF_PARAMETERS;
  if (kernel_h == 1 && kernel_w == 1) columns_of<1>(w, x, columns, images, channels, image_step, row_step);
  else if (kernel_h == 3 && kernel_w == 3) columns_of<3>(w, x, columns, images, channels, image_step, row_step);
  else if (kernel_h == 5 && kernel_w == 5) columns_of<5>(w, x, columns, images, channels, image_step, row_step);
  else columns_of<0>(w, x, columns, images, channels, image_step, row_step);
}

// The sum of the column values of a pixel, by i, then by j. `columns` begins with the pixel's channel.
template <u32 K>
static __device__ __forceinline__ float sum_of_columns(Window w, const float *__restrict__ columns, u32 y, u32 x,
                                                       u64 row_step) {
  u32 kernel_h = known<K>(w.kernel_h), kernel_w = known<K>(w.kernel_w);
  u32 down = y + w.padding_h, right = x + w.padding_w;
  // The pixel is value i of the window at row (down - i) / stride, if that is whole: for the first i and every stride-th after
  // it.
  u32 first_i = down % w.stride_h, first_row = down / w.stride_h;
  u32 first_j = right % w.stride_w, first_column = right / w.stride_w;
  float sum = 0.0f;
#pragma unroll
  for (u32 a = 0; a < kernel_h; a++) {
    u32 i = first_i + a * w.stride_h, row = first_row - a;
    if (!K && i >= kernel_h) break;
#pragma unroll
    for (u32 b = 0; b < kernel_w; b++) {
      u32 j = first_j + b * w.stride_w, column = first_column - b;
      if (!K && j >= kernel_w) break;
      if (i < kernel_h && j < kernel_w && row < w.high && column < w.wide)
        sum += columns[(i * kernel_w + j) * row_step + row * w.wide + column];
    }
  }
  return sum;
}

// Adds up one pixel in each image, for a kernel of K x K, or of any size if K is 0.
template <u32 K>
static __device__ __forceinline__ void fold_of(Window w, const float *__restrict__ columns, float *__restrict__ dx,
                                               u32 images, u32 channels, u64 image_step, u64 row_step) {
  u32 pixels = w.height * w.width;
  u64 thread = thread_of_grid();
  if (thread >= (u64)channels * pixels) return;
  u32 channel = (u32)thread / pixels, pixel = (u32)thread % pixels;
  u32 y = pixel / w.width, x = pixel % w.width;
  const float *from = columns + (u64)channel * w.kernel_h * w.kernel_w * row_step;
  for (u32 image = blockIdx.y; image < images; image += gridDim.y)
    dx[(u64)image * channels * pixels + thread] = sum_of_columns<K>(w, from + image * image_step, y, x, row_step);
}

// dx (images, channels, height, width) = the sum of the column values of each pixel. Each pixel looks for its own values, so
// that no value of dx is written twice.
extern "C" __global__ void fold_columns_f32(const float *__restrict__ columns, float *__restrict__ dx, u32 images,
                                            u32 channels, WINDOW, u64 image_step, u64 row_step) {
  Window w = WINDOW_OF_PARAMETERS;
  if (kernel_h == 3 && kernel_w == 3) fold_of<3>(w, columns, dx, images, channels, image_step, row_step);
  else if (kernel_h == 5 && kernel_w == 5) fold_of<5>(w, columns, dx, images, channels, image_step, row_step);
  else fold_of<0>(w, columns, dx, images, channels, image_step, row_step);
}

// y (images, out, places) = bias (out) of the channel. Products are then added to it.
extern "C" __global__ void fill_channels_f32(const float *__restrict__ bias, float *__restrict__ y, u32 images, u32 out,
                                             u32 places) {
  u64 thread = thread_of_grid();
  if (thread >= (u64)out * places) return;
  float value = bias[(u32)thread / places];
  for (u32 image = blockIdx.y; image < images; image += gridDim.y) y[(u64)image * out * places + thread] = value;
}
