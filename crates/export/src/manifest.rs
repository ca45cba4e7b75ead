//! What an export says of itself: `manifest.json`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::form::Form;
use crate::split::SplitBy;

/// The manifest's own version.
pub(crate) const VERSION: u32 = 1;
/// The manifest's name.
pub(crate) const FILE: &str = "manifest.json";

/// The provenance of an export.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this form of manifest.
    pub version: u32,
    /// The program that wrote it.
    pub made_by: String,
    /// The form of the rows.
    pub form: Form,
    /// Draws the sides.
    pub seed: u64,
    /// What no two sides share.
    pub split_by: SplitBy,
    /// Where the examples come from, in order.
    pub sources: Vec<SourceRecord>,
    /// What became of them.
    pub counts: Counts,
    /// What a model said in other words, where one was asked to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reworded: Option<Reworded>,
    /// SHA-256 of every file beside this one, by name.
    pub files: BTreeMap<String, String>,
    /// Rows of each side.
    pub rows: BTreeMap<String, usize>,
    /// What is known of the sources' licences.
    pub licence_note: String,
}

/// Questions that a model was asked to say in other words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reworded {
    /// The model.
    pub model: String,
    /// Questions in its words.
    pub reworded: usize,
    /// Questions in the template's words, since the model's asked something else.
    pub kept: usize,
}

/// A source as it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceRecord {
    /// Its name.
    pub name: String,
    /// SHA-256 of its file, where it is one.
    pub sha256: Option<String>,
    /// Examples it gave.
    pub examples: usize,
    /// Records it holds that are no examples.
    pub defects: usize,
}

/// What became of the examples.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Examples read.
    pub examples: usize,
    /// Left out: the very same as an earlier one.
    pub doubles: usize,
    /// Left out: nearly the same as an earlier one.
    pub near_doubles: usize,
    /// Left out: company and wording on different sides.
    pub between_sides: usize,
    /// Left out because this form needs what they lack, by reason.
    pub unfit: BTreeMap<String, usize>,
    /// Companies and wordings told apart.
    pub companies: usize,
    /// See `companies`.
    pub wordings: usize,
}
