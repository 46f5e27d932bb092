// Runs blocks of fibers: see cuda.h. What build.rs puts before this file names the kernels, in `shim_families`.
#include <sys/mman.h>
#include <ucontext.h>

dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace shim {

enum State { READY, AT_BLOCK, AT_WARP, DONE };

const unsigned MOST_THREADS = 1024;
const size_t STACK = 128 << 10;
const size_t SHARED = 228 << 10;

struct Fiber {
  ucontext_t context;
  State state;
  unsigned mask;   // of the warp's threads that it waits for
  unsigned turns;  // exchanges so far
};

static Fiber fibers[MOST_THREADS];
static unsigned slots[MOST_THREADS / 32][2][32];
static ucontext_t scheduler;
static unsigned current;
static int vote, voted;
static unsigned char *stacks;
static unsigned char *shared;

struct Body {
  void (*call)(void **);
  void **args;
};
static Body body;

static void start() {
  body.call(body.args);
  fibers[current].state = DONE;
  swapcontext(&fibers[current].context, &scheduler);
}

static void wait(State state) {
  Fiber &fiber = fibers[current];
  unsigned mine = current;
  fiber.state = state;
  swapcontext(&fiber.context, &scheduler);
  current = mine;
}

void block_barrier() { wait(AT_BLOCK); }

int block_any(int mine) {
  vote |= mine != 0;
  wait(AT_BLOCK);
  int all = voted;
  wait(AT_BLOCK);
  return all;
}

unsigned lane() { return current & 31; }

const unsigned *warp_exchange(unsigned mask, unsigned value) {
  Fiber &fiber = fibers[current];
  // Two sets of slots take turns: one cannot be written to again before all have come to the other.
  unsigned *to = slots[current / 32][fiber.turns++ & 1];
  to[lane()] = value;
  fiber.mask = mask;
  wait(AT_WARP);
  return to;
}

unsigned char *dynamic() { return shared; }

static bool release_warp(unsigned warp, unsigned threads) {
  unsigned here = 0, wanted = 0;
  bool any = false;
  for (unsigned lane = 0; lane < 32 && warp * 32 + lane < threads; lane++) {
    Fiber &fiber = fibers[warp * 32 + lane];
    if (fiber.state == AT_WARP) here |= 1u << lane, wanted |= fiber.mask;
    if (fiber.state == DONE) here |= 1u << lane;
  }
  if (!wanted || (wanted & ~here)) return false;
  for (unsigned lane = 0; lane < 32 && warp * 32 + lane < threads; lane++) {
    Fiber &fiber = fibers[warp * 32 + lane];
    if (fiber.state == AT_WARP) fiber.state = READY, any = true;
  }
  return any;
}

static bool release_block(unsigned threads) {
  unsigned waiting = 0, done = 0;
  for (unsigned i = 0; i < threads; i++) waiting += fibers[i].state == AT_BLOCK, done += fibers[i].state == DONE;
  if (waiting == 0 || waiting + done < threads) return false;
  for (unsigned i = 0; i < threads; i++)
    if (fibers[i].state == AT_BLOCK) fibers[i].state = READY;
  voted = vote;
  vote = 0;
  return true;
}

// Runs the threads of a warp until none can go on without another warp.
static void run_warp(unsigned warp, unsigned threads, bool backwards) {
  do {
    for (unsigned k = 0; k < 32; k++) {
      unsigned i = warp * 32 + (backwards ? 31 - k : k);
      if (i < threads && fibers[i].state == READY) {
        current = i;
        threadIdx = {i, 0, 0};
        swapcontext(&scheduler, &fibers[i].context);
      }
    }
  } while (release_warp(warp, threads));
}

static void run_block(const char *kernel, unsigned threads, bool backwards) {
  memset(slots, 0, sizeof slots);
  vote = voted = 0;
  for (unsigned i = 0; i < threads; i++) {
    Fiber &fiber = fibers[i];
    fiber.state = READY;
    fiber.turns = 0;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = stacks + i * STACK;
    fiber.context.uc_stack.ss_size = STACK;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, start, 0);
  }
  unsigned warps = (threads + 31) / 32;
  for (;;) {
    for (unsigned k = 0; k < warps; k++) run_warp(backwards ? warps - 1 - k : k, threads, backwards);
    unsigned done = 0;
    for (unsigned i = 0; i < threads; i++) done += fibers[i].state == DONE;
    if (done == threads) return;
    if (!release_block(threads)) {
      fprintf(stderr, "%s: some threads of a block wait at a barrier that others never come to\n", kernel);
      abort();
    }
  }
}

}  // namespace shim

// The kernel of this name, of one file alone where that is said; null where there is none.
extern "C" const Named *shim_find(const char *name, const Family *only) {
  for (const Family *family = only ? only : shim_families; family->file; family++) {
    for (const Named *named = family->kernels; named->name; named++)
      if (!strcmp(named->name, name)) return named;
    if (only) break;
  }
  return nullptr;
}

// What the parameters of a kernel are.
extern "C" const char *shim_kinds(const char *name) {
  const Named *named = shim_find(name, nullptr);
  return named ? named->kinds : nullptr;
}

// Runs a kernel: 0 where there is none of that name.
extern "C" int shim_launch(const char *name, const unsigned *grid, unsigned block, unsigned shared, void **args,
                           int backwards) {
  if (!shim::stacks) {
    size_t bytes = shim::MOST_THREADS * shim::STACK;
    shim::stacks = (unsigned char *)mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    shim::shared = (unsigned char *)aligned_alloc(256, shim::SHARED);
    if (shim::stacks == MAP_FAILED || !shim::shared) abort();
  }
  if (block == 0 || block > shim::MOST_THREADS || shared > shim::SHARED) {
    fprintf(stderr, "%s: a block of %u threads and %u bytes\n", name, block, shared);
    abort();
  }
  const Named *kernel = shim_find(name, nullptr);
  if (!kernel) return 0;
  gridDim = {grid[0], grid[1], grid[2]};
  blockDim = {block, 1, 1};
  shim::body = {kernel->call, args};
  for (unsigned z = 0; z < grid[2]; z++)
    for (unsigned y = 0; y < grid[1]; y++)
      for (unsigned x = 0; x < grid[0]; x++) {
        blockIdx = {x, y, z};
        // What is in shared memory when a block starts means nothing.
        memset(shim::shared, 0xff, shared);
        shim::run_block(name, block, backwards);
      }
  return 1;
}
