//! Kernels compiled by NVRTC for one architecture, and kept on disk.
//!
//! A program is compiled behind its constants and the prelude into a cubin, which the driver loads as it is. Fast maths
//! stays off: kernels that want an approximation say so themselves. Must not know devices: it works without a GPU.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::io::Write;
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use libloading::Library;
use sha2::{Digest, Sha256};

use super::libraries::{NVRTC, explained, functions};
use crate::{DeviceError, Program, kernels};

type Handle = *mut c_void;

functions! {
    /// What of NVRTC is used. Statuses are numbers: a later version may have more.
    struct Nvrtc {
        version: fn(*mut c_int, *mut c_int) -> u32 = "nvrtcVersion";
        architectures: fn(*mut c_int) -> u32 = "nvrtcGetSupportedArchs";
        architecture_count: fn(*mut c_int) -> u32 = "nvrtcGetNumSupportedArchs";
        create: fn(*mut Handle, *const c_char, *const c_char, c_int, *const *const c_char, *const *const c_char) -> u32
            = "nvrtcCreateProgram";
        destroy: fn(*mut Handle) -> u32 = "nvrtcDestroyProgram";
        compile: fn(Handle, c_int, *const *const c_char) -> u32 = "nvrtcCompileProgram";
        cubin_size: fn(Handle, *mut usize) -> u32 = "nvrtcGetCUBINSize";
        cubin: fn(Handle, *mut c_char) -> u32 = "nvrtcGetCUBIN";
        log_size: fn(Handle, *mut usize) -> u32 = "nvrtcGetProgramLogSize";
        log: fn(Handle, *mut c_char) -> u32 = "nvrtcGetProgramLog";
        error_name: fn(u32) -> *const c_char = "nvrtcGetErrorString";
    }
}

/// Compiles programs, or finds them compiled.
pub struct Compiler {
    nvrtc: Nvrtc,
    version: (u32, u32),
    /// What it compiles for, in rising order.
    architectures: Vec<u32>,
    folder: Option<PathBuf>,
}

/// A program as the driver loads it.
pub struct Compiled {
    /// Machine code of one architecture.
    pub cubin: Vec<u8>,
    /// Whether it was on disk already.
    pub was_kept: bool,
}

impl Compiler {
    /// Finds NVRTC, no newer than version `newest` of CUDA, which is what the driver runs. Compiled programs are kept in
    /// `folder`; nowhere without one.
    ///
    /// # Errors
    /// [`DeviceError::Missing`] where there is none.
    pub fn find(newest: u32, folder: Option<PathBuf>) -> Result<Compiler, DeviceError> {
        NVRTC
            .load(newest, |library, file| {
                // SAFETY: NVRTC has had these functions with these types since CUDA 11.2, and the library is not unloaded
                // once it is accepted.
                let nvrtc = unsafe { Nvrtc::of(library)? };
                let (mut major, mut minor) = (0, 0);
                // SAFETY: it writes two numbers.
                let status = unsafe { (nvrtc.version)(&raw mut major, &raw mut minor) };
                nvrtc.check(status)?;
                let version = (major.cast_unsigned(), minor.cast_unsigned());
                if version < (12, 8) || version.0 > newest {
                    return Err(format!(
                        "its version is {major}.{minor}, not between 12.8 and the driver's {newest}"
                    ));
                }
                load_builtins(file, version)?;
                let architectures = nvrtc.supported()?;
                Ok(Compiler {
                    nvrtc,
                    version,
                    architectures,
                    folder: folder.clone(),
                })
            })
            .map_err(|reason| DeviceError::Missing {
                device: "a compiler for GPUs".to_string(),
                reason,
                mend: NVRTC.mend(newest),
            })
    }

    /// NVRTC's version, as (13, 0).
    pub fn version(&self) -> (u32, u32) {
        self.version
    }

    /// What to compile for so that it runs on a device of compute capability `capability`, as 89: the very same, or the
    /// nearest older one of the same generation, whose machine code runs there too.
    ///
    /// # Errors
    /// [`DeviceError::Missing`] where this NVRTC is too old for the device.
    pub fn architecture(&self, capability: u32) -> Result<u32, DeviceError> {
        nearest(&self.architectures, capability).ok_or_else(|| DeviceError::Missing {
            device: format!("a compiler for sm_{capability}"),
            reason: format!(
                "NVRTC {}.{} does not know it",
                self.version.0, self.version.1
            ),
            mend: NVRTC.mend(self.version.0),
        })
    }

