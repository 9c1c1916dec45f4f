//! Reads and checks how to reach Kafka: the brokers' addresses, the topic, and the login.

use crate::secret::Secret;
use crate::{BadSetting, KafkaTlsSettings, SecurityProtocol, SigningSettings};
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use secrecy::{ExposeSecret, SecretString};
use std::path::PathBuf;

/// The names that Kafka uses. librdkafka knows some of them in capitals only.
const MECHANISMS: [&str; 3] = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"];

#[derive(Args, Clone, Debug)]
pub struct KafkaSettings {
    /// Kafka's bootstrap servers, separated by commas: host:port,host:port
    #[arg(id = "kafka_brokers", long = "kafka-brokers", env = "KAFKA_BROKERS")]
    #[arg(value_name = "BROKERS", global = true)]
    #[arg(default_value = "", hide_default_value = true)]
    pub brokers: String,

    /// The Kafka topic for grants and revocations
    #[arg(id = "kafka_topic", long = "kafka-topic", env = "KAFKA_TOPIC")]
    #[arg(value_name = "TOPIC", global = true, default_value = "coupon_create")]
    pub topic: String,

    /// How to connect to Kafka: with or without TLS, with or without a login
    #[arg(long = "kafka-security-protocol", env = "KAFKA_SECURITY_PROTOCOL")]
    #[arg(id = "kafka_security_protocol", value_name = "PROTOCOL", global = true)]
    #[arg(value_enum, ignore_case = true, default_value = "plaintext")]
    pub security_protocol: SecurityProtocol,

    /// SASL mechanism for the login at Kafka
    #[arg(long = "kafka-sasl-mechanism", env = "KAFKA_SASL_MECHANISM")]
    #[arg(id = "kafka_sasl_mechanism", value_name = "MECHANISM", global = true)]
    #[arg(value_parser = PossibleValuesParser::new(MECHANISMS).map(|name| name.to_uppercase()))]
    #[arg(ignore_case = true)]
    pub sasl_mechanism: Option<String>,

    /// User name for the login at Kafka
    #[arg(long = "kafka-sasl-username", env = "KAFKA_SASL_USERNAME")]
    #[arg(id = "kafka_sasl_username", value_name = "NAME", global = true)]
    pub sasl_username: Option<String>,

    /// Password for the login at Kafka
    #[arg(long = "kafka-sasl-password", env = "KAFKA_SASL_PASSWORD")]
    #[arg(id = "kafka_sasl_password", value_name = "PASSWORD", global = true)]
    #[arg(hide_env_values = true)]
    pub sasl_password: Option<SecretString>,

    /// File with the password for the login at Kafka
    #[arg(id = "kafka_sasl_password_file", long = "kafka-sasl-password-file")]
    #[arg(env = "KAFKA_SASL_PASSWORD_FILE", value_name = "FILE", global = true)]
    pub sasl_password_file: Option<PathBuf>,

    #[command(flatten)]
    pub tls: KafkaTlsSettings,

    #[command(flatten)]
    pub signing: SigningSettings,
}

/// The consumer group, for programs that read the topic.
#[derive(Args, Clone, Debug)]
pub struct ConsumerGroup {
    /// Kafka consumer group of the consumers
    #[arg(id = "kafka_group", long = "kafka-group", env = "KAFKA_GROUP")]
    #[arg(
        value_name = "GROUP",
        global = true,
        default_value = "rushgate-consumer"
    )]
    pub name: String,
}

impl KafkaSettings {
    /// librdkafka's settings for the connection, with this `client.id`.
    ///
    /// # Errors
    /// When a setting is missing, or two settings do not fit together.
    pub fn client(&self, client_id: &str) -> Result<ClientConfig, BadSetting> {
        BadSetting::unless_set("KAFKA_BROKERS", &self.brokers)?;
        BadSetting::unless_set("KAFKA_TOPIC", &self.topic)?;
        self.signing.keys()?;
        let password = self.password()?;
        let mut client = ClientConfig::new();
        client
            .set("client.id", client_id)
            .set("bootstrap.servers", &self.brokers)
            .set("security.protocol", self.security_protocol.as_str())
            // `rushgate setup` creates the topic. A producer that asks for a missing topic would otherwise
            // create it with the brokers' default number of partitions.
            .set("allow.auto.create.topics", "false")
            // How soon a login or a certificate that was refused is tried again; by default after up to 10 s.
            .set("reconnect.backoff.max.ms", "2000")
            // The client's context decides which lines are logged. [`LastKafkaError`] needs the lines about
            // lost connections.
            .set_log_level(RDKafkaLogLevel::Info);
        let optional = [
            ("sasl.mechanism", self.sasl_mechanism.as_deref()),
            ("sasl.username", self.sasl_username.as_deref()),
            (
                "sasl.password",
                password.as_ref().map(SecretString::expose_secret),
            ),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                client.set(name, value);
            }
        }
        self.tls.set(&mut client, self.security_protocol)?;
        Ok(client)
    }

    /// The password for the login.
    ///
    /// # Errors
    /// When a setting for the login is missing, or one is set that is not used.
    fn password(&self) -> Result<Option<SecretString>, BadSetting> {
        const PASSWORD: &str = "KAFKA_SASL_PASSWORD";
        let password = Secret {
            variable: PASSWORD,
            value: self.sasl_password.as_ref(),
            file_variable: "KAFKA_SASL_PASSWORD_FILE",
            file: self.sasl_password_file.as_deref(),
        };
        let (variable, password) = password.read()?.unzip();
        let sasl = self.security_protocol.logs_in();
        for (variable, is_set) in [
            ("KAFKA_SASL_MECHANISM", self.sasl_mechanism.is_some()),
            ("KAFKA_SASL_USERNAME", self.sasl_username.is_some()),
            (variable.unwrap_or(PASSWORD), password.is_some()),
        ] {
            if sasl && !is_set {
                let problem = "is not set, but KAFKA_SECURITY_PROTOCOL=sasl_ssl and sasl_plaintext need it: set it";
                return Err(BadSetting::new(variable, problem));
            }
            if is_set && !sasl {
                let problem = "is set, but only KAFKA_SECURITY_PROTOCOL=sasl_ssl and sasl_plaintext use it: set one of these, or remove it";
                return Err(BadSetting::new(variable, problem));
            }
        }
        Ok(password)
    }
}

