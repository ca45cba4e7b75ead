//! Accelerators: memory on them, plans of launches, kernels in CUDA C, and what runs them.
//!
//! A caller lays its buffers out, writes [`Plan`]s over them and gives them to a [`Device`]. There are two: GPUs (feature
//! `cuda`), and an interpreter of plans on the processor that compiles the very same kernels as C++ (feature
//! `emulator`), so that what a plan computes is tested on machines without a GPU. This crate must not know models'
//! files, requests or text.

#[cfg(feature = "cuda")]
pub mod cuda;
#[cfg(feature = "emulator")]
pub mod emulator;
mod error;
pub mod kernels;
mod memory;
mod pages;
mod plan;

pub use error::DeviceError;
pub use memory::{Address, Buffer, Element, bytes_of};
pub use pages::{Page, PagePool};
pub use plan::{Argument, Kernel, Launch, Number, Op, Plan, Product, Program};

/// Memory of a device in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryInfo {
    /// What is free now.
    pub free: usize,
    /// All of it.
    pub total: usize,
}

/// Something that runs plans. All calls act in the order in which they are made.
pub trait Device: Send + Sync {
    /// Its name for people, as `cuda:0 (NVIDIA H100 80GB HBM3)`.
    fn name(&self) -> String;

    /// Its memory.
    ///
    /// # Errors
    /// Where the device does not answer.
    fn memory(&self) -> Result<MemoryInfo, DeviceError>;

    /// How many multiprocessors it has: parts that each run blocks of their own. What is divided finer or coarser than this
    /// leaves some of them idle.
    fn multiprocessors(&self) -> usize;

    /// Takes `bytes` of memory, aligned to 256, with whatever was in it. [`Buffer::new`] gives it back by itself.
    ///
    /// # Errors
    /// [`DeviceError::Memory`] where there is not so much.
    fn allocate(&self, bytes: usize) -> Result<Address, DeviceError>;

    /// Gives memory back that [`allocate`](Self::allocate) took, once all earlier work is done.
    fn free(&self, address: Address, bytes: usize);

    /// Writes bytes; the caller may reuse them at once.
    ///
    /// # Errors
    /// Where the device fails.
    fn upload(&self, to: Address, bytes: &[u8]) -> Result<(), DeviceError>;

    /// Reads bytes, after all earlier work.
    ///
    /// # Errors
    /// Where the device fails, also in earlier work.
    fn download(&self, from: Address, bytes: &mut [u8]) -> Result<(), DeviceError>;

    /// Runs a plan. A device may record it the first time and replay the recording after that: a plan names the same
    /// memory whenever it is run.
    ///
    /// # Errors
    /// Where a kernel cannot be compiled or launched.
    fn run(&self, plan: &Plan) -> Result<(), DeviceError>;

    /// Waits until all work is done.
    ///
    /// # Errors
    /// Where the device fails, also in earlier work.
    fn synchronize(&self) -> Result<(), DeviceError>;
}
