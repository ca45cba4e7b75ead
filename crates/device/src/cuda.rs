//! Plans on NVIDIA GPUs, through the driver, NVRTC and cuBLASLt.
//!
//! All three are looked for when a device is opened: a machine without them gets [`DeviceError::Missing`], and building
//! needs none of them. The driver must be of CUDA 12.4 or later, NVRTC of 12.8 or later and cuBLASLt of 12 or later, both
//! no newer than the driver's major version; they are taken from a toolkit, from Python packages, or from where
//! `FOOTNOTE_NVRTC` and `FOOTNOTE_CUBLASLT` say. Compiled kernels are kept in [`kernel_folder`].
//! All work goes through one stream, in the order in which it is asked for. A plan that is run again
//! and again is recorded as a CUDA graph the second time (the first time its programs are loaded and its products'
//! algorithms chosen, which must not happen while recording) and replayed from then on. Must not know what plans compute.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cudarc::driver::{result, sys};

mod compile;
mod driver;
mod libraries;
mod modules;
mod products;
mod recent;
mod staging;

pub use compile::{Compiled, Compiler, kernel_folder};

use self::driver::Gpu;
use self::modules::Modules;
use self::products::Products;
use self::recent::Recent;
use self::staging::Staging;
use crate::plan::{Op, Plan};
use crate::{Address, Device, DeviceError, MemoryInfo};

/// Plans that are kept recorded.
const RECORDINGS: usize = 256;

/// A GPU.
pub struct Cuda {
    /// Before the GPU, in whose context all of it lives.
    state: Mutex<State>,
    gpu: Arc<Gpu>,
}

struct State {
    recordings: Recent<u64, Recording>,
    modules: Modules,
    products: Products,
    staging: Staging,
}

/// How far a plan that is replayed has come.
enum Recording {
    /// It ran once.
    Ran,
    /// It is recorded.
    Recorded(Graph),
}

impl Cuda {
    /// How many GPUs there are, usable or not.
    ///
    /// # Errors
    /// [`DeviceError::Missing`] where NVIDIA's driver is missing, does not start, or sees no GPU.
    pub fn count() -> Result<usize, DeviceError> {
        driver::start("cuda")?;
        driver::count().map_err(|error| DeviceError::Driver {
            device: "cuda".to_string(),
            call: "counting GPUs".to_string(),
            reason: driver::reason(error),
        })
    }

    /// Opens a GPU, counted from 0 as the driver counts them.
    ///
    /// # Errors
    /// [`DeviceError::Missing`] where the driver, a library or such a GPU is missing, or the GPU is older than Ampere.
    pub fn open(index: usize) -> Result<Cuda, DeviceError> {
        let version = driver::start(&format!("cuda:{index}"))?;
        let gpu = Arc::new(Gpu::open(index)?);
        let compiler = Compiler::find(version.0, kernel_folder())?;
        tracing::info!(
            device = gpu.name,
            capability = gpu.capability,
            multiprocessors = gpu.multiprocessors,
            driver = format!("{}.{}", version.0, version.1),
            nvrtc = format!("{}.{}", compiler.version().0, compiler.version().1),
            "opened a GPU"
        );
        Ok(Cuda {
            state: Mutex::new(State {
                recordings: Recent::new(RECORDINGS),
                modules: Modules::new(Arc::clone(&gpu), compiler)?,
                products: Products::new(Arc::clone(&gpu), version.0)?,
                staging: Staging::new(Arc::clone(&gpu))?,
            }),
            gpu,
        })
    }

    /// Its compute capability, as 90 for 9.0.
    pub fn capability(&self) -> u32 {
        self.gpu.capability
    }

