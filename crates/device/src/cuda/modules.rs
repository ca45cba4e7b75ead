//! Programs on a GPU: loaded once each, and their kernels' launches.
//!
//! The driver copies as many arguments as a kernel has from wherever it is told to, so each launch is held to what the
//! kernel really takes. Must not know what kernels compute.

use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::sync::Arc;

use cudarc::driver::{result, sys};

use super::compile::Compiler;
use super::driver::{Gpu, reason};
use crate::plan::{Argument, Launch, Program};
use crate::{DeviceError, Kernel};

/// Shared memory that a kernel may have without asking.
const UNASKED_SHARED: u32 = 48 << 10;

/// What tells programs apart, cheaper to compare than their text: that lives as long as the process, so where and how
/// long it is says which it is.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    source: (usize, usize),
    defines: Vec<(&'static str, i64)>,
}

impl Key {
    fn of(program: &Program) -> Key {
        Key {
            source: (program.source.as_ptr() as usize, program.source.len()),
            defines: program.defines.clone(),
        }
    }
}

/// The programs that are loaded.
pub(super) struct Modules {
    gpu: Arc<Gpu>,
    compiler: Compiler,
    architecture: u32,
    loaded: HashMap<Key, Module>,
}

struct Module {
    handle: sys::CUmodule,
    functions: HashMap<&'static str, Function>,
}

struct Function {
    handle: sys::CUfunction,
    /// Bytes of each parameter.
    parameters: Vec<usize>,
    /// Dynamic shared memory that launches may have so far.
    shared: u32,
}

// SAFETY: the driver's handles may be used from every thread.
unsafe impl Send for Modules {}

impl Modules {
    pub(super) fn new(gpu: Arc<Gpu>, compiler: Compiler) -> Result<Modules, DeviceError> {
        let architecture = compiler.architecture(gpu.capability)?;
        Ok(Modules {
            gpu,
            compiler,
            architecture,
            loaded: HashMap::new(),
        })
    }

    /// Launches a kernel, compiling and loading its program before where that was not done.
    ///
    /// # Safety
    /// The launch's addresses must be of memory of this GPU that lives until the launch has run, and hold what the kernel
    /// expects. The GPU must be bound.
    pub(super) unsafe fn launch(&mut self, launch: &Launch) -> Result<(), DeviceError> {
        let failed = |reason: String| DeviceError::Launch {
            kernel: format!("{:?}", launch.kernel),
            reason,
        };
        let function = self.function(&launch.kernel)?;
        let given: Vec<usize> = launch.arguments.iter().map(size).collect();
        if given != function.parameters {
            return Err(failed(format!(
                "its arguments have {:?} bytes, not the {given:?} that were given",
                function.parameters
            )));
        }
        if launch.shared > function.shared {
            use sys::CUfunction_attribute as Attribute;
            // SAFETY: the function is of a loaded module.
            unsafe {
                result::function::set_function_attribute(
                    function.handle,
                    Attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                    launch.shared.cast_signed(),
                )
            }
            .map_err(|error| {
                failed(format!(
                    "{} bytes of shared memory: {}",
                    launch.shared,
                    reason(error)
                ))
            })?;
            function.shared = launch.shared;
        }
        let mut values: Vec<u64> = launch.arguments.iter().map(bits).collect();
        let mut pointers: Vec<*mut c_void> = values
            .iter_mut()
            .map(|value| std::ptr::from_mut(value).cast())
            .collect();
        let [x, y, z] = launch.grid;
        // SAFETY: there are as many arguments of as many bytes as the kernel takes, each behind a pointer of its own, and
        // the driver has copied them when the call returns; the rest is the caller's promise.
        unsafe {
            result::launch_kernel(
                function.handle,
                (x, y, z),
                (launch.threads, 1, 1),
                launch.shared,
                self.gpu.stream,
                &mut pointers,
            )
        }
        .map_err(|error| {
            failed(format!(
                "{:?} blocks of {} threads with {} bytes of shared memory: {}",
                launch.grid,
                launch.threads,
                launch.shared,
                reason(error)
            ))
        })
    }