    /// Compiles a program for an architecture, as 90 for sm_90.
    ///
    /// # Errors
    /// [`DeviceError::Compile`] with the compiler's log.
    pub fn compile(&self, program: &Program, architecture: u32) -> Result<Compiled, DeviceError> {
        let failed = |log: String| DeviceError::Compile {
            program: program.title(),
            log,
        };
        let source = source(program);
        let options = options(architecture);
        let kept = self.folder.as_deref().map(|folder| {
            let name = self.file_name(program, &source, &options, architecture);
            (folder, folder.join(name))
        });
        if let Some((_, file)) = &kept
            && let Some(cubin) = read(file)
        {
            return Ok(Compiled {
                cubin,
                was_kept: true,
            });
        }
        let started = std::time::Instant::now();
        let cubin = self
            .nvrtc
            .build(program.name, &source, &options)
            .map_err(failed)?;
        tracing::debug!(
            program = program.title(),
            architecture,
            elapsed_ms = started.elapsed().as_millis() as u64,
            "compiled kernels"
        );
        if let Some((folder, file)) = &kept
            && let Err(error) = write(folder, file, &cubin)
        {
            // The work is done either way; what is lost is that it is done again next time.
            tracing::warn!(
                folder = %folder.display(),
                "compiled kernels cannot be kept, so they are compiled again at every start: {error}"
            );
        }
        Ok(Compiled {
            cubin,
            was_kept: false,
        })
    }

    fn file_name(
        &self,
        program: &Program,
        source: &str,
        options: &[String],
        architecture: u32,
    ) -> String {
        let mut digest = Sha256::new();
        digest.update(format!("{}.{}\0", self.version.0, self.version.1));
        for option in options {
            digest.update(option);
            digest.update("\0");
        }
        digest.update(source);
        let digest: String = digest.finalize()[..16]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        format!("{}-sm_{architecture}-{digest}.cubin", program.name)
    }
}

/// Where compiled programs are kept: `$FOOTNOTE_KERNEL_CACHE`, else `footnote/kernels` in the user's folder for caches.
pub fn kernel_folder() -> Option<PathBuf> {
    let folder = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    folder("FOOTNOTE_KERNEL_CACHE").or_else(|| {
        folder("XDG_CACHE_HOME")
            .or_else(|| Some(folder("HOME")?.join(".cache")))
            .map(|caches| caches.join("footnote/kernels"))
    })
}

/// Loads the library that NVRTC itself loads, by name alone, when it compiles: the system's loader does not look for it in
/// the folder that NVRTC came from, but takes it from there once it is loaded.
fn load_builtins(nvrtc: &Path, version: (u32, u32)) -> Result<(), String> {
    let name = format!("libnvrtc-builtins.so.{}.{}", version.0, version.1);
    let beside = nvrtc.with_file_name(name);
    // Found by the system's loader, NVRTC has its own where that looks too.
    if nvrtc.components().count() > 1 && beside.exists() {
        // SAFETY: NVIDIA's libraries are made to be loaded, and their initialisers need nothing of this process.
        let library = unsafe { Library::new(&beside) }.map_err(|error| explained(&error))?;
        let _ = ManuallyDrop::new(library);
    }
    Ok(())
}

fn source(program: &Program) -> String {
    let mut source = String::new();
    for (name, value) in &program.defines {
        source.push_str(&format!("#define {name} {value}\n"));
    }
    source.push_str(kernels::PRELUDE);
    source.push_str(program.source);
    source
}

fn options(architecture: u32) -> Vec<String> {
    vec![
        format!("--gpu-architecture=sm_{architecture}"),
        "--std=c++17".to_string(),
        // Functions without a mark are the device's: nothing here is the host's.
        "-default-device".to_string(),
    ]
}

/// The newest of `known` that runs on `capability`: not newer, and of its generation.
fn nearest(known: &[u32], capability: u32) -> Option<u32> {
    let runs = |known: &&u32| **known <= capability && **known / 10 == capability / 10;
    known.iter().filter(runs).max().copied()
}

/// A kept cubin, behind its checksum; nothing where it is not there or not whole.
fn read(file: &Path) -> Option<Vec<u8>> {
    let bytes = match std::fs::read(file) {
        Ok(bytes) => bytes,
        Err(error) => {
            if error.kind() != std::io::ErrorKind::NotFound {
                tracing::warn!(file = %file.display(), "a compiled kernel cannot be read: {error}");
            }
            return None;
        }
    };
    let (checksum, cubin) = bytes.split_at_checked(32)?;
    if Sha256::digest(cubin).as_slice() != checksum {
        tracing::warn!(file = %file.display(), "a compiled kernel is damaged and is compiled again");
        return None;
    }
    Some(cubin.to_vec())
}

/// Writes a fresh file and renames it, so that whoever reads sees all or nothing.
fn write(folder: &Path, file: &Path, cubin: &[u8]) -> std::io::Result<()> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    std::fs::create_dir_all(folder)?;
    let fresh = file.with_extension(format!(
        "{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    ));
    let written = std::fs::File::create_new(&fresh).and_then(|mut out| {
        out.write_all(&Sha256::digest(cubin))?;
        out.write_all(cubin)
    });
    let done = written.and_then(|()| std::fs::rename(&fresh, file));
    if done.is_err() {
        let _ = std::fs::remove_file(&fresh);
    }
    done
}

/// A program of NVRTC's, destroyed with this.
struct Build<'a> {
    nvrtc: &'a Nvrtc,
    handle: Handle,
}

