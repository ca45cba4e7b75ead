//! Arithmetic on the CPU: products with packed weights, attention, and the small row operations.
//!
//! Every operation has a portable form and, where it pays, forms for wider instruction sets chosen
//! once at run time ([`Isa`]). This module must not know models, tokens, files or caches: it is
//! given slices and shapes.

mod activations;
mod attention;
mod buffer;
mod codes;
pub(crate) mod ggml;
mod isa;
mod keys;
mod lanes;
mod matmul;
mod matrix;
mod pool;
mod product;
mod rows;
mod softmax;
#[cfg(test)]
mod tests;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod tiles;

pub use attention::{
    HeadShape, KEY_LANES, KvBlock, OnlineAttention, Values, attention, move_pair, put_key,
    put_value,
};
pub use codes::{Bits, CodeRows, group_of};
pub use isa::Isa;
pub use keys::{CodedKeys, GROUP_TOKENS, LaneTable, rebuild_keys, rebuild_values};
pub use matmul::{Form, matmul_many};
pub(crate) use matrix::Parts;
pub use matrix::QuantMatrix;
pub use pool::{parallel, threads};
pub use product::{Mix, multiply, multiply_plain, product_block};
pub use rows::{RopeStyle, RopeTable, rms_norm, rope, silu_mul};
pub use softmax::{join_shares, power_sum};
