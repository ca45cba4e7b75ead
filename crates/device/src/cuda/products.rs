//! Matrix products by cuBLASLt.
//!
//! The library counts matrices by columns, so a product of rows is asked for turned over: `out` by rows is `outᵀ` by
//! columns, and `outᵀ = right · leftᵀ`, of which `right` by rows is the transpose of what the library sees. Algorithms
//! are its own first choice for each shape, asked for once. Sums are in f32, also where a sum is split. Must not know plans.

use std::ffi::{c_int, c_void};
use std::sync::Arc;

use cudarc::driver::{result, sys};

use super::driver::Gpu;
use super::libraries::{CUBLAS_LT, functions};
use super::recent::Recent;
use crate::plan::{Number, Product};
use crate::{Address, DeviceError};

/// Bytes that algorithms may use: what the library's vendor advises for the largest GPUs.
const WORKSPACE: usize = 32 << 20;
/// Shapes whose algorithm is kept.
const SHAPES: usize = 4096;
/// The best alignment that algorithms ask for.
const MOST_ALIGNED: u64 = 256;

// The library's constants, which are part of its binary interface.
const COMPUTE_F32: u32 = 68;
const SCALE_F32: u32 = 0;
const DESCRIPTION_TRANSPOSE_A: u32 = 3;
static TRANSPOSED: i32 = 1;
const PREFERENCE_WORKSPACE: u32 = 1;
const PREFERENCE_REDUCTIONS: u32 = 3;
const PREFERENCE_ALIGNMENTS: [u32; 4] = [5, 6, 7, 8];
/// Parts of a sum are kept apart and in f32; those kept as the output's type would be rounded.
static REDUCTION_IN_F32: u32 = 2;

type Handle = *mut c_void;
type Description = *mut c_void;
type Layout = *mut c_void;
type Preference = *mut c_void;
type Algorithm = [u64; 8];

/// What the library says of an algorithm.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Choice {
    algorithm: Algorithm,
    workspace: usize,
    status: u32,
    waves: f32,
    reserved: [c_int; 4],
}

functions! {
    /// What of cuBLASLt is used. Statuses are numbers: a later version may have more.
    struct Library {
        version: fn() -> usize = "cublasLtGetVersion";
        create: fn(*mut Handle) -> u32 = "cublasLtCreate";
        destroy: fn(Handle) -> u32 = "cublasLtDestroy";
        description: fn(*mut Description, u32, u32) -> u32 = "cublasLtMatmulDescCreate";
        describe: fn(Description, u32, *const c_void, usize) -> u32 = "cublasLtMatmulDescSetAttribute";
        drop_description: fn(Description) -> u32 = "cublasLtMatmulDescDestroy";
        layout: fn(*mut Layout, u32, u64, u64, i64) -> u32 = "cublasLtMatrixLayoutCreate";
        drop_layout: fn(Layout) -> u32 = "cublasLtMatrixLayoutDestroy";
        preference: fn(*mut Preference) -> u32 = "cublasLtMatmulPreferenceCreate";
        prefer: fn(Preference, u32, *const c_void, usize) -> u32 = "cublasLtMatmulPreferenceSetAttribute";
        drop_preference: fn(Preference) -> u32 = "cublasLtMatmulPreferenceDestroy";
        choose: fn(Handle, Description, Layout, Layout, Layout, Layout, Preference, c_int, *mut Choice, *mut c_int) -> u32
            = "cublasLtMatmulAlgoGetHeuristic";
        multiply: fn(
            Handle, Description, *const f32, *const c_void, Layout, *const c_void, Layout, *const f32,
            *const c_void, Layout, *mut c_void, Layout, *const Algorithm, *mut c_void, usize, *mut c_void,
        ) -> u32 = "cublasLtMatmul";
    }
}

/// A product but for where its matrices lie; their alignment is part of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Shape {
    rows: usize,
    columns: usize,
    depth: usize,
    strides: [usize; 3],
    input: Number,
    output: Number,
    accumulate: bool,
    alignments: [u32; 3],
}

impl Shape {
    fn of(product: &Product) -> Shape {
        let alignment = |address: Address| {
            let aligned = 1_u64 << address.0.trailing_zeros().min(63);
            aligned.min(MOST_ALIGNED) as u32
        };
        Shape {
            rows: product.rows,
            columns: product.columns,
            depth: product.depth,
            strides: [
                product.left_stride,
                product.right_stride,
                product.out_stride,
            ],
            input: product.input,
            output: product.output,
            accumulate: product.accumulate,
            alignments: [product.left, product.right, product.out].map(alignment),
        }
    }
}

