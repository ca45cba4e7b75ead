// How much a window of queries attends to every key: two passes over the keys, nothing kept of their product. See tap.rs.

#define WARPS 4
// Rows of the window that a block of the first pass takes.
#define SLICE 256

// A sixteen of the window's rows of one head.
struct Rows {
  u32 high[STEPS][4];
#if PARTS == 2
  u32 low[STEPS][4];
#endif
};

DEVICE void load_rows(Rows& to, const u16* high, const u16* low, int row, int window, int heads, int head, int g, int t) {
  // A window is small enough for an int.
  int upper = ((row + g) * heads + head) * HEAD_DIM, lower = upper + 8 * heads * HEAD_DIM;
  bool has_upper = row + g < window, has_lower = row + g + 8 < window;
  load_queries(to.high, has_upper ? high + upper : (const u16*)0, has_lower ? high + lower : (const u16*)0, t);
#if PARTS == 2
  load_queries(to.low, has_upper ? low + upper : (const u16*)0, has_lower ? low + lower : (const u16*)0, t);
#endif
}

// Their scores with a chunk as powers of two. Row r of the window sees slots up to seen + r.
DEVICE void scores_of(float (&s)[4][4], const Rows& rows, const u32 (&keys)[4][STEPS][2], float scale, int slot, int seen,
                      int g, int t) {
#pragma unroll
  for (int i = 0; i < 4; i++)
#pragma unroll
    for (int c = 0; c < 4; c++) s[i][c] = 0.0f;
#if PARTS == 2
  add_scores(s, rows.low, keys);
#endif
  add_scores(s, rows.high, keys);
#pragma unroll
  for (int i = 0; i < 4; i++)
#pragma unroll
    for (int c = 0; c < 4; c++)
      s[i][c] = slot + 8 * t + 2 * i + c % 2 <= seen + g + c / 2 * 8 ? s[i][c] * scale : NO_SCORE;
}

DEVICE const u16* chunk_keys(const Sequence& sequence, u32 chunk, int page_offset, int kv_head) {
  const u16* page = (const u16*)(sequence.pages[chunk / (PAGE_TOKENS / CHUNK)] + page_offset);
  return page + ((long)kv_head * PAGE_TOKENS + chunk % (PAGE_TOKENS / CHUNK) * CHUNK) * HEAD_DIM;
}

// The first pass: largest score and sum of each row of a head over a split of the keys.
KERNEL(32 * WARPS)
tap_sums(const u16* high, const u16* low, const u32* chosen, const Sequence* sequences, float* extents, int heads,
         int kv_heads, int window, int page_offset, float scale) {
  DYNAMIC_SHARED(shared);
  // [WARPS][SLICE][4][2]: each lane's own of its warp's rows, so that lanes need not meet until the end.
  float* states = (float*)shared;
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;
  int head = chosen[blockIdx.y], first = blockIdx.z * SLICE, count = min(window - first, SLICE);
  Sequence sequence = sequences[0];
  u32 length = sequence.start + sequence.rows, splits = gridDim.x;
  u32 chunks = (length + CHUNK - 1) / CHUNK, share = (chunks + splits - 1) / splits;
  u32 begin = blockIdx.x * share, end = min(begin + share, chunks);
#define STATE(w, row, part) (states + 2 * (((w) * SLICE + (row)) * 4 + (part)))
  for (int row = 0; row < SLICE; row += 8) {
    float* state = STATE(warp, row + g, t);
    state[0] = NO_SCORE, state[1] = 0.0f;
  }
  for (u32 chunk = begin + warp; chunk < end; chunk += WARPS) {
    u32 keys[4][STEPS][2];
    load_keys(keys, chunk_keys(sequence, chunk, page_offset, head / (heads / kv_heads)), g, t);
    for (int row = 0; row < count; row += 16) {
      Rows rows;
      load_rows(rows, high, low, first + row, window, heads, head, g, t);
      float s[4][4];
      scores_of(s, rows, keys, scale, chunk * CHUNK, (int)length - window + first + row, g, t);
#pragma unroll
      for (int half = 0; half < 2; half++) {
        float* state = STATE(warp, row + g + 8 * half, t);
        float most = state[0], largest = most;
#pragma unroll
        for (int i = 0; i < 4; i++) largest = fmaxf(largest, fmaxf(s[i][2 * half], s[i][2 * half + 1]));
        // A row that has seen nothing yet sums up anything: its largest score says that it counts for nothing.
        float sum = state[1] * power_of_two(most - largest);
#pragma unroll
        for (int i = 0; i < 4; i++) sum += power_of_two(s[i][2 * half] - largest) + power_of_two(s[i][2 * half + 1] - largest);
        state[0] = largest, state[1] = sum;
      }
    }
  }
  __syncthreads();
  for (int row = threadIdx.x; row < count; row += 32 * WARPS) {
    float largest = NO_SCORE, sum = 0.0f;
    for (int part = 0; part < 4 * WARPS; part++) largest = fmaxf(largest, STATE(part / 4, row, part % 4)[0]);
    for (int part = 0; part < 4 * WARPS; part++) {
      float* state = STATE(part / 4, row, part % 4);
      sum += state[1] * power_of_two(state[0] - largest);
    }
    long at = ((long)blockIdx.y * window + first + row) * splits + blockIdx.x;
    extents[2 * at] = largest, extents[2 * at + 1] = sum;
  }
}

