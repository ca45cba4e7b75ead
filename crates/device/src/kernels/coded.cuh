// Reading codes of BITS bits (16: halves as they are). A group's codes lie in planes of neighbours, as the engine's
// `CodeRows` packs them; three bits are planes of two and then planes of one.

#define CODE_MASK ((1u << BITS) - 1u)

// Code `at` of a group of LENGTH.
template <int LENGTH>
DEVICE u32 code_at(const u8* codes, int at) {
#if BITS == 3
  u32 low = codes[at % (LENGTH / 4)] >> (at / (LENGTH / 4) * 2) & 3;
  return low | (codes[LENGTH / 4 + at % (LENGTH / 8)] >> (at / (LENGTH / 8)) & 1) << 2;
#elif BITS == 16
  return ((const u16*)codes)[at];
#else
  constexpr int PLANE = LENGTH * BITS / 8;
  return codes[at % PLANE] >> (at / PLANE * BITS) & CODE_MASK;
#endif
}

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

// Of a group of 128, warp `w` of eight reads for its lanes' row g (0..8) two codes out of the same bytes where it can.
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
DEVICE void codes_of(const u8* codes, int w, int g, u32& first, u32& second) {
#if BITS == 4
  u32 byte = codes[8 * w + g];
  first = byte & 15;
  second = byte >> 4;
#elif BITS == 2 || BITS == 3
  u32 byte = codes[8 * (w % 4) + g] >> (4 * (w / 4));
  first = byte & 3;
  second = byte >> 2 & 3;
#if BITS == 3
  u32 high = codes[32 + 8 * (w % 2) + g] >> (w % 4 / 2 + 4 * (w / 4));
  first |= (high & 1) << 2;
  second |= high & 4;
#endif
#else
  first = code_at<128>(codes, place_of(w, g, 0));
  second = code_at<128>(codes, place_of(w, g, 1));
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
