//! Reads and checks how Kafka's brokers and this program prove their identities with TLS.

use crate::pem::{certificates, read};
use crate::secret::Secret;
use crate::{BadSetting, SecurityProtocol};
use clap::Args;
use rdkafka::ClientConfig;
use secrecy::{ExposeSecret, SecretString};
use std::path::{Path, PathBuf};

const CA: &str = "KAFKA_SSL_CA";
const CERTIFICATE: &str = "KAFKA_SSL_CERTIFICATE";
const KEY: &str = "KAFKA_SSL_KEY";
const PASSWORD: &str = "KAFKA_SSL_KEY_PASSWORD";
const PASSWORD_FILE: &str = "KAFKA_SSL_KEY_PASSWORD_FILE";

#[derive(Args, Clone, Debug)]
pub struct KafkaTlsSettings {
    /// File with the certificates (PEM) of the authorities that signed the brokers' certificates [default:
    /// those of the system]
    #[arg(long = "kafka-ssl-ca", env = "KAFKA_SSL_CA")]
    #[arg(id = "kafka_ssl_ca", value_name = "FILE", global = true)]
    pub ca: Option<PathBuf>,

    /// File with this program's certificate (PEM), for brokers that require one
    #[arg(long = "kafka-ssl-certificate", env = "KAFKA_SSL_CERTIFICATE")]
    #[arg(id = "kafka_ssl_certificate", value_name = "FILE", global = true)]
    pub certificate: Option<PathBuf>,

    /// File with the key of this certificate (PEM)
    #[arg(long = "kafka-ssl-key", env = "KAFKA_SSL_KEY")]
    #[arg(id = "kafka_ssl_key", value_name = "FILE", global = true)]
    pub key: Option<PathBuf>,

    /// Password of this key, if it is encrypted
    #[arg(long = "kafka-ssl-key-password", env = "KAFKA_SSL_KEY_PASSWORD")]
    #[arg(id = "kafka_ssl_key_password", value_name = "PASSWORD", global = true)]
    #[arg(hide_env_values = true)]
    pub key_password: Option<SecretString>,

    /// File with the password of this key
    #[arg(
        id = "kafka_ssl_key_password_file",
        long = "kafka-ssl-key-password-file"
    )]
    #[arg(
        env = "KAFKA_SSL_KEY_PASSWORD_FILE",
        value_name = "FILE",
        global = true
    )]
    pub key_password_file: Option<PathBuf>,
}

impl KafkaTlsSettings {
    /// Gives these settings to librdkafka.
    ///
    /// # Errors
    /// When settings do not fit together, or a file cannot be used.
    pub(crate) fn set(
        &self,
        client: &mut ClientConfig,
        protocol: SecurityProtocol,
    ) -> Result<(), BadSetting> {
        if !protocol.encrypts() {
            return self.unless_unset();
        }
        // librdkafka's default, but nothing else makes a certificate of another host worthless.
        client.set("ssl.endpoint.identification.algorithm", "https");
        let named = |variable| move |problem| BadSetting::new(variable, problem);
        if let Some(ca) = &self.ca {
            // librdkafka also reads a folder with one file for each authority.
            if !ca.is_dir() {
                certificates(ca).map_err(named(CA))?;
            }
            client.set("ssl.ca.location", text(ca));
        }
        match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => {
                certificates(certificate).map_err(named(CERTIFICATE))?;
                // librdkafka reads more forms of a key than native-tls, and checks it when a client is created.
                read(key).map_err(named(KEY))?;
                client.set("ssl.certificate.location", text(certificate));
                client.set("ssl.key.location", text(key));
            }
            (None, None) => {}
            (Some(_), None) => return Err(BadSetting::without(CERTIFICATE, KEY)),
            (None, Some(_)) => return Err(BadSetting::without(KEY, CERTIFICATE)),
        }
        let password = Secret {
            variable: PASSWORD,
            value: self.key_password.as_ref(),
            file_variable: PASSWORD_FILE,
            file: self.key_password_file.as_deref(),
        };
        if let Some((variable, password)) = password.read()? {
            if self.key.is_none() {
                return Err(BadSetting::without(variable, KEY));
            }
            client.set("ssl.key.password", password.expose_secret());
        }
        Ok(())
    }

    fn unless_unset(&self) -> Result<(), BadSetting> {
        for (variable, is_set) in [
            (CA, self.ca.is_some()),
            (CERTIFICATE, self.certificate.is_some()),
            (KEY, self.key.is_some()),
            (PASSWORD, self.key_password.is_some()),
            (PASSWORD_FILE, self.key_password_file.is_some()),
        ] {
            if is_set {
                let problem = "is set, but only KAFKA_SECURITY_PROTOCOL=ssl and sasl_ssl use it: set one of these, or remove it";
                return Err(BadSetting::new(variable, problem));
            }
        }
        Ok(())
    }
}

