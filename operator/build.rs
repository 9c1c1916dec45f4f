//! Makes cargo compile the command again when a migration is added or changed.

#![allow(
    clippy::print_stdout,
    reason = "a build script speaks to cargo on its standard output"
)]

fn main() {
    println!("cargo::rerun-if-changed=../migrations");
}
