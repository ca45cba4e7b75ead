//! Launch plans: what a device is to do, as data.
//!
//! A plan names kernels, their sizes and the memory they work on, and nothing in it changes from run to run; what does
//! change (tokens, positions, page tables) lies in that memory. So a device may compile a plan into whatever it replays
//! fastest, and an interpreter may check it step by step. Must not know what a plan computes.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::memory::Address;

/// A source of kernels, with the constants it is compiled with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Program {
    /// The name of its file, without ending.
    pub name: &'static str,
    /// CUDA C, compiled behind the prelude.
    pub source: &'static str,
    /// Its kernels.
    pub entries: &'static [&'static str],
    /// Macros, as `HEAD_DIM` and 64.
    pub defines: Vec<(&'static str, i64)>,
}

impl Program {
    /// Its name and constants, as `attend HEAD_DIM=64`.
    pub fn title(&self) -> String {
        let mut title = self.name.to_string();
        for (name, value) in &self.defines {
            title.push_str(&format!(" {name}={value}"));
        }
        title
    }

    /// A launch of one of its kernels, without shared memory besides what the kernel declares.
    ///
    /// # Panics
    /// Where the grid is larger than launches can be.
    pub fn launch(
        self: &Arc<Program>,
        entry: &'static str,
        grid: [usize; 3],
        threads: u32,
        arguments: Vec<Argument>,
    ) -> Launch {
        let blocks = |blocks| u32::try_from(blocks).expect("a grid fits 32 bits");
        Launch {
            kernel: Kernel {
                program: Arc::clone(self),
                entry,
            },
            grid: grid.map(blocks),
            threads,
            shared: 0,
            arguments,
        }
    }

    /// A number that differs where source or constants do.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }
}

/// A kernel of a program.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Kernel {
    /// Where it is.
    pub program: Arc<Program>,
    /// Its name there.
    pub entry: &'static str,
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.entry, self.program.title())
    }
}

/// An argument of a kernel, as CUDA C declares it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Argument {
    /// A pointer.
    Pointer(Address),
    /// An `int`.
    Int(i32),
    /// A `float`.
    Float(f32),
}

impl From<Address> for Argument {
    fn from(address: Address) -> Argument {
        Argument::Pointer(address)
    }
}

impl From<usize> for Argument {
    /// # Panics
    /// Where the number is no `int`: sizes of a launch are far below.
    fn from(value: usize) -> Argument {
        Argument::Int(i32::try_from(value).expect("a size of a launch fits an int"))
    }
}

impl From<f32> for Argument {
    fn from(value: f32) -> Argument {
        Argument::Float(value)
    }
}

/// One launch of a kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct Launch {
    /// What is launched.
    pub kernel: Kernel,
    /// Blocks in x, y and z; all positive.
    pub grid: [u32; 3],
    /// Threads of a block in x, a multiple of 32.
    pub threads: u32,
    /// Bytes of shared memory besides what the kernel declares.
    pub shared: u32,
    /// Its arguments, in order.
    pub arguments: Vec<Argument>,
}

impl Launch {
    /// It with `bytes` of shared memory.
    pub fn with_shared(self, bytes: usize) -> Launch {
        Launch {
            shared: bytes as u32,
            ..self
        }
    }
}

/// The type of a product's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Number {
    /// IEEE half.
    F16,
    /// bfloat16.
    Bf16,
    /// Single.
    F32,
}

impl Number {
    /// Bytes of one.
    pub fn bytes(self) -> usize {
        match self {
            Number::F16 | Number::Bf16 => 2,
            Number::F32 => 4,
        }
    }
}

/// A matrix product by the device's library: `out[m][n] (+)= Σ left[m][k] · right[n][k]`, all row major, summed in f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Product {
    /// `[rows][depth]`.
    pub left: Address,
    /// `[columns][depth]`: as weights lie.
    pub right: Address,
    /// `[rows][columns]`.
    pub out: Address,
    /// Rows of the result.
    pub rows: usize,
    /// Columns of the result.
    pub columns: usize,
    /// What is summed over.
    pub depth: usize,
    /// Elements from one row of `left` to the next.
    pub left_stride: usize,
    /// Elements from one row of `right` to the next.
    pub right_stride: usize,
    /// Elements from one row of `out` to the next.
    pub out_stride: usize,
    /// Type of `left` and `right`, a half.
    pub input: Number,
    /// Type of `out`.
    pub output: Number,
    /// Whether the result is added to what is there.
    pub accumulate: bool,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Launch a kernel.
    Launch(Launch),
    /// Multiply.
    Product(Product),
    /// Fill with zero bytes.
    Zero {
        /// Where.
        to: Address,
        /// How many.
        bytes: usize,
    },
    /// Copy within the device; the two do not overlap.
    Copy {
        /// From here.
        from: Address,
        /// To there.
        to: Address,
        /// How many bytes.
        bytes: usize,
    },
}

impl From<Launch> for Op {
    fn from(launch: Launch) -> Op {
        Op::Launch(launch)
    }
}

/// What is to be done, in order.
#[derive(Debug)]
pub struct Plan {
    id: u64,
    ops: Vec<Op>,
    replayed: bool,
}

impl Plan {
    /// A plan that is run once or a few times.
    pub fn once(ops: Vec<Op>) -> Plan {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Plan {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            ops,
            replayed: false,
        }
    }

    /// A plan that is run again and again, which a device should record.
    pub fn replayed(ops: Vec<Op>) -> Plan {
        Plan {
            replayed: true,
            ..Plan::once(ops)
        }
    }

    /// A number no other plan of this process has.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// What is to be done.
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// Whether it is worth recording.
    pub fn is_replayed(&self) -> bool {
        self.replayed
    }
}
