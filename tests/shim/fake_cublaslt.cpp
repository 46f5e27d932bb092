// A stand-in for libcublasLt.so, as much of it as mixnn calls: products of f32 matrices stored by columns, summed in double.
// See fake.h.
#include <algorithm>
#include <mutex>
#include <set>

#include "fake.h"

enum cublasStatus_t {
  CUBLAS_STATUS_SUCCESS = 0,
  CUBLAS_STATUS_NOT_INITIALIZED = 1,
  CUBLAS_STATUS_INVALID_VALUE = 7,
  CUBLAS_STATUS_EXECUTION_FAILED = 13,
};

// What all handles begin with: so that one is not taken for another.
enum Kind { HANDLE = 0x48, OPERATION = 0x4f, LAYOUT = 0x4c, PREFERENCE = 0x50 };
struct Handle { Kind kind; };
struct Operation {
  Kind kind;
  int compute;
  int32_t transposed[2];  // A, B
  uint32_t epilogue;
  uint64_t bias;
};
struct Layout {
  Kind kind;
  uint64_t rows, columns;
  int64_t ld, step;
  int32_t count;
};
struct Preference {
  Kind kind;
  uint64_t workspace;
  uint32_t reductions;
  uint32_t alignments[4];  // A, B, C, D
};
struct Algorithm { uint64_t data[8]; };
struct Heuristic {
  Algorithm algorithm;
  size_t workspace;
  cublasStatus_t state;
  float waves;
  int reserved[4];
};

static std::mutex lock;
static std::set<void *> live;

template <class T> static bool is(T *handle, Kind kind) {
  std::lock_guard<std::mutex> held(lock);
  return live.count(handle) && handle->kind == kind;
}
template <class T> static cublasStatus_t made(T **to, T what) {
  std::lock_guard<std::mutex> held(lock);
  *to = new T(what);
  live.insert(*to);
  return CUBLAS_STATUS_SUCCESS;
}
template <class T> static cublasStatus_t gone(T *handle, Kind kind) {
  if (!is(handle, kind)) return CUBLAS_STATUS_INVALID_VALUE;
  std::lock_guard<std::mutex> held(lock);
  live.erase(handle);
  delete handle;
  return CUBLAS_STATUS_SUCCESS;
}
// Sets a value that is given with its size.
template <class T> static cublasStatus_t set(T &value, const void *from, size_t bytes) {
  if (bytes != sizeof value || !from) return CUBLAS_STATUS_INVALID_VALUE;
  memcpy(&value, from, bytes);
  return CUBLAS_STATUS_SUCCESS;
}

#define API extern "C" cublasStatus_t

extern "C" size_t cublasLtGetVersion() { return 130000; }

API cublasLtCreate(Handle **handle) {
  return fake::has_context() ? made(handle, {HANDLE}) : CUBLAS_STATUS_NOT_INITIALIZED;
}
API cublasLtDestroy(Handle *handle) {
  return fake::has_context() ? gone(handle, HANDLE) : CUBLAS_STATUS_NOT_INITIALIZED;
}

// Sums in f32, of f32 values that may be rounded first: the stand-in does not round.
API cublasLtMatmulDescCreate(Operation **operation, int compute, int scale) {
  bool known = compute == 68 || compute == 77 || compute == 75;
  return known && scale == 0 ? made(operation, {OPERATION, compute, {0, 0}, 1, 0}) : CUBLAS_STATUS_INVALID_VALUE;
}
API cublasLtMatmulDescDestroy(Operation *operation) { return gone(operation, OPERATION); }
API cublasLtMatmulDescSetAttribute(Operation *operation, int attribute, const void *value, size_t bytes) {
  if (!is(operation, OPERATION)) return CUBLAS_STATUS_INVALID_VALUE;
  switch (attribute) {
    case 3: return set(operation->transposed[0], value, bytes);
    case 4: return set(operation->transposed[1], value, bytes);
    case 7: return set(operation->epilogue, value, bytes);
    case 8: return set(operation->bias, value, bytes);
  }
  return CUBLAS_STATUS_INVALID_VALUE;
}

