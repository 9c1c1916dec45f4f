//! The command `cargo xtask status`, which prints one line for each service. It fails if a service has died.

use std::process::ExitCode;

use anyhow::Result;

use crate::compose;
use crate::run;
use crate::say;
use crate::stack::{Runner, Stack};
use crate::state::State;
use crate::workspace;

/// Prints which services run; fails if one is dead.
pub(crate) fn status(state: &State) -> Result<ExitCode> {
    let stack = state.running_stack()?;
    if stack.runner == Runner::Docker {
        run::successfully(&mut compose::compose(["ps", "--all"]))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut services = state.services()?;
    let absent: Vec<String> = stack
        .services()
        .filter(|service| !services.contains(service))
        .collect();
    services.extend(absent);
    let mut all_run = true;
    say::line(format_args!(
        "{:<12} {:<8} {:>8}  {:<22} LOG",
        "PART", "STATE", "PID", "ADDRESS"
    ));
    for service in services {
        let process = state.process(&service)?;
        let alive = match &process {
            Some(process) => process.is_alive()?,
            None => false,
        };
        all_run &= alive;
        let log = state.log(&service);
        say::line(format_args!(
            "{service:<12} {:<8} {:>8}  {:<22} {}",
            match (alive, &process) {
                (true, _) => "running",
                (false, Some(_)) => "dead",
                (false, None) => "absent",
            },
            process.map_or_else(|| "-".to_owned(), |process| process.pid.to_string()),
            address(&service, &stack),
            workspace::from_root(&log).display()
        ));
    }
    if all_run {
        return Ok(ExitCode::SUCCESS);
    }
    say::note("`cargo xtask up` starts what does not run.");
    Ok(ExitCode::FAILURE)
}

/// Where a service listens; for bridges and consumers, the address of their metrics.
fn address(service: &str, stack: &Stack) -> String {
    let local = |port: Option<u16>| port.map(|port| format!("127.0.0.1:{port}"));
    let (kind, number) = service.rsplit_once('-').unwrap_or((service, "1"));
    let index = number.parse::<usize>().unwrap_or(1).saturating_sub(1);
    match kind {
        "redis" => local(Some(stack.redis)),
        "kafka" => local(Some(stack.kafka)),
        "database" => local(Some(stack.database)),
        "handler" => stack.handlers.get(index).map(ToString::to_string),
        "bridge" => local(stack.bridges.get(index).copied()),
        "consumer" => local(stack.consumers.get(index).copied()),
        _ => None,
    }
    .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_has_an_address() {
        let mut stack = Stack::servers().unwrap();
        stack.handlers = vec!["127.0.0.1:3000".parse().unwrap()];
        stack.bridges = vec![20001, 20002];
        assert_eq!(address("handler-1", &stack), "127.0.0.1:3000");
        assert_eq!(address("bridge-2", &stack), "127.0.0.1:20002");
        assert_eq!(address("kafka", &stack), stack.kafka_brokers());
        assert_eq!(address("bridge-3", &stack), "");
    }
}
