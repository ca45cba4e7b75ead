// Products of few rows with packed weights. See product.rs.

// Weights of one row that a lane takes at a time are a group; four lanes of a row take 128 neighbours.
#define CHUNK 128
#define WARPS 8
// Rows of the weights in one matrix instruction.
#define ROWS 8
// Rows of the input in one.
#define TOKENS 16

struct Job {
  const Matrix* matrix;
  const float* bias;   // none where there is none
  float* out;
  int stride;          // of `out`, in floats
  int first;           // its first tile of rows, a multiple of what a block takes
  int add;             // whether it is added to what is there
  int unused;
};

// Sixteen neighbours of one row of the input, as pairs; zeros where there is no such row.
DEVICE void input_of(const u16* rows, u32 at, bool valid, u32 (&pairs)[8]) {
  for (int piece = 0; piece < 2; piece++) {
    Sixteen x = {0, 0, 0, 0};
    if (valid) x = load16(rows + at + 8 * piece);
    pairs[4 * piece] = x.x;
    pairs[4 * piece + 1] = x.y;
    pairs[4 * piece + 2] = x.z;
    pairs[4 * piece + 3] = x.w;
  }
}

// What a multiprocessor is to have room for. Weights and sums alone are so many registers of a thread; where they leave
// enough of 128, two blocks hide each other's waiting, and else one has them all. Of the largest the compiler makes more by
// itself: told that it may have all registers, it brings in so much early that some are spilled.
#define HELD (16 * TILES + 4 * TILES * TOKEN_TILES)
#if HELD <= 48
#define BOUNDS 256, 2
#elif HELD <= 80
#define BOUNDS 256, 1
#else
#define BOUNDS 256
#endif

// out[token][row] = sum over k of (high + low)[token][k] * weight[row][k]. A block takes TILES * 8 rows and
// TOKEN_TILES * 16 tokens, its warps share the depth. Each lane takes 32 neighbours of k at a time, of its row and of its
// tokens alike: the order in which the matrix instruction adds does not matter as long as both sides agree. A token's sums
// go in one order whatever the number of tiles: by chunks, in each the high halves and then the low ones, then by warps.
KERNEL(BOUNDS) product(const Job* jobs, int count, const u16* high, const u16* low, int first, int tokens) {
  __shared__ float sums[WARPS][TILES][ROWS * TOKENS];
  int first_tile = blockIdx.y * TILES, index = 0;
  while (index + 1 < count && first_tile >= jobs[index + 1].first) index++;
  const Job job = jobs[index];
  const Matrix m = *job.matrix;
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;
  int first_row = (first_tile - job.first) * ROWS;
  // Jobs begin at multiples of the most tiles that a block may take, and may end before.
  if (first_row >= m.rows) return;
  int first_token = first + blockIdx.x * TOKENS * TOKEN_TILES;
  int groups = m.cols / GROUP;
  float c[TOKEN_TILES][TILES][4] = {};
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
#pragma unroll
    for (int tokens_of = 0; tokens_of < TOKEN_TILES; tokens_of++) {
      int token = first_token + tokens_of * TOKENS;
      if (token >= tokens) break;
      // Rows of a pass are few enough for 32 bits.
      u32 at = (u32)(token + g) * m.cols + group * GROUP;
      bool upper = inside && token + g < tokens, lower = inside && token + g + 8 < tokens;
#pragma unroll
      for (int part = 0; part < 2; part++) {
        const u16* rows = part == 0 ? high : low;
#pragma unroll
        for (int piece = 0; piece < 2; piece++) {
          u32 x[8], y[8];
          input_of(rows, at + 16 * piece, upper, x);
          input_of(rows, at + 8 * m.cols + 16 * piece, lower, y);
#pragma unroll
          for (int step = 0; step < 4; step++) {
            u32 a[4] = {x[2 * step], y[2 * step], x[2 * step + 1], y[2 * step + 1]};
#pragma unroll
            for (int tile = 0; tile < TILES; tile++) {
              u32 b[2] = {w[tile][8 * piece + 2 * step], w[tile][8 * piece + 2 * step + 1]};
              multiply_add(c[tokens_of][tile], a, b);
            }
          }
        }
      }
    }
  }
#pragma unroll
  for (int tokens_of = 0; tokens_of < TOKEN_TILES; tokens_of++) {
    int from = first_token + tokens_of * TOKENS;
    if (from >= tokens) break;
    // The sums of the tokens before were read.
    if (tokens_of > 0) __syncthreads();
#pragma unroll
    for (int tile = 0; tile < TILES; tile++) {
      float* to = sums[warp][tile];
      to[g * ROWS + 2 * t] = c[tokens_of][tile][0];
      to[g * ROWS + 2 * t + 1] = c[tokens_of][tile][1];
      to[(g + 8) * ROWS + 2 * t] = c[tokens_of][tile][2];
      to[(g + 8) * ROWS + 2 * t + 1] = c[tokens_of][tile][3];
    }
    __syncthreads();
    for (int i = threadIdx.x; i < TILES * ROWS * TOKENS; i += 256) {
      int tile = i / (ROWS * TOKENS), within = i % (ROWS * TOKENS);
      int token = from + within / ROWS, row = first_row + tile * ROWS + within % ROWS;
      if (token >= tokens || row >= m.rows) continue;
      float sum = job.bias ? job.bias[row] : 0.0f;
      for (int other = 0; other < WARPS; other++) sum += sums[other][tile][within];
      float* to = job.out + (long)token * job.stride + row;
      *to = job.add ? *to + sum : sum;
    }
  }
}
