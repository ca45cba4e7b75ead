// A stand-in for NVIDIA's driver, NVRTC and cuBLASLt on the processor, for tests of what talks to them.
//
// It takes the calls that cuda.rs makes and holds them to the rules: work is only queued until somebody waits, so that bytes
// reused too early show; copies must lie in memory that was taken; while a stream is recorded nothing runs; everything
// must be given back by the time the context is. Kernels run as in the emulator, products by their definition from the
// library's own descriptors. It cannot show what a GPU computes, nor what it takes; a real one is for that.
#include "../../src/kernels/emulated.h"

#include "../../src/kernels/prelude.cuh"

#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <deque>
#include <fstream>
#include <functional>
#include <map>
#include <mutex>
#include <regex>
#include <set>
#include <string>
#include <vector>

#define API extern "C" __attribute__((visibility("default"))) int
typedef std::function<int()> Work;

enum { OK = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, INVALID_HANDLE = 400, NOT_FOUND = 500, ILLEGAL_ADDRESS = 700, CAPTURE = 900 };
static const size_t TOTAL = (size_t)2 << 30;

struct Stream {
  std::deque<Work> queue;
  bool recording = false;
  std::vector<Work> recorded;
};
struct Event {
  bool reached = true;
  Stream* stream = nullptr;
};
struct Graph {
  std::vector<Work> works;
};
struct Function {
  int (*run)(void**, const u32*, const u32*, u32, int);
  std::vector<size_t> sizes;
  u32 shared = 48 << 10;
};
struct Module {
  void* library;
  std::map<std::string, Function> functions;
};

static std::recursive_mutex everything;
#define ENTER std::lock_guard<std::recursive_mutex> entered(everything)
static std::map<u64, size_t> pieces;
static size_t taken = 0;
static std::set<void*> pinned, streams, events, graphs, replays, modules, descriptors;
static int retained = 0, failure = OK;

static bool holds(u64 at, size_t bytes) {
  auto next = pieces.upper_bound(at);
  if (next == pieces.begin()) return false;
  --next;
  return at + bytes <= next->first + next->second;
}
static int queue(Stream* stream, Work work) {
  if (!streams.count(stream)) return INVALID_HANDLE;
  if (stream->recording)
    stream->recorded.push_back(work);
  else
    stream->queue.push_back(work);
  return OK;
}
static void step(Stream* stream) {
  Work work = stream->queue.front();
  stream->queue.pop_front();
  int outcome = work();
  if (failure == OK) failure = outcome;
}
// Errors of queued work stick, as on a GPU.
static int wait(Stream* stream) {
  if (stream->recording) return CAPTURE;
  while (!stream->queue.empty()) step(stream);
  return failure;
}

API cuInit(u32) { return OK; }
API cuDriverGetVersion(int* version) { return *version = 13000, OK; }
API cuGetErrorName(int, const char** name) { return *name = "STAND_IN_ERROR", OK; }
API cuGetErrorString(int, const char** text) { return *text = "an error of the stand-in", OK; }
API cuDeviceGetCount(int* count) { return *count = 1, OK; }
API cuDeviceGet(int* device, int index) { return *device = index, index == 0 ? OK : 101; }
API cuDeviceGetName(char* name, int length, int) { return snprintf(name, length, "stand-in"), OK; }
API cuDeviceGetAttribute(int* value, int attribute, int) {
  // Multiprocessors, and the compute capability's first number.
  return *value = attribute == 16 ? 4 : attribute == 75 ? 9 : 0, OK;
}
API cuDevicePrimaryCtxRetain(void** context, int) {
  ENTER;
  retained++;
  return *context = &retained, OK;
}
API cuDevicePrimaryCtxRelease_v2(int) {
  ENTER;
  if (--retained > 0) return OK;
  const std::set<void*>* all[] = {&pinned, &streams, &events, &graphs, &replays, &modules, &descriptors};
  size_t left = pieces.size();
  for (auto* set : all) left += set->size();
  if (left == 0) return OK;
  fprintf(stderr, "stand-in: %zu things were not given back, %zu pieces of memory among them\n", left, pieces.size());
  abort();
}
API cuCtxSetCurrent(void* context) { return context == &retained ? OK : INVALID_HANDLE; }

