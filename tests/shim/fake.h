// What the stand-ins for NVIDIA's libraries share: types and numbers as in NVIDIA's headers, and the image of a file of kernels.
//
// Devices are the processor: device memory is a table of blocks with exact bounds. What is queued on a stream runs as late as
// it may: when the stream, an event behind it, or the context is waited for. So what is read too early is read as it was
// before, and what is reused too early shows.
//
// A call that NVIDIA's libraries would refuse returns their error. What they would let pass, and mixnn must not do, ends the
// process with a line on stderr: memory given back that is not zero, or that something queued still uses, and what is left
// when a device is closed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <vector>

enum CUresult {
  CUDA_SUCCESS = 0,
  CUDA_ERROR_INVALID_VALUE = 1,
  CUDA_ERROR_OUT_OF_MEMORY = 2,
  CUDA_ERROR_NOT_INITIALIZED = 3,
  CUDA_ERROR_NO_DEVICE = 100,
  CUDA_ERROR_INVALID_DEVICE = 101,
  CUDA_ERROR_INVALID_IMAGE = 200,
  CUDA_ERROR_INVALID_CONTEXT = 201,
  CUDA_ERROR_NO_BINARY_FOR_GPU = 209,
  CUDA_ERROR_ECC_UNCORRECTABLE = 214,
  CUDA_ERROR_INVALID_HANDLE = 400,
  CUDA_ERROR_NOT_FOUND = 500,
  CUDA_ERROR_SYSTEM_DRIVER_MISMATCH = 803,
};

typedef uint64_t CUdeviceptr;
typedef struct Stream *CUstream;

namespace fake {

// FNV-1a.
inline uint64_t checksum(const void *bytes, size_t count, uint64_t sum = 0xcbf29ce484222325) {
  for (size_t i = 0; i < count; i++) sum = (sum ^ ((const uint8_t *)bytes)[i]) * 0x100000001b3;
  return sum;
}

// What the compiler makes of a file of kernels.
struct Image {
  char elf[4];  // \x7fELF, as a CUBIN begins
  char mark[12];
  char architecture[16];
  char file[64];
  char unused[16];
  uint64_t source;    // checksum of the file's text
  uint64_t checksum;  // of all before
};

inline uint64_t seal(const Image &image) { return checksum(&image, offsetof(Image, checksum)); }

// Bytes from `at` on that work reads or writes.
struct Range {
  uint64_t at;
  size_t bytes;
};

[[noreturn]] inline void forbid(const char *what, const char *why) {
  fprintf(stderr, "stand-in for CUDA: %s: %s\n", what, why);
  abort();
}

// Of libcuda.so, for libcublasLt.so: queues `run`, where all ranges are memory of the stream's device.
CUresult enqueue(CUstream stream, const char *what, const std::vector<Range> &uses, std::function<void()> run);
bool has_context();
// Where stand-ins see the memory at an address.
uint8_t *seen(uint64_t at);

}  // namespace fake
