//! Servers that are newer than those of Debian 12: from Debian's suite sid, unpacked into `target/servers/`.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::run;
use crate::say;
use crate::workspace;

/// A server of sid, which may have a later version at any time.
pub(crate) struct Newer {
    /// Its name, and the major version with which it was tested.
    pub(crate) name: &'static str,
    packages: &'static [&'static str],
    /// The server, and other programs that it needs.
    programs: &'static [&'static str],
}

pub(crate) static REDIS: Newer = Newer {
    name: "Redis 8",
    packages: &["redis-server"],
    programs: &["usr/bin/redis-server"],
};

pub(crate) static VALKEY: Newer = Newer {
    name: "Valkey 9",
    packages: &["valkey-server"],
    programs: &["usr/bin/valkey-server"],
};

pub(crate) static MYSQL: Newer = Newer {
    name: "MySQL 9",
    packages: &["mysql-server-core"],
    programs: &["usr/sbin/mysqld"],
};

pub(crate) static MARIADB: Newer = Newer {
    name: "MariaDB 11",
    packages: &["mariadb-server-core", "mariadb-client-core"],
    programs: &[
        "usr/sbin/mariadbd",
        "usr/bin/my_print_defaults",
        "usr/bin/resolveip",
    ],
};

impl Newer {
    /// The path of the server; fetches it if it is missing.
    pub(crate) fn fetch(&self) -> Result<PathBuf> {
        let directory = workspace::target().join("servers").join(self.packages[0]);
        if !directory.is_dir() {
            let step = say::step(format!("Fetching {} from Debian sid", self.name));
            let mut unpack = Command::new(workspace::root().join("testbed/debian/unpack"));
            for program in self.programs {
                unpack.args(["--program", program]);
            }
            run::quietly(unpack.arg(&directory).args(self.packages)).with_context(|| {
                format!("fetching {} from Debian sid: is this Debian 12?", self.name)
            })?;
            step.done();
        }
        Ok(directory.join(self.programs[0]))
    }

    /// Whether this is its title with the tested major version.
    pub(crate) fn is(&self, title: &str) -> bool {
        title
            .strip_prefix(self.name)
            .is_some_and(|rest| rest.starts_with('.'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_major_version_is_another_server() {
        assert!(REDIS.is("Redis 8.0.6"));
        assert!(!REDIS.is("Redis 80.0.0"));
        assert!(!REDIS.is("Redis 9.0.0"));
        assert!(!REDIS.is("Valkey 8.1.0"));
    }
}
