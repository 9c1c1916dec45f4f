//! Finds the root of the checkout, and runs cargo in it to build the binaries and the component.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::handler::Host;
use crate::run;
use crate::say;
use crate::stack::Runner;
use crate::toolchain;

/// The root of the checkout.
pub(crate) fn root() -> PathBuf {
    let member = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    member.parent().map_or(member.clone(), Path::to_owned)
}

/// A path relative to the root, for messages.
pub(crate) fn from_root(path: &Path) -> &Path {
    path.strip_prefix(root()).unwrap_or(path)
}

/// Cargo's target directory. Always this one: `spin.toml` names the component by this path.
pub(crate) fn target() -> PathBuf {
    root().join("target")
}

/// cargo with these arguments, at the root.
pub(crate) fn cargo<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(arguments)
        .current_dir(root())
        .env("CARGO_TARGET_DIR", target());
    command
}

/// A binary that can be built, with its package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Binary {
    package: &'static str,
    name: &'static str,
}

pub(crate) const OPERATOR: Binary = Binary {
    package: "rushgate-operator",
    name: "rushgate",
};
pub(crate) const BRIDGE: Binary = Binary {
    package: "rushgate-kafka-bridge",
    name: "kafka-bridge",
};
pub(crate) const CONSUMER: Binary = Binary {
    package: "rushgate-consumer",
    name: "consumer",
};
pub(crate) const WASM_HOST: Binary = Binary {
    package: "rushgate-wasm-host",
    name: "wasm-host",
};
pub(crate) const RUSH: Binary = Binary {
    package: "rushgate-e2e",
    name: "rush",
};

pub(crate) const BENCH: Binary = Binary {
    package: "rushgate-bench",
    name: "rushgate-bench",
};

impl Binary {
    /// The path of its release build.
    pub(crate) fn path(self) -> PathBuf {
        target().join("release").join(self.name)
    }
}

/// Builds the binaries of a stack in release mode.
pub(crate) fn build(runner: Runner) -> Result<()> {
    build_with(runner, &[])
}

/// Builds the binaries of a stack and `more`. The first ones are the same for every command: cargo recompiles a
/// dependency for every other combination of features, and the combination depends on what is built together.
pub(crate) fn build_with(runner: Runner, more: &[Binary]) -> Result<()> {
    let mut binaries = vec![OPERATOR, RUSH];
    binaries.extend(more);
    if runner == Runner::Native {
        binaries.extend([BRIDGE, CONSUMER]);
        if Host::find() == Host::WasmHost {
            binaries.push(WASM_HOST);
        }
    }
    let mut arguments = vec!["build", "--release"];
    for binary in &binaries {
        arguments.extend(["--package", binary.package, "--bin", binary.name]);
    }
    let names: Vec<&str> = binaries.iter().map(|binary| binary.name).collect();
    let step = say::heading(format!("Building {}", names.join(", ")));
    run::successfully(&mut cargo(arguments)).context("building with cargo")?;
    step.done();
    Ok(())
}

/// Builds the component with the command in `spin.toml`, like `spin build`.
pub(crate) fn build_component() -> Result<()> {
    build_component_of("spin.toml")
}

/// The same for another manifest of the checkout.
pub(crate) fn build_component_of(manifest: &str) -> Result<()> {
    toolchain::ensure_wasm_target()?;
    let manifest = root().join(manifest);
    let directory = manifest.parent().map_or_else(root, Path::to_owned);
    let text = std::fs::read_to_string(&manifest)
        .with_context(|| format!("cannot read {}", manifest.display()))?;
    for Build {
        command,
        source,
        workdir,
    } in builds(&text)?
    {
        let step = say::heading("Building the component");
        let mut shell = Command::new("sh");
        shell
            .args(["-c", &command])
            .current_dir(directory.join(&workdir))
            .env("CARGO_TARGET_DIR", target());
        run::successfully(&mut shell).with_context(|| format!("`{command}` failed"))?;
        if !directory.join(&source).is_file() {
            bail!(
                "`{command}` did not create {source}, which {} names",
                from_root(&manifest).display()
            );
        }
        step.done();
    }
    Ok(())
}

/// A component's build command, the file that it makes, and its working directory, relative to the manifest.
#[derive(Debug, PartialEq, Eq)]
struct Build {
    command: String,
    source: String,
    workdir: String,
}

fn builds(manifest: &str) -> Result<Vec<Build>> {
    let manifest: toml::Table = manifest.parse().context("the manifest is not TOML")?;
    let components = manifest
        .get("component")
        .and_then(toml::Value::as_table)
        .into_iter()
        .flatten();
    let builds: Vec<Build> = components
        .filter_map(|(_, component)| {
            let build = component.get("build")?;
            let workdir = build.get("workdir").and_then(toml::Value::as_str);
            Some(Build {
                command: build.get("command")?.as_str()?.to_owned(),
                source: component.get("source")?.as_str()?.to_owned(),
                workdir: workdir.unwrap_or_default().to_owned(),
            })
        })
        .collect();
    if builds.is_empty() {
        bail!("the manifest has no component with a source and a build command");
    }
    Ok(builds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builds_come_from_the_manifest() {
        let manifest =
            "[component.a]\nsource = \"a.wasm\"\n[component.a.build]\ncommand = \"cargo build\"\n";
        let build = Build {
            command: "cargo build".into(),
            source: "a.wasm".into(),
            workdir: String::new(),
        };
        assert_eq!(builds(manifest).unwrap(), [build]);
        assert!(builds("[application]\nname = \"x\"\n").is_err());
    }

    #[test]
    fn the_root_is_where_the_manifest_is() {
        assert!(root().join("spin.toml").is_file());
    }
}
