//! Pool codes: coupon codes that were made elsewhere. They are loaded before they are given away.
//!
//! A code is told to its winner as it was loaded. At the till it is recognised however it is typed, so two codes that differ
//! only in that count as the same code. Codes are secrets, so `Debug` shows none.

use std::fmt;
use std::str::FromStr;

const LONGEST: usize = 64;
const SHORTEST: usize = 4;

/// A pool code as it was loaded: 4 to 64 printable ASCII characters, of which at least 4 count in [`CanonicalCode`].
#[derive(Clone, PartialEq, Eq)]
pub struct PoolCode(String);

/// A code without what does not matter when it is typed: 4 to 64 printable ASCII characters, in upper case, without spaces
/// and hyphens, with 0 for O, and 1 for I and L.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CanonicalCode(String);

/// The text is not a code. The error does not quote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "is not a coupon code: it has {SHORTEST} to {LONGEST} letters, digits or other ASCII characters, such as \
     7K3M-9QZX-2B4W-H8NT (upper and lower case, spaces and hyphens do not matter)"
)]
pub struct NoCode;

impl PoolCode {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn into_text(self) -> String {
        self.0
    }

    pub fn canonical(&self) -> CanonicalCode {
        CanonicalCode(canonical(&self.0))
    }
}

impl CanonicalCode {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PoolCode {
    type Err = NoCode;

    /// Ignores spaces before and after the code.
    fn from_str(text: &str) -> Result<Self, NoCode> {
        let code = text.trim();
        let is_printable = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
        let fits = code.len() <= LONGEST && code.bytes().all(is_printable);
        if !fits || canonical(code).len() < SHORTEST {
            return Err(NoCode);
        }
        Ok(Self(code.to_owned()))
    }
}

impl FromStr for CanonicalCode {
    type Err = NoCode;

    fn from_str(text: &str) -> Result<Self, NoCode> {
        let code = canonical(text);
        let is_printable = code.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_printable || !(SHORTEST..=LONGEST).contains(&code.len()) {
            return Err(NoCode);
        }
        Ok(Self(code))
    }
}

/// Does not show the code.
impl fmt::Debug for PoolCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PoolCode(…)")
    }
}

/// Does not show the code.
impl fmt::Debug for CanonicalCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CanonicalCode(…)")
    }
}

/// What counts when a code is read. [`CouponCode`](crate::CouponCode) is read by the same rule.
pub(crate) fn canonical(text: &str) -> String {
    let counting = text
        .chars()
        .filter(|letter| !letter.is_whitespace() && *letter != '-');
    counting
        .map(|letter| match letter.to_ascii_uppercase() {
            'O' => '0',
            'I' | 'L' => '1',
            other => other,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CouponCode;
    use proptest::prelude::*;

    #[test]
    fn a_code_keeps_its_spelling_and_is_recognised_however_it_is_typed() {
        let code: PoolCode = " Tree-0il 99 ".parse().expect("a code");
        assert_eq!(code.as_str(), "Tree-0il 99");
        for typed in ["TREE0IL99", "tree oi1-99", "tree-\t0L1 9 9"] {
            assert_eq!(typed.parse(), Ok(code.canonical()), "{typed}");
        }
        assert_ne!("TREE0IL98".parse(), Ok(code.canonical()));
        for bad in [
            "",
            "abc",
            "a-b c",
            "----------",
            "Grün1234",
            "abc\u{7}d",
            &"x".repeat(65),
        ] {
            assert_eq!(bad.parse::<PoolCode>(), Err(NoCode), "{bad}");
            assert_eq!(bad.parse::<CanonicalCode>(), Err(NoCode), "{bad}");
        }
        assert!("!\"#$%&'()*,./~".parse::<PoolCode>().is_ok());
        assert_eq!(
            format!("{code:?} {:?}", code.canonical()),
            "PoolCode(…) CanonicalCode(…)"
        );
    }

    proptest! {
        #[test]
        fn what_is_told_is_read_again(text in "[ -~]{0,70}") {
            if let Ok(code) = text.parse::<PoolCode>() {
                prop_assert_eq!(code.as_str().parse(), Ok(code.clone()));
                prop_assert_eq!(code.as_str().parse(), Ok(code.canonical()));
                prop_assert_eq!(code.canonical().as_str().to_lowercase().parse(), Ok(code.canonical()));
            }
        }

        #[test]
        fn signed_codes_are_read_by_the_same_rule(text in "[0-9A-TV-Za-tv-z -]{14,24}") {
            let canonical = text.parse::<CanonicalCode>().ok();
            let read_twice = canonical.and_then(|code| code.as_str().parse().ok());
            prop_assert_eq!(text.parse::<CouponCode>().ok(), read_twice);
        }
    }
}
