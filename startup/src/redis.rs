//! Reads and checks how to reach Redis: its address, with user and password, and TLS.

use crate::BadSetting;
use crate::pem::{certificates, key_of};
use crate::secret::Secret;
use clap::Args;
use redis::io::tcp::TcpSettings;
use redis::{Client, ClientTlsConfig, ConnectionAddr, IntoConnectionInfo, TlsCertificates};
use secrecy::{ExposeSecret, SecretString};
use std::path::PathBuf;

const VARIABLE: &str = "REDIS_URL";

#[derive(Args, Clone, Debug)]
pub struct RedisSettings {
    /// Address of Redis: redis://host:port, redis://user:password@host:port/database, or rediss:// for TLS
    #[arg(id = "redis_url", long = "redis-url", env = VARIABLE, value_name = "URL")]
    #[arg(hide_env_values = true, global = true)]
    #[arg(default_value = "", hide_default_value = true)]
    pub url: SecretString,

    /// File with the address of Redis
    #[arg(id = "redis_url_file", long = "redis-url-file", env = "REDIS_URL_FILE")]
    #[arg(value_name = "FILE", global = true)]
    pub url_file: Option<PathBuf>,

    /// File with the certificates (PEM) of the authorities that signed Redis's certificate [default: those of the
    /// system]
    #[arg(id = "redis_ssl_ca", long = "redis-ssl-ca", env = "REDIS_SSL_CA")]
    #[arg(value_name = "FILE", global = true)]
    pub ssl_ca: Option<PathBuf>,

    /// File with this program's certificate (PEM), for a Redis that requires one
    #[arg(id = "redis_ssl_certificate", long = "redis-ssl-certificate")]
    #[arg(env = "REDIS_SSL_CERTIFICATE", value_name = "FILE", global = true)]
    pub ssl_certificate: Option<PathBuf>,

    /// File with the key of this certificate (PEM, PKCS#8, unencrypted)
    #[arg(id = "redis_ssl_key", long = "redis-ssl-key", env = "REDIS_SSL_KEY")]
    #[arg(value_name = "FILE", global = true)]
    pub ssl_key: Option<PathBuf>,
}

impl RedisSettings {
    /// Redis on this machine: the operator's default. It counts as unset if there is a file with the address.
    pub const LOCAL: &str = "redis://127.0.0.1:6379";

    /// A client for this address. It does not connect yet. Its `addr` shows only host and port.
    ///
    /// # Errors
    /// When the address is missing or invalid, or does not fit the other settings. The error does not quote it.
    pub fn client(&self) -> Result<Client, BadSetting> {
        let bad = |variable, problem: &str| {
            BadSetting::new(
                variable,
                format!(
                    "{problem}: write redis://host:port, redis://user:password@host:port/database, or rediss:// for \
                     TLS"
                ),
            )
        };
        let is_default = self.url_file.is_some() && self.url.expose_secret() == Self::LOCAL;
        let address = Secret {
            variable: VARIABLE,
            value: Some(&self.url).filter(|_| !is_default),
            file_variable: "REDIS_URL_FILE",
            file: self.url_file.as_deref(),
        };
        let (variable, url) = address.read()?.ok_or_else(|| bad(VARIABLE, "is not set"))?;
        // The client's own message is left out, because it may contain parts of a password.
        let not_an_address = |_| bad(variable, "is not the address of a Redis");
        let info = url.expose_secret().into_connection_info();
        // Without Nagle's algorithm: the end of a long pipeline must not wait for the acknowledgement of its
        // beginning.
        let undelayed = TcpSettings::default().set_nodelay(true);
        let info = info.map_err(not_an_address)?.set_tcp_settings(undelayed);
        // Without CLIENT SETINFO, for which the users of deploy/rights have no right.
        let settings = info.redis_settings().clone().set_skip_set_lib_name();
        let info = info.set_redis_settings(settings);
        let is_verified = matches!(
            info.addr(),
            ConnectionAddr::TcpTls {
                insecure: false,
                ..
            }
        );
        let client = match self.certificates(is_verified)? {
            Some(certificates) => Client::build_with_tls(info, certificates),
            None => Client::open(info),
        };
        client.map_err(not_an_address)
    }

