//! Passwords, and files that contain them. Only their owner may read them.

use anyhow::{Context, Result};
use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// A random password of 32 hexadecimal digits.
///
/// # Errors
/// When the operating system gives no random bytes.
pub fn password() -> Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).context("random bytes")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Writes a file that only its owner may read, also if it exists with wider permissions.
///
/// # Errors
/// When it cannot be written.
pub fn write(path: &Path, content: &str) -> io::Result<()> {
    let mut options = File::options();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(content.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn passwords_differ() {
        let (one, other) = (password().unwrap(), password().unwrap());
        assert_eq!(one.len(), 32);
        assert_ne!(one, other);
    }

    #[test]
    fn only_the_owner_may_read_the_file() {
        let dir = std::env::temp_dir().join(format!("testbed-secret-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let (new, old) = (dir.join("new"), dir.join("old"));
        fs::write(&old, "what was there before, and is longer").unwrap();
        fs::set_permissions(&old, Permissions::from_mode(0o644)).unwrap();
        for path in [new, old] {
            write(&path, "secret").unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), "secret");
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", path.display());
        }
        fs::remove_dir_all(&dir).unwrap();
    }
}