API cublasLtMatrixLayoutCreate(Layout **layout, int type, uint64_t rows, uint64_t columns, int64_t ld) {
  if (type != 0 || !rows || !columns || ld < (int64_t)rows) return CUBLAS_STATUS_INVALID_VALUE;
  return made(layout, {LAYOUT, rows, columns, ld, 0, 1});
}
API cublasLtMatrixLayoutDestroy(Layout *layout) { return gone(layout, LAYOUT); }
API cublasLtMatrixLayoutSetAttribute(Layout *layout, int attribute, const void *value, size_t bytes) {
  if (!is(layout, LAYOUT)) return CUBLAS_STATUS_INVALID_VALUE;
  switch (attribute) {
    case 5: return set(layout->count, value, bytes);
    case 6: return set(layout->step, value, bytes);
  }
  return CUBLAS_STATUS_INVALID_VALUE;
}

API cublasLtMatmulPreferenceCreate(Preference **wanted) {
  return made(wanted, {PREFERENCE, 0, 7, {256, 256, 256, 256}});
}
API cublasLtMatmulPreferenceDestroy(Preference *wanted) { return gone(wanted, PREFERENCE); }
API cublasLtMatmulPreferenceSetAttribute(Preference *wanted, int attribute, const void *value, size_t bytes) {
  if (!is(wanted, PREFERENCE)) return CUBLAS_STATUS_INVALID_VALUE;
  switch (attribute) {
    case 1: return set(wanted->workspace, value, bytes);
    case 3: return set(wanted->reductions, value, bytes);
    case 5: case 6: case 7: case 8: return set(wanted->alignments[attribute - 5], value, bytes);
  }
  return CUBLAS_STATUS_INVALID_VALUE;
}

// A product as it was asked for: of (m, k) and (k, n), after transposition.
struct Product {
  uint64_t m, n, k;
  bool sane;
};
static Product product(const Operation *operation, const Layout *a, const Layout *b, const Layout *c, const Layout *d) {
  Product asked = {d->rows, d->columns, operation->transposed[0] ? a->rows : a->columns, true};
  uint64_t m = operation->transposed[0] ? a->columns : a->rows;
  uint64_t n = operation->transposed[1] ? b->rows : b->columns;
  uint64_t k = operation->transposed[1] ? b->columns : b->rows;
  for (int transposed : operation->transposed) asked.sane &= transposed == 0 || transposed == 1;
  for (const Layout *layout : {a, b, c}) asked.sane &= layout->count == d->count;
  asked.sane &= d->count > 0 && m == asked.m && n == asked.n && k == asked.k;
  asked.sane &= c->rows == d->rows && c->columns == d->columns && c->ld == d->ld && c->step == d->step;
  // One product must not write over another's.
  asked.sane &= d->count == 1 || d->step >= d->ld * (int64_t)(d->columns - 1) + (int64_t)d->rows;
  // The epilogue is none, or a bias, or a bias and relu; without its pointer an algorithm may be one that does not fit it.
  asked.sane &= operation->epilogue == 1 || ((operation->epilogue == 4 || operation->epilogue == 6) && operation->bias);
  return asked;
}

// The algorithm for one product, told from that for any other.
static Algorithm algorithm(const Operation *operation, const Layout *a, const Layout *b, const Layout *d) {
  uint64_t sum = fake::checksum(&operation->compute, sizeof(int));
  sum = fake::checksum(operation->transposed, sizeof operation->transposed, sum);
  sum = fake::checksum(&operation->epilogue, sizeof(uint32_t), sum);
  for (const Layout *layout : {a, b, d}) {
    int64_t numbers[] = {(int64_t)layout->rows, (int64_t)layout->columns, layout->ld, layout->step, layout->count};
    sum = fake::checksum(numbers, sizeof numbers, sum);
  }
  return {{sum, 0, 0, 0, 0, 0, 0, 0}};
}

// Bytes of the workspace that every product is said to need, and its boundary.
const size_t WORKSPACE = 64 << 10;

