//! How people give out coupons today: five ways, each a small service as a reasonable team writes it.
//!
//! All of them answer the same request, `POST /v1/campaigns/{campaign}/applications` with `{"user_id":"…"}`, and keep
//! what they have given in a table `way_coupons` of a schema of their own. Each has what its way allows for free:
//! a pool of connections, prepared statements, one Redis connection that all requests share, a key on the table that
//! keeps a person from having two. What a way gets wrong then is its own doing.

pub mod chart;
pub mod count_then_insert;
pub mod coupons;
pub mod for_update;
pub mod given;
pub mod incr_insert;
pub mod incr_kafka;
pub mod program;
pub mod sadd_scard;
pub mod schema;
pub mod service;
pub mod shown;
pub mod table;

use clap::ValueEnum;
use serde::Serialize;

/// A way to give out coupons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Way {
    /// Counts the rows, and inserts one if they are not too many.
    CountThenInsert,
    /// Locks the campaign's row, and inserts while it is locked.
    ForUpdate,
    /// Counts in Redis, and inserts at once.
    IncrInsert,
    /// Counts in Redis, and leaves the insert to a consumer of Kafka.
    IncrKafka,
    /// Keeps a set of people in Redis, and inserts those who were early enough.
    SaddScard,
}

impl Way {
    /// All of them, in the order in which people tend to come upon them.
    pub const ALL: [Self; 5] = [
        Self::CountThenInsert,
        Self::ForUpdate,
        Self::IncrInsert,
        Self::IncrKafka,
        Self::SaddScard,
    ];

    /// Its name on a command line, which also serves as a part of a schema's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::CountThenInsert => "count-then-insert",
            Self::ForUpdate => "for-update",
            Self::IncrInsert => "incr-insert",
            Self::IncrKafka => "incr-kafka",
            Self::SaddScard => "sadd-scard",
        }
    }

    /// What it is, in the words of those who use it.
    pub fn title(self) -> &'static str {
        match self {
            Self::CountThenInsert => "count, then insert",
            Self::ForUpdate => "SELECT … FOR UPDATE",
            Self::IncrInsert => "Redis INCR + insert",
            Self::IncrKafka => "Redis INCR + Kafka",
            Self::SaddScard => "SADD/SCARD in MULTI + insert",
        }
    }
}

/// What a person is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    Granted,
    /// One has been his already.
    AlreadyGranted,
    /// He has applied before, and this way does not know what came of it.
    AlreadyApplied,
    /// There are none left.
    SoldOut,
}

/// One way at work.
pub trait Decide: Send + Sync + 'static {
    /// Decides over one application, and keeps what it has decided.
    fn apply(
        &self,
        campaign: &str,
        user_id: &str,
    ) -> impl Future<Output = anyhow::Result<Decision>> + Send;
}