    /// Everything behind the lock, with the GPU bound to this thread.
    fn enter(&self) -> Result<MutexGuard<'_, State>, DeviceError> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.gpu.bind()?;
        Ok(state)
    }

    /// Queues what a plan does, one by one.
    fn run_directly(&self, state: &mut State, plan: &Plan) -> Result<(), DeviceError> {
        let stream = self.gpu.stream;
        for op in plan.ops() {
            // SAFETY: that a plan's addresses are of memory of this device, which lives until the plan has run, is the
            // plan's promise; memory is given back only once all earlier work is done.
            unsafe {
                match op {
                    Op::Launch(launch) => state.modules.launch(launch)?,
                    Op::Product(product) => state.products.multiply(product)?,
                    Op::Zero { bytes: 0, .. } | Op::Copy { bytes: 0, .. } => {}
                    Op::Zero { to, bytes } => result::memset_d8_async(to.0, 0, *bytes, stream)
                        .map_err(self.gpu.failed("filling with zeros"))?,
                    Op::Copy { from, to, bytes } => {
                        result::memcpy_dtod_async(to.0, from.0, *bytes, stream)
                            .map_err(self.gpu.failed("copying"))?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Records what a plan does, without doing it.
    fn record(&self, state: &mut State, plan: &Plan) -> Result<Graph, DeviceError> {
        let stream = self.gpu.stream;
        // Other threads' calls do not matter to this one's recording: all work on the stream is behind the lock.
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;
        // SAFETY: the stream lives as long as the GPU, and is not being recorded: each recording is ended below.
        unsafe { result::stream::begin_capture(stream, mode) }
            .map_err(self.gpu.failed("beginning to record"))?;
        let outcome = self.run_directly(state, plan);
        // Ended whatever happened: a stream that is being recorded does no work.
        // SAFETY: begun above.
        let ended = unsafe { result::stream::end_capture(stream) };
        let recorded = match (outcome, ended) {
            (Ok(()), ended) => ended.map_err(self.gpu.failed("recording"))?,
            (Err(error), Ok(graph)) => {
                if !graph.is_null() {
                    // SAFETY: made by `end_capture`, and nobody else has it.
                    self.gpu
                        .log("ending a graph", unsafe { result::graph::destroy(graph) });
                }
                return Err(error);
            }
            (Err(error), Err(_)) => return Err(error),
        };
        // SAFETY: the graph was just recorded.
        let replay =
            unsafe { result::graph::instantiate(recorded, sys::CUgraphInstantiate_flags(0)) };
        // SAFETY: as above; what replays it stands on its own.
        self.gpu.log("ending a graph", unsafe {
            result::graph::destroy(recorded)
        });
        Ok(Graph {
            handle: replay.map_err(self.gpu.failed("making a graph"))?,
            gpu: Arc::clone(&self.gpu),
        })
    }
}

impl Drop for Cuda {
    fn drop(&mut self) {
        // What goes now may still be in use by queued work.
        if let Err(error) = self.gpu.bind().and_then(|()| self.gpu.wait()) {
            tracing::error!("closing a GPU: {error}");
        }
    }
}

/// A recorded plan, ready to be replayed.
struct Graph {
    handle: sys::CUgraphExec,
    gpu: Arc<Gpu>,
}

// SAFETY: the driver's handles may be used from every thread.
unsafe impl Send for Graph {}

impl Graph {
    fn replay(&self) -> Result<(), DeviceError> {
        // SAFETY: graph and stream live; what the graph's memory must be is the plan's promise, as when it was recorded.
        unsafe { result::graph::launch(self.handle, self.gpu.stream) }
            .map_err(self.gpu.failed("replaying a plan"))
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        // SAFETY: made by `record` and destroyed once; the driver lets a graph that is running end first.
        self.gpu.log("ending a graph", unsafe {
            result::graph::exec_destroy(self.handle)
        });
    }
}

impl Device for Cuda {
    fn name(&self) -> String {
        self.gpu.name.clone()
    }

    fn memory(&self) -> Result<MemoryInfo, DeviceError> {
        let _state = self.enter()?;
        let (free, total) =
            result::mem_get_info().map_err(self.gpu.failed("asking for free memory"))?;
        Ok(MemoryInfo { free, total })
    }

    fn multiprocessors(&self) -> usize {
        self.gpu.multiprocessors
    }

    fn allocate(&self, bytes: usize) -> Result<Address, DeviceError> {
        let _state = self.enter()?;
        // Not from a pool: pieces are few and large, and a pool would keep what is given back from other programs and from
        // `memory`. The driver aligns to 256 at least.
        // SAFETY: bytes without meaning; nobody reads them before they are written.
        match unsafe { result::malloc_sync(bytes.max(1)) } {
            Ok(address) => Ok(Address(address)),
            Err(error) if error.0 == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => {
                let (free, _) =
                    result::mem_get_info().map_err(self.gpu.failed("asking for free memory"))?;
                Err(DeviceError::Memory {
                    device: self.gpu.name.clone(),
                    wanted: bytes,
                    free,
                    mend: "end what else uses the GPU (nvidia-smi lists it), or use a smaller model or shorter contexts"
                        .to_string(),
                })
            }
            Err(error) => Err(self.gpu.failed("allocating")(error)),
        }
    }

    fn free(&self, address: Address, _bytes: usize) {
        let done = self.enter().and_then(|state| {
            self.gpu.wait()?;
            // SAFETY: `allocate` gave it, and all work that may use it is done.
            unsafe { result::free_sync(address.0) }.map_err(self.gpu.failed("freeing"))?;
            drop(state);
            Ok(())
        });
        if let Err(error) = done {
            tracing::error!("memory is not given back: {error}");
        }
    }

    fn upload(&self, to: Address, bytes: &[u8]) -> Result<(), DeviceError> {
        let mut state = self.enter()?;
        // SAFETY: that the memory is there is the caller's promise, as for a plan.
        unsafe { state.staging.upload(to, bytes) }
    }

    fn download(&self, from: Address, bytes: &mut [u8]) -> Result<(), DeviceError> {
        let mut state = self.enter()?;
        // SAFETY: as for `upload`.
        unsafe { state.staging.download(from, bytes) }
    }

    fn run(&self, plan: &Plan) -> Result<(), DeviceError> {
        let mut state = self.enter()?;
        if !plan.is_replayed() {
            return self.run_directly(&mut state, plan);
        }
        match state.recordings.get(&plan.id()) {
            None => {
                self.run_directly(&mut state, plan)?;
                state.recordings.insert(plan.id(), Recording::Ran);
                Ok(())
            }
            Some(Recording::Recorded(graph)) => graph.replay(),
            Some(Recording::Ran) => {
                let graph = self.record(&mut state, plan)?;
                graph.replay()?;
                state
                    .recordings
                    .insert(plan.id(), Recording::Recorded(graph));
                Ok(())
            }
        }
    }

    fn synchronize(&self) -> Result<(), DeviceError> {
        let _state = self.enter()?;
        self.gpu.wait()
    }
}
