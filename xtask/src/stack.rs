//! The addresses and ports of a stack. They are chosen once and stored in `stack.env`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Context, Result};
use rushgate_testbed::{port, secret};

use crate::env_file;

/// The services that store data; the others stop before them.
pub(crate) const SERVERS: [&str; 3] = ["redis", "kafka", "database"];

/// The campaign that is open as soon as the system runs.
pub(crate) const CAMPAIGN: &str = "welcome";
/// Its number of coupons.
pub(crate) const QUOTA: &str = "100";

/// The arguments of the `rushgate` command that creates this campaign, unless it exists. A bridge with numeric record
/// values (`KAFKA_VALUE_FORMAT=long`) supports only numeric user ids.
pub(crate) fn first_campaign(value_format: Option<&str>) -> [&'static str; 9] {
    let user_ids = match value_format {
        Some("long") => "numeric",
        _ => "any",
    };
    [
        "campaign",
        "create",
        "--id",
        CAMPAIGN,
        "--quota",
        QUOTA,
        "--user-ids",
        user_ids,
        "--if-missing",
    ]
}

/// The topic that carries grants.
pub(crate) const TOPIC: &str = "coupon_create";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Runner {
    /// Local processes.
    Native,
    Docker,
}

impl Runner {
    /// Where it runs, as part of a sentence.
    pub(crate) fn adverb(self) -> &'static str {
        match self {
            Self::Native => "natively",
            Self::Docker => "in containers",
        }
    }
}

/// One stack. Servers listen on 127.0.0.1; only the handlers' addresses can be chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stack {
    pub(crate) runner: Runner,
    pub(crate) redis: u16,
    pub(crate) kafka: u16,
    /// Kafka's controller, which clients do not use; 0 under Docker.
    pub(crate) controller: u16,
    pub(crate) database: u16,
    pub(crate) password: String,
    pub(crate) handlers: Vec<SocketAddr>,
    /// Metrics port of each bridge.
    pub(crate) bridges: Vec<u16>,
    /// Metrics port of each consumer.
    pub(crate) consumers: Vec<u16>,
}

impl Stack {
    /// A native stack of servers only.
    pub(crate) fn servers() -> Result<Self> {
        Ok(Self {
            runner: Runner::Native,
            redis: port::for_stack()?,
            kafka: port::for_stack()?,
            controller: port::for_stack()?,
            database: port::for_stack()?,
            password: secret::password()?,
            handlers: Vec::new(),
            bridges: Vec::new(),
            consumers: Vec::new(),
        })
    }

