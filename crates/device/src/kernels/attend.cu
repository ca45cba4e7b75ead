// Attention of the few newest rows of each sequence to all that is cached, split along the context. See attend.rs.

#define WARPS 4
#define TILE 16
#define VALUE_TILES (HEAD_DIM / 8)
// Values asked for before the softmax, so that they are on their way meanwhile.
#define EARLY (VALUE_TILES < 8 ? VALUE_TILES : 8)
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
  // Where pair m's results go, in heads of the step.
  long row_head = (long)sequence.first_row * heads + kv_head * GROUP;
#define PLACE(m) ((row_head + (long)((first + (m)) / GROUP) * heads + (first + (m)) % GROUP) * splits + split)

  u32 length = sequence.start + sequence.rows;
  u32 chunks = (length + CHUNK - 1) / CHUNK;
  u32 share = ((chunks + splits - 1) / splits + WARPS - 1) / WARPS * WARPS;
  u32 begin = split * share, end = min(begin + share, chunks);
  if (begin >= end) {
    if ((int)threadIdx.x < count) {
      extents[2 * PLACE((int)threadIdx.x)] = NO_SCORE;
      extents[2 * PLACE((int)threadIdx.x) + 1] = 0.0f;
    }
    return;
  }

  const u16* rows[2];
  u32 last[2];  // the last slot that rows g and g + 8 see
  for (int half = 0; half < 2; half++) {
    int m = g + 8 * half, row = (first + m) / GROUP;
    long at = row_head + (long)row * heads + (first + m) % GROUP;
    rows[half] = m < count ? queries + at * HEAD_DIM : (const u16*)0;
    last[half] = m < count ? sequence.start + row : 0;
  }
  u32 q[STEPS][4];
  load_queries(q, rows[0], rows[1], t);

  float out[VALUE_TILES][4] = {};
  float most[2] = {NO_SCORE, NO_SCORE}, sum[2] = {0.0f, 0.0f};
  u32 keys[4][STEPS][2];
  long key_head = (long)kv_head * PAGE_TOKENS * HEAD_DIM;
  long value_head = (long)(kv_heads + kv_head) * PAGE_TOKENS * HEAD_DIM;
#define PAGE(chunk) ((const u16*)(sequence.pages[(chunk) / (PAGE_TOKENS / CHUNK)] + page_offset))
#define WITHIN(chunk) ((chunk) % (PAGE_TOKENS / CHUNK) * CHUNK)
  u32 chunk = begin + warp;
  const u16* page = (const u16*)0;
  if (chunk < end) {
    page = PAGE(chunk);
    load_keys(keys, page + key_head + WITHIN(chunk) * HEAD_DIM, g, t);
  }
  while (chunk < end) {
    float s[4][4] = {};
    add_scores(s, q, keys);
    const u16* values = page + value_head + g * PAGE_TOKENS + WITHIN(chunk) + 8 * t;
    Sixteen early[EARLY];
#pragma unroll
    for (int n = 0; n < EARLY; n++) early[n] = load16(values + 8 * n * PAGE_TOKENS);
    u32 slot = chunk * CHUNK + 8 * t;
    // The next chunk's keys are on their way while this one's scores become weights.
    chunk += WARPS;
    if (chunk < end) {
      page = PAGE(chunk);
      load_keys(keys, page + key_head + WITHIN(chunk) * HEAD_DIM, g, t);
    }

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
      // A row that has seen nothing yet gives every token no weight rather than the same.
      float base = largest == NO_SCORE ? 0.0f : largest;
      float kept = worth(most[half], base);
      most[half] = largest;
      sum[half] *= kept;
#pragma unroll
      for (int i = 0; i < 4; i++) {
        float x = worth(s[i][2 * half], base), y = worth(s[i][2 * half + 1], base);
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
      u32 at = slot + 2 * pair;
      held[pair] = at + 1 < length ? 0xffffffffu : at < length ? 0xffffu : 0u;
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
    long place = PLACE(m);
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