// Joins the splits: a row's log-sum-exp, in powers of two. A warp a row.
KERNEL(32 * WARPS) tap_norms(const float* extents, float* norms, int rows, int splits) {
  int lane = threadIdx.x % 32, row = blockIdx.x * WARPS + threadIdx.x / 32;
  if (row >= rows) return;
  extents += 2L * row * splits;
  float largest = NO_SCORE, sum = 0.0f;
  for (int split = lane; split < splits; split += 32) largest = fmaxf(largest, extents[2 * split]);
  largest = warp_most(largest);
  for (int split = lane; split < splits; split += 32)
    sum += extents[2 * split + 1] * power_of_two(extents[2 * split] - largest);
  sum = warp_sum(sum);
  if (lane == 0) norms[row] = largest + log2f(sum);
}

// The second pass: every key's largest share, or sum of shares, over a head's rows. A block takes a page, a warp a chunk.
KERNEL(32 * WARPS)
tap_shares(const u16* high, const u16* low, const u32* chosen, const u32* places, const Sequence* sequences,
           const float* norms, float* shares, int heads, int kv_heads, int window, int page_offset, int stride,
           int weighted, float scale) {
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;
  int head = chosen[blockIdx.y];
  Sequence sequence = sequences[0];
  int length = sequence.start + sequence.rows, slot = (blockIdx.x * WARPS + warp) * CHUNK;
  if (slot >= length) return;
  u32 keys[4][STEPS][2];
  load_keys(keys, chunk_keys(sequence, slot / CHUNK, page_offset, head / (heads / kv_heads)), g, t);
  norms += (long)blockIdx.y * window;
  float step = weighted && window > 1 ? 1.0f / (window - 1) : 0.0f;
  float best[4][2] = {};
  for (int row = 0; row < window; row += 16) {
    Rows rows;
    load_rows(rows, high, low, row, window, heads, head, g, t);
    float s[4][4];
    scores_of(s, rows, keys, scale, slot, length - window + row, g, t);
#pragma unroll
    for (int half = 0; half < 2; half++) {
      int at = row + g + 8 * half;
      if (at >= window) continue;
      float norm = norms[at], weight = step > 0.0f ? at * step : 1.0f;
#pragma unroll
      for (int i = 0; i < 4; i++)
#pragma unroll
        for (int c = 0; c < 2; c++) {
          float x = power_of_two(s[i][2 * half + c] - norm) * weight;
          best[i][c] = SUM ? best[i][c] + x : fmaxf(best[i][c], x);
        }
    }
  }
  float* to = shares + (long)(places ? places[blockIdx.y] : blockIdx.y) * stride;
#pragma unroll
  for (int i = 0; i < 4; i++)
#pragma unroll
    for (int c = 0; c < 2; c++) {
      float x = best[i][c];
#pragma unroll
      for (int mask = 4; mask < 32; mask *= 2) {
        float other = shuffle_xor(x, mask);
        x = SUM ? x + other : fmaxf(x, other);
      }
      int at = slot + 8 * t + 2 * i + c;
      if (g == 2 * i + c && at < length) to[at] = x;
    }
}

// Heads' shares joined, and with what earlier layers left.
KERNEL(256) tap_pool(const float* shares, const Sequence* sequences, float* scores, int chosen, int stride) {
  int at = blockIdx.x * 256 + threadIdx.x;
  if (at >= (int)(sequences[0].start + sequences[0].rows)) return;
  float all = 0.0f;
  for (int head = 0; head < chosen; head++) {
    float x = shares[(long)head * stride + at];
    all = SUM ? all + x : fmaxf(all, x);
  }
  scores[at] = SUM ? scores[at] + all : fmaxf(scores[at], all);
}
