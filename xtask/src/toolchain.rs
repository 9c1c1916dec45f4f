//! Installs the parts of the Rust toolchain that `rust-toolchain.toml` requires, on machines where rustup does not
//! install them automatically.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use rushgate_testbed::program::find;

use crate::run;
use crate::say;

const WASM_TARGET: &str = "wasm32-wasip2";

/// Ensures that the component can be compiled.
pub(crate) fn ensure_wasm_target() -> Result<()> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let libraries = run::quietly(
        Command::new(rustc)
            .args(["--print", "target-libdir", "--target", WASM_TARGET])
            .current_dir(crate::workspace::root()),
    )?;
    if Path::new(&libraries).is_dir() {
        return Ok(());
    }
    rustup(&["target", "add", WASM_TARGET])
}

/// Ensures that rustfmt and clippy are installed.
pub(crate) fn ensure_checkers() -> Result<()> {
    for (component, subcommand) in [("rustfmt", "fmt"), ("clippy", "clippy")] {
        if run::quietly(&mut crate::workspace::cargo([subcommand, "--version"])).is_err() {
            rustup(&["component", "add", component])?;
        }
    }
    Ok(())
}

fn rustup(arguments: &[&str]) -> Result<()> {
    let wanted = format!("rustup {}", arguments.join(" "));
    let Some(rustup) = find("rustup") else {
        bail!(
            "this Rust toolchain lacks what `{wanted}` would add, and rustup is not installed: add it with the package \
             manager of this toolchain, or install Rust from rustup.rs"
        );
    };
    let step = say::heading(format!("Running `{wanted}`"));
    run::successfully(
        Command::new(rustup)
            .args(arguments)
            .current_dir(crate::workspace::root()),
    )
    .with_context(|| format!("installing a part of the Rust toolchain: try `{wanted}` by hand"))?;
    step.done();
    Ok(())
}
