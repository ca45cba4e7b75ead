//! Kernels compiled by NVRTC without a GPU, for the oldest, a middle and the newest architecture: what they ask of a
//! multiprocessor, and what is kept of them.

mod cubin;
mod launches;

use std::collections::BTreeMap;

use cubin::{MULTIPROCESSORS, Usage, usages};
use footnote_device::cuda::{Compiler, Cuda};
use footnote_device::kernels::all_programs;
use footnote_device::{DeviceError, Program};
use footnote_testkit::skip;

/// Bytes of local memory that a kernel may take.
///
/// Attention over codes takes all registers there are: a tile of keys and their factors, with as many blocks at once as hide
/// its waiting. More is spilled where a head has so many queries that blocks divide them, or a channel is kept apart: seldom.
fn may_spill(program: &str, entry: &str) -> usize {
    let queries = program
        .split(' ')
        .find_map(|define| define.strip_prefix("GROUP="));
    let divided = queries.is_some_and(|count| count.parse::<usize>().is_ok_and(|count| count > 8));
    match entry {
        "remat" if divided || program.contains("OUTLIER=1") => 160,
        "remat" => 48,
        _ => 0,
    }
}

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

/// Compiled, every kernel has its registers to itself and shared memory that there is. Prints what each asks for with
/// `--nocapture`.
#[test]
fn every_program_compiles_for_every_architecture_and_fits() {
    // Kept between runs, as some take long: what did not change is not compiled again.
    let kept = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("cubins");
    let test = "every_program_compiles_for_every_architecture_and_fits";
    let Some(compiler) = compiler(test, Some(&kept)) else {
        return;
    };
    let programs = all_programs();
    let jobs: Vec<(&Program, usize)> = programs
        .iter()
        .flat_map(|program| [0, 1, 2].map(|target| (&**program, target)))
        .collect();
    // NVRTC compiles one program a thread; the processors share the work.
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let next = std::sync::atomic::AtomicUsize::new(0);
    let failures = std::sync::Mutex::new(Vec::new());
    let found = std::sync::Mutex::new(BTreeMap::<_, [Option<Usage>; 3]>::new());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    let Some((program, target)) = jobs.get(at) else {
                        return;
                    };
                    match compiled(&compiler, program, MULTIPROCESSORS[*target].architecture) {
                        Ok(usages) => {
                            let mut found = found.lock().expect("no thread panicked");
                            for (entry, usage) in usages {
                                let kernel = (program.title(), entry);
                                found.entry(kernel).or_default()[*target] = Some(usage);
                            }
                        }
                        Err(failure) => {
                            let mut failures = failures.lock().expect("no thread panicked");
                            failures.push(failure);
                        }
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().expect("no thread panicked");
    let dynamic = launches::shared_bytes();
    println!("kernel | shared | sm_80, sm_90, sm_120: registers, local, blocks");
    for ((program, entry), usages) in found.into_inner().expect("no thread panicked") {
        let mut line = Vec::new();
        let dynamic = dynamic.get(&(program.clone(), entry)).copied().unwrap_or(0);
        let mut shared = 0;
        for (target, usage) in MULTIPROCESSORS.iter().zip(usages) {
            let Some(usage) = usage else {
                continue;
            };
            let name = format!("sm_{}: {entry} of {program}", target.architecture);
            if usage.local > may_spill(&program, entry) {
                failures.push(format!("{name} has {} bytes of local memory", usage.local));
            }
            shared = usage.shared + dynamic;
            let blocks = target.blocks_of(&usage, dynamic);
            if blocks == 0 || shared > target.block_shared {
                failures.push(format!("{name} does not fit: {usage:?}, {dynamic} dynamic"));
            }
            line.push(format!("{} {} {blocks}", usage.registers, usage.local));
        }
        println!("{entry} of {program} | {shared} | {}", line.join(" | "));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// What a program's kernels ask for on an architecture.
fn compiled(
    compiler: &Compiler,
    program: &Program,
    architecture: u32,
) -> Result<Vec<(&'static str, Usage)>, String> {
    let failed = |failure: &str| format!("sm_{architecture}: {}: {failure}", program.title());
    let compiled = compiler
        .compile(program, architecture)
        .map_err(|error| failed(&error.to_string()))?;
    let found = usages(&compiled.cubin, architecture)
        .ok_or_else(|| failed("what comes out is no ELF file that can be read"))?;
    let of = |entry: &&'static str| match found.get(*entry) {
        Some(usage) if usage.registers > 0 && usage.threads > 0 => Ok((*entry, *usage)),
        other => Err(failed(&format!("{entry} is not described: {other:?}"))),
    };
    program.entries.iter().map(of).collect()
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

/// A kernel that must spill does, and shared memory is counted: else the test of all programs could not fail.
#[test]
fn local_and_shared_memory_are_seen() {
    let Some(compiler) = compiler("local_and_shared_memory_are_seen", None) else {
        return;
    };
    let source = "
extern \"C\" __global__ void __launch_bounds__(1024) fill(int* out) {
  __shared__ int first[1000];
  int all[200];
  for (int i = 0; i < 200; i++) all[i] = out[i * out[i]];
  first[threadIdx.x % 1000] = all[out[0]];
  __syncthreads();
  for (int i = 0; i < 200; i++) out[i] = all[out[i] % 200] + first[out[i] % 1000];
}
";
    for target in MULTIPROCESSORS {
        let usages = compiled(&compiler, &program(source, vec![]), target.architecture);
        let [(_, usage)] = usages.expect("it compiles")[..] else {
            panic!("one kernel");
        };
        assert!(usage.local >= 800, "{usage:?}");
        assert_eq!((usage.shared, usage.threads), (4000, 1024));
        assert!(usage.registers <= 64, "{usage:?}");
    }
    let usage = Usage {
        registers: 63,
        local: 0,
        shared: 16 << 10,
        threads: 256,
    };
    let blocks = |dynamic: usize| MULTIPROCESSORS.map(|target| target.blocks_of(&usage, dynamic));
    assert_eq!(blocks(0), [4, 4, 4], "by registers");
    assert_eq!(blocks(40 << 10), [2, 4, 1], "by shared memory");
    assert_eq!(blocks(90 << 10), [1, 2, 0]);
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
