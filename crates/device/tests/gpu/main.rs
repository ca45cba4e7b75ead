//! A GPU beside the emulator: the same plans on both must give the same numbers, and recordings what direct runs give.
//!
//! Without a GPU they run on a stand-in for the driver and its libraries, which shows that these are called as they must
//! be; what only a GPU can show is then skipped, and said to be. The plans are in `cases.rs`.

mod cases;
#[path = "../common/mod.rs"]
mod common;

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cases::{Case, halves};
use common::numbers;
use footnote_device::cuda::Cuda;
use footnote_device::emulator::Emulator;
use footnote_device::kernels::Half;
use footnote_device::kernels::rows::{Parts, Rows};
use footnote_device::{
    Address, Argument, Buffer, Device, DeviceError, Launch, Number, Op, Plan, Product,
};
use footnote_testkit::skip;
use half::{bf16, f16};

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
            // What is not installed is skipped; a GPU that is there with all it needs must open, and so must the stand-in.
            assert!(
                std::env::var_os(STAND_IN).is_none()
                    && matches!(error, DeviceError::Missing { .. }),
                "a GPU does not open: {error}"
            );
            skip(test, &format!("nothing ran on a GPU: {error}"));
            None
        }
    }
}

#[cfg(target_os = "linux")]
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
        .arg(crate_folder.join("tests/gpu/driver.cpp"))
        .arg("-ldl")
        .status()
        .expect("a C++ compiler, which the emulator needs too");
    assert!(built.success(), "the stand-in does not build");
    let others = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let paths = std::iter::once(folder.path().to_path_buf()).chain(std::env::split_paths(&others));
    let output = Command::new(std::env::current_exe().expect("this program"))
        .env(STAND_IN, folder.path())
        .env(
            "STAND_IN_EMULATED",
            crate_folder.join("src/kernels/emulated.h"),
        )
        .env(
            "LD_LIBRARY_PATH",
            std::env::join_paths(paths).expect("paths"),
        )
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

#[test]
fn plans_give_on_a_gpu_what_they_give_on_the_emulator() {
    let Some((_turn, gpu)) = gpu("plans_give_on_a_gpu_what_they_give_on_the_emulator") else {
        return;
    };
    let emulator: Arc<dyn Device> = Arc::new(Emulator::new(1 << 30));
    let mut failures = Vec::new();
    for case in &cases::all() {
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

#[test]
fn a_plan_that_cannot_run_is_an_error_and_the_device_goes_on() {
    let Some((_turn, gpu)) = gpu("a_plan_that_cannot_run_is_an_error_and_the_device_goes_on")
    else {
        return;
    };
    let rows = Buffer::of(&gpu, &[1.5_f32; 32]).expect("memory");
    let halves = Buffer::new(&gpu, 64).expect("memory");
    let parts = Parts {
        high: halves.address(),
        low: Address::NONE,
    };
    let good = || Rows::new(Half::F16).split(rows.address(), parts, 32);
    let launch = |change: fn(&mut Launch)| {
        let Op::Launch(mut launch) = good() else {
            panic!("a split is a launch");
        };
        change(&mut launch);
        Op::Launch(launch)
    };
    let product = Product {
        left: rows.address(),
        right: rows.address(),
        out: halves.address(),
        rows: 1,
        columns: 1,
        depth: 8,
        left_stride: 8,
        right_stride: 8,
        out_stride: 1,
        input: Number::F32,
        output: Number::F32,
        accumulate: false,
    };
    let cases = [
        (
            "an argument too few",
            launch(|launch| launch.arguments.truncate(1)),
            "arguments",
        ),
        (
            "an argument of another size",
            launch(|launch| launch.arguments[0] = Argument::Int(1)),
            "arguments",
        ),
        (
            "no such kernel",
            launch(|launch| launch.kernel.entry = "no_such_kernel"),
            "does not list it",
        ),
        (
            "a megabyte of shared memory",
            launch(|launch| launch.shared = 1 << 20),
            "shared memory",
        ),
        (
            "no blocks",
            launch(|launch| launch.grid = [1, 0, 1]),
            "[1, 0, 1] blocks",
        ),
        ("floats", Op::Product(product), "halves"),
    ];
    for (what, op, said) in cases {
        for plan in [Plan::once(vec![op.clone()]), Plan::replayed(vec![op])] {
            for _ in 0..2 {
                let error = gpu.run(&plan).expect_err(what);
                assert!(error.to_string().contains(said), "{what}: {error}");
            }
        }
        gpu.run(&Plan::once(vec![good()])).expect(what);
    }
    let read: Vec<f16> = halves.read(32).expect("memory");
    assert_eq!(read, [f16::from_f32(1.5); 32]);
}

#[test]
fn more_plans_than_are_kept_recorded_give_the_same() {
    let Some((_turn, gpu)) = gpu("more_plans_than_are_kept_recorded_give_the_same") else {
        return;
    };
    let count = 300;
    let from = Buffer::new(&gpu, 4).expect("memory");
    let to = Buffer::of(&gpu, &vec![0_u32; count]).expect("memory");
    let plans: Vec<Plan> = (0..count)
        .map(|at| {
            Plan::replayed(vec![Op::Copy {
                from: from.address(),
                to: to.at(4 * at),
                bytes: 4,
            }])
        })
        .collect();
    for round in 0..3 {
        // Some are run once more while they are kept, so that some are replayed, and some are forgotten in between.
        for (at, plan) in plans.iter().enumerate() {
            for again in 0..=at % 4 {
                from.write(&[1000 * round + 10 * at as u32 + again as u32])
                    .expect("memory");
                gpu.run(plan).expect("a plan that runs");
            }
        }
        let read: Vec<u32> = to.read(count).expect("memory");
        for (at, value) in read.iter().enumerate() {
            assert_eq!(*value, 1000 * round + 10 * at as u32 + (at % 4) as u32);
        }
    }
}

#[test]
fn threads_may_share_a_device() {
    let Some((_turn, gpu)) = gpu("threads_may_share_a_device") else {
        return;
    };
    std::thread::scope(|scope| {
        for seed in 0..4 {
            let gpu = &gpu;
            scope.spawn(move || {
                let sent = numbers(5000, seed);
                for _ in 0..20 {
                    let from = Buffer::of(gpu, &sent).expect("memory");
                    let to = Buffer::new(gpu, 4 * sent.len()).expect("memory");
                    let copy = Op::Copy {
                        from: from.address(),
                        to: to.address(),
                        bytes: from.bytes(),
                    };
                    gpu.run(&Plan::once(vec![copy])).expect("a plan that runs");
                    drop(from);
                    let back: Vec<f32> = to.read(sent.len()).expect("memory");
                    assert!(back == sent);
                }
            });
        }
    });
}
