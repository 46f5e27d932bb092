// A stand-in for libcuda.so, as much of it as mixnn calls: devices, contexts, modules. See fake.h.
//
// MIXNN_FAKE_DEVICES: how many devices there are, 2 where it is not set. MIXNN_FAKE_MEMORY: bytes of each. MIXNN_FAKE_LOST:
// launches after which a device is lost. MIXNN_FAKE_UNFIT: the driver is not the one that the system has loaded.
#include "fake_device.h"

#include "cuda.h"

State state;
thread_local Context *current;

static size_t number(const char *name, size_t otherwise) {
  const char *text = getenv(name);
  return text ? strtoull(text, nullptr, 10) : otherwise;
}

int devices() {
  size_t count = number("MIXNN_FAKE_DEVICES", 2);
  return count < MOST_DEVICES ? (int)count : MOST_DEVICES;
}

size_t memory_of_device() { return number("MIXNN_FAKE_MEMORY", (size_t)4 << 30); }

CUresult entered() {
  if (!state.started) return CUDA_ERROR_NOT_INITIALIZED;
  if (!current || !current->held) return CUDA_ERROR_INVALID_CONTEXT;
  return current->lost ? CUDA_ERROR_ECC_UNCORRECTABLE : CUDA_SUCCESS;
}

bool fake::has_context() {
  std::lock_guard<std::recursive_mutex> held(state.lock);
  return entered() == CUDA_SUCCESS;
}

struct Module {
  int device;
  const Family *family;
  std::map<std::string, struct Function *> functions;
};

struct Function {
  Module *module;
  const Named *named;
  int dynamic;
};

// Bytes of shared memory: what a block has without asking, at most, and what each kernel is said to declare itself.
const int SHARED = 48 << 10, MOST_SHARED = 227 << 10, OWN_SHARED = 1 << 10;

#define API extern "C" CUresult

API cuInit(unsigned flags) {
  std::lock_guard<std::recursive_mutex> held(state.lock);
  if (flags) return CUDA_ERROR_INVALID_VALUE;
  if (getenv("MIXNN_FAKE_UNFIT")) return CUDA_ERROR_SYSTEM_DRIVER_MISMATCH;
  if (devices() == 0) return CUDA_ERROR_NO_DEVICE;
  for (int i = 0; i < MOST_DEVICES; i++) state.contexts[i].device = state.contexts[i].standard.device = i;
  state.started = true;
  return CUDA_SUCCESS;
}

API cuDriverGetVersion(int *version) {
  *version = 13000;
  return CUDA_SUCCESS;
}

