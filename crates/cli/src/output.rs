//! Everything the program prints goes through here.
//!
//! Results go to standard output, steps, warnings and progress to standard error. A reader that
//! closes its end (`| head`) ends the program quietly: that is success, not an error.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

/// What a command came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Exit code 0.
    Done,
    /// Exit code 3: some items failed, each named on standard error.
    Partly,
}

/// The two output streams and how much may be said on them.
#[derive(Clone, Debug)]
pub struct Output {
    quiet: bool,
    live: bool,
}

impl Output {
    /// `quiet` silences steps and progress; warnings and errors are always said.
    pub fn new(quiet: bool) -> Output {
        Output {
            quiet,
            live: !quiet && io::stderr().is_terminal(),
        }
    }

    /// One line of the result.
    pub fn line(&self, text: &str) -> anyhow::Result<()> {
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{text}")?;
        Ok(())
    }

    /// Part of the result, shown at once.
    pub fn part(&self, text: &str) -> anyhow::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        stdout.flush()?;
        Ok(())
    }

    /// The result as indented JSON.
    pub fn json<T: Serialize>(&self, value: &T) -> anyhow::Result<()> {
        self.line(&serde_json::to_string_pretty(value)?)
    }

    /// The result as one JSON line.
    pub fn json_line<T: Serialize>(&self, value: &T) -> anyhow::Result<()> {
        self.line(&serde_json::to_string(value)?)
    }

    /// What is going on now.
    pub fn step(&self, text: &str) {
        if !self.quiet {
            self.stderr(text);
        }
    }

    /// What the user must know besides the result.
    pub fn warning(&self, text: &str) {
        self.stderr(&format!("warning: {text}"));
    }

    /// Why the command failed, with the causes below it that say something new.
    pub fn error(&self, error: &anyhow::Error) {
        let mut text = error.to_string();
        for cause in error.chain().skip(1) {
            let cause = cause.to_string();
            if !text.contains(&cause) {
                text.push_str(": ");
                text.push_str(&cause);
            }
        }
        self.stderr(&format!("error: {text}"));
    }

    fn stderr(&self, text: &str) {
        // Nowhere is left to report that standard error is closed.
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// A progress bar over bytes; none where standard error is no terminal.
    pub fn bytes_bar(&self, message: &str, total: u64) -> ProgressBar {
        self.bar(
            message,
            total,
            "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
        )
    }

    /// A progress bar over items; none where standard error is no terminal.
    pub fn items_bar(&self, message: &str, total: u64) -> ProgressBar {
        self.bar(
            message,
            total,
            "{msg} {wide_bar} {pos}/{len} {elapsed} ({eta} left)",
        )
    }

    fn bar(&self, message: &str, total: u64, template: &str) -> ProgressBar {
        if !self.live {
            return ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden());
        }
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(message.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        bar
    }
}

/// Whether an error is only that nobody reads the output any more.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|io| io.kind() == io::ErrorKind::BrokenPipe)
            || cause
                .downcast_ref::<serde_json::Error>()
                .is_some_and(|json| json.io_error_kind() == Some(io::ErrorKind::BrokenPipe))
    })
}

/// `1117320768` as `1.12 GB`.
pub fn human_bytes(bytes: u64) -> String {
    const UNITS: [(&str, f64); 3] = [("GB", 1e9), ("MB", 1e6), ("kB", 1e3)];
    for (unit, size) in UNITS {
        if bytes as f64 >= size {
            return format!("{:.2} {unit}", bytes as f64 / size);
        }
    }
    format!("{bytes} B")
}

#[cfg(test)]
mod tests {
    use super::human_bytes;

    #[test]
    fn sizes_read_like_a_download_page() {
        assert_eq!(human_bytes(999), "999 B");
        assert_eq!(human_bytes(98_362_432), "98.36 MB");
        assert_eq!(human_bytes(1_117_320_768), "1.12 GB");
    }
}
