// What all kernels share: half floats, matrix instructions, copies into shared memory, warp sums.
//
// Compiled three times over: by NVRTC for a GPU, and as C++ behind emulated.h, which gives the same names. Nothing
// here or in a kernel includes a header of the toolkit, so that NVRTC needs none on the user's machine.

#ifndef EMULATED
typedef unsigned char u8;
typedef signed char i8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

// Threads of a block, and how many blocks a multiprocessor must have registers for.
#define KERNEL(...) extern "C" __global__ void __launch_bounds__(__VA_ARGS__)
#define DEVICE static __device__ __forceinline__
// The launch's own shared memory, as bytes aligned to 16.
#define DYNAMIC_SHARED(name) extern __shared__ __align__(16) u8 name[]

DEVICE float f32_of_f16(u16 x) {
  float f;
  asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(x));
  return f;
}
DEVICE u16 f16_of_f32(float x) {
  u16 h;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(x));
  return h;
}
// Two halves in one register, the first in the low bits.
DEVICE u32 f16x2_of_f32(float low, float high) {
  u32 h;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(h) : "f"(high), "f"(low));
  return h;
}
// Two halves at once: a * b + c, rounded once.
DEVICE u32 fma_f16x2(u32 a, u32 b, u32 c) {
  u32 d;
  asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
  return d;
}
// a * b + c, rounded twice: what a processor without fused instructions computes.
DEVICE float multiply_then_add(float a, float b, float c) { return __fadd_rn(__fmul_rn(a, b), c); }
DEVICE u32 bf16x2_of_f32(float low, float high) {
  u32 h;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(h) : "f"(high), "f"(low));
  return h;
}
// c += a * b, one warp: a 16x16 by rows, b 16x8 by columns, c 16x8. With g = lane / 4 and t = lane % 4 a lane holds
// a: (g, 2t..), (g + 8, 2t..), (g, 2t + 8..), (g + 8, 2t + 8..); b: (2t.., g), (2t + 8.., g); c: (g, 2t..), (g + 8, 2t..).
DEVICE void mma_f16(float (&c)[4], const u32 (&a)[4], const u32 (&b)[2]) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
DEVICE void mma_bf16(float (&c)[4], const u32 (&a)[4], const u32 (&b)[2]) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
// Four 8x8 matrices of halves from shared memory; lane l names row l % 8 of matrix l / 8, 16 bytes, aligned. A lane gets
// of each matrix row lane / 4, elements 2 * (lane % 4)..; with `_trans` those of the matrix turned over.
DEVICE void ldmatrix(u32 (&r)[4], const void* row) {
  u32 at = (u32)__cvta_generic_to_shared(row);
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(at)
               : "memory");
}
DEVICE void ldmatrix_trans(u32 (&r)[4], const void* row) {
  u32 at = (u32)__cvta_generic_to_shared(row);
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(at)
               : "memory");
}
// Sixteen bytes from global to shared memory behind the warp's back; zeros where `valid` is false.
DEVICE void copy_async(void* to, const void* from, bool valid) {
  u32 at = (u32)__cvta_generic_to_shared(to);
  int bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(from), "r"(bytes) : "memory");
}
DEVICE void copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits until at most `pending` groups of this thread's copies are still under way; a barrier must follow.
template <int pending>
DEVICE void copy_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}
DEVICE float shuffle_xor(float x, int mask) { return __shfl_xor_sync(0xffffffffu, x, mask); }
DEVICE u32 shuffle_xor(u32 x, int mask) { return __shfl_xor_sync(0xffffffffu, x, mask); }
DEVICE float shuffle(float x, int lane) { return __shfl_sync(0xffffffffu, x, lane); }
DEVICE u32 shuffle(u32 x, int lane) { return __shfl_sync(0xffffffffu, x, lane); }
DEVICE void sync_warp() { __syncwarp(); }
DEVICE float power_of_two(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
DEVICE float bits_to_float(u32 x) { return __uint_as_float(x); }
DEVICE u32 float_to_bits(float x) { return __float_as_uint(x); }
struct alignas(16) Sixteen {
  u32 x, y, z, w;
};
#endif

DEVICE float f32_of_bf16(u16 x) { return bits_to_float((u32)x << 16); }
DEVICE u16 bf16_of_f32(float x) { return (u16)(bf16x2_of_f32(x, 0.0f) & 0xffff); }
DEVICE float low_f16(u32 pair) { return f32_of_f16((u16)(pair & 0xffff)); }
DEVICE float high_f16(u32 pair) { return f32_of_f16((u16)(pair >> 16)); }
// Halves hold no more than this; what is larger is kept at it rather than become infinite.
#define LARGEST_F16 65504.0f
DEVICE float within_f16(float x) { return fminf(fmaxf(x, -LARGEST_F16), LARGEST_F16); }

DEVICE float warp_sum(float x) {
  for (int mask = 16; mask > 0; mask /= 2) x += shuffle_xor(x, mask);
  return x;
}
DEVICE float warp_most(float x) {
  for (int mask = 16; mask > 0; mask /= 2) x = fmaxf(x, shuffle_xor(x, mask));
  return x;
}
// Sixteen bytes at an aligned address.
DEVICE Sixteen load16(const void* from) { return *(const Sixteen*)from; }
DEVICE void store16(void* to, Sixteen x) { *(Sixteen*)to = x; }
// What a lane names to `ldmatrix` of 16x16 halves, so that it gets the left side of a product, or the right sides of two,
// whose columns lie as rows.
DEVICE const u16* left_row(const u16* rows, int stride, int lane) {
  return rows + (lane / 8 % 2 * 8 + lane % 8) * stride + lane / 16 * 8;
}
DEVICE const u16* right_row(const u16* rows, int stride, int lane) {
  return rows + (lane / 16 * 8 + lane % 8) * stride + lane / 8 % 2 * 8;
}

#define LOG2_E 1.4426950408889634f
#define NO_SCORE (-1e30f)

// Tokens of a page of a cache, and of a group of codes.
#define PAGE_TOKENS 128

// A sequence of a step, as `kernels::Sequence` lays it out.
struct Sequence {
  const u64* pages;  // addresses of its pages, by slot / PAGE_TOKENS
  u8* open;          // its open page, for caches of codes
  u32 first_row;     // its first row among the step's
  u32 rows;          // its rows in the step
  u32 start;         // tokens it held before: the slot of its first row
  u32 skipped;       // position less slot
};
// What stands for a sequence where a row or a tile is none's: launches are as large as a step may be.
#define NO_SEQUENCE 0xffffffffu
