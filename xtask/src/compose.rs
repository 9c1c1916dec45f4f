//! Runs the stack in containers with Docker Compose. This module finds Docker, creates passwords, and shows the
//! addresses.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use rushgate_testbed::{port, program, secret};
use semver::Version;

use crate::env_file;
use crate::run;
use crate::say;
use crate::stack::{Runner, Stack, first_campaign};
use crate::state::State;
use crate::up_options::Options;
use crate::workspace;

/// First line of a `.env` that we have written and may remove.
const OURS: &str = "# Written by `cargo xtask up`, removed by `cargo xtask down`.";

/// Variables of the compose file that xtask must know too.
const DESCRIBED: [&str; 6] = [
    "KAFKA_VALUE_FORMAT",
    "MYSQL_PASSWORD",
    "REDIS_PORT",
    "KAFKA_PORT",
    "MYSQL_PORT",
    "RUSHGATE_LISTEN",
];

/// The address of a handler: only the edge reaches it.
const UNPUBLISHED: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// Lowest engine API that has `start_interval`, which the compose file uses: that of engine 25.
const ENGINE_API: Version = Version::new(1, 44, 0);
/// The first Compose that passes it on to every such engine.
const COMPOSE: Version = Version::new(2, 24, 1);

/// Why Docker cannot be used here, as text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// Docker is missing or does not answer.
    Absent(&'static str),
    /// A version is older than the compose file needs.
    TooOld(String),
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent(what) => f.write_str(what),
            Self::TooOld(what) => write!(
                f,
                "{what}, and docker-compose.yml needs Docker Engine 25 or later and Compose {COMPOSE} or later"
            ),
        }
    }
}

/// Checks that a Docker engine and its Compose plugin answer and are recent enough.
pub(crate) fn usable() -> Result<(), Unusable> {
    judged(
        printed(&["version", "--format", "{{.Server.APIVersion}}"]).as_deref(),
        printed(&["compose", "version", "--short"]).as_deref(),
    )
}

/// The same check on the versions that both print.
fn judged(engine_api: Option<&str>, compose: Option<&str>) -> Result<(), Unusable> {
    let api = engine_api.ok_or(Unusable::Absent(
        "no Docker engine answered `docker version`",
    ))?;
    let compose = compose.ok_or(Unusable::Absent(
        "`docker compose version` fails: Docker's Compose plugin is not installed",
    ))?;
    let older = |text: &str, than: Version| {
        let version = program::version_after("", text.trim_start_matches('v'));
        version.is_none_or(|version| version < than)
    };
    if older(api, ENGINE_API) {
        return Err(Unusable::TooOld(format!("the Docker engine has API {api}")));
    }
    if older(compose, COMPOSE) {
        return Err(Unusable::TooOld(format!(
            "Docker Compose has version {compose}"
        )));
    }
    Ok(())
}

/// Whether `docker compose` exists; it can check files without an engine.
pub(crate) fn compose_answers() -> bool {
    printed(&["compose", "version"]).is_some()
}

/// Builds the images, starts all services, and waits until they are healthy.
pub(crate) fn up(options: &Options, state: &State) -> Result<Stack> {
    if let Err(why) = usable() {
        bail!(
            "cannot run in containers: {why}. Install or start it, or use local processes: `cargo xtask up --native`"
        );
    }
    let values = with_environment(read_or_write_env()?, |name| std::env::var(name).ok());
    let stack = planned(&values, state.stack()?, options)?;
    state.save(&stack)?;
    let listen = stack.edge.context("a stack in containers has an edge")?;
    let step = say::heading("Starting the containers");
    let scale = |service: &str, copies: usize| format!("--scale={service}={copies}");
    run::successfully(
        compose(["up", "--build", "--detach", "--wait", "--remove-orphans"])
            .arg(scale("handler", stack.handlers.len()))
            .arg(scale("bridge", stack.bridges.len()))
            .arg(scale("consumer", stack.consumers.len()))
            .env("RUSHGATE_LISTEN", listen.to_string()),
    )
    .context("starting the containers: `cargo xtask logs` shows why it failed, `cargo xtask down` removes what was \
        started")?;
    step.done();
    let value_format = values.get("KAFKA_VALUE_FORMAT").map(String::as_str);
    let step = say::step("Creating the campaign");
    run::quietly(
        compose(["run", "--rm", "--no-TTY", "rushgate"]).args(first_campaign(value_format)),
    )?;
    step.done();
    Ok(stack)
}