API cuStreamCreate(void** stream, u32) {
  ENTER;
  return streams.insert(*stream = new Stream), OK;
}
API cuStreamDestroy_v2(Stream* stream) {
  ENTER;
  wait(stream);
  if (!streams.erase(stream)) return INVALID_HANDLE;
  return delete stream, OK;
}
API cuStreamSynchronize(Stream* stream) {
  ENTER;
  return wait(stream);
}
API cuStreamBeginCapture_v2(Stream* stream, int) {
  ENTER;
  if (stream->recording) return CAPTURE;
  return stream->recording = true, OK;
}
API cuStreamEndCapture(Stream* stream, void** graph) {
  ENTER;
  if (!stream->recording) return CAPTURE;
  stream->recording = false;
  Graph* made = new Graph{std::move(stream->recorded)};
  stream->recorded.clear();
  return graphs.insert(*graph = made), OK;
}
API cuGraphInstantiateWithFlags(void** replay, Graph* graph, u64) {
  ENTER;
  if (!graphs.count(graph)) return INVALID_HANDLE;
  return replays.insert(*replay = new Graph(*graph)), OK;
}
API cuGraphDestroy(Graph* graph) {
  ENTER;
  if (!graphs.erase(graph)) return INVALID_HANDLE;
  return delete graph, OK;
}
API cuGraphExecDestroy(Graph* replay) {
  ENTER;
  if (!replays.erase(replay)) return INVALID_HANDLE;
  return delete replay, OK;
}
API cuGraphLaunch(Graph* replay, Stream* stream) {
  ENTER;
  if (!replays.count(replay)) return INVALID_HANDLE;
  for (auto& work : replay->works) queue(stream, work);
  return OK;
}

API cuEventCreate(void** event, u32) {
  ENTER;
  return events.insert(*event = new Event), OK;
}
API cuEventDestroy_v2(Event* event) {
  ENTER;
  if (!event->reached) wait(event->stream);
  if (!events.erase(event)) return INVALID_HANDLE;
  return delete event, OK;
}
API cuEventRecord(Event* event, Stream* stream) {
  ENTER;
  event->reached = false;
  event->stream = stream;
  return queue(stream, [event] { return event->reached = true, OK; });
}
API cuEventSynchronize(Event* event) {
  ENTER;
  while (!event->reached) step(event->stream);
  return failure;
}

API cuMemAlloc_v2(u64* address, size_t bytes) {
  ENTER;
  if (bytes == 0) return INVALID_VALUE;
  if (bytes > TOTAL - taken) return OUT_OF_MEMORY;
  void* memory = aligned_alloc(256, (bytes + 255) / 256 * 256);
  memset(memory, 0xff, bytes);
  *address = (u64)memory;
  pieces[*address] = bytes;
  return taken += bytes, OK;
}
API cuMemFree_v2(u64 address) {
  ENTER;
  if (!pieces.count(address)) return INVALID_VALUE;
  for (void* stream : streams)
    if (!((Stream*)stream)->recording) wait((Stream*)stream);
  taken -= pieces[address];
  pieces.erase(address);
  return free((void*)address), OK;
}
API cuMemGetInfo_v2(size_t* left, size_t* total) {
  ENTER;
  return *left = TOTAL - taken, *total = TOTAL, OK;
}
API cuMemHostAlloc(void** memory, size_t bytes, u32) {
  ENTER;
  return pinned.insert(*memory = malloc(bytes)), OK;
}
API cuMemFreeHost(void* memory) {
  ENTER;
  if (!pinned.erase(memory)) return INVALID_VALUE;
  return free(memory), OK;
}
API cuMemcpyHtoDAsync_v2(u64 to, const void* from, size_t bytes, Stream* stream) {
  ENTER;
  return queue(stream, [=] { return holds(to, bytes) ? (memcpy((void*)to, from, bytes), OK) : ILLEGAL_ADDRESS; });
}
API cuMemcpyDtoHAsync_v2(void* to, u64 from, size_t bytes, Stream* stream) {
  ENTER;
  return queue(stream, [=] { return holds(from, bytes) ? (memcpy(to, (void*)from, bytes), OK) : ILLEGAL_ADDRESS; });
}
API cuMemcpyDtoDAsync_v2(u64 to, u64 from, size_t bytes, Stream* stream) {
  ENTER;
  return queue(stream, [=] {
    return holds(to, bytes) && holds(from, bytes) ? (memcpy((void*)to, (void*)from, bytes), OK) : ILLEGAL_ADDRESS;
  });
}
API cuMemsetD8Async(u64 to, unsigned char value, size_t bytes, Stream* stream) {
  ENTER;
  return queue(stream, [=] { return holds(to, bytes) ? (memset((void*)to, value, bytes), OK) : ILLEGAL_ADDRESS; });
}

