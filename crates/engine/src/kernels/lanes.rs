//! Sixteen f32 side by side, as each instruction set holds them.
//!
//! A [`Kernel`] is written once over [`Lanes`] and compiled for every [`Isa`]: [`dispatch`] calls it
//! inside a function that has the instruction set switched on, and everything is inlined there.

use half::f16;

use super::isa::Isa;

/// Floats of one vector.
pub(super) const LANES: usize = 16;

/// A vector of [`LANES`] floats.
///
/// Implementations for an instruction set may only be used inside a [`Kernel`] run by [`dispatch`].
pub(super) trait Lanes: Copy {
    /// Whether there are 32 registers of a whole vector each, so that large tiles pay.
    const WIDE: bool;

    fn splat(x: f32) -> Self;
    /// # Safety
    /// [`LANES`] floats must be readable at `at`.
    unsafe fn load(at: *const f32) -> Self;
    /// # Safety
    /// [`LANES`] floats must be readable at `at`.
    unsafe fn load_half(at: *const f16) -> Self;
    /// # Safety
    /// [`LANES`] floats must be writable at `at`.
    unsafe fn store(self, at: *mut f32);
    /// # Safety
    /// [`LANES`] halves must be writable at `at`.
    unsafe fn store_half(self, at: *mut f16);
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    fn div(self, other: Self) -> Self;
    fn max(self, other: Self) -> Self;
    fn min(self, other: Self) -> Self;
    /// `self·b + c`.
    fn mul_add(self, b: Self, c: Self) -> Self;
    /// To the nearest integer.
    fn round(self) -> Self;
    /// Times 2 to the power of `n`, whole numbers in −126..=127.
    fn scale_by_power(self, n: Self) -> Self;

    /// Runs `kernel` with these vectors in a function of its own: many inner loops in one function
    /// would be too much for the compiler to inline all their instructions.
    fn apart(kernel: impl Kernel);

    /// Asks for the cache line at `at`, wherever it is.
    #[inline(always)]
    fn prefetch<T>(_at: *const T) {}

    /// 2 to the power of each lane, within 2 units of the last place; below −126 it is 2⁻¹²⁶, which
    /// counts for nothing beside 1.
    #[inline(always)]
    fn exp2(self) -> Self {
        let x = self.max(Self::splat(-126.0)).min(Self::splat(127.0));
        let n = x.round();
        let f = x.sub(n);
        // Taylor coefficients ln(2)^k / k! on −0.5..=0.5.
        let mut p = Self::splat(1.525_273_4e-5);
        for c in [
            1.540_353e-4,
            1.333_355_8e-3,
            9.618_129e-3,
            5.550_411e-2,
            2.402_265e-1,
            std::f32::consts::LN_2,
            1.0,
        ] {
            p = p.mul_add(f, Self::splat(c));
        }
        p.scale_by_power(n)
    }

    #[inline(always)]
    fn to_array(self) -> [f32; LANES] {
        let mut array = [0.0; LANES];
        // SAFETY: the array is as long as the vector.
        unsafe { self.store(array.as_mut_ptr()) };
        array
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        fold(self.to_array(), |a, b| a + b)
    }

    #[inline(always)]
    fn largest(self) -> f32 {
        fold(self.to_array(), f32::max)
    }
}

/// Halves the array until one element is left.
#[inline(always)]
fn fold(mut array: [f32; LANES], join: impl Fn(f32, f32) -> f32) -> f32 {
    for width in [8, 4, 2, 1] {
        for lane in 0..width {
            array[lane] = join(array[lane], array[lane + width]);
        }
    }
    array[0]
}

/// Work written over [`Lanes`].
pub(super) trait Kernel {
    /// Implementations are `#[inline(always)]`, and so is all they call.
    fn run<L: Lanes>(self);
}

/// Runs `kernel` with the vectors of `isa`.
pub(super) fn dispatch(isa: Isa, kernel: impl Kernel) {
    match isa {
        Isa::Portable => kernel.run::<Plain>(),
        // SAFETY: an `Isa` is only used where it was found.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { x86::run_avx2(kernel) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => unsafe { x86::run_avx512(kernel) },
        // SAFETY: as above; tiles come on top of AVX-512.
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        Isa::Amx => unsafe { x86::run_avx512(kernel) },
    }
}

/// Plain Rust; the compiler uses what vectors the target always has.
#[derive(Clone, Copy)]
struct Plain([f32; LANES]);

impl Plain {
    #[inline(always)]
    fn zip(self, other: Plain, f: impl Fn(f32, f32) -> f32) -> Plain {
        Plain(std::array::from_fn(|lane| f(self.0[lane], other.0[lane])))
    }
}

