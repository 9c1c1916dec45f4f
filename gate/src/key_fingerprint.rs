//! The fingerprint of a key that signs coupon codes. It has a module of its own because the terms of a campaign carry it.

use std::fmt;
use std::str::FromStr;

/// Identifies a key without revealing it: 8 hexadecimal digits, computed from the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyFingerprint(u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key fingerprint has 8 hexadecimal digits in lower case")]
pub struct InvalidFingerprint;

impl KeyFingerprint {
    pub(crate) fn of(bytes: [u8; 4]) -> Self {
        Self(u32::from_be_bytes(bytes))
    }
}

impl fmt::Display for KeyFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl FromStr for KeyFingerprint {
    type Err = InvalidFingerprint;

    fn from_str(text: &str) -> Result<Self, InvalidFingerprint> {
        let fingerprint = u32::from_str_radix(text, 16).map(Self);
        let fingerprint = fingerprint.map_err(|_| InvalidFingerprint)?;
        match fingerprint.to_string() == text {
            true => Ok(fingerprint),
            false => Err(InvalidFingerprint),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_read_as_it_is_written() {
        for (text, is_read) in [
            ("0123abcd", true),
            ("0123ABCD", false),
            ("123abcd", false),
            ("+123abcd", false),
            ("", false),
        ] {
            assert_eq!(text.parse::<KeyFingerprint>().is_ok(), is_read, "{text}");
        }
    }
}