// What its NVRTC gives as machine code: a magic, the library's path, and the kernels' names.
API cuModuleLoadData(void** module, const char* image) {
  ENTER;
  const char* path = image + 4;
  void* library = dlopen(path, RTLD_NOW);
  if (!library) return fprintf(stderr, "stand-in: %s\n", dlerror()), INVALID_VALUE;
  Module* made = new Module{library, {}};
  for (const char* name = path + strlen(path) + 1; *name; name += strlen(name) + 1) {
    Function function;
    function.run = (decltype(function.run))dlsym(library, (std::string("run_") + name).c_str());
    auto size = (size_t(*)(u32))dlsym(library, (std::string("size_") + name).c_str());
    for (u32 at = 0; size(at); at++) function.sizes.push_back(size(at));
    made->functions[name] = function;
  }
  return modules.insert(*module = made), OK;
}
API cuModuleUnload(Module* module) {
  ENTER;
  if (!modules.erase(module)) return INVALID_HANDLE;
  dlclose(module->library);
  return delete module, OK;
}
API cuModuleGetFunction(void** function, Module* module, const char* name) {
  ENTER;
  auto found = module->functions.find(name);
  if (found == module->functions.end()) return NOT_FOUND;
  return *function = &found->second, OK;
}
API cuFuncGetAttribute(int* value, int, Function*) { return *value = 0, OK; }
API cuFuncSetAttribute(Function* function, int attribute, int value) {
  ENTER;
  if (attribute != 8 || value > 227 << 10) return INVALID_VALUE;
  return function->shared = value, OK;
}
API cuFuncGetParamInfo(Function* function, size_t at, size_t* offset, size_t* size) {
  if (at >= function->sizes.size()) return INVALID_VALUE;
  return *offset = 0, *size = function->sizes[at], OK;
}
API cuLaunchKernel(Function* function, u32 x, u32 y, u32 z, u32 threads, u32, u32, u32 shared, Stream* stream, void** arguments,
                   void**) {
  ENTER;
  if (!x || !y || !z || y > 65535 || z > 65535 || !threads || threads > 1024 || shared > function->shared) return INVALID_VALUE;
  std::vector<u64> values;
  for (size_t at = 0; at < function->sizes.size(); at++) {
    values.push_back(0);
    memcpy(&values.back(), arguments[at], function->sizes[at]);
  }
  return queue(stream, [=]() mutable {
    std::vector<void*> pointers;
    for (auto& value : values) pointers.push_back(&value);
    u32 grid[] = {x, y, z}, block[] = {threads, 1, 1};
    return function->run(pointers.data(), grid, block, shared, 0) == 0 ? OK : 719;
  });
}

