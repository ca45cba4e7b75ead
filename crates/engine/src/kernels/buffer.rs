//! Memory for packed weights: page-aligned, on huge pages where the system gives them.
//!
//! A decoded token reads every weight once, so the translation misses of 4 KiB pages would show.

use memmap2::MmapMut;

use crate::EngineError;

/// A fixed run of bytes, zeroed, aligned to a page.
pub(super) struct Buffer {
    map: Option<MmapMut>,
    len: usize,
}

impl Buffer {
    /// `len` zero bytes.
    pub(super) fn zeroed(len: usize) -> Result<Buffer, EngineError> {
        if len == 0 {
            return Ok(Buffer { map: None, len });
        }
        let map = MmapMut::map_anon(len).map_err(|error| {
            EngineError::Weights(format!(
                "no memory for {len} bytes of packed weights ({error}); use a smaller model"
            ))
        })?;
        #[cfg(target_os = "linux")]
        if len >= HUGE_PAGE_BYTES {
            // Advice only: a kernel without huge pages refuses it, and the bytes are the same.
            let _ = map.advise(memmap2::Advice::HugePage);
        }
        Ok(Buffer {
            map: Some(map),
            len,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.map.as_deref().unwrap_or(&[])
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        self.map.as_deref_mut().unwrap_or(&mut [])
    }
}

#[cfg(target_os = "linux")]
const HUGE_PAGE_BYTES: usize = 2 << 20;
