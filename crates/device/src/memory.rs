//! Pieces of a device's memory, and plain values as bytes.
//!
//! Must not know what lies in them.

use std::fmt;
use std::sync::Arc;

use half::{bf16, f16};

use crate::{Device, DeviceError};

/// An address on a device.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Address(pub u64);

impl Address {
    /// No address: what an optional argument of a kernel gets.
    pub const NONE: Address = Address(0);

    /// So many bytes further.
    #[must_use]
    pub fn plus(self, bytes: usize) -> Address {
        Address(self.0 + bytes as u64)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

/// Memory of a device, given back when the last clone is dropped.
#[derive(Clone)]
pub struct Buffer(Arc<Piece>);

struct Piece {
    device: Arc<dyn Device>,
    address: Address,
    bytes: usize,
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.device.free(self.address, self.bytes);
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({:?}, {} bytes)", self.address(), self.bytes())
    }
}

impl Buffer {
    /// Takes memory, with whatever was in it.
    ///
    /// # Errors
    /// As [`Device::allocate`].
    pub fn new(device: &Arc<dyn Device>, bytes: usize) -> Result<Buffer, DeviceError> {
        // No memory at all still needs an address of its own.
        let bytes = bytes.max(1);
        Ok(Buffer(Arc::new(Piece {
            address: device.allocate(bytes)?,
            device: Arc::clone(device),
            bytes,
        })))
    }

    /// Memory that holds `values`.
    ///
    /// # Errors
    /// As [`Device::allocate`] and [`Device::upload`].
    pub fn of<E: Element>(device: &Arc<dyn Device>, values: &[E]) -> Result<Buffer, DeviceError> {
        let bytes = bytes_of(values);
        let buffer = Buffer::new(device, bytes.len())?;
        device.upload(buffer.address(), bytes)?;
        Ok(buffer)
    }

    /// Where it begins.
    pub fn address(&self) -> Address {
        self.0.address
    }

    /// Its size.
    pub fn bytes(&self) -> usize {
        self.0.bytes
    }

    /// An address in it.
    ///
    /// # Panics
    /// Beyond its end.
    pub fn at(&self, bytes: usize) -> Address {
        assert!(
            bytes <= self.bytes(),
            "byte {bytes} of a buffer of {}",
            self.bytes()
        );
        self.address().plus(bytes)
    }

    /// Writes values from its beginning.
    ///
    /// # Errors
    /// As [`Device::upload`].
    ///
    /// # Panics
    /// Where they are more than it holds.
    pub fn write<E: Element>(&self, values: &[E]) -> Result<(), DeviceError> {
        let bytes = bytes_of(values);
        assert!(
            bytes.len() <= self.bytes(),
            "{} bytes into a buffer of {}",
            bytes.len(),
            self.bytes()
        );
        self.0.device.upload(self.address(), bytes)
    }

    /// Reads its first `count` values.
    ///
    /// # Errors
    /// As [`Device::download`].
    ///
    /// # Panics
    /// Where it holds fewer.
    pub fn read<E: Element>(&self, count: usize) -> Result<Vec<E>, DeviceError> {
        let bytes = count * size_of::<E>();
        assert!(
            bytes <= self.bytes(),
            "{bytes} bytes of a buffer of {}",
            self.bytes()
        );
        let mut values = vec![E::default(); count];
        // SAFETY: elements are plain numbers, of which every byte pattern is one, and the slice is theirs alone.
        let raw = unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), bytes) };
        self.0.device.download(self.address(), raw)?;
        Ok(values)
    }
}

/// A plain number: every pattern of bits is a value, and no byte of it is padding.
///
/// # Safety
/// Only types for which both hold may be elements.
pub unsafe trait Element: Copy + Default {}

// SAFETY: numbers without padding.
unsafe impl Element for u8 {}
// SAFETY: as above.
unsafe impl Element for i8 {}
// SAFETY: as above.
unsafe impl Element for u16 {}
// SAFETY: as above.
unsafe impl Element for u32 {}
// SAFETY: as above.
unsafe impl Element for i32 {}
// SAFETY: as above.
unsafe impl Element for u64 {}
// SAFETY: as above.
unsafe impl Element for f32 {}
// SAFETY: as above.
unsafe impl Element for f16 {}
// SAFETY: as above.
unsafe impl Element for bf16 {}

/// The bytes of values, in the machine's order, which devices share.
pub fn bytes_of<E: Element>(values: &[E]) -> &[u8] {
    // SAFETY: elements have no padding, so all their bytes are initialised; u8 has no alignment.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
}