static const struct { CUresult error; const char *name, *text; } ERRORS[] = {
    {CUDA_SUCCESS, "CUDA_SUCCESS", "no error"},
    {CUDA_ERROR_INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {CUDA_ERROR_OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {CUDA_ERROR_NOT_INITIALIZED, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {CUDA_ERROR_NO_DEVICE, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {CUDA_ERROR_INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {CUDA_ERROR_INVALID_IMAGE, "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"},
    {CUDA_ERROR_INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {CUDA_ERROR_NO_BINARY_FOR_GPU, "CUDA_ERROR_NO_BINARY_FOR_GPU", "no kernel image is available for the device"},
    {CUDA_ERROR_ECC_UNCORRECTABLE, "CUDA_ERROR_ECC_UNCORRECTABLE", "uncorrectable ECC error encountered"},
    {CUDA_ERROR_INVALID_HANDLE, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {CUDA_ERROR_NOT_FOUND, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {CUDA_ERROR_SYSTEM_DRIVER_MISMATCH, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH",
     "system has unsupported display driver / cuda driver combination"},
};

API cuGetErrorName(CUresult error, const char **name) {
  for (const auto &known : ERRORS)
    if (known.error == error) return *name = known.name, CUDA_SUCCESS;
  return *name = nullptr, CUDA_ERROR_INVALID_VALUE;
}

API cuGetErrorString(CUresult error, const char **text) {
  for (const auto &known : ERRORS)
    if (known.error == error) return *text = known.text, CUDA_SUCCESS;
  return *text = nullptr, CUDA_ERROR_INVALID_VALUE;
}

// A call that names a device.
#define OF_DEVICE(device)                                      \
  std::lock_guard<std::recursive_mutex> held_lock(state.lock); \
  if (!state.started) return CUDA_ERROR_NOT_INITIALIZED;       \
  if ((device) < 0 || (device) >= devices()) return CUDA_ERROR_INVALID_DEVICE

API cuDeviceGetCount(int *count) {
  if (!state.started) return CUDA_ERROR_NOT_INITIALIZED;
  *count = devices();
  return CUDA_SUCCESS;
}

API cuDeviceGet(int *device, int ordinal) {
  OF_DEVICE(ordinal);
  *device = ordinal;
  return CUDA_SUCCESS;
}

API cuDeviceGetName(char *name, int room, int device) {
  OF_DEVICE(device);
  snprintf(name, room, "Stand-in %d", device);
  return CUDA_SUCCESS;
}

API cuDeviceTotalMem_v2(size_t *bytes, int device) {
  OF_DEVICE(device);
  *bytes = memory_of_device();
  return CUDA_SUCCESS;
}

API cuDeviceGetAttribute(int *value, int attribute, int device) {
  OF_DEVICE(device);
  switch (attribute) {
    case 16: *value = 4; break;   // MULTIPROCESSOR_COUNT
    case 75: *value = 9; break;   // COMPUTE_CAPABILITY_MAJOR
    case 76: *value = 0; break;   // COMPUTE_CAPABILITY_MINOR
    case 97: *value = MOST_SHARED; break;  // MAX_SHARED_MEMORY_PER_BLOCK_OPTIN
    default: return CUDA_ERROR_INVALID_VALUE;
  }
  return CUDA_SUCCESS;
}

API cuDevicePrimaryCtxRetain(Context **context, int device) {
  OF_DEVICE(device);
  state.contexts[device].held++;
  *context = &state.contexts[device];
  return CUDA_SUCCESS;
}

// With the last, what the context had must be gone, as far as a device that is not lost lets it go.
API cuDevicePrimaryCtxRelease_v2(int device) {
  OF_DEVICE(device);
  Context &context = state.contexts[device];
  if (!context.held) return CUDA_ERROR_INVALID_CONTEXT;
  if (--context.held) return CUDA_SUCCESS;
  if (!context.lost) {
    for (const auto &[at, block] : state.blocks) {
      const char *what = block.locked ? "there is still page-locked memory" : "there is still memory";
      if (block.device == device) fake::forbid("cuDevicePrimaryCtxRelease", what);
    }
    for (Stream *stream : state.streams)
      if (stream->device == device) fake::forbid("cuDevicePrimaryCtxRelease", "there is still a stream");
    for (Module *module : state.modules)
      if (module->device == device) fake::forbid("cuDevicePrimaryCtxRelease", "there is still a module");
    if (!context.standard.queued.empty()) fake::forbid("cuDevicePrimaryCtxRelease", "work is queued");
  }
  return CUDA_SUCCESS;
}

// Whether any device is still in use.
extern "C" int fake_in_use() {
  std::lock_guard<std::recursive_mutex> held(state.lock);
  for (const Context &context : state.contexts)
    if (context.held) return 1;
  return 0;
}

API cuCtxSetCurrent(Context *context) {
  std::lock_guard<std::recursive_mutex> held(state.lock);
  if (!state.started) return CUDA_ERROR_NOT_INITIALIZED;
  if (context && !context->held) return CUDA_ERROR_INVALID_CONTEXT;
  current = context;
  return context && context->lost ? CUDA_ERROR_ECC_UNCORRECTABLE : CUDA_SUCCESS;
}

API cuModuleLoadData(Module **module, const void *data) {
  IN_CONTEXT;
  // A real image says its length; the first bytes tell whether there is one.
  if (memcmp(data, "\x7f" "ELF", 4)) return CUDA_ERROR_INVALID_IMAGE;
  fake::Image image;
  memcpy(&image, data, sizeof image);
  if (memcmp(image.mark, "stand-in", 9) || image.checksum != fake::seal(image)) return CUDA_ERROR_INVALID_IMAGE;
  if (strcmp(image.architecture, "sm_90")) return CUDA_ERROR_NO_BINARY_FOR_GPU;
  for (const Family *family = shim_families; family->file; family++)
    if (!strcmp(family->file, image.file) && family->checksum == image.source) {
      *module = new Module{current->device, family, {}};
      state.modules.insert(*module);
      return CUDA_SUCCESS;
    }
  return CUDA_ERROR_INVALID_IMAGE;
}

API cuModuleUnload(Module *module) {
  IN_CONTEXT;
  if (!state.modules.erase(module)) return CUDA_ERROR_INVALID_HANDLE;
  for (auto &[name, function] : module->functions) delete function;
  delete module;
  return CUDA_SUCCESS;
}

API cuModuleGetFunction(Function **function, Module *module, const char *name) {
  IN_CONTEXT;
  if (!state.modules.count(module) || module->device != current->device) return CUDA_ERROR_INVALID_HANDLE;
  const Named *named = shim_find(name, module->family);
  if (!named) return CUDA_ERROR_NOT_FOUND;
  Function *&known = module->functions[name];
  if (!known) known = new Function{module, named, SHARED};
  *function = known;
  return CUDA_SUCCESS;
}

static bool is_function(Function *function) {
  for (Module *module : state.modules)
    for (auto &[name, known] : module->functions)
      if (known == function) return module->device == current->device;
  return false;
}

API cuFuncGetAttribute(int *value, int attribute, Function *function) {
  IN_CONTEXT;
  if (!is_function(function)) return CUDA_ERROR_INVALID_HANDLE;
  if (attribute != 1) return CUDA_ERROR_INVALID_VALUE;  // SHARED_SIZE_BYTES
  *value = OWN_SHARED;
  return CUDA_SUCCESS;
}

API cuFuncSetAttribute(Function *function, int attribute, int value) {
  IN_CONTEXT;
  if (!is_function(function)) return CUDA_ERROR_INVALID_HANDLE;
  // MAX_DYNAMIC_SHARED_SIZE_BYTES
  if (attribute != 8 || value < 0 || value > MOST_SHARED - OWN_SHARED) return CUDA_ERROR_INVALID_VALUE;
  function->dynamic = value;
  return CUDA_SUCCESS;
}

API cuLaunchKernel(Function *function, unsigned x, unsigned y, unsigned z, unsigned bx, unsigned by, unsigned bz,
                   unsigned shared, CUstream handle, void **given, void **extra) {
  IN_CONTEXT;
  Stream *stream = stream_of(handle);
  if (!stream || !is_function(function)) return CUDA_ERROR_INVALID_HANDLE;
  // As a device of compute capability 9.0 has them.
  bool fits = x && y && z && x < 1u << 31 && y < 1u << 16 && z < 1u << 16 && bx && bx <= 1024 && by == 1 && bz == 1;
  if (!fits || extra || (int)shared > function->dynamic) return CUDA_ERROR_INVALID_VALUE;
  // Arguments are taken now, as many bytes of each as the parameter has.
  std::vector<uint64_t> words;
  std::vector<fake::Range> uses;
  for (const char *kind = function->named->kinds; *kind; kind++) {
    uint64_t word = 0;
    memcpy(&word, given[words.size()], *kind == 'u' || *kind == 'f' ? 4 : 8);
    words.push_back(*kind == 'p' ? (uint64_t)fake::seen(word) : word);
    if (*kind == 'p' && word) uses.push_back({word, 0});
  }
  int device = current->device;
  const Named *named = function->named;
  return fake::enqueue(handle, named->name, uses, [=]() mutable {
    Context &context = state.contexts[device];
    if (context.launches++ >= number("MIXNN_FAKE_LOST", SIZE_MAX)) {
      context.lost = true;
      return;
    }
    std::vector<void *> args;
    for (uint64_t &word : words) args.push_back(&word);
    unsigned grid[3] = {x, y, z};
    // Threads of a block run from the first and from the last, by turns.
    shim_launch(named->name, grid, bx, shared, args.data(), context.launches & 1);
    check_fences(named->name);
  });
}
