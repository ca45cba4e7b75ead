// Attention of single rows over coded pages: unpack, bring back, rotate, weigh. See remat.rs.
//
// Eight warps take 16 tokens of a page each as the rows of their matrix instructions, so that keys go from codes to scores
// in registers; a block's queries, at most eight, are the columns. Weights go through shared memory once, and then each warp weighs
// some channels of the values of all 128 tokens.

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

  int split = blockIdx.x, head = blockIdx.y / QUERY_BLOCKS * HEADS, row = blockIdx.z;
  // Where several blocks share a head's queries, HEADS is 1.
  int first_query = blockIdx.y % QUERY_BLOCKS * TAKEN;
  int columns = QUERY_BLOCKS == 1 ? COLUMNS : min(TAKEN, GROUP - first_query);
  Lane lane = {(int)threadIdx.x / 32, (int)threadIdx.x % 32 / 4, (int)threadIdx.x % 4};
  u32 which = row_sequence[row];
  if (which == NO_SEQUENCE) return;
  Sequence sequence = sequences[which];
  int slot = sequence.start + row - sequence.first_row;
  // Units are PAGES closed pages each, the last one's perhaps fewer, and then the open one.
  int closed = slot / PAGE_TOKENS, open_unit = (closed + PAGES - 1) / PAGES;
  int each = (open_unit + 1 + gridDim.x - 1) / gridDim.x;
  int begin = split * each, end = min(begin + each, open_unit + 1);
  auto partial = [&](int column) {
    int query = first_query + column;
    return (((long)row * KV_HEADS + head + query / GROUP) * gridDim.x + split) * GROUP + query % GROUP;
  };
  if (begin >= end) {
    if (threadIdx.x < columns) {
      sums[partial(threadIdx.x) * 2] = NO_SCORE;
      sums[partial(threadIdx.x) * 2 + 1] = 0.0f;
    }
    return;
  }
  const float* head_queries = queries + (((long)row * KV_HEADS + head) * GROUP + first_query) * HEAD_DIM;
  int closed_end = min(end * PAGES, closed);
  // The first group of this head's values.
  int first_group = min(head * HEAD_DIM / VALUE_GROUP, VALUE_ROW / VALUE_GROUP - SPAN);

  int fetched = 0, used = 0;
  auto fetch = [&] {
    int first_page = (begin + fetched / PIECES) * PAGES, piece = fetched % PIECES;
    u8* to = ring + fetched % STAGES * STAGE_BYTES;
    if (piece < ALL_K_PIECES) {
      piece %= K_PIECES;
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
        if (OUTLIER && piece == 0)
          copy_rows<1, FIRST_BYTES, 0>(to + FIRST_AT + i * FIRST_BYTES, from + k_factors + (BITS < 16 ? WIDTH * 4 : 0), 0);
#elif BITS == 16
        copy_rows<PAGE_TOKENS, K_WIDTH * 2, K_WIDTH * 2 + 16>(codes, from + first * 2, WIDTH * 2);
#else
        copy_group(codes, from + (long)piece * PAGE_TOKENS * GROUP_BYTES);
        copy_rows<1, K_FACTORS * 4, 0>(factors, from + k_factors + piece * PAGE_TOKENS * 4, 0);
#endif
      }
    } else {
      int page = first_page + (piece - ALL_K_PIECES) / V_PIECES;
      piece = (piece - ALL_K_PIECES) % V_PIECES;
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
      put_queries(to + i * PAGE_QUERIES, head_queries, columns, table, position, TURNS && unit < open_unit, scale * LOG2_E);
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
        score(scores[0], keys, unit_queries, step, 0, lane);
      }
#else
#pragma unroll 1
      for (int of = 0; of < HEADS; of++) {
        float made[PAGES][2 * STEPS][4];
#pragma unroll
        for (int n = 0; n < 2 * STEPS; n++)
          for (int i = 0; i < 4 * PAGES; i++) made[i / 4][n][i % 4] = 0.0f;
        for (int piece = 0; piece < K_PIECES; piece++) {
          const u8* stage = next();
          const u8* right = projection + (((long)(head + of) * (WIDTH / 16) + piece * (K_WIDTH / 16)) * STEPS * 32 + threadIdx.x % 32) * 16;
#pragma unroll 1
          for (int step = 0; step < K_WIDTH / 16; step++) {
            u32 a[PAGES][4];
#pragma unroll
            for (int i = 0; i < 2 * PAGES; i++)
              put_rows(a[i / 2], i % 2, stage + i / 2 * K_BYTES, (const u32*)(stage + FACTORS_AT) + i / 2 * K_FACTORS,
                       16 * step + 8 * (i % 2) + 2 * lane.t, lane);
            if (OUTLIER && piece == 0 && step == 0)
              for (int i = 0; i < PAGES; i++) put_first_channel(a[i], (const u16*)(stage + FIRST_AT + i * FIRST_BYTES), lane);
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
        for (int i = 0; i < PAGES; i++) finish_keys(made[i], key_bias ? key_bias + (head + of) * HEAD_DIM : nullptr, key_norm, epsilon, lane);
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
          for (int i = 0; i < PAGES; i++) score(scores[i], keys[i], unit_queries + i * PAGE_QUERIES, step, of, lane);
        }
      }
      // What was made of a page that is not there may be anything.
      for (int i = 1; i < PAGES; i++)
        if (i >= pages)
          for (int at = 0; at < 4; at++) scores[i][at] = NO_SCORE;
#endif
    } else {
#pragma unroll 1
      for (int i = 0; i < HEADS * STEPS; i++) {
        const u16* rows = (const u16*)open + (long)(head + i / STEPS) * PAGE_TOKENS * HEAD_DIM;
        u32 keys[4];
        for (int at = 0; at < 4; at++) {
          int pair = pair_of(i % STEPS, lane.t, at / 2), place = places[at % 2];
          const u16* key = rows + place * HEAD_DIM;
          keys[at] = place < valid ? key[first_of(pair)] | (u32)key[second_of(pair)] << 16 : 0;
        }
        score(scores[0], keys, unit_queries, i % STEPS, i / STEPS, lane);
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
        if (query < columns)
          weighed[partial(query) * VALUE_WIDTH + piece * V_WIDTH + channel_of(tile, lane.g, i / 2)] = values[piece][i];
      }
  }
  if (lane.warp == 0 && lane.g == 0)
    for (int i = 0; i < 2; i++) {
      int query = 2 * lane.t + i;
      if (query >= columns) continue;
      float all = 0.0f;
      for (int warp = 0; warp < 8; warp++) all += most[warp * QUERIES + query];
      sums[partial(query) * 2] = running_most[i];
      sums[partial(query) * 2 + 1] = all;
    }
}
