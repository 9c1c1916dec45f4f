//! Runs the stack as local processes. It starts them step by step, and stops them in reverse order: the clients of the
//! servers first, then the servers.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use rushgate_testbed::certificates::Certificates;
use rushgate_testbed::detached::{self, Identity};
use rushgate_testbed::port;
use rushgate_testbed::servers::kafka::{Sasl, Tls};

use crate::binaries::{LOCAL, OPERATOR};
use crate::build;
use crate::database;
use crate::edge;
use crate::handler::{self, Host};
use crate::kafka;
use crate::packages;
use crate::pipeline;
use crate::plan::planned;
use crate::redis;
use crate::run;
use crate::say;
use crate::service::{self, Service, Starting};
use crate::stack::{EDGE, SERVERS, Stack, first_campaign};
use crate::state::State;
use crate::up_options::Options;

/// How long a service may take to stop: bridges and consumers finish their work first.
const PATIENCE: Duration = Duration::from_secs(20);

/// Starts every service that does not run.
pub(crate) fn up(options: &Options, state: &State) -> Result<Stack> {
    let previous = state.stack()?;
    let stack = planned(previous.clone(), options)?;
    // Fails now rather than after the build.
    claim_new_addresses(previous.as_ref(), &stack, state)?;
    packages::can_have_native_stack(stack.edge.is_some())?;

    let (starting, haproxy) = build::beside_component(build::build_component, || {
        // apt and Maven wait for the network, while the compiler works.
        packages::native_stack(stack.edge.is_some())?;
        let servers = packages::servers()?;
        let haproxy = stack.edge.map(|_| packages::edge()).transpose()?;
        kafka::fetch()?;
        // In this order: if this is interrupted in between, the next `up` starts again what was stopped.
        retire(previous.as_ref(), &stack, state)?;
        state.save(&stack)?;
        // The servers start while the compiler works.
        let starting = start_servers(&servers, &stack, None, state)?;
        build::build_stack(LOCAL)?;
        Ok((starting, haproxy))
    })?;
    let host = Host::find();
    wait("Waiting for Redis, Kafka and the database", starting)?;

    let step = say::step("Creating tables, topic and campaign");
    operator(&stack, &["setup"])?;
    let value_format = std::env::var("KAFKA_VALUE_FORMAT").ok();
    operator(&stack, &first_campaign(value_format.as_deref()))?;
    step.done();

    let mut services = pipeline::services(&stack);
    services.extend(handler::services(&host, &stack, state)?);
    let starting = start(services, state)?;
    wait(
        &format!("Starting bridge, consumer and handler ({})", host.name()),
        starting,
    )?;
    if let Some(haproxy) = haproxy {
        let edge = edge::service(&haproxy, &stack, state)?;
        wait("Starting the edge (HAProxy)", start([edge], state)?)?;
    }
    Ok(stack)
}

/// Starts only the servers, for tests and benchmarks; returns also where their Kafka requires a login or a certificate.
pub(crate) fn up_servers(servers: &packages::Servers, state: &State) -> Result<(Stack, Sasl)> {
    packages::openssl()?;
    kafka::fetch()?;
    let stack = Stack::servers()?;
    state.save(&stack)?;
    let port = port::for_stack;
    let sasl = Sasl {
        port: port()?,
        behind: None,
        password: stack.password.clone(),
        tls: Some(Tls {
            ports: [port()?, port()?, port()?, port()?, port()?, port()?],
            certificates: Certificates::make(state.path("certificates"))?,
        }),
    };
    let starting = start_servers(servers, &stack, Some(sasl.clone()), state)?;
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

/// Fails if another process listens where the edge or a handler is to listen.
fn claim_new_addresses(previous: Option<&Stack>, stack: &Stack, state: &State) -> Result<()> {
    let mut ours = Vec::new();
    if let Some(previous) = previous {
        for service in state.services()? {
            if let Some(process) = state.process(&service)?
                && process.is_alive()?
            {
                ours.extend(previous.address(&service).map(|address| address.port()));
            }
        }
    }
    stack
        .services()
        .filter(|service| service == EDGE || service.starts_with("handler"))
        .filter_map(|service| Some((stack.address(&service)?, service)))
        .filter(|(listen, _)| !ours.contains(&listen.port()))
        .try_for_each(|(listen, service)| service::ensure_free(listen, &service))
}

/// Stops services that are no longer wanted: those with a higher number than the new maximum, those whose address
/// changes, and an edge in front of other handlers.
fn retire(previous: Option<&Stack>, stack: &Stack, state: &State) -> Result<()> {
    let mut retired = state.services()?;
    retired.retain(|service| {
        let wanted = stack.services().any(|wanted| wanted == *service);
        let changes = previous.is_some_and(|previous| {
            previous.address(service) != stack.address(service)
                || service == EDGE && previous.handlers != stack.handlers
        });
        !wanted || changes
    });
    detached::stop(&processes(&retired, state)?, PATIENCE)?;
    retired.iter().try_for_each(|service| state.forget(service))
}

fn start_servers(
    servers: &packages::Servers,
    stack: &Stack,
    sasl: Option<Sasl>,
    state: &State,
) -> Result<Vec<Starting>> {
    let tls = sasl.as_ref().and_then(|sasl| sasl.tls.as_ref());
    let certificates = tls.map(|tls| tls.certificates.clone());
    // One after the other: each prepares its data while the earlier ones start.
    Ok(vec![
        redis::service(&servers.redis, stack, state)?.start(state)?,
        kafka::service(&servers.java, stack, sasl, state)?.start(state)?,
        database::service(&servers.database, stack, certificates, state)?.start(state)?,
    ])
}

fn start(services: impl IntoIterator<Item = Service>, state: &State) -> Result<Vec<Starting>> {
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
