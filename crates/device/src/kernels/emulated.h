// A GPU's block on one thread of the processor: what kernels call, for a C++ compiler.
//
// Every thread of a block is a fibre with a stack of its own; a barrier hands over to the next fibre. Blocks run one after
// another. Shared memory is filled with NaN before each block and ends at a protected page; threads run in an order that
// the caller may turn over, so that a missing barrier shows, and copies behind their backs arrive when they are waited for.
// Speed is that of a test.

#define EMULATED 1
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sys/mman.h>
#include <utility>
#include <vector>
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

typedef uint8_t u8;
typedef int8_t i8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef unsigned long long u64;

struct Three {
  u32 x, y, z;
};
static thread_local Three threadIdx, blockIdx, blockDim, gridDim;

namespace emulated {
enum State { RUNS, WARP, BLOCK, DONE };
constexpr int MOST = 1024;
constexpr size_t STACK = 192 << 10;
constexpr size_t SHARED = 256 << 10;
// What a lane gives its warp at once, at most.
constexpr int WORDS = 12;

#if defined(__x86_64__)
// Saves the registers that a call keeps, and goes on where another stack left off.
asm(R"(
.text
.local footnote_switch
footnote_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
)");
extern "C" void footnote_switch(void** from, void* to);
typedef void* Place;
#else
typedef ucontext_t Place;
#endif

struct Fibre {
  Place place;
  State state;
};
// What a warp does together.
enum Together { SYNC, SHUFFLE, MMA_F16, MMA_BF16, MATRIX };
struct Warp {
  Together does[32];
  // Two sets, used in turn, so that one barrier an exchange is enough.
  u32 slots[2][32][WORDS];
  int turn[32];
};
// Copies that a thread asked for: all of them, and where each group of them ends.
struct Copy {
  void* to;
  const void* from;
  bool valid;
};
struct Copies {
  std::vector<Copy> asked;
  std::vector<size_t> ends;
};
struct Block {
  Fibre fibres[MOST];
  Copies copies[MOST];
  Warp warps[MOST / 32];
  char* stacks = nullptr;
  Place scheduler;
  int current = 0;
  int threads = 0;
  // Where shared memory ends: at a page that nobody may touch.
  u8* shared_end = nullptr;
  u8* shared = nullptr;
  void (*entry)(void*) = nullptr;
  void* context = nullptr;
};
static thread_local Block* block = nullptr;

static void leave(State state, Together does = SYNC) {
  Block* b = block;
  Fibre& fibre = b->fibres[b->current];
  fibre.state = state;
  b->warps[b->current / 32].does[b->current % 32] = does;
#if defined(__x86_64__)
  footnote_switch(&fibre.place, b->scheduler);
#else
  swapcontext(&fibre.place, &b->scheduler);
#endif
}
static void start() {
  block->entry(block->context);
  leave(DONE);
}
static void resume(int thread) {
  Block* b = block;
  b->current = thread;
  threadIdx.x = (u32)thread % blockDim.x;
  threadIdx.y = (u32)thread / blockDim.x;
#if defined(__x86_64__)
  footnote_switch(&b->scheduler, b->fibres[thread].place);
#else
  swapcontext(&b->scheduler, &b->fibres[thread].place);
#endif
}
static void prepare(int thread) {
  Block* b = block;
  Fibre& fibre = b->fibres[thread];
  fibre.state = RUNS;
  b->copies[thread].asked.clear();
  b->copies[thread].ends.clear();
  char* stack = b->stacks + STACK * thread;
#if defined(__x86_64__)
  void** top = (void**)(stack + STACK);
  *--top = nullptr;
  *--top = (void*)start;
  for (int saved = 0; saved < 6; saved++) *--top = nullptr;
  fibre.place = (void*)top;
#else
  getcontext(&fibre.place);
  fibre.place.uc_stack.ss_sp = stack;
  fibre.place.uc_stack.ss_size = STACK;
  fibre.place.uc_link = nullptr;
  makecontext(&fibre.place, start, 0);
#endif
}
// Runs all fibres of a block to their ends: 0, or 1 where they wait for each other in vain, or 4 where lanes of a warp do
// different things together, or some have ended.
static int run_block(bool turned) {
  Block* b = block;
  int warps = (b->threads + 31) / 32;
  for (int thread = 0; thread < b->threads; thread++) prepare(thread);
  for (int warp = 0; warp < warps; warp++) std::memset(b->warps[warp].turn, 0, sizeof b->warps[warp].turn);
  for (;;) {
    bool moved = false;
    for (int step = 0; step < warps; step++) {
      int warp = turned ? warps - 1 - step : step;
      int first = warp * 32, count = b->threads - first < 32 ? b->threads - first : 32;
      for (;;) {
        int waiting = 0, alive = 0;
        for (int lane = 0; lane < count; lane++) {
          int thread = first + (turned ? count - 1 - lane : lane);
          if (b->fibres[thread].state == RUNS) {
            resume(thread);
            moved = true;
          }
        }
        for (int lane = 0; lane < count; lane++) {
          State state = b->fibres[first + lane].state;
          alive += state != DONE;
          waiting += state == WARP;
        }
        if (alive == 0 || waiting != alive) break;
        for (int lane = 0; lane < count; lane++)
          if (alive != count || b->warps[warp].does[lane] != b->warps[warp].does[0]) return 4;
        for (int lane = 0; lane < count; lane++)
          if (b->fibres[first + lane].state == WARP) b->fibres[first + lane].state = RUNS;
      }
    }
    int alive = 0, waiting = 0;
    for (int thread = 0; thread < b->threads; thread++) {
      alive += b->fibres[thread].state != DONE;
      waiting += b->fibres[thread].state == BLOCK;
    }
    if (alive == 0) return 0;
    if (waiting == alive) {
      for (int thread = 0; thread < b->threads; thread++)
        if (b->fibres[thread].state == BLOCK) b->fibres[thread].state = RUNS;
    } else if (!moved) {
      return 1;
    }
  }
}

template <class F>
struct Call {
  F* function;
};

// 0 done, 1 and 4 as `run_block`, 2 no memory, 3 too many threads.
template <class F>
int launch(const u32* grid, const u32* threads, u32 shared_bytes, bool turned, F& function) {
  u64 count = (u64)threads[0] * threads[1];
  if (count == 0 || count > MOST || threads[2] != 1) return 3;
  static thread_local Block* kept = nullptr;
  if (!kept) {
    kept = new Block;
    kept->stacks = (char*)std::malloc(STACK * MOST);
    void* pages = mmap(nullptr, SHARED + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!kept->stacks || pages == MAP_FAILED) return 2;
    kept->shared_end = (u8*)pages + SHARED;
    if (mprotect(kept->shared_end, 4096, PROT_NONE) != 0) return 2;
  }
  if (shared_bytes > SHARED) return 2;
  block = kept;
  block->threads = (int)count;
  block->shared = block->shared_end - (shared_bytes + 15) / 16 * 16;
  block->entry = [](void* context) { (*(F*)context)(); };
  block->context = &function;
  gridDim = {grid[0], grid[1], grid[2]};
  blockDim = {threads[0], threads[1], 1};
  for (u32 z = 0; z < grid[2]; z++)
    for (u32 y = 0; y < grid[1]; y++)
      for (u32 x = 0; x < grid[0]; x++) {
        blockIdx = {x, y, z};
        std::memset(block->shared, 0xff, shared_bytes);
        if (int failed = run_block(turned)) return failed;
      }
  return 0;
}

template <class... A, size_t... I>
int unpack(void (*kernel)(A...), void** arguments, const u32* grid, const u32* threads, u32 shared_bytes, bool turned,
           std::index_sequence<I...>) {
  auto function = [&] { kernel(*(A*)arguments[I]...); };
  return launch(grid, threads, shared_bytes, turned, function);
}
template <class... A>
int call(void (*kernel)(A...), void** arguments, const u32* grid, const u32* threads, u32 shared_bytes, bool turned) {
  return unpack(kernel, arguments, grid, threads, shared_bytes, turned, std::index_sequence_for<A...>());
}
template <class... A>
u32 count_arguments(void (*)(A...)) {
  return sizeof...(A);
}

static int lane() { return block->current % 32; }
// Gives `count` words to the warp and returns where all lanes' words are.
static u32 (*give(Together does, const u32* words, int count))[WORDS] {
  Warp& warp = block->warps[block->current / 32];
  int turn = warp.turn[lane()];
  warp.turn[lane()] ^= 1;
  std::memcpy(warp.slots[turn][lane()], words, 4 * count);
  leave(WARP, does);
  return warp.slots[turn];
}
}  // namespace emulated

