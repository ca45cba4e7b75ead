//! Plans to run on a GPU and on the emulator: every kind of op, and launches that ask a device for something special.
//!
//! Kernels have tests of their own, which run on a GPU too (see `common`). A case is a name and a function that lays buffers
//! out on whichever device it gets. Must not know which that is.

use std::sync::Arc;

use footnote_device::kernels::Half;
use footnote_device::kernels::rows::{Parts, Rows};
use footnote_device::{Buffer, Device, DeviceError, Number, Op, Product};
use half::{bf16, f16};

use crate::common::numbers;

/// All of them.
pub fn all() -> Vec<Case> {
    let mut cases = vec![copies(), much_shared_memory()];
    cases.extend([Half::F16, Half::Bf16].into_iter().flat_map(rows));
    cases.extend(products());
    cases
}

/// What a case does on one device.
pub struct Work {
    pub ops: Vec<Op>,
    /// What is read afterwards: where, as what, and how many.
    pub outputs: Vec<(Buffer, Number, usize)>,
    /// What must live until then.
    pub inputs: Vec<Buffer>,
}

/// Makes buffers on a device, and what is to be done with them.
pub type LayOut = Box<dyn Fn(&Arc<dyn Device>) -> Result<Work, DeviceError>>;

/// A plan to run on two devices.
pub struct Case {
    pub name: String,
    /// How far the two may differ, relative to 1 or to the value where that is larger.
    pub bound: f64,
    pub lay_out: LayOut,
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
pub fn halves(
    device: &Arc<dyn Device>,
    values: &[f32],
    number: Number,
) -> Result<Buffer, DeviceError> {
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

/// A launch with more shared memory than a kernel gets without asking.
fn much_shared_memory() -> Case {
    let mut cases = rows(Half::F16);
    let case = cases.swap_remove(0);
    let lay_out = case.lay_out;
    Case {
        name: "much shared memory".to_string(),
        lay_out: Box::new(move |device| {
            let mut work = lay_out(device)?;
            for op in &mut work.ops {
                if let Op::Launch(launch) = op {
                    launch.shared = 64 << 10;
                }
            }
            Ok(work)
        }),
        ..case
    }
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
