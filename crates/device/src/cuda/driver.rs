//! The driver: whether it is there, a GPU's context and stream, and its errors in this crate's words.
//!
//! Must not know plans.

use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys;

use crate::DeviceError;

/// The driver that is needed: of CUDA 12.4, the first whose driver tells what arguments a kernel takes.
const OLDEST_DRIVER: (u32, u32) = (12, 4);
/// The oldest GPUs that kernels are written for: they copy from global to shared memory by themselves, and multiply bfloat16.
const OLDEST_CAPABILITY: u32 = 80;

pub(super) fn missing(device: &str, reason: String, mend: &str) -> DeviceError {
    DeviceError::Missing {
        device: device.to_string(),
        reason,
        mend: mend.to_string(),
    }
}

/// What the driver says of an error, as `CUDA_ERROR_OUT_OF_MEMORY: out of memory`.
pub(super) fn reason(error: DriverError) -> String {
    match error.error_string() {
        Ok(text) => format!("{:?}: {}", error.0, text.to_string_lossy()),
        Err(_) => format!("{:?}", error.0),
    }
}

/// Loads and starts the driver; gives the version of CUDA it runs, as (13, 0).
pub(super) fn start(device: &str) -> Result<(u32, u32), DeviceError> {
    const MEND: &str = "install NVIDIA's driver, or use the processor";
    // SAFETY: NVIDIA's driver is made to be loaded, and its initialisers need nothing of this process. The bindings panic
    // where the library is missing, so this is asked before any of them is called.
    if !unsafe { sys::is_culib_present() } {
        return Err(missing(
            device,
            "NVIDIA's driver (libcuda) is not installed".to_string(),
            MEND,
        ));
    }
    result::init().map_err(|error| match error.0 {
        sys::CUresult::CUDA_ERROR_NO_DEVICE => missing(
            device,
            "this machine has no GPU that NVIDIA's driver can see".to_string(),
            "look whether nvidia-smi lists one and CUDA_VISIBLE_DEVICES does not hide it, or use the processor",
        ),
        _ => missing(
            device,
            format!("NVIDIA's driver does not start ({})", reason(error)),
            MEND,
        ),
    })?;
    let mut version = 0;
    // SAFETY: it writes one number.
    unsafe { sys::cuDriverGetVersion(&raw mut version) }
        .result()
        .map_err(|error| missing(device, reason(error), MEND))?;
    let version = version.cast_unsigned();
    let version = (version / 1000, version % 1000 / 10);
    if version < OLDEST_DRIVER {
        return Err(missing(
            device,
            format!(
                "NVIDIA's driver is of CUDA {}.{}, older than {}.{}",
                version.0, version.1, OLDEST_DRIVER.0, OLDEST_DRIVER.1
            ),
            "update the driver, or use the processor",
        ));
    }
    Ok(version)
}

/// A GPU, its context, and the one stream that all work goes through.
pub(super) struct Gpu {
    pub(super) name: String,
    /// Compute capability, as 90.
    pub(super) capability: u32,
    pub(super) multiprocessors: usize,
    device: sys::CUdevice,
    context: sys::CUcontext,
    pub(super) stream: sys::CUstream,
}

// SAFETY: the driver's handles may be used from every thread; calls bind the context to theirs first.
unsafe impl Send for Gpu {}
// SAFETY: as above.
unsafe impl Sync for Gpu {}

impl Gpu {
    /// Opens the GPU that the driver numbers `index`; [`start`] must have been called.
    pub(super) fn open(index: usize) -> Result<Gpu, DeviceError> {
        let asked = format!("cuda:{index}");
        let failed = |call: &str, error: DriverError| DeviceError::Driver {
            device: format!("cuda:{index}"),
            call: call.to_string(),
            reason: reason(error),
        };
        let count = count().map_err(|error| failed("counting GPUs", error))?;
        if index >= count {
            return Err(missing(
                &asked,
                match count {
                    1 => "there is one GPU, cuda:0".to_string(),
                    _ => format!("there are {count} GPUs, counted from 0"),
                },
                "name one of them",
            ));
        }
        let device = result::device::get(index as i32).map_err(|error| failed("opening", error))?;
        let name = result::device::get_name(device).map_err(|error| failed("its name", error))?;
        let attribute = |attribute| {
            // SAFETY: the device is one that the driver gave.
            unsafe { result::device::get_attribute(device, attribute) }
                .map(i32::cast_unsigned)
                .map_err(|error| failed("its attributes", error))
        };
        use sys::CUdevice_attribute as Attribute;
        let major = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
        let minor = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
        let multiprocessors = attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?;
        let name = format!("{asked} ({name})");
        let capability = 10 * major + minor;
        if capability < OLDEST_CAPABILITY {
            return Err(missing(
                &name,
                format!(
                    "its compute capability is {major}.{minor}, and kernels need 8.0 (Ampere) or later"
                ),
                "use a newer GPU, or the processor",
            ));
        }
        // SAFETY: the device is one that the driver gave; `Drop` releases the context.
        let context = unsafe { result::primary_ctx::retain(device) }
            .map_err(|error| failed("making a context", error))?;
        let mut gpu = Gpu {
            name,
            capability,
            multiprocessors: multiprocessors as usize,
            device,
            context,
            stream: std::ptr::null_mut(),
        };
        gpu.bind()?;
        gpu.stream = result::stream::create(result::stream::StreamKind::NonBlocking)
            .map_err(gpu.failed("making a stream"))?;
        Ok(gpu)
    }

    /// Makes this GPU the one that this thread's calls go to.
    pub(super) fn bind(&self) -> Result<(), DeviceError> {
        // SAFETY: the context lives as long as this.
        unsafe { result::ctx::set_current(self.context) }.map_err(self.failed("binding"))
    }

    /// Waits until all work is done.
    pub(super) fn wait(&self) -> Result<(), DeviceError> {
        // SAFETY: the stream lives as long as this.
        unsafe { result::stream::synchronize(self.stream) }.map_err(self.failed("earlier work"))
    }

    /// Turns the driver's error into one that says what was being done.
    pub(super) fn failed(&self, call: &'static str) -> impl Fn(DriverError) -> DeviceError + '_ {
        move |error| DeviceError::Driver {
            device: self.name.clone(),
            call: call.to_string(),
            reason: reason(error),
        }
    }

    /// Logs what goes wrong while something is given back, when nobody can be told.
    pub(super) fn log(&self, call: &str, outcome: Result<(), DriverError>) {
        if let Err(error) = outcome {
            tracing::error!(device = self.name, "{call} failed: {}", reason(error));
        }
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        if !self.stream.is_null() {
            // SAFETY: `open` made the stream, and whatever used it is gone.
            self.log("ending a stream", unsafe {
                result::stream::destroy(self.stream)
            });
        }
        // SAFETY: `open` retained it, and whatever was made in it is gone.
        self.log("releasing a context", unsafe {
            result::primary_ctx::release(self.device)
        });
    }
}

/// How many GPUs there are; [`start`] must have been called.
pub(super) fn count() -> Result<usize, DriverError> {
    result::device::get_count().map(|count| usize::try_from(count).unwrap_or(0))
}
