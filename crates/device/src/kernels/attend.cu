// Attention of the few newest rows of each sequence to all that is cached, split along the context. See attend.rs.

#define WARPS 4
#define TILE 16
#define VALUE_TILES (HEAD_DIM / 8)
// Tiles of values asked for before the softmax, so that they are on their way meanwhile.
#define EARLY (VALUE_TILES < 8 ? VALUE_TILES : 8)
// Whether queries leave their registers to keys and values on their way, and are read from shared memory again and again.
#define QUERIES_SHARED (HEAD_DIM >= 96)
#define QUERY_STRIDE (HEAD_DIM + 8)
// Floats of a row in shared memory: eight rows on different banks.
#define STRIDE (HEAD_DIM + 8)

DEVICE float worth(float most, float of) { return power_of_two(most - of); }

// A block takes a split of a sequence's context, a KV head, and up to sixteen pairs of row and query head.
KERNEL(32 * WARPS)
attend(const u16* queries, const Sequence* sequences, float* extents, float* partial, int kv_heads, int page_offset,
       float scale) {
  DYNAMIC_SHARED(shared);
  float* merged = (float*)shared;                      // [WARPS][TILE][STRIDE]
  float* ends = merged + WARPS * TILE * STRIDE;        // [WARPS][TILE][2]: largest score, sum
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;
  int splits = gridDim.x, split = blockIdx.x, heads = kv_heads * GROUP;
  int kv_head = blockIdx.y % kv_heads, first = blockIdx.y / kv_heads * TILE;
  Sequence sequence = sequences[blockIdx.z];
  int count = min((int)sequence.rows * GROUP - first, TILE);
  if (count <= 0) return;
  // Which of the step's heads pair m is, all rows' one after the other.
  auto head_of = [&](int m) {
    return (long)(sequence.first_row + (first + m) / GROUP) * heads + kv_head * GROUP + (first + m) % GROUP;
  };

  // Whole pages, of which each warp takes a chunk.
  u32 length = sequence.start + sequence.rows, pages = (length + PAGE_TOKENS - 1) / PAGE_TOKENS;
  u32 share = (pages + splits - 1) / splits, begin = split * share * PAGE_TOKENS;
  u32 end = min(begin + share * PAGE_TOKENS, length);
  if (begin >= end) {
    if ((int)threadIdx.x < count) {
      float* empty = extents + 2 * (head_of(threadIdx.x) * splits + split);
      empty[0] = NO_SCORE, empty[1] = 0.0f;
    }
    return;
  }

  const u16* rows[2];
  u32 last[2];  // the last slot that rows g and g + 8 see
  for (int half = 0; half < 2; half++) {
    int m = g + 8 * half;
    rows[half] = m < count ? queries + head_of(m) * HEAD_DIM : (const u16*)0;
    last[half] = m < count ? sequence.start + (first + m) / GROUP : 0;
  }
  u32 q[STEPS][4];
  load_queries(q, rows[0], rows[1], t);
#if QUERIES_SHARED
  u16* query_rows = (u16*)(ends + WARPS * TILE * 2);  // [TILE][QUERY_STRIDE], in the order of steps
  if (warp == 0) {
#pragma unroll
    for (int step = 0; step < STEPS; step++)
#pragma unroll
      for (int part = 0; part < 4; part++)
        *(u32*)(query_rows + (g + part % 2 * 8) * QUERY_STRIDE + 16 * step + part / 2 * 8 + 2 * t) = q[step][part];
  }
  __syncthreads();
  const u16* query_row = left_row(query_rows, QUERY_STRIDE, lane);
#endif

  float out[VALUE_TILES][4] = {};
  float most[2] = {NO_SCORE, NO_SCORE}, sum[2] = {0.0f, 0.0f};
  u32 keys[4][STEPS][2];
  // From a page's start to what this lane reads of it.
  long keys_at = page_offset / 2 + ((long)kv_head * PAGE_TOKENS + warp * CHUNK) * HEAD_DIM;
  long values_at = page_offset / 2 + ((long)(kv_heads + kv_head) * HEAD_DIM + g) * PAGE_TOKENS + warp * CHUNK + 8 * t;
  u32 at = begin + warp * CHUNK;
  auto page_of = [&](u32 slot) { return slot < end ? (const u16*)sequence.pages[slot / PAGE_TOKENS] : (const u16*)0; };
  const u16 *page = page_of(at), *next = page_of(at + PAGE_TOKENS);
  if (page) load_keys(keys, page + keys_at, g, t);
  while (page) {
    float s[4][4] = {};
#if QUERIES_SHARED
#pragma unroll
    for (int step = 0; step < STEPS; step++) {
      u32 now[4];
      ldmatrix(now, query_row + 16 * step);
#pragma unroll
      for (int i = 0; i < 4; i++) mma_f16(s[i], now, keys[i][step]);
    }
#else
    add_scores(s, q, keys);
#endif
    const u16* values = page + values_at;
    Sixteen early[EARLY];
#pragma unroll
    for (int n = 0; n < EARLY; n++) early[n] = load16(values + 8 * n * PAGE_TOKENS);
    u32 slot = at + 8 * t;
    // The next page's keys are on their way while this one's scores become weights, and the address after that.
    at += PAGE_TOKENS, page = next;
    if (page) load_keys(keys, page + keys_at, g, t);
    next = page_of(at + PAGE_TOKENS);

    u32 weights[2][4];
#pragma unroll
    for (int half = 0; half < 2; half++) {
      float largest = most[half];
#pragma unroll
      for (int i = 0; i < 4; i++)
#pragma unroll
        for (int c = 0; c < 2; c++) {
          float& x = s[i][2 * half + c];
          x = slot + 2 * i + c <= last[half] ? x * scale : NO_SCORE;
          largest = fmaxf(largest, x);
        }
      largest = fmaxf(largest, shuffle_xor(largest, 1));
      largest = fmaxf(largest, shuffle_xor(largest, 2));
      // A row that has seen nothing yet sums up anything: its largest score says that it counts for nothing.
      float kept = worth(most[half], largest);
      most[half] = largest;
      sum[half] *= kept;
#pragma unroll
      for (int i = 0; i < 4; i++) {
        float x = worth(s[i][2 * half], largest), y = worth(s[i][2 * half + 1], largest);
        sum[half] += x + y;
        weights[i / 2][half + i % 2 * 2] = f16x2_of_f32(x, y);
      }
#pragma unroll
      for (int n = 0; n < VALUE_TILES; n++) out[n][2 * half] *= kept, out[n][2 * half + 1] *= kept;
    }
    // What lies behind the last token was never written; no weight would make a NaN of it nothing.
    u32 held[4];
#pragma unroll
    for (int pair = 0; pair < 4; pair++) {
      u32 first_of_pair = slot + 2 * pair;
      held[pair] = first_of_pair + 1 < length ? 0xffffffffu : first_of_pair < length ? 0xffffu : 0u;
    }
#pragma unroll
    for (int n = 0; n < VALUE_TILES; n++) {
      Sixteen x = n < EARLY ? early[n < EARLY ? n : 0] : load16(values + 8 * n * PAGE_TOKENS);
      u32 near[2] = {x.x & held[0], x.y & held[1]}, far[2] = {x.z & held[2], x.w & held[3]};
      mma_f16(out[n], weights[0], near);
      mma_f16(out[n], weights[1], far);
    }
  }

  // The warps' parts become the split's.
#pragma unroll
  for (int half = 0; half < 2; half++) {
    sum[half] += shuffle_xor(sum[half], 1);
    sum[half] += shuffle_xor(sum[half], 2);
    int at = warp * TILE + g + 8 * half;
    if (t == 0) ends[2 * at] = most[half], ends[2 * at + 1] = sum[half];
#pragma unroll
    for (int n = 0; n < VALUE_TILES; n++) {
      merged[at * STRIDE + 8 * n + 2 * t] = out[n][2 * half];
      merged[at * STRIDE + 8 * n + 2 * t + 1] = out[n][2 * half + 1];
    }
  }
  __syncthreads();
  for (int at = threadIdx.x; at < count * HEAD_DIM; at += 32 * WARPS) {
    int m = at / HEAD_DIM, element = at % HEAD_DIM;
    float largest = NO_SCORE, total = 0.0f, all = 0.0f;
    for (int w = 0; w < WARPS; w++) largest = fmaxf(largest, ends[2 * (w * TILE + m)]);
    for (int w = 0; w < WARPS; w++) {
      float kept = worth(ends[2 * (w * TILE + m)], largest);
      total += kept * ends[2 * (w * TILE + m) + 1];
      all += kept * merged[(w * TILE + m) * STRIDE + element];
    }
    long place = head_of(m) * splits + split;
    partial[place * HEAD_DIM + element] = all;
    if (element == 0) extents[2 * place] = largest, extents[2 * place + 1] = total;
  }
}

