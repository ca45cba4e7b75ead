//! Where NVIDIA's libraries are looked for: the one place that knows their names and folders.
//!
//! They come with a CUDA toolkit or as Python packages, and are loaded when a device is opened, so that building needs
//! none of them. CUDA 13's are taken before 12's, unless the driver is older. Must not know what they are used for.

use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};

use libloading::Library;

/// Major versions of CUDA that work, the best first.
const MAJORS: [u32; 2] = [13, 12];

/// A library of the toolkit.
pub(super) struct Wanted {
    /// Its name, as `nvrtc`.
    pub(super) name: &'static str,
    /// Where it lies in a Python package for CUDA 12; for 13 all lie in one folder.
    pub(super) python_folder: &'static str,
    /// The variable that names the file or its folder, and then nothing else is tried.
    pub(super) variable: &'static str,
    /// The Python package for CUDA 13.
    pub(super) package: &'static str,
}

/// The compiler of kernels.
pub(super) const NVRTC: Wanted = Wanted {
    name: "nvrtc",
    python_folder: "cuda_nvrtc",
    variable: "FOOTNOTE_NVRTC",
    package: "nvidia-cuda-nvrtc",
};

/// Matrix products.
pub(super) const CUBLAS_LT: Wanted = Wanted {
    name: "cublasLt",
    python_folder: "cublas",
    variable: "FOOTNOTE_CUBLASLT",
    package: "nvidia-cublas",
};

impl Wanted {
    fn file(&self, major: u32) -> String {
        format!("lib{}.so.{major}", self.name)
    }

    /// What helps where it is missing; `newest` is the newest major version of CUDA that the driver runs.
    pub(super) fn mend(&self, newest: u32) -> String {
        let (toolkit, package) = match newest {
            ..13 => ("of 12.8 or 12.9", format!("{}-cu12", self.package)),
            _ => ("of 12.8 or later", self.package.to_string()),
        };
        format!(
            "install a CUDA toolkit {toolkit}, or `pip install {package}` and name the folder of its {} in {}",
            self.file(newest.clamp(12, 13)),
            self.variable
        )
    }

    /// What to try, the best first; names without a folder are for the system's loader.
    fn candidates(&self, newest: u32, places: &Places) -> Vec<PathBuf> {
        let majors = MAJORS.into_iter().filter(|major| *major <= newest);
        if let Some(named) = &places.named {
            // Somebody's word on which to take: nothing else is taken in its place.
            return match named.is_dir() {
                true => majors.map(|major| named.join(self.file(major))).collect(),
                false => vec![named.clone()],
            };
        }
        let mut candidates = Vec::new();
        for major in majors {
            let file = self.file(major);
            candidates.push(PathBuf::from(&file));
            candidates.extend(places.toolkits.iter().map(|folder| folder.join(&file)));
            for packages in &places.packages {
                let nvidia = packages.join("nvidia");
                candidates.push(nvidia.join(format!("cu{major}/lib")).join(&file));
                candidates.push(nvidia.join(self.python_folder).join("lib").join(&file));
            }
        }
        candidates
    }

    /// Loads the first that `accept` takes, which also gets where it came from. `newest` is the newest major version of CUDA that the driver runs.
    ///
    /// The library stays loaded: its threads and its state in the driver outlive every handle.
    ///
    /// # Errors
    /// What was tried.
    pub(super) fn load<T>(
        &self,
        newest: u32,
        accept: impl Fn(&Library, &Path) -> Result<T, String>,
    ) -> Result<T, String> {
        let mut tried = Vec::new();
        for candidate in self.candidates(newest, &Places::of_this_machine(self.variable)) {
            let asked_for_by_path = candidate.components().count() > 1;
            if asked_for_by_path && !candidate.exists() {
                continue;
            }
            // SAFETY: NVIDIA's libraries are made to be loaded, and their initialisers need nothing of this process.
            let outcome = unsafe { Library::new(&candidate) }
                .map_err(|error| explained(&error))
                .and_then(|library| {
                    let taken = accept(&library, &candidate)?;
                    let _ = ManuallyDrop::new(library);
                    Ok(taken)
                });
            match outcome {
                Ok(taken) => {
                    tracing::debug!(library = %candidate.display(), "loaded lib{}", self.name);
                    return Ok(taken);
                }
                Err(error) => tried.push(format!("{}: {error}", candidate.display())),
            }
        }
        Err(match tried.is_empty() {
            true => format!("lib{} was not found", self.name),
            false => format!("lib{} was not found ({})", self.name, tried.join("; ")),
        })
    }
}

