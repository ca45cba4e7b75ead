// Causal attention of many rows of a prompt, tile by tile through shared memory. See prompt.rs.

#define WARPS 4
#define WARP_ROWS (16 * ROW_TILES)
#define ROWS (WARPS * WARP_ROWS)
#define STEPS (HEAD_DIM / 16)
#define KEY_TILES (KEYS / 8)
#define VALUE_TILES (HEAD_DIM / 8)
// Halves from row to row: an odd number of sixteen bytes, so that eight rows lie on different banks.
#define HEAD_STRIDE (HEAD_DIM + 8)
#define VALUE_STRIDE (KEYS + 8)
#define STAGE (KEYS * HEAD_STRIDE + HEAD_DIM * VALUE_STRIDE)
// Whether queries stay in registers; else they are read again for every tile of keys.
#define KEPT (ROW_TILES * HEAD_DIM <= 128)
// What a band is counted in.
#define BAND_BLOCK 256

struct Tile {
  u64 own;       // where the tile's group of tokens is, if not in the sequence's pages
  u32 sequence;  // whose rows, or NO_SEQUENCE
  u32 first;     // the slot of the first row, a multiple of ROWS
};

// Keys and values of KEYS tokens on their way to a stage; zeros from `count` tokens on, by eights for values.
DEVICE void fetch(u16* stage, const u16* keys, const u16* values, int count) {
  for (int piece = threadIdx.x; piece < KEYS * VALUE_TILES; piece += 32 * WARPS) {
    int row = piece / VALUE_TILES, at = piece % VALUE_TILES * 8;
    copy_async(stage + row * HEAD_STRIDE + at, keys + row * HEAD_DIM + at, row < count);
  }
  stage += KEYS * HEAD_STRIDE;
  for (int piece = threadIdx.x; piece < HEAD_DIM * KEY_TILES; piece += 32 * WARPS) {
    int row = piece / KEY_TILES, at = piece % KEY_TILES * 8;
    copy_async(stage + row * VALUE_STRIDE + at, values + row * PAGE_TOKENS + at, at < count);
  }
}