/// Removes containers, networks, volumes, and the `.env` if we have written it.
pub(crate) fn down() -> Result<()> {
    let mut command = compose(["down", "--volumes", "--remove-orphans"]);
    // `down` does not use these, but Compose cannot parse the file without them.
    command.envs([
        ("MYSQL_PASSWORD", "unused"),
        ("MYSQL_ROOT_PASSWORD", "unused"),
    ]);
    run::successfully(&mut command)?;
    let path = env_path();
    match fs::read_to_string(&path) {
        Ok(text) if text.starts_with(OURS) => {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// `docker compose` with our file and these arguments.
pub(crate) fn compose<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new("docker");
    command
        .arg("compose")
        .args(arguments)
        .current_dir(workspace::root());
    command
}

/// The Compose service of one of our service names: Compose numbers bridges and consumers itself.
pub(crate) fn service_name(service: &str) -> &str {
    match service {
        "database" => "mysql",
        _ => service.split_once('-').map_or(service, |(kind, _)| kind),
    }
}

fn planned(
    values: &BTreeMap<String, String>,
    previous: Option<Stack>,
    options: &Options,
) -> Result<Stack> {
    let port = |key: &str, default: u16| match values.get(key) {
        Some(port) => port
            .parse()
            .with_context(|| format!("reading {key} in .env")),
        None => Ok(default),
    };
    let copies =
        |asked: Option<u8>, before: Option<usize>| asked.map_or(before.unwrap_or(1), usize::from);
    let before = previous.as_ref();
    let listen = match (
        options.listen,
        // Stacks of the previous version have no edge.
        before.and_then(|stack| stack.edge.as_ref().or(stack.handlers.first())),
        values.get("RUSHGATE_LISTEN"),
    ) {
        (Some(asked), _, _) => asked,
        (None, Some(before), _) => *before,
        (None, None, Some(written)) => {
            written.parse().context("reading RUSHGATE_LISTEN in .env")?
        }
        (None, None, None) => options.listen_or_default(),
    };
    Ok(Stack {
        runner: Runner::Docker,
        redis: port("REDIS_PORT", 6379)?,
        kafka: port("KAFKA_PORT", 9092)?,
        controller: 0,
        database: port("MYSQL_PORT", 3306)?,
        password: values
            .get("MYSQL_PASSWORD")
            .cloned()
            .context("MYSQL_PASSWORD is missing in .env: copy it from .env.sample")?,
        edge: Some(listen),
        handlers: vec![
            UNPUBLISHED;
            copies(options.handlers, before.map(|stack| stack.handlers.len()))
        ],
        bridges: vec![0; copies(options.bridges, before.map(|stack| stack.bridges.len()))],
        consumers: vec![0; copies(options.consumers, before.map(|stack| stack.consumers.len()))],
    })
}

fn read_or_write_env() -> Result<BTreeMap<String, String>> {
    let path = env_path();
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let values = env_file::render([
                ("MYSQL_PASSWORD", secret::password()?),
                ("MYSQL_ROOT_PASSWORD", secret::password()?),
                ("REDIS_PORT", port::for_stack()?.to_string()),
                ("KAFKA_PORT", port::for_stack()?.to_string()),
                ("MYSQL_PORT", port::for_stack()?.to_string()),
                // All clients on this machine have one address.
                ("EDGE_REQUESTS_PER_ADDRESS", "1000000".to_owned()),
                ("EDGE_APPLICATIONS_PER_ADDRESS", "1000000".to_owned()),
                ("EDGE_CONNECTIONS_PER_ADDRESS", "8000".to_owned()),
            ]);
            let text = format!("{OURS}\n{values}");
            secret::write(&path, &text).map(|()| text)
        }
        read => read,
    };
    Ok(env_file::parse(&text.with_context(|| {
        format!("cannot read or write {}", path.display())
    })?))
}

