// Rows of a step into open pages. See open.rs.

KERNEL(256) write_open(const Sequence* sequences, const u32* row_sequence, const u64* opens, const float* keys,
                       const float* values, const float* source, const float* value_bias, const float* source_bias,
                       int kv, int head_dim, int source_width, int layer_offset, int values_offset, int source_offset) {
  int row = blockIdx.y, channel = blockIdx.x * 256 + threadIdx.x;
  u32 which = row_sequence[row];
  if (which == NO_SEQUENCE) return;
  Sequence sequence = sequences[which];
  u8* page = (opens ? (u8*)opens[row] : sequence.open) + layer_offset;
  int slot = (sequence.start + row - sequence.first_row) % PAGE_TOKENS;
  if (channel < kv) {
    long at = (long)row * kv + channel;
    int head = channel / head_dim;
    ((u16*)page)[((long)head * PAGE_TOKENS + slot) * head_dim + channel % head_dim] = f16_of_f32(keys[at]);
    float value = values[at];
    if (value_bias) value -= value_bias[channel];
    ((u16*)(page + values_offset))[(long)channel * PAGE_TOKENS + slot] = f16_of_f32(value);
  }
  if (source && channel < source_width) {
    float x = source[(long)row * source_width + channel];
    if (source_bias) x -= source_bias[channel];
    ((u16*)(page + source_offset))[(long)slot * source_width + channel] = f16_of_f32(x);
  }
}
