//! Fine-tuning data with provenance and leak-free splits.
