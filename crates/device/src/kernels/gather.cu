// Chosen tokens of a full cache into pages of a shorter one. See gather.rs.

// A block takes a KV head of a page that is written.
KERNEL(PAGE_TOKENS)
gather(const u64* from_pages, const u64* to_pages, const u32* slots, int count, int head_dim, int page_offset) {
  int kv_head = blockIdx.y, kv_heads = gridDim.y, first = blockIdx.x * PAGE_TOKENS;
  int held = min(count - first, PAGE_TOKENS), thread = threadIdx.x;
  const u32* chosen = slots + (long)kv_head * count + first;
  // From a layer's start in a page to the head's keys and values.
  long keys = (long)kv_head * PAGE_TOKENS * head_dim, values = (long)(kv_heads + kv_head) * PAGE_TOKENS * head_dim;
  auto source = [&](u32 slot) { return (const u16*)(from_pages[slot / PAGE_TOKENS] + page_offset); };
  u16* to = (u16*)(to_pages[blockIdx.x] + page_offset);

  // A key lies in one piece: neighbouring threads take sixteen bytes each.
  int parts = head_dim / 8;
  for (int at = thread; at < held * parts; at += PAGE_TOKENS) {
    int place = at / parts, element = at % parts * 8;
    u32 slot = chosen[place];
    const u16* key = source(slot) + keys + (long)(slot % PAGE_TOKENS) * head_dim;
    store16(to + keys + (long)place * head_dim + element, load16(key + element));
  }
  // A value's elements lie a page's tokens apart: neighbouring threads take neighbouring tokens.
  if (thread >= held) return;
  u32 slot = chosen[thread];
  const u16* value = source(slot) + values + slot % PAGE_TOKENS;
  for (int element = 0; element < head_dim; element++)
    to[values + (long)element * PAGE_TOKENS + thread] = value[(long)element * PAGE_TOKENS];
}
