//! Names the programs and servers of the system that can be killed, and the connections between them.

use std::fmt;

/// A program or server that can be killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Component {
    Redis,
    Kafka,
    Database,
    Handler(u8),
    Bridge(u8),
    Consumer(u8),
}

/// A connection, by client and server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Link {
    HandlerRedis,
    BridgeRedis,
    ConsumerRedis,
    ConsumerDatabase,
    Kafka,
    OperatorRedis,
    OperatorDatabase,
    OperatorKafka,
}

impl Component {
    /// Servers first.
    pub(crate) const ALL: [Self; 9] = [
        Self::Redis,
        Self::Kafka,
        Self::Database,
        Self::Handler(1),
        Self::Handler(2),
        Self::Bridge(1),
        Self::Bridge(2),
        Self::Consumer(1),
        Self::Consumer(2),
    ];
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Redis => write!(f, "redis"),
            Self::Kafka => write!(f, "kafka"),
            Self::Database => write!(f, "database"),
            Self::Handler(number) => write!(f, "handler-{number}"),
            Self::Bridge(number) => write!(f, "bridge-{number}"),
            Self::Consumer(number) => write!(f, "consumer-{number}"),
        }
    }
}

impl Link {
    pub(crate) const ALL: [Self; 8] = [
        Self::HandlerRedis,
        Self::BridgeRedis,
        Self::ConsumerRedis,
        Self::ConsumerDatabase,
        Self::Kafka,
        Self::OperatorRedis,
        Self::OperatorDatabase,
        Self::OperatorKafka,
    ];
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HandlerRedis => "handler-redis",
            Self::BridgeRedis => "bridge-redis",
            Self::ConsumerRedis => "consumer-redis",
            Self::ConsumerDatabase => "consumer-database",
            Self::Kafka => "kafka",
            Self::OperatorRedis => "operator-redis",
            Self::OperatorDatabase => "operator-database",
            Self::OperatorKafka => "operator-kafka",
        })
    }
}
