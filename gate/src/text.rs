//! The rule that campaign ids, round ids and applicants share: a bounded, printable ASCII word that
//! needs no escaping in a Redis key, a Kafka key, a URL or a log line.

use std::fmt;

/// Why a text is not an id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be {rule}")]
pub struct InvalidText {
    what: &'static str,
    rule: Rule,
}

/// Length and alphabet of one kind of id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    /// Most characters; at least one is always asked for.
    pub(crate) longest: usize,
    /// Allowed beside letters and digits.
    pub(crate) punctuation: &'static str,
    /// Whether upper-case letters are allowed.
    pub(crate) upper_case: bool,
}

impl Rule {
    /// Checks `text`, naming it `what` in the error.
    pub(crate) fn check(self, what: &'static str, text: &str) -> Result<(), InvalidText> {
        let fits = (1..=self.longest).contains(&text.len())
            && text.bytes().all(|byte| match byte {
                b'a'..=b'z' | b'0'..=b'9' => true,
                b'A'..=b'Z' => self.upper_case,
                other => self.punctuation.as_bytes().contains(&other),
            });
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

/// Declares a checked text type: parsed once, at the edge, and trusted from there on.
macro_rules! checked_text {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text itself.
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
