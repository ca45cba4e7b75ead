//! A GPU beside the emulator: the same plans on both must give the same numbers, and recordings what direct runs give.
//!
//! Without a GPU they run on a stand-in for the driver and its libraries, which shows that these are called as they must
//! be; what only a GPU can show is then skipped, and said to be. A case is a name and a function that lays buffers out on whichever device it gets; add one for every kernel.

mod common;

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use common::numbers;
use footnote_device::cuda::Cuda;
use footnote_device::emulator::Emulator;
use footnote_device::kernels::Half;
use footnote_device::kernels::rows::{Parts, Rows};
use footnote_device::{Address, Buffer, Device, DeviceError, Number, Op, Plan, Product};
use footnote_testkit::skip;
use half::{bf16, f16};

/// What a case does on one device.
struct Work {
    ops: Vec<Op>,
    /// What is read afterwards: where, as what, and how many.
    outputs: Vec<(Buffer, Number, usize)>,
    /// What must live until then.
    inputs: Vec<Buffer>,
}

/// Makes buffers on a device, and what is to be done with them.
type LayOut = Box<dyn Fn(&Arc<dyn Device>) -> Result<Work, DeviceError>>;

/// A plan to run on two devices.
struct Case {
    name: String,
    /// How far the two may differ, relative to 1 or to the value where that is larger.
    bound: f64,
    lay_out: LayOut,
}

fn case(
    name: String,
    bound: f64,
    lay_out: impl Fn(&Arc<dyn Device>) -> Result<Work, DeviceError> + 'static,
) -> Case {
    Case {
        name,
        bound,
        lay_out: Box::new(lay_out),
    }
}

fn number(half: Half) -> Number {
    match half {
        Half::F16 => Number::F16,
        Half::Bf16 => Number::Bf16,
    }
}

/// A buffer of `values` as halves.
fn halves(device: &Arc<dyn Device>, values: &[f32], number: Number) -> Result<Buffer, DeviceError> {
    match number {
        Number::F16 => {
            let values: Vec<f16> = values.iter().map(|x| f16::from_f32(*x)).collect();
            Buffer::of(device, &values)
        }
        Number::Bf16 => {
            let values: Vec<bf16> = values.iter().map(|x| bf16::from_f32(*x)).collect();
            Buffer::of(device, &values)
        }
        Number::F32 => Buffer::of(device, values),
    }
}

/// Cases of the kernels in `rows.cu`.
fn rows(half: Half) -> Vec<Case> {
    // The rounding of a half, as the nearest one may be another where sums differ in their last bit.
    let bound = match half {
        Half::F16 => 1e-3,
        Half::Bf16 => 1e-2,
    };
    let (count, width) = (3, 576);
    let parts = move |device: &Arc<dyn Device>, count: usize| {
        let (high, low) = (
            Buffer::new(device, 2 * count)?,
            Buffer::new(device, 2 * count)?,
        );
        let parts = Parts {
            high: high.address(),
            low: low.address(),
        };
        let outputs = vec![(high, number(half), count), (low, number(half), count)];
        Ok::<_, DeviceError>((parts, outputs))
    };
    vec![
        case(format!("rms_norm {half:?}"), bound, move |device| {
            let rows = Buffer::of(device, &numbers(count * width, 1))?;
            let weight = Buffer::of(device, &numbers(width, 2))?;
            let out = Buffer::new(device, 4 * count * width)?;
            let (parts, mut outputs) = parts(device, count * width)?;
            outputs.push((out.clone(), Number::F32, count * width));
            Ok(Work {
                ops: vec![Rows::new(half).rms_norm(
                    rows.address(),
                    weight.address(),
                    out.address(),
                    parts,
                    count,
                    width,
                    1e-5,
                )],
                outputs,
                inputs: vec![rows, weight],
            })
        }),
        case(format!("silu_mul {half:?}"), bound, move |device| {
            let gate_up = Buffer::of(device, &numbers(count * 2 * width, 3))?;
            let (parts, outputs) = parts(device, count * width)?;
            Ok(Work {
                ops: vec![Rows::new(half).silu_mul(gate_up.address(), parts, count, width)],
                outputs,
                inputs: vec![gate_up],
            })
        }),
        case(format!("split {half:?}"), bound, move |device| {
            let rows = Buffer::of(device, &numbers(1000, 4))?;
            let (parts, outputs) = parts(device, 1000)?;
            Ok(Work {
                ops: vec![Rows::new(half).split(rows.address(), parts, 1000)],
                outputs,
                inputs: vec![rows],
            })
        }),
    ]
}