impl Lanes for Plain {
    const WIDE: bool = false;

    #[inline(always)]
    fn apart(kernel: impl Kernel) {
        kernel.run::<Plain>();
    }

    #[inline(always)]
    fn splat(x: f32) -> Plain {
        Plain([x; LANES])
    }
    #[inline(always)]
    unsafe fn load(at: *const f32) -> Plain {
        // SAFETY: the caller's promise.
        Plain(unsafe { at.cast::<[f32; LANES]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn load_half(at: *const f16) -> Plain {
        // SAFETY: the caller's promise.
        let half = unsafe { at.cast::<[f16; LANES]>().read_unaligned() };
        Plain(half.map(f16::to_f32))
    }
    #[inline(always)]
    unsafe fn store(self, at: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { at.cast::<[f32; LANES]>().write_unaligned(self.0) };
    }
    #[inline(always)]
    unsafe fn store_half(self, at: *mut f16) {
        // SAFETY: the caller's promise.
        unsafe {
            at.cast::<[f16; LANES]>()
                .write_unaligned(self.0.map(f16::from_f32));
        }
    }
    #[inline(always)]
    fn add(self, other: Plain) -> Plain {
        self.zip(other, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, other: Plain) -> Plain {
        self.zip(other, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, other: Plain) -> Plain {
        self.zip(other, |a, b| a * b)
    }
    #[inline(always)]
    fn div(self, other: Plain) -> Plain {
        self.zip(other, |a, b| a / b)
    }
    #[inline(always)]
    fn max(self, other: Plain) -> Plain {
        self.zip(other, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn min(self, other: Plain) -> Plain {
        self.zip(other, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    fn mul_add(self, b: Plain, c: Plain) -> Plain {
        // Not fused: without the instruction that is a call of the mathematics library.
        self.mul(b).add(c)
    }
    #[inline(always)]
    fn round(self) -> Plain {
        // Adding 1.5·2²³ leaves no bits for a fraction; good for what `exp2` gives it.
        let magic = Plain::splat(12_582_912.0);
        self.add(magic).sub(magic)
    }
    #[inline(always)]
    fn scale_by_power(self, n: Plain) -> Plain {
        self.zip(n, |x, n| {
            x * f32::from_bits(((n as i32 + 127) as u32) << 23)
        })
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use half::f16;

    use super::{Kernel, Lanes};

    /// Runs `kernel` with AVX-512 on.
    ///
    /// # Safety
    /// The machine must have it.
    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
    pub(super) unsafe fn run_avx512(kernel: impl Kernel) {
        kernel.run::<__m512>();
    }

    /// Runs `kernel` with AVX2 on.
    ///
    /// # Safety
    /// The machine must have it, with FMA and F16C.
    #[inline(never)]
    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) unsafe fn run_avx2(kernel: impl Kernel) {
        kernel.run::<Pair>();
    }

    /// Two registers of eight floats.
    #[derive(Clone, Copy)]
    struct Pair(__m256, __m256);

    impl Pair {
        #[inline(always)]
        fn zip(self, other: Pair, f: impl Fn(__m256, __m256) -> __m256) -> Pair {
            Pair(f(self.0, other.0), f(self.1, other.1))
        }
    }

    // SAFETY (of every intrinsic below): `Lanes` is used inside `run_avx2` or `run_avx512` only, and
    // pointers are what the caller promised.
    impl Lanes for Pair {
        const WIDE: bool = false;

        #[inline(always)]
        fn apart(kernel: impl Kernel) {
            unsafe { run_avx2(kernel) }
        }

        #[inline(always)]
        fn splat(x: f32) -> Pair {
            unsafe { Pair(_mm256_set1_ps(x), _mm256_set1_ps(x)) }
        }
        #[inline(always)]
        unsafe fn load(at: *const f32) -> Pair {
            unsafe { Pair(_mm256_loadu_ps(at), _mm256_loadu_ps(at.add(8))) }
        }
        #[inline(always)]
        unsafe fn load_half(at: *const f16) -> Pair {
            let eight = |at: *const f16| unsafe { _mm256_cvtph_ps(_mm_loadu_si128(at.cast())) };
            unsafe { Pair(eight(at), eight(at.add(8))) }
        }
        #[inline(always)]
        unsafe fn store(self, at: *mut f32) {
            unsafe {
                _mm256_storeu_ps(at, self.0);
                _mm256_storeu_ps(at.add(8), self.1);
            }
        }
        #[inline(always)]
        unsafe fn store_half(self, at: *mut f16) {
            let eight = |x: __m256, at: *mut f16| unsafe {
                _mm_storeu_si128(at.cast(), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x));
            };
            unsafe {
                eight(self.0, at);
                eight(self.1, at.add(8));
            }
        }
        #[inline(always)]
        fn add(self, other: Pair) -> Pair {
            self.zip(other, |a, b| unsafe { _mm256_add_ps(a, b) })
        }
        #[inline(always)]
        fn sub(self, other: Pair) -> Pair {
            self.zip(other, |a, b| unsafe { _mm256_sub_ps(a, b) })
        }
        #[inline(always)]
        fn mul(self, other: Pair) -> Pair {
            self.zip(other, |a, b| unsafe { _mm256_mul_ps(a, b) })
        }
        #[inline(always)]
        fn div(self, other: Pair) -> Pair {
            self.zip(other, |a, b| unsafe { _mm256_div_ps(a, b) })
        }
        #[inline(always)]
        fn max(self, other: Pair) -> Pair {
            self.zip(other, |a, b| unsafe { _mm256_max_ps(a, b) })
        }
        #[inline(always)]
        fn min(self, other: Pair) -> Pair {
            self.zip(other, |a, b| unsafe { _mm256_min_ps(a, b) })
        }
        #[inline(always)]
        fn mul_add(self, b: Pair, c: Pair) -> Pair {
            unsafe {
                Pair(
                    _mm256_fmadd_ps(self.0, b.0, c.0),
                    _mm256_fmadd_ps(self.1, b.1, c.1),
                )
            }
        }
        #[inline(always)]
        fn round(self) -> Pair {
            unsafe { Pair(_mm256_round_ps::<8>(self.0), _mm256_round_ps::<8>(self.1)) }
        }
        #[inline(always)]
        fn scale_by_power(self, n: Pair) -> Pair {
            self.zip(n, |x, n| unsafe {
                let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
                _mm256_mul_ps(x, _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent)))
            })
        }
    }

    impl Lanes for __m512 {
        const WIDE: bool = true;

        #[inline(always)]
        fn apart(kernel: impl Kernel) {
            unsafe { run_avx512(kernel) }
        }

        #[inline(always)]
        fn splat(x: f32) -> __m512 {
            unsafe { _mm512_set1_ps(x) }
        }
        #[inline(always)]
        unsafe fn load(at: *const f32) -> __m512 {
            unsafe { _mm512_loadu_ps(at) }
        }
        #[inline(always)]
        unsafe fn load_half(at: *const f16) -> __m512 {
            unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(at.cast())) }
        }
        #[inline(always)]
        unsafe fn store(self, at: *mut f32) {
            unsafe { _mm512_storeu_ps(at, self) }
        }
        #[inline(always)]
        unsafe fn store_half(self, at: *mut f16) {
            unsafe {
                _mm256_storeu_si256(
                    at.cast(),
                    _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(self),
                );
            }
        }
        #[inline(always)]
        fn add(self, other: __m512) -> __m512 {
            unsafe { _mm512_add_ps(self, other) }
        }
        #[inline(always)]
        fn sub(self, other: __m512) -> __m512 {
            unsafe { _mm512_sub_ps(self, other) }
        }
        #[inline(always)]
        fn mul(self, other: __m512) -> __m512 {
            unsafe { _mm512_mul_ps(self, other) }
        }
        #[inline(always)]
        fn div(self, other: __m512) -> __m512 {
            unsafe { _mm512_div_ps(self, other) }
        }
        #[inline(always)]
        fn max(self, other: __m512) -> __m512 {
            unsafe { _mm512_max_ps(self, other) }
        }
        #[inline(always)]
        fn min(self, other: __m512) -> __m512 {
            unsafe { _mm512_min_ps(self, other) }
        }
        #[inline(always)]
        fn mul_add(self, b: __m512, c: __m512) -> __m512 {
            unsafe { _mm512_fmadd_ps(self, b, c) }
        }
        #[inline(always)]
        fn round(self) -> __m512 {
            unsafe { _mm512_roundscale_ps::<0>(self) }
        }
        #[inline(always)]
        fn scale_by_power(self, n: __m512) -> __m512 {
            unsafe { _mm512_scalef_ps(self, n) }
        }
        #[inline(always)]
        fn prefetch<T>(at: *const T) {
            unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
        }
        #[inline(always)]
        fn sum(self) -> f32 {
            unsafe { _mm512_reduce_add_ps(self) }
        }
        #[inline(always)]
        fn largest(self) -> f32 {
            unsafe { _mm512_reduce_max_ps(self) }
        }
    }
}
