// Losses and their gradients: dx = weight times the slope. src/compute/cuda/loss.rs launches the kernels.
//
// The operations are those of src/compute/cpu/loss.rs, one by one, but for the order of sums. Each block leaves the sum of its
// terms in `parts`. fold_losses_f64 adds these up in order, in f64.
#include "functions.cuh"

// Values of a row that a thread keeps in registers.
#define HELD 8
#define MOST_THREADS 1024

// A sum of losses, the number of their terms, and the number of correct terms.
struct __align__(16) Part {
  double loss;
  u32 terms, correct;
};

// Adds up the sums of all threads of a block, in one order, and writes them to `to`.
static __device__ __forceinline__ void leave(double loss, u32 terms, u32 correct, Part *to) {
  __shared__ double partial[MOST_THREADS];
  loss = block_total(loss, partial);
  // Whole numbers are exact in f64.
  double all = block_total((double)terms, partial), right = block_total((double)correct, partial);
  if (threadIdx.x == 0) {
    to->loss = loss;
    to->terms = (u32)all;
    to->correct = (u32)right;
  }
}

// The softmax cross entropy of x (rows, classes) against labels (rows). A label that is not below `classes` does not count.
// `smoothing` is spread over all classes: the gradient is less by `everywhere`, and at the label by `at_label`, too.
//
// How rows are divided among teams is described in softmax.cu.
extern "C" __global__ __launch_bounds__(MOST_THREADS) void cross_entropy_f32(
    const float *__restrict__ x, const u32 *__restrict__ labels, float *__restrict__ dx, Part *__restrict__ parts,
    u64 rows, u32 classes, u32 team, float smoothing, float weight, float at_label, float everywhere) {
  __shared__ float partial[32];
  u32 lane = threadIdx.x % team, lines = blockDim.x / team;
  double loss = 0.0;
  u32 terms = 0, correct = 0;
  for (u64 first = (u64)blockIdx.x * lines; first < rows; first += (u64)gridDim.x * lines) {
    u64 row = first + threadIdx.x / team;
    u32 label = row < rows ? labels[row] : classes;
    u32 len = label < classes ? classes : 0;
    const float *from = x + row * classes;
    float *to = dx + row * classes;
    float held[HELD];
    float most = -INFINITE;
#pragma unroll
    for (u32 k = 0; k < HELD; k++) {
      held[k] = lane + k * team < len ? from[lane + k * team] : -INFINITE;
      most = held[k] > most ? held[k] : most;
    }
#pragma unroll 4
    for (u32 i = lane + HELD * team; i < len; i += team) most = from[i] > most ? from[i] : most;
    most = team_max(most, team, partial);

    // The sum of exp(x - most), that of x - most, and how many values before the label are as large as the largest.
    float sum = 0.0f, below = 0.0f, before = 0.0f;
#pragma unroll
    for (u32 k = 0; k < HELD; k++) {
      u32 i = lane + k * team;
      if (i < len) {
        if (i < label && held[k] == most) before += 1.0f;
        below += held[k] - most;
        held[k] = exp_(held[k] - most);
        sum += held[k];
      }
    }
#pragma unroll 4
    for (u32 i = lane + HELD * team; i < len; i += team) {
      if (i < label && from[i] == most) before += 1.0f;
      below += from[i] - most;
      sum += exp_(from[i] - most);
    }
    sum = team_sum(sum, team, partial);
    before = team_sum(before, team, partial);
    if (smoothing != 0.0f) below = team_sum(below, team, partial);
    if (lane == 0 && len > 0) {
      float exact = from[label] - most;
      double spread = (double)(below / (float)classes), part = (double)smoothing;
      loss += smoothing == 0.0f ? (double)(ln_(sum) - exact)
                                : (double)ln_(sum) - ((1.0 - part) * (double)exact + part * spread);
      terms++;
      // If a value is NaN, so is the sum: then no prediction counts as correct.
      if (exact == 0.0f && before == 0.0f && sum < INFINITE) correct++;
    }

    // dx = weight softmax(x), less the target's part.
    float share = weight / sum;
#pragma unroll
    for (u32 k = 0; k < HELD; k++) {
      u32 i = lane + k * team;
      float slope = held[k] * share - everywhere;
      if (i < len) to[i] = i == label ? slope - at_label : slope;
    }
#pragma unroll 4
    for (u32 i = lane + HELD * team; i < len; i += team) {
      float slope = exp_(from[i] - most) * share - everywhere;
      to[i] = i == label ? slope - at_label : slope;
    }
    if (len == 0 && row < rows)
      for (u32 i = lane; i < classes; i += team) to[i] = 0.0f;
  }
  leave(loss, terms, correct, parts + blockIdx.x);
}

// (x - target)^2 of each value, in any grid.
extern "C" __global__ void squared_error_f32(const float *__restrict__ x, const float *__restrict__ targets,
                                             float *__restrict__ dx, Part *__restrict__ parts, u64 len, float weight) {
  double loss = 0.0;
  u32 terms = 0, correct = 0;
  for (u64 i = thread_of_grid(); i < len; i += threads_of_grid()) {
    float error = x[i] - targets[i];
    loss += (double)(error * error);
    terms++;
    correct += error == 0.0f;
    dx[i] = weight * (2.0f * error);
  }
  leave(loss, terms, correct, parts + blockIdx.x);
}

// ln(1 + exp(x)) - target x of each logit, in any grid.
extern "C" __global__ void binary_cross_entropy_f32(const float *__restrict__ x, const float *__restrict__ targets,
                                                    float *__restrict__ dx, Part *__restrict__ parts, u64 len,
                                                    float weight) {
  double loss = 0.0;
  u32 terms = 0, correct = 0;
  for (u64 i = thread_of_grid(); i < len; i += threads_of_grid()) {
    float value = x[i], target = targets[i];
    float tail = exp_(-fabsf(value));
    float yes = (value >= 0.0f ? 1.0f : tail) / (1.0f + tail);
    // NaN stays NaN.
    float above = value > 0.0f ? value : 0.0f * value;
    loss += (double)(above - target * value + ln_(1.0f + tail));
    terms++;
    correct += (value > 0.0f) == (target > 0.5f) && fabsf(value) < INFINITE;
    dx[i] = weight * (yes - target);
  }
  leave(loss, terms, correct, parts + blockIdx.x);
}

// total (1) = the sum of `count` parts. One block does it.
extern "C" __global__ void fold_losses_f64(const Part *__restrict__ parts, Part *__restrict__ total, u32 count) {
  double loss = 0.0;
  u32 terms = 0, correct = 0;
  for (u32 i = threadIdx.x; i < count; i += blockDim.x) {
    loss += parts[i].loss;
    terms += parts[i].terms;
    correct += parts[i].correct;
  }
  leave(loss, terms, correct, total);
}
