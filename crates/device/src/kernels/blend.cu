// A head's results moved towards another's. See blend.rs.

enum Target { VALUES, NOTHING, FIRST, OTHER };

DEVICE float joined(const u16* high, const u16* low, long at) {
#if BF16
  return f32_of_bf16(high[at]) + f32_of_bf16(low[at]);
#else
  return f32_of_f16(high[at]) + f32_of_f16(low[at]);
#endif
}

KERNEL(128)
blend(u16* high, u16* low, int heads, int kv_heads, int head, float u, int target, const float* values, int stride,
      const Sequence* sequences, const u32* row_sequence, int page_offset, const u16* other_high, const u16* other_low) {
  long row = blockIdx.x;
  int kv_head = head / (heads / kv_heads);
  const u16* first = 0;
  if (target == FIRST) {
    u32 sequence = row_sequence[row];
    if (sequence == NO_SEQUENCE) return;
    first = (const u16*)(sequences[sequence].pages[0] + page_offset) + (long)(kv_heads + kv_head) * HEAD_DIM * PAGE_TOKENS;
  }
  for (int i = threadIdx.x; i < HEAD_DIM; i += 128) {
    long at = (row * heads + head) * HEAD_DIM + i;
    float other = 0.0f;
    if (target == VALUES) other = values[row * stride + kv_head * HEAD_DIM + i];
    if (target == FIRST) other = f32_of_f16(first[i * PAGE_TOKENS]);
    if (target == OTHER) other = joined(other_high, other_low, at);
    put_parts((1.0f - u) * joined(high, low, at) + u * other, high, low, at);
  }
}