// What the compiler is told to export of a kernel.
#define EXPORT(name)                                                                                                     \
  extern "C" int run_##name(void** arguments, const u32* grid, const u32* threads, u32 shared_bytes, int turned) {       \
    return emulated::call(name, arguments, grid, threads, shared_bytes, turned != 0);                                    \
  }                                                                                                                      \
  extern "C" u32 arguments_##name() { return emulated::count_arguments(name); }

#define KERNEL(...) static void
#define DEVICE static inline
#define __shared__ static thread_local
#define __restrict__ __restrict
#define DYNAMIC_SHARED(name) u8* name = emulated::block->shared
#define __syncthreads() emulated::leave(emulated::BLOCK)

struct alignas(16) Sixteen {
  u32 x, y, z, w;
};

DEVICE float bits_to_float(u32 x) {
  float f;
  std::memcpy(&f, &x, 4);
  return f;
}
DEVICE u32 float_to_bits(float f) {
  u32 x;
  std::memcpy(&x, &f, 4);
  return x;
}
DEVICE float f32_of_f16(u16 h) {
  u32 sign = (u32)(h & 0x8000) << 16, exponent = (h >> 10) & 31, fraction = h & 1023;
  if (exponent == 31) return bits_to_float(sign | 0x7f800000 | fraction << 13);
  if (exponent == 0) {
    float f = std::ldexp((float)fraction, -24);
    return sign ? -f : f;
  }
  return bits_to_float(sign | (exponent + 112) << 23 | fraction << 13);
}
DEVICE u16 f16_of_f32(float f) {
  u32 x = float_to_bits(f), sign = (x >> 16) & 0x8000, magnitude = x & 0x7fffffff;
  if (magnitude > 0x7f800000) return (u16)(sign | 0x7e00);
  if (magnitude >= 0x477ff000) return (u16)(sign | 0x7c00);
  if (magnitude < 0x38800000) {
    // A step of a subnormal is 2^-24; nearbyint rounds to even.
    return (u16)(sign | (u32)std::nearbyint(std::ldexp((double)bits_to_float(magnitude), 24)));
  }
  u32 rounded = magnitude + 0xfff + ((magnitude >> 13) & 1);
  return (u16)(sign | ((rounded >> 13) - (112 << 10)));
}
DEVICE u16 round_to_bf16(float f) {
  u32 x = float_to_bits(f);
  if ((x & 0x7fffffff) > 0x7f800000) return 0x7fff;
  return (u16)((x + 0x7fff + ((x >> 16) & 1)) >> 16);
}
DEVICE u32 f16x2_of_f32(float low, float high) { return (u32)f16_of_f32(high) << 16 | f16_of_f32(low); }
DEVICE u32 bf16x2_of_f32(float low, float high) { return (u32)round_to_bf16(high) << 16 | round_to_bf16(low); }

