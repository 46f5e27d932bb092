//! Matrix products by cuBLASLt, NVIDIA's library.
//!
//! cuBLASLt stores matrices by columns, so it sees a row-major matrix as its transpose. Therefore `Cᵀ = Bᵀ Aᵀ` is asked for.
//! The algorithm is the first that the library's heuristic names for a shape, with a workspace of fixed size and without
//! reductions in place. So it is chosen by rule, not by timing. The choice is kept for the next product of that shape.
#![allow(unsafe_code)]

use std::collections::HashMap;
use std::ffi::c_void;

use cudarc::cublaslt::{result, sys};
use cudarc::driver::sys::{CUdeviceptr, CUstream};

use crate::compute::ComputeError;
use crate::compute::cuda::{OperandLayout, Product, WORKSPACE};
use crate::float::Precision;

/// Which reductions over parts of a sum an algorithm may use, as cuBLASLt's bit mask: none, or in the workspace. Those in place
/// are excluded.
const REDUCTIONS: u32 = 2 | 4;

/// cuBLASLt on one device, with the products that it has planned.
pub(super) struct Products {
    /// The handle of cuBLASLt.
    handle: sys::cublasLtHandle_t,
    /// In which precision products are computed.
    precision: Precision,
    /// The plans made so far, by what each depends on.
    plans: HashMap<PlanKey, MatmulPlan>,
}

// SAFETY: a handle of cuBLASLt and what it describes may be used from any thread, by one at a time: `Products` is used by
// `&mut`.
unsafe impl Send for Products {}

/// What the choice of an algorithm depends on.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct PlanKey {
    /// The shape of the product and the layout of its operands.
    product: Product,
    /// Whether a bias is added to C.
    bias: bool,
    /// The alignments of A, B and C in bytes, powers of two up to 256.
    alignments: [u32; 3],
}

/// cuBLASLt's description of a product, and the algorithm for it.
struct MatmulPlan {
    /// The kind of product: precision, transpositions, bias.
    operation: sys::cublasLtMatmulDesc_t,
    /// The layouts of B, A and C, in this order.
    layouts: [sys::cublasLtMatrixLayout_t; 3],
    /// The algorithm that the heuristic chose.
    algorithm: sys::cublasLtMatmulAlgo_t,
}

/// The device addresses that one product uses, and its queue.
#[derive(Clone, Copy)]
pub(super) struct Operands {
    /// Device address of the buffer with the matrices A.
    pub(super) a: CUdeviceptr,
    /// Device address of the buffer with the matrices B.
    pub(super) b: CUdeviceptr,
    /// Device address of the buffer with the matrices C.
    pub(super) c: CUdeviceptr,
    /// Address of the bias (n), if there is one.
    pub(super) bias: Option<CUdeviceptr>,
    /// Address of the workspace, of [`WORKSPACE`] bytes.
    pub(super) workspace: CUdeviceptr,
    /// The queue that carries the product out.
    pub(super) queue: CUstream,
}

/// Makes an error of a failed call to cuBLASLt.
fn failed(call: &str) -> impl Fn(result::CublasError) -> ComputeError + '_ {
    move |error| ComputeError::Device {
        device: "cuBLASLt".to_owned(),
        call: call.to_owned(),
        what: format!("{:?}", error.0),
    }
}

/// The version of cuBLASLt, if it is there.
///
/// # Errors
/// [`ComputeError::NoDevice`] if it is not found.
pub fn version() -> Result<usize, ComputeError> {
    // SAFETY: loads the library, whose initialisation does nothing that others see; asking it is all there is.
    match unsafe { sys::is_culib_present() } {
        true => Ok(unsafe { sys::cublasLtGetVersion() }),
        false => {
            let missing = "cuBLASLt, NVIDIA's matrix products (libcublasLt.so), is not found; install CUDA's runtime libraries, \
                           or name their folder in LD_LIBRARY_PATH";
            Err(ComputeError::NoDevice { missing: missing.to_owned() })
        }
    }
}

impl Products {
    /// cuBLASLt on the device whose context is current.
    ///
    /// # Errors
    /// [`ComputeError::NoDevice`] if the library is not found; [`ComputeError::Device`] if it does not start.
    pub(super) fn new(precision: Precision) -> Result<Self, ComputeError> {
        version()?;
        let handle = result::create_handle().map_err(failed("start"))?;
        Ok(Self { handle, precision, plans: HashMap::new() })
    }

