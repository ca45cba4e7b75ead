//! Tile registers (AMX): whether this process may use them, their shape, and the inner product.
//!
//! Stable Rust has no names for these instructions, so they are written out. All eight registers
//! keep one shape, 16 rows of 64 bytes. This module must not know matrices, formats or threads.

use std::arch::asm;
use std::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};

/// Rows of a tile: tokens of an input tile, outputs of a sum, pairs of columns of a weight tile.
pub(super) const TILE_ROWS: usize = 16;
/// BF16 columns of one input tile: two for each of a weight tile's 16 rows.
pub(super) const TILE_COLS: usize = 32;
const TILE_BYTES: usize = 1024;

/// The memory form of one register, row after row.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) union Tile {
    /// Two BF16 numbers in each word: a row of inputs, or for 16 outputs two columns of weights.
    pub(super) pairs: [[u32; 16]; TILE_ROWS],
    /// Sums, one row a token.
    pub(super) sums: [[f32; 16]; TILE_ROWS],
}

impl Tile {
    pub(super) const ZERO: Tile = Tile {
        pairs: [[0; 16]; TILE_ROWS],
    };
}

const _: () = assert!(size_of::<Tile>() == TILE_BYTES);

/// Whether processor, hypervisor and kernel all let this process use BF16 tiles. Asks the kernel
/// for its permission, which threads started later inherit.
pub(super) fn permitted() -> bool {
    processor_has_tiles() && kernel_saves_tiles() && kernel_permits_tiles()
}

fn processor_has_tiles() -> bool {
    const BF16: u32 = 1 << 22;
    const TILE: u32 = 1 << 24;
    // Every x86-64 has CPUID; leaf 7 is only read where it exists.
    __cpuid(0).eax >= 7 && __cpuid_count(7, 0).edx & (BF16 | TILE) == BF16 | TILE
}

/// Whether the system saves tile registers when it changes threads (XCR0 bits 17 and 18).
fn kernel_saves_tiles() -> bool {
    const XSAVE_IN_USE: u32 = 1 << 27;
    const TILE_STATE: u64 = 3 << 17;
    if __cpuid(1).ecx & XSAVE_IN_USE == 0 {
        return false;
    }
    // SAFETY: the bit says that the system has switched the instruction on.
    unsafe { _xgetbv(0) & TILE_STATE == TILE_STATE }
}

/// Linux gives the large state only to processes that ask (arch/x86/xstate in its documentation).
fn kernel_permits_tiles() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const REQUEST_PERMISSION: i64 = 0x1023;
    const TILE_DATA: i64 = 18;
    let outcome: i64;
    // SAFETY: this system call reads and writes no memory; a kernel that does not know it says so.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => outcome,
            in("rdi") REQUEST_PERMISSION,
            in("rsi") TILE_DATA,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    outcome == 0
}

/// The registers' shapes, as the instruction reads them.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

