// Weights unpacked, looked up by row, and biases of products by the library. See product.rs.

// Rows of a matrix by number, as floats: `out[i] = matrix[numbers[i]]`.
KERNEL(256) embed(const Matrix* matrix, const u32* numbers, float* out) {
  const Matrix m = *matrix;
  int groups = m.cols / GROUP;
  long row = numbers[blockIdx.x];
  for (int group = threadIdx.x; group < groups; group += 256) {
    float* to = out + (long)blockIdx.x * m.cols + group * GROUP;
    u32 pairs[16];
    weights_of(m, row * groups + group, pairs);
    for (int i = 0; i < 16; i++) {
      to[2 * i] = widen((u16)(pairs[i] & 0xffff));
      to[2 * i + 1] = widen((u16)(pairs[i] >> 16));
    }
  }
}

// All of a matrix as halves, for products of many rows.
KERNEL(256) unpack(const Matrix* matrix, u16* out) {
  const Matrix m = *matrix;
  long groups = (long)m.rows * (m.cols / GROUP);
  long group = (long)blockIdx.x * 256 + threadIdx.x;
  if (group >= groups) return;
  u32 pairs[16];
  weights_of(m, group, pairs);
  for (int piece = 0; piece < 4; piece++)
    store16(out + group * GROUP + 8 * piece,
            Sixteen{pairs[4 * piece], pairs[4 * piece + 1], pairs[4 * piece + 2], pairs[4 * piece + 3]});
}

// Adds a row of floats to each of many.
KERNEL(256) add_bias(const float* bias, float* rows, int width, int stride) {
  int i = blockIdx.x * 256 + threadIdx.x;
  if (i < width) rows[(long)blockIdx.y * stride + i] += bias[i];
}
