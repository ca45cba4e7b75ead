// Attention of single rows over coded pages: unpack, bring back, rotate, weigh. See remat.rs.
//
// Eight warps take 16 tokens of a page each as the rows of their matrix instructions, so that keys go from codes to scores
// in registers; at most eight queries are the columns. Weights go through shared memory once, and then each warp weighs
// some channels of the values of all 128 tokens.

#define QUERIES 8
#define STEPS (HEAD_DIM / 16)
#define HALF_DIM (HEAD_DIM / 2)
#define KEYS 0
#define LATENTS 1
#define INPUTS 2
#define BY_CHANNEL (FORM != INPUTS)
#define TURNS (ROTATED == 0)

// Pieces of keys, K_WIDTH channels each, and of values, V_WIDTH channels each, are copied one ahead of the other.
#define K_PIECES ((FORM == KEYS ? HEAD_DIM : WIDTH) / K_WIDTH)
#define V_PIECES (VALUE_WIDTH / V_WIDTH)
// PAGES closed pages go through the product together, so that what is read of the projection serves them all.
#define PIECES (K_PIECES + PAGES * V_PIECES)
// Bytes from row to row in shared memory, 16 more than a row where 16 divides it: so lanes meet different banks.
#define CHANNEL_BYTES (16 * BITS)
#define CHANNEL_STRIDE (CHANNEL_BYTES + 16)
#define GROUP_BYTES (VALUE_GROUP * BITS / 8)
#define GROUP_STRIDE (GROUP_BYTES % 16 ? GROUP_BYTES : GROUP_BYTES + 16)
// Values of a head may lie in several groups.
#define SPAN_BYTES (PAGE_TOKENS * GROUP_STRIDE)
// Tiles of 16 channels of a piece of values. Where they are few, several warps share one, each with some of the tokens.
#define TILES (V_WIDTH / 16)
#define SLICES (V_PIECES == 1 && 8 % TILES == 0 ? 8 / TILES : 1)
// Whether a lane's angles, the same for every page, stay in registers.
#define KEEPS_ANGLES (FORM == KEYS || (FORM == LATENTS && HEAD_DIM <= 64))
// Blocks that should fit a multiprocessor decide how many registers a thread may have.
#define BOUNDS 256, BLOCKS
#define P_STRIDE (PAGE_TOKENS + 8)
#define Q_STRIDE (HALF_DIM + 8)

// Bytes and factors of a page's piece of keys in a stage.
#if BY_CHANNEL
#define K_BYTES (K_WIDTH * CHANNEL_STRIDE)
#define K_FACTORS K_WIDTH
#else
#define K_STRIDE (BITS == 16 ? K_WIDTH * 2 + 16 : GROUP_STRIDE)
#define K_BYTES (PAGE_TOKENS * K_STRIDE)
#define K_FACTORS PAGE_TOKENS
#endif

// Queries for two units, a page's in two parts.
#define PAGE_QUERIES (2 * QUERIES * Q_STRIDE)
#define Q_BYTES (2 * PAGES * PAGE_QUERIES * 4)
#define P_BYTES (PAGES * QUERIES * P_STRIDE * 2)
#define MOST_BYTES (8 * QUERIES * 4)
#define LINES_BYTES (FORM == KEYS ? HEAD_DIM * 8 : 0)

// Copies ROWS rows of BYTES; a row's bytes and all addresses are multiples of 16.
template <int ROWS, int BYTES, int STRIDE>
DEVICE void copy_rows(u8* to, const u8* from, long from_stride) {
  constexpr int PIECES_16 = ROWS * (BYTES / 16);
#pragma unroll
  for (int first = 0; first < PIECES_16; first += 256) {
    int i = first + threadIdx.x, row = i / (BYTES / 16), at = i % (BYTES / 16) * 16;
    if (first + 256 <= PIECES_16 || i < PIECES_16) copy_async(to + row * STRIDE + at, from + row * from_stride + at, true);
  }
}
// Groups of 128 tokens, one behind the other.
DEVICE void copy_group(u8* to, const u8* from) {
  if (GROUP_BYTES % 16)
    copy_rows<1, PAGE_TOKENS * GROUP_BYTES, 0>(to, from, 0);
  else
    copy_rows<PAGE_TOKENS, GROUP_BYTES, GROUP_STRIDE>(to, from, GROUP_BYTES);
}