DEVICE u32 fma_f16x2(u32 a, u32 b, u32 c) {
  auto half = [](u32 word, int which) { return (double)f32_of_f16((u16)(word >> (16 * which))); };
  float out[2];
  for (int i = 0; i < 2; i++) out[i] = (float)(half(a, i) * half(b, i) + half(c, i));
  return f16x2_of_f32(out[0], out[1]);
}
DEVICE float multiply_then_add(float a, float b, float c) {
  volatile float product = a * b;
  return product + c;
}

template <float (*widen)(u16), emulated::Together does>
static inline void emulated_mma(float (&c)[4], const u32 (&a)[4], const u32 (&b)[2]) {
  // Each lane widens what it holds, once for all that multiply by it: a pair is two words.
  u32 words[emulated::WORDS];
  for (int i = 0; i < 12; i++) {
    u32 pair = i < 8 ? a[i / 2] : b[(i - 8) / 2];
    words[i] = float_to_bits(widen((u16)(pair >> (16 * (i % 2)))));
  }
  auto all = emulated::give(does, words, 12);
  int g = emulated::lane() / 4, t = emulated::lane() % 4;
  float rows[2][16], columns[2][16];
  for (int k = 0; k < 16; k++) {
    int holder = k % 8 / 2, part = k / 8, half = k % 2;
    for (int i = 0; i < 2; i++) {
      rows[i][k] = bits_to_float(all[4 * g + holder][2 * (2 * part + i) + half]);
      columns[i][k] = bits_to_float(all[4 * (2 * t + i) + holder][8 + 2 * part + half]);
    }
  }
  for (int out = 0; out < 4; out++) {
    float sum = 0;
    for (int k = 0; k < 16; k++) sum += rows[out / 2][k] * columns[out % 2][k];
    c[out] += sum;
  }
}
static inline float emulated_bf16(u16 x) { return bits_to_float((u32)x << 16); }
DEVICE void mma_f16(float (&c)[4], const u32 (&a)[4], const u32 (&b)[2]) { emulated_mma<f32_of_f16, emulated::MMA_F16>(c, a, b); }
DEVICE void mma_bf16(float (&c)[4], const u32 (&a)[4], const u32 (&b)[2]) { emulated_mma<emulated_bf16, emulated::MMA_BF16>(c, a, b); }

