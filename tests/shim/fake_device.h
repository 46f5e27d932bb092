// Inside libcuda.so: devices, contexts, streams.
#pragma once

#include <deque>
#include <map>
#include <mutex>
#include <set>

#include "fake.h"

const int MOST_DEVICES = 8;

struct Work {
  const char *what;
  std::vector<fake::Range> uses;
  std::function<void()> run;
};

struct Stream {
  int device;
  std::deque<Work> queued;
  uint64_t done, all;  // work so far
};

struct Context {
  int device;
  unsigned held;    // times that it was retained
  Stream standard;  // the stream that has no handle
  bool lost;
  unsigned launches;
  size_t taken;  // bytes of memory
};

struct Block {
  int device;  // whose context it was taken in
  bool locked;  // page-locked memory of the processor, which every device reaches
  size_t bytes;
  uint8_t *memory;  // as stand-ins see it: a fence before, and a fence behind
};

// All that there is, one call at a time.
struct State {
  std::recursive_mutex lock;
  bool started;
  Context contexts[MOST_DEVICES];
  std::map<uint64_t, Block> blocks;  // by where they begin
  // The newest stream first, so that none waits for an older one by chance.
  std::set<Stream *, std::greater<Stream *>> streams;
  std::set<struct Event *> events;
  std::set<struct Module *> modules;
};
extern State state;
extern thread_local Context *current;

int devices();
size_t memory_of_device();
// The error of a call in this thread: no context, a lost device.
CUresult entered();
// The stream of a handle, null where it is none of the context's.
Stream *stream_of(CUstream handle);
// Runs the stream's work up to the number `until`.
CUresult run(Stream &stream, uint64_t until);
// The block of the current device, or page-locked, with all these bytes.
Block *block_of(uint64_t at, size_t bytes, bool locked);
void check_fences(const char *what);
bool in_use(uint64_t at, size_t bytes);

// A call that needs a context.
#define IN_CONTEXT                                           \
  std::lock_guard<std::recursive_mutex> held_lock(state.lock); \
  if (CUresult error = entered()) return error
