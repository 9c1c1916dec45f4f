//! Runs the stack as local processes. It starts them step by step, and stops them in reverse order: the clients of the
//! servers first, then the servers.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use rushgate_testbed::detached::{self, Identity};
use rushgate_testbed::port;

use crate::binaries::OPERATOR;
use crate::build;
use crate::database;
use crate::handler::{self, Host};
use crate::kafka;
use crate::packages;
use crate::pipeline;
use crate::redis;
use crate::run;
use crate::say;
use crate::service::{self, Service, Starting};
use crate::stack::{SERVERS, Stack, first_campaign};
use crate::state::State;
use crate::up_options::Options;

/// How long a service may take to stop: bridges and consumers finish their work first.
const PATIENCE: Duration = Duration::from_secs(20);

/// Starts every service that does not run.
pub(crate) fn up(options: &Options, state: &State) -> Result<Stack> {
    packages::build_tools()?;
    let previous = state.stack()?;
    let stack = planned(previous.clone(), options)?;
    // Fails now rather than after the build.
    claim_new_addresses(previous.as_ref(), &stack, state)?;
    let servers = packages::servers()?;
    kafka::fetch()?;
    state.save(&stack)?;
    retire(previous.as_ref(), &stack, state)?;

    // The servers start while the compiler works.
    let starting = start_servers(&servers, &stack, None, state)?;
    let host = Host::find();
    build::build_stack(&[])?;
    build::build_component()?;
    wait("Waiting for Redis, Kafka and the database", starting)?;

    let step = say::step("Creating tables, topic and campaign");
    operator(&stack, &["setup"])?;
    let value_format = std::env::var("KAFKA_VALUE_FORMAT").ok();
    operator(&stack, &first_campaign(value_format.as_deref()))?;
    step.done();

    let mut services = pipeline::services(&stack);
    services.extend(handler::services(&host, &stack, state));
    let starting = start(services, state)?;
    wait(
        &format!("Starting bridge, consumer and handler ({})", host.name()),
        starting,
    )?;
    Ok(stack)
}

/// Starts only the servers, for tests and benchmarks; returns also the port where their Kafka requires a login.
pub(crate) fn up_servers(state: &State) -> Result<(Stack, u16)> {
    let servers = packages::servers()?;
    kafka::fetch()?;
    let stack = Stack::servers()?;
    state.save(&stack)?;
    let sasl = port::for_stack()?;
    let starting = start_servers(&servers, &stack, Some(sasl), state)?;
    wait(
        "Starting a Redis, a Kafka and a database for this command",
        starting,
    )?;
    Ok((stack, sasl))
}

/// Stops every service: clients of the servers first, then the servers.
pub(crate) fn down(state: &State) -> Result<()> {
    let (servers, others): (Vec<String>, Vec<String>) = state
        .services()?
        .into_iter()
        .partition(|service| SERVERS.contains(&service.as_str()));
    for services in [others, servers] {
        detached::stop(&processes(&services, state)?, PATIENCE)?;
    }
    Ok(())
}

/// Stops one service, or all with this name before the number; gracefully, or at once (`kill -9`).
pub(crate) fn end(service: &str, gently: bool, state: &State) -> Result<Vec<String>> {
    let services = state.select(service)?;
    let processes = processes(&services, state)?;
    if gently {
        detached::stop(&processes, PATIENCE)?;
    } else {
        detached::kill_now(&processes)?;
    }
    Ok(services)
}

/// Runs the `rushgate` command on this stack.
pub(crate) fn operator(stack: &Stack, arguments: &[&str]) -> Result<String> {
    run::quietly(
        Command::new(OPERATOR.path())
            .args(arguments)
            .envs(stack.env()),
    )
    .with_context(|| format!("`rushgate {}` failed", arguments.join(" ")))
}

/// The stack to run: the previous one, changed by the options.
fn planned(previous: Option<Stack>, options: &Options) -> Result<Stack> {
    let mut stack = match previous {
        Some(stack) => stack,
        None => Stack::servers()?,
    };
    if let Some(listen) = options.listen {
        stack
            .handlers
            .splice(..stack.handlers.len().min(1), [listen]);
    }
    if stack.handlers.is_empty() {
        stack.handlers.push(options.listen_or_default());
    }
    let wanted = |asked: Option<u8>, present: usize| asked.map_or(present.max(1), usize::from);
    let (handlers, bridges, consumers) = (
        wanted(options.handlers, stack.handlers.len()),
        wanted(options.bridges, stack.bridges.len()),
        wanted(options.consumers, stack.consumers.len()),
    );
    let mut more = stack.handlers.iter().map(SocketAddr::port).collect();
    fit(&mut more, handlers)?;
    let listen = |port: &u16| SocketAddr::from(([127, 0, 0, 1], *port));
    let present = stack.handlers.len().min(handlers);
    stack.handlers.truncate(present);
    stack.handlers.extend(more[present..].iter().map(listen));
    fit(&mut stack.bridges, bridges)?;
    fit(&mut stack.consumers, consumers)?;
    Ok(stack)
}