API cublasLtMatmulAlgoGetHeuristic(Handle *handle, Operation *operation, Layout *a, Layout *b, Layout *c, Layout *d,
                                   Preference *wanted, int most, Heuristic *found, int *count) {
  if (!is(handle, HANDLE) || !is(operation, OPERATION) || !is(wanted, PREFERENCE)) return CUBLAS_STATUS_INVALID_VALUE;
  for (Layout *layout : {a, b, c, d})
    if (!is(layout, LAYOUT)) return CUBLAS_STATUS_INVALID_VALUE;
  // A reduction in place (1) has an order that changes from run to run.
  if (most < 1 || wanted->reductions & 1 || wanted->workspace < WORKSPACE) return CUBLAS_STATUS_INVALID_VALUE;
  if (!product(operation, a, b, c, d).sane) return CUBLAS_STATUS_INVALID_VALUE;
  *found = {algorithm(operation, a, b, d), WORKSPACE, CUBLAS_STATUS_SUCCESS, 1.0f, {}};
  for (int i = 0; i < 4; i++) found->algorithm.data[1 + i] = wanted->alignments[i];
  *count = 1;
  return CUBLAS_STATUS_SUCCESS;
}

// The bytes of all matrices of a layout.
static fake::Range range(const void *at, const Layout *layout) {
  int64_t one = layout->ld * (int64_t)(layout->columns - 1) + (int64_t)layout->rows;
  return {(uint64_t)at, 4 * (size_t)(layout->step * (layout->count - 1) + one)};
}

API cublasLtMatmul(Handle *handle, Operation *operation, const float *alpha, const float *a, Layout *of_a, const float *b,
                   Layout *of_b, const float *beta, const float *c, Layout *of_c, float *d, Layout *of_d,
                   const Algorithm *chosen, void *workspace, size_t room, CUstream stream) {
  if (!fake::has_context()) return CUBLAS_STATUS_EXECUTION_FAILED;
  if (!is(handle, HANDLE) || !is(operation, OPERATION) || !alpha || !beta || !chosen) return CUBLAS_STATUS_INVALID_VALUE;
  for (Layout *layout : {of_a, of_b, of_c, of_d})
    if (!is(layout, LAYOUT)) return CUBLAS_STATUS_INVALID_VALUE;
  Product asked = product(operation, of_a, of_b, of_c, of_d);
  bool same = chosen->data[0] == algorithm(operation, of_a, of_b, of_d).data[0];
  const void *pointers[] = {a, b, c, d};
  for (int i = 0; i < 4; i++) same &= (uint64_t)pointers[i] % chosen->data[1 + i] == 0;
  if (!asked.sane || !same || c != d || room < WORKSPACE || (uint64_t)workspace % 256) return CUBLAS_STATUS_INVALID_VALUE;
  std::vector<fake::Range> uses = {range(a, of_a), range(b, of_b), range(d, of_d), {(uint64_t)workspace, room}};
  const float *bias = operation->epilogue != 1 ? (const float *)operation->bias : nullptr;
  if (bias) uses.push_back({operation->bias, 4 * asked.m});
  // All that describes the product is taken now: it may be changed or destroyed before the work is done.
  Layout la = *of_a, lb = *of_b, ld = *of_d;
  bool ta = operation->transposed[0], tb = operation->transposed[1];
  float scale = *alpha, keep = *beta;
  bool relu = operation->epilogue == 6;
  CUresult queued = fake::enqueue(stream, "cublasLtMatmul", uses, [=] {
    auto seen = [](const void *at) { return (float *)fake::seen((uint64_t)at); };
    const float *of_left = seen(a), *of_right = seen(b), *added = seen(bias);
    float *of_out = seen(d);
    memset(seen(workspace), 0xff, WORKSPACE);
    for (int64_t i = 0; i < ld.count; i++)
      for (uint64_t column = 0; column < asked.n; column++)
        for (uint64_t row = 0; row < asked.m; row++) {
          double sum = 0;
          const float *left = of_left + i * la.step, *right = of_right + i * lb.step;
          for (uint64_t k = 0; k < asked.k; k++)
            sum += (double)(ta ? left[row * la.ld + k] : left[k * la.ld + row]) *
                   (tb ? right[k * lb.ld + column] : right[column * lb.ld + k]);
          float *to = of_out + i * ld.step + column * ld.ld + row;
          sum *= scale;
          // As BLAS has it: with a beta of 0, what was there does not matter.
          if (keep != 0) sum += (double)keep * *to;
          *to = (float)(sum + (added ? added[row] : 0));
          if (relu && *to < 0) *to = 0;
        }
  });
  return queued == CUDA_SUCCESS ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_EXECUTION_FAILED;
}
