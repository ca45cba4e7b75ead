// Sizes of `remat`, and what its kernel does to one tile. See remat.rs.

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
// Where heads share what is weighed, the queries of HEADS heads of keys are the columns: their keys are made one head after
// another, and what is weighed is unpacked once for all.
#define ALL_K_PIECES (HEADS * K_PIECES)
#define PIECES (ALL_K_PIECES + PAGES * V_PIECES)
#define COLUMNS (HEADS * TAKEN)
// Blocks among which the queries of a head of keys are divided, TAKEN for each and for the last one perhaps fewer; and
// those of `join`, JOINED for each.
#define QUERY_BLOCKS ((GROUP + TAKEN - 1) / TAKEN)
#define JOIN_BLOCKS ((GROUP + JOINED - 1) / JOINED)
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
// The first channel of a page's latents of keys in f16.
#define FIRST_BYTES (PAGE_TOKENS * 2)

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

// The queries of a block's heads, `count` of them, turned back by `position` where keys will be turned by their place in a page only.
DEVICE void put_queries(u32* to, const float* queries, int count, const float* table, int position, bool turn, float scale) {
#pragma unroll
  for (int first = 0; first < QUERIES * HALF_DIM; first += 256) {
    int i = first + threadIdx.x, query = i / HALF_DIM, pair = i % HALF_DIM;
    if (query >= QUERIES) return;
    float x = 0.0f, y = 0.0f;
    if (query < count) {
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

// Scores of a warp's 16 tokens for one step of 16 channels of a block's head `of`: `keys` are (first pair, token), (first
// pair, token + 8), then the second pair's. Other heads' queries are left out.
DEVICE void score(float (&scores)[4], const u32 (&keys)[4], const u32* queries, int step, int of, Lane lane) {
  bool mine = HEADS == 1 || lane.g / GROUP == of;
  for (int part = 0; part < 2; part++) {
    const u32* row = queries + (part * QUERIES + lane.g) * Q_STRIDE;
    u32 b[2] = {mine ? row[pair_of(step, lane.t, 0)] : 0, mine ? row[pair_of(step, lane.t, 1)] : 0};
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

// What a page's first channel was, in the place of what its codes say, for the operand that has it: in lanes of the first
// two channels.
DEVICE void put_first_channel(u32 (&a)[4], const u16* first, Lane lane) {
  if (lane.t != 0) return;
  for (int token = 0; token < 2; token++)
    a[token] = (a[token] & 0xffff0000u) | first[place_of(lane.warp, lane.g, token)];
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