    /// The certificates, if any are set.
    fn certificates(&self, is_verified: bool) -> Result<Option<TlsCertificates>, BadSetting> {
        const CA: &str = "REDIS_SSL_CA";
        const CERTIFICATE: &str = "REDIS_SSL_CERTIFICATE";
        const KEY: &str = "REDIS_SSL_KEY";
        let files = [
            (CA, &self.ssl_ca),
            (CERTIFICATE, &self.ssl_certificate),
            (KEY, &self.ssl_key),
        ];
        let mut set = files.iter().filter(|(_, file)| file.is_some());
        let Some((first, _)) = set.next() else {
            return Ok(None);
        };
        if !is_verified {
            let problem = "is set, but only an address that begins with rediss:// and does not end with #insecure uses it: \
                           change REDIS_URL, or remove it";
            return Err(BadSetting::new(first, problem));
        }
        let named = |variable| move |problem| BadSetting::new(variable, problem);
        let root_cert = self.ssl_ca.as_deref().map(certificates);
        let client_tls = match (&self.ssl_certificate, &self.ssl_key) {
            (Some(certificate), Some(key)) => {
                let client_cert = certificates(certificate).map_err(named(CERTIFICATE))?;
                let client_key = key_of(&client_cert, key).map_err(named(KEY))?;
                Some(ClientTlsConfig {
                    client_cert,
                    client_key,
                })
            }
            (None, None) => None,
            (Some(_), None) => return Err(BadSetting::without(CERTIFICATE, KEY)),
            (None, Some(_)) => return Err(BadSetting::without(KEY, CERTIFICATE)),
        };
        Ok(Some(TlsCertificates {
            client_tls,
            root_cert: root_cert.transpose().map_err(named(CA))?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pem::tests::files;
    use std::path::Path;

    fn client(url: &str) -> Result<Client, String> {
        settings(url, &[])
            .client()
            .map_err(|error| error.to_string())
    }

    fn settings(url: &str, files: &[(&str, &Path)]) -> RedisSettings {
        let file = |name: &str| {
            let mut named = files.iter().filter(|(variable, _)| *variable == name);
            named.next().map(|(_, file)| file.to_path_buf())
        };
        RedisSettings {
            url: url.into(),
            url_file: file("URL_FILE"),
            ssl_ca: file("CA"),
            ssl_certificate: file("CERTIFICATE"),
            ssl_key: file("KEY"),
        }
    }

    #[test]
    fn a_bad_address_is_explained_and_not_quoted() {
        for url in ["hush", "http://:hush@host", "redis://:hush@host:port"] {
            let error = client(url).expect_err(url);
            assert!(
                error.starts_with("REDIS_URL: is not the address of a Redis: write redis://"),
                "{url}: {error}"
            );
            assert!(!error.contains("hush"), "{url}: {error}");
        }
        let error = client(" ").expect_err("nothing");
        assert!(
            error.starts_with("REDIS_URL: is not set: write redis://"),
            "{error}"
        );
    }

    #[test]
    fn the_client_shows_host_and_port_alone() {
        let client = client("redis://anna:hush@host:6380/2").expect("an address");
        let shown = client.get_connection_info().addr().to_string();
        assert_eq!(shown, "host:6380");
    }

    #[test]
    fn the_address_may_be_in_a_file() {
        let files = files();
        let file = files.path().join("address");
        std::fs::write(&file, "rediss://anna:hush@host:6380\n").expect("written");
        for url in ["", RedisSettings::LOCAL] {
            let client = settings(url, &[("URL_FILE", &file)]).client().expect(url);
            assert_eq!(client.get_connection_info().addr().to_string(), "host:6380");
        }
        for (url, name, expected) in [
            (
                "redis://host",
                "address",
                "REDIS_URL_FILE: is set together with REDIS_URL",
            ),
            (
                "",
                "text.pem",
                "REDIS_URL_FILE: is not the address of a Redis",
            ),
        ] {
            let settings = settings(url, &[("URL_FILE", &files.path().join(name))]);
            let error = settings.client().expect_err(expected).to_string();
            assert!(
                error.starts_with(expected) && !error.contains("hush"),
                "{error}"
            );
        }
    }

    #[test]
    fn certificates_are_used_with_tls_and_refused_otherwise() {
        let files = files();
        let file = |name: &str| files.path().join(name);
        let (certificate, key) = (file("certificate.pem"), file("key.pem"));
        let (gone, text) = (file("gone.pem"), file("text.pem"));
        let all = [
            ("CA", &*certificate),
            ("CERTIFICATE", &*certificate),
            ("KEY", &*key),
        ];
        for used in [&all[..], &all[..1], &all[1..]] {
            let client = settings("rediss://host", used).client().expect("usable");
            let info = client.get_connection_info();
            let ConnectionAddr::TcpTls { tls_params, .. } = info.addr() else {
                panic!("{:?}", info.addr());
            };
            let shown = format!("{tls_params:?}");
            let is_in_use = |text: &str| shown.contains(text);
            assert_eq!(is_in_use("root_certs: 1"), used[0].0 == "CA", "{shown}");
            assert_eq!(
                is_in_use("identity: \"not set\""),
                used.len() == 1,
                "{shown}"
            );
        }
        for (url, files, expected) in [
            (
                "redis://host",
                &all[..],
                "REDIS_SSL_CA: is set, but only an address",
            ),
            (
                "rediss://host/#insecure",
                &all,
                "REDIS_SSL_CA: is set, but only",
            ),
            (
                "redis://host",
                &all[2..],
                "REDIS_SSL_KEY: is set, but only an address",
            ),
            (
                "rediss://host",
                &all[1..2],
                "REDIS_SSL_CERTIFICATE: is set without REDIS_SSL_KEY",
            ),
            (
                "rediss://host",
                &all[2..],
                "REDIS_SSL_KEY: is set without REDIS_SSL_CERTIFICATE",
            ),
            ("rediss://host", &[("CA", &*gone)], "REDIS_SSL_CA: reading "),
            (
                "rediss://host",
                &[("CERTIFICATE", &*text), ("KEY", &*key)],
                "REDIS_SSL_CERTIFICATE: ",
            ),
            (
                "rediss://host",
                &[("CERTIFICATE", &*certificate), ("KEY", &*text)],
                "REDIS_SSL_KEY: ",
            ),
        ] {
            let error = settings(url, files)
                .client()
                .expect_err(expected)
                .to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
