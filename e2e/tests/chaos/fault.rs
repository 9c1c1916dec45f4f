//! Lists all faults, and chooses the order in which they happen.

use crate::component::{Component, Link};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use std::fmt;
use std::time::Duration;

/// Failpoints in the loop of the bridge.
const IN_THE_BRIDGE: [&str; 5] = ["read", "published", "reported", "before_ack", "after_ack"];

/// Failpoints in the loop of the consumer.
const IN_THE_CONSUMER: [&str; 5] = [
    "read",
    "inserted",
    "committed",
    "confirmed",
    "offsets_committed",
];

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// `kill -9`, then a restart.
    Kill(Component),
    Stop(Component),
    /// A bridge or a consumer dies at a failpoint.
    DieAt(Component, &'static str),
    /// Connections are reset once.
    Reset(Link),
    Delay(Link),
    Hang(Link),
    Cut(Link),
    AnswersLost(Link),
    /// `kill -9` of the `rushgate` command, at some step.
    KillOperator,
    /// Redis loses its scripts.
    ScriptsFlushed,
    /// The bridges' consumer group is destroyed.
    GroupDestroyed,
    AcksRefused,
    /// Kafka is away for longer than a delivery may take.
    KafkaAway,
    /// The database is read-only.
    DatabaseReadOnly,
    /// The database has no space for rows.
    DatabaseFull,
    /// Another transaction locks rows in the opposite order.
    Deadlock,
    /// Another transaction holds a lock for longer than ours wait.
    RoundLocked,
    /// The database closes all connections of bridge and consumer.
    ConnectionsKilled,
    /// Consumers join and leave.
    RebalanceStorm,
    /// A consumer is frozen for longer than its session, and continues.
    Zombie,
    /// A bridge is frozen until another one has claimed its entries, and continues.
    SlowBridge,
    /// Three records that can never become a row, between good ones.
    PoisonRows,
    /// A record that is not an event.
    UndecodableRecord,
    /// A record of a version that no consumer knows.
    UnknownVersion,
    /// Grants that no bridge has signed, or that are signed with another key. Only where records are signed.
    ForgedRecords,
    /// A key of one campaign is of another type for a while.
    KeyOfAnotherType,
    /// The database does not have the round for a while.
    RoundMissing,
    /// The quota in the database is below the gate's for a while.
    QuotaBehind,
    /// A stream entry that is not an event.
    MalformedEntry,
    /// Kafka loses all records, whether or not they were read.
    TopicTruncated,
    /// Redis restarts without its last writes.
    RolledBack,
    /// A lagging replica becomes the primary.
    LaggingReplica,
    /// Redis restarts empty.
    Wiped,
}

/// A fault with its timing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Planned {
    pub(crate) fault: Fault,
    /// How long nothing fails before it.
    pub(crate) before: Duration,
    /// Its duration, if it has one.
    pub(crate) lasts: Duration,
    /// Bytes of an answer, visits of a failpoint, or requests.
    pub(crate) count: u8,
}

impl Fault {
    /// Whether Redis loses acknowledged writes.
    pub(crate) fn is_loss(self) -> bool {
        matches!(self, Self::RolledBack | Self::LaggingReplica | Self::Wiped)
    }

    /// Whether no other fault may happen with it, because an operator has to repair it.
    pub(crate) fn comes_alone(self) -> bool {
        self.is_loss() || self == Self::TopicTruncated
    }

    /// Its duration in ms.
    fn span(self, thorough: bool) -> std::ops::Range<u64> {
        match self {
            // Longer than BRIDGE_DELIVERY_TIMEOUT.
            Self::KafkaAway => 11_000..14_000,
            // Longer than the session of a consumer.
            Self::Zombie => 10_500..13_000,
            // Longer than BRIDGE_CLAIM_IDLE.
            Self::SlowBridge => 3_500..6_000,
            Self::AcksRefused if thorough => 30_000..30_001,
            // Longer than a transaction waits for a lock.
            Self::RoundLocked => 5_500..7_000,
            Self::Stop(_) | Self::Hang(_) => 200..4_000,
            Self::TopicTruncated => 500..3_000,
            _ => 0..2_500,
        }
    }