// A block joins the splits of a row's head. Splits without tokens come last.
KERNEL(32 * WARPS)
combine(const float* extents, const float* partial, const u32* row_sequence, u16* high, u16* low, int splits) {
  __shared__ float parts[WARPS][HEAD_DIM];
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  long head = (long)blockIdx.y * gridDim.x + blockIdx.x;
  if (row_sequence[blockIdx.y] == NO_SEQUENCE) {
    for (int i = threadIdx.x; i < HEAD_DIM; i += 32 * WARPS) put_parts(0.0f, high, low, head * HEAD_DIM + i);
    return;
  }
  extents += 2 * head * splits;
  partial += head * splits * HEAD_DIM;
  float largest = NO_SCORE, used = 0.0f, total = 0.0f;
  for (int split = lane; split < splits; split += 32)
    if (extents[2 * split + 1] > 0.0f) {
      largest = fmaxf(largest, extents[2 * split]);
      used = (float)(split + 1);
    }
  largest = warp_most(largest), used = warp_most(used);
  for (int split = lane; split < (int)used; split += 32)
    total += worth(extents[2 * split], largest) * extents[2 * split + 1];
  total = warp_sum(total);
  float sums[(HEAD_DIM + 31) / 32] = {};
#pragma unroll 4
  for (int split = warp; split < (int)used; split += WARPS) {
    float weight = worth(extents[2 * split], largest);
#pragma unroll
    for (int j = 0; j < (HEAD_DIM + 31) / 32; j++) {
      int i = lane + 32 * j;
      if (i < HEAD_DIM) sums[j] += weight * partial[(long)split * HEAD_DIM + i];
    }
  }
  for (int j = 0; j < (HEAD_DIM + 31) / 32; j++)
    if (lane + 32 * j < HEAD_DIM) parts[warp][lane + 32 * j] = sums[j];
  __syncthreads();
  for (int i = threadIdx.x; i < HEAD_DIM; i += 32 * WARPS) {
    float all = 0.0f;
    for (int w = 0; w < WARPS; w++) all += parts[w][i];
    put_parts(all / total, high, low, head * HEAD_DIM + i);
  }
}
