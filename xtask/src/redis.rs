//! Runs the gate's Redis with the production settings of `deploy/redis.conf`.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::service::{Ready, Service};
use crate::stack::Stack;
use crate::state::State;
use crate::workspace;

/// The Redis service.
pub(crate) fn service(program: &Path, stack: &Stack, state: &State) -> Result<Service> {
    let data = state.path("redis");
    std::fs::create_dir_all(&data).with_context(|| format!("cannot create {}", data.display()))?;
    let address = SocketAddr::from(([127, 0, 0, 1], stack.redis));
    let mut command = Command::new(program);
    command
        .arg(workspace::root().join("deploy/redis.conf"))
        .args(["--bind", "127.0.0.1", "--port", &stack.redis.to_string()])
        .arg("--dir")
        .arg(data);
    Ok(Service {
        name: "redis".into(),
        command,
        listens: vec![address],
        ready: Ready::Pong(address),
        patience: Duration::from_secs(30),
    })
}