    pub(crate) fn all() -> Vec<Self> {
        let mut all = vec![];
        for component in Component::ALL {
            // One of two represents both; which one is affected is drawn.
            if !matches!(
                component,
                Component::Handler(2) | Component::Bridge(2) | Component::Consumer(2)
            ) {
                all.extend([Self::Kill(component), Self::Stop(component)]);
            }
        }
        all.extend(IN_THE_BRIDGE.map(|point| Self::DieAt(Component::Bridge(1), point)));
        all.extend(IN_THE_CONSUMER.map(|point| Self::DieAt(Component::Consumer(1), point)));
        for link in Link::ALL {
            all.extend([
                Self::Reset(link),
                Self::Delay(link),
                Self::Hang(link),
                Self::Cut(link),
                Self::AnswersLost(link),
            ]);
        }
        all.extend([
            Self::KillOperator,
            Self::ScriptsFlushed,
            Self::GroupDestroyed,
            Self::AcksRefused,
            Self::KafkaAway,
            Self::DatabaseReadOnly,
            Self::DatabaseFull,
            Self::Deadlock,
            Self::RoundLocked,
            Self::ConnectionsKilled,
            Self::RebalanceStorm,
            Self::Zombie,
            Self::SlowBridge,
            Self::PoisonRows,
            Self::UndecodableRecord,
            Self::UnknownVersion,
            Self::ForgedRecords,
            Self::KeyOfAnotherType,
            Self::RoundMissing,
            Self::QuotaBehind,
            Self::MalformedEntry,
            Self::TopicTruncated,
            Self::RolledBack,
            Self::LaggingReplica,
            Self::Wiped,
        ]);
        all
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = |component: &Component| match component {
            Component::Handler(_) => "handler".to_owned(),
            Component::Bridge(_) => "bridge".to_owned(),
            Component::Consumer(_) => "consumer".to_owned(),
            server => server.to_string(),
        };
        match self {
            Self::Kill(component) => write!(f, "kill-{}", kind(component)),
            Self::Stop(component) => write!(f, "stop-{}", kind(component)),
            Self::DieAt(component, point) => write!(f, "die-{}-{point}", kind(component)),
            Self::Reset(link) => write!(f, "reset-{link}"),
            Self::Delay(link) => write!(f, "delay-{link}"),
            Self::Hang(link) => write!(f, "hang-{link}"),
            Self::Cut(link) => write!(f, "cut-{link}"),
            Self::AnswersLost(link) => write!(f, "answers-lost-{link}"),
            Self::KillOperator => f.write_str("kill-operator"),
            Self::ScriptsFlushed => f.write_str("scripts-flushed"),
            Self::GroupDestroyed => f.write_str("group-destroyed"),
            Self::AcksRefused => f.write_str("acks-refused"),
            Self::KafkaAway => f.write_str("kafka-away"),
            Self::DatabaseReadOnly => f.write_str("database-read-only"),
            Self::DatabaseFull => f.write_str("database-full"),
            Self::Deadlock => f.write_str("deadlock"),
            Self::RoundLocked => f.write_str("round-locked"),
            Self::ConnectionsKilled => f.write_str("connections-killed"),
            Self::RebalanceStorm => f.write_str("rebalance-storm"),
            Self::Zombie => f.write_str("zombie-consumer"),
            Self::SlowBridge => f.write_str("slow-bridge"),
            Self::PoisonRows => f.write_str("poison-rows"),
            Self::UndecodableRecord => f.write_str("undecodable-record"),
            Self::UnknownVersion => f.write_str("unknown-version"),
            Self::ForgedRecords => f.write_str("forged-records"),
            Self::KeyOfAnotherType => f.write_str("key-of-another-type"),
            Self::RoundMissing => f.write_str("round-missing"),
            Self::QuotaBehind => f.write_str("quota-behind"),
            Self::MalformedEntry => f.write_str("malformed-entry"),
            Self::TopicTruncated => f.write_str("topic-truncated"),
            Self::RolledBack => f.write_str("redis-rolled-back"),
            Self::LaggingReplica => f.write_str("redis-lagging-replica"),
            Self::Wiped => f.write_str("redis-wiped"),
        }
    }
}

/// All faults in random order; when all have happened, they are shuffled again.
pub(crate) struct Deck {
    random: StdRng,
    faults: Vec<Fault>,
    left: Vec<Fault>,
    thorough: bool,
    is_signed: bool,
}

