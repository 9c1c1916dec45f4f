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
    let mut services: Vec<String> = stack.services().collect();
    let mut others = state.services()?;
    others.retain(|service| !services.contains(service));
    services.extend(others);
    let mut all_run = true;
    say::line(format_args!(
        "{:<12} {:<8} {:>8}  {:<30} LOG",
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
            "{service:<12} {:<8} {:>8}  {:<30} {}",
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

/// Where a service listens, as a URL if it can be opened in a browser.
fn address(service: &str, stack: &Stack) -> String {
    let Some(address) = stack.address(service) else {
        return String::new();
    };
    match service.rsplit_once('-').map_or(service, |(kind, _)| kind) {
        "edge" | "handler" => format!("http://{address}"),
        "bridge" | "consumer" => format!("http://{address}/metrics"),
        _ => address.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_urls() {
        let mut stack = Stack::servers().unwrap();
        stack.edge = Some("127.0.0.1:3000".parse().unwrap());
        stack.handlers = vec!["127.0.0.1:20005".parse().unwrap()];
        stack.bridges = vec![20001, 20002];
        assert_eq!(address("edge", &stack), "http://127.0.0.1:3000");
        assert_eq!(address("handler-1", &stack), "http://127.0.0.1:20005");
        assert_eq!(
            address("bridge-2", &stack),
            "http://127.0.0.1:20002/metrics"
        );
        assert_eq!(address("kafka", &stack), stack.kafka_brokers());
        assert_eq!(address("bridge-3", &stack), "");
    }
}
