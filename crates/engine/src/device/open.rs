//! Opening devices by name.
//!
//! A process has one of each GPU: models on it share its compiled kernels. Must not know models.

#[cfg(feature = "cuda")]
use std::collections::BTreeMap;
use std::sync::Arc;
#[cfg(feature = "cuda")]
use std::sync::{Mutex, PoisonError, Weak};

use footnote_device::{Device, DeviceError};

use super::DeviceChoice;
use crate::EngineError;

/// Whether this build can run models on NVIDIA GPUs at all.
pub const HAS_CUDA: bool = cfg!(feature = "cuda");

/// Opens a device; nothing stands for the processor. `auto` takes the first GPU, and the processor where this build or
/// machine has none; the log says which and why.
///
/// # Errors
/// Where a GPU was asked for by number that cannot be used, naming the mend.
pub fn open(choice: DeviceChoice) -> Result<Option<Arc<dyn Device>>, EngineError> {
    Ok(choose(choice, &count, &open_gpu)?)
}

/// The GPUs of this machine, each by its name or why it cannot be used.
///
/// # Errors
/// [`DeviceError::Missing`] where this build has no CUDA, or the machine no driver or no GPU.
pub fn gpus() -> Result<Vec<Result<String, DeviceError>>, DeviceError> {
    let all = 0..count()?;
    Ok(all
        .map(|index| open_gpu(index).map(|gpu| gpu.name()))
        .collect())
}

type Count<'a> = &'a dyn Fn() -> Result<usize, DeviceError>;
type Open<'a> = &'a dyn Fn(usize) -> Result<Arc<dyn Device>, DeviceError>;

fn choose(
    choice: DeviceChoice,
    count: Count<'_>,
    open: Open<'_>,
) -> Result<Option<Arc<dyn Device>>, DeviceError> {
    match choice {
        DeviceChoice::Cpu => Ok(None),
        DeviceChoice::Cuda(index) => open(index).map(Some),
        DeviceChoice::Auto => {
            match count() {
                Ok(0) => tracing::info!("on the processor: this machine has no GPU"),
                Err(reason) => tracing::info!("on the processor: {reason}"),
                Ok(_) => match open(0) {
                    Ok(gpu) => return Ok(Some(gpu)),
                    // A GPU that lies idle is worth an operator's look.
                    Err(reason) => {
                        tracing::warn!("on the processor, though there is a GPU: {reason}");
                    }
                },
            }
            Ok(None)
        }
    }
}

#[cfg(feature = "cuda")]
fn count() -> Result<usize, DeviceError> {
    footnote_device::cuda::Cuda::count()
}

#[cfg(feature = "cuda")]
fn open_gpu(index: usize) -> Result<Arc<dyn Device>, DeviceError> {
    static OPENED: Mutex<BTreeMap<usize, Weak<footnote_device::cuda::Cuda>>> =
        Mutex::new(BTreeMap::new());
    let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(gpu) = opened.get(&index).and_then(Weak::upgrade) {
        return Ok(gpu);
    }
    let gpu = Arc::new(footnote_device::cuda::Cuda::open(index)?);
    opened.insert(index, Arc::downgrade(&gpu));
    Ok(gpu)
}

#[cfg(not(feature = "cuda"))]
fn count() -> Result<usize, DeviceError> {
    Err(not_built(0))
}

#[cfg(not(feature = "cuda"))]
fn open_gpu(index: usize) -> Result<Arc<dyn Device>, DeviceError> {
    Err(not_built(index))
}

#[cfg(not(feature = "cuda"))]
fn not_built(index: usize) -> DeviceError {
    DeviceError::Missing {
        device: DeviceChoice::Cuda(index).to_string(),
        reason: "this build has no CUDA".to_string(),
        mend: "build with `cargo build --release --features cuda`, or use `--device cpu`"
            .to_string(),
    }
}

#[cfg(test)]
mod tests {
    use footnote_device::emulator::Emulator;

    use super::*;

    fn missing() -> DeviceError {
        DeviceError::Missing {
            device: "cuda:0".to_string(),
            reason: "no driver".to_string(),
            mend: "install it".to_string(),
        }
    }

    #[test]
    fn the_processor_stands_in_only_where_it_was_not_ruled_out() {
        let there = |_| Ok(Arc::new(Emulator::new(1 << 20)) as Arc<dyn Device>);
        let gone = |_| Err(missing());
        let auto = DeviceChoice::Auto;
        assert!(choose(auto, &|| Ok(2), &there).unwrap().is_some());
        assert!(choose(auto, &|| Ok(0), &there).unwrap().is_none());
        assert!(choose(auto, &|| Err(missing()), &there).unwrap().is_none());
        assert!(choose(auto, &|| Ok(1), &gone).unwrap().is_none());
        let cpu = DeviceChoice::Cpu;
        assert!(choose(cpu, &|| Ok(1), &there).unwrap().is_none());
        let first = DeviceChoice::Cuda(0);
        assert!(choose(first, &|| Ok(1), &there).unwrap().is_some());
        let error = choose(first, &|| Ok(1), &gone)
            .err()
            .map(|error| error.to_string());
        assert!(error.unwrap().contains("install it"));
    }
}
