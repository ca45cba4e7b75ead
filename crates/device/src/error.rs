//! What can go wrong on a device.

/// An error of a device, naming the mend where there is one.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// There is no such device, or what drives it is not installed.
    #[error("{device} cannot be used: {reason}; {mend}")]
    Missing {
        /// As asked for, as `cuda:0`.
        device: String,
        /// What was tried.
        reason: String,
        /// What helps.
        mend: String,
    },
    /// Memory was asked for that is not there.
    #[error("{wanted} bytes do not fit on {device}, of which {free} are free; {mend}")]
    Memory {
        /// The device.
        device: String,
        /// Bytes asked for.
        wanted: usize,
        /// Bytes free.
        free: usize,
        /// What helps.
        mend: String,
    },
    /// A kernel does not compile.
    #[error("kernel program {program} does not compile: {log}")]
    Compile {
        /// The program.
        program: String,
        /// What the compiler says.
        log: String,
    },
    /// A launch failed.
    #[error("kernel {kernel} failed: {reason}")]
    Launch {
        /// The kernel.
        kernel: String,
        /// What the driver says.
        reason: String,
    },
    /// The driver or a library of it failed.
    #[error("{call} failed on {device}: {reason}")]
    Driver {
        /// The device.
        device: String,
        /// What was being done.
        call: String,
        /// What the driver says.
        reason: String,
    },
}