    /// Queues `product` on the operands' queue.
    ///
    /// # Errors
    /// [`ComputeError::Device`] if no algorithm is found or the call is refused.
    pub(super) fn multiply(&mut self, product: Product, operands: Operands) -> Result<(), ComputeError> {
        let Operands { a, b, c, bias, workspace, queue } = operands;
        let place = |base: CUdeviceptr, side: OperandLayout| base + 4 * side.at as u64;
        let (a, b, c) = (place(a, product.a), place(b, product.b), place(c, product.c));
        // Buffers begin at multiples of 256 bytes, so the alignments follow from shapes alone.
        let alignments = [a, b, c].map(|at| 1 << at.trailing_zeros().min(8));
        let key = PlanKey { product, bias: bias.is_some(), alignments };
        if !self.plans.contains_key(&key) {
            // Some sizes or alignments are not supported by tensor cores. Such products are computed in full precision.
            let plan = MatmulPlan::new(self.handle, self.precision, key, bias).or_else(|error| {
                match error.to_string().contains("NOT_SUPPORTED") {
                    true => MatmulPlan::new(self.handle, Precision::Fp32, key, bias),
                    false => Err(error),
                }
            })?;
            self.plans.insert(key, plan);
        }
        let plan = &self.plans[&key];
        if let Some(bias) = bias {
            plan.set(sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias)?;
        }
        let (one, beta) = (1.0_f32, if product.shape.accumulate { 1.0_f32 } else { 0.0 });
        let [of_b, of_a, of_c] = plan.layouts;
        let (one, beta): (*const f32, *const f32) = (&raw const one, &raw const beta);
        // SAFETY: the plan lives; memory of the sizes that the layouts say stands behind the pointers, and outlives the queue's
        // work, as the device's memory waits for that before it goes.
        unsafe {
            result::matmul(
                self.handle,
                plan.operation,
                one.cast(),
                beta.cast(),
                b as *const c_void,
                of_b,
                a as *const c_void,
                of_a,
                c as *const c_void,
                of_c,
                c as *mut c_void,
                of_c,
                &raw const plan.algorithm,
                workspace as *mut c_void,
                WORKSPACE,
                queue.cast(),
            )
            .map_err(failed("multiply matrices"))
        }
    }
}

impl MatmulPlan {
    /// Describes the product of `key`, and chooses its algorithm.
    fn new(
        handle: sys::cublasLtHandle_t,
        precision: Precision,
        key: PlanKey,
        bias: Option<CUdeviceptr>,
    ) -> Result<Self, ComputeError> {
        let PlanKey { product: Product { shape, count, a, b, c, relu }, alignments, .. } = key;
        let compute = match precision {
            Precision::Fp32 => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
            Precision::Tf32 => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32,
            Precision::Bf16 => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_16BF,
        };
        let single = sys::cudaDataType::CUDA_R_32F;
        let operation = result::create_matmul_desc(compute, single).map_err(failed("describe a product"))?;
        let layout = |side: OperandLayout, transposed: bool, [rows, columns]: [usize; 2]| {
            let [rows, columns] = if transposed { [columns, rows] } else { [rows, columns] };
            matrix(side, [rows, columns], count)
        };
        let layouts = [
            layout(b, shape.b_transposed, [shape.k, shape.n])?,
            layout(a, shape.a_transposed, [shape.m, shape.k])?,
            layout(c, false, [shape.m, shape.n])?,
        ];
        let mut plan = Self { operation, layouts, algorithm: sys::cublasLtMatmulAlgo_t { data: [0; 8] } };
        use sys::cublasLtMatmulDescAttributes_t as Of;
        plan.set(Of::CUBLASLT_MATMUL_DESC_TRANSA, &i32::from(shape.b_transposed))?;
        plan.set(Of::CUBLASLT_MATMUL_DESC_TRANSB, &i32::from(shape.a_transposed))?;
        if let Some(bias) = bias {
            let behind = match relu {
                true => sys::cublasLtEpilogue_t::CUBLASLT_EPILOGUE_RELU_BIAS,
                false => sys::cublasLtEpilogue_t::CUBLASLT_EPILOGUE_BIAS,
            };
            plan.set(Of::CUBLASLT_MATMUL_DESC_EPILOGUE, &(behind as u32))?;
            // The heuristic looks at the bias pointer, too. Without one it may refuse an algorithm that would do.
            plan.set(Of::CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias)?;
        }
        plan.algorithm = plan.choose(handle, alignments)?;
        Ok(plan)
    }

