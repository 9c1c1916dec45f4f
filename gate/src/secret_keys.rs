//! Splits a setting that lists secret keys, separated by commas or one a line. It is the same rule for every program.

/// The minimum length of a key in characters: as many as SHA-256 has bytes.
pub const SHORTEST: usize = 32;

/// A key in the list is too short. The error does not quote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("has a key of fewer than {SHORTEST} characters: make one with `openssl rand -hex 32`")]
pub struct KeyTooShort;

/// The keys of a list, in order. Empty if the list is blank.
///
/// # Errors
/// When a key has fewer than [`SHORTEST`] characters.
pub fn split(list: &str) -> Result<Vec<&str>, KeyTooShort> {
    let keys = list.split([',', '\n']).map(str::trim);
    let keys: Vec<&str> = keys.filter(|key| !key.is_empty()).collect();
    match keys.iter().all(|key| key.chars().count() >= SHORTEST) {
        true => Ok(keys),
        false => Err(KeyTooShort),
    }
}
