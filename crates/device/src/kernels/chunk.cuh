// Sixteen rows of queries against thirty-two tokens of a page, both straight from global memory.
//
// Matrix instructions do not care in which order they sum, nor which token a column is, as long as both sides agree. So
// a lane takes elements that lie side by side: of a row, at steps 2 b and 2 b + 1, those from 32 b + 8 t on; and column c
// of tile i is token 8 (c / 2) + 2 i + c % 2 of the chunk, so that the four tiles leave a lane with the scores of tokens
// 8 t .. 8 t + 7. Everything is read in pieces of sixteen bytes, and scores are where a product with values wants them.

#define CHUNK 32
// Matrix instructions along a head.
#define STEPS (HEAD_DIM / 16)

// A lane's elements of a row of halves.
DEVICE void load_row(u32 (&to)[STEPS][2], const u16* row, int t) {
#pragma unroll
  for (int b = 0; b < STEPS / 2; b++) {
    Sixteen x = load16(row + 32 * b + 8 * t);
    to[2 * b][0] = x.x, to[2 * b][1] = x.y;
    to[2 * b + 1][0] = x.z, to[2 * b + 1][1] = x.w;
  }
#if HEAD_DIM % 32
  const u32* last = (const u32*)(row + 16 * (STEPS - 1) + 4 * t);
  to[STEPS - 1][0] = last[0], to[STEPS - 1][1] = last[1];
#endif
}

// The left side of the products: `upper` is row g and `lower` row g + 8, nothing where that is no row.
DEVICE void load_queries(u32 (&to)[STEPS][4], const u16* upper, const u16* lower, int t) {
  u32 halves[2][STEPS][2] = {};
  if (upper) load_row(halves[0], upper, t);
  if (lower) load_row(halves[1], lower, t);
#pragma unroll
  for (int step = 0; step < STEPS; step++) {
    to[step][0] = halves[0][step][0], to[step][1] = halves[1][step][0];
    to[step][2] = halves[0][step][1], to[step][3] = halves[1][step][1];
  }
}

// The right side: a chunk's keys, `[CHUNK][HEAD_DIM]`.
DEVICE void load_keys(u32 (&to)[4][STEPS][2], const u16* keys, int g, int t) {
#pragma unroll
  for (int i = 0; i < 4; i++) load_row(to[i], keys + (8 * (g / 2) + 2 * i + g % 2) * HEAD_DIM, t);
}

// s += queries x keys. Of s[i], elements 0 and 1 are row g with tokens 8 t + 2 i and the next, 2 and 3 row g + 8.
DEVICE void add_scores(float (&s)[4][4], const u32 (&queries)[STEPS][4], const u32 (&keys)[4][STEPS][2]) {
#pragma unroll
  for (int step = 0; step < STEPS; step++)
#pragma unroll
    for (int i = 0; i < 4; i++) mma_f16(s[i], queries[step], keys[i][step]);
}
