//! The command line: options of `spin up`, with the same names and defaults.

use crate::instances::Reuse;
use clap::Parser;
use std::net::{SocketAddr, ToSocketAddrs};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

/// Run the component that spin.toml names: a stand-in for `spin up`
// Without Debug, since values of variables may be secrets.
#[derive(Parser)]
#[command(name = "wasm-host", version)]
pub struct Options {
    /// The manifest, or its directory
    #[arg(
        short = 'f',
        long = "from",
        value_name = "PATH",
        default_value = "spin.toml"
    )]
    from: PathBuf,

    /// The address to listen on; port 0 chooses a free port
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "SPIN_HTTP_LISTEN_ADDR",
        default_value = "127.0.0.1:3000",
        value_parser = parse_address
    )]
    listen: SocketAddr,

    /// A value for a variable of the application; takes precedence over `SPIN_VARIABLE_<NAME>` and the default;
    /// repeatable
    #[arg(long = "variable", value_name = "KEY=VALUE", value_parser = parse_variable)]
    variables: Vec<(String, String)>,

    /// Requests that an instance serves before it is dropped
    #[arg(long, value_name = "COUNT", default_value = "128")]
    max_instance_reuse_count: NonZeroUsize,

    /// Concurrent requests in an instance
    #[arg(long, value_name = "COUNT", default_value = "16")]
    max_instance_concurrent_reuse_count: NonZeroUsize,

    /// Time limit of a request: seconds, or with a unit (s, ms, us, ns); default: none
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    request_timeout: Option<Duration>,

    /// How long an idle instance is kept: seconds, or with a unit (s, ms, us, ns)
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_duration)]
    idle_instance_timeout: Duration,
}

impl Options {
    pub(crate) fn manifest(&self) -> PathBuf {
        if self.from.is_dir() {
            self.from.join("spin.toml")
        } else {
            self.from.clone()
        }
    }

    pub(crate) fn listen(&self) -> SocketAddr {
        self.listen
    }

    pub(crate) fn variables(&self) -> &[(String, String)] {
        &self.variables
    }

    pub(crate) fn reuse(&self) -> Reuse {
        Reuse {
            requests: self.max_instance_reuse_count.get(),
            concurrent_requests: self.max_instance_concurrent_reuse_count.get(),
            idle_timeout: self.idle_instance_timeout,
            request_timeout: self.request_timeout,
        }
    }
}

fn parse_address(text: &str) -> Result<SocketAddr, String> {
    let addresses: Vec<_> = text
        .to_socket_addrs()
        .map_err(|error| error.to_string())?
        .collect();
    // A host name such as localhost: IPv4 first, as in Spin.
    let address = addresses
        .iter()
        .find(|address| address.is_ipv4())
        .or(addresses.first());
    address
        .copied()
        .ok_or_else(|| "the name has no address".to_owned())
}

fn parse_variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        _ if text.starts_with('@') => Err("values from files are not supported".to_owned()),
        Some((_, value)) if value.starts_with('@') => {
            Err("values from files are not supported".to_owned())
        }
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err("it does not have the form key=value".to_owned()),
    }
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number = number
        .parse()
        .map_err(|_| "it must begin with a whole number".to_owned())?;
    match unit {
        "" | "s" => Ok(Duration::from_secs(number)),
        "ms" => Ok(Duration::from_millis(number)),
        "us" | "μs" => Ok(Duration::from_micros(number)),
        "ns" => Ok(Duration::from_nanos(number)),
        _ => Err("the unit must be s, ms, us or ns".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_spin_s() {
        let options = Options::parse_from(["wasm-host", "--listen", "127.0.0.1:0"]);
        let reuse = options.reuse();
        assert_eq!(options.manifest(), PathBuf::from("spin.toml"));
        assert_eq!((reuse.requests, reuse.concurrent_requests), (128, 16));
        assert_eq!(
            (reuse.idle_timeout, reuse.request_timeout),
            (Duration::from_secs(1), None)
        );
    }

    #[test]
    fn a_directory_is_looked_into() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_str().unwrap();
        let options = Options::parse_from(["wasm-host", "-f", path, "--listen", "127.0.0.1:0"]);
        assert_eq!(options.manifest(), directory.path().join("spin.toml"));
    }

    #[test]
    fn addresses_may_be_names() {
        assert_eq!(
            parse_address("localhost:3000"),
            Ok(([127, 0, 0, 1], 3000).into())
        );
        assert_eq!(parse_address("[::1]:0").unwrap().to_string(), "[::1]:0");
        assert!(parse_address("3000").is_err());
    }

    #[test]
    fn variables_are_keys_and_values() {
        let pair = |name: &str, value: &str| Ok((name.to_owned(), value.to_owned()));
        assert_eq!(parse_variable("a=b=c"), pair("a", "b=c"));
        assert_eq!(parse_variable("a="), pair("a", ""));
        for text in ["a", "a=@file", "@file.json", ""] {
            assert!(parse_variable(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_may_have_units() {
        for (text, nanoseconds) in [
            ("2", 2_000_000_000),
            ("2s", 2_000_000_000),
            ("3ms", 3_000_000),
            ("4us", 4_000),
            ("5ns", 5),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_nanos(nanoseconds)),
                "{text}"
            );
        }
        for text in ["", "s", "1m", "1.5s", "-1s", "99999999999999999999"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
