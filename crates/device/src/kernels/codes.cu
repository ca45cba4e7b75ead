// Rows of a page as codes, and back. See codes.rs.

// The largest magnitude a half holds; 0 for what is no number.
DEVICE float tame(float x) { return x == x ? within_f16(x) : 0.0f; }
// The smallest half not below x.
DEVICE u16 at_least(float x) {
  u16 near = f16_of_f32(x);
  if (f32_of_f16(near) >= x) return near;
  if ((near & 0x7fff) == 0) return 1;
  if (near & 0x8000) return (u16)(near - 1);
  return near == 0x7bff ? near : (u16)(near + 1);
}

#define ROWS_F16 0
#define TURNED_F16 1
#define ROWS_F32 2

// Value of a token's channel in a page of rows of `row_width` channels.
DEVICE float source_at(const u8* from, int kind, int row_width, int token, int channel) {
  if (kind == ROWS_F32) return ((const float*)from)[(long)token * row_width + channel];
  if (kind == TURNED_F16) return f32_of_f16(((const u16*)from)[(long)channel * PAGE_TOKENS + token]);
  return f32_of_f16(((const u16*)from)[(long)token * row_width + channel]);
}

// A warp a group. tasks: pairs of addresses, from and to; none where `from` is 0.
KERNEL(256) encode(const u64* tasks, int kind, int from_offset, int codes_offset, int factors_offset, int width,
                   int row_width, int group, int by_channel) {
  __shared__ u8 staged[8][PAGE_TOKENS];
  const u8* from = (const u8*)tasks[2 * blockIdx.y];
  if (!from) return;
  from += from_offset;
  u8* page = (u8*)tasks[2 * blockIdx.y + 1];
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  int index = blockIdx.x * 8 + warp;
  if (index >= PAGE_TOKENS * width / group) return;
  // Groups of a channel are whole channels; those of a token lie by place in the row and then by token.
  int token = by_channel ? 0 : index % PAGE_TOKENS;
  int channel = by_channel ? index : index / PAGE_TOKENS * group;
  float values[4];
  float least = bits_to_float(0x7f800000u), most = -least;
  for (int i = 0; i < 4; i++) {
    int at = lane + 32 * i;
    values[i] = 0.0f;
    if (at >= group) continue;
    values[i] = tame(source_at(from, kind, row_width, by_channel ? at : token, by_channel ? channel : channel + at));
    least = fminf(least, values[i]);
    most = fmaxf(most, values[i]);
  }
#if BITS == 16
  u16* out = (u16*)(page + codes_offset);
  for (int i = 0; i < 4; i++) {
    int at = lane + 32 * i;
    if (at < group) out[by_channel ? (long)index * PAGE_TOKENS + at : (long)token * width + channel + at] = f16_of_f32(values[i]);
  }
#else
  most = warp_most(most);
  least = -warp_most(-least);
  u16 low = at_least(-least) ^ 0x8000;
  least = f32_of_f16(low);
  u16 step = at_least((most - least) / (float)((1 << BITS) - 1));
  float scale = f32_of_f16(step);
  float inverse = scale > 0.0f ? 1.0f / scale : 0.0f;
  for (int i = 0; i < 4; i++) {
    // Truncation of what was moved up by half is rounding.
    float code = multiply_then_add(values[i] - least, inverse, 0.5f);
    staged[warp][lane + 32 * i] = (u8)(int)fminf(fmaxf(code, 0.0f), (float)((1 << BITS) - 1));
  }
  sync_warp();
  u8* codes = page + codes_offset + (long)index * (group * BITS / 8);
  for (int at = lane; at < group * BITS / 8; at += 32) {
    u32 byte = 0;
#if BITS == 3
    int low_bytes = group / 4, high_bytes = group / 8;
    if (at < low_bytes)
      for (int plane = 0; plane < 4; plane++) byte |= (staged[warp][plane * low_bytes + at] & 3u) << (2 * plane);
    else
      for (int plane = 0; plane < 8; plane++)
        byte |= (u32)(staged[warp][plane * high_bytes + at - low_bytes] >> 2) << plane;
#else
    int bytes = group * BITS / 8;
    for (int plane = 0; plane < 8 / BITS; plane++) byte |= (u32)staged[warp][plane * bytes + at] << (plane * BITS);
#endif
    codes[at] = (u8)byte;
  }
  if (lane == 0) ((u32*)(page + factors_offset))[index] = (u32)low << 16 | step;
#endif
}

// pages[task]: a closed page, 0 for none. To rows [task * 128 + token][row_width], f16 or f32, and set as or added to the
// f16 rows at accumulators[task]. A thread a code, whose group's length is only known here.
KERNEL(256) decode(const u64* pages, int codes_offset, int factors_offset, int width, int row_width, int group,
                   int by_channel, u16* halves, float* floats, const u64* accumulators, int adds) {
  const u8* page = (const u8*)pages[blockIdx.z];
  int channel = blockIdx.x * 256 + threadIdx.x, token = blockIdx.y;
  if (!page || channel >= width) return;
  float x;
#if BITS == 16
  const u16* from = (const u16*)(page + codes_offset);
  x = f32_of_f16(from[by_channel ? (long)channel * PAGE_TOKENS + token : (long)token * width + channel]);
#else
  int at = by_channel ? token : channel % group;
  int index = by_channel ? channel : channel / group * PAGE_TOKENS + token;
  const u8* codes = page + codes_offset + (long)index * (group * BITS / 8);
  u32 code;
#if BITS == 3
  code = codes[at % (group / 4)] >> (at / (group / 4) * 2) & 3;
  code |= (codes[group / 4 + at % (group / 8)] >> (at / (group / 8)) & 1) << 2;
#else
  int plane = group * BITS / 8;
  code = codes[at % plane] >> (at / plane * BITS) & CODE_MASK;
#endif
  x = value_of(code, ((const u32*)(page + factors_offset))[index]);
#endif
  long to = ((long)blockIdx.z * PAGE_TOKENS + token) * row_width + channel;
  if (halves) halves[to] = f16_of_f32(within_f16(x));
  if (floats) floats[to] = x;
  if (accumulators) {
    u16* sum = (u16*)accumulators[blockIdx.z] + (long)token * row_width + channel;
    *sum = f16_of_f32(within_f16(adds ? f32_of_f16(*sum) + x : x));
  }
}
