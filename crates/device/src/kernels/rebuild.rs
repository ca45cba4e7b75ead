//! Stub.
pub(super) fn programs() -> Vec<std::sync::Arc<crate::Program>> { Vec::new() }
