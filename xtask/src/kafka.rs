//! Kafka as a service of a stack, and its command line tools. The jars come from `xtask/kafka/pom.xml`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rushgate_testbed::program::find;
use rushgate_testbed::servers::kafka::{Java, Kafka, Sasl, java};

use crate::run;
use crate::say;
use crate::service::{Ready, Service, local};
use crate::stack::Stack;
use crate::state::State;
use crate::workspace;

/// Tools, named after Kafka's scripts without `kafka-` and `.sh`.
pub(crate) const TOOLS: [(&str, &str); 6] = [
    (
        "console-consumer",
        "org.apache.kafka.tools.consumer.ConsoleConsumer",
    ),
    ("console-producer", "org.apache.kafka.tools.ConsoleProducer"),
    ("topics", "org.apache.kafka.tools.TopicCommand"),
    (
        "consumer-groups",
        "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    ),
    ("configs", "kafka.admin.ConfigCommand"),
    ("get-offsets", "org.apache.kafka.tools.GetOffsetShell"),
];

/// Whether Maven has already fetched the jars.
pub(crate) fn jars_are_there() -> bool {
    jars().is_ok_and(|jars| jars.is_dir())
}

/// Fetches Kafka's jars once, into `target/`.
pub(crate) fn fetch() -> Result<()> {
    let jars = jars()?;
    if jars.is_dir() {
        return Ok(());
    }
    let maven = find("mvn").context("fetching Kafka: Maven (mvn) is not installed")?;
    let step = say::step("Fetching Kafka");
    let unfinished = jars.with_extension("part");
    let setting = |name: &str, path: &Path| format!("-D{name}={}", path.display());
    run::quietly(
        Command::new(maven)
            .args(["--quiet", "--batch-mode", "--file"])
            .arg(pom())
            .arg("dependency:copy-dependencies")
            .arg(setting("outputDirectory", &unfinished))
            .arg(setting("maven.repo.local", &workspace::target().join("m2"))),
    )
    .context("fetching Kafka with Maven: is Maven Central, or a mirror in ~/.m2/settings.xml, reachable?")?;
    fs::rename(&unfinished, &jars)
        .with_context(|| format!("cannot rename {}", unfinished.display()))?;
    step.done();
    Ok(())
}

/// The broker, with formatted storage. It advertises the stack's port.
pub(crate) fn service(
    program: &Path,
    stack: &Stack,
    sasl: Option<Sasl>,
    state: &State,
) -> Result<Service> {
    let kafka = Kafka {
        java: with_jars(program, state)?,
        directory: state.path("kafka"),
        port: stack.kafka,
        controller: stack.controller,
        sasl,
    };
    kafka.prepare()?;
    Ok(Service {
        name: "kafka".into(),
        command: kafka.command(),
        listens: kafka.listens().map(local).collect(),
        ready: Ready::Accepts(local(stack.kafka)),
        patience: Duration::from_secs(90),
    })
}

/// A command line tool, connected to this stack's broker.
pub(crate) fn tool(name: &str, stack: &Stack, state: &State) -> Result<Command> {
    let class = class_of(name)?;
    let program = java().context("Java 17 or newer is not installed")?;
    let mut command = with_jars(&program, state)?.command(class);
    command.args(["--bootstrap-server", &stack.kafka_brokers()]);
    Ok(command)
}

/// The class behind a tool's name.
pub(crate) fn class_of(name: &str) -> Result<&'static str> {
    match TOOLS.iter().find(|(tool, _)| *tool == name) {
        Some((_, class)) => Ok(class),
        None => bail!(
            "there is no tool {name:?}: choose one of {}",
            TOOLS.map(|(tool, _)| tool).join(", ")
        ),
    }
}

fn with_jars(program: &Path, state: &State) -> Result<Java> {
    Ok(Java {
        program: program.to_owned(),
        jars: jars()?,
        log_settings: workspace::root().join("xtask/kafka/log4j2.properties"),
        tmp: state.path("tmp"),
    })
}

/// The directory of Kafka's jars.
pub(crate) fn jars() -> Result<PathBuf> {
    let version = broker_version()?;
    Ok(workspace::target().join("kafka").join(version).join("libs"))
}

pub(crate) fn broker_version() -> Result<String> {
    let pom = pom();
    let text =
        fs::read_to_string(&pom).with_context(|| format!("cannot read {}", pom.display()))?;
    let version = version(&text);
    Ok(version
        .with_context(|| format!("no kafka.version in {}", pom.display()))?
        .to_owned())
}

fn pom() -> PathBuf {
    workspace::root().join("xtask/kafka/pom.xml")
}

fn version(pom: &str) -> Option<&str> {
    let (_, rest) = pom.split_once("<kafka.version>")?;
    Some(rest.split_once("</kafka.version>")?.0.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_pom_s() {
        assert_eq!(
            version("<a><kafka.version>4.3.1</kafka.version></a>"),
            Some("4.3.1")
        );
        assert_eq!(version("<a/>"), None);
        assert!(jars().is_ok());
    }

    #[test]
    fn an_unknown_tool_is_answered_with_the_known_ones() {
        assert!(class_of("topics").is_ok());
        assert!(
            class_of("tpoics")
                .unwrap_err()
                .to_string()
                .contains("consumer-groups")
        );
    }
}
