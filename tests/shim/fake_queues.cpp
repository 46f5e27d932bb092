// A stand-in for libcuda.so: streams, events, and what waits for them. See fake.h.
#include "fake_device.h"

struct Event {
  Stream *stream;  // null until it is recorded
  uint64_t until;
};

Stream *stream_of(CUstream handle) {
  if (!handle) return &current->standard;
  return state.streams.count(handle) && handle->device == current->device ? handle : nullptr;
}

CUresult run(Stream &stream, uint64_t until) {
  Context &context = state.contexts[stream.device];
  while (stream.done < until && !stream.queued.empty() && !context.lost) {
    Work work = std::move(stream.queued.front());
    stream.queued.pop_front();
    work.run();
    stream.done++;
  }
  return context.lost ? CUDA_ERROR_ECC_UNCORRECTABLE : CUDA_SUCCESS;
}

CUresult fake::enqueue(CUstream handle, const char *what, const std::vector<Range> &uses, std::function<void()> run) {
  IN_CONTEXT;
  Stream *stream = stream_of(handle);
  if (!stream) return CUDA_ERROR_INVALID_HANDLE;
  for (const Range &range : uses)
    if (!block_of(range.at, range.bytes, false) && !block_of(range.at, range.bytes, true)) {
      fprintf(stderr, "stand-in for CUDA: %s uses %zu bytes that are not the device's\n", what, range.bytes);
      return CUDA_ERROR_INVALID_VALUE;
    }
  stream->queued.push_back({what, uses, std::move(run)});
  stream->all++;
  return CUDA_SUCCESS;
}

#define API extern "C" CUresult

API cuCtxSynchronize() {
  IN_CONTEXT;
  CUresult ran = run(current->standard, UINT64_MAX);
  for (Stream *stream : state.streams)
    if (stream->device == current->device && ran == CUDA_SUCCESS) ran = run(*stream, UINT64_MAX);
  return ran;
}

// Only streams that do not wait for the one without a handle.
API cuStreamCreate(CUstream *stream, unsigned flags) {
  IN_CONTEXT;
  if (flags != 1) return CUDA_ERROR_INVALID_VALUE;
  *stream = new Stream{current->device, {}, 0, 0};
  state.streams.insert(*stream);
  return CUDA_SUCCESS;
}

API cuCtxGetStreamPriorityRange(int *least, int *greatest) {
  IN_CONTEXT;
  *least = 0;
  *greatest = -5;
  return CUDA_SUCCESS;
}

API cuStreamCreateWithPriority(CUstream *stream, unsigned flags, int priority) {
  return priority == -5 ? cuStreamCreate(stream, flags) : CUDA_ERROR_INVALID_VALUE;
}

// What is queued is still done.
API cuStreamDestroy_v2(CUstream stream) {
  IN_CONTEXT;
  if (!stream || !stream_of(stream)) return CUDA_ERROR_INVALID_HANDLE;
  run(*stream, UINT64_MAX);
  for (Event *event : state.events)
    if (event->stream == stream) event->stream = nullptr;
  state.streams.erase(stream);
  delete stream;
  return CUDA_SUCCESS;
}

API cuStreamSynchronize(CUstream handle) {
  IN_CONTEXT;
  Stream *stream = stream_of(handle);
  return stream ? run(*stream, UINT64_MAX) : CUDA_ERROR_INVALID_HANDLE;
}

API cuEventCreate(Event **event, unsigned flags) {
  IN_CONTEXT;
  if (flags != 2) return CUDA_ERROR_INVALID_VALUE;  // DISABLE_TIMING
  *event = new Event{nullptr, 0};
  state.events.insert(*event);
  return CUDA_SUCCESS;
}

API cuEventDestroy_v2(Event *event) {
  IN_CONTEXT;
  if (!state.events.erase(event)) return CUDA_ERROR_INVALID_HANDLE;
  delete event;
  return CUDA_SUCCESS;
}

API cuEventRecord(Event *event, CUstream handle) {
  IN_CONTEXT;
  Stream *stream = stream_of(handle);
  if (!stream || !state.events.count(event)) return CUDA_ERROR_INVALID_HANDLE;
  *event = {stream, stream->all};
  return CUDA_SUCCESS;
}

// One that was never recorded is over.
API cuEventSynchronize(Event *event) {
  IN_CONTEXT;
  if (!state.events.count(event)) return CUDA_ERROR_INVALID_HANDLE;
  return event->stream ? run(*event->stream, event->until) : CUDA_SUCCESS;
}
