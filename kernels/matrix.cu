// Row-major matrices: transposes, sums of rows. src/compute/cuda/matrix.rs launches the kernels. The products are cuBLASLt's.
#include "functions.cuh"

// Columns that a block of threads takes side by side, and rows that it takes at once.
#define TILE 32
#define LINES 8

// to (columns, rows) = the transpose of from (rows, columns). A block of TILE x LINES threads takes a tile of TILE x TILE. The
// grid's x goes over columns, y over rows.
extern "C" __global__ void transpose_f32(const float *__restrict__ from, float *__restrict__ to, u32 rows,
                                         u32 columns) {
  // There is one column more, so that the values of a column are in different banks.
  __shared__ float tile[TILE][TILE + 1];
  u32 x = threadIdx.x % TILE, y = threadIdx.x / TILE;
  u32 row = blockIdx.y * TILE, column = blockIdx.x * TILE;
  for (u32 line = y; line < TILE; line += LINES)
    if (row + line < rows && column + x < columns) tile[line][x] = from[(u64)(row + line) * columns + column + x];
  __syncthreads();
  for (u32 line = y; line < TILE; line += LINES)
    if (column + line < columns && row + x < rows) to[(u64)(column + line) * rows + row + x] = tile[x][line];
}

// Every row of y (rows, n) = bias (n).
extern "C" __global__ void fill_rows_f32(const float *__restrict__ bias, float *__restrict__ y, u64 rows, u32 n) {
  for (u64 i = thread_of_grid(); i < rows * n; i += threads_of_grid()) y[i] = bias[i % n];
}

// sums (parts, n): sums[p] is the sum of at most `share` rows of x (rows, n), from row p times `share` on. A block has TILE x
// LINES threads; the grid's x goes over columns, y over parts. A thread takes every LINES-th row, and the LINES sums are then
// added in order.
extern "C" __global__ void sum_rows_f32(const float *__restrict__ x, float *__restrict__ sums, u64 rows, u32 n,
                                        u64 share) {
  __shared__ float partial[LINES][TILE];
  u32 lane = threadIdx.x % TILE, line = threadIdx.x / TILE;
  u32 column = blockIdx.x * TILE + lane;
  u64 first = blockIdx.y * share;
  u64 end = first + share < rows ? first + share : rows;
  float sum = 0.0f;
  if (column < n)
    for (u64 row = first + line; row < end; row += LINES) sum += x[row * n + column];
  partial[line][lane] = sum;
  __syncthreads();
  if (line == 0 && column < n) {
    for (u32 other = 1; other < LINES; other++) sum += partial[other][lane];
    sums[(u64)blockIdx.y * n + column] = sum;
  }
}

// sum (n) = the sum of the rows of parts (count, n), in order. If `accumulate`, it is added to what sum holds.
extern "C" __global__ void fold_rows_f32(const float *__restrict__ parts, float *__restrict__ sum, u32 count, u32 n,
                                         u32 accumulate) {
  for (u64 column = thread_of_grid(); column < n; column += threads_of_grid()) {
    float total = accumulate ? sum[column] : 0.0f;
    for (u32 part = 0; part < count; part++) total += parts[(u64)part * n + column];
    sum[column] = total;
  }
}
