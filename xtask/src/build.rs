//! Builds the binaries of a stack, and the component, with cargo.

use std::path::Path;
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, bail};

use crate::binaries::{BRIDGE, Binary, CONSUMER, OPERATOR, Profile, RELEASE, WASM_HOST};
use crate::handler::Host;
use crate::progress;
use crate::run;
use crate::toolchain;
use crate::workspace::{cargo, compile_c_with, from_root, root, target};

/// Builds the component while `others` runs, for neither keeps two cores busy alone.
///
/// Each build locks the directory of its profile. That of the component is release. An error of `others` is told when the
/// component is built.
pub(crate) fn beside_component<T>(
    component: impl FnOnce() -> Result<()> + Send,
    others: impl FnOnce() -> Result<T>,
) -> Result<T> {
    thread::scope(|scope| {
        let component = scope.spawn(component);
        let others = others()?;
        component
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok(others)
    })
}

/// Builds the binaries that run a stack on this machine.
pub(crate) fn build_stack(profile: Profile) -> Result<()> {
    let mut binaries = vec![OPERATOR, BRIDGE, CONSUMER];
    if Host::find() == Host::WasmHost {
        binaries.push(WASM_HOST);
    }
    build(profile, &binaries)
}

/// Builds these binaries.
pub(crate) fn build(profile: Profile, binaries: &[Binary]) -> Result<()> {
    // With --workspace the features of dependencies are the same for every choice of binaries. Otherwise cargo would
    // compile most dependencies again for another choice.
    let mut arguments = vec!["build", "--profile", profile.name, "--workspace"];
    for binary in binaries {
        arguments.extend(["--bin", binary.name]);
    }
    let names: Vec<&str> = binaries.iter().map(|binary| binary.name).collect();
    let what = format!("Building {}", names.join(", "));
    let mut cargo = cargo(arguments);
    if profile == RELEASE {
        compile_c_with(&mut cargo, "-g0");
    }
    progress::build(&what, cargo).context("building with cargo")
}

/// The feature that compiles failpoints and planted bugs into bridge and consumer.
pub(crate) const FAILPOINTS: &str = "--features=rushgate-gate/failpoints";

/// Builds every program and every test, with failpoints.
pub(crate) fn build_all_targets() -> Result<()> {
    run::successfully(&mut cargo([
        "build",
        "--workspace",
        "--all-targets",
        "--locked",
        FAILPOINTS,
    ]))
}

/// Builds the component with the command in `spin.toml`, like `spin build`.
pub(crate) fn build_component() -> Result<()> {
    build_component_of("spin.toml")
}

/// Builds the component and those that show the cost of its host.
pub(crate) fn build_components() -> Result<()> {
    for manifest in [
        "spin.toml",
        "bench/hello/spin.toml",
        "bench/floor/spin.toml",
    ] {
        build_component_of(manifest)?;
    }
    Ok(())
}

/// The same as [`build_component`] for another manifest of the checkout.
fn build_component_of(manifest: &str) -> Result<()> {
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
        let mut shell = Command::new("sh");
        shell
            .args(["-c", &command])
            .current_dir(directory.join(&workdir))
            .env("CARGO_TARGET_DIR", target());
        progress::build("Building the component", shell)
            .with_context(|| format!("`{command}` failed"))?;
        if !directory.join(&source).is_file() {
            bail!(
                "`{command}` did not create {source}, which {} names",
                from_root(&manifest).display()
            );
        }
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
}
