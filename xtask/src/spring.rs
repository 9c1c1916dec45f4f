//! The Spring Boot service of the benchmark `ways`. Maven compiles `bench/spring` into `target/`.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use rushgate_testbed::program::find;

use crate::packages;
use crate::run;
use crate::say;
use crate::workspace;

/// Compiles it; returns Java's class path.
pub(crate) fn build() -> Result<String> {
    packages::java_build_tools()?;
    let maven = find("mvn").context("Maven (mvn) is still missing")?;
    let directory = workspace::target().join("spring");
    let jars = directory.join("classpath");
    let setting = |name: &str, path: &Path| format!("-D{name}={}", path.display());
    let step = say::step("Building the Spring service");
    run::quietly(
        Command::new(maven)
            .args(["--quiet", "--batch-mode", "--file"])
            .arg(workspace::root().join("bench/spring/pom.xml"))
            .args(["compile", "dependency:build-classpath"])
            .arg(setting("mdep.outputFile", &jars))
            .arg(setting("maven.repo.local", &workspace::target().join("m2"))),
    )
    .context("building bench/spring with Maven: is Maven Central, or a mirror in ~/.m2/settings.xml, reachable?")?;
    let jars =
        fs::read_to_string(&jars).with_context(|| format!("cannot read {}", jars.display()))?;
    step.done();
    Ok(format!(
        "{}:{}",
        directory.join("classes").display(),
        jars.trim()
    ))
}
