//! How a trained ranker names its datasets: by file name, beside their SHA-256.

use std::path::Path;

pub fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}
