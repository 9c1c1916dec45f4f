//! Finds the programs that the native stack needs, and installs missing ones if that is possible.
//!
//! On Debian and Ubuntu, as root or if sudo asks for no password, it installs what is missing with apt. On other
//! systems it installs nothing: the command prints what is missing and stops.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use rushgate_testbed::certificates;
use rushgate_testbed::program::find;
use rushgate_testbed::servers::database::DatabaseServer;
use rushgate_testbed::servers::{haproxy, kafka, redis};

use crate::run;
use crate::say;

#[derive(Clone)]
pub(crate) struct Servers {
    pub(crate) redis: PathBuf,
    pub(crate) database: DatabaseServer,
    pub(crate) java: PathBuf,
}

/// A program that may be missing.
struct Need {
    /// Its name in messages.
    what: &'static str,
    /// Debian packages: alternatives, each a list separated by spaces; the first whose packages exist is installed.
    apt: &'static [&'static str],
    is_there: fn() -> bool,
}

static SERVERS: [Need; 4] = [
    Need {
        what: "redis-server 7.0 or newer",
        apt: &["redis-server"],
        is_there: || redis::program().is_some(),
    },
    Need {
        what: "MariaDB 10.11 or newer, or MySQL 8.0 or newer (mariadbd or mysqld)",
        // The core packages install no system service.
        apt: &["mariadb-server-core mariadb-client-core", "mariadb-server"],
        is_there: || DatabaseServer::find().is_some(),
    },
    Need {
        what: "Java 17 or newer (java)",
        apt: &[
            "openjdk-21-jre-headless",
            "openjdk-17-jre-headless",
            "openjdk-25-jre-headless",
            "default-jre-headless",
        ],
        is_there: || kafka::java().is_some(),
    },
    Need {
        what: "Maven (mvn), which fetches Kafka",
        apt: &["maven"],
        is_there: has_kafka_or_maven,
    },
];

static BUILD_TOOLS: [Need; 4] = [
    Need {
        what: "a C and C++ compiler (cc, c++)",
        apt: &["build-essential"],
        is_there: || has("cc") && has("c++"),
    },
    Need {
        what: "make",
        apt: &["make"],
        is_there: || has("make"),
    },
    Need {
        what: "pkg-config",
        apt: &["pkg-config"],
        is_there: || has("pkg-config"),
    },
    Need {
        what: "OpenSSL's headers (libssl-dev, openssl-devel)",
        apt: &["libssl-dev"],
        is_there: has_openssl,
    },
];

static PYTHON: [Need; 1] = [Need {
    what: "Python 3 with pip (python3 -m pip)",
    apt: &["python3-pip"],
    is_there: has_pip,
}];

static BROWSER: [Need; 1] = [Need {
    what: "Chromium or Chrome (chromium)",
    apt: &["chromium", "chromium-browser"],
    is_there: || chromium().is_some(),
}];

static OPENSSL: [Need; 1] = [Need {
    what: "OpenSSL 3.0 or newer (openssl)",
    apt: &["openssl"],
    is_there: || certificates::program().is_some(),
}];

static EDGE: [Need; 1] = [Need {
    what: "HAProxy 2.6 or newer (haproxy)",
    apt: &["haproxy"],
    is_there: || haproxy::program().is_some(),
}];

/// What compiles the Spring service of the benchmarks.
static JAVA_BUILD_TOOLS: [Need; 2] = [
    Need {
        what: "a Java compiler, 17 or newer (javac)",
        apt: &[
            "openjdk-21-jdk-headless",
            "openjdk-17-jdk-headless",
            "openjdk-25-jdk-headless",
            "default-jdk-headless",
        ],
        is_there: has_java_compiler,
    },
    Need {
        what: "Maven (mvn), which builds the Spring service",
        apt: &["maven"],
        is_there: || has("mvn"),
    },
];

