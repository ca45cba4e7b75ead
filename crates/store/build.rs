//! Migrations are compiled in, and cargo does not see them by itself.

#![allow(clippy::print_stdout, reason = "cargo is told on standard output")]

fn main() {
    println!("cargo:rerun-if-changed=../../migrations");
}
