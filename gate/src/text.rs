//! The common rule for campaign ids, round ids and user ids. Each is a short text of printable ASCII characters that
//! need no escaping in a Redis key, a Kafka key or a log line, and that a path segment of a URL can carry. None of them has
//! `/`, `#` or a space, which separate ids in what is stored.

use std::fmt;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be {rule}")]
pub struct InvalidText {
    what: &'static str,
    rule: Rule,
}

/// Length and alphabet of an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    /// Maximum length. The minimum is 1.
    pub(crate) longest: usize,
    /// Allowed in addition to letters and digits.
    pub(crate) punctuation: &'static str,
    pub(crate) upper_case: bool,
}

impl Rule {
    pub(crate) fn allows(self, byte: u8) -> bool {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' => true,
            b'A'..=b'Z' => self.upper_case,
            other => self.punctuation.as_bytes().contains(&other),
        }
    }

    /// `what` names the text in the error.
    pub(crate) fn check(self, what: &'static str, text: &str) -> Result<(), InvalidText> {
        let fits =
            (1..=self.longest).contains(&text.len()) && text.bytes().all(|byte| self.allows(byte));
        if fits {
            Ok(())
        } else {
            Err(InvalidText { what, rule: self })
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "1 to {} characters of ", self.longest)?;
        if self.upper_case {
            f.write_str("A-Z ")?;
        }
        f.write_str("a-z 0-9")?;
        self.punctuation
            .chars()
            .try_for_each(|mark| write!(f, " {mark}"))
    }
}

/// Declares a text type that is checked once, when it is created.
macro_rules! checked_text {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::text::InvalidText;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::try_from(text.to_owned())
            }
        }

        impl TryFrom<String> for $name {
            type Error = $crate::text::InvalidText;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                $rule.check($what, &text)?;
                Ok(Self(text))
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}
pub(crate) use checked_text;
