// A stand-in for libcuda.so: memory. See fake.h.
//
// MIXNN_FAKE_UNSEEN: where it is set, the processor cannot touch device memory, as that of a device: only stand-ins do.
#include <sys/mman.h>
#include <unistd.h>

#include "fake_device.h"

// What no one has written, and what no one may write.
const uint8_t POISON = 0xff, FENCED = 0xa5;
const size_t FENCE = 256;

// Whether `[at, at + bytes)` lies in the block, whose last byte may be followed by an empty range.
static bool holds(uint64_t begin, const Block &block, uint64_t at, size_t bytes) {
  return at >= begin && at - begin <= block.bytes && bytes <= block.bytes - (at - begin);
}

Block *block_of(uint64_t at, size_t bytes, bool locked) {
  auto behind = state.blocks.upper_bound(at);
  if (behind == state.blocks.begin()) return nullptr;
  auto &[begin, block] = *--behind;
  bool reached = block.locked == locked && (locked || block.device == current->device);
  return reached && holds(begin, block, at, bytes) ? &block : nullptr;
}

void check_fences(const char *what) {
  for (const auto &[begin, block] : state.blocks)
    for (size_t i = 0; i < FENCE; i++)
      if (block.memory[i] != FENCED || block.memory[FENCE + block.bytes + i] != FENCED)
        fake::forbid(what, i < FENCE && block.memory[i] != FENCED ? "has written before memory" : "has written behind memory");
}

bool in_use(uint64_t at, size_t bytes) {
  auto used = [=](const Stream &stream) {
    for (const Work &work : stream.queued)
      for (const fake::Range &range : work.uses)
        if (range.at < at + bytes && at < range.at + (range.bytes ? range.bytes : 1)) return true;
    return false;
  };
  for (const Context &context : state.contexts)
    if (used(context.standard)) return true;
  for (const Stream *stream : state.streams)
    if (used(*stream)) return true;
  return false;
}

// Device memory that is not seen, in one piece, of which nothing is used twice: no one may touch it where it is, and stand-ins see it
// elsewhere.
const size_t UNSEEN = (size_t)8 << 30, PAGE = 4096;
static uint8_t *unseen, *elsewhere;
static size_t unseen_used;

static uint64_t take_unseen(size_t room) {
  if (!unseen) {
    int file = memfd_create("device", MFD_CLOEXEC);
    if (file < 0 || ftruncate(file, UNSEEN)) return 0;
    void *there = mmap(nullptr, UNSEEN, PROT_NONE, MAP_SHARED | MAP_NORESERVE, file, 0);
    void *here = mmap(nullptr, UNSEEN, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, file, 0);
    close(file);
    if (there == MAP_FAILED || here == MAP_FAILED) return 0;
    unseen = (uint8_t *)there;
    elsewhere = (uint8_t *)here;
  }
  if (room > UNSEEN - unseen_used) return 0;
  uint64_t at = (uint64_t)(unseen + unseen_used);
  unseen_used += (room + PAGE - 1) / PAGE * PAGE;
  return at;
}

// For an MPI library that takes device memory (tests/trace/aware.c): whether an address is such, and copies to it or from it.
extern "C" int fake_holds(const void *at) { return unseen && (uint8_t *)at >= unseen && (uint8_t *)at < unseen + UNSEEN; }

uint8_t *fake::seen(uint64_t at) {
  return fake_holds((void *)at) ? elsewhere + (at - (uint64_t)unseen) : (uint8_t *)at;
}

extern "C" void fake_moved(void *to, const void *from, size_t bytes) {
  std::lock_guard<std::recursive_mutex> held(state.lock);
  for (uint64_t at : {(uint64_t)to, (uint64_t)from}) {
    if (!fake_holds((void *)at)) continue;
    auto behind = state.blocks.upper_bound(at);
    if (behind == state.blocks.begin()) fake::forbid("MPI", "memory that no one has taken");
    auto &[begin, block] = *--behind;
    if (!holds(begin, block, at, bytes)) fake::forbid("MPI", "memory that no one has taken");
    if (in_use(begin, block.bytes)) fake::forbid("MPI", "memory that queued work still uses");
  }
  memmove(fake::seen((uint64_t)to), fake::seen((uint64_t)from), bytes);
}

