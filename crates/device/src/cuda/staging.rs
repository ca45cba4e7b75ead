//! Pinned memory that bytes pass through on their way to the GPU and back.
//!
//! A copy from pinned memory is queued like any other work, so an upload returns once its bytes lie there, and what was
//! queued before still sees the old ones. Must not know what the bytes are.

use std::sync::Arc;

use cudarc::driver::{result, sys};

use super::driver::Gpu;
use crate::{Address, DeviceError};

/// Bytes of a piece. Larger uploads are cut.
const PIECE: usize = 4 << 20;
/// Pieces for uploads: one is filled while others are copied.
const PIECES: usize = 4;
/// Where bytes begin in a piece: at cache lines.
const ALIGNMENT: usize = 64;

/// Pieces for uploads in turn, and one for downloads.
pub(super) struct Staging {
    gpu: Arc<Gpu>,
    pieces: Vec<Piece>,
    /// The piece that is being filled.
    current: usize,
    /// So far.
    filled: usize,
    back: Pinned,
}

struct Piece {
    memory: Pinned,
    /// Reached when all copies from it are done.
    copied: sys::CUevent,
    /// Whether the event was ever recorded.
    used: bool,
}

// SAFETY: the driver's events may be used from every thread.
unsafe impl Send for Piece {}

impl Staging {
    pub(super) fn new(gpu: Arc<Gpu>) -> Result<Staging, DeviceError> {
        let mut staging = Staging {
            back: Pinned::new(&gpu)?,
            gpu,
            pieces: Vec::new(),
            current: 0,
            filled: 0,
        };
        for _ in 0..PIECES {
            let memory = Pinned::new(&staging.gpu)?;
            let copied = result::event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING)
                .map_err(staging.gpu.failed("making an event"))?;
            staging.pieces.push(Piece {
                memory,
                copied,
                used: false,
            });
        }
        Ok(staging)
    }

    /// Queues a copy to the GPU; the caller may reuse the bytes at once.
    ///
    /// # Safety
    /// The memory at `to` must hold as many bytes until the copy is done, and the GPU be bound.
    pub(super) unsafe fn upload(&mut self, to: Address, bytes: &[u8]) -> Result<(), DeviceError> {
        let mut done = 0;
        while done < bytes.len() {
            if self.filled >= PIECE {
                self.turn()?;
            }
            let piece = &mut self.pieces[self.current];
            let count = (PIECE - self.filled).min(bytes.len() - done);
            // A small upload is not cut: the next piece has room for all of it.
            if count < bytes.len() - done && bytes.len() - done <= PIECE {
                self.filled = PIECE;
                continue;
            }
            let at = self.filled;
            let staged = &mut piece.memory.slice()[at..at + count];
            staged.copy_from_slice(&bytes[done..done + count]);
            // SAFETY: the bytes stay where they are, and as they are, until the piece's event is reached; the rest is the
            // caller's promise.
            unsafe { result::memcpy_htod_async(to.plus(done).0, staged, self.gpu.stream) }
                .map_err(self.gpu.failed("uploading"))?;
            self.filled = (at + count).next_multiple_of(ALIGNMENT);
            done += count;
        }
        Ok(())
    }

    /// Goes on to the next piece, waiting until copies from it are done.
    fn turn(&mut self) -> Result<(), DeviceError> {
        let piece = &mut self.pieces[self.current];
        // SAFETY: event and stream live as long as this.
        unsafe { result::event::record(piece.copied, self.gpu.stream) }
            .map_err(self.gpu.failed("recording an event"))?;
        piece.used = true;
        self.current = (self.current + 1) % self.pieces.len();
        self.filled = 0;
        let piece = &self.pieces[self.current];
        if piece.used {
            // SAFETY: the event lives as long as this.
            unsafe { result::event::synchronize(piece.copied) }
                .map_err(self.gpu.failed("earlier work"))?;
        }
        Ok(())
    }

    /// Copies from the GPU after all work so far.
    ///
    /// # Safety
    /// The memory at `from` must hold as many bytes, and the GPU be bound.
    pub(super) unsafe fn download(
        &mut self,
        from: Address,
        bytes: &mut [u8],
    ) -> Result<(), DeviceError> {
        for (index, part) in bytes.chunks_mut(PIECE).enumerate() {
            let back = &mut self.back.slice()[..part.len()];
            // SAFETY: nobody looks at the pinned bytes until the copy is done, which is waited for; the rest is the
            // caller's promise.
            unsafe { result::memcpy_dtoh_async(back, from.plus(index * PIECE).0, self.gpu.stream) }
                .map_err(self.gpu.failed("downloading"))?;
            self.gpu.wait()?;
            part.copy_from_slice(&self.back.slice()[..part.len()]);
        }
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        for piece in &self.pieces {
            // SAFETY: made above, and destroyed nowhere else.
            self.gpu.log("ending an event", unsafe {
                result::event::destroy(piece.copied)
            });
        }
    }
}

/// [`PIECE`] bytes that the GPU copies from and to by itself.
struct Pinned {
    gpu: Arc<Gpu>,
    start: *mut u8,
}

// SAFETY: memory of this value's own.
unsafe impl Send for Pinned {}

impl Pinned {
    fn new(gpu: &Arc<Gpu>) -> Result<Pinned, DeviceError> {
        // SAFETY: plain bytes, written below before anybody reads them.
        let start = unsafe { result::malloc_host(PIECE, 0) }
            .map_err(gpu.failed("taking pinned memory"))?
            .cast::<u8>();
        // SAFETY: as many bytes were just taken.
        unsafe { start.write_bytes(0, PIECE) };
        Ok(Pinned {
            gpu: Arc::clone(gpu),
            start,
        })
    }

    fn slice(&mut self) -> &mut [u8] {
        // SAFETY: as many bytes, initialised, this value's own.
        unsafe { std::slice::from_raw_parts_mut(self.start, PIECE) }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // SAFETY: taken above and given back once.
        self.gpu.log("giving pinned memory back", unsafe {
            result::free_host(self.start.cast())
        });
    }
}
