//! Parses the version numbers that tools print, and compares them.

use std::fmt;
use std::str::FromStr;

/// Major, minor, patch; missing parts are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(pub(crate) u32, pub(crate) u32, pub(crate) u32);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl FromStr for Version {
    type Err = NoVersion;

    /// Parses the number at the start of a text and ignores the rest: `17.0.15+6`, `4.1.0-rc1`, `10.11.19-MariaDB`.
    fn from_str(text: &str) -> Result<Self, NoVersion> {
        let end = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let mut numbers = text[..end].split('.').map(str::parse);
        let mut next = || match numbers.next() {
            Some(number) => number.map_err(|_| NoVersion),
            None => Ok(0),
        };
        Ok(Self(next()?, next()?, next()?))
    }
}

/// The text does not begin with a number.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NoVersion;

/// The version after `word` in the output of a tool, as in `Redis server v=7.0.15 sha=…` after `v=`.
pub(crate) fn after(word: &str, output: &str) -> Option<Version> {
    output.split_once(word)?.1.trim_start().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_print_versions_in_many_ways() {
        let redis = "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=a";
        assert_eq!(after("v=", redis), Some(Version(7, 0, 15)));
        let java = "openjdk version \"17.0.15\" 2025-04-15\nOpenJDK Runtime Environment";
        assert_eq!(after("version \"", java), Some(Version(17, 0, 15)));
        assert_eq!(
            after("version \"", "java version \"25\" 2025-09-16 LTS"),
            Some(Version(25, 0, 0))
        );
        assert_eq!(
            after("version \"", "java version \"1.8.0_402\""),
            Some(Version(1, 8, 0))
        );
        let mariadb = "mariadbd  Ver 10.11.19-MariaDB-0+deb12u1 for debian-linux-gnu";
        assert_eq!(after("Ver", mariadb), Some(Version(10, 11, 19)));
        assert_eq!(
            after("spin ", "spin 4.1.0 (a1b2c3d 2026-05-12)"),
            Some(Version(4, 1, 0))
        );
        assert_eq!(
            after("spin ", "Spin Version 6.5.2 -- 6 December 2019"),
            None
        );
        assert_eq!(after("spin ", "spin canary"), None);
    }

    #[test]
    fn versions_are_ordered() {
        assert!(Version(4, 1, 0) > Version(4, 0, 9));
        assert!(Version(10, 6, 0) < Version(10, 11, 0));
    }
}
