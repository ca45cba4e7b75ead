//! What a GPU does not forgive, the emulator sees: kernels with one fault each.

use std::sync::Arc;

use footnote_device::emulator::Emulator;
use footnote_device::{Buffer, Device, Op, Plan, Program};

const FAULTS: &str = r"
// Half of a warp exchanges, the other half only waits.
KERNEL(32) apart(float* out) {
  float x = threadIdx.x;
  if (threadIdx.x < 16) x = shuffle_xor(x, 1);
  else sync_warp();
  out[threadIdx.x] = x;
}
// An exchange that some lanes have left.
KERNEL(32) left(float* out) {
  if (threadIdx.x == 7) return;
  out[threadIdx.x] = shuffle_xor(1.0f, 1);
}
// Half of a warp waits for the block, the other half for the warp.
KERNEL(32) vain(float* out) {
  if (threadIdx.x < 16) __syncthreads();
  else sync_warp();
  out[threadIdx.x] = 1.0f;
}
// Writes right behind its memory.
KERNEL(32) beyond(float* out) { out[threadIdx.x + 1] = 1.0f; }
// Reads what is copied before it waits.
KERNEL(32) early(float* out) {
  DYNAMIC_SHARED(shared);
  float* held = (float*)shared;
  if (threadIdx.x < 8) copy_async(held + 4 * threadIdx.x, out + 4 * threadIdx.x, true);
  copy_commit();
  __syncthreads();
  float x = held[threadIdx.x];
  copy_wait<0>();
  __syncthreads();
  out[threadIdx.x] = x;
}
// The same, as it should be.
KERNEL(32) late(float* out) {
  DYNAMIC_SHARED(shared);
  float* held = (float*)shared;
  if (threadIdx.x < 8) copy_async(held + 4 * threadIdx.x, out + 4 * threadIdx.x, true);
  copy_commit();
  copy_wait<0>();
  __syncthreads();
  out[threadIdx.x] = held[threadIdx.x] + shuffle_xor(1.0f, 1);
}
";

fn program() -> Arc<Program> {
    Arc::new(Program {
        name: "faults",
        source: FAULTS,
        entries: &["apart", "left", "vain", "beyond", "early", "late"],
        defines: Vec::new(),
    })
}

/// What a kernel makes of 32 floats that count up, or the error.
fn run(entry: &'static str) -> Result<Vec<f32>, String> {
    let device: Arc<dyn Device> = Arc::new(Emulator::new(1 << 20));
    let numbers: Vec<f32> = (0..32_u8).map(f32::from).collect();
    let buffer = Buffer::of(&device, &numbers).expect("memory");
    let launch = program().launch(entry, [1, 1, 1], 32, vec![buffer.address().into()]);
    let plan = Plan::once(vec![Op::Launch(launch.with_shared(128))]);
    device.run(&plan).map_err(|error| error.to_string())?;
    Ok(buffer.read(32).expect("memory"))
}

#[test]
fn faults_are_named() {
    for (entry, wanted) in [
        ("apart", "do different things"),
        ("left", "some have ended"),
        ("vain", "in vain"),
        ("beyond", "outside"),
    ] {
        let error = run(entry).expect_err(entry);
        assert!(error.contains(wanted), "{entry}: {error}");
    }
}

#[test]
fn copies_arrive_when_they_are_waited_for() {
    let early = run("early").expect("it ends");
    // Threads run one after another, so those after the first see what it waited for.
    assert!(early[0].is_nan(), "{early:?}");
    let late = run("late").expect("it ends");
    let wanted: Vec<f32> = (0..32_u8).map(|i| f32::from(i) + 1.0).collect();
    assert_eq!(late, wanted);
}
