//! Kafka as a single node in KRaft mode, from a directory of jars.

use crate::certificates::{AUTHORITY, Certificates, EXPIRED, FOREIGN, OTHER_NAME, SERVER};
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
    pub tls: Option<Tls>,
}

/// More listeners, with TLS.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Of each of [`TLS_LISTENERS`].
    pub ports: [u16; TLS_LISTENERS.len()],
    pub certificates: Certificates,
}

const PLAIN: &str = "SASL";

/// A listener with TLS that requires the same login.
pub const LOGIN: &str = "LOGIN";
/// The same, where the users' password for PLAIN is another one.
pub const OTHER_PASSWORD: &str = "PASSWORD";
/// A listener with TLS that requires a client certificate, whose common name is the user.
pub const CLIENT_CERTIFICATE: &str = "CERTIFICATE";

/// Each listener with TLS: its name, its protocol, and its certificate.
pub const TLS_LISTENERS: [(&str, &str, &str); 6] = [
    (LOGIN, "SASL_SSL", SERVER),
    (OTHER_PASSWORD, "SASL_SSL", SERVER),
    (CLIENT_CERTIFICATE, "SSL", SERVER),
    (FOREIGN, "SSL", FOREIGN),
    (OTHER_NAME, "SSL", OTHER_NAME),
    (EXPIRED, "SSL", EXPIRED),
];

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
        let sasl = self.sasl.iter();
        let more = sasl.flat_map(|sasl| sasl.listeners(sasl.behind.unwrap_or(sasl.port)));
        [self.port, self.controller]
            .into_iter()
            .chain(more.map(|(_, _, port)| port))
    }

    /// Writes its settings, and formats its storage if that is missing.
    ///
    /// # Errors
    /// When a file cannot be written, or Kafka's tool fails.
    pub fn prepare(&self) -> Result<()> {
        let directory = &self.directory;
        fs::create_dir_all(directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
        if let Some(tls) = self.sasl.as_ref().and_then(|sasl| sasl.tls.as_ref()) {
            for (_, _, certificate) in TLS_LISTENERS {
                let key = fs::read_to_string(tls.certificates.key(certificate))?;
                let both = key + &fs::read_to_string(tls.certificates.certificate(certificate))?;
                let store = self.key_store(certificate);
                secret::write(&store, &both)
                    .with_context(|| format!("cannot write {}", store.display()))?;
            }
        }
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

    /// A certificate with its key.
    fn key_store(&self, certificate: &str) -> PathBuf {
        self.directory.join(certificate).with_extension("keystore")
    }

    fn tls_settings(&self, tls: &Tls) -> String {
        let authority = tls.certificates.certificate(AUTHORITY);
        let mut settings = format!(
            "ssl.keystore.type=PEM\n\
             ssl.truststore.type=PEM\n\
             ssl.truststore.location={authority}\n\
             ssl.principal.mapping.rules=RULE:^CN=(.*)$/$1/,DEFAULT\n\
             listener.name.{required}.ssl.client.auth=required\n",
            authority = authority.display(),
            required = CLIENT_CERTIFICATE.to_lowercase(),
        );
        for (name, _, certificate) in TLS_LISTENERS {
            let (name, store) = (name.to_lowercase(), self.key_store(certificate));
            let setting = format!("listener.name.{name}.ssl.keystore.location");
            settings += &format!("{setting}={}\n", store.display());
        }
        settings
    }

    fn settings(&self) -> String {
        let (port, controller) = (self.port, self.controller);
        let creates_topics = self.sasl.is_some();
        let (mut listens, mut advertised) = (String::new(), String::new());
        let (mut protocols, mut sasl_settings) = (String::new(), String::new());
        if let Some(sasl) = &self.sasl {
            for (name, protocol, port) in sasl.listeners(sasl.behind.unwrap_or(sasl.port)) {
                listens += &format!(",{name}://127.0.0.1:{port}");
                protocols += &format!(",{name}:{protocol}");
            }
            for (name, _, port) in sasl.listeners(sasl.port) {
                advertised += &format!(",{name}://127.0.0.1:{port}");
            }
            sasl_settings = sasl.settings();
            if let Some(tls) = &sasl.tls {
                sasl_settings += &self.tls_settings(tls);
            }
        }
        format!(
            "process.roles=broker,controller\n\
             node.id=1\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\n\
             controller.listener.names=CONTROLLER\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}{listens}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port}{advertised}\n\
             listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT{protocols}\n\
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
    /// Name, protocol and port of each listener; that without TLS has this port.
    fn listeners(&self, port: u16) -> impl Iterator<Item = (&'static str, &'static str, u16)> {
        let tls = self.tls.iter();
        let tls = tls.flat_map(|tls| TLS_LISTENERS.into_iter().zip(tls.ports));
        let tls = tls.map(|((name, protocol, _), port)| (name, protocol, port));
        [(PLAIN, "SASL_PLAINTEXT", port)].into_iter().chain(tls)
    }

    /// Its users and their rights.
    fn settings(&self) -> String {
        let mut settings = format!(
            "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
             super.users=User:ANONYMOUS;User:{SASL_USER}\n"
        );
        let password = self.password.as_str();
        let tls = self.tls.iter();
        let tls = tls.flat_map(|_| [(LOGIN, password), (OTHER_PASSWORD, "an0ther")]);
        for (listener, password) in [(PLAIN, password)].into_iter().chain(tls) {
            let users = [SASL_USER].iter().chain(&SASL_OTHERS);
            let users: String = users
                .map(|user| format!(" user_{user}=\"{password}\""))
                .collect();
            let listener = format!("listener.name.{}", listener.to_lowercase());
            settings += &format!(
                "{listener}.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256\n\
                 {listener}.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required{users};\n\
                 {listener}.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;\n"
            );
        }
        settings
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