    /// Sets an attribute of the product's description.
    fn set<T>(&self, attribute: sys::cublasLtMatmulDescAttributes_t, value: &T) -> Result<(), ComputeError> {
        let pointer: *const T = value;
        // SAFETY: the operation lives, and reads as many bytes as the value has.
        unsafe { result::set_matmul_desc_attribute(self.operation, attribute, pointer.cast(), size_of::<T>()) }
            .map_err(failed("describe a product"))
    }

    /// The algorithm that the heuristic names first. The alignments of A, B and C are in bytes.
    fn choose(
        &self,
        handle: sys::cublasLtHandle_t,
        [a, b, c]: [u32; 3],
    ) -> Result<sys::cublasLtMatmulAlgo_t, ComputeError> {
        use sys::cublasLtMatmulPreferenceAttributes_t as Of;
        let wanted = result::create_matmul_pref().map_err(failed("choose an algorithm"))?;
        let numbers = [
            (Of::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, REDUCTIONS),
            (Of::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, b),
            (Of::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, a),
            (Of::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, c),
            (Of::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, c),
        ];
        let [of_b, of_a, of_c] = self.layouts;
        // SAFETY: all of these live; an attribute is as long as its documentation says: 4 bytes, the workspace 8.
        let chosen = unsafe {
            let room: *const usize = &raw const WORKSPACE_ASKED;
            let attribute = Of::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES;
            let mut said = result::set_matmul_pref_attribute(wanted, attribute, room.cast(), size_of::<usize>());
            for (attribute, number) in numbers {
                let pointer: *const u32 = &raw const number;
                said = said.and(result::set_matmul_pref_attribute(wanted, attribute, pointer.cast(), 4));
            }
            said.and_then(|()| {
                result::get_matmul_algo_heuristic(handle, self.operation, of_b, of_a, of_c, of_c, wanted)
            })
        };
        // SAFETY: made above, and of no use any more.
        let _ = unsafe { result::destroy_matmul_pref(wanted) };
        Ok(chosen.map_err(failed("choose an algorithm"))?.algo)
    }
}

/// [`WORKSPACE`] in memory: cuBLASLt takes the number by its address.
static WORKSPACE_ASKED: usize = WORKSPACE;

/// The layout of `count` row-major matrices of `rows` times `columns` values. cuBLASLt sees each as (columns, rows), stored by
/// columns.
fn matrix(
    side: OperandLayout,
    [rows, columns]: [usize; 2],
    count: usize,
) -> Result<sys::cublasLtMatrixLayout_t, ComputeError> {
    use sys::cublasLtMatrixLayoutAttribute_t as Of;
    let single = sys::cudaDataType::CUDA_R_32F;
    let layout = result::create_matrix_layout(single, columns as u64, rows as u64, side.row as i64)
        .map_err(failed("describe a matrix"))?;
    if count > 1 {
        let (many, step) = (count as i32, side.step as i64);
        let (many, step): (*const i32, *const i64) = (&raw const many, &raw const step);
        // SAFETY: the layout lives; the values have the lengths that the documentation says.
        unsafe {
            result::set_matrix_layout_attribute(layout, Of::CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, many.cast(), 4)
                .and_then(|()| {
                    let attribute = Of::CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET;
                    result::set_matrix_layout_attribute(layout, attribute, step.cast(), 8)
                })
                .map_err(failed("describe a matrix"))?;
        }
    }
    Ok(layout)
}

impl Drop for MatmulPlan {
    fn drop(&mut self) {
        // SAFETY: made by this plan, and used by none after it.
        unsafe {
            let _ = result::destroy_matmul_desc(self.operation);
            for layout in self.layouts {
                let _ = result::destroy_matrix_layout(layout);
            }
        }
    }
}

impl Drop for Products {
    fn drop(&mut self) {
        self.plans.clear();
        // SAFETY: made in `new`, and used by none after this.
        let _ = unsafe { result::destroy_handle(self.handle) };
    }
}