/// The library with its workspace, and the algorithms it chose.
pub(super) struct Products {
    /// Before the library, which destroys what they hold.
    shapes: Recent<Shape, Prepared>,
    library: Arc<Library>,
    handle: Handle,
    workspace: Address,
    gpu: Arc<Gpu>,
}

// SAFETY: the library's handles may be used from every thread.
unsafe impl Send for Products {}

impl Products {
    /// Loads the library, no newer than version `newest` of CUDA. The GPU must be bound.
    pub(super) fn new(gpu: Arc<Gpu>, newest: u32) -> Result<Products, DeviceError> {
        let (library, handle) = CUBLAS_LT
            .load(newest, |library, _| {
                // SAFETY: cuBLASLt has had these functions with these types since CUDA 11, and the library is not unloaded
                // once it is accepted.
                let library = unsafe { Library::of(library)? };
                // SAFETY: it takes nothing and reads a constant.
                let version = unsafe { (library.version)() };
                if version < 120_000 || version / 10_000 > newest as usize {
                    return Err(format!(
                        "its version is {version}, not of CUDA 12 to the driver's {newest}"
                    ));
                }
                let mut handle = std::ptr::null_mut();
                // SAFETY: a context is current; it writes one handle.
                check(unsafe { (library.create)(&raw mut handle) })?;
                Ok((Arc::new(library), handle))
            })
            .map_err(|reason| DeviceError::Missing {
                device: gpu.name.clone(),
                reason,
                mend: CUBLAS_LT.mend(newest),
            })?;
        let mut products = Products {
            shapes: Recent::new(SHAPES),
            library,
            handle,
            workspace: Address::NONE,
            gpu,
        };
        // SAFETY: bytes without meaning, given back when this is dropped.
        let workspace = unsafe { result::malloc_sync(WORKSPACE) }
            .map_err(products.gpu.failed("taking a workspace for products"))?;
        products.workspace = Address(workspace);
        Ok(products)
    }

    /// Queues a product.
    ///
    /// # Safety
    /// The product's addresses must be of memory of this GPU that holds its matrices until it is done. The GPU must be
    /// bound.
    pub(super) unsafe fn multiply(&mut self, product: &Product) -> Result<(), DeviceError> {
        if product.rows == 0 || product.columns == 0 {
            return Ok(());
        }
        let failed = |reason: String| DeviceError::Launch {
            kernel: format!("{product:?}"),
            reason,
        };
        let shape = Shape::of(product);
        if self.shapes.get(&shape).is_none() {
            let prepared = Prepared::new(&self.library, self.handle, &shape).map_err(failed)?;
            self.shapes.insert(shape, prepared);
        }
        let prepared = self.shapes.get(&shape).expect("just kept");
        let [right, left, out] = [0, 1, 2].map(|at| prepared.layouts[at].handle);
        let one = 1.0_f32;
        let beta = f32::from(u8::from(product.accumulate));
        // SAFETY: the layouts are those of the product's matrices, which the caller promises are there; the factors are
        // read before the call returns; the workspace is this value's own, and the stream's work is done in order.
        check(unsafe {
            (self.library.multiply)(
                self.handle,
                prepared.description.handle,
                &raw const one,
                product.right.0 as *const c_void,
                right,
                product.left.0 as *const c_void,
                left,
                &raw const beta,
                product.out.0 as *const c_void,
                out,
                product.out.0 as *mut c_void,
                out,
                &raw const prepared.algorithm,
                self.workspace.0 as *mut c_void,
                WORKSPACE,
                self.gpu.stream.cast(),
            )
        })
        .map_err(failed)
    }
}

impl Drop for Products {
    fn drop(&mut self) {
        self.shapes.clear();
        // SAFETY: made above, and used by nobody any more.
        let destroyed = check(unsafe { (self.library.destroy)(self.handle) });
        if let Err(error) = destroyed {
            tracing::error!(device = self.gpu.name, "ending cuBLASLt failed: {error}");
        }
        if self.workspace != Address::NONE {
            // SAFETY: taken above, and all work is done.
            let freed = unsafe { result::free_sync(self.workspace.0 as sys::CUdeviceptr) };
            self.gpu.log("giving a workspace back", freed);
        }
    }
}

/// One of the library's objects, destroyed with this.
struct Object {
    library: Arc<Library>,
    handle: *mut c_void,
    destroy: fn(&Library) -> unsafe extern "C" fn(*mut c_void) -> u32,
}