fn claim_new_addresses(previous: Option<&Stack>, stack: &Stack, state: &State) -> Result<()> {
    for (index, listen) in stack.handlers.iter().enumerate() {
        let name = format!("handler-{}", index + 1);
        let ours = match state.process(&name)? {
            Some(process) => process.is_alive()?,
            None => false,
        };
        let stays = previous.is_some_and(|previous| previous.handlers.get(index) == Some(listen));
        if !(ours && stays) {
            service::ensure_free(*listen, &name)?;
        }
    }
    Ok(())
}

fn fit(ports: &mut Vec<u16>, wanted: usize) -> Result<()> {
    ports.truncate(wanted);
    while ports.len() < wanted {
        ports.push(port::for_stack()?);
    }
    Ok(())
}

/// Stops services that are no longer wanted: those with a higher number than the new maximum, and handlers whose
/// address changes.
fn retire(previous: Option<&Stack>, stack: &Stack, state: &State) -> Result<()> {
    let mut retired = Vec::new();
    for service in state.services()? {
        let Some((kind, number)) = service.rsplit_once('-') else {
            continue;
        };
        let Ok(number) = number.parse::<usize>() else {
            continue;
        };
        let moved = previous.is_some_and(|previous| {
            kind == "handler" && previous.handlers.get(number - 1) != stack.handlers.get(number - 1)
        });
        let wanted = match kind {
            "handler" => stack.handlers.len(),
            "bridge" => stack.bridges.len(),
            _ => stack.consumers.len(),
        };
        if number > wanted || moved {
            retired.push(service);
        }
    }
    detached::stop(&processes(&retired, state)?, PATIENCE)?;
    retired.iter().try_for_each(|service| state.forget(service))
}

fn start_servers(
    servers: &packages::Servers,
    stack: &Stack,
    sasl: Option<u16>,
    state: &State,
) -> Result<Vec<Starting>> {
    let listeners = kafka::Listeners { behind: None, sasl };
    // One after the other: each prepares its data while the earlier ones start.
    Ok(vec![
        redis::service(&servers.redis, stack, state)?.start(state)?,
        kafka::service(&servers.java, stack, listeners, state)?.start(state)?,
        database::service(&servers.database, stack, state)?.start(state)?,
    ])
}

fn start(services: Vec<Service>, state: &State) -> Result<Vec<Starting>> {
    services
        .into_iter()
        .map(|service| service.start(state))
        .collect()
}

fn wait(what: &str, starting: Vec<Starting>) -> Result<()> {
    let step = say::step(what);
    starting
        .into_iter()
        .try_for_each(Starting::wait)
        .context("starting the stack: not everything started. What runs is left running: `cargo xtask up` continues \
            from here, `cargo xtask down` stops it")?;
    step.done();
    Ok(())
}

fn processes(services: &[String], state: &State) -> Result<Vec<Identity>> {
    let found: Result<Vec<Option<Identity>>> = services
        .iter()
        .map(|service| state.process(service))
        .collect();
    Ok(found?.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(listen: Option<&str>, copies: Option<u8>) -> Options {
        Options {
            listen: listen.map(|listen| listen.parse().unwrap()),
            handlers: copies,
            bridges: copies,
            consumers: copies,
            ..Options::default()
        }
    }

    #[test]
    fn a_second_up_changes_nothing() {
        let first = planned(None, &options(None, None)).unwrap();
        assert_eq!(first.handlers, ["127.0.0.1:3000".parse().unwrap()]);
        assert_eq!((first.bridges.len(), first.consumers.len()), (1, 1));
        assert_eq!(
            planned(Some(first.clone()), &options(None, None)).unwrap(),
            first
        );
    }

    #[test]
    fn copies_come_and_go_without_moving_the_others() {
        let one = planned(None, &options(None, None)).unwrap();
        let two = planned(Some(one.clone()), &options(None, Some(2))).unwrap();
        assert_eq!(
            (two.handlers.len(), two.bridges.len(), two.consumers.len()),
            (2, 2, 2)
        );
        assert_eq!(two.handlers[0], one.handlers[0]);
        assert_eq!(two.bridges[0], one.bridges[0]);
        assert_eq!(planned(Some(two), &options(None, Some(1))).unwrap(), one);
    }

    #[test]
    fn another_address_moves_the_first_handler_only() {
        let two = planned(None, &options(None, Some(2))).unwrap();
        let moved = planned(Some(two.clone()), &options(Some("0.0.0.0:8080"), None)).unwrap();
        assert_eq!(moved.handlers[0], "0.0.0.0:8080".parse().unwrap());
        assert_eq!(moved.handlers[1], two.handlers[1]);
    }
}