    pub(crate) fn redis_url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.redis)
    }

    pub(crate) fn kafka_brokers(&self) -> String {
        format!("127.0.0.1:{}", self.kafka)
    }

    pub(crate) fn database_url(&self) -> String {
        format!(
            "mysql://rushgate:{}@127.0.0.1:{}/rushgate",
            self.password, self.database
        )
    }

    /// The handlers' URLs, in order.
    pub(crate) fn urls(&self) -> Vec<String> {
        self.handlers
            .iter()
            .map(|listen| format!("http://{}", reachable(*listen)))
            .collect()
    }

    /// The names of all its services.
    pub(crate) fn services(&self) -> impl Iterator<Item = String> {
        let numbered = |kind: &'static str, count: usize| {
            (1..=count).map(move |number| format!("{kind}-{number}"))
        };
        SERVERS
            .into_iter()
            .map(str::to_owned)
            .chain(numbered("bridge", self.bridges.len()))
            .chain(numbered("consumer", self.consumers.len()))
            .chain(numbered("handler", self.handlers.len()))
    }

    /// Environment variables for the services and the tools.
    pub(crate) fn env(&self) -> Vec<(&'static str, String)> {
        let mut env = Vec::new();
        let urls = self.urls();
        if let Some(first) = urls.first() {
            env.push(("RUSHGATE_URL", first.clone()));
            env.push(("RUSHGATE_URLS", urls.join(",")));
        }
        env.push(("REDIS_URL", self.redis_url()));
        env.push(("KAFKA_BROKERS", self.kafka_brokers()));
        env.push(("KAFKA_TOPIC", TOPIC.to_owned()));
        env.push(("DATABASE_URL", self.database_url()));
        env
    }

    /// The text of `stack.env`.
    pub(crate) fn render(&self) -> String {
        let list = |ports: &[u16]| {
            ports
                .iter()
                .map(u16::to_string)
                .collect::<Vec<_>>()
                .join(",")
        };
        let listen: Vec<String> = self.handlers.iter().map(SocketAddr::to_string).collect();
        let runner = match self.runner {
            Runner::Native => "native",
            Runner::Docker => "docker",
        };
        format!(
            "# Written by `cargo xtask up`. In a shell: set -a; . .rushgate/stack.env; set +a\n{}\n\
             # For xtask itself.\n{}",
            env_file::render(self.env()),
            env_file::render([
                ("XTASK_RUNNER", runner.to_owned()),
                (
                    "XTASK_PORTS",
                    list(&[self.redis, self.kafka, self.controller, self.database])
                ),
                ("XTASK_PASSWORD", self.password.clone()),
                ("XTASK_HANDLERS", listen.join(",")),
                ("XTASK_BRIDGES", list(&self.bridges)),
                ("XTASK_CONSUMERS", list(&self.consumers)),
            ])
        )
    }

    /// Parses the output of [`Stack::render`].
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let values = env_file::parse(text);
        let [redis, kafka, controller, database] = list(&values, "XTASK_PORTS")?
            .try_into()
            .ok()
            .context("XTASK_PORTS must have four ports")?;
        Ok(Self {
            runner: match value(&values, "XTASK_RUNNER")? {
                "docker" => Runner::Docker,
                _ => Runner::Native,
            },
            redis,
            kafka,
            controller,
            database,
            password: value(&values, "XTASK_PASSWORD")?.to_owned(),
            handlers: list(&values, "XTASK_HANDLERS")?,
            bridges: list(&values, "XTASK_BRIDGES")?,
            consumers: list(&values, "XTASK_CONSUMERS")?,
        })
    }
}

/// The address at which a local client reaches this listener.
pub(crate) fn reachable(listen: SocketAddr) -> SocketAddr {
    if listen.ip().is_unspecified() {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), listen.port())
    } else {
        listen
    }
}

fn value<'a>(values: &'a BTreeMap<String, String>, key: &str) -> Result<&'a str> {
    values.get(key).map(String::as_str).with_context(|| {
        format!("{key} is missing: `cargo xtask down`, then `cargo xtask up`, write it again")
    })
}

fn list<T>(values: &BTreeMap<String, String>, key: &str) -> Result<Vec<T>>
where
    T: std::str::FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    value(values, key)?
        .split(',')
        .filter(|item| !item.is_empty())
        .map(|item| {
            item.parse()
                .with_context(|| format!("{key} contains {item:?}"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack() -> Stack {
        Stack {
            runner: Runner::Native,
            redis: 20001,
            kafka: 20002,
            controller: 20003,
            database: 20004,
            password: "secret".into(),
            handlers: vec![
                "0.0.0.0:3000".parse().unwrap(),
                "127.0.0.1:20005".parse().unwrap(),
            ],
            bridges: vec![20006, 20007],
            consumers: vec![20008],
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        assert_eq!(Stack::parse(&stack().render()).unwrap(), stack());
        let servers = Stack::servers().unwrap();
        assert_eq!(Stack::parse(&servers.render()).unwrap(), servers);
    }

    #[test]
    fn the_environment_is_what_clients_need() {
        let env: BTreeMap<_, _> = stack().env().into_iter().collect();
        assert_eq!(env["RUSHGATE_URL"], "http://127.0.0.1:3000");
        assert_eq!(
            env["RUSHGATE_URLS"],
            "http://127.0.0.1:3000,http://127.0.0.1:20005"
        );
        assert_eq!(
            env["DATABASE_URL"],
            "mysql://rushgate:secret@127.0.0.1:20004/rushgate"
        );
    }

    #[test]
    fn a_damaged_file_names_what_is_missing() {
        let error = Stack::parse("REDIS_URL=redis://127.0.0.1:1\n").unwrap_err();
        assert!(error.to_string().contains("XTASK_PORTS"), "{error}");
    }
}
