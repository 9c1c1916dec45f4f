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

/// cargo with these arguments, at the root. It optimises librdkafka as little as the dependencies in Rust. (Only the build of
/// the profile release optimises it fully.)
pub(crate) fn cargo<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(arguments)
        .current_dir(root())
        .env("CARGO_TARGET_DIR", target());
    compile_c_with(&mut command, "-g0 -O1");
    command
}

/// Sets the flags for what is written in C, unless the environment has flags of its own: cargo gives xtask those of
/// `.cargo/config.toml`, `-g0`.
pub(crate) fn compile_c_with(cargo: &mut Command, flags: &str) {
    const NAME: &str = "CFLAGS";
    if std::env::var(NAME).is_ok_and(|set| set == "-g0") {
        cargo.env(NAME, flags);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_where_the_manifest_is() {
        assert!(root().join("spin.toml").is_file());
    }

    #[test]
    fn c_is_compiled_with_what_the_caller_says() {
        let flags = |command: &Command| {
            let mut set = command.get_envs();
            set.find_map(|(name, value)| value.filter(|_| name == "CFLAGS").map(ToOwned::to_owned))
        };
        let mut command = cargo(["build"]);
        assert_eq!(flags(&command), Some("-g0 -O1".into()));
        compile_c_with(&mut command, "-g0");
        assert_eq!(flags(&command), Some("-g0".into()));
    }
}