/// What the scripts in the docs need, which tests run.
static SCRIPTS: [Need; 2] = [
    Need {
        what: "jq",
        apt: &["jq"],
        is_there: || has("jq"),
    },
    Need {
        what: "curl 7.83 or newer",
        apt: &["curl"],
        is_there: || has("curl"),
    },
];

/// Ensures that the scripts in the docs can be run.
pub(crate) fn scripts() -> Result<()> {
    ensure(&SCRIPTS)
}

/// Finds HAProxy; installs it if it is missing.
pub(crate) fn edge() -> Result<PathBuf> {
    ensure(&EDGE)?;
    haproxy::program().context("HAProxy 2.6 or newer is still missing")
}

/// Ensures that Java can be compiled.
pub(crate) fn java_build_tools() -> Result<()> {
    ensure(&JAVA_BUILD_TOOLS)
}

/// Ensures that certificates can be made.
pub(crate) fn openssl() -> Result<()> {
    ensure(&OPENSSL)
}

/// Ensures that Python packages can be fetched.
pub(crate) fn python() -> Result<()> {
    ensure(&PYTHON)
}

/// Finds a browser for the tests; installs one if there is none.
pub(crate) fn browser() -> Result<PathBuf> {
    ensure(&BROWSER)?;
    chromium().context("Chromium is still missing")
}

/// Finds the servers; installs what is missing.
pub(crate) fn servers() -> Result<Servers> {
    ensure(&SERVERS)?;
    Ok(Servers {
        redis: redis::program().context("redis-server 7.0 or newer is still missing")?,
        database: DatabaseServer::find().context("MariaDB or MySQL is still missing")?,
        java: kafka::java().context("Java 17 or newer is still missing")?,
    })
}

/// Names all that a native stack needs, if it is missing and cannot be installed here.
pub(crate) fn can_have_native_stack(with_edge: bool) -> Result<()> {
    let missing = missing(of_native_stack(with_edge));
    if !missing.is_empty() && apt_privilege().is_none() {
        bail!("{}", advice(&missing));
    }
    Ok(())
}

/// Ensures that a native stack can be compiled and run. What is missing is installed, or named, all at once.
pub(crate) fn native_stack(with_edge: bool) -> Result<()> {
    ensure(of_native_stack(with_edge))
}

fn of_native_stack(with_edge: bool) -> impl Iterator<Item = &'static Need> {
    let edge = EDGE.iter().filter(move |_| with_edge);
    BUILD_TOOLS.iter().chain(&SERVERS).chain(edge)
}

/// Ensures that the workspace can be compiled.
pub(crate) fn build_tools() -> Result<()> {
    ensure(&BUILD_TOOLS)
}

fn chromium() -> Option<PathBuf> {
    ["chromium", "chromium-browser", "google-chrome", "chrome"]
        .into_iter()
        .find_map(find)
}

fn has_pip() -> bool {
    let pip = Command::new("python3")
        .args(["-m", "pip", "--version"])
        .output();
    pip.is_ok_and(|output| output.status.success())
}

fn has(program: &str) -> bool {
    find(program).is_some()
}

fn has_kafka_or_maven() -> bool {
    has("mvn") || crate::kafka::jars_are_there()
}

fn has_java_compiler() -> bool {
    let home = std::env::var_os("JAVA_HOME").map(PathBuf::from);
    home.is_some_and(|home| home.join("bin/javac").is_file()) || has("javac")
}

fn has_openssl() -> bool {
    std::env::var_os("OPENSSL_DIR").is_some()
        || Command::new("pkg-config")
            .args(["--exists", "openssl"])
            .status()
            .is_ok_and(|status| status.success())
}

