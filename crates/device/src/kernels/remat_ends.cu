// What goes before and after `remat`. See remat.rs.

// One matrix of f16 `[kv][width]` in the order in which `remat` reads it: 16 bytes for each (head, step, pair of tiles,
// lane).
KERNEL(256) arrange(const u16* matrix, u8* out, int width) {
  int steps = width / 16, i = blockIdx.x * 256 + threadIdx.x;
  int lane = i % 32, tiles = i / 32 % STEPS, step = i / 32 / STEPS % steps, head = i / 32 / STEPS / steps;
  if (head >= KV_HEADS) return;
  u32 words[4];
  for (int word = 0; word < 4; word++) {
    int channel = head * HEAD_DIM + 8 * (2 * tiles + word / 2) + lane / 4, from = 16 * step + 8 * (word % 2) + lane % 4 * 2;
    words[word] = *(const u32*)(matrix + (long)channel * width + from);
  }
  store16(out + (long)i * 16, {words[0], words[1], words[2], words[3]});
}

// Joins the splits of a row's JOINED queries of a head of keys (of the last block perhaps fewer), brings values back by f16
// `mix` `[kv][VALUE_WIDTH]` where there is one, adds their bias, and writes halves `[row][heads * HEAD_DIM]`.
KERNEL(256) join(const u32* row_sequence, const float* weighed, const float* sums, int splits, const u16* mix,
                 const float* value_bias, u16* high, u16* low) {
  DYNAMIC_SHARED(shared);
  float* joined = (float*)shared;
  int head = blockIdx.x / JOIN_BLOCKS, row = blockIdx.y;
  int first_query = blockIdx.x % JOIN_BLOCKS * JOINED, queries = min(JOINED, GROUP - first_query);
  long first = ((long)row * KV_HEADS + head) * splits * GROUP + first_query;
  bool fills = row_sequence[row] == NO_SEQUENCE;
  for (int i = threadIdx.x; i < JOINED * VALUE_WIDTH; i += 256) {
    int query = i / VALUE_WIDTH, channel = i % VALUE_WIDTH;
    float most = NO_SCORE, sum = 0.0f, x = 0.0f;
    if (!fills && query < queries) {
      for (int split = 0; split < splits; split++) most = fmaxf(most, sums[(first + split * GROUP + query) * 2]);
      for (int split = 0; split < splits; split++) {
        long at = first + split * GROUP + query;
        // What a split without tokens left in its place may be anything.
        if (sums[at * 2 + 1] == 0.0f) continue;
        float weight = power_of_two(sums[at * 2] - most);
        sum += weight * sums[at * 2 + 1];
        x += weight * weighed[at * VALUE_WIDTH + channel];
      }
      x /= sum;
    }
    joined[i] = x;
  }
  __syncthreads();
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  long out = (((long)row * KV_HEADS + head) * GROUP + first_query) * HEAD_DIM;
  for (int channel = warp; channel < HEAD_DIM; channel += 8) {
    int in_kv = head * HEAD_DIM + channel;
    float bias = value_bias && !fills ? value_bias[in_kv] : 0.0f;
    float results[JOINED];
    for (int query = 0; query < JOINED; query++) results[query] = 0.0f;
    if (mix) {
      const u16* column = mix + (long)in_kv * VALUE_WIDTH;
      // One row of a head is all that a warp reads at once: so many pieces under way are what hides their delay.
#pragma unroll 8
      for (int i = 8 * lane; i < VALUE_WIDTH; i += 256) {
        Sixteen eight = load16(column + i);
        u32 pairs[4] = {eight.x, eight.y, eight.z, eight.w};
#pragma unroll
        for (int query = 0; query < JOINED; query++)
          for (int at = 0; at < 4; at++) {
            const float* two = joined + query * VALUE_WIDTH + i + 2 * at;
            results[query] += low_f16(pairs[at]) * two[0] + high_f16(pairs[at]) * two[1];
          }
      }
    }
#pragma unroll
    for (int query = 0; query < JOINED; query++) {
      float x = mix ? warp_sum(results[query]) : joined[query * VALUE_WIDTH + channel];
      if (lane == 0 && query < queries) put_parts(x + bias, high, low, out + query * HEAD_DIM + channel);
    }
  }
}