// NVRTC.
struct Program {
  std::string source, image;
};
API nvrtcVersion(int* major, int* minor) { return *major = 13, *minor = 0, OK; }
API nvrtcGetNumSupportedArchs(int* count) { return *count = 2, OK; }
API nvrtcGetSupportedArchs(int* known) { return known[0] = 80, known[1] = 90, OK; }
extern "C" const char* nvrtcGetErrorString(int) { return "an error of the stand-in"; }
API nvrtcCreateProgram(Program** program, const char* source, const char*, int, const char**, const char**) {
  return *program = new Program{source, ""}, OK;
}
API nvrtcDestroyProgram(Program** program) { return delete *program, OK; }
API nvrtcCompileProgram(Program* program, int, const char**) {
  ENTER;
  static int next = 0;
  std::string path = std::string(getenv("STAND_IN_FOLDER")) + "/program-" + std::to_string(next++);
  std::string names, text = program->source;
  std::ofstream file(path + ".cpp");
  file << "#include \"" << getenv("STAND_IN_EMULATED") << "\"\n" << text;
  file << "\ntemplate <class... A> static size_t size(void (*)(A...), u32 at) {\n"
          "  size_t sizes[] = {sizeof(A)..., 0};\n  return at < sizeof...(A) ? sizes[at] : 0;\n}\n";
  std::regex kernel("KERNEL\\([^)]*\\)\\s*(\\w+)\\(");
  for (std::sregex_iterator at(text.begin(), text.end(), kernel), end; at != end; ++at) {
    std::string name = (*at)[1];
    file << "EXPORT(" << name << ")\nextern \"C\" size_t size_" << name << "(u32 at) { return size(" << name << ", at); }\n";
    names += name + '\0';
  }
  file.close();
  const char* compiler = getenv("CXX") ? getenv("CXX") : "c++";
  std::string command = std::string(compiler) + " -std=c++17 -O1 -fPIC -shared -w -o " + path + ".so " + path + ".cpp";
  if (system(command.c_str()) != 0) return 6;
  program->image = std::string("\x7f") + "ELF" + path + ".so" + '\0' + names + '\0';
  return OK;
}
API nvrtcGetCUBINSize(Program* program, size_t* size) { return *size = program->image.size(), OK; }
API nvrtcGetCUBIN(Program* program, char* out) { return memcpy(out, program->image.data(), program->image.size()), OK; }
API nvrtcGetProgramLogSize(Program*, size_t* size) { return *size = 1, OK; }
API nvrtcGetProgramLog(Program*, char* log) { return *log = 0, OK; }

// cuBLASLt.
struct Descriptor {
  int type;
  u64 rows, columns;
  long stride;
  bool transposed[2];
  u32 alignments[4];
};
struct Choice {
  u64 algorithm[8];
  size_t workspace;
  u32 status;
  float waves;
  int reserved[4];
};
static const u64 MAGIC = 0x616c676f;

