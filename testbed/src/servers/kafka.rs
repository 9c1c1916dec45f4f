//! Kafka as a single node in KRaft mode, from a directory of jars.

use crate::program::{find, printed_version, run, version_after};
use crate::secret;
use anyhow::{Context, Result};
use semver::Version;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A user that may do everything, like clients without a login.
pub const SASL_USER: &str = "rushgate";

/// Users that may log in, and may do nothing else until it is allowed: one for each program, and a guest.
const SASL_OTHERS: [&str; 5] = [
    "rushgate-bridge",
    "rushgate-consumer",
    "rushgate-operator",
    "rushgate-setup",
    "guest",
];

/// Java with Kafka's jars.
#[derive(Clone, Debug)]
pub struct Java {
    pub program: PathBuf,
    /// The directory of the jars.
    pub jars: PathBuf,
    /// What Kafka and its tools log: a file for Log4j.
    pub log_settings: PathBuf,
    pub tmp: PathBuf,
}

/// A broker with its data, which may run or not. All ports are on 127.0.0.1.
#[derive(Clone, Debug)]
pub struct Kafka {
    pub java: Java,
    pub directory: PathBuf,
    pub port: u16,
    pub controller: u16,
    pub sasl: Option<Sasl>,
}

/// A listener that requires a login, by PLAIN or SCRAM-SHA-256: of [`SASL_USER`], of `guest`, or of the user of a program
/// (`rushgate-bridge` and the like). A broker with this listener is for tests, and creates topics on request, as many
/// brokers do; our programs must not rely on that.
#[derive(Clone, Debug)]
pub struct Sasl {
    /// The port that it advertises.
    pub port: u16,
    /// The port where it listens, if a proxy listens on the advertised one.
    pub behind: Option<u16>,
    pub password: String,
}

/// Java 17 or newer: the first suitable one of `JAVA_HOME` and the PATH, else any that Debian has installed.
pub fn java() -> Option<PathBuf> {
    let installed = fs::read_dir("/usr/lib/jvm").into_iter().flatten().flatten();
    let beside = installed
        .map(|entry| entry.path().join("bin/java"))
        .filter(|java| java.is_file());
    let home = std::env::var_os("JAVA_HOME").map(|home| PathBuf::from(home).join("bin/java"));
    home.into_iter()
        .chain(find("java"))
        .chain(beside)
        .find(|java| {
            printed_version(java, "-version")
                .and_then(|text| version_after("version \"", &text))
                .is_some_and(|version| version >= Version::new(17, 0, 0))
        })
}

impl Java {
    /// Runs a class of Kafka.
    pub fn command(&self, class: &str) -> Command {
        let setting = |name: &str, path: &Path| format!("-D{name}={}", path.display());
        let mut command = Command::new(&self.program);
        command
            .args([
                "-Xms128m",
                "-Xmx512m",
                "-XX:+UseSerialGC",
                "-XX:+ExitOnOutOfMemoryError",
                "-XX:-UsePerfData",
            ])
            .arg(setting("java.io.tmpdir", &self.tmp))
            .arg(setting("log4j2.configurationFile", &self.log_settings))
            .arg("-cp")
            .arg(self.jars.join("*"))
            .arg(class);
        command
    }
}

impl Kafka {
    /// Every port where it listens.
    pub fn listens(&self) -> impl Iterator<Item = u16> {
        let sasl = self.sasl.as_ref().map(Sasl::listens);
        [self.port, self.controller].into_iter().chain(sasl)
    }

    /// Writes its settings, and formats its storage if that is missing.
    ///
    /// # Errors
    /// When a file cannot be written, or Kafka's tool fails.
    pub fn prepare(&self) -> Result<()> {
        let directory = &self.directory;
        fs::create_dir_all(directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
        let properties = self.properties();
        secret::write(&properties, &self.settings())
            .with_context(|| format!("cannot write {}", properties.display()))?;
        if self.data().join("meta.properties").is_file() {
            return Ok(());
        }
        let mut format = self.java.command("kafka.tools.StorageTool");
        format
            .args(["format", "--ignore-formatted", "--cluster-id"])
            .arg(cluster_id()?)
            .arg("--config")
            .arg(properties);
        if let Some(Sasl { password, .. }) = &self.sasl {
            format.args([SASL_USER].iter().chain(&SASL_OTHERS).map(|user| {
                format!("--add-scram=SCRAM-SHA-256=[name={user},password={password}]")
            }));
        }
        run(&mut format).context("cannot format Kafka's storage")?;
        Ok(())
    }

    /// The command that starts it.
    pub fn command(&self) -> Command {
        let mut command = self.java.command("kafka.Kafka");
        command.arg(self.properties()).current_dir(&self.directory);
        command
    }

    fn properties(&self) -> PathBuf {
        self.directory.join("server.properties")
    }

    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    fn settings(&self) -> String {
        let (port, controller) = (self.port, self.controller);
        let creates_topics = self.sasl.is_some();
        let address = |port: u16| format!(",SASL://127.0.0.1:{port}");
        let (listens, advertised, sasl_settings) = match &self.sasl {
            None => Default::default(),
            Some(sasl) => (address(sasl.listens()), address(sasl.port), sasl.settings()),
        };
        format!(
            "process.roles=broker,controller\n\
             node.id=1\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\n\
             controller.listener.names=CONTROLLER\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}{listens}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port}{advertised}\n\
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
             share.coordinator.state.topic.min.isr=1\n\
             {sasl_settings}",
            data = self.data().display()
        )
    }
}

impl Sasl {
    fn listens(&self) -> u16 {
        self.behind.unwrap_or(self.port)
    }

    /// Its users and their rights.
    fn settings(&self) -> String {
        let password = &self.password;
        let users = [SASL_USER].iter().chain(&SASL_OTHERS);
        let users: String = users
            .map(|user| format!(" user_{user}=\"{password}\""))
            .collect();
        format!(
            "listener.name.sasl.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256\n\
             listener.name.sasl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule \
             required{users};\n\
             listener.name.sasl.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule \
             required;\n\
             authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
             super.users=User:ANONYMOUS;User:{SASL_USER}\n"
        )
    }
}

/// 16 random bytes in the URL-safe alphabet of Kafka's own ids, without `-`, which may not come first.
fn cluster_id() -> Result<String> {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let letter = |byte: u8| char::from(ALPHABET[usize::from(byte) % ALPHABET.len()]);
    // 21 characters of 6 bits, and a last one whose four low bits are zero.
    let mut bytes = [0; 21];
    getrandom::fill(&mut bytes).context("random bytes")?;
    Ok(bytes.into_iter().map(letter).collect::<String>() + "A")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cluster_ids_are_22_letters() {
        let id = cluster_id().unwrap();
        assert_eq!(id.len(), 22);
        assert!(id.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    }
}