    fn function(&mut self, kernel: &Kernel) -> Result<&mut Function, DeviceError> {
        let program = &kernel.program;
        let key = Key::of(program);
        if !self.loaded.contains_key(&key) {
            let compiled = self.compiler.compile(program, self.architecture)?;
            let module = Module::load(&self.gpu, program, &compiled.cubin)?;
            self.loaded.insert(Key::of(program), module);
        }
        self.loaded
            .get_mut(&key)
            .and_then(|module| module.functions.get_mut(kernel.entry))
            .ok_or_else(|| DeviceError::Launch {
                kernel: format!("{kernel:?}"),
                reason: "its program does not list it".to_string(),
            })
    }
}

impl Drop for Modules {
    fn drop(&mut self) {
        for module in self.loaded.values() {
            // SAFETY: loaded below, not unloaded before, and nothing launches its functions any more.
            self.gpu.log("unloading a program", unsafe {
                result::module::unload(module.handle)
            });
        }
    }
}

impl Module {
    fn load(gpu: &Gpu, program: &Program, cubin: &[u8]) -> Result<Module, DeviceError> {
        let failed = |what: &str, error| DeviceError::Launch {
            kernel: format!("program {}", program.title()),
            reason: format!("{what}: {}", reason(error)),
        };
        // SAFETY: the image is a whole cubin, as the compiler made it or with its checksum.
        let handle = unsafe { result::module::load_data(cubin.as_ptr().cast()) }
            .map_err(|error| failed("loading", error))?;
        let functions = program.entries.iter().map(|entry| {
            // SAFETY: the module was just loaded.
            unsafe { Function::find(handle, entry) }
                .map(|function| (*entry, function))
                .map_err(|error| failed(entry, error))
        });
        match functions.collect() {
            Ok(functions) => Ok(Module { handle, functions }),
            Err(error) => {
                // SAFETY: as above, and nobody has its functions.
                gpu.log("unloading a program", unsafe {
                    result::module::unload(handle)
                });
                Err(error)
            }
        }
    }
}

impl Function {
    /// # Safety
    /// The module must be loaded.
    unsafe fn find(
        module: sys::CUmodule,
        entry: &str,
    ) -> Result<Function, cudarc::driver::DriverError> {
        use sys::CUfunction_attribute as Attribute;
        let name = CString::new(entry).expect("a kernel's name in source has no zero byte");
        // SAFETY: the caller's promise.
        let handle = unsafe { result::module::get_function(module, name)? };
        // SAFETY: the function was just found.
        let declared = unsafe {
            result::function::get_function_attribute(
                handle,
                Attribute::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES,
            )?
        };
        let mut parameters = Vec::new();
        loop {
            let (mut offset, mut size) = (0, 0);
            // SAFETY: the function was just found; it writes two numbers.
            let status = unsafe {
                sys::cuFuncGetParamInfo(handle, parameters.len(), &raw mut offset, &raw mut size)
            };
            match status {
                // What it says of the parameter behind the last.
                sys::CUresult::CUDA_ERROR_INVALID_VALUE => break,
                _ => status.result()?,
            }
            parameters.push(size);
        }
        Ok(Function {
            handle,
            parameters,
            shared: UNASKED_SHARED.saturating_sub(declared.cast_unsigned()),
        })
    }
}

fn size(argument: &Argument) -> usize {
    match argument {
        Argument::Pointer(_) => 8,
        Argument::Int(_) | Argument::Float(_) => 4,
    }
}

/// An argument in the low bytes, which come first on every machine that has such a GPU.
fn bits(argument: &Argument) -> u64 {
    match argument {
        Argument::Pointer(address) => address.0,
        Argument::Int(value) => u64::from(value.cast_unsigned()),
        Argument::Float(value) => u64::from(value.to_bits()),
    }
}
