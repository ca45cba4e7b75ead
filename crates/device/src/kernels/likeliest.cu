// The largest of a row's logits. See likeliest.rs.

// Below any number, and what stands where there is none.
#define LEAST bits_to_float(0xff800000u)
#define NO_TOKEN 0xffffffffu

// Of two tokens the likelier; of equals the first.
DEVICE void take(float& best, u32& token, float other, u32 others) {
  if (other > best || (other == best && others < token)) best = other, token = others;
}
DEVICE void take_over_lanes(float& best, u32& token) {
  for (int mask = 16; mask > 0; mask /= 2) {
    float other = shuffle_xor(best, mask);
    u32 others = shuffle_xor(token, mask);
    take(best, token, other, others);
  }
}

// The best of a part of a row, which a block has. What is no number is never larger.
KERNEL(256)
best_of_parts(const float* logits, const u64* masks, int vocab, int part, float* bests, u32* tokens) {
  __shared__ float best_of[8];
  __shared__ u32 token_of[8];
  const u32* mask = (const u32*)masks[blockIdx.y];
  logits += (long)blockIdx.y * vocab;
  int first = blockIdx.x * part, end = min(first + part, vocab);
  float best = LEAST;
  u32 token = NO_TOKEN;
#pragma unroll 4
  for (int i = first + threadIdx.x; i < end; i += 256) {
    float x = logits[i];
    bool allowed = !mask || (mask[i / 32] >> (i % 32) & 1);
    if (allowed && x > best) best = x, token = i;
  }
  take_over_lanes(best, token);
  int warp = threadIdx.x / 32;
  if (threadIdx.x % 32 == 0) best_of[warp] = best, token_of[warp] = token;
  __syncthreads();
  if (threadIdx.x > 0) return;
  for (int other = 1; other < 8; other++) take(best, token, best_of[other], token_of[other]);
  long place = (long)blockIdx.y * gridDim.x + blockIdx.x;
  bests[place] = best, tokens[place] = token;
}

// The best of the parts of a row, which a warp has.
KERNEL(32) best_of_all(const float* bests, const u32* tokens, int parts, u32* out) {
  long first = (long)blockIdx.x * parts;
  float best = LEAST;
  u32 token = NO_TOKEN;
  for (int i = threadIdx.x; i < parts; i += 32) take(best, token, bests[first + i], tokens[first + i]);
  take_over_lanes(best, token);
  if (threadIdx.x == 0) out[blockIdx.x] = token;
}
