// Packed weights as pairs of halves: what products and lookups decode. BF16 says which halves. See product.rs.

#define GROUP 32

enum Scales { DENSE, HALF, HALF_MIN, SUPER_MIN, SUPER_16 };

// A packed matrix, as `product::Matrix` lays it out.
struct Matrix {
  const u8* low;       // dense halves, or low bits: nibbles in order, or bytes
  const u8* high;      // fifth bits (4 bytes a group), or fifth and sixth (8 bytes)
  const u32* scales;   // two f16 a group or a super-block
  const u8* factors;   // two bytes a group
  int rows, cols;
  int bits, kind;
  float offset;        // what codes are too large by
  int unused;
};

#if BF16
DEVICE u32 pack_halves(float a, float b) { return bf16x2_of_f32(a, b); }
DEVICE void multiply_add(float (&c)[4], const u32 (&a)[4], const u32 (&b)[2]) { mma_bf16(c, a, b); }
DEVICE float widen(u16 x) { return f32_of_bf16(x); }
#else
DEVICE u32 pack_halves(float a, float b) { return f16x2_of_f32(a, b); }
DEVICE void multiply_add(float (&c)[4], const u32 (&a)[4], const u32 (&b)[2]) { mma_f16(c, a, b); }
DEVICE float widen(u16 x) { return f32_of_f16(x); }
#endif

// An integer below 2^23 as a float, without the slow conversion.
DEVICE float small_float(u32 code) { return bits_to_float(0x4b000000u | code) - 8388608.0f; }

// What makes weights of codes: scale * code + least, the scale of the group's halves.
struct Factors {
  float scale[2];
  float least[2];
};

DEVICE Factors factors_of(const Matrix& m, long group) {
  Factors f;
  if (m.kind == HALF || m.kind == HALF_MIN) {
    u32 pair = m.scales[group];
    float scale = low_f16(pair);
    f.scale[0] = f.scale[1] = scale;
    f.least[0] = f.least[1] = m.kind == HALF ? -m.offset * scale : high_f16(pair);
    return f;
  }
  // A row is whole super-blocks, so that group / 8 counts them over all rows.
  u32 pair = m.scales[group / 8];
  u8 first = m.factors[2 * group], second = m.factors[2 * group + 1];
  if (m.kind == SUPER_MIN) {
    f.scale[0] = f.scale[1] = low_f16(pair) * (float)first;
    f.least[0] = f.least[1] = -high_f16(pair) * (float)second;
  } else {
    f.scale[0] = low_f16(pair) * (float)(i8)first;
    f.scale[1] = low_f16(pair) * (float)(i8)second;
    f.least[0] = -m.offset * f.scale[0];
    f.least[1] = -m.offset * f.scale[1];
  }
  return f;
}

// A group of 32 weights of a row, as 16 pairs of halves.
DEVICE void weights_of(const Matrix& m, long group, u32 (&pairs)[16]) {
  if (m.kind == DENSE) {
    const u8* at = m.low + group * 2 * GROUP;
    for (int piece = 0; piece < 4; piece++) {
      Sixteen x = load16(at + 16 * piece);
      pairs[4 * piece] = x.x;
      pairs[4 * piece + 1] = x.y;
      pairs[4 * piece + 2] = x.z;
      pairs[4 * piece + 3] = x.w;
    }
    return;
  }
  Factors f = factors_of(m, group);
  if (m.bits == 8) {
    const u8* at = m.low + group * GROUP;
    for (int half = 0; half < 2; half++) {
      Sixteen x = load16(at + 16 * half);
      u32 words[4] = {x.x, x.y, x.z, x.w};
      for (int word = 0; word < 4; word++) {
        float w[4];
        for (int k = 0; k < 4; k++) w[k] = small_float(words[word] >> (8 * k) & 0xff) * f.scale[half] + f.least[half];
        pairs[8 * half + 2 * word] = pack_halves(w[0], w[1]);
        pairs[8 * half + 2 * word + 1] = pack_halves(w[2], w[3]);
      }
    }
    return;
  }
  Sixteen x = load16(m.low + group * 16);
  u32 words[4] = {x.x, x.y, x.z, x.w};
  u32 high[2] = {0, 0};
  int high_bits = m.bits - 4;
  if (high_bits == 1) high[0] = ((const u32*)m.high)[group];
  if (high_bits == 2) {
    high[0] = ((const u32*)m.high)[2 * group];
    high[1] = ((const u32*)m.high)[2 * group + 1];
  }
  for (int word = 0; word < 4; word++) {
    float scale = f.scale[word / 2], least = f.least[word / 2];
    float w[8];
    for (int k = 0; k < 8; k++) {
      u32 code = words[word] >> (4 * k) & 0xf;
      if (high_bits == 1) code |= (high[0] >> (8 * word + k) & 1) << 4;
      if (high_bits == 2) code |= (high[word / 2] >> (16 * (word % 2) + 2 * k) & 3) << 4;
      w[k] = small_float(code) * scale + least;
    }
    for (int pair = 0; pair < 4; pair++) pairs[4 * word + pair] = pack_halves(w[2 * pair], w[2 * pair + 1]);
  }
}
