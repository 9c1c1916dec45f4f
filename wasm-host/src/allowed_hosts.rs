//! Decides which hosts a component may call: those of `allowed_outbound_hosts` in `spin.toml`.
//!
//! An entry is `scheme://host[:port]`; without a port it means the default port of the scheme. Spin also takes
//! wildcards, address blocks and ranges of ports; here, a manifest with one of these does not start.

use crate::variables::Variables;
use anyhow::{Context, Result, ensure};
use std::net::IpAddr;
use url::Host;

/// The hosts that a component may call.
#[derive(Debug, Default)]
pub(crate) struct AllowedHosts(Vec<AllowedHost>);

#[derive(Debug)]
struct AllowedHost {
    scheme: String,
    host: Host,
    port: u16,
}

impl AllowedHosts {
    /// Fills the templates of a manifest and parses the results.
    ///
    /// # Errors
    /// When an entry breaks the rules. The error shows the template, not its value, which may contain a secret.
    pub(crate) fn resolve(templates: &[String], variables: &Variables) -> Result<Self> {
        let mut hosts = Vec::new();
        for template in templates {
            let entry = variables.fill(template).context("allowed_outbound_hosts")?;
            // Spin skips an optional host whose variable is empty.
            if entry != *template && ["", "http://", "https://"].contains(&entry.as_str()) {
                continue;
            }
            let host = AllowedHost::parse(&entry)
                .with_context(|| format!("allowed_outbound_hosts: `{template}` is not valid"))?;
            hosts.push(host);
        }
        Ok(Self(hosts))
    }

    /// Whether a component may call this host.
    pub(crate) fn allow(&self, scheme: &str, host: &str, port: u16) -> bool {
        // An IPv6 address has no brackets here.
        let host = match host.parse::<IpAddr>() {
            Ok(IpAddr::V4(address)) => Host::Ipv4(address),
            Ok(IpAddr::V6(address)) => Host::Ipv6(address),
            Err(_) => match Host::parse(host) {
                Ok(host) => host,
                Err(_) => return false,
            },
        };
        self.0
            .iter()
            .any(|allowed| allowed.scheme == scheme && allowed.host == host && allowed.port == port)
    }
}

impl AllowedHost {
    fn parse(entry: &str) -> Result<Self> {
        let (scheme, rest) = entry
            .trim()
            .split_once("://")
            .context("it does not have the form scheme://host[:port]")?;
        ensure!(
            scheme.chars().all(char::is_alphabetic),
            "a scheme may only have letters"
        );
        ensure!(!rest.contains('*'), "a `*` is not supported");
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        // The last colon may be part of an address.
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port),
            _ => (rest, ""),
        };
        let port = match port {
            "" => {
                usual_port(scheme).context("a port is missing: the scheme has no default port")?
            }
            port => port
                .parse()
                .context("a port must be a number up to 65535")?,
        };
        Ok(Self {
            scheme: scheme.to_owned(),
            // A colon or an @ here is part of a user name, a password or a second port.
            host: Host::parse(host).context("only a host may come between scheme and port")?,
            port,
        })
    }
}

fn usual_port(scheme: &str) -> Option<u16> {
    Some(match scheme {
        "http" => 80,
        "https" => 443,
        "mqtt" => 1883,
        "mysql" => 3306,
        "postgres" => 5432,
        "redis" => 6379,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn allow(entry: &str, (scheme, host, port): (&str, &str, u16)) -> bool {
        let allowed =
            AllowedHost::parse(entry).unwrap_or_else(|error| panic!("{entry}: {error:#}"));
        AllowedHosts(vec![allowed]).allow(scheme, host, port)
    }

    #[test]
    fn listed_hosts_are_allowed() {
        for (entry, host) in [
            ("redis://127.0.0.1:6390", ("redis", "127.0.0.1", 6390)),
            ("redis://127.0.0.1:6390/", ("redis", "127.0.0.1", 6390)),
            (" redis://localhost ", ("redis", "localhost", 6379)),
            ("redis://localhost:", ("redis", "localhost", 6379)),
            ("redis://LocalHost", ("redis", "LOCALhost", 6379)),
            ("redis://[::1]", ("redis", "::1", 6379)),
            ("redis://[::1]:7000", ("redis", "::1", 7000)),
        ] {
            assert!(allow(entry, host), "{entry} must allow {host:?}");
        }
    }

    #[test]
    fn other_hosts_are_not() {
        for (entry, host) in [
            ("redis://127.0.0.1:6390", ("redis", "127.0.0.1", 6391)),
            ("redis://127.0.0.1:6390", ("rediss", "127.0.0.1", 6390)),
            ("redis://127.0.0.1:6390", ("redis", "127.0.0.2", 6390)),
            ("redis://127.0.0.1:6390", ("redis", "localhost", 6390)),
            ("redis://127.0.0.1:6390", ("redis", "not a host", 6390)),
            ("redis://cache", ("redis", "cache", 6380)),
        ] {
            assert!(!allow(entry, host), "{entry} must not allow {host:?}");
        }
        assert!(!AllowedHosts::default().allow("redis", "127.0.0.1", 6379));
    }

    #[test]
    fn entries_that_break_the_rules_are_refused() {
        for entry in [
            "",
            "*",
            "localhost",
            "localhost:6379",
            "re dis://localhost",
            "rediss://localhost",
            "redis://",
            "redis://localhost:port",
            "redis://localhost:65536",
            "redis://localhost:1..",
            "redis://localhost:1:2",
            "redis://localhost:6379/0",
            "redis://localhost/0",
            "redis://localhost//",
            "redis://:secret@localhost:6379",
            "redis://user@localhost",
            "redis://*",
            "*://cache:6379",
            "redis://*.example.com",
            "redis://cache:*",
            "redis://cache:6379..6384",
            "redis://10.0.0.0/8",
            "redis://2001:db8::/32",
            "redis://[::1",
            "redis://[::1]/0",
            "{{ redis_url }}",
        ] {
            assert!(
                AllowedHost::parse(entry).is_err(),
                "{entry} must be refused"
            );
        }
    }

    #[test]
    fn templates_are_filled_and_empty_ones_left_out() {
        let variables = |url: &str| {
            let given = BTreeMap::from([("url".to_owned(), url.to_owned())]);
            Variables::of(given)
        };
        let templates = ["{{ url }}".to_owned()];
        let filled = AllowedHosts::resolve(&templates, &variables("redis://cache:7000")).unwrap();
        assert!(filled.allow("redis", "cache", 7000));
        assert!(
            AllowedHosts::resolve(&templates, &variables(""))
                .unwrap()
                .0
                .is_empty()
        );
        assert!(AllowedHosts::resolve(&[String::new()], &variables("")).is_err());
    }

    #[test]
    fn an_error_shows_the_template_and_no_secret() {
        let variables = Variables::of(BTreeMap::from([(
            "url".to_owned(),
            "redis://:hunter2@cache:6379/3".to_owned(),
        )]));
        let error = AllowedHosts::resolve(&["{{ url }}".to_owned()], &variables).unwrap_err();
        let error = format!("{error:#}");
        assert!(error.contains("`{{ url }}` is not valid"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}
