//! Runs Kafka and its command line tools from the jars of `xtask/kafka/pom.xml`. The broker is a single node in KRaft
//! mode.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::chance;
use crate::packages;
use crate::run;
use crate::say;
use crate::secret_file;
use crate::service::{Ready, Service};
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
    let maven = packages::find("mvn").context("fetching Kafka: Maven (mvn) is not installed")?;
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

/// Optional listeners.
#[derive(Clone, Copy, Default)]
pub(crate) struct Listeners {
    /// The broker's real port, if a proxy listens on the stack's port.
    pub(crate) behind: Option<u16>,
    /// A listener that requires a login with the stack's password: [`SASL_USER`] by PLAIN or SCRAM-SHA-256, and
    /// [`SASL_GUEST`] by PLAIN. A broker with this listener is for tests, and creates topics on request, as many
    /// brokers do; our programs must not rely on that.
    pub(crate) sasl: Option<u16>,
}

/// A user that may do everything, like clients without a login.
pub(crate) const SASL_USER: &str = "rushgate";

/// A user that may log in, and may do nothing else until it is allowed.
const SASL_GUEST: &str = "guest";

/// The broker, with formatted storage. It advertises the stack's port.
pub(crate) fn service(
    java: &Path,
    stack: &Stack,
    listeners: Listeners,
    state: &State,
) -> Result<Service> {
    let dir = state.path("kafka");
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let properties = dir.join("server.properties");
    let mut lines = settings(stack, listeners, &dir);
    if listeners.sasl.is_some() {
        lines.push_str(&sasl_settings(&stack.password));
    }
    secret_file::write(&properties, &lines)
        .with_context(|| format!("cannot write {}", properties.display()))?;
    if !dir.join("data/meta.properties").is_file() {
        run::quietly(
            virtual_machine(java, state)?
                .args([
                    "kafka.tools.StorageTool",
                    "format",
                    "--ignore-formatted",
                    "--cluster-id",
                ])
                .arg(cluster_id()?)
                .arg("--config")
                .arg(&properties)
                .args(listeners.sasl.map(|_| {
                    let password = &stack.password;
                    format!("--add-scram=SCRAM-SHA-256=[name={SASL_USER},password={password}]")
                })),
        )
        .context("cannot format Kafka's storage")?;
    }
    let mut command = virtual_machine(java, state)?;
    command.arg("kafka.Kafka").arg(properties).current_dir(dir);
    let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let ports = [listeners.behind.unwrap_or(stack.kafka), stack.controller];
    Ok(Service {
        name: "kafka".into(),
        command,
        listens: ports
            .into_iter()
            .chain(listeners.sasl)
            .map(address)
            .collect(),
        ready: Ready::Accepts(address(stack.kafka)),
        patience: Duration::from_secs(90),
    })
}

/// A command line tool, connected to this stack's broker.
pub(crate) fn tool(name: &str, stack: &Stack, state: &State) -> Result<Command> {
    let class = class_of(name)?;
    let java = packages::java().context("Java 17 or newer is not installed")?;
    let mut command = virtual_machine(&java, state)?;
    command.args([class, "--bootstrap-server", &stack.kafka_brokers()]);
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

fn virtual_machine(java: &Path, state: &State) -> Result<Command> {
    let log_settings = workspace::root().join("xtask/kafka/log4j2.properties");
    let mut command = Command::new(java);
    command
        .args([
            "-Xms128m",
            "-Xmx512m",
            "-XX:+UseSerialGC",
            "-XX:+ExitOnOutOfMemoryError",
            "-XX:-UsePerfData",
        ])
        .arg(format!("-Djava.io.tmpdir={}", state.path("tmp").display()))
        .arg(format!(
            "-Dlog4j2.configurationFile={}",
            log_settings.display()
        ))
        .arg("-cp")
        .arg(jars()?.join("*"));
    Ok(command)
}

fn settings(stack: &Stack, listeners: Listeners, dir: &Path) -> String {
    let Stack {
        kafka, controller, ..
    } = stack;
    let listens = listeners.behind.unwrap_or(*kafka);
    let sasl = listeners
        .sasl
        .map_or_else(String::new, |port| format!(",SASL://127.0.0.1:{port}"));
    let data = dir.join("data");
    let creates_topics = listeners.sasl.is_some();
    format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.voters=1@127.0.0.1:{controller}\n\
         controller.listener.names=CONTROLLER\n\
         listeners=PLAINTEXT://127.0.0.1:{listens},CONTROLLER://127.0.0.1:{controller}{sasl}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{kafka}{sasl}\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL:SASL_PLAINTEXT\n\
         log.dirs={data}\n\
         # Topics are made by `rushgate setup`, on purpose, and by nothing else.\n\
         auto.create.topics.enable={creates_topics}\n\
         # One node, few groups.\n\
         group.initial.rebalance.delay.ms=0\n\
         offsets.topic.num.partitions=4\n\
         offsets.topic.replication.factor=1\n\
         transaction.state.log.num.partitions=4\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         share.coordinator.state.topic.num.partitions=4\n\
         share.coordinator.state.topic.replication.factor=1\n\
         share.coordinator.state.topic.min.isr=1\n",
        data = data.display()
    )
}

/// Users of the listener that requires a login, and their rights.
fn sasl_settings(password: &str) -> String {
    format!(
        "listener.name.sasl.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256\n\
         listener.name.sasl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule \
         required user_{SASL_USER}=\"{password}\" user_{SASL_GUEST}=\"{password}\";\n\
         listener.name.sasl.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule \
         required;\n\
         authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
         super.users=User:ANONYMOUS;User:{SASL_USER}\n"
    )
}

/// 16 random bytes in the URL-safe alphabet of Kafka's own ids, without `-`, which may not come first.
fn cluster_id() -> Result<String> {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let letter = |byte: u8| char::from(ALPHABET[usize::from(byte) % ALPHABET.len()]);
    // 21 characters of 6 bits, and a last one whose four low bits are zero.
    let id: String = chance::bytes::<21>()?.into_iter().map(letter).collect();
    Ok(id + "A")
}

fn jars() -> Result<PathBuf> {
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
    fn cluster_ids_are_22_letters() {
        let id = cluster_id().unwrap();
        assert_eq!(id.len(), 22);
        assert!(id.bytes().all(|byte| byte.is_ascii_alphanumeric()));
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
