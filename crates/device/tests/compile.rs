//! Kernels compiled by NVRTC without a GPU, for the oldest, a middle and the newest architecture; and what is kept of it.

use footnote_device::cuda::{Compiler, Cuda};
use footnote_device::kernels::all_programs;
use footnote_device::{DeviceError, Program};
use footnote_testkit::skip;

/// What is promised to work: A100, H100, and GeForce RTX 50.
const ARCHITECTURES: [u32; 3] = [80, 90, 120];

/// A compiler that keeps what it compiles in `folder`, or a loud skip.
fn compiler(test: &str, folder: Option<&std::path::Path>) -> Option<Compiler> {
    match Compiler::find(13, folder.map(std::path::Path::to_path_buf)) {
        Ok(compiler) => Some(compiler),
        Err(error) => {
            assert!(
                std::env::var_os("FOOTNOTE_NVRTC").is_none(),
                "NVRTC was named, and then it must be there: {error}"
            );
            skip(
                test,
                &format!("kernels were not compiled for GPUs: {error}"),
            );
            None
        }
    }
}

#[test]
fn every_program_compiles_for_every_architecture() {
    // Kept between runs, as some take long: what did not change is not compiled again.
    let kept = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("cubins");
    let Some(compiler) = compiler("every_program_compiles_for_every_architecture", Some(&kept))
    else {
        return;
    };
    let programs = all_programs();
    let jobs: Vec<(&Program, u32)> = programs
        .iter()
        .flat_map(|program| ARCHITECTURES.map(|architecture| (&**program, architecture)))
        .collect();
    // NVRTC compiles one program a thread; the processors share the work.
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let next = std::sync::atomic::AtomicUsize::new(0);
    let failures = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    let Some((program, architecture)) = jobs.get(at) else {
                        return;
                    };
                    let failure = match compiler.compile(program, *architecture) {
                        Ok(compiled) if is_cubin(&compiled.cubin) => continue,
                        Ok(_) => "what comes out is no ELF file".to_string(),
                        Err(error) => error.to_string(),
                    };
                    let mut failures = failures.lock().expect("no thread panicked");
                    failures.push(format!("sm_{architecture}: {failure}"));
                }
            });
        }
    });
    let failures = failures.into_inner().expect("no thread panicked");
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

fn is_cubin(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x7fELF")
}

/// A small program of its own.
fn program(source: &'static str, defines: Vec<(&'static str, i64)>) -> Program {
    Program {
        name: "sample",
        source,
        entries: &["fill"],
        defines,
    }
}

const FILL: &str = "\nKERNEL(32) fill(int* out) { out[blockIdx.x * 32 + threadIdx.x] = VALUE; }\n";

#[test]
fn the_log_says_what_does_not_compile() {
    let Some(compiler) = compiler("the_log_says_what_does_not_compile", None) else {
        return;
    };
    let broken = program(
        "\nKERNEL(32) fill(int* out) { no_such_thing(out); }\n",
        vec![],
    );
    match compiler.compile(&broken, 80) {
        Err(DeviceError::Compile { program, log }) => {
            assert_eq!(program, "sample");
            assert!(
                log.contains("sample.cu(") && log.contains("no_such_thing"),
                "{log}"
            );
        }
        Err(error) => panic!("another error: {error}"),
        Ok(_) => panic!("it compiles"),
    }
}

#[test]
fn what_is_compiled_once_comes_from_disk_unless_it_is_damaged() {
    let test = "what_is_compiled_once_comes_from_disk_unless_it_is_damaged";
    let folder = tempfile::tempdir().expect("a folder");
    let Some(compiler) = compiler(test, Some(folder.path())) else {
        return;
    };
    let compile = |value: i64, architecture: u32| {
        compiler
            .compile(&program(FILL, vec![("VALUE", value)]), architecture)
            .expect("it compiles")
    };
    let files = || -> Vec<std::path::PathBuf> {
        std::fs::read_dir(folder.path())
            .expect("a folder")
            .map(|entry| entry.expect("an entry").path())
            .collect()
    };
    let first = compile(1, 80);
    assert!(!first.was_kept && is_cubin(&first.cubin));
    let again = compile(1, 80);
    assert!(again.was_kept, "the second time it is there");
    assert_eq!(again.cubin, first.cubin);

    let [file] = &files()[..] else {
        panic!("one file: {:?}", files());
    };
    let mut bytes = std::fs::read(file).expect("readable");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(file, &bytes).expect("writable");
    let mended = compile(1, 80);
    assert!(!mended.was_kept, "a damaged file is not believed");
    assert_eq!(mended.cubin, first.cubin);
    assert!(compile(1, 80).was_kept, "and it was written anew");

    // Other constants and other architectures are other programs.
    assert!(!compile(2, 80).was_kept);
    assert!(!compile(1, 90).was_kept);
    assert_eq!(files().len(), 3);
}

#[test]
fn a_folder_that_cannot_be_written_costs_no_more_than_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("a file where a folder should be");
    std::fs::write(&file, b"").expect("writable");
    let test = "a_folder_that_cannot_be_written_costs_no_more_than_time";
    let Some(compiler) = compiler(test, Some(&file.join("kernels"))) else {
        return;
    };
    for _ in 0..2 {
        let compiled = compiler
            .compile(&program(FILL, vec![("VALUE", 3)]), 90)
            .expect("it compiles");
        assert!(!compiled.was_kept && is_cubin(&compiled.cubin));
    }
}

#[test]
fn an_architecture_of_another_generation_is_refused() {
    let Some(compiler) = compiler("an_architecture_of_another_generation_is_refused", None) else {
        return;
    };
    assert_eq!(compiler.architecture(89).expect("known"), 89);
    assert!(matches!(
        compiler.architecture(999),
        Err(DeviceError::Missing { .. })
    ));
}

#[test]
fn a_machine_without_a_gpu_gets_an_error_that_names_the_mend() {
    match Cuda::count() {
        Ok(count) if count > 0 => skip(
            "a_machine_without_a_gpu_gets_an_error_that_names_the_mend",
            "this machine has a GPU",
        ),
        _ => match Cuda::open(0) {
            Err(error @ DeviceError::Missing { .. }) => {
                let text = error.to_string();
                assert!(
                    text.starts_with("cuda:0 cannot be used: ") && text.contains("processor"),
                    "{text}"
                );
            }
            Err(error) => panic!("another error: {error}"),
            Ok(_) => panic!("a GPU that is not there"),
        },
    }
}