fn text(file: &Path) -> String {
    file.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pem::tests::files;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        tls: KafkaTlsSettings,
    }

    fn client(protocol: SecurityProtocol, more: &[(&str, &Path)]) -> Result<ClientConfig, String> {
        let flags = more
            .iter()
            .flat_map(|(flag, file)| [(*flag).to_owned(), text(file)]);
        let program = Program::try_parse_from(["program".to_owned()].into_iter().chain(flags));
        let program = program.expect("parses");
        assert!(!format!("{program:?} {program:#?}").contains("hush"));
        let mut client = ClientConfig::new();
        let set = program.tls.set(&mut client, protocol);
        set.map(|()| client).map_err(|error| error.to_string())
    }

    #[test]
    fn the_client_has_the_files_and_verifies_the_host() {
        let files = files();
        let file = |name: &str| files.path().join(name);
        // The key may have a form that native-tls does not read.
        let (certificate, key, hush) = (
            file("certificate.pem"),
            file("ec-key.pem"),
            file("text.pem"),
        );
        for (password, flag) in [
            (Path::new("hush"), "--kafka-ssl-key-password"),
            (&hush, "--kafka-ssl-key-password-file"),
        ] {
            let set = [
                ("--kafka-ssl-ca", &*certificate),
                ("--kafka-ssl-certificate", &certificate),
                ("--kafka-ssl-key", &key),
                (flag, password),
            ];
            let client = client(SecurityProtocol::SaslSsl, &set).expect("usable");
            for (name, value) in [
                ("ssl.ca.location", text(&certificate)),
                ("ssl.certificate.location", text(&certificate)),
                ("ssl.key.location", text(&key)),
                ("ssl.key.password", "hush".to_owned()),
                ("ssl.endpoint.identification.algorithm", "https".to_owned()),
            ] {
                assert_eq!(client.get(name), Some(&*value), "{name}");
            }
        }
        let folder = [("--kafka-ssl-ca", files.path())];
        client(SecurityProtocol::Ssl, &folder).expect("a folder of authorities");
        let plain = client(SecurityProtocol::Plaintext, &[]).expect("nothing set");
        assert!(plain.config_map().is_empty());
    }

    #[test]
    fn settings_that_do_not_fit_each_other_are_refused() {
        use SecurityProtocol::{Plaintext, SaslPlaintext, Ssl};
        let files = files();
        let file = |name: &str| files.path().join(name);
        let (certificate, key) = (file("certificate.pem"), file("key.pem"));
        let (gone, text) = (file("gone.pem"), file("text.pem"));
        let hush = Path::new("hush");
        for (protocol, more, expected) in [
            (
                Plaintext,
                &[("--kafka-ssl-ca", &*certificate)][..],
                "KAFKA_SSL_CA: is set, but only",
            ),
            (
                SaslPlaintext,
                &[("--kafka-ssl-key-password", hush)],
                "KAFKA_SSL_KEY_PASSWORD: is set, but only",
            ),
            (Ssl, &[("--kafka-ssl-ca", &*gone)], "KAFKA_SSL_CA: reading "),
            (Ssl, &[("--kafka-ssl-ca", &*text)], "KAFKA_SSL_CA: "),
            (
                Ssl,
                &[("--kafka-ssl-certificate", &*certificate)],
                "KAFKA_SSL_CERTIFICATE: is set without KAFKA_SSL_KEY",
            ),
            (
                Ssl,
                &[("--kafka-ssl-key", &*key)],
                "KAFKA_SSL_KEY: is set without KAFKA_SSL_CERTIFICATE",
            ),
            (
                Ssl,
                &[
                    ("--kafka-ssl-certificate", &*text),
                    ("--kafka-ssl-key", &*key),
                ],
                "KAFKA_SSL_CERTIFICATE: ",
            ),
            (
                Ssl,
                &[
                    ("--kafka-ssl-certificate", &*certificate),
                    ("--kafka-ssl-key", &*gone),
                ],
                "KAFKA_SSL_KEY: reading ",
            ),
            (
                Ssl,
                &[("--kafka-ssl-key-password", hush)],
                "KAFKA_SSL_KEY_PASSWORD: is set without KAFKA_SSL_KEY",
            ),
            (
                Ssl,
                &[
                    ("--kafka-ssl-key-password", hush),
                    ("--kafka-ssl-key-password-file", &*text),
                ],
                "KAFKA_SSL_KEY_PASSWORD_FILE: is set together with",
            ),
        ] {
            let error = client(protocol, more).expect_err(expected);
            assert!(
                error.starts_with(expected) && !error.contains("hush"),
                "{error}"
            );
        }
    }
}
