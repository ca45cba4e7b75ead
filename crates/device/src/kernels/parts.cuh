// A value in two halves: the nearest one and what it misses. BF16 says which kind of halves.
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