/// Products of every kind: one row and many, sizes that are no multiples of 16, wider strides, added or not, and begun
/// at an address of little alignment.
fn products() -> Vec<Case> {
    let mut cases = Vec::new();
    for (input, output) in [
        (Number::F16, Number::F32),
        (Number::F16, Number::F16),
        (Number::Bf16, Number::F32),
        (Number::Bf16, Number::Bf16),
    ] {
        for (rows, columns, depth, gap) in [
            (1, 576, 576, 0),
            (7, 96, 200, 8),
            (64, 128, 1536, 0),
            (5, 33, 49, 3),
        ] {
            for accumulate in [false, true] {
                let bound = match output {
                    Number::F32 => 1e-4,
                    Number::F16 => 2e-3,
                    Number::Bf16 => 2e-2,
                };
                let name = format!(
                    "product {input:?} to {output:?}, {rows} x {columns} x {depth}, gap {gap}, accumulate {accumulate}"
                );
                cases.push(case(name, bound, move |device| {
                    let (left_stride, right_stride) = (depth + gap, depth + 2 * gap);
                    let out_stride = columns + gap;
                    let count = rows * out_stride;
                    let left = halves(device, &numbers(gap + rows * left_stride, 5), input)?;
                    let right =
                        halves(device, &numbers(2 * gap + columns * right_stride, 6), input)?;
                    let out = halves(device, &numbers(count, 7), output)?;
                    let product = Product {
                        left: left.at(gap * input.bytes()),
                        right: right.at(2 * gap * input.bytes()),
                        out: out.address(),
                        rows,
                        columns,
                        depth,
                        left_stride,
                        right_stride,
                        out_stride,
                        input,
                        output,
                        accumulate,
                    };
                    Ok(Work {
                        ops: vec![Op::Product(product)],
                        outputs: vec![(out, output, count)],
                        inputs: vec![left, right],
                    })
                }));
            }
        }
    }
    cases
}

/// Copies and zeros, with bytes around that must stay.
fn copies() -> Case {
    case("copy and zero".to_string(), 0.0, |device| {
        let from = Buffer::of(device, &numbers(100, 8))?;
        let to = Buffer::of(device, &numbers(100, 9))?;
        Ok(Work {
            ops: vec![
                Op::Copy {
                    from: from.at(40),
                    to: to.at(80),
                    bytes: 120,
                },
                Op::Zero {
                    to: to.at(120),
                    bytes: 16,
                },
            ],
            outputs: vec![(to, Number::F32, 100)],
            inputs: vec![from],
        })
    })
}

fn read(outputs: &[(Buffer, Number, usize)]) -> Vec<Vec<f32>> {
    let widened = |(buffer, number, count): &(Buffer, Number, usize)| match number {
        Number::F32 => buffer.read(*count).expect("readable"),
        Number::F16 => {
            let values: Vec<f16> = buffer.read(*count).expect("readable");
            values.into_iter().map(f16::to_f32).collect()
        }
        Number::Bf16 => {
            let values: Vec<bf16> = buffer.read(*count).expect("readable");
            values.into_iter().map(bf16::to_f32).collect()
        }
    };
    outputs.iter().map(widened).collect()
}

/// Names the folder of the stand-in to the process that runs on it.
const STAND_IN: &str = "STAND_IN_FOLDER";

/// The first GPU, for one test at a time (one looks at how much memory is free), or a loud skip where there is none that
/// can be used.
fn gpu(test: &str) -> Option<(MutexGuard<'static, ()>, Arc<dyn Device>)> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    match Cuda::open(0) {
        Ok(cuda) => Some((turn, Arc::new(cuda))),
        Err(error) => {
            // Where there is a GPU, or what stands in for one, it must open.
            assert!(
                std::env::var_os(STAND_IN).is_none()
                    && !matches!(Cuda::count(), Ok(count) if count > 0),
                "a GPU is there and does not open: {error}"
            );
            skip(test, &format!("nothing ran on a GPU: {error}"));
            None
        }
    }
}

#[test]
fn all_of_this_works_on_a_stand_in_for_the_driver() {
    if std::env::var_os(STAND_IN).is_some() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let library = folder.path().join("libcuda.so");
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".to_string());
    let built = Command::new(compiler)
        .args(["-std=c++17", "-O1", "-fPIC", "-shared", "-w", "-o"])
        .arg(&library)
        .arg(crate_folder.join("tests/standin/driver.cpp"))
        .arg("-ldl")
        .status()
        .expect("a C++ compiler, which the emulator needs too");
    assert!(built.success(), "the stand-in does not build");
    let output = Command::new(std::env::current_exe().expect("this program"))
        .env(STAND_IN, folder.path())
        .env(
            "STAND_IN_EMULATED",
            crate_folder.join("src/kernels/emulated.h"),
        )
        .env("LD_LIBRARY_PATH", folder.path())
        .env("FOOTNOTE_NVRTC", &library)
        .env("FOOTNOTE_CUBLASLT", &library)
        .env("FOOTNOTE_KERNEL_CACHE", folder.path().join("kernels"))
        .output()
        .expect("this program starts");
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(
        output.status.success() && !said.contains("SKIPPED "),
        "{}\n{said}",
        output.status
    );
    let kept = std::fs::read_dir(folder.path().join("kernels")).expect("a folder");
    assert!(kept.count() > 0, "compiled kernels are kept");
}

