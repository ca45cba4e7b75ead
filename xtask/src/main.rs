//! Chores of the repository, run as `cargo xtask COMMAND`.

mod sample;
mod testing;
mod tidy;

use std::path::Path;
use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask COMMAND

  sample-corpus            write corpora/sample
  sample-corpus --check    fail where corpora/sample is not what the generator makes
  tidy                     check the repository itself: module comments, file sizes, stray paths, the sample
  test                     run the whole test suite and count the tests that were skipped
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let Some(root) = Path::new(env!("CARGO_MANIFEST_DIR")).parent() else {
        return say_failure(&anyhow::anyhow!("xtask stands outside a workspace"));
    };
    let outcome = match arguments.as_slice() {
        ["sample-corpus"] => sample::write(root).map(|files| format!("{files} files written")),
        ["sample-corpus", "--check"] => {
            sample::check(root).map(|()| "corpora/sample is in step".to_owned())
        }
        ["tidy"] => tidy::check(root).map(|files| format!("{files} files are tidy")),
        ["test"] => testing::run(root).map(|skipped| match skipped {
            0 => "all tests ran and passed".to_owned(),
            _ => format!(
                "tests passed; {skipped} were skipped for want of data, models or a GPU, named above"
            ),
        }),
        _ => {
            say(USAGE.trim_end());
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(done) => {
            say(&done);
            ExitCode::SUCCESS
        }
        Err(error) => say_failure(&error),
    }
}

#[expect(
    clippy::print_stderr,
    reason = "a chore talks to the person who runs it"
)]
fn say(text: &str) {
    eprintln!("{text}");
}

fn say_failure(error: &anyhow::Error) -> ExitCode {
    say(&format!("error: {error:#}"));
    ExitCode::FAILURE
}
