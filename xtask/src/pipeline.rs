//! Describes how the bridges and consumers of a stack are started, and when they are ready.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use crate::binaries::{BRIDGE, Binary, CONSUMER};
use crate::service::{Ready, Service};
use crate::stack::Stack;

/// The bridges and consumers of a stack.
pub(crate) fn services(stack: &Stack) -> Vec<Service> {
    let bridges = stack.bridges.iter().zip(1..).map(|(port, number)| {
        let name = format!("bridge-{number}");
        let mut bridge = service(BRIDGE, &name, *port, "rushgate_bridge_ready 1", stack);
        bridge.command.env("BRIDGE_CONSUMER_NAME", name);
        bridge
    });
    let consumers = stack.consumers.iter().zip(1..).map(|(port, number)| {
        service(
            CONSUMER,
            &format!("consumer-{number}"),
            *port,
            "rushgate_consumer_ready 1",
            stack,
        )
    });
    bridges.chain(consumers).collect()
}

fn service(binary: Binary, name: &str, port: u16, ready: &'static str, stack: &Stack) -> Service {
    let metrics = SocketAddr::from(([127, 0, 0, 1], port));
    let mut command = Command::new(binary.path());
    command
        .envs(stack.env())
        .env("METRICS_LISTEN", metrics.to_string());
    Service {
        name: name.into(),
        command,
        listens: vec![metrics],
        ready: Ready::Page {
            url: format!("http://{metrics}/metrics"),
            text: ready,
        },
        patience: Duration::from_secs(60),
    }
}
