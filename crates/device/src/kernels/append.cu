// New queries, keys and values: normed, rotated, and put where attention looks for them. See append.rs.

#define HALF_DIM (HEAD_DIM / 2)
#define PAIRS ((HALF_DIM + 31) / 32)
#if INTERLEAVED
#define FIRST(pair) (2 * (pair))
#define SECOND(pair) (2 * (pair) + 1)
#else
#define FIRST(pair) (pair)
#define SECOND(pair) ((pair) + HALF_DIM)
#endif

// A head's elements as a warp holds them: pair lane + 32 j in x[j] and y[j], zero behind the last.
struct Head {
  float x[PAIRS], y[PAIRS];
};

DEVICE void put(float* to, const Head& head, long at, int lane) {
  if (!to) return;
  for (int j = 0; j < PAIRS; j++) {
    int pair = lane + 32 * j;
    if (pair >= HALF_DIM) break;
    to[at + FIRST(pair)] = head.x[j];
    to[at + SECOND(pair)] = head.y[j];
  }
}

DEVICE void put_halves(u16* to, const Head& head, long stride, int lane) {
  for (int j = 0; j < PAIRS; j++) {
    int pair = lane + 32 * j;
    if (pair >= HALF_DIM) break;
    to[FIRST(pair) * stride] = f16_of_f32(within_f16(head.x[j]));
    to[SECOND(pair) * stride] = f16_of_f32(within_f16(head.y[j]));
  }
}

DEVICE void norm(Head& head, const float* weight, float epsilon, int lane) {
  if (!weight) return;
  float squares = 0.0f;
  for (int j = 0; j < PAIRS; j++) squares += head.x[j] * head.x[j] + head.y[j] * head.y[j];
  float scale = rsqrtf(warp_sum(squares) / HEAD_DIM + epsilon);
  for (int j = 0; j < PAIRS; j++) {
    int pair = lane + 32 * j;
    if (pair >= HALF_DIM) break;
    head.x[j] *= scale * weight[FIRST(pair)];
    head.y[j] *= scale * weight[SECOND(pair)];
  }
}

DEVICE void rotate(Head& head, const float* table, u32 position, int lane) {
  const float* row = table + (long)position * HEAD_DIM;
  for (int j = 0; j < PAIRS; j++) {
    int pair = lane + 32 * j;
    if (pair >= HALF_DIM) break;
    float cosine = row[2 * pair], sine = row[2 * pair + 1];
    float x = head.x[j], y = head.y[j];
    head.x[j] = x * cosine - y * sine;
    head.y[j] = x * sine + y * cosine;
  }
}

// A warp takes a head of a row: queries' heads first, then keys', then values'.
KERNEL(128)
append(const float* qkv, const Sequence* sequences, const u32* row_sequence, const float* table,
       const float* query_weight, const float* key_weight, u16* queries, float* exact_queries, float* raw_keys,
       float* keys, float* rotated_keys, float* values, int heads, int kv_heads, int page_offset, float epsilon) {
  int lane = threadIdx.x % 32, which = blockIdx.x * 4 + threadIdx.x / 32;
  long row = blockIdx.y;
  u32 index = row_sequence[row];
  if (index == NO_SEQUENCE || which >= heads + 2 * kv_heads) return;
  Sequence sequence = sequences[index];
  u32 slot = sequence.start + (u32)row - sequence.first_row, position = slot + sequence.skipped;

  const float* from = qkv + (row * (heads + 2 * kv_heads) + which) * HEAD_DIM;
  Head head;
  for (int j = 0; j < PAIRS; j++) {
    int pair = lane + 32 * j;
    bool held = pair < HALF_DIM;
    head.x[j] = held ? from[FIRST(pair)] : 0.0f;
    head.y[j] = held ? from[SECOND(pair)] : 0.0f;
  }
  if (which < heads) {
    long at = (row * heads + which) * HEAD_DIM;
    norm(head, query_weight, epsilon, lane);
    rotate(head, table, position, lane);
    if (queries) put_halves(queries + at, head, 1, lane);
    put(exact_queries, head, at, lane);
    return;
  }
  bool is_key = which < heads + kv_heads;
  int kv_head = which - (is_key ? heads : heads + kv_heads);
  long at = (row * kv_heads + kv_head) * HEAD_DIM;
  u16* page = page_offset < 0 ? (u16*)0 : (u16*)(sequence.pages[slot / PAGE_TOKENS] + page_offset);
  u32 place = slot % PAGE_TOKENS;
  if (is_key) {
    put(raw_keys, head, at, lane);
    norm(head, key_weight, epsilon, lane);
    put(keys, head, at, lane);
    rotate(head, table, position, lane);
    put(rotated_keys, head, at, lane);
    if (page) put_halves(page + ((long)kv_head * PAGE_TOKENS + place) * HEAD_DIM, head, 1, lane);
  } else {
    put(values, head, at, lane);
    if (page) put_halves(page + (long)(kv_heads + kv_head) * PAGE_TOKENS * HEAD_DIM + place, head, PAGE_TOKENS, lane);
  }
}