static int describe(Descriptor** made, Descriptor descriptor) {
  ENTER;
  return descriptors.insert(*made = new Descriptor(descriptor)), OK;
}
static int forget(Descriptor* descriptor) {
  ENTER;
  if (!descriptors.erase(descriptor)) return 7;
  return delete descriptor, OK;
}
extern "C" size_t cublasLtGetVersion() { return 130000; }
API cublasLtCreate(Descriptor** handle) { return describe(handle, {}); }
API cublasLtDestroy(Descriptor* handle) { return forget(handle); }
API cublasLtMatmulDescCreate(Descriptor** made, u32 compute, u32 scale) {
  return compute == 68 && scale == 0 ? describe(made, {}) : 7;
}
API cublasLtMatmulDescSetAttribute(Descriptor* descriptor, u32 attribute, const int* value, size_t bytes) {
  if (bytes != 4 || (attribute != 3 && attribute != 4)) return 7;
  return descriptor->transposed[attribute - 3] = *value == 1, OK;
}
API cublasLtMatmulDescDestroy(Descriptor* descriptor) { return forget(descriptor); }
API cublasLtMatrixLayoutCreate(Descriptor** made, u32 type, u64 rows, u64 columns, long stride) {
  return stride >= (long)rows ? describe(made, {(int)type, rows, columns, stride, {}, {}}) : 7;
}
API cublasLtMatrixLayoutDestroy(Descriptor* descriptor) { return forget(descriptor); }
API cublasLtMatmulPreferenceCreate(Descriptor** made) { return describe(made, {}); }
API cublasLtMatmulPreferenceSetAttribute(Descriptor* preference, u32 attribute, const void* value, size_t bytes) {
  if (attribute == 1) return bytes == 8 ? OK : 7;
  if (bytes != 4) return 7;
  if (attribute >= 5 && attribute <= 8) preference->alignments[attribute - 5] = *(const u32*)value;
  return OK;
}
API cublasLtMatmulPreferenceDestroy(Descriptor* preference) { return forget(preference); }
API cublasLtMatmulAlgoGetHeuristic(void*, Descriptor*, Descriptor* a, Descriptor* b, Descriptor* c, Descriptor*,
                                   Descriptor* preference, int, Choice* choice, int* found) {
  // What the real one has for halves: sums as floats, or rounded to the inputs' own type.
  bool known = a->type == b->type && a->type != 0 && (c->type == 0 || c->type == a->type);
  *found = known;
  const u32* aligned = preference->alignments;
  *choice = {{MAGIC, aligned[0], aligned[1], aligned[2], aligned[3]}, 0, 0, 1.0f, {}};
  return known ? OK : 15;
}
static float get(int type, const void* base, u64 at) {
  if (type == 0) return ((const float*)base)[at];
  u16 bits = ((const u16*)base)[at];
  return type == 2 ? f32_of_f16(bits) : f32_of_bf16(bits);
}
API cublasLtMatmul(void*, Descriptor* what, const float* alpha, const void* a, Descriptor* as, const void* b, Descriptor* bs,
                   const float* beta, const void* c, Descriptor* cs, void* d, Descriptor* ds, const u64* algorithm,
                   void* workspace, size_t workspace_bytes, Stream* stream) {
  ENTER;
  u64 m = what->transposed[0] ? as->columns : as->rows, depth = what->transposed[0] ? as->rows : as->columns;
  u64 n = what->transposed[1] ? bs->rows : bs->columns;
  bool fits = depth == (what->transposed[1] ? bs->columns : bs->rows) && ds->rows == m && ds->columns == n && c == d && cs == ds;
  bool aligned = (u64)a % algorithm[1] == 0 && (u64)b % algorithm[2] == 0 && (u64)c % algorithm[3] == 0 &&
                 (u64)d % algorithm[4] == 0;
  if (!fits || !aligned || algorithm[0] != MAGIC || !holds((u64)workspace, workspace_bytes)) return 7;
  Descriptor what_ = *what, as_ = *as, bs_ = *bs, ds_ = *ds;
  float factor = *alpha, kept = *beta;
  return queue(stream, [=] {
    auto span = [](const Descriptor& of) { return ((of.columns - 1) * of.stride + of.rows) * (of.type == 0 ? 4 : 2); };
    if (!holds((u64)a, span(as_)) || !holds((u64)b, span(bs_)) || !holds((u64)d, span(ds_))) return (int)ILLEGAL_ADDRESS;
    for (u64 row = 0; row < m; row++)
      for (u64 column = 0; column < n; column++) {
        float sum = 0.0f;
        for (u64 k = 0; k < depth; k++)
          sum += get(as_.type, a, what_.transposed[0] ? k + row * as_.stride : row + k * as_.stride) *
                 get(bs_.type, b, what_.transposed[1] ? column + k * bs_.stride : k + column * bs_.stride);
        u64 at = row + column * ds_.stride;
        // What is not kept may be no number.
        float x = factor * sum + (kept == 0.0f ? 0.0f : kept * get(ds_.type, d, at));
        if (ds_.type == 0) ((float*)d)[at] = x;
        if (ds_.type == 2) ((u16*)d)[at] = f16_of_f32(x);
        if (ds_.type == 14) ((u16*)d)[at] = bf16_of_f32(x);
      }
    return (int)OK;
  });
}