#[test]
fn every_kernel_gives_on_a_gpu_what_it_gives_on_the_emulator() {
    let Some((_turn, gpu)) = gpu("every_kernel_gives_on_a_gpu_what_it_gives_on_the_emulator")
    else {
        return;
    };
    let emulator: Arc<dyn Device> = Arc::new(Emulator::new(1 << 30));
    let mut cases = vec![copies()];
    cases.extend([Half::F16, Half::Bf16].into_iter().flat_map(rows));
    cases.extend(products());
    let mut failures = Vec::new();
    for case in &cases {
        let run = |device: &Arc<dyn Device>| -> Result<Vec<Vec<f32>>, DeviceError> {
            let work = (case.lay_out)(device)?;
            device.run(&Plan::once(work.ops))?;
            let outputs = read(&work.outputs);
            drop(work.inputs);
            Ok(outputs)
        };
        let wanted = run(&emulator).expect("a plan that the emulator runs");
        match run(&gpu) {
            Ok(got) => failures.extend(differences(case, &got, &wanted)),
            Err(error) => failures.push(format!("{}: {error}", case.name)),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Where the two differ, the first place of each output.
fn differences(case: &Case, got: &[Vec<f32>], wanted: &[Vec<f32>]) -> Vec<String> {
    let mut found = Vec::new();
    for (output, (got, wanted)) in got.iter().zip(wanted).enumerate() {
        // Not a number is not within anything.
        let differs = |(got, wanted): (&f32, &f32)| {
            let error = f64::from(got - wanted).abs();
            let within = error <= case.bound * f64::from(wanted.abs()).max(1.0);
            !within
        };
        if let Some(at) = got.iter().zip(wanted).position(differs) {
            found.push(format!(
                "{}: output {output} is {} at {at} instead of {}",
                case.name, got[at], wanted[at]
            ));
        }
    }
    found
}

#[test]
fn a_recording_gives_what_direct_runs_give() {
    let Some((_turn, gpu)) = gpu("a_recording_gives_what_direct_runs_give") else {
        return;
    };
    // A product that adds to what is there, so that each run counts, behind a kernel whose input changes in between.
    let run = |replayed: bool| -> Vec<f32> {
        let (rows, columns, depth) = (4, 96, 64);
        let input = Buffer::new(&gpu, 4 * rows * depth).expect("memory");
        let high = Buffer::new(&gpu, 2 * rows * depth).expect("memory");
        let right = halves(&gpu, &numbers(columns * depth, 1), Number::F16).expect("memory");
        let out = Buffer::of(&gpu, &vec![0.0_f32; rows * columns]).expect("memory");
        let parts = Parts {
            high: high.address(),
            low: Address::NONE,
        };
        let ops = vec![
            Rows::new(Half::F16).split(input.address(), parts, rows * depth),
            Op::Product(Product {
                left: high.address(),
                right: right.address(),
                out: out.address(),
                rows,
                columns,
                depth,
                left_stride: depth,
                right_stride: depth,
                out_stride: columns,
                input: Number::F16,
                output: Number::F32,
                accumulate: true,
            }),
        ];
        let plan = match replayed {
            true => Plan::replayed(ops),
            false => Plan::once(ops),
        };
        for step in 0..5 {
            input
                .write(&numbers(rows * depth, 10 + step))
                .expect("memory");
            gpu.run(&plan).expect("a plan that runs");
        }
        out.read(rows * columns).expect("memory")
    };
    assert_eq!(run(true), run(false));
}

#[test]
fn bytes_come_back_as_they_went() {
    let Some((_turn, gpu)) = gpu("bytes_come_back_as_they_went") else {
        return;
    };
    // Smaller, as large as, and larger than what is staged at once, many times over.
    for bytes in [1, 100, 4 << 20, (4 << 20) + 1, 33 << 20] {
        let sent: Vec<u8> = (0..bytes)
            .map(|at: usize| (at * 7 + at / 251) as u8)
            .collect();
        let buffer = Buffer::of(&gpu, &sent).expect("memory");
        let back: Vec<u8> = buffer.read(bytes).expect("memory");
        assert!(back == sent, "{bytes} bytes");
    }
    let buffer = Buffer::new(&gpu, 64 * 1000).expect("memory");
    let mut staged = [0_u8; 64];
    for at in 0..1000 {
        staged.fill(at as u8);
        gpu.upload(buffer.at(64 * at), &staged).expect("memory");
    }
    let back: Vec<u8> = buffer.read(64 * 1000).expect("memory");
    assert!(
        back.iter()
            .enumerate()
            .all(|(at, byte)| *byte == (at / 64) as u8)
    );
}

#[test]
fn memory_that_is_not_there_is_an_error_that_says_how_much_is() {
    let Some((_turn, gpu)) = gpu("memory_that_is_not_there_is_an_error_that_says_how_much_is")
    else {
        return;
    };
    let info = gpu.memory().expect("memory");
    match gpu.allocate(info.total + (1 << 30)) {
        Err(DeviceError::Memory { free, .. }) => assert!(free <= info.total),
        Err(error) => panic!("another error: {error}"),
        Ok(_) => panic!("more memory than there is"),
    }
    let buffer = Buffer::new(&gpu, 256 << 20).expect("memory");
    let taken = gpu.memory().expect("memory");
    assert!(taken.free < info.free);
    drop(buffer);
    assert!(gpu.memory().expect("memory").free > taken.free);
}
