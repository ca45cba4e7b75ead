// Rows of whole pages into pages as full caches have them, and accumulators. See rebuild.rs.

#define HALF_DIM (HEAD_DIM / 2)

// A warp a (page, token, head): floats [page * 128 + token][kv] with bias, norm and rotation, to rotated keys of a page.
KERNEL(256) place_keys(const u64* pages, const u32* positions, const float* rows, const float* table, const float* bias,
                       const float* norm, float epsilon, int kv_heads, int layer_offset) {
  int warp = blockIdx.x * 8 + threadIdx.x / 32, lane = threadIdx.x % 32, which = blockIdx.y;
  u16* page = (u16*)(pages[which] + layer_offset);
  int token = warp / kv_heads, head = warp % kv_heads;
  if (!pages[which] || token >= PAGE_TOKENS) return;
  const float* key = rows + (((long)which * PAGE_TOKENS + token) * kv_heads + head) * HEAD_DIM;
  constexpr int PAIRS = (HALF_DIM + 31) / 32;
  float x[PAIRS][2], squares = 0.0f;
  for (int i = 0; i < PAIRS; i++)
    for (int second = 0; second < 2; second++) {
      int pair = lane + 32 * i, channel = INTERLEAVED ? 2 * pair + second : pair + second * HALF_DIM;
      x[i][second] = 0.0f;
      if (pair >= HALF_DIM) continue;
      x[i][second] = key[channel] + (bias ? bias[head * HEAD_DIM + channel] : 0.0f);
      squares += x[i][second] * x[i][second];
    }
  float factor = norm ? rsqrtf(warp_sum(squares) / HEAD_DIM + epsilon) : 1.0f;
  u16* to = page + ((long)head * PAGE_TOKENS + token) * HEAD_DIM;
  for (int i = 0; i < PAIRS; i++) {
    int pair = lane + 32 * i;
    if (pair >= HALF_DIM) continue;
    int first = INTERLEAVED ? 2 * pair : pair, second = INTERLEAVED ? 2 * pair + 1 : pair + HALF_DIM;
    float a = x[i][0] * factor * (norm ? norm[first] : 1.0f), b = x[i][1] * factor * (norm ? norm[second] : 1.0f);
    if (table) {
      const float* angle = table + ((long)(positions[which] + token) * HALF_DIM + pair) * 2;
      float turned = a * angle[0] - b * angle[1];
      b = a * angle[1] + b * angle[0];
      a = turned;
    }
    to[first] = f16_of_f32(a);
    to[second] = f16_of_f32(b);
  }
}

// A block 32 channels of a page: floats [page * 128 + token][kv] to values [kv][128].
KERNEL(256) place_values(const u64* pages, const float* rows, int kv, int values_offset) {
  __shared__ u16 tile[32][PAGE_TOKENS + 2];
  int which = blockIdx.y, first = blockIdx.x * 32;
  if (!pages[which]) return;
  u16* values = (u16*)(pages[which] + values_offset);
  for (int i = threadIdx.x; i < 32 * PAGE_TOKENS; i += 256) {
    int channel = i % 32, token = i / 32;
    if (first + channel < kv) tile[channel][token] = f16_of_f32(rows[((long)which * PAGE_TOKENS + token) * kv + first + channel]);
  }
  __syncthreads();
  for (int i = threadIdx.x; i < 32 * PAGE_TOKENS; i += 256) {
    int channel = i / PAGE_TOKENS, token = i % PAGE_TOKENS;
    if (first + channel < kv) values[(long)(first + channel) * PAGE_TOKENS + token] = tile[channel][token];
  }
}

// tasks: pairs of an open page and an accumulator. The source's rows less the accumulator's, to floats and halves
// [task * 128 + token][width].
KERNEL(256) differ(const u64* tasks, int source_offset, int count, float* floats, u16* high, u16* low) {
  int i = blockIdx.x * 256 + threadIdx.x;
  u64 open = tasks[2 * blockIdx.y], accumulator = tasks[2 * blockIdx.y + 1];
  if (!open || i >= count) return;
  float x = f32_of_f16(((const u16*)(open + source_offset))[i]) - f32_of_f16(((const u16*)accumulator)[i]);
  long to = (long)blockIdx.y * count + i;
  floats[to] = x;
  if (high) put_parts(x, high, low, to);
}

// Floats [task * 128 + token][width] added to the accumulators.
KERNEL(256) move_on(const u64* accumulators, const float* rows, int count) {
  int i = blockIdx.x * 256 + threadIdx.x;
  u16* sum = (u16*)accumulators[blockIdx.y];
  if (sum && i < count) sum[i] = f16_of_f32(within_f16(f32_of_f16(sum[i]) + rows[(long)blockIdx.y * count + i]));
}
