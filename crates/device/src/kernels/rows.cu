// Rows of floats between products: norms, gates, and their split into halves. See rows.rs.

// Sum over a block of 256 threads; all get it.
DEVICE float block_sum(float x) {
  __shared__ float sums[8];
  x = warp_sum(x);
  if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = x;
  __syncthreads();
  float all = 0.0f;
  for (int warp = 0; warp < 8; warp++) all += sums[warp];
  return all;
}

KERNEL(256) rms_norm(const float* rows, const float* weight, float* out, u16* high, u16* low, int width, float epsilon) {
  long first = (long)blockIdx.x * width;
  float squares = 0.0f;
  for (int i = threadIdx.x; i < width; i += 256) {
    float x = rows[first + i];
    squares += x * x;
  }
  float scale = rsqrtf(block_sum(squares) / width + epsilon);
  for (int i = threadIdx.x; i < width; i += 256) {
    float x = rows[first + i] * scale * weight[i];
    if (out) out[first + i] = x;
    put_parts(x, high, low, first + i);
  }
}

// gate and up lie in one row, one after the other.
KERNEL(256) silu_mul(const float* gate_up, u16* high, u16* low, int width) {
  long row = blockIdx.y;
  int i = blockIdx.x * 256 + threadIdx.x;
  if (i >= width) return;
  float gate = gate_up[row * 2 * width + i], up = gate_up[row * 2 * width + width + i];
  put_parts(gate / (1.0f + power_of_two(-gate * LOG2_E)) * up, high, low, row * width + i);
}

KERNEL(256) split(const float* rows, u16* high, u16* low, int count) {
  int i = blockIdx.x * 256 + threadIdx.x;
  if (i < count) put_parts(rows[i], high, low, i);
}