/// Compose's precedence: an environment variable wins over `.env`, unless it is empty.
fn with_environment(
    mut values: BTreeMap<String, String>,
    environment: impl Fn(&str) -> Option<String>,
) -> BTreeMap<String, String> {
    for name in DESCRIBED {
        if let Some(value) = environment(name).filter(|value| !value.is_empty()) {
            values.insert(name.to_owned(), value);
        }
    }
    values
}

fn env_path() -> PathBuf {
    workspace::root().join(".env")
}

/// The output of `docker` with these arguments, if it succeeds.
fn printed(arguments: &[&str]) -> Option<String> {
    let output = Command::new("docker")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    output.status.success().then(|| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_password_are_those_of_the_env_file() {
        let values = env_file::parse(
            "MYSQL_PASSWORD=pw\nREDIS_PORT=20001\nRUSHGATE_LISTEN=127.0.0.1:8080\n",
        );
        let stack = planned(&values, None, &Options::default()).unwrap();
        assert_eq!(
            (stack.redis, stack.kafka, stack.database),
            (20001, 9092, 3306)
        );
        assert_eq!(stack.urls(), ["http://127.0.0.1:8080"]);

        let asked = Options {
            listen: Some("127.0.0.1:9000".parse().unwrap()),
            bridges: Some(2),
            handlers: Some(3),
            ..Options::default()
        };
        let moved = planned(&values, Some(stack), &asked).unwrap();
        assert_eq!(moved.urls(), ["http://127.0.0.1:9000"]);
        let kept = planned(&values, Some(moved.clone()), &Options::default()).unwrap();
        assert_eq!(kept, moved);
        assert_eq!((kept.handlers.len(), kept.bridges.len()), (3, 2));
    }

    #[test]
    fn the_environment_comes_before_the_env_file() {
        let written = env_file::parse("MYSQL_PASSWORD=pw\nREDIS_PORT=20001\nKAFKA_PORT=20002\n");
        let exported = |name: &str| match name {
            "REDIS_PORT" => Some("30001".to_owned()),
            "MYSQL_PORT" => Some("30003".to_owned()),
            "KAFKA_PORT" => Some(String::new()),
            _ => None,
        };
        let values = with_environment(written, exported);
        let stack = planned(&values, None, &Options::default()).unwrap();
        assert_eq!(
            (stack.redis, stack.kafka, stack.database),
            (30001, 20002, 30003)
        );
        assert_eq!(stack.password, "pw");
    }

    #[test]
    fn what_is_too_old_for_the_compose_file_is_named() {
        assert_eq!(judged(Some("1.44"), Some("2.24.1")), Ok(()));
        // The version formats of Debian and of Docker.
        assert_eq!(judged(Some("1.51"), Some("2.40.3-3")), Ok(()));
        assert_eq!(judged(Some("1.51"), Some("v5.1.0")), Ok(()));
        for (api, compose, complaint) in [
            (
                Some("1.43"),
                Some("2.40.3"),
                "the Docker engine has API 1.43, ",
            ),
            (Some("1.9"), Some("2.40.3"), "1.9, "),
            (Some("1.44"), Some("2.24.0"), "Compose has version 2.24.0, "),
            (Some("1.44"), Some("v2.5.0"), "Compose has version v2.5.0, "),
            (Some(""), Some("2.40.3"), "API , "),
        ] {
            let why = judged(api, compose).unwrap_err();
            assert!(
                matches!(why, Unusable::TooOld(_)),
                "{api:?}, {compose:?}: {why:?}"
            );
            let text = why.to_string();
            assert!(text.contains(complaint), "{api:?}, {compose:?}: {text}");
            assert!(
                text.contains("needs Docker Engine 25 or later and Compose 2.24.1"),
                "{api:?}, {compose:?}: {text}"
            );
        }
        for (api, compose) in [(None, Some("2.40.3")), (Some("1.51"), None), (None, None)] {
            let why = judged(api, compose).unwrap_err();
            assert!(
                matches!(why, Unusable::Absent(_)),
                "{api:?}, {compose:?}: {why:?}"
            );
        }
    }

    #[test]
    fn parts_have_services() {
        assert_eq!(service_name("database"), "mysql");
        assert_eq!(service_name("bridge-2"), "bridge");
        assert_eq!(service_name("kafka"), "kafka");
    }
}