impl Drop for Object {
    fn drop(&mut self) {
        // SAFETY: the library made it for `Prepared`, with which it goes.
        unsafe { (self.destroy)(&self.library)(self.handle) };
    }
}

/// What the library needs to know of a shape.
struct Prepared {
    description: Object,
    /// Of what it calls A, B and C: right, left, and out.
    layouts: [Object; 3],
    algorithm: Algorithm,
}

impl Prepared {
    fn new(library: &Arc<Library>, handle: Handle, shape: &Shape) -> Result<Prepared, String> {
        if shape.input == Number::F32 {
            return Err("products take halves".to_string());
        }
        let object = |handle, destroy| Object {
            library: Arc::clone(library),
            handle,
            destroy,
        };
        let mut made = std::ptr::null_mut();
        // SAFETY: it writes one handle.
        check(unsafe { (library.description)(&raw mut made, COMPUTE_F32, SCALE_F32) })?;
        let description = object(made, |library| library.drop_description);
        // SAFETY: the description was just made, and the attribute is an int.
        check(unsafe {
            (library.describe)(
                description.handle,
                DESCRIPTION_TRANSPOSE_A,
                (&raw const TRANSPOSED).cast(),
                size_of::<i32>(),
            )
        })?;
        let layout = |number: Number, rows: usize, columns: usize, stride: usize| {
            let mut made = std::ptr::null_mut();
            // SAFETY: it writes one handle.
            check(unsafe {
                (library.layout)(
                    &raw mut made,
                    kind(number),
                    rows as u64,
                    columns as u64,
                    stride as i64,
                )
            })?;
            Ok::<Object, String>(object(made, |library| library.drop_layout))
        };
        let [left, right, out] = shape.strides;
        let layouts = [
            layout(shape.input, shape.depth, shape.columns, right)?,
            layout(shape.input, shape.depth, shape.rows, left)?,
            layout(shape.output, shape.columns, shape.rows, out)?,
        ];
        // SAFETY: it writes one handle.
        check(unsafe { (library.preference)(&raw mut made) })?;
        let preference = object(made, |library| library.drop_preference);
        let workspace = WORKSPACE as u64;
        let [left, right, out] = shape.alignments;
        let prefer = |attribute: u32, value: *const c_void, bytes: usize| {
            // SAFETY: the preference was just made, and the value has as many bytes.
            check(unsafe { (library.prefer)(preference.handle, attribute, value, bytes) })
        };
        prefer(PREFERENCE_WORKSPACE, (&raw const workspace).cast(), 8)?;
        prefer(
            PREFERENCE_REDUCTIONS,
            (&raw const REDUCTION_IN_F32).cast(),
            4,
        )?;
        for (attribute, bytes) in PREFERENCE_ALIGNMENTS
            .into_iter()
            .zip([right, left, out, out])
        {
            prefer(attribute, (&raw const bytes).cast(), 4)?;
        }
        let mut choice = Choice::default();
        let mut found = 0;
        let [a, b, c] = [0, 1, 2].map(|at: usize| layouts[at].handle);
        // SAFETY: all objects were just made; it writes one choice and one number.
        check(unsafe {
            (library.choose)(
                handle,
                description.handle,
                a,
                b,
                c,
                c,
                preference.handle,
                1,
                &raw mut choice,
                &raw mut found,
            )
        })?;
        if found == 0 {
            return Err("cuBLASLt has no algorithm for it".to_string());
        }
        check(choice.status)?;
        Ok(Prepared {
            description,
            layouts,
            algorithm: choice.algorithm,
        })
    }
}

/// The library's number of a type.
fn kind(number: Number) -> u32 {
    match number {
        Number::F32 => 0,
        Number::F16 => 2,
        Number::Bf16 => 14,
    }
}

fn check(status: u32) -> Result<(), String> {
    let name = match status {
        0 => return Ok(()),
        1 => "CUBLAS_STATUS_NOT_INITIALIZED",
        3 => "CUBLAS_STATUS_ALLOC_FAILED",
        7 => "CUBLAS_STATUS_INVALID_VALUE",
        8 => "CUBLAS_STATUS_ARCH_MISMATCH",
        11 => "CUBLAS_STATUS_MAPPING_ERROR",
        13 => "CUBLAS_STATUS_EXECUTION_FAILED",
        14 => "CUBLAS_STATUS_INTERNAL_ERROR",
        15 => "CUBLAS_STATUS_NOT_SUPPORTED",
        16 => "CUBLAS_STATUS_LICENSE_ERROR",
        _ => return Err(format!("cuBLASLt status {status}")),
    };
    Err(name.to_string())
}
