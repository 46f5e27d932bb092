// A stand-in for libnvrtc.so, as much of it as mixnn calls. It remembers a source and does not read it, but for `#include` and
// `#error`. See fake.h.
//
// MIXNN_FAKE_REFUSED: a file that does not compile. MIXNN_FAKE_COMPILED: a file to which a line is added with each compilation.
#include <set>
#include <string>

#include "fake.h"

enum nvrtcResult {
  NVRTC_SUCCESS = 0,
  NVRTC_ERROR_INVALID_INPUT = 3,
  NVRTC_ERROR_INVALID_PROGRAM = 4,
  NVRTC_ERROR_INVALID_OPTION = 5,
  NVRTC_ERROR_COMPILATION = 6,
};

struct Program {
  std::string file, source, log;
  std::set<std::string> included;
  bool compiled;
  fake::Image image;
};

#define API extern "C" nvrtcResult

API nvrtcVersion(int *major, int *minor) {
  *major = 13;
  *minor = 0;
  return NVRTC_SUCCESS;
}

API nvrtcCreateProgram(Program **program, const char *source, const char *file, int count, const char *const *texts,
                       const char *const *names) {
  if (!source || !file || count < 0) return NVRTC_ERROR_INVALID_INPUT;
  *program = new Program{file, source, "", {}, false, {}};
  for (int i = 0; i < count; i++)
    if (*texts[i]) (*program)->included.insert(names[i]);
  return NVRTC_SUCCESS;
}

API nvrtcDestroyProgram(Program **program) {
  if (!program || !*program) return NVRTC_ERROR_INVALID_PROGRAM;
  delete *program;
  // The caller's variable is not written to: cudarc hands a copy that it takes to be constant.
  return NVRTC_SUCCESS;
}

// What is wrong with the source.
static std::string errors(const Program &program) {
  std::string found;
  size_t number = 0;
  for (size_t at = 0; at < program.source.size();) {
    size_t end = program.source.find('\n', at);
    if (end == std::string::npos) end = program.source.size();
    std::string line = program.source.substr(at, end - at);
    at = end + 1;
    std::string place = program.file + "(" + std::to_string(++number) + "): ";
    if (line.rfind("#error", 0) == 0) found += place + "error: #error directive:" + line.substr(6) + "\n";
    if (line.rfind("#include \"", 0) != 0) continue;
    std::string name = line.substr(10, line.find('"', 10) - 10);
    if (!program.included.count(name)) found += place + "catastrophic error: cannot open source file \"" + name + "\"\n";
  }
  const char *refused = getenv("MIXNN_FAKE_REFUSED");
  if (refused && program.file == refused) found += program.file + "(1): error: refused\n";
  return found;
}

// With the options that mixnn gives, in their order.
API nvrtcCompileProgram(Program *program, int count, const char *const *options) {
  const char *wanted[] = {"--gpu-architecture=sm_", "--std=c++17", "--fmad=false"};
  if (count != 3) return NVRTC_ERROR_INVALID_OPTION;
  for (int i = 0; i < count; i++)
    if (i == 0 ? strncmp(options[0], wanted[0], strlen(wanted[0])) : strcmp(options[i], wanted[i])) {
      program->log = std::string("nvrtc: error: invalid value for ") + options[i] + "\n";
      return NVRTC_ERROR_INVALID_OPTION;
    }
  if (const char *path = getenv("MIXNN_FAKE_COMPILED")) {
    FILE *list = fopen(path, "a");
    if (!list) abort();
    fprintf(list, "%s\n", program->file.c_str());
    fclose(list);
  }
  program->log = errors(*program);
  if (!program->log.empty()) return NVRTC_ERROR_COMPILATION;
  fake::Image &image = program->image;
  image = {};
  memcpy(image.elf, "\x7f" "ELF", 4);
  strcpy(image.mark, "stand-in");
  snprintf(image.architecture, sizeof image.architecture, "%s", options[0] + strlen("--gpu-architecture="));
  snprintf(image.file, sizeof image.file, "%s", program->file.c_str());
  image.source = fake::checksum(program->source.data(), program->source.size());
  image.checksum = fake::seal(image);
  program->compiled = true;
  return NVRTC_SUCCESS;
}

API nvrtcGetCUBINSize(Program *program, size_t *size) {
  if (!program->compiled) return NVRTC_ERROR_INVALID_PROGRAM;
  *size = sizeof program->image;
  return NVRTC_SUCCESS;
}

API nvrtcGetCUBIN(Program *program, char *to) {
  if (!program->compiled) return NVRTC_ERROR_INVALID_PROGRAM;
  memcpy(to, &program->image, sizeof program->image);
  return NVRTC_SUCCESS;
}

API nvrtcGetProgramLogSize(Program *program, size_t *size) {
  *size = program->log.size() + 1;
  return NVRTC_SUCCESS;
}

API nvrtcGetProgramLog(Program *program, char *to) {
  memcpy(to, program->log.c_str(), program->log.size() + 1);
  return NVRTC_SUCCESS;
}