static ALL_FULL: Configuration = Configuration {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    row_bytes: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

/// Tile registers in use by this thread; let go when dropped, so that the system need not save them.
pub(super) struct TileRegisters {
    /// The registers belong to the thread that configured them.
    _here: std::marker::PhantomData<*const ()>,
}

impl TileRegisters {
    /// # Safety
    /// [`permitted`] must have said yes in this process.
    pub(super) unsafe fn take() -> TileRegisters {
        // SAFETY: the caller's promise; 64 readable bytes.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &raw const ALL_FULL, options(nostack, readonly));
        }
        TileRegisters {
            _here: std::marker::PhantomData,
        }
    }

    /// Two blocks of 16 tokens by two panels of 16 outputs over `steps` tiles of 32 columns:
    /// `sums[2·block + panel] (+)= inputs[block] · weights[panel]`; starts from what `sums` holds
    /// where `resume` says so, from zero else. Products are exact, sums f32, in the order of columns.
    ///
    /// # Safety
    /// `steps` tiles, at least one, must be readable at each input and weight pointer, and four
    /// writable at `sums`.
    #[inline]
    pub(super) unsafe fn multiply(
        &self,
        inputs: [*const Tile; 2],
        weights: [*const Tile; 2],
        steps: usize,
        sums: *mut Tile,
        resume: bool,
    ) {
        debug_assert!(steps > 0);
        // SAFETY: the registers are configured while `self` lives; the pointers are the caller's
        // promise and the loop reads `steps` tiles at each.
        unsafe {
            asm!(
                "test {resume:e}, {resume:e}",
                "jz 2f",
                "tileloadd tmm0, [{sums} + {row}*1]",
                "tileloadd tmm1, [{sums} + {row}*1 + 1024]",
                "tileloadd tmm2, [{sums} + {row}*1 + 2048]",
                "tileloadd tmm3, [{sums} + {row}*1 + 3072]",
                "jmp 3f",
                "2:",
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "3:",
                "tileloadd tmm6, [{w0} + {row}*1]",
                "tileloadd tmm4, [{i0} + {row}*1]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm5, [{i1} + {row}*1]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tileloadd tmm7, [{w1} + {row}*1]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "add {i0}, 1024",
                "add {i1}, 1024",
                "add {w0}, 1024",
                "add {w1}, 1024",
                "dec {steps}",
                "jnz 3b",
                "tilestored [{sums} + {row}*1], tmm0",
                "tilestored [{sums} + {row}*1 + 1024], tmm1",
                "tilestored [{sums} + {row}*1 + 2048], tmm2",
                "tilestored [{sums} + {row}*1 + 3072], tmm3",
                resume = in(reg) i32::from(resume),
                sums = in(reg) sums,
                row = in(reg) 64_usize,
                i0 = inout(reg) inputs[0] => _,
                i1 = inout(reg) inputs[1] => _,
                w0 = inout(reg) weights[0] => _,
                w1 = inout(reg) weights[1] => _,
                steps = inout(reg) steps => _,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            );
        }
    }
}

impl Drop for TileRegisters {
    fn drop(&mut self) {
        // SAFETY: the registers were configured by this thread.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bf16(x: f32) -> u32 {
        x.to_bits() >> 16
    }

    #[test]
    fn two_by_two_tiles_are_the_sums_of_their_products() {
        if !permitted() {
            eprintln!("SKIPPED tile registers: this machine has none for us");
            return;
        }
        // Small whole numbers: every product and sum is exact.
        let value = |seed: usize| (seed * 7 % 11) as f32 - 5.0;
        let steps = 3;
        let at = |seed: usize, row: usize, col: usize| value(seed * 31 + row * 5 + col * 3);
        let mut inputs = vec![[Tile::ZERO; 3]; 2];
        let mut weights = vec![[Tile::ZERO; 3]; 2];
        for which in 0..2 {
            for step in 0..steps {
                let (mut left, mut right) = ([[0; 16]; 16], [[0; 16]; 16]);
                for row in 0..16 {
                    for word in 0..16 {
                        let col = step * 32 + word * 2;
                        left[row][word] =
                            bf16(at(which, row, col)) | bf16(at(which, row, col + 1)) << 16;
                        let col = step * 32 + row * 2;
                        right[row][word] = bf16(at(which + 2, word, col))
                            | bf16(at(which + 2, word, col + 1)) << 16;
                    }
                }
                inputs[which][step].pairs = left;
                weights[which][step].pairs = right;
            }
        }
        let mut sums = [Tile::ZERO; 4];
        // SAFETY: permitted; three tiles at each pointer, four sums.
        unsafe {
            let registers = TileRegisters::take();
            for resume in [false, true] {
                registers.multiply(
                    [inputs[0].as_ptr(), inputs[1].as_ptr()],
                    [weights[0].as_ptr(), weights[1].as_ptr()],
                    steps,
                    sums.as_mut_ptr(),
                    resume,
                );
            }
        }
        for (index, tile) in sums.iter().enumerate() {
            for row in 0..16 {
                for output in 0..16 {
                    let once: f32 = (0..steps * 32)
                        .map(|col| at(index / 2, row, col) * at(index % 2 + 2, output, col))
                        .sum();
                    // SAFETY: the kernel wrote sums.
                    let got = unsafe { tile.sums[row][output] };
                    assert_eq!(got, 2.0 * once, "tile {index} row {row} output {output}");
                }
            }
        }
    }
}
