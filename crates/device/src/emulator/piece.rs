//! Memory that a kernel cannot leave unnoticed.
//!
//! A piece ends where a page that nobody may touch begins, and begins behind another: reading or writing beyond ends the
//! process, as it ends a GPU's context. What lies between the piece and those pages, less than an alignment behind it and
//! less than a page before it, is filled with a byte that must still be there later. Must not know what pieces hold.

use std::ptr;

/// What pieces are aligned to, as a GPU's are.
const ALIGNMENT: usize = 256;
/// Bytes that can be protected at once.
const PAGE: usize = 4096;
/// What fills the rest.
const GUARD: u8 = 0xa5;
/// Fresh memory: NaN as f32, f16 and bf16 alike.
const FRESH: u8 = 0xff;

/// A piece of memory of its own pages.
pub(super) struct Piece {
    map: *mut u8,
    /// Bytes of the map, both pages that nobody may touch included.
    mapped: usize,
    /// Bytes from the map's start to the piece's.
    offset: usize,
    bytes: usize,
}

// SAFETY: memory of this value's own.
unsafe impl Send for Piece {}

impl Piece {
    /// `None` where the system gives no memory.
    pub(super) fn new(bytes: usize) -> Option<Piece> {
        let held = bytes.next_multiple_of(ALIGNMENT);
        let mapped = held.next_multiple_of(PAGE) + 2 * PAGE;
        // SAFETY: a new map at a place that the system chooses.
        let map = unsafe {
            libc::mmap(
                ptr::null_mut(),
                mapped,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if map == libc::MAP_FAILED {
            return None;
        }
        let piece = Piece {
            map: map.cast(),
            mapped,
            offset: mapped - PAGE - held,
            bytes,
        };
        // SAFETY: all of it lies in the map, which nobody else knows yet.
        unsafe {
            ptr::write_bytes(piece.map.add(PAGE), GUARD, mapped - 2 * PAGE);
            ptr::write_bytes(piece.map.add(piece.offset), FRESH, bytes);
            for page in [piece.map, piece.map.add(mapped - PAGE)] {
                if libc::mprotect(page.cast(), PAGE, libc::PROT_NONE) != 0 {
                    return None;
                }
            }
        }
        Some(piece)
    }

    /// Where it begins.
    pub(super) fn start(&self) -> u64 {
        self.map as u64 + self.offset as u64
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether something was written right before or behind it. Must not be asked while something is.
    pub(super) fn is_harmed(&self) -> bool {
        let end = self.offset + self.bytes;
        let whole = |from: usize, to: usize| {
            // SAFETY: the bytes lie in the map and were all written, and nobody writes them now.
            let bytes = unsafe { std::slice::from_raw_parts(self.map.add(from), to - from) };
            bytes.iter().all(|byte| *byte == GUARD)
        };
        !(whole(PAGE, self.offset) && whole(end, self.mapped - PAGE))
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        // SAFETY: mapped above and nowhere given back.
        unsafe { libc::munmap(self.map.cast(), self.mapped) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_aligned_fresh_and_guarded() {
        for bytes in [0, 1, 255, 256, 4096, 5000] {
            let piece = Piece::new(bytes).unwrap();
            assert!(piece.start().is_multiple_of(ALIGNMENT as u64));
            let start = piece.start() as *mut u8;
            // SAFETY: the piece's own bytes.
            let fresh = unsafe { std::slice::from_raw_parts(start, bytes) };
            assert!(fresh.iter().all(|byte| *byte == FRESH));
            assert!(!piece.is_harmed());
            if !bytes.is_multiple_of(ALIGNMENT) {
                // SAFETY: behind the piece, before its protected page.
                unsafe { start.add(bytes).write(0) };
                assert!(piece.is_harmed(), "behind {bytes}");
            }
        }
        let piece = Piece::new(300).unwrap();
        // SAFETY: before the piece, behind its protected page.
        unsafe { (piece.start() as *mut u8).sub(1).write(0) };
        assert!(piece.is_harmed());
    }
}