// The pair of a head's channels that a lane has at a step: the two halves of a register. Any order does, as long as
// queries and keys have the same; this is how products leave keys in registers.
DEVICE int pair_of(int step, int t, int second) { return INTERLEAVED ? 8 * step + 4 * second + t : 8 * step + 2 * t + second; }
DEVICE int first_of(int pair) { return INTERLEAVED ? 2 * pair : pair; }
DEVICE int second_of(int pair) { return INTERLEAVED ? 2 * pair + 1 : pair + HALF_DIM; }

// Which of a piece's channels a lane has of a tile of values.
DEVICE int channel_of(int tile, int g, int second) { return 16 * tile + 2 * g + second; }

struct Lane {
  int warp, g, t;
};

struct Angle {
  float cos, sin;
};
DEVICE Angle angle_at(const float* table, int position, int pair) {
  const float* at = table + ((long)position * HALF_DIM + pair) * 2;
  return {at[0], at[1]};
}

// The queries of this head, turned back by `position` where keys will be turned by their place in a page only.
DEVICE void put_queries(u32* to, const float* queries, const float* table, int position, bool turn, float scale) {
#pragma unroll
  for (int first = 0; first < QUERIES * HALF_DIM; first += 256) {
    int i = first + threadIdx.x, query = i / HALF_DIM, pair = i % HALF_DIM;
    if (query >= QUERIES) return;
    float x = 0.0f, y = 0.0f;
    if (query < GROUP) {
      x = queries[query * HEAD_DIM + first_of(pair)] * scale;
      y = queries[query * HEAD_DIM + second_of(pair)] * scale;
    }
    if (turn) {
      Angle angle = angle_at(table, position, pair);
      float before = x;
      x = x * angle.cos + y * angle.sin;
      y = y * angle.cos - before * angle.sin;
    }
    u32 high = f16x2_of_f32(x, y);
    to[query * Q_STRIDE + pair] = high;
    to[(QUERIES + query) * Q_STRIDE + pair] = f16x2_of_f32(x - low_f16(high), y - high_f16(high));
  }
}

// Scores of a warp's 16 tokens for one step of 16 channels: `keys` are (first pair, token), (first pair, token + 8), then
// the second pair's.
DEVICE void score(float (&scores)[4], const u32 (&keys)[4], const u32* queries, int step, Lane lane) {
  for (int part = 0; part < 2; part++) {
    const u32* row = queries + (part * QUERIES + lane.g) * Q_STRIDE;
    u32 b[2] = {row[pair_of(step, lane.t, 0)], row[pair_of(step, lane.t, 1)]};
    mma_f16(scores, keys, b);
  }
}

// A key's pair as halves, turned by its place.
DEVICE u32 turned(float x, float y, Angle angle) {
  if (!TURNS) return f16x2_of_f32(x, y);
  float cos = angle.cos, sin = angle.sin;
  return f16x2_of_f32(x * cos - y * sin, x * sin + y * cos);
}

// Of a page's rows, those of a lane's two tokens at `channel` and the next: half of an operand.
DEVICE void put_rows(u32 (&a)[4], int half, const u8* codes, const u32* factors, int channel, Lane lane) {
#if FORM == LATENTS
  u32 pairs[2], scales = 0, leasts = 0;
  const u8* row = codes + channel * CHANNEL_STRIDE;
  places_of(row, row + CHANNEL_STRIDE, lane.warp, lane.g, pairs[0], pairs[1]);
  if (BITS < 16) {
    scales = scales_of(factors[channel], factors[channel + 1]);
    leasts = leasts_of(factors[channel], factors[channel + 1]);
  }
  for (int token = 0; token < 2; token++) a[2 * half + token] = values_of(pairs[token], scales, leasts);
#elif FORM == INPUTS
  for (int token = 0; token < 2; token++) {
    int place = 16 * lane.warp + lane.g + 8 * token;
    u32 both = BITS < 16 ? factors[place] : 0;
    u32 pair = two_codes_at<VALUE_GROUP>(codes + place * K_STRIDE, channel);
    a[2 * half + token] = values_of(pair, scales_of(both, both), leasts_of(both, both));
  }
#endif
}

