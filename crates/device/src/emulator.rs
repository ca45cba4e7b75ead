//! Plans on the processor: the same kernels, compiled as C++ behind `emulated.h`, and products as plain loops.
//!
//! What it is for is proof: kernels are tested against their definitions where there is no GPU. Memory comes filled with
//! NaN and is guarded on both sides, the guards are looked at after every launch, arguments are counted, and threads run
//! in an order that can be turned over, so that a missing barrier shows. A kernel that reads or writes far outside, at an
//! address that is not aligned, or outside an array of its own ends the process by a signal (SIGSEGV, SIGILL). What it cannot
//! show is time, and what a real GPU's memory model allows. Needs a C++ compiler (`CXX`, by default `c++`), and Unix.

mod piece;

use std::collections::{BTreeMap, HashMap};
use std::ffi::c_void;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use half::{bf16, f16};
use libloading::Library;
use sha2::{Digest, Sha256};

use self::piece::Piece;
use crate::plan::{Argument, Launch, Number, Op, Plan, Product, Program};
use crate::{Address, Device, DeviceError, MemoryInfo, kernels};

/// What a GPU does not forgive ends the process here too.
const CHECKED: [&str; 2] = [
    "-fsanitize=alignment,bounds,shift",
    "-fsanitize-undefined-trap-on-error",
];

/// Multiprocessors that it says it has: few, so that small shapes are divided as large ones are on a GPU.
const MULTIPROCESSORS: usize = 4;

/// The interpreter of plans.
pub struct Emulator {
    memory: usize,
    multiprocessors: usize,
    state: Mutex<State>,
    turned: AtomicBool,
}

#[derive(Default)]
struct State {
    /// By address.
    pieces: BTreeMap<u64, Piece>,
    taken: usize,
    programs: HashMap<u64, Library>,
}

impl Emulator {
    /// A device of `memory` bytes.
    pub fn new(memory: usize) -> Emulator {
        Emulator {
            memory,
            multiprocessors: MULTIPROCESSORS,
            state: Mutex::default(),
            turned: AtomicBool::new(false),
        }
    }

    /// It as a device of so many multiprocessors, for which callers divide their work.
    pub fn with_multiprocessors(self, multiprocessors: usize) -> Emulator {
        Emulator {
            multiprocessors,
            ..self
        }
    }

    /// Turns the order over in which threads and warps run.
    pub fn turn(&self) {
        self.turned.fetch_xor(true, Ordering::Relaxed);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn launch(&self, state: &mut State, launch: &Launch) -> Result<(), DeviceError> {
        let failed = |reason: String| DeviceError::Launch {
            kernel: format!("{:?}", launch.kernel),
            reason,
        };
        if launch.grid.contains(&0) || !launch.threads.is_multiple_of(32) {
            return Err(failed(format!(
                "a grid of {:?} blocks of {} threads",
                launch.grid, launch.threads
            )));
        }
        // What a GPU would refuse: sm_80 has the least of the three, sm_120 less than sm_90.
        if launch.shared > 99 << 10 {
            return Err(failed(format!(
                "{} bytes of shared memory, of which the smallest target has 99 KB",
                launch.shared
            )));
        }
        let program = &launch.kernel.program;
        let key = program.fingerprint();
        if let std::collections::hash_map::Entry::Vacant(place) = state.programs.entry(key) {
            place.insert(build(program)?);
        }
        let library = &state.programs[&key];
        let entry = launch.kernel.entry;
        type Run = unsafe extern "C" fn(*mut *mut c_void, *const u32, *const u32, u32, i32) -> i32;
        type Count = unsafe extern "C" fn() -> u32;
        // SAFETY: the names are those that `build` exported, with the types that emulated.h gives them.
        let (run, count) = unsafe {
            let run = library.get::<Run>(format!("run_{entry}").as_bytes());
            let count = library.get::<Count>(format!("arguments_{entry}").as_bytes());
            match (run, count) {
                (Ok(run), Ok(count)) => (run, count),
                _ => return Err(failed("its program does not list it".to_string())),
            }
        };
        // SAFETY: it takes nothing and reads a constant.
        let wanted = unsafe { count() } as usize;
        if wanted != launch.arguments.len() {
            return Err(failed(format!(
                "it takes {wanted} arguments, not {}",
                launch.arguments.len()
            )));
        }
        let mut values: Vec<u64> = launch.arguments.iter().map(argument_bits).collect();
        let mut pointers: Vec<*mut c_void> = values
            .iter_mut()
            .map(|value| std::ptr::from_mut(value).cast())
            .collect();
        let threads = [launch.threads, 1, 1];
        let turned = i32::from(self.turned.load(Ordering::Relaxed));
        // SAFETY: the arguments are as many as the kernel has, each behind a pointer of its own; that they point to memory
        // of this device is the plan's promise, as on a GPU, and the guards tell where a kernel wrote outside.
        let outcome = unsafe {
            run(
                pointers.as_mut_ptr(),
                launch.grid.as_ptr(),
                threads.as_ptr(),
                launch.shared,
                turned,
            )
        };
        match outcome {
            0 => {}
            1 => {
                return Err(failed(
                    "its threads wait for each other in vain".to_string(),
                ));
            }
            2 => return Err(failed("no memory for its threads".to_string())),
            4 => {
                return Err(failed(
                    "lanes of a warp do different things where they must do one, or some have ended".to_string(),
                ));
            }
            _ => return Err(failed(format!("{} threads a block", launch.threads))),
        }
        match state.harmed() {
            None => Ok(()),
            Some((address, bytes)) => Err(failed(format!(
                "it writes outside of the {bytes} bytes at {address:?}"
            ))),
        }
    }
}

impl State {
    /// A piece whose guards are not as they were.
    fn harmed(&self) -> Option<(Address, usize)> {
        let mut pieces = self.pieces.values();
        let harmed = pieces.find(|piece| piece.is_harmed());
        harmed.map(|piece| (Address(piece.start()), piece.bytes()))
    }

