//! The addresses and ports of a stack. They are chosen once and stored in `stack.env`.

mod file;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::Result;
use rushgate_testbed::{port, secret};

/// The services that store data; the others stop before them.
pub(crate) const SERVERS: [&str; 3] = ["redis", "kafka", "database"];

/// The service in front of the handlers.
pub(crate) const EDGE: &str = "edge";

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

/// One stack. Everything listens on 127.0.0.1; only the address where applicants reach it can be chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stack {
    pub(crate) runner: Runner,
    pub(crate) redis: u16,
    pub(crate) kafka: u16,
    /// Kafka's controller, which clients do not use; 0 under Docker.
    pub(crate) controller: u16,
    pub(crate) database: u16,
    pub(crate) password: String,
    /// The edge in front of the handlers, if there is one. It has the address that the first handler has otherwise.
    pub(crate) edge: Option<SocketAddr>,
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
            edge: None,
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

    /// The URLs for applicants: that of the edge, or those of the handlers in order.
    pub(crate) fn urls(&self) -> Vec<String> {
        let listen = match &self.edge {
            Some(edge) => std::slice::from_ref(edge),
            None => &self.handlers,
        };
        listen
            .iter()
            .map(|listen| format!("http://{}", reachable(*listen)))
            .collect()
    }

    /// Where a service listens; for bridges and consumers, the address of their metrics.
    pub(crate) fn address(&self, service: &str) -> Option<SocketAddr> {
        let local = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let (kind, number) = service.rsplit_once('-').unwrap_or((service, "1"));
        let index = number.parse::<usize>().unwrap_or(1).saturating_sub(1);
        match kind {
            "redis" => Some(local(self.redis)),
            "kafka" => Some(local(self.kafka)),
            "database" => Some(local(self.database)),
            "edge" => self.edge,
            "handler" => self.handlers.get(index).copied(),
            "bridge" => self.bridges.get(index).copied().map(local),
            "consumer" => self.consumers.get(index).copied().map(local),
            _ => None,
        }
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
            .chain(self.edge.map(|_| EDGE.to_owned()))
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
        if self.runner == Runner::Native {
            // What the alarms of `rushgate watch` name. They name Docker Compose by default.
            env.push(("RUSHGATE_CONSUMER_START", "cargo xtask up".to_owned()));
            env.push((
                "RUSHGATE_CONSUMER_LOGS",
                "cargo xtask logs consumer".to_owned(),
            ));
        }
        env
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    pub(super) fn stack() -> Stack {
        Stack {
            runner: Runner::Native,
            redis: 20001,
            kafka: 20002,
            controller: 20003,
            database: 20004,
            password: "secret".into(),
            edge: None,
            handlers: vec![
                "0.0.0.0:3000".parse().unwrap(),
                "127.0.0.1:20005".parse().unwrap(),
            ],
            bridges: vec![20006, 20007],
            consumers: vec![20008],
        }
    }

    pub(super) fn behind_an_edge() -> Stack {
        Stack {
            edge: Some("0.0.0.0:8080".parse().unwrap()),
            ..stack()
        }
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
    fn applicants_reach_the_handlers_through_the_edge_only() {
        assert_eq!(behind_an_edge().urls(), ["http://127.0.0.1:8080"]);
    }

    #[test]
    fn every_service_has_an_address() {
        let stack = behind_an_edge();
        assert_eq!(
            stack
                .services()
                .filter(|name| stack.address(name).is_none())
                .count(),
            0
        );
        for (service, address) in [
            ("edge", Some("0.0.0.0:8080")),
            ("handler-2", Some("127.0.0.1:20005")),
            ("bridge-2", Some("127.0.0.1:20007")),
            ("kafka", Some("127.0.0.1:20002")),
            ("bridge-3", None),
        ] {
            let expected = address.map(|address| address.parse().unwrap());
            assert_eq!(stack.address(service), expected, "{service}");
        }
    }
}
