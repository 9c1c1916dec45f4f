//! Finds the root of the checkout, and runs cargo in it.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The root of the checkout.
pub(crate) fn root() -> PathBuf {
    let member = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    member.parent().map_or(member.clone(), Path::to_owned)
}

/// A path relative to the root, for messages.
pub(crate) fn from_root(path: &Path) -> &Path {
    path.strip_prefix(root()).unwrap_or(path)
}

/// Cargo's target directory. Always this one: `spin.toml` names the component by this path.
pub(crate) fn target() -> PathBuf {
    root().join("target")
}

/// CFLAGS of every build that a person waits for.
const TO_BUILD_FAST: &str = "-g0 -O0";

/// cargo with these arguments, at the root. Only the build of the profile release optimises librdkafka, which otherwise takes
/// twice as long to compile.
pub(crate) fn cargo<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(arguments)
        .current_dir(root())
        .env("CARGO_TARGET_DIR", target());
    compile_c_with(&mut command, TO_BUILD_FAST);
    command
}

/// Sets the flags for what is written in C, unless the environment has flags of its own.
pub(crate) fn compile_c_with(cargo: &mut Command, flags: &str) {
    const NAME: &str = "CFLAGS";
    if are_ours(std::env::var(NAME).ok().as_deref()) {
        cargo.env(NAME, flags);
    }
}

/// Whether xtask has these CFLAGS from cargo, which gives it those of `.cargo/config.toml`, or from an xtask that started it.
fn are_ours(cflags: Option<&str>) -> bool {
    matches!(cflags, Some("-g0" | TO_BUILD_FAST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_where_the_manifest_is() {
        assert!(root().join("spin.toml").is_file());
    }

    #[test]
    fn c_is_compiled_with_the_flags_of_whoever_sets_some() {
        let config = include_str!("../../.cargo/config.toml");
        assert!(config.contains("CFLAGS = \"-g0\"") && are_ours(Some("-g0")));
        assert!(are_ours(Some(TO_BUILD_FAST)));
        assert!(!are_ours(Some("-O3 -march=native")));
        assert!(!are_ours(None));
    }
}
