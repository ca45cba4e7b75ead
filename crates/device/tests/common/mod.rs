//! A device to try kernels on, numbers to try them with, and what to expect of the results.
//!
//! Every kernel's tests (`append`, `attend`, `codes`, `product`, `prompt`, `rebuild`, `remat`, `rows`, `tap`) ask [`Bench`]
//! for their device, so that all of them run on a GPU, against the same definitions, by
//! `FOOTNOTE_TEST_DEVICE=cuda:0 cargo test -p footnote-device --features cuda,emulator`; none is skipped then, and a GPU that
//! does not open fails them. Without the variable it is the emulator. The tests in `gpu` hold the two against each other
//! and take the first GPU there is.
#![allow(dead_code, reason = "each test uses some of it")]

pub mod cache;

use std::cell::RefCell;
use std::sync::{Arc, OnceLock};

use footnote_device::emulator::Emulator;
use footnote_device::kernels::Half;
use footnote_device::kernels::rows::Parts;
use footnote_device::{Address, Buffer, Device, DeviceError, Element, Op, Plan};
use half::{bf16, f16};

/// A device on which every plan is run twice, on the emulator its threads in both orders: the results must be the same.
pub struct Bench {
    emulator: Option<Arc<Emulator>>,
    pub device: Arc<dyn Device>,
    /// All memory that was asked for, to be compared between the two runs of a plan.
    made: RefCell<Vec<Buffer>>,
}

impl Bench {
    pub fn new() -> Bench {
        if let Ok(name) = std::env::var("FOOTNOTE_TEST_DEVICE") {
            // Opened once for all: what a GPU has compiled and loaded then serves every test.
            static GPU: OnceLock<Arc<dyn Device>> = OnceLock::new();
            return Bench {
                device: Arc::clone(GPU.get_or_init(|| gpu(&name))),
                emulator: None,
                made: RefCell::default(),
            };
        }
        let emulator = Arc::new(Emulator::new(1 << 30));
        Bench {
            device: emulator.clone(),
            emulator: Some(emulator),
            made: RefCell::default(),
        }
    }

    fn keep(&self, buffer: Result<Buffer, DeviceError>) -> Buffer {
        let buffer = buffer.expect("memory");
        self.made.borrow_mut().push(buffer.clone());
        buffer
    }

    pub fn buffer<E: Element>(&self, values: &[E]) -> Buffer {
        self.keep(Buffer::of(&self.device, values))
    }

    pub fn floats(&self, count: usize) -> Buffer {
        self.keep(Buffer::new(&self.device, 4 * count))
    }

    pub fn halves(&self, count: usize) -> Buffer {
        self.keep(Buffer::new(&self.device, 2 * count))
    }

    pub fn parts(&self, count: usize) -> TwoParts {
        TwoParts {
            high: self.halves(count),
            low: self.halves(count),
            count,
        }
    }

    /// Runs a plan that may be run again: it must not add to what it reads.
    pub fn run(&self, ops: Vec<Op>) {
        let plan = Plan::once(ops);
        let contents = || -> Vec<Vec<u8>> {
            let made = self.made.borrow();
            made.iter()
                .map(|buffer| buffer.read(buffer.bytes()).expect("memory"))
                .collect()
        };
        self.turn();
        self.device.run(&plan).expect("a plan that runs");
        let turned = contents();
        self.turn();
        self.device.run(&plan).expect("a plan that runs");
        // Only whether: what differs is long.
        assert!(
            turned == contents(),
            "another order of threads changes results"
        );
    }

    /// Runs a plan once.
    pub fn run_once(&self, ops: Vec<Op>) {
        self.device.run(&Plan::once(ops)).expect("a plan that runs");
    }

    /// Turns the emulator's order of threads over.
    pub fn turn(&self) {
        if let Some(emulator) = &self.emulator {
            emulator.turn();
        }
    }

    pub fn read(&self, buffer: &Buffer, count: usize) -> Vec<f32> {
        buffer.read(count).expect("memory")
    }
}

#[cfg(feature = "cuda")]
fn gpu(name: &str) -> Arc<dyn Device> {
    let index = name
        .strip_prefix("cuda:")
        .and_then(|index| index.parse().ok());
    let index = index.unwrap_or_else(|| panic!("FOOTNOTE_TEST_DEVICE={name} is not cuda:N"));
    Arc::new(footnote_device::cuda::Cuda::open(index).expect("the GPU that was asked for"))
}

#[cfg(not(feature = "cuda"))]
fn gpu(name: &str) -> Arc<dyn Device> {
    panic!("FOOTNOTE_TEST_DEVICE={name} needs the feature cuda")
}

/// Rows as two halves each.
pub struct TwoParts {
    pub high: Buffer,
    pub low: Buffer,
    count: usize,
}

impl TwoParts {
    pub fn addresses(&self) -> Parts {
        Parts {
            high: self.high.address(),
            low: self.low.address(),
        }
    }

    pub fn high_only(&self) -> Parts {
        Parts {
            high: self.high.address(),
            low: Address::NONE,
        }
    }

    /// Both halves' sum.
    pub fn joined(&self, half: Half) -> Vec<f32> {
        let (high, low): (Vec<u16>, Vec<u16>) = (
            self.high.read(self.count).expect("memory"),
            self.low.read(self.count).expect("memory"),
        );
        let widen = |bits: u16| match half {
            Half::F16 => f16::from_bits(bits).to_f32(),
            Half::Bf16 => bf16::from_bits(bits).to_f32(),
        };
        high.iter()
            .zip(&low)
            .map(|(h, l)| widen(*h) + widen(*l))
            .collect()
    }
}

/// Numbers between -1 and 1 that look random and are the same every time.
pub fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

/// Every value within `bound` of what is wanted, relative to 1 or to the value where that is larger.
#[track_caller]
pub fn close(got: &[f32], wanted: &[f64], bound: f64, what: &str) {
    assert_eq!(got.len(), wanted.len(), "{what}: how many");
    for (at, (got, wanted)) in got.iter().zip(wanted).enumerate() {
        let error = (f64::from(*got) - wanted).abs();
        // Not a number is not within anything.
        assert!(
            error <= bound * wanted.abs().max(1.0),
            "{what}: {got} at {at} instead of {wanted}"
        );
    }
}
