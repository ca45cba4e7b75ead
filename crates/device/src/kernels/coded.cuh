// Reading codes of BITS bits (16: halves as they are). A group's codes lie in planes of neighbours, as the engine's
// `CodeRows` packs them; three bits are planes of two and then planes of one.

#define CODE_MASK ((1u << BITS) - 1u)

// Codes `at` (even) and the next, the first in the low half of the word.
template <int LENGTH>
DEVICE u32 two_codes_at(const u8* codes, int at) {
#if BITS == 3
  u32 low = *(const u16*)(codes + at % (LENGTH / 4)) >> (at / (LENGTH / 4) * 2);
  u32 high = *(const u16*)(codes + LENGTH / 4 + at % (LENGTH / 8)) >> (at / (LENGTH / 8));
  return ((low | low << 8) & 0x00030003u) | ((high | high << 8) & 0x00010001u) << 2;
#elif BITS == 16
  return *(const u32*)((const u16*)codes + at);
#else
  constexpr int PLANE = LENGTH * BITS / 8;
  u32 both = *(const u16*)(codes + at % PLANE) >> (at / PLANE * BITS);
  return (both | both << 8) & (CODE_MASK * 0x00010001u);
#endif
}

// Of two rows of one group each, codes `at` (even) and the next: `first` has both rows' codes `at`, `second` those after.
template <int LENGTH>
DEVICE void four_codes_at(const u8* one, const u8* two, int at, u32& first, u32& second) {
  auto both = [&](int from) { return *(const u16*)(one + from) | (u32)*(const u16*)(two + from) << 16; };
#if BITS == 16
  u32 a = *(const u32*)((const u16*)one + at), b = *(const u32*)((const u16*)two + at);
  first = (a & 0xffff) | b << 16;
  second = a >> 16 | (b & 0xffff0000u);
#elif BITS == 3
  u32 low = both(at % (LENGTH / 4)), high = both(LENGTH / 4 + at % (LENGTH / 8));
  int low_shift = at / (LENGTH / 4) * 2, high_shift = at / (LENGTH / 8);
  first = (low >> low_shift & 0x00030003u) | (high >> high_shift & 0x00010001u) << 2;
  second = (low >> (low_shift + 8) & 0x00030003u) | (high >> (high_shift + 8) & 0x00010001u) << 2;
#else
  constexpr int PLANE = LENGTH * BITS / 8;
  u32 bytes = both(at % PLANE);
  int shift = at / PLANE * BITS;
  first = bytes >> shift & (CODE_MASK * 0x00010001u);
  second = bytes >> (shift + 8) & (CODE_MASK * 0x00010001u);
#endif
}

// Of groups of 128, warp `w` of eight reads for its lanes' row g (0..8) two codes out of the same bytes where it can.
// Which two they are is `place_of`.
DEVICE int place_of(int w, int g, int second) {
#if BITS == 4
  return 8 * w + g + 64 * second;
#elif BITS == 2 || BITS == 3
  return 8 * (w % 4) + g + 64 * (w / 4) + 32 * second;
#else
  return 16 * w + g + 8 * second;
#endif
}
// Of two such groups: `first` has both groups' first codes.
DEVICE void places_of(const u8* one, const u8* two, int w, int g, u32& first, u32& second) {
  auto both = [&](int from) { return one[from] | (u32)two[from] << 16; };
#if BITS == 4
  u32 bytes = both(8 * w + g);
  first = bytes & 0x000f000fu;
  second = bytes >> 4 & 0x000f000fu;
#elif BITS == 2 || BITS == 3
  u32 bytes = both(8 * (w % 4) + g) >> (4 * (w / 4));
  first = bytes & 0x00030003u;
  second = bytes >> 2 & 0x00030003u;
#if BITS == 3
  u32 high = both(32 + 8 * (w % 2) + g) >> (w % 4 / 2 + 4 * (w / 4));
  first |= (high & 0x00010001u) << 2;
  second |= high & 0x00040004u;
#endif
#elif BITS == 8
  first = both(16 * w + g);
  second = both(16 * w + g + 8);
#else
  const u16 *a = (const u16*)one + 16 * w + g, *b = (const u16*)two + 16 * w + g;
  first = a[0] | (u32)b[0] << 16;
  second = a[8] | (u32)b[8] << 16;
#endif
}

// Scales and least values of two groups, whose factors come as (scale, least).
DEVICE u32 scales_of(u32 first, u32 second) { return (first & 0xffff) | second << 16; }
DEVICE u32 leasts_of(u32 first, u32 second) { return first >> 16 | (second & 0xffff0000u); }

// Two values of two codes. 1024 + code is a half without rounding, made by its bits alone.
DEVICE u32 values_of(u32 codes, u32 scales, u32 leasts) {
#if BITS == 16
  return codes;
#else
  u32 whole = fma_f16x2(codes | 0x64006400u, 0x3c003c00u, 0xe400e400u);
  return fma_f16x2(whole, scales, leasts);
#endif
}

// One value, as exactly as a float holds it.
DEVICE float value_of(u32 code, u32 factors) {
#if BITS == 16
  return f32_of_f16((u16)code);
#else
  float whole = bits_to_float(0x4b000000u | code) - 8388608.0f;
  // The product is exact, so fused or not is the same.
  return whole * low_f16(factors) + high_f16(factors);
#endif
}
// What `value_of` takes of a group's factors, and one value by that, with a bias: 1 + code / 2^BITS is a float by its
// bits alone, so that a value is one fused instruction. Off by what a float misses of the group's range.
struct Line {
  float slope, start;
};
DEVICE Line line_of(u32 factors, float bias) {
#if BITS == 16
  return {1.0f, bias};
#else
  float slope = low_f16(factors) * (float)(1 << BITS);
  return {slope, high_f16(factors) + bias - slope};
#endif
}
DEVICE float on_line(u32 code, Line line) {
#if BITS == 16
  return f32_of_f16((u16)code) + line.start;
#else
  return bits_to_float(0x3f800000u | code << (23 - BITS)) * line.slope + line.start;
#endif
}
