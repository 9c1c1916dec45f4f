//! A cache for Spin. Without one, each start compiles the component, and the process keeps 50 MiB of the compiler's memory.

use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// Makes `directory` a cache: returns the file that `spin up --cache` takes.
///
/// # Errors
/// When the directory cannot be created.
pub fn in_directory(directory: &Path) -> Result<PathBuf> {
    fs::create_dir_all(directory)
        .and_then(|()| directory.canonicalize())
        .and_then(|directory| {
            let file = directory.join("cache.toml");
            let entries = directory.join("components");
            // Rust quotes a path as TOML does.
            fs::write(&file, format!("[cache]\ndirectory = {entries:?}\n"))?;
            Ok(file)
        })
        .with_context(|| format!("cannot create {}", directory.display()))
}
