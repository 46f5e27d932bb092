// Conversions between f32 values and the bytes of a message, and from the data's values to f32. All is little-endian.
// src/compute/cuda/memory.rs launches the kernels. A message's values may begin at an odd address; then bytes are moved one by
// one.
#include "functions.cuh"

// i runs over the values that this thread takes.
#define EACH(i, len) for (u64 i = thread_of_grid(); i < len; i += threads_of_grid())

// Four bytes as a word, at any address.
static __device__ __forceinline__ u32 word(const u8 *bytes) {
  if (((u64)bytes & 3) == 0) return *(const u32 *)bytes;
  return bytes[0] | (u32)bytes[1] << 8 | (u32)bytes[2] << 16 | (u32)bytes[3] << 24;
}

// Two bytes as a half word, at any address.
static __device__ __forceinline__ u16 half_word(const u8 *bytes) {
  if (((u64)bytes & 1) == 0) return *(const u16 *)bytes;
  return (u16)(bytes[0] | (u32)bytes[1] << 8);
}

// to[i] = the number in place i of the bytes, of the format in the kernel's name.
extern "C" __global__ void decode_f32(const u8 *__restrict__ bytes, float *__restrict__ to, u64 len) {
  EACH(i, len) to[i] = __uint_as_float(word(bytes + 4 * i));
}

extern "C" __global__ void decode_bf16(const u8 *__restrict__ bytes, float *__restrict__ to, u64 len) {
  EACH(i, len) to[i] = from_bf16(half_word(bytes + 2 * i));
}

extern "C" __global__ void decode_f16(const u8 *__restrict__ bytes, float *__restrict__ to, u64 len) {
  EACH(i, len) to[i] = from_f16(half_word(bytes + 2 * i));
}

// Writes a half word as two bytes, at any address.
static __device__ __forceinline__ void put_half_word(u8 *bytes, u16 value) {
  if (((u64)bytes & 1) == 0) {
    *(u16 *)bytes = value;
  } else {
    bytes[0] = (u8)value;
    bytes[1] = (u8)(value >> 8);
  }
}

// The bytes in place i = from[i], rounded to the format in the kernel's name.
extern "C" __global__ void encode_f32(const float *__restrict__ from, u8 *__restrict__ bytes, u64 len) {
  EACH(i, len) {
    u32 value = __float_as_uint(from[i]);
    if (((u64)bytes & 3) == 0) {
      *(u32 *)(bytes + 4 * i) = value;
    } else {
      for (u32 k = 0; k < 4; k++) bytes[4 * i + k] = (u8)(value >> (8 * k));
    }
  }
}

extern "C" __global__ void encode_bf16(const float *__restrict__ from, u8 *__restrict__ bytes, u64 len) {
  EACH(i, len) put_half_word(bytes + 2 * i, to_bf16(from[i]));
}

extern "C" __global__ void encode_f16(const float *__restrict__ from, u8 *__restrict__ bytes, u64 len) {
  EACH(i, len) put_half_word(bytes + 2 * i, to_f16(from[i]));
}

// to = from, rounded to the format in the kernel's name and back.
extern "C" __global__ void round_bf16(const float *__restrict__ from, float *__restrict__ to, u64 len) {
  EACH(i, len) to[i] = from_bf16(to_bf16(from[i]));
}

extern "C" __global__ void round_f16(const float *__restrict__ from, float *__restrict__ to, u64 len) {
  EACH(i, len) to[i] = from_f16(to_f16(from[i]));
}

// to (rows, n) = scale x + shift of the data's values x. Scale and shift are those of the value's channel, which is an equal
// part of a row.
#define DECODE_DATA(name, value)                                                                            \
  extern "C" __global__ void name(const u8 *__restrict__ bytes, const float *__restrict__ scale,            \
                                  const float *__restrict__ shift, float *__restrict__ to, u64 len, u32 n,  \
                                  u32 width) {                                                              \
    EACH(i, len) {                                                                                          \
      u32 channel = (u32)(i % n) / width;                                                                   \
      to[i] = fmaf((value), scale[channel], shift[channel]);                                                \
    }                                                                                                       \
  }

DECODE_DATA(decode_data_u8, (float)bytes[i])
DECODE_DATA(decode_data_u16, (float)half_word(bytes + 2 * i))
DECODE_DATA(decode_data_f32, __uint_as_float(word(bytes + 4 * i)))