/// An error with its causes: the loader's own words are the cause of the first.
pub(super) fn explained(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

/// Folders that libraries may lie in.
struct Places {
    named: Option<PathBuf>,
    toolkits: Vec<PathBuf>,
    packages: Vec<PathBuf>,
}

impl Places {
    fn of_this_machine(variable: &str) -> Places {
        let folder = |name: &str| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let mut toolkits = Vec::new();
        let homes = ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(folder);
        for toolkit in homes.chain([PathBuf::from("/usr/local/cuda")]) {
            toolkits.extend(["lib64", "lib"].map(|lib| toolkit.join(lib)));
        }
        let pythons = [
            folder("VIRTUAL_ENV"),
            folder("CONDA_PREFIX"),
            folder("HOME").map(|home| home.join(".local")),
            Some(PathBuf::from("/usr/local")),
            Some(PathBuf::from("/usr")),
        ];
        Places {
            named: folder(variable),
            toolkits,
            packages: pythons
                .iter()
                .flatten()
                .flat_map(|root| packages(root))
                .collect(),
        }
    }
}

/// Folders of Python's packages below a root.
fn packages(root: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(root.join("lib")) else {
        return Vec::new();
    };
    let mut found: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("python3"))
        .flat_map(|entry| ["site-packages", "dist-packages"].map(|name| entry.path().join(name)))
        .filter(|folder| folder.is_dir())
        .collect();
    // Folders come in any order; the newest Python first, and always the same.
    found.sort();
    found.reverse();
    found
}

/// A struct of a library's functions, by name and type.
macro_rules! functions {
    ($(#[$meta:meta])* struct $name:ident { $($field:ident: fn($($argument:ty),* $(,)?) -> $out:ty = $symbol:literal;)* }) => {
        $(#[$meta])*
        struct $name {
            $($field: unsafe extern "C" fn($($argument),*) -> $out,)*
        }

        impl $name {
            /// Finds them all.
            ///
            /// # Safety
            /// The library must have them with these types, and stay loaded as long as this is used.
            unsafe fn of(library: &libloading::Library) -> Result<$name, String> {
                Ok($name {
                    // SAFETY: the caller's promise.
                    $($field: unsafe {
                        *library.get(concat!($symbol, "\0").as_bytes()).map_err(|error| $crate::cuda::libraries::explained(&error))?
                    },)*
                })
            }
        }
    };
}
pub(super) use functions;

#[cfg(test)]
mod tests {
    use super::*;

    fn places(named: Option<&Path>) -> Places {
        Places {
            named: named.map(Path::to_path_buf),
            toolkits: vec![PathBuf::from("/toolkit/lib64")],
            packages: vec![PathBuf::from("/packages")],
        }
    }

    #[test]
    fn newer_libraries_are_tried_first_and_none_newer_than_the_driver() {
        let of = |newest| -> Vec<String> {
            NVRTC
                .candidates(newest, &places(None))
                .iter()
                .map(|path| path.display().to_string())
                .collect()
        };
        let twelve = [
            "libnvrtc.so.12",
            "/toolkit/lib64/libnvrtc.so.12",
            "/packages/nvidia/cu12/lib/libnvrtc.so.12",
            "/packages/nvidia/cuda_nvrtc/lib/libnvrtc.so.12",
        ];
        assert_eq!(of(12), twelve);
        assert_eq!(of(13)[0], "libnvrtc.so.13");
        assert_eq!(of(13)[2], "/packages/nvidia/cu13/lib/libnvrtc.so.13");
        assert_eq!(of(13)[4..], twelve);
        assert_eq!(of(14), of(13));
    }

    #[test]
    fn a_named_library_is_taken_or_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let named = CUBLAS_LT.candidates(13, &places(Some(folder.path())));
        assert_eq!(
            named,
            ["libcublasLt.so.13", "libcublasLt.so.12"].map(|file| folder.path().join(file))
        );
        let file = folder.path().join("libother.so");
        assert_eq!(CUBLAS_LT.candidates(13, &places(Some(&file))), [file]);
    }
}
