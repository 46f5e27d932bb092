// The softmax of rows (rows, n): y = exp(x - max) / sum, and dx = y (dy - the sum of y dy). src/compute/cuda/softmax.rs
// launches the kernels.
//
// A team of threads takes a row: thread t has its values t, t + team, ... The first HELD of these stay in registers, so only
// longer rows are read again. A thread adds its values in order; the sums of the threads are folded as in team_sum.
#include "functions.cuh"

// Values of a row that a thread keeps in registers.
#define HELD 8
#define MOST_THREADS 1024

// Loops over the rows that this thread's team takes. All threads loop equally often; the last time there may be no row left,
// and so no values.
#define TEAM_ROWS(row, rows, team)                                                                           \
  for (u64 first = (u64)blockIdx.x * (blockDim.x / team), row; row = first + threadIdx.x / team, first < rows; \
       first += (u64)gridDim.x * (blockDim.x / team))

// y of each row: the largest value, then the sum of exp(x - max), then the quotients.
extern "C" __global__ __launch_bounds__(MOST_THREADS) void softmax_f32(const float *__restrict__ x,
                                                                       float *__restrict__ y, u64 rows, u32 n,
                                                                       u32 team) {
  __shared__ float partial[32];
  u32 lane = threadIdx.x % team;
  TEAM_ROWS(row, rows, team) {
    u32 len = row < rows ? n : 0;
    const float *from = x + row * n;
    float *to = y + row * n;
    float held[HELD];
    float most = -INFINITE, sum = 0.0f;
#pragma unroll
    for (u32 k = 0; k < HELD; k++) {
      held[k] = lane + k * team < len ? from[lane + k * team] : -INFINITE;
      most = held[k] > most ? held[k] : most;
    }
#pragma unroll 4
    for (u32 i = lane + HELD * team; i < len; i += team) most = from[i] > most ? from[i] : most;
    most = team_max(most, team, partial);
#pragma unroll
    for (u32 k = 0; k < HELD; k++) {
      // A value beside the row is minus infinity, and so becomes 0.
      held[k] = exp_(held[k] - most);
      sum += held[k];
    }
#pragma unroll 4
    for (u32 i = lane + HELD * team; i < len; i += team) sum += exp_(from[i] - most);
    sum = team_sum(sum, team, partial);
#pragma unroll
    for (u32 k = 0; k < HELD; k++)
      if (lane + k * team < len) to[lane + k * team] = held[k] / sum;
#pragma unroll 4
    for (u32 i = lane + HELD * team; i < len; i += team) to[i] = exp_(from[i] - most) / sum;
  }
}

// dx of each row: the sum of y dy, then y (dy - sum).
extern "C" __global__ __launch_bounds__(MOST_THREADS) void softmax_backward_f32(const float *__restrict__ y,
                                                                                const float *__restrict__ dy,
                                                                                float *__restrict__ dx, u64 rows,
                                                                                u32 n, u32 team) {
  __shared__ float partial[32];
  u32 lane = threadIdx.x % team;
  TEAM_ROWS(row, rows, team) {
    u32 len = row < rows ? n : 0;
    const float *out = y + row * n, *slope = dy + row * n;
    float *to = dx + row * n;
    float outs[HELD], slopes[HELD], sum = 0.0f;
#pragma unroll
    for (u32 k = 0; k < HELD; k++) {
      u32 i = lane + k * team;
      outs[k] = i < len ? out[i] : 0.0f;
      slopes[k] = i < len ? slope[i] : 0.0f;
    }
#pragma unroll
    for (u32 k = 0; k < HELD; k++) sum = fmaf(outs[k], slopes[k], sum);
#pragma unroll 4
    for (u32 i = lane + HELD * team; i < len; i += team) sum = fmaf(out[i], slope[i], sum);
    sum = team_sum(sum, team, partial);
#pragma unroll
    for (u32 k = 0; k < HELD; k++)
      if (lane + k * team < len) to[lane + k * team] = outs[k] * (slopes[k] - sum);
#pragma unroll 4
    for (u32 i = lane + HELD * team; i < len; i += team) to[i] = out[i] * (slope[i] - sum);
  }
}