// Adds what two channels of a tile are of 16 tokens, weighed.
DEVICE void weigh(float (&values)[4], const u32 (&a)[4], const u16* weights, int token, Lane lane) {
  const u16* p = weights + lane.g * P_STRIDE + token + 2 * lane.t;
  u32 b[2] = {*(const u32*)p, *(const u32*)(p + 8)};
  mma_f16(values, a, b);
}

// Bias and norm of a head's keys. Element i of tile n is channel 8 n + 2 t + i % 2 of token i / 2.
DEVICE void finish_keys(float (&made)[2 * STEPS][4], const float* bias, const float* norm, float epsilon, Lane lane) {
  float factor[2] = {0.0f, 0.0f};
#pragma unroll
  for (int n = 0; n < 2 * STEPS; n++)
    for (int i = 0; i < 4; i++) {
      if (bias) made[n][i] += bias[8 * n + 2 * lane.t + i % 2];
      factor[i / 2] += made[n][i] * made[n][i];
    }
  if (!norm) return;
  for (int token = 0; token < 2; token++) {
    factor[token] += shuffle_xor(factor[token], 1);
    factor[token] += shuffle_xor(factor[token], 2);
    factor[token] = rsqrtf(factor[token] / HEAD_DIM + epsilon);
  }
#pragma unroll
  for (int n = 0; n < 2 * STEPS; n++)
    for (int i = 0; i < 4; i++) made[n][i] *= factor[i / 2] * norm[8 * n + 2 * lane.t + i % 2];
}

// Of a piece of values, a tile's channels (one in each row of eight, and the next) of tokens `token` and the next: half of
// an operand.
DEVICE void put_values(u32 (&a)[4], int half, const u8* stage, int token, int tile, int head, int first_group, Lane lane) {
#if BITS == 16
  const u8* row = stage + token * (V_WIDTH * 2 + 16);
  four_codes_at<V_WIDTH>(row, row + V_WIDTH * 2 + 16, channel_of(tile, lane.g, 0), a[2 * half], a[2 * half + 1]);
#else
  // A head's tile lies in one group.
  int in_row = FORM == KEYS ? head * HEAD_DIM + 16 * tile : 0;
  int group = FORM == KEYS ? in_row / VALUE_GROUP - first_group : 0;
  int in_group = FORM == KEYS ? in_row % VALUE_GROUP : 16 * tile;
  const u8* row = stage + group * SPAN_BYTES + token * GROUP_STRIDE;
  u32 codes[2];
  four_codes_at<VALUE_GROUP>(row, row + GROUP_STRIDE, in_group + 2 * lane.g, codes[0], codes[1]);
  const u32* factors = (const u32*)(stage + FACTORS_AT) + group * PAGE_TOKENS + token;
  u32 scales = scales_of(factors[0], factors[1]), leasts = leasts_of(factors[0], factors[1]);
  for (int second = 0; second < 2; second++) a[2 * half + second] = values_of(codes[second], scales, leasts);
#endif
}

// The same of all the tokens' open page; nothing of tokens that are not valid.
DEVICE void put_open_values(u32 (&a)[4], const u16* from, int first, int head, int token, int valid) {
  for (int i = 0; i < 4; i++) {
    int channel = first + i % 2, place = token + 8 * (i / 2);
#if FORM == INPUTS
    u32 one = from[(long)place * VALUE_WIDTH + channel], two = from[(long)(place + 1) * VALUE_WIDTH + channel];
#else
    if (FORM == KEYS) channel += head * HEAD_DIM;
    u32 one = from[channel * PAGE_TOKENS + place], two = from[channel * PAGE_TOKENS + place + 1];
#endif
    a[i] = (place < valid ? one : 0) | (place + 1 < valid ? two << 16 : 0);
  }
}

