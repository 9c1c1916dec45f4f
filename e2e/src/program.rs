//! Finds our own programs.

use std::path::{Path, PathBuf};

/// One of our own programs: from `RUSHGATE_BIN_DIR`, or beside the directory of this test.
///
/// # Panics
/// When neither is there.
pub fn program(name: &str) -> PathBuf {
    let directory = std::env::var_os("RUSHGATE_BIN_DIR").map(PathBuf::from);
    let directory = directory.or_else(|| {
        // In `deps`, where cargo puts test binaries.
        let test = std::env::current_exe().ok()?;
        test.parent().and_then(Path::parent).map(Path::to_owned)
    });
    let found = directory.map(|directory| directory.join(name));
    found
        .filter(|program| program.is_file())
        .unwrap_or_else(|| panic!("there is no program {name}: run `cargo xtask test`"))
}
