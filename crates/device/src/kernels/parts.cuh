// Floats as two halves, for kernels whose rows are multiplied next. BF16 says which kind.

// A value in two halves: the nearest one and what it misses.
DEVICE void put_parts(float x, u16* high, u16* low, long at) {
#if BF16
  u16 h = bf16_of_f32(x);
  high[at] = h;
  if (low) low[at] = bf16_of_f32(x - f32_of_bf16(h));
#else
  x = within_f16(x);
  u16 h = f16_of_f32(x);
  high[at] = h;
  if (low) low[at] = f16_of_f32(x - f32_of_f16(h));
#endif
}
// Two values side by side; `at` is even.
DEVICE void put_two_parts(float x, float y, u16* high, u16* low, long at) {
#if BF16
  u32 h = bf16x2_of_f32(x, y);
  *(u32*)(high + at) = h;
  if (low) *(u32*)(low + at) = bf16x2_of_f32(x - bits_to_float(h << 16), y - bits_to_float(h & 0xffff0000u));
#else
  x = within_f16(x), y = within_f16(y);
  u32 h = f16x2_of_f32(x, y);
  *(u32*)(high + at) = h;
  if (low) *(u32*)(low + at) = f16x2_of_f32(x - low_f16(h), y - high_f16(h));
#endif
}