static inline void emulated_ldmatrix(u32 (&r)[4], const void* row, bool turned) {
  if ((size_t)row % 16 != 0) std::abort();
  u32 words[2];
  std::memcpy(words, &row, 8);
  auto all = emulated::give(emulated::MATRIX, words, 2);
  int g = emulated::lane() / 4, t = emulated::lane() % 4;
  for (int matrix = 0; matrix < 4; matrix++) {
    u16 pair[2];
    for (int element = 0; element < 2; element++) {
      int from = turned ? 2 * t + element : g, at = turned ? g : 2 * t + element;
      const u16* source;
      std::memcpy(&source, all[8 * matrix + from], 8);
      pair[element] = source[at];
    }
    r[matrix] = (u32)pair[1] << 16 | pair[0];
  }
  // The rows may be written again as soon as all have read them.
  emulated::leave(emulated::WARP, emulated::MATRIX);
}
DEVICE void ldmatrix(u32 (&r)[4], const void* row) { emulated_ldmatrix(r, row, false); }
DEVICE void ldmatrix_trans(u32 (&r)[4], const void* row) { emulated_ldmatrix(r, row, true); }

// A copy may arrive at any time until it is waited for: it does so as late as it may, and what is read before is NaN.
DEVICE void copy_async(void* to, const void* from, bool valid) {
  if ((size_t)to % 16 != 0 || (valid && (size_t)from % 16 != 0)) std::abort();
  std::memset(to, 0xff, 16);
  emulated::block->copies[emulated::block->current].asked.push_back({to, from, valid});
}
DEVICE void copy_commit() {
  emulated::Copies& copies = emulated::block->copies[emulated::block->current];
  copies.ends.push_back(copies.asked.size());
}
template <int pending>
DEVICE void copy_wait() {
  emulated::Copies& copies = emulated::block->copies[emulated::block->current];
  if (copies.ends.size() <= pending) return;
  size_t groups = copies.ends.size() - pending, done = copies.ends[groups - 1];
  for (size_t i = 0; i < done; i++) {
    const emulated::Copy& copy = copies.asked[i];
    if (copy.valid)
      std::memcpy(copy.to, copy.from, 16);
    else
      std::memset(copy.to, 0, 16);
  }
  copies.asked.erase(copies.asked.begin(), copies.asked.begin() + done);
  copies.ends.erase(copies.ends.begin(), copies.ends.begin() + groups);
  for (size_t& end : copies.ends) end -= done;
}

DEVICE u32 shuffle(u32 x, int lane) { return emulated::give(emulated::SHUFFLE, &x, 1)[lane & 31][0]; }
DEVICE u32 shuffle_xor(u32 x, int mask) { return shuffle(x, emulated::lane() ^ mask); }
DEVICE float shuffle(float x, int lane) { return bits_to_float(shuffle(float_to_bits(x), lane)); }
DEVICE float shuffle_xor(float x, int mask) { return bits_to_float(shuffle_xor(float_to_bits(x), mask)); }
DEVICE void sync_warp() { emulated::leave(emulated::WARP); }
DEVICE float power_of_two(float x) { return std::exp2(x); }
static inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
using std::fmaxf;
using std::fminf;
template <class T>
static inline T min(T a, T b) {
  return a < b ? a : b;
}
template <class T>
static inline T max(T a, T b) {
  return a > b ? a : b;
}