impl ConsumerGroup {
    /// The group's name, librdkafka's `group.id`.
    ///
    /// # Errors
    /// When the name is blank.
    pub fn id(&self) -> Result<&str, BadSetting> {
        BadSetting::unless_set("KAFKA_GROUP", &self.name)?;
        Ok(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        kafka: KafkaSettings,
        #[command(flatten)]
        group: ConsumerGroup,
    }

    fn program(more: &[&str]) -> Result<Program, String> {
        let mut arguments = vec!["program"];
        if !more.contains(&"--kafka-brokers") {
            arguments.extend(["--kafka-brokers", "host:9092"]);
        }
        let parsed = Program::try_parse_from(arguments.iter().chain(more));
        parsed.map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_are_those_of_the_readme() {
        let program = program(&[]).expect("enough");
        assert_eq!(program.kafka.topic, "coupon_create");
        assert_eq!(program.group.id(), Ok("rushgate-consumer"));
        let client = program.kafka.client("me").expect("fine");
        for (name, value) in [
            ("client.id", Some("me")),
            ("bootstrap.servers", Some("host:9092")),
            ("security.protocol", Some("plaintext")),
            ("allow.auto.create.topics", Some("false")),
            ("sasl.mechanism", None),
        ] {
            assert_eq!(client.get(name), value, "{name}");
        }
    }

    #[test]
    fn the_client_logs_in_and_secrets_are_not_shown() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "hush\n").expect("written");
        let file = file.path().to_str().expect("a path");
        for password in [
            ["--kafka-sasl-password", "hush"],
            ["--kafka-sasl-password-file", file],
        ] {
            let login = [
                "--kafka-security-protocol",
                "SASL_SSL",
                "--kafka-sasl-mechanism",
                "scram-sha-512",
                "--kafka-sasl-username",
                "me",
            ];
            let program = program(&[&login[..], &password].concat()).expect("fine");
            assert!(!format!("{program:?} {program:#?}").contains("hush"));
            let client = program.kafka.client("me").expect("fine");
            for (name, value) in [
                ("security.protocol", "sasl_ssl"),
                ("sasl.mechanism", "SCRAM-SHA-512"),
                ("sasl.username", "me"),
                ("sasl.password", "hush"),
                ("ssl.endpoint.identification.algorithm", "https"),
            ] {
                assert_eq!(client.get(name), Some(value), "{name}");
            }
        }
    }

    #[test]
    fn settings_that_do_not_fit_each_other_are_refused() {
        for (more, expected) in [
            (&["--kafka-brokers", " "][..], "KAFKA_BROKERS: is not set"),
            (&["--kafka-topic", " "], "KAFKA_TOPIC: is not set"),
            (
                &["--kafka-security-protocol", "sasl_ssl"],
                "KAFKA_SASL_MECHANISM: is not set, but",
            ),
            (
                &["--kafka-sasl-username", "me"],
                "KAFKA_SASL_USERNAME: is set, but only",
            ),
            (
                &["--kafka-sasl-password-file", "/dev/null"],
                "KAFKA_SASL_PASSWORD_FILE: /dev/null is empty",
            ),
            (&["--kafka-ssl-ca", "/x"], "KAFKA_SSL_CA: is set, but only"),
        ] {
            let kafka = program(more).expect("parses").kafka;
            let error = kafka.client("me").expect_err(expected).to_string();
            assert!(error.starts_with(expected), "{more:?}: {error}");
        }
        let group = program(&["--kafka-group", " "]).expect("parses").group;
        let error = group.id().expect_err("blank").to_string();
        assert!(error.starts_with("KAFKA_GROUP: is not set"), "{error}");
        for more in [
            ["--kafka-sasl-mechanism", "GUESS"],
            ["--kafka-security-protocol", "telnet"],
        ] {
            let error = program(&more).expect_err(more[0]);
            assert!(error.contains("possible values"), "{more:?}: {error}");
        }
    }
}
