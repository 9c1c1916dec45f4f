//! The person or account that runs a command. The log of the campaign records it.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

/// Who runs the command: 1 to 128 characters, such as `kim@ops-1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor(String);

impl Actor {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Actor {
    /// The operating system's user and host name.
    fn default() -> Self {
        let or_unknown = |name: Result<String, _>| name.unwrap_or_else(|_| "unknown".to_owned());
        let (user, host) = (
            or_unknown(whoami::username()),
            or_unknown(whoami::hostname()),
        );
        Self::from_text(&format!("{user}@{host}"))
    }
}

impl Actor {
    fn from_text(text: &str) -> Self {
        /// Width of the database column, in characters.
        const LONGEST: usize = 128;
        let shown = text.chars().filter(|character| !character.is_control());
        Self(shown.take(LONGEST).collect())
    }
}

impl FromStr for Actor {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        match text.trim() {
            "" => Ok(Self::default()),
            name => Ok(Self::from_text(name)),
        }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_fits_into_its_column_and_is_never_empty() {
        let named = |text: &str| text.parse::<Actor>().map(|actor| actor.to_string());
        assert_eq!(named(" kim@ops-1\n"), Ok("kim@ops-1".to_owned()));
        assert_eq!(named(&"선".repeat(200)), Ok("선".repeat(128)));
        assert_eq!(named(" "), Ok(Actor::default().to_string()));
        assert!(!Actor::default().as_str().is_empty());
    }
}