KERNEL(32 * WARPS)
prompt(const u16* queries, const Sequence* sequences, const Tile* tiles, u16* high, u16* low, int kv_heads,
       int page_offset, int own_offset, int band, float scale) {
  DYNAMIC_SHARED(shared);
  u16* query_rows = (u16*)shared;                    // [ROWS][HEAD_STRIDE]
  u16* stages = query_rows + ROWS * HEAD_STRIDE;     // two of: keys [KEYS][HEAD_STRIDE], values [HEAD_DIM][VALUE_STRIDE]
  Tile tile = tiles[blockIdx.y];
  if (tile.sequence == NO_SEQUENCE) return;
  Sequence sequence = sequences[tile.sequence];
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;
  int heads = gridDim.x, head = blockIdx.x, kv_head = head / (heads / kv_heads);
  int start = sequence.start, length = start + sequence.rows, first = tile.first;
  long head_at = ((long)sequence.first_row - start) * heads + head;  // plus slot * heads
  int end = min(first + ROWS, length);
  int near = band >= 0 ? max(start - band, 0) / BAND_BLOCK * BAND_BLOCK : 0;
  long key_head = (long)kv_head * PAGE_TOKENS * HEAD_DIM;
  long value_head = (long)(kv_heads + kv_head) * PAGE_TOKENS * HEAD_DIM;

  auto fetch_tile = [&](int slot, int stage) {
    int group = slot / PAGE_TOKENS, within = slot % PAGE_TOKENS;
    bool is_own = tile.own && group == first / PAGE_TOKENS;
    const u16* page = (const u16*)(is_own ? tile.own + own_offset : sequence.pages[group] + page_offset);
    fetch(stages + stage * STAGE, page + key_head + within * HEAD_DIM, page + value_head + within, length - slot);
    copy_commit();
  };

  for (int piece = threadIdx.x; piece < ROWS * VALUE_TILES; piece += 32 * WARPS) {
    int row = piece / VALUE_TILES, at = piece % VALUE_TILES * 8, slot = first + row;
    bool held = slot >= start && slot < length;
    copy_async(query_rows + row * HEAD_STRIDE + at, queries + (head_at + (long)(held ? slot : start) * heads) * HEAD_DIM + at,
               held);
  }
  fetch_tile(0, 0);

  // The warp's rows, and whether any of them is one.
  int lowest = first + warp * WARP_ROWS, highest = lowest + WARP_ROWS - 1;
  bool works = highest >= start && lowest < length;
  const u16* left = left_row(query_rows + warp * WARP_ROWS * HEAD_STRIDE, HEAD_STRIDE, lane);
#if KEPT
  u32 q[ROW_TILES][STEPS][4];
#endif
  float out[ROW_TILES][VALUE_TILES][4] = {};
  float most[ROW_TILES][2], sum[ROW_TILES][2] = {};
  for (int r = 0; r < ROW_TILES; r++) most[r][0] = most[r][1] = NO_SCORE;

  int stage = 0;
  for (int slot = 0; slot < end;) {
    int next = slot + KEYS;
    if (next >= BAND_BLOCK && next < near) next = near;
    copy_wait<0>();
    __syncthreads();
    u16* keys = stages + stage * STAGE;
    u16* values = keys + KEYS * HEAD_STRIDE;
    stage ^= 1;
    if (next < end) fetch_tile(next, stage);
    if (slot + KEYS > length && length % 8) {
      // Behind the last token a page holds anything, and no weight makes a NaN nothing.
      for (int row = threadIdx.x; row < HEAD_DIM; row += 32 * WARPS)
        for (int at = length - slot; at % 8; at++) values[row * VALUE_STRIDE + at] = 0;
      __syncthreads();
    }
#if KEPT
    if (slot == 0)
      for (int r = 0; r < ROW_TILES; r++)
#pragma unroll
        for (int step = 0; step < STEPS; step++) ldmatrix(q[r][step], left + r * 16 * HEAD_STRIDE + 16 * step);
#endif
    if (works && slot <= highest) {
      float s[ROW_TILES][KEY_TILES][4] = {};
      const u16* right = right_row(keys, HEAD_STRIDE, lane);
#pragma unroll
      for (int step = 0; step < STEPS; step++) {
#if !KEPT
        u32 now[ROW_TILES][4];
#pragma unroll
        for (int r = 0; r < ROW_TILES; r++) ldmatrix(now[r], left + r * 16 * HEAD_STRIDE + 16 * step);
#endif
#pragma unroll
        for (int n = 0; n < KEY_TILES; n += 2) {
          u32 b[4];
          ldmatrix(b, right + 8 * n * HEAD_STRIDE + 16 * step);
          u32 b0[2] = {b[0], b[1]}, b1[2] = {b[2], b[3]};
#pragma unroll
          for (int r = 0; r < ROW_TILES; r++) {
#if KEPT
            mma_f16(s[r][n], q[r][step], b0);
            mma_f16(s[r][n + 1], q[r][step], b1);
#else
            mma_f16(s[r][n], now[r], b0);
            mma_f16(s[r][n + 1], now[r], b1);
#endif
          }
        }
      }
      if (slot + KEYS - 1 > lowest) {
#pragma unroll
        for (int r = 0; r < ROW_TILES; r++)
#pragma unroll
          for (int n = 0; n < KEY_TILES; n++)
#pragma unroll
            for (int c = 0; c < 4; c++)
              if (slot + 8 * n + 2 * t + c % 2 > lowest + 16 * r + g + c / 2 * 8) s[r][n][c] = NO_SCORE;
      }
      // Every row sees slot 0, which comes first: from then on its largest score is one.
#pragma unroll
      for (int r = 0; r < ROW_TILES; r++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
          float largest = most[r][half];
#pragma unroll
          for (int n = 0; n < KEY_TILES; n++)
            largest = fmaxf(largest, fmaxf(s[r][n][2 * half], s[r][n][2 * half + 1]));
          largest = fmaxf(largest, shuffle_xor(largest, 1));
          largest = fmaxf(largest, shuffle_xor(largest, 2));
          float base = largest * scale, kept = power_of_two(most[r][half] * scale - base);
          most[r][half] = largest;
          float all = 0.0f;
#pragma unroll
          for (int n = 0; n < KEY_TILES; n++)
#pragma unroll
            for (int c = 2 * half; c < 2 * half + 2; c++) {
              s[r][n][c] = power_of_two(s[r][n][c] * scale - base);
              all += s[r][n][c];
            }
          sum[r][half] = sum[r][half] * kept + all;
#pragma unroll
          for (int n = 0; n < VALUE_TILES; n++) out[r][n][2 * half] *= kept, out[r][n][2 * half + 1] *= kept;
        }
      right = right_row(values, VALUE_STRIDE, lane);
#pragma unroll
      for (int step = 0; step < KEYS / 16; step++) {
        u32 weights[ROW_TILES][4];
#pragma unroll
        for (int r = 0; r < ROW_TILES; r++)
#pragma unroll
          for (int part = 0; part < 4; part++) {
            float(&x)[4] = s[r][2 * step + part / 2];
            weights[r][part] = f16x2_of_f32(x[part % 2 * 2], x[part % 2 * 2 + 1]);
          }
#pragma unroll
        for (int n = 0; n < VALUE_TILES; n += 2) {
          u32 b[4];
          ldmatrix(b, right + 8 * n * VALUE_STRIDE + 16 * step);
          u32 b0[2] = {b[0], b[1]}, b1[2] = {b[2], b[3]};
#pragma unroll
          for (int r = 0; r < ROW_TILES; r++) {
            mma_f16(out[r][n], weights[r], b0);
            mma_f16(out[r][n + 1], weights[r], b1);
          }
        }
      }
    }
    slot = next;
  }

#pragma unroll
  for (int r = 0; r < ROW_TILES; r++)
#pragma unroll
    for (int half = 0; half < 2; half++) {
      float all = sum[r][half];
      all += shuffle_xor(all, 1);
      all += shuffle_xor(all, 2);
      int slot = lowest + 16 * r + g + 8 * half;
      if (slot < start || slot >= length) continue;
      float share = 1.0f / all;
      long at = (head_at + (long)slot * heads) * HEAD_DIM + 2 * t;
#pragma unroll
      for (int n = 0; n < VALUE_TILES; n++)
        put_two_parts(out[r][n][2 * half] * share, out[r][n][2 * half + 1] * share, high, low, at + 8 * n);
    }
}