static uint64_t take(size_t bytes, bool locked) {
  size_t room = (bytes + 2 * FENCE + 255) / 256 * 256;
  bool hidden = !locked && getenv("MIXNN_FAKE_UNSEEN");
  uint64_t begin = hidden ? take_unseen(room) : (uint64_t)aligned_alloc(256, room);
  if (!begin) return 0;
  uint8_t *memory = fake::seen(begin);
  memset(memory, FENCED, room);
  memset(memory + FENCE, POISON, bytes);
  uint64_t at = begin + FENCE;
  state.blocks[at] = {current->device, locked, bytes, memory};
  return at;
}

static CUresult give_back(const char *call, uint64_t at, bool locked) {
  auto found = state.blocks.find(at);
  if (found == state.blocks.end() || found->second.locked != locked) return CUDA_ERROR_INVALID_VALUE;
  Block block = found->second;
  check_fences(call);
  if (in_use(at, block.bytes)) fake::forbid(call, "memory that queued work still uses");
  for (size_t i = 0; i < block.bytes; i++)
    if (fake::seen(at)[i]) fake::forbid(call, "memory that is not zero");
  state.blocks.erase(found);
  if (!fake_holds((void *)at)) free(block.memory);
  if (!locked) state.contexts[block.device].taken -= block.bytes;
  return CUDA_SUCCESS;
}

#define API extern "C" CUresult

API cuMemAlloc_v2(CUdeviceptr *at, size_t bytes) {
  IN_CONTEXT;
  if (!bytes) return CUDA_ERROR_INVALID_VALUE;
  if (bytes > memory_of_device() - current->taken) return CUDA_ERROR_OUT_OF_MEMORY;
  *at = take(bytes, false);
  if (!*at) return CUDA_ERROR_OUT_OF_MEMORY;
  current->taken += bytes;
  return CUDA_SUCCESS;
}

API cuMemFree_v2(CUdeviceptr at) {
  IN_CONTEXT;
  return give_back("cuMemFree", at, false);
}

API cuMemHostAlloc(void **at, size_t bytes, unsigned flags) {
  IN_CONTEXT;
  if (!bytes || flags) return CUDA_ERROR_INVALID_VALUE;
  *at = (void *)take(bytes, true);
  return *at ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

API cuMemFreeHost(void *at) {
  IN_CONTEXT;
  return give_back("cuMemFreeHost", (uint64_t)at, true);
}

static CUresult fill(CUdeviceptr at, unsigned char value, size_t bytes, CUstream stream) {
  return fake::enqueue(stream, "cuMemset", {{at, bytes}}, [=] { memset(fake::seen(at), value, bytes); });
}

API cuMemsetD8Async(CUdeviceptr at, unsigned char value, size_t bytes, CUstream stream) {
  IN_CONTEXT;
  return fill(at, value, bytes, stream);
}

// On the stream without a handle, for which those that do not block do not wait; it may return before it is done.
API cuMemsetD8_v2(CUdeviceptr at, unsigned char value, size_t bytes) {
  IN_CONTEXT;
  return fill(at, value, bytes, nullptr);
}

// To or from page-locked memory alone: any other would make the call wait.
static CUresult copy(uint64_t to, uint64_t from, uint64_t host, size_t bytes, CUstream stream) {
  if (host && !block_of(host, bytes, true)) return CUDA_ERROR_INVALID_VALUE;
  return fake::enqueue(stream, "cuMemcpy", {{to, bytes}, {from, bytes}},
                       [=] { memmove(fake::seen(to), fake::seen(from), bytes); });
}

API cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t bytes, CUstream stream) {
  IN_CONTEXT;
  if (!block_of(to, bytes, false)) return CUDA_ERROR_INVALID_VALUE;
  return copy(to, (uint64_t)from, (uint64_t)from, bytes, stream);
}

API cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t bytes, CUstream stream) {
  IN_CONTEXT;
  if (!block_of(from, bytes, false)) return CUDA_ERROR_INVALID_VALUE;
  return copy((uint64_t)to, from, (uint64_t)to, bytes, stream);
}

API cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream) {
  IN_CONTEXT;
  bool there = block_of(to, bytes, false) && block_of(from, bytes, false);
  return there ? copy(to, from, 0, bytes, stream) : CUDA_ERROR_INVALID_VALUE;
}