fn missing(needs: impl IntoIterator<Item = &'static Need>) -> Vec<&'static Need> {
    let needs = needs.into_iter();
    needs.filter(|need| !(need.is_there)()).collect()
}

fn ensure(needs: impl IntoIterator<Item = &'static Need>) -> Result<()> {
    let missing = missing(needs);
    if missing.is_empty() {
        return Ok(());
    }
    let Some(privilege) = apt_privilege() else {
        bail!("{}", advice(&missing));
    };
    // Without systemd, RUNLEVEL keeps the packages from starting services; xtask starts its own.
    let apt = |arguments: &[&str]| {
        let mut words: Vec<&str> = privilege.to_vec();
        words.extend([
            "env",
            "DEBIAN_FRONTEND=noninteractive",
            "RUNLEVEL=1",
            "apt-get",
            "--quiet",
            "--yes",
        ]);
        words.extend(arguments);
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        command
    };
    let step = say::step("Reading apt's lists");
    run::quietly(&mut apt(&["update"]))?;
    step.done();
    let packages = chosen(&missing)?;
    let step = say::step(format!("Installing {}", packages.join(", ")));
    let arguments = [vec!["install", "--no-install-recommends"], packages].concat();
    run::quietly(&mut apt(&arguments)).with_context(|| advice(&missing))?;
    step.done();

    let still = self::missing(missing);
    if !still.is_empty() {
        bail!(
            "apt has installed its packages, but something is still missing. {}",
            advice(&still)
        );
    }
    Ok(())
}

fn chosen(missing: &[&Need]) -> Result<Vec<&'static str>> {
    let mut packages = Vec::new();
    for need in missing {
        let list = need.apt.iter().find(|list| list.split(' ').all(apt_knows));
        let list = list.with_context(|| {
            format!("apt has no package for {}; {}", need.what, advice(missing))
        })?;
        packages.extend(list.split(' '));
    }
    Ok(packages)
}

/// The prefix for `apt-get`, if we may use it.
fn apt_privilege() -> Option<&'static [&'static str]> {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    if !is_debian(&release) || !has("apt-get") {
        return None;
    }
    if nix::unistd::geteuid().is_root() {
        return Some(&[]);
    }
    let sudo = Command::new("sudo").args(["-n", "true"]).output();
    sudo.is_ok_and(|output| output.status.success())
        .then_some(&["sudo", "-n"])
}

fn is_debian(release: &str) -> bool {
    crate::env_file::parse(release)
        .iter()
        .filter(|(key, _)| matches!(key.as_str(), "ID" | "ID_LIKE"))
        .any(|(_, value)| value.split(' ').any(|id| id == "debian" || id == "ubuntu"))
}

fn apt_knows(package: &str) -> bool {
    Command::new("apt-cache")
        .args(["show", "--no-all-versions", package])
        .output()
        .is_ok_and(|output| output.status.success() && !output.stdout.is_empty())
}

fn list(needs: &[&Need]) -> String {
    needs
        .iter()
        .map(|need| need.what)
        .collect::<Vec<_>>()
        .join(", ")
}

fn advice(missing: &[&Need]) -> String {
    let debian: Vec<&str> = missing
        .iter()
        .filter_map(|need| need.apt.first().copied())
        .collect();
    format!(
        "missing on this machine: {}.\nInstall them and run the same command again. On Debian or Ubuntu:\n  sudo \
         apt-get install {}\nOr start Docker with its Compose plugin: then `cargo xtask up` needs none of these.",
        list(missing),
        debian.join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debian_and_what_descends_from_it() {
        assert!(is_debian(
            "PRETTY_NAME=\"Debian GNU/Linux 12\"\nID=debian\n"
        ));
        assert!(is_debian("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n"));
        assert!(!is_debian("ID=fedora\n"));
        assert!(!is_debian(""));
    }

    #[test]
    fn advice_names_everything() {
        let text = advice(&SERVERS.iter().collect::<Vec<_>>());
        for word in [
            "redis-server",
            "MariaDB",
            "Java 17",
            "Maven",
            "apt-get install",
            "Docker",
        ] {
            assert!(text.contains(word), "{word} in {text}");
        }
    }
}