impl Drop for Build<'_> {
    fn drop(&mut self) {
        // SAFETY: NVRTC made the handle, and nobody else has it.
        unsafe { (self.nvrtc.destroy)(&raw mut self.handle) };
    }
}

impl Nvrtc {
    fn check(&self, status: u32) -> Result<(), String> {
        if status == 0 {
            return Ok(());
        }
        // SAFETY: it takes any number and gives a constant text.
        let name = unsafe { (self.error_name)(status) };
        match name.is_null() {
            true => Err(format!("NVRTC error {status}")),
            // SAFETY: a constant of the library, ended by a zero byte.
            false => Err(unsafe { CStr::from_ptr(name) }
                .to_string_lossy()
                .into_owned()),
        }
    }

    fn supported(&self) -> Result<Vec<u32>, String> {
        let mut count = 0;
        // SAFETY: it writes one number.
        self.check(unsafe { (self.architecture_count)(&raw mut count) })?;
        let mut known = vec![0; usize::try_from(count).map_err(|error| error.to_string())?];
        // SAFETY: it writes as many numbers as it just said.
        self.check(unsafe { (self.architectures)(known.as_mut_ptr()) })?;
        Ok(known.into_iter().map(c_int::cast_unsigned).collect())
    }

    fn build(&self, name: &str, source: &str, options: &[String]) -> Result<Vec<u8>, String> {
        let text = |text: &str| CString::new(text).map_err(|error| error.to_string());
        let (source, name) = (text(source)?, text(&format!("{name}.cu"))?);
        let options = options
            .iter()
            .map(|option| text(option))
            .collect::<Result<Vec<_>, _>>()?;
        let options: Vec<*const c_char> = options.iter().map(|option| option.as_ptr()).collect();
        let mut handle = std::ptr::null_mut();
        // SAFETY: source and name are C strings that outlive the program, and there are no headers.
        self.check(unsafe {
            (self.create)(
                &raw mut handle,
                source.as_ptr(),
                name.as_ptr(),
                0,
                std::ptr::null(),
                std::ptr::null(),
            )
        })?;
        let build = Build {
            nvrtc: self,
            handle,
        };
        // SAFETY: the handle is a program's, and the options are as many C strings.
        let status =
            unsafe { (self.compile)(build.handle, options.len() as c_int, options.as_ptr()) };
        if let Err(error) = self.check(status) {
            return Err(format!("{error}\n{}", build.log()?));
        }
        let mut size = 0;
        // SAFETY: it writes one number.
        self.check(unsafe { (self.cubin_size)(build.handle, &raw mut size) })?;
        let mut cubin = vec![0_u8; size];
        // SAFETY: it writes as many bytes as it just said.
        self.check(unsafe { (self.cubin)(build.handle, cubin.as_mut_ptr().cast()) })?;
        Ok(cubin)
    }
}

impl Build<'_> {
    fn log(&self) -> Result<String, String> {
        let mut size = 0;
        // SAFETY: it writes one number.
        self.nvrtc
            .check(unsafe { (self.nvrtc.log_size)(self.handle, &raw mut size) })?;
        let mut log = vec![0_u8; size];
        // SAFETY: it writes as many bytes as it just said.
        self.nvrtc
            .check(unsafe { (self.nvrtc.log)(self.handle, log.as_mut_ptr().cast()) })?;
        Ok(String::from_utf8_lossy(&log)
            .trim_end_matches('\0')
            .trim_end()
            .to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machine_code_is_of_the_device_or_of_an_older_one_of_its_generation() {
        let known = [75, 80, 86, 87, 88, 89, 90, 100, 103, 110, 120, 121];
        for (capability, wanted) in [
            (80, Some(80)),
            (89, Some(89)),
            (90, Some(90)),
            (104, Some(103)),
            (120, Some(120)),
            (129, Some(121)),
            (130, None),
            (70, None),
        ] {
            assert_eq!(nearest(&known, capability), wanted, "sm_{capability}");
        }
    }

    #[test]
    fn what_is_kept_is_whole_or_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let inner = folder.path().join("made/on/demand");
        let file = inner.join("a.cubin");
        assert_eq!(read(&file), None);
        write(&inner, &file, b"machine code").expect("written");
        assert_eq!(read(&file).as_deref(), Some(b"machine code".as_slice()));
        let names = std::fs::read_dir(&inner).expect("a folder").count();
        assert_eq!(names, 1, "the fresh file was renamed");
        let mut bytes = std::fs::read(&file).expect("readable");
        bytes.truncate(bytes.len() - 1);
        std::fs::write(&file, &bytes).expect("writable");
        assert_eq!(read(&file), None, "cut short");
        std::fs::write(&file, b"short").expect("writable");
        assert_eq!(read(&file), None, "shorter than a checksum");
    }
}
