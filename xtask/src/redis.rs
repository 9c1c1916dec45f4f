//! The gate's Redis as a service of a stack.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use rushgate_testbed::servers::redis::Redis;

use crate::service::{Ready, Service, local};
use crate::stack::Stack;
use crate::state::State;

/// The Redis service.
pub(crate) fn service(program: &Path, stack: &Stack, state: &State) -> Result<Service> {
    let redis = Redis::on_port(stack.redis, state.path("redis"));
    Ok(Service {
        name: "redis".into(),
        command: redis.command(program)?,
        listens: vec![local(stack.redis)],
        ready: Ready::Redis(redis),
        patience: Duration::from_secs(30),
    })
}
