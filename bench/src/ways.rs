//! Six usual ways to give out coupons: five as small services that a reasonable team could write, and one as it is
//! taught.
//!
//! All of them accept the same request, `POST /v1/campaigns/{campaign}/applications` with `{"user_id":"…"}`, and store
//! coupons in a table `way_coupons` in a separate schema. Each of the five uses every good practice that its way
//! allows at no cost: a connection pool, prepared statements, one Redis connection shared by all requests, and a unique
//! key against two coupons for one applicant. What a way still gets wrong is inherent in it.
//!
//! The sixth is the Spring Boot service of the well-known course, in `bench/spring`, with the defaults of its
//! frameworks and of the JVM. It differs from the course where the bench needs that: applications come over HTTP and are
//! answered with a status, and the two keys in Redis have the campaign's name.

pub mod chart;
pub mod costs;
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
    /// Counts the rows, and inserts one if there are fewer than the quota.
    CountThenInsert,
    /// Locks the campaign's row, and inserts while it is locked.
    ForUpdate,
    /// Counts in Redis, and inserts at once.
    IncrInsert,
    /// Counts in Redis, and inserts in a Kafka consumer.
    IncrKafka,
    /// Keeps a set of applicants in Redis, and inserts those who were early enough.
    SaddScard,
    /// The Spring Boot service of the course, which is a program of its own: as `IncrKafka`.
    #[value(skip)]
    Spring,
}

impl Way {
    /// In the order in which teams usually come upon them, the Spring service last.
    pub const ALL: [Self; 6] = [
        Self::CountThenInsert,
        Self::ForUpdate,
        Self::IncrInsert,
        Self::IncrKafka,
        Self::SaddScard,
        Self::Spring,
    ];

    /// The name on the command line, which is also part of the schema's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::CountThenInsert => "count-then-insert",
            Self::ForUpdate => "for-update",
            Self::IncrInsert => "incr-insert",
            Self::IncrKafka => "incr-kafka",
            Self::SaddScard => "sadd-scard",
            Self::Spring => "spring",
        }
    }

    /// A title for tables and charts.
    pub fn title(self) -> &'static str {
        match self {
            Self::CountThenInsert => "count, then insert",
            Self::ForUpdate => "SELECT … FOR UPDATE",
            Self::IncrInsert => "Redis INCR + insert",
            Self::IncrKafka => "Redis INCR + Kafka",
            Self::SaddScard => "SADD/SCARD in MULTI + insert",
            Self::Spring => "Spring Boot (INCR + Kafka)",
        }
    }

    /// Whether coupons become rows in a program of their own.
    pub fn has_consumer(self) -> bool {
        matches!(self, Self::IncrKafka | Self::Spring)
    }
}

/// The decision about an application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    Granted,
    /// The applicant already had a coupon.
    AlreadyGranted,
    /// The applicant has applied before, and this way does not know the result.
    AlreadyApplied,
    /// There are none left.
    SoldOut,
}

/// One way at work.
pub trait Decide: Send + Sync + 'static {
    /// Decides an application, and stores the decision.
    fn apply(
        &self,
        campaign: &str,
        user_id: &str,
    ) -> impl Future<Output = anyhow::Result<Decision>> + Send;
}
