//! Runs the edge of a native stack: HAProxy with `deploy/edge/` in front of its handlers.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use rushgate_testbed::servers::haproxy::{HaProxy, READY};

use crate::service::{Ready, Service};
use crate::stack::{EDGE, Stack, reachable};
use crate::state::State;

/// Limits of one client address.
const PER_ADDRESS: [&str; 3] = [
    "EDGE_CONNECTIONS_PER_ADDRESS",
    "EDGE_REQUESTS_PER_ADDRESS",
    "EDGE_APPLICATIONS_PER_ADDRESS",
];

/// The edge of a stack that has one.
pub(crate) fn service(program: &Path, stack: &Stack, state: &State) -> Result<Service> {
    let listen = stack.edge.context("the stack has no edge")?;
    let handlers: Vec<_> = stack.handlers.iter().copied().map(reachable).collect();
    let edge = HaProxy {
        listen,
        directory: state.path(EDGE),
    };
    let mut command = edge.command(program, &handlers)?;
    if listen.ip().is_loopback() {
        // All clients have one address there, a rush of ten thousand applicants, too.
        let unset = |name: &&str| std::env::var_os(name).is_none();
        let names = PER_ADDRESS.into_iter().filter(unset);
        command.envs(names.map(|name| (name, "1000000")));
    }
    Ok(Service {
        name: EDGE.into(),
        command,
        listens: vec![listen],
        ready: Ready::Page {
            url: format!("http://{}{READY}", reachable(listen)),
            text: "",
        },
        patience: Duration::from_secs(30),
    })
}
