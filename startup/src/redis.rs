//! Reads and checks the address of Redis.

use crate::BadSetting;
use crate::parse::is_blank;
use clap::Args;
use redis::io::tcp::TcpSettings;
use redis::{Client, IntoConnectionInfo};
use secrecy::{ExposeSecret, SecretString};

const VARIABLE: &str = "REDIS_URL";

#[derive(Args, Clone, Debug)]
pub struct RedisSettings {
    /// Address of Redis: redis://host:port, redis://user:password@host:port/database, or rediss:// for TLS
    #[arg(id = "redis_url", long = "redis-url", env = VARIABLE, value_name = "URL")]
    #[arg(hide_env_values = true, global = true)]
    #[arg(default_value = "", hide_default_value = true)]
    pub url: SecretString,
}

impl RedisSettings {
    /// A client for this address. It does not connect yet. Its `addr` shows only host and port.
    ///
    /// # Errors
    /// When the address is missing or invalid. The error does not quote it.
    pub fn client(&self) -> Result<Client, BadSetting> {
        let bad = |problem: &str| {
            BadSetting::new(
                VARIABLE,
                format!(
                    "{problem}: write redis://host:port, redis://user:password@host:port/database, or rediss:// for \
                     TLS"
                ),
            )
        };
        let url = self.url.expose_secret();
        if is_blank(url) {
            return Err(bad("is not set"));
        }
        // Without Nagle's algorithm: the end of a long pipeline must not wait for the acknowledgement of its
        // beginning.
        let undelayed = TcpSettings::default().set_nodelay(true);
        let address = url.into_connection_info();
        let client = address.and_then(|it| Client::open(it.set_tcp_settings(undelayed)));
        // The client's own message is left out, because it may contain parts of a password.
        client.map_err(|_| bad("is not the address of a Redis"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(url: &str) -> Result<Client, String> {
        let settings = RedisSettings { url: url.into() };
        settings.client().map_err(|error| error.to_string())
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
}