KERNEL(BOUNDS) remat(const Sequence* sequences, const u32* row_sequence, const u64* opens, const float* queries,
                  const float* table, const u8* projection, const float* key_bias, const float* key_norm, float epsilon,
                  float scale, int layer_offset, int k_factors, int v_codes, int v_factors, int open_offset,
                  int open_values, float* weighed, float* sums) {
  DYNAMIC_SHARED(shared);
  u32* q_parts = (u32*)shared;
  u16* weights = (u16*)(shared + Q_BYTES);
  float* most = (float*)(shared + Q_BYTES + P_BYTES);
  Line* lines = (Line*)(shared + Q_BYTES + P_BYTES + MOST_BYTES);
  u8* ring = (u8*)lines + LINES_BYTES;

  int split = blockIdx.x, head = blockIdx.y, row = blockIdx.z;
  int kv_heads = gridDim.y;
  Lane lane = {(int)threadIdx.x / 32, (int)threadIdx.x % 32 / 4, (int)threadIdx.x % 4};
  u32 which = row_sequence[row];
  if (which == NO_SEQUENCE) return;
  Sequence sequence = sequences[which];
  int slot = sequence.start + row - sequence.first_row;
  // Units are PAGES closed pages each, the last one's perhaps fewer, and then the open one.
  int closed = slot / PAGE_TOKENS, open_unit = (closed + PAGES - 1) / PAGES;
  int each = (open_unit + 1 + gridDim.x - 1) / gridDim.x;
  int begin = split * each, end = min(begin + each, open_unit + 1);
  long partial = (((long)row * kv_heads + head) * gridDim.x + split) * GROUP;
  if (begin >= end) {
    if (threadIdx.x < GROUP) {
      sums[(partial + threadIdx.x) * 2] = NO_SCORE;
      sums[(partial + threadIdx.x) * 2 + 1] = 0.0f;
    }
    return;
  }
  const float* head_queries = queries + ((long)row * kv_heads + head) * GROUP * HEAD_DIM;
  int closed_end = min(end * PAGES, closed);
  // The first group of this head's values.
  int first_group = min(head * HEAD_DIM / VALUE_GROUP, VALUE_ROW / VALUE_GROUP - SPAN);

  int fetched = 0, used = 0;
  auto fetch = [&] {
    int first_page = (begin + fetched / PIECES) * PAGES, piece = fetched % PIECES;
    u8* to = ring + fetched % STAGES * STAGE_BYTES;
    if (piece < K_PIECES) {
#pragma unroll
      for (int i = 0; i < PAGES; i++) {
        if (first_page + i >= closed_end) continue;
        const u8* from = (const u8*)sequence.pages[first_page + i] + layer_offset;
        u8* codes = to + i * K_BYTES;
        u8* factors = to + FACTORS_AT + i * K_FACTORS * 4;
        int first = FORM == KEYS ? head * HEAD_DIM : piece * K_WIDTH;
#if BY_CHANNEL
        copy_rows<K_WIDTH, CHANNEL_BYTES, CHANNEL_STRIDE>(codes, from + (long)first * CHANNEL_BYTES, CHANNEL_BYTES);
        if (BITS < 16) copy_rows<1, K_FACTORS * 4, 0>(factors, from + k_factors + first * 4, 0);
#elif BITS == 16
        copy_rows<PAGE_TOKENS, K_WIDTH * 2, K_WIDTH * 2 + 16>(codes, from + first * 2, WIDTH * 2);
#else
        copy_group(codes, from + (long)piece * PAGE_TOKENS * GROUP_BYTES);
        copy_rows<1, K_FACTORS * 4, 0>(factors, from + k_factors + piece * PAGE_TOKENS * 4, 0);
#endif
      }
    } else {
      int page = first_page + (piece - K_PIECES) / V_PIECES;
      piece = (piece - K_PIECES) % V_PIECES;
      if (page < closed_end) {
        const u8* from = (const u8*)sequence.pages[page] + layer_offset;
#if BITS == 16
        int first = FORM == KEYS ? head * HEAD_DIM : piece * V_WIDTH;
        copy_rows<PAGE_TOKENS, V_WIDTH * 2, V_WIDTH * 2 + 16>(to, from + v_codes + first * 2, VALUE_ROW * 2);
#else
        int first = FORM == KEYS ? first_group : piece;
#pragma unroll
        for (int group = 0; group < SPAN; group++)
          copy_group(to + group * SPAN_BYTES, from + v_codes + (long)(first + group) * PAGE_TOKENS * GROUP_BYTES);
        copy_rows<1, SPAN * PAGE_TOKENS * 4, 0>(to + FACTORS_AT, from + v_factors + first * PAGE_TOKENS * 4, 0);
#endif
      }
    }
    copy_commit();
    fetched++;
  };
  // The next piece, all of it there; and one more under way, where the one before it lay.
  auto next = [&]() -> const u8* {
    copy_wait<STAGES - 2>();
    __syncthreads();
    fetch();
    return ring + used++ % STAGES * STAGE_BYTES;
  };

  int places[2] = {BY_CHANNEL ? place_of(lane.warp, lane.g, 0) : 16 * lane.warp + lane.g,
                   BY_CHANNEL ? place_of(lane.warp, lane.g, 1) : 16 * lane.warp + lane.g + 8};
  Angle angles[KEEPS_ANGLES ? STEPS : 1][2][2];
#pragma unroll
  for (int step = 0; step < (KEEPS_ANGLES && TURNS ? STEPS : 0); step++)
    for (int i = 0; i < 4; i++) angles[step][i / 2][i % 2] = angle_at(table, places[i % 2], pair_of(step, lane.t, i / 2));
  auto angle = [&](int step, int second, int token) -> Angle {
    if (!TURNS) return {1.0f, 0.0f};
    if (KEEPS_ANGLES) return angles[step][second][token];
    return angle_at(table, places[token], pair_of(step, lane.t, second));
  };
  float running_most[2] = {NO_SCORE, NO_SCORE}, sum[2] = {0.0f, 0.0f};
  float values[V_PIECES][4];
  for (int piece = 0; piece < V_PIECES; piece++)
    for (int i = 0; i < 4; i++) values[piece][i] = 0.0f;
  int tile = lane.warp % TILES, slice = lane.warp / TILES;
  bool weighs = SLICES > 1 || lane.warp < TILES;

  for (int stage = 0; stage < STAGES - 1; stage++) fetch();
  auto put = [&](int unit) {
    if (unit >= end) return;
    u32* to = q_parts + unit % 2 * PAGES * PAGE_QUERIES;
    for (int i = 0; i < (unit < open_unit ? PAGES : 1); i++) {
      int position = min(unit * PAGES + i, closed) * PAGE_TOKENS + sequence.skipped;
      put_queries(to + i * PAGE_QUERIES, head_queries, table, position, TURNS && unit < open_unit, scale * LOG2_E);
    }
  };
  put(begin);
  __syncthreads();

  for (int unit = begin; unit < end; unit++) {
    const u32* unit_queries = q_parts + unit % 2 * PAGES * PAGE_QUERIES;
    const u8* open = (opens ? (const u8*)opens[row] : sequence.open) + open_offset;
    bool is_open = unit == open_unit;
    int valid = slot % PAGE_TOKENS + 1, pages = is_open ? 1 : min(PAGES, closed - unit * PAGES);
    float scores[PAGES][4];
    for (int i = 0; i < 4 * PAGES; i++) scores[i / 4][i % 4] = 0.0f;
    if (!is_open) {
#if FORM == KEYS
      const u8* stage = next();
      // Factors and bias of a channel, for all lanes.
      if (threadIdx.x < HEAD_DIM) {
        int channel = threadIdx.x;
        float bias = key_bias ? key_bias[head * HEAD_DIM + channel] : 0.0f;
        lines[channel] = line_of(BITS < 16 ? ((const u32*)(stage + FACTORS_AT))[channel] : 0, bias);
      }
      __syncthreads();
#pragma unroll
      for (int step = 0; step < STEPS; step++) {
        u32 keys[4];
#pragma unroll
        for (int second = 0; second < 2; second++) {
          int pair = pair_of(step, lane.t, second);
          int channels[2] = {first_of(pair), second_of(pair)};
          float x[2][2];
          u32 codes[2];
          places_of(stage + channels[0] * CHANNEL_STRIDE, stage + channels[1] * CHANNEL_STRIDE, lane.warp, lane.g,
                    codes[0], codes[1]);
#pragma unroll
          for (int i = 0; i < 2; i++) {
            Line line = lines[channels[i]];
            for (int token = 0; token < 2; token++) x[token][i] = on_line(codes[token] >> (16 * i) & 0xffff, line);
          }
#pragma unroll
          for (int token = 0; token < 2; token++)
            keys[2 * second + token] = turned(x[token][0], x[token][1], angle(step, second, token));
        }
        score(scores[0], keys, unit_queries, step, lane);
      }
#else
      float made[PAGES][2 * STEPS][4];
#pragma unroll
      for (int n = 0; n < 2 * STEPS; n++)
        for (int i = 0; i < 4 * PAGES; i++) made[i / 4][n][i % 4] = 0.0f;
      for (int piece = 0; piece < K_PIECES; piece++) {
        const u8* stage = next();
        const u8* right = projection + (((long)head * (WIDTH / 16) + piece * (K_WIDTH / 16)) * STEPS * 32 + threadIdx.x % 32) * 16;
#pragma unroll 1
        for (int step = 0; step < K_WIDTH / 16; step++) {
          u32 a[PAGES][4];
#pragma unroll
          for (int i = 0; i < 2 * PAGES; i++)
            put_rows(a[i / 2], i % 2, stage + i / 2 * K_BYTES, (const u32*)(stage + FACTORS_AT) + i / 2 * K_FACTORS,
                     16 * step + 8 * (i % 2) + 2 * lane.t, lane);
#pragma unroll
          for (int n = 0; n < STEPS; n++) {
            Sixteen b = load16(right + (long)(step * STEPS + n) * 32 * 16);
            u32 left_tile[2] = {b.x, b.y}, right_tile[2] = {b.z, b.w};
#pragma unroll
            for (int i = 0; i < PAGES; i++) {
              mma_f16(made[i][2 * n], a[i], left_tile);
              mma_f16(made[i][2 * n + 1], a[i], right_tile);
            }
          }
        }
      }
#pragma unroll
      for (int i = 0; i < PAGES; i++) finish_keys(made[i], key_bias ? key_bias + head * HEAD_DIM : nullptr, key_norm, epsilon, lane);
#pragma unroll
      for (int step = 0; step < STEPS; step++) {
        u32 keys[PAGES][4];
#pragma unroll
        for (int second = 0; second < 2; second++)
#pragma unroll
          for (int token = 0; token < 2; token++) {
            Angle by = angle(step, second, token);
#pragma unroll
            for (int i = 0; i < PAGES; i++) {
              const float* x = INTERLEAVED ? &made[i][2 * step + second][2 * token] : &made[i][step][2 * token + second];
              const float* y = INTERLEAVED ? x + 1 : &made[i][step + STEPS][2 * token + second];
              keys[i][2 * second + token] = turned(*x, *y, by);
            }
          }
#pragma unroll
        for (int i = 0; i < PAGES; i++) score(scores[i], keys[i], unit_queries + i * PAGE_QUERIES, step, lane);
      }
      // What was made of a page that is not there may be anything.
      for (int i = 1; i < PAGES; i++)
        if (i >= pages)
          for (int at = 0; at < 4; at++) scores[i][at] = NO_SCORE;
#endif
    } else {
      const u16* rows = (const u16*)open + (long)head * PAGE_TOKENS * HEAD_DIM;
#pragma unroll 1
      for (int step = 0; step < STEPS; step++) {
        u32 keys[4];
        for (int i = 0; i < 4; i++) {
          int pair = pair_of(step, lane.t, i / 2), place = places[i % 2];
          const u16* key = rows + place * HEAD_DIM;
          keys[i] = place < valid ? key[first_of(pair)] | (u32)key[second_of(pair)] << 16 : 0;
        }
        score(scores[0], keys, unit_queries, step, lane);
      }
      for (int i = 0; i < 4 * PAGES; i++)
        if (i >= 4 || places[i / 2] >= valid) scores[i / 4][i % 4] = NO_SCORE;
    }

    // The largest score of each query, over all warps; a lane has queries 2 t and 2 t + 1.
    float largest[2] = {NO_SCORE, NO_SCORE};
    for (int i = 0; i < 4 * PAGES; i++) largest[i % 2] = fmaxf(largest[i % 2], scores[i / 4][i % 4]);
    for (int i = 0; i < 2; i++) {
      for (int mask = 4; mask < 32; mask *= 2) largest[i] = fmaxf(largest[i], shuffle_xor(largest[i], mask));
      if (lane.g == 0) most[lane.warp * QUERIES + 2 * lane.t + i] = largest[i];
    }
    __syncthreads();
    float shrink[2];
    for (int i = 0; i < 2; i++) {
      float before = running_most[i];
      for (int warp = 0; warp < 8; warp++) running_most[i] = fmaxf(running_most[i], most[warp * QUERIES + 2 * lane.t + i]);
      shrink[i] = power_of_two(before - running_most[i]);
      sum[i] *= shrink[i];
      for (int at = 0; at < 2 * PAGES; at++) {
        float weight = power_of_two(scores[at / 2][at % 2 * 2 + i] - running_most[i]);
        sum[i] += weight;
        weights[(at / 2 * QUERIES + 2 * lane.t + i) * P_STRIDE + places[at % 2]] = f16_of_f32(weight);
      }
    }
#pragma unroll
    for (int piece = 0; piece < V_PIECES; piece++)
      for (int i = 0; i < 4; i++) values[piece][i] *= shrink[i % 2];
    put(unit + 1);
    __syncthreads();

#pragma unroll 1
    for (int page = 0; page < (is_open ? 1 : PAGES); page++) {
#pragma unroll
      for (int piece = 0; piece < V_PIECES; piece++) {
        const u8* stage = is_open ? ring : next();
        if (!weighs || page >= pages) continue;
        int first_k = slice * (8 / SLICES);
        if (is_open) {
#pragma unroll 1
          for (int k = first_k; k < first_k + 8 / SLICES; k++) {
            u32 a[4];
            int channel = piece * V_WIDTH + channel_of(tile, lane.g, 0);
            put_open_values(a, (const u16*)(open + open_values), channel, head, 16 * k + 2 * lane.t, valid);
            weigh(values[piece], a, weights, 16 * k, lane);
          }
        } else {
#pragma unroll
          for (int k = first_k; k < first_k + 8 / SLICES; k++) {
            u32 a[4];
            for (int half = 0; half < 2; half++)
              put_values(a, half, stage, 16 * k + 8 * half + 2 * lane.t, tile, head, first_group, lane);
            weigh(values[piece], a, weights + page * QUERIES * P_STRIDE, 16 * k, lane);
          }
        }
      }
    }
  }

  // Sums over lanes and warps, and over the slices of tokens.
  __syncthreads();
  for (int i = 0; i < 2; i++) {
    for (int mask = 4; mask < 32; mask *= 2) sum[i] += shuffle_xor(sum[i], mask);
    if (lane.g == 0) most[lane.warp * QUERIES + 2 * lane.t + i] = sum[i];
  }
  float* gathered = (float*)ring;
  for (int part = 1; part < SLICES; part++) {
    if (slice == part)
      for (int i = 0; i < 4; i++) gathered[(part * TILES + tile) * 128 + i * 32 + lane.g * 4 + lane.t] = values[0][i];
  }
  __syncthreads();
  if (slice == 0 && weighs) {
    for (int part = 1; part < SLICES; part++)
      for (int i = 0; i < 4; i++) values[0][i] += gathered[(part * TILES + tile) * 128 + i * 32 + lane.g * 4 + lane.t];
#pragma unroll
    for (int piece = 0; piece < V_PIECES; piece++)
      for (int i = 0; i < 4; i++) {
        int query = 2 * lane.t + i % 2;
        if (query < GROUP)
          weighed[(partial + query) * VALUE_WIDTH + piece * V_WIDTH + channel_of(tile, lane.g, i / 2)] = values[piece][i];
      }
  }
  if (lane.warp == 0 && lane.g == 0)
    for (int i = 0; i < 2; i++) {
      int query = 2 * lane.t + i;
      if (query >= GROUP) continue;
      float all = 0.0f;
      for (int warp = 0; warp < 8; warp++) all += most[warp * QUERIES + query];
      sums[(partial + query) * 2] = running_most[i];
      sums[(partial + query) * 2 + 1] = all;
    }
}
