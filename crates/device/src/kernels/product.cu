// Products of few rows with packed weights, and weights unpacked. See product.rs.

#define GROUP 32
// Weights of one row that a lane takes at a time are a group; four lanes of a row take 128 neighbours.
#define CHUNK 128
#define WARPS 8
// Rows of the weights in one matrix instruction.
#define ROWS 8
// Rows of the input in one.
#define TOKENS 16

enum Scales { DENSE, HALF, HALF_MIN, SUPER_MIN, SUPER_16 };

// A packed matrix, as `product::Matrix` lays it out.
struct Matrix {
  const u8* low;       // dense halves, or low bits: nibbles in order, or bytes
  const u8* high;      // fifth bits (4 bytes a group), or fifth and sixth (8 bytes)
  const u32* scales;   // two f16 a group or a super-block
  const u8* factors;   // two bytes a group
  int rows, cols;
  int bits, kind;
  float offset;        // what codes are too large by
  int unused;
};

struct Job {
  const Matrix* matrix;
  const float* bias;   // none where there is none
  float* out;
  int stride;          // of `out`, in floats
  int first;           // its first block
  int add;             // whether it is added to what is there
  int unused;
};

#if BF16
DEVICE u32 pack_halves(float a, float b) { return bf16x2_of_f32(a, b); }
DEVICE void multiply_add(float (&c)[4], const u32 (&a)[4], const u32 (&b)[2]) { mma_bf16(c, a, b); }
DEVICE float widen(u16 x) { return f32_of_bf16(x); }
#else
DEVICE u32 pack_halves(float a, float b) { return f16x2_of_f32(a, b); }
DEVICE void multiply_add(float (&c)[4], const u32 (&a)[4], const u32 (&b)[2]) { mma_f16(c, a, b); }
DEVICE float widen(u16 x) { return f32_of_f16(x); }
#endif

// An integer below 2^23 as a float, without the slow conversion.
DEVICE float small_float(u32 code) { return bits_to_float(0x4b000000u | code) - 8388608.0f; }

// What makes weights of codes: scale * code + least, the scale of the group's halves.
struct Factors {
  float scale[2];
  float least[2];
};

DEVICE Factors factors_of(const Matrix& m, long group) {
  Factors f;
  if (m.kind == HALF || m.kind == HALF_MIN) {
    u32 pair = m.scales[group];
    float scale = low_f16(pair);
    f.scale[0] = f.scale[1] = scale;
    f.least[0] = f.least[1] = m.kind == HALF ? -m.offset * scale : high_f16(pair);
    return f;
  }
  // A row is whole super-blocks, so that group / 8 counts them over all rows.
  u32 pair = m.scales[group / 8];
  u8 first = m.factors[2 * group], second = m.factors[2 * group + 1];
  if (m.kind == SUPER_MIN) {
    f.scale[0] = f.scale[1] = low_f16(pair) * (float)first;
    f.least[0] = f.least[1] = -high_f16(pair) * (float)second;
  } else {
    f.scale[0] = low_f16(pair) * (float)(i8)first;
    f.scale[1] = low_f16(pair) * (float)(i8)second;
    f.least[0] = -m.offset * f.scale[0];
    f.least[1] = -m.offset * f.scale[1];
  }
  return f;
}

// A group of 32 weights of a row, as 16 pairs of halves.
DEVICE void weights_of(const Matrix& m, long group, u32 (&pairs)[16]) {
  if (m.kind == DENSE) {
    const u8* at = m.low + group * 2 * GROUP;
    for (int piece = 0; piece < 4; piece++) {
      Sixteen x = load16(at + 16 * piece);
      pairs[4 * piece] = x.x;
      pairs[4 * piece + 1] = x.y;
      pairs[4 * piece + 2] = x.z;
      pairs[4 * piece + 3] = x.w;
    }
    return;
  }
  Factors f = factors_of(m, group);
  if (m.bits == 8) {
    const u8* at = m.low + group * GROUP;
    for (int half = 0; half < 2; half++) {
      Sixteen x = load16(at + 16 * half);
      u32 words[4] = {x.x, x.y, x.z, x.w};
      for (int word = 0; word < 4; word++) {
        float w[4];
        for (int k = 0; k < 4; k++) w[k] = small_float(words[word] >> (8 * k) & 0xff) * f.scale[half] + f.least[half];
        pairs[8 * half + 2 * word] = pack_halves(w[0], w[1]);
        pairs[8 * half + 2 * word + 1] = pack_halves(w[2], w[3]);
      }
    }
    return;
  }
  Sixteen x = load16(m.low + group * 16);
  u32 words[4] = {x.x, x.y, x.z, x.w};
  u32 high[2] = {0, 0};
  int high_bits = m.bits - 4;
  if (high_bits == 1) high[0] = ((const u32*)m.high)[group];
  if (high_bits == 2) {
    high[0] = ((const u32*)m.high)[2 * group];
    high[1] = ((const u32*)m.high)[2 * group + 1];
  }
  for (int word = 0; word < 4; word++) {
    float scale = f.scale[word / 2], least = f.least[word / 2];
    float w[8];
    for (int k = 0; k < 8; k++) {
      u32 code = words[word] >> (4 * k) & 0xf;
      if (high_bits == 1) code |= (high[0] >> (8 * word + k) & 1) << 4;
      if (high_bits == 2) code |= (high[word / 2] >> (16 * (word % 2) + 2 * k) & 3) << 4;
      w[k] = small_float(code) * scale + least;
    }
    for (int pair = 0; pair < 4; pair++) pairs[4 * word + pair] = pack_halves(w[2 * pair], w[2 * pair + 1]);
  }
}

