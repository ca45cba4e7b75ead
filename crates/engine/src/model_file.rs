//! A model's files as one view: metadata and tensors by the names GGUF gives them, bytes from memory
//! maps.
//!
//! [`ModelFile::open`] takes a GGUF file or a folder of safetensors as the hub publishes them; what
//! reads the view need not know which it was. This module knows bytes; it must not know models.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use memmap2::{Mmap, UncheckedAdvice};

use crate::EngineError;
use crate::{folder, gguf};

/// A metadata value, widened to the largest type of its kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Any unsigned integer.
    Unsigned(u64),
    /// Any signed integer.
    Signed(i64),
    /// Either float.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// A string; invalid UTF-8 is replaced.
    Text(String),
    /// An array of strings, each as its bytes stand in the file.
    Texts(Vec<String>),
    /// An array of 32-bit integers (token types).
    Integers(Vec<i32>),
    /// An array of floats that a reader worked out; GGUF's own are stepped over.
    Floats(Vec<f64>),
    /// An array of another type, stepped over: how many elements it has.
    Skipped(u64),
}

/// Where a tensor lies and what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// The tensor's name.
    pub name: String,
    /// GGML's number of the element type.
    pub type_id: u32,
    /// Dimensions in GGML's order: the first runs fastest, so a linear layer is `[inputs, outputs]`.
    pub dimensions: Vec<usize>,
    /// Which of the model's files it lies in.
    pub part: usize,
    /// Byte offset from the start of that file.
    pub start: u64,
}

/// A model's files, mapped, their headers read.
pub struct ModelFile {
    path: PathBuf,
    maps: Vec<Mmap>,
    metadata: HashMap<String, Value>,
    tensors: HashMap<String, TensorInfo>,
}

impl ModelFile {
    /// Opens a GGUF file, or a folder with `config.json`, `tokenizer.json` and safetensors.
    ///
    /// # Errors
    /// [`EngineError::Io`] where a file cannot be opened, [`EngineError::ModelFile`] where one is of
    /// another kind, cut short or absurd.
    pub fn open(path: &Path) -> Result<ModelFile, EngineError> {
        if path.is_dir() {
            return folder::open(path);
        }
        let map = map(path)?;
        let (metadata, tensors) =
            gguf::read_header(&map).map_err(|reason| damaged(path, &reason))?;
        Ok(ModelFile::new(path, vec![map], metadata, tensors))
    }

    /// A view of files that were mapped and read.
    pub(crate) fn new(
        path: &Path,
        maps: Vec<Mmap>,
        metadata: HashMap<String, Value>,
        tensors: HashMap<String, TensorInfo>,
    ) -> ModelFile {
        ModelFile {
            path: path.to_path_buf(),
            maps,
            metadata,
            tensors,
        }
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A metadata value.
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.metadata.get(key)
    }

    /// A tensor's place, if the file has it.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.get(name)
    }

    /// The names of all tensors, in no order.
    pub fn tensor_names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The tensor's `size` bytes.
    ///
    /// # Errors
    /// Where the file ends before the tensor does.
    pub fn bytes(&self, tensor: &TensorInfo, size: usize) -> Result<&[u8], EngineError> {
        usize::try_from(tensor.start)
            .ok()
            .and_then(|start| {
                self.maps
                    .get(tensor.part)?
                    .get(start..start.checked_add(size)?)
            })
            .ok_or_else(|| {
                damaged(
                    &self.path,
                    &format!(
                        "the file is cut short: tensor {} needs {size} bytes from byte {}, the file has {}",
                        tensor.name,
                        tensor.start,
                        self.maps.get(tensor.part).map_or(0, |map| map.len())
                    ),
                )
            })
    }

    /// Tells the system that a tensor's pages are not needed again, so that packed weights and
    /// file pages do not both stay resident.
    pub fn release(&self, tensor: &TensorInfo, size: usize) {
        const PAGE: usize = 4096;
        let (Ok(start), Some(map)) = (usize::try_from(tensor.start), self.maps.get(tensor.part))
        else {
            return;
        };
        // Whole pages inside the tensor only: its neighbours may not have been read yet.
        let first = start.next_multiple_of(PAGE);
        let last = (start + size) / PAGE * PAGE;
        if last > first {
            // SAFETY: the map is read-only and backed by the file: dropped pages are read again on
            // the next access. A refusal changes nothing but the memory in use, so it is not an error.
            let _ = unsafe {
                map.unchecked_advise_range(UncheckedAdvice::DontNeed, first, last - first)
            };
        }
    }

    /// An error about this file.
    pub fn error(&self, reason: impl Into<String>, mend: impl Into<String>) -> EngineError {
        EngineError::ModelFile {
            path: self.path.clone(),
            reason: reason.into(),
            mend: mend.into(),
        }
    }

    /// An error that says the file is damaged.
    pub fn damaged(&self, reason: &str) -> EngineError {
        damaged(&self.path, reason)
    }
}

pub(crate) fn damaged(path: &Path, reason: &str) -> EngineError {
    EngineError::ModelFile {
        path: path.to_path_buf(),
        reason: reason.to_string(),
        mend: "delete the file and fetch it again (`footnote models get NAME`)".to_string(),
    }
}

/// Maps a regular file.
pub(crate) fn map(path: &Path) -> Result<Mmap, EngineError> {
    let io = |source| EngineError::Io {
        path: path.to_path_buf(),
        source,
    };
    let file = File::open(path).map_err(io)?;
    if !file.metadata().map_err(io)?.is_file() {
        return Err(damaged(path, "it is not a regular file"));
    }
    // SAFETY: the map is read-only and lives only while the model loads. A file that another
    // process shortens meanwhile would end this one by a signal, as with every mapped file;
    // downloads write elsewhere and rename, so Footnote itself never does that.
    unsafe { Mmap::map(&file) }.map_err(io)
}