impl Deck {
    /// Only faults whose names begin with `only`. The same seed makes the same choices.
    pub(crate) fn new(seed: u64, only: Option<&str>, thorough: bool) -> Self {
        let mut faults = Fault::all();
        faults.retain(|fault| only.is_none_or(|only| fault.to_string().starts_with(only)));
        let names = || {
            Fault::all()
                .iter()
                .map(Fault::to_string)
                .collect::<Vec<_>>()
        };
        assert!(
            !faults.is_empty(),
            "no fault begins with {only:?}; there are: {}",
            names().join(", ")
        );
        let is_signed = !seed.is_multiple_of(2) || faults == [Fault::ForgedRecords];
        faults.retain(|fault| is_signed || *fault != Fault::ForgedRecords);
        Self {
            random: StdRng::seed_from_u64(seed),
            faults,
            left: vec![],
            thorough,
            is_signed,
        }
    }

    /// Leaves out the faults that an operator has to repair.
    #[must_use]
    pub(crate) fn without_losses(mut self) -> Self {
        self.faults.retain(|fault| !fault.comes_alone());
        self
    }

    /// Whether bridges sign their records, and consumers take no others: where the seed is odd.
    pub(crate) fn is_signed(&self) -> bool {
        self.is_signed
    }

    /// Whether every fault has been drawn.
    pub(crate) fn is_dealt(&self) -> bool {
        self.left.is_empty()
    }

    /// The next faults: a handful, or a single one that loses acknowledged writes of Redis.
    pub(crate) fn draw(&mut self) -> Vec<Planned> {
        let most = self.random.random_range(3..=7);
        let mut hand = vec![];
        while hand.len() < most {
            if self.left.is_empty() {
                if !hand.is_empty() {
                    break;
                }
                self.left.clone_from(&self.faults);
                self.left.shuffle(&mut self.random);
            }
            let Some(fault) = self.left.last().copied() else {
                break;
            };
            if fault.comes_alone() && !hand.is_empty() {
                break;
            }
            self.left.pop();
            hand.push(self.plan(fault));
            if fault.comes_alone() {
                break;
            }
        }
        hand
    }

    fn plan(&mut self, fault: Fault) -> Planned {
        let number = self.random.random_range(1..=2);
        let one_of = |component| match component {
            Component::Handler(_) => Component::Handler(number),
            Component::Bridge(_) => Component::Bridge(number),
            Component::Consumer(_) => Component::Consumer(number),
            server => server,
        };
        let fault = match fault {
            Fault::Kill(component) => Fault::Kill(one_of(component)),
            Fault::Stop(component) => Fault::Stop(one_of(component)),
            Fault::DieAt(component, point) => Fault::DieAt(one_of(component), point),
            other => other,
        };
        let mut millis = |span| Duration::from_millis(self.random.random_range(span));
        Planned {
            fault,
            before: millis(50..1_200),
            lasts: millis(fault.span(self.thorough)),
            count: self.random.random_range(1..=40),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn dealt(seed: u64) -> Vec<String> {
        let mut deck = Deck::new(seed, None, false);
        let mut drawn = vec![];
        loop {
            drawn.extend(deck.draw().iter().map(|planned| format!("{planned:?}")));
            if deck.is_dealt() {
                return drawn;
            }
        }
    }

    #[test]
    fn a_seed_makes_the_same_choices_and_deals_every_fault_once() {
        assert_eq!(dealt(1), dealt(1));
        assert_ne!(dealt(1), dealt(2));
        assert_eq!(dealt(1).len(), Fault::all().len());
        let names: BTreeSet<String> = Fault::all().iter().map(Fault::to_string).collect();
        assert_eq!(names.len(), Fault::all().len());
    }

    #[test]
    fn records_are_forged_only_where_records_are_signed() {
        let forged = dealt(1).into_iter().chain(dealt(2));
        let forged = forged.filter(|planned| planned.contains("ForgedRecords"));
        assert_eq!(forged.count(), 1);
        for (seed, only, is_signed) in [
            (1, None, true),
            (2, None, false),
            (2, Some("forged-records"), true),
        ] {
            let deck = Deck::new(seed, only, false);
            assert_eq!(deck.is_signed(), is_signed, "{seed} {only:?}");
        }
    }

    #[test]
    fn a_loss_comes_alone() {
        let mut deck = Deck::new(3, None, false);
        for _ in 0..100 {
            let hand = deck.draw();
            assert!(hand.len() == 1 || !hand.iter().any(|planned| planned.fault.comes_alone()));
        }
    }

    #[test]
    #[should_panic(expected = "redis-wiped")]
    fn an_unknown_name_is_answered_with_all() {
        Deck::new(1, Some("no-such"), false);
    }
}