// Thirty-two neighbours of one row of the input, as pairs; zeros where there is no such row.
DEVICE void input_of(const u16* rows, long at, bool valid, u32 (&pairs)[16]) {
  for (int piece = 0; piece < 4; piece++) {
    Sixteen x = {0, 0, 0, 0};
    if (valid) x = load16(rows + at + 8 * piece);
    pairs[4 * piece] = x.x;
    pairs[4 * piece + 1] = x.y;
    pairs[4 * piece + 2] = x.z;
    pairs[4 * piece + 3] = x.w;
  }
}

// out[token][row] = sum over k of (high + low)[token][k] * weight[row][k]. A block takes TILES * 8 rows and 16 tokens, its
// warps share the depth. Each lane takes 32 neighbours of k at a time, of its row and of its tokens alike: the order in which
// the matrix instruction adds does not matter as long as both sides agree.
KERNEL(256) product(const Job* jobs, int count, const u16* high, const u16* low, int first, int tokens) {
  __shared__ float sums[WARPS][TILES][ROWS * TOKENS];
  int index = 0;
  while (index + 1 < count && (int)blockIdx.y >= jobs[index + 1].first) index++;
  const Job job = jobs[index];
  const Matrix m = *job.matrix;
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;
  int first_row = ((int)blockIdx.y - job.first) * ROWS * TILES;
  int first_token = first + blockIdx.x * TOKENS;
  int groups = m.cols / GROUP;
  bool upper = first_token + g < tokens, lower = first_token + g + 8 < tokens;
  float c[TILES][4];
  for (int tile = 0; tile < TILES; tile++)
    for (int i = 0; i < 4; i++) c[tile][i] = 0.0f;
  for (int chunk = warp; chunk * CHUNK < m.cols; chunk += WARPS) {
    int group = chunk * (CHUNK / GROUP) + t;
    bool inside = group < groups;
    u32 w[TILES][16];
#pragma unroll
    for (int tile = 0; tile < TILES; tile++) {
      int row = min(first_row + tile * ROWS + g, m.rows - 1);
      if (inside) {
        weights_of(m, (long)row * groups + group, w[tile]);
      } else {
        for (int i = 0; i < 16; i++) w[tile][i] = 0;
      }
    }
    long at = (long)(first_token + g) * m.cols + (long)group * GROUP;
#pragma unroll
    for (int part = 0; part < 2; part++) {
      const u16* rows = part == 0 ? high : low;
      u32 x[16], y[16];
      input_of(rows, at, inside && upper, x);
      input_of(rows, at + 8l * m.cols, inside && lower, y);
#pragma unroll
      for (int step = 0; step < 8; step++) {
        u32 a[4] = {x[2 * step], y[2 * step], x[2 * step + 1], y[2 * step + 1]};
#pragma unroll
        for (int tile = 0; tile < TILES; tile++) {
          u32 b[2] = {w[tile][2 * step], w[tile][2 * step + 1]};
          multiply_add(c[tile], a, b);
        }
      }
    }
  }
  for (int tile = 0; tile < TILES; tile++) {
    float* to = sums[warp][tile];
    to[g * ROWS + 2 * t] = c[tile][0];
    to[g * ROWS + 2 * t + 1] = c[tile][1];
    to[(g + 8) * ROWS + 2 * t] = c[tile][2];
    to[(g + 8) * ROWS + 2 * t + 1] = c[tile][3];
  }
  __syncthreads();
  for (int i = threadIdx.x; i < TILES * ROWS * TOKENS; i += 256) {
    int tile = i / (ROWS * TOKENS), within = i % (ROWS * TOKENS);
    int token = first_token + within / ROWS, row = first_row + tile * ROWS + within % ROWS;
    if (token >= tokens || row >= m.rows) continue;
    float sum = job.bias ? job.bias[row] : 0.0f;
    for (int other = 0; other < WARPS; other++) sum += sums[other][tile][within];
    float* to = job.out + (long)token * job.stride + row;
    *to = job.add ? *to + sum : sum;
  }
}

// Rows of a matrix by number, as floats: `out[i] = matrix[numbers[i]]`.
KERNEL(256) embed(const Matrix* matrix, const u32* numbers, float* out) {
  const Matrix m = *matrix;
  int groups = m.cols / GROUP;
  long row = numbers[blockIdx.x];
  for (int group = threadIdx.x; group < groups; group += 256) {
    float* to = out + (long)blockIdx.x * m.cols + group * GROUP;
    u32 pairs[16];
    weights_of(m, row * groups + group, pairs);
    for (int i = 0; i < 16; i++) {
      to[2 * i] = widen((u16)(pairs[i] & 0xffff));
      to[2 * i + 1] = widen((u16)(pairs[i] >> 16));
    }
  }
}

// All of a matrix as halves, for products of many rows.
KERNEL(256) unpack(const Matrix* matrix, u16* out) {
  const Matrix m = *matrix;
  long groups = (long)m.rows * (m.cols / GROUP);
  long group = (long)blockIdx.x * 256 + threadIdx.x;
  if (group >= groups) return;
  u32 pairs[16];
  weights_of(m, group, pairs);
  for (int piece = 0; piece < 4; piece++)
    store16(out + group * GROUP + 8 * piece,
            Sixteen{pairs[4 * piece], pairs[4 * piece + 1], pairs[4 * piece + 2], pairs[4 * piece + 3]});
}

// Adds a row of floats to each of many.
KERNEL(256) add_bias(const float* bias, float* rows, int width, int stride) {
  int i = blockIdx.x * 256 + threadIdx.x;
  if (i < width) rows[(long)blockIdx.y * stride + i] += bias[i];
}
