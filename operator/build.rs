//! Compiles the command again when there is another migration.

#![allow(
    clippy::print_stdout,
    reason = "a build script speaks to cargo on its standard output"
)]

fn main() {
    println!("cargo::rerun-if-changed=../migrations");
}
