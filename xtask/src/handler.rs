//! Runs the apply handlers: the component of `spin.toml`, on Spin if its version is recent enough, otherwise on
//! wasm-host.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use rushgate_testbed::program::{find, printed_version, version_after};
use rushgate_testbed::spin_cache;
use semver::Version;

use crate::binaries::WASM_HOST;
use crate::service::{Ready, Service};
use crate::stack::{Stack, reachable};
use crate::state::State;
use crate::workspace;

/// The first release with WASI 0.3.0, which the component needs.
const OLDEST_SPIN: Version = Version::new(4, 1, 0);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    Spin { program: PathBuf, version: Version },
    WasmHost,
}

impl Host {
    /// Spin, if it is usable; Debian's model checker of the same name is not.
    pub(crate) fn find() -> Self {
        find("spin")
            .and_then(|program| {
                let version = version_after("spin ", &printed_version(&program, "--version")?)?;
                (version >= OLDEST_SPIN).then_some(Self::Spin { program, version })
            })
            .unwrap_or(Self::WasmHost)
    }

    /// The name for messages.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Spin { version, .. } => format!("Spin {version}"),
            Self::WasmHost => "wasm-host".into(),
        }
    }

    fn command(&self, name: &str, state: &State) -> Result<Command> {
        Ok(match self {
            Self::Spin { program, .. } => {
                let mut command = Command::new(program);
                command.arg("up");
                // Without these, Spin would write to `.spin/`, to the system's temporary directory and to the user's
                // cache.
                command.arg("--temp").arg(state.path("tmp").join(name));
                command
                    .arg("--state-dir")
                    .arg(state.path("spin").join(name));
                let cache = spin_cache::in_directory(&state.path("spin-cache"))?;
                command.arg("--cache").arg(cache);
                command
            }
            Self::WasmHost => Command::new(WASM_HOST.path()),
        })
    }
}

/// The handlers of a stack, in order.
pub(crate) fn services(host: &Host, stack: &Stack, state: &State) -> Result<Vec<Service>> {
    let numbered = stack.handlers.iter().zip(1..);
    numbered
        .map(|(listen, number)| service(host, *listen, &format!("handler-{number}"), stack, state))
        .collect()
}

fn service(
    host: &Host,
    listen: SocketAddr,
    name: &str,
    stack: &Stack,
    state: &State,
) -> Result<Service> {
    let mut command = host.command(name, state)?;
    command
        .arg("--from")
        .arg(workspace::root().join("spin.toml"))
        .args(["--listen", &listen.to_string()])
        .env("SPIN_VARIABLE_REDIS_URL", stack.redis_url())
        .current_dir(workspace::root());
    Ok(Service {
        name: name.into(),
        command,
        listens: vec![listen],
        ready: Ready::Page {
            url: format!("http://{}/readyz", reachable(listen)),
            text: "",
        },
        patience: Duration::from_secs(60),
    })
}