    /// Whether `bytes` at `address` lie in one piece.
    fn holds(&self, address: Address, bytes: usize) -> bool {
        let found = self.pieces.range(..=address.0).next_back();
        found.is_some_and(|(start, piece)| address.0 + bytes as u64 <= start + piece.bytes() as u64)
    }
}

fn argument_bits(argument: &Argument) -> u64 {
    match argument {
        Argument::Pointer(address) => address.0,
        Argument::Int(value) => u64::from(value.cast_unsigned()),
        Argument::Float(value) => u64::from(value.to_bits()),
    }
}

/// Compiles a program, or finds it compiled.
fn build(program: &Program) -> Result<Library, DeviceError> {
    let failed = |log: String| DeviceError::Compile {
        program: program.title(),
        log,
    };
    let mut source = String::from(kernels::EMULATED);
    for (name, value) in &program.defines {
        source.push_str(&format!("#define {name} {value}\n"));
    }
    source.push_str(kernels::PRELUDE);
    source.push_str(program.source);
    for entry in program.entries {
        source.push_str(&format!("\nEXPORT({entry})\n"));
    }
    let digest: String = Sha256::digest(source.as_bytes())[..12]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let folder = folder().map_err(|error| failed(error.to_string()))?;
    let library = folder.join(format!("{}-{digest}.so", program.name));
    if !library.exists() {
        let fresh = folder.join(format!("{digest}-{}", unique()));
        let (text, object) = (fresh.with_extension("cpp"), fresh.with_extension("so"));
        std::fs::write(&text, &source).map_err(|error| failed(error.to_string()))?;
        let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".to_string());
        let output = Command::new(&compiler)
            .args(["-std=c++17", "-O1", "-fPIC", "-shared", "-w"])
            .args(CHECKED)
            .arg("-o")
            .args([&object, &text])
            .output()
            .map_err(|error| failed(format!("{compiler} does not start: {error}")))?;
        if !output.status.success() {
            return Err(failed(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        // Whole under its name, whoever else builds it.
        std::fs::rename(&object, &library).map_err(|error| failed(error.to_string()))?;
        let _ = std::fs::remove_file(&text);
    }
    // SAFETY: a library that this function compiled, without initialisers of its own.
    unsafe { Library::new(&library) }.map_err(|error| failed(error.to_string()))
}

/// Where compiled programs are kept.
fn folder() -> std::io::Result<PathBuf> {
    let folder = match std::env::var_os("CARGO_TARGET_TMPDIR") {
        Some(target) => PathBuf::from(target).join("emulator"),
        None => {
            let user = std::env::var("USER").unwrap_or_else(|_| "anyone".to_string());
            std::env::temp_dir().join(format!("footnote-emulator-{user}"))
        }
    };
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

fn unique() -> String {
    use std::sync::atomic::AtomicU64;
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!(
        "{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}

/// A product by its definition.
///
/// # Safety
/// All addresses must be of memory that holds the matrices.
unsafe fn multiply(product: &Product) {
    let read = |base: Address, at: usize, number: Number| -> f32 {
        // SAFETY: the caller's promise.
        unsafe {
            match number {
                Number::F16 => (base.0 as *const f16).add(at).read_unaligned().to_f32(),
                Number::Bf16 => (base.0 as *const bf16).add(at).read_unaligned().to_f32(),
                Number::F32 => (base.0 as *const f32).add(at).read_unaligned(),
            }
        }
    };
    let rows = |base: Address, row: usize, stride: usize| -> Vec<f32> {
        (0..product.depth)
            .map(|k| read(base, row * stride + k, product.input))
            .collect()
    };
    let right: Vec<Vec<f32>> = (0..product.columns)
        .map(|column| rows(product.right, column, product.right_stride))
        .collect();
    for row in 0..product.rows {
        let left = rows(product.left, row, product.left_stride);
        for (column, right) in right.iter().enumerate() {
            let mut sum: f32 = left.iter().zip(right).map(|(l, r)| l * r).sum();
            let at = row * product.out_stride + column;
            if product.accumulate {
                sum += read(product.out, at, product.output);
            }
            // SAFETY: the caller's promise.
            unsafe {
                match product.output {
                    Number::F16 => (product.out.0 as *mut f16)
                        .add(at)
                        .write(f16::from_f32(sum)),
                    Number::Bf16 => (product.out.0 as *mut bf16)
                        .add(at)
                        .write(bf16::from_f32(sum)),
                    Number::F32 => (product.out.0 as *mut f32).add(at).write(sum),
                }
            }
        }
    }
}

impl Device for Emulator {
    fn name(&self) -> String {
        "emulator".to_string()
    }

    fn memory(&self) -> Result<MemoryInfo, DeviceError> {
        Ok(MemoryInfo {
            free: self.memory - self.lock().taken,
            total: self.memory,
        })
    }

    fn multiprocessors(&self) -> usize {
        self.multiprocessors
    }

    fn allocate(&self, bytes: usize) -> Result<Address, DeviceError> {
        let mut state = self.lock();
        if state.taken + bytes > self.memory {
            return Err(DeviceError::Memory {
                device: self.name(),
                wanted: bytes,
                free: self.memory - state.taken,
                mend: "give the emulator more".to_string(),
            });
        }
        let Some(piece) = Piece::new(bytes) else {
            return Err(DeviceError::Memory {
                device: self.name(),
                wanted: bytes,
                free: self.memory - state.taken,
                mend: "end other programs: the system has no more".to_string(),
            });
        };
        let start = piece.start();
        state.pieces.insert(start, piece);
        state.taken += bytes;
        Ok(Address(start))
    }

    fn free(&self, address: Address, bytes: usize) {
        let mut state = self.lock();
        state.pieces.remove(&address.0);
        state.taken -= bytes;
    }

    fn upload(&self, to: Address, bytes: &[u8]) -> Result<(), DeviceError> {
        let state = self.lock();
        assert!(state.holds(to, bytes.len()), "memory at {to:?}");
        // SAFETY: the memory is one of the pieces, and the lock keeps everything else from it.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to.0 as *mut u8, bytes.len()) };
        Ok(())
    }

    fn download(&self, from: Address, bytes: &mut [u8]) -> Result<(), DeviceError> {
        let state = self.lock();
        assert!(state.holds(from, bytes.len()), "memory at {from:?}");
        // SAFETY: as for `upload`.
        unsafe {
            std::ptr::copy_nonoverlapping(from.0 as *const u8, bytes.as_mut_ptr(), bytes.len());
        }
        Ok(())
    }

    fn run(&self, plan: &Plan) -> Result<(), DeviceError> {
        let mut state = self.lock();
        for op in plan.ops() {
            match op {
                Op::Launch(launch) => self.launch(&mut state, launch)?,
                Op::Product(product) => {
                    let spans = |rows: usize, stride: usize, width: usize, number: Number| {
                        ((rows - 1) * stride + width) * number.bytes()
                    };
                    let left = spans(
                        product.rows,
                        product.left_stride,
                        product.depth,
                        product.input,
                    );
                    let right = spans(
                        product.columns,
                        product.right_stride,
                        product.depth,
                        product.input,
                    );
                    let out = spans(
                        product.rows,
                        product.out_stride,
                        product.columns,
                        product.output,
                    );
                    assert!(state.holds(product.left, left), "left of {product:?}");
                    assert!(state.holds(product.right, right), "right of {product:?}");
                    assert!(state.holds(product.out, out), "out of {product:?}");
                    // SAFETY: all three lie in pieces.
                    unsafe { multiply(product) };
                }
                Op::Zero { to, bytes } => {
                    assert!(state.holds(*to, *bytes), "memory at {to:?}");
                    // SAFETY: as above.
                    unsafe { std::ptr::write_bytes(to.0 as *mut u8, 0, *bytes) };
                }
                Op::Copy { from, to, bytes } => {
                    assert!(state.holds(*from, *bytes), "memory at {from:?}");
                    assert!(state.holds(*to, *bytes), "memory at {to:?}");
                    // SAFETY: as above; a plan's copies do not overlap.
                    unsafe {
                        std::ptr::copy_nonoverlapping(from.0 as *const u8, to.0 as *mut u8, *bytes);
                    }
                }
            }
        }
        Ok(())
    }

    fn synchronize(&self) -> Result<(), DeviceError> {
        Ok(())
    }
}
