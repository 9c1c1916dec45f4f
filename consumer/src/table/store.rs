//! Writes batches to MySQL or MariaDB, one transaction for each batch.
//!
//! It guarantees that a batch is written as a whole or not at all, and that writing it again changes nothing. Each
//! record becomes a row, already has its row, or becomes a dead letter.

use crate::kafka::record::Delivery;
use crate::rejection::{Reason, Rejection};
use crate::table::dead_letter::insert_failed_event;
use crate::table::existing::ACTIVE;
use crate::table::failure::Loggable;
use crate::table::insert::{InsertStatements, insert, insert_revoked, refused, revoke_row};
use crate::table::parked::{self, Parked};
use crate::table::plan::{Plan, Planned, Step, plan};
use crate::table::rounds::{admit, rounds_in_force};
use crate::table::session::{self, Idle};
use crate::table::streak::{Counts, ExtendedStreak, Streak};
use rushgate_gate::CampaignId;
use rushgate_gate::failpoint::failpoint;
use rushgate_gate::signature::SignaturePolicy;
use sqlx::mysql::MySqlConnectOptions;
use sqlx::{Connection, MySqlConnection, Row};

/// The outcome for one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RecordOutcome {
    /// A row was inserted.
    Inserted,
    /// The row existed already.
    AlreadyInserted,
    /// The row existed already and has been revoked since.
    AlreadyRevoked,
    /// A row was inserted as revoked: a later grant of the serial had arrived before.
    InsertedRevoked,
    Revoked,
    /// The record is a dead letter.
    Rejected(Rejection),
}

/// The outcome of each record of a batch, in the same order.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) outcomes: Vec<RecordOutcome>,
}

/// Parked dead letters that were read, with the outcome of each.
#[derive(Debug, Default)]
pub(crate) struct Replayed {
    /// The rows of `failed_events`.
    pub(crate) parked: Vec<Parked>,
    /// The records in these rows.
    pub(crate) batch: Vec<Delivery>,
    pub(crate) outcomes: Vec<RecordOutcome>,
}

/// Why a batch was not written. Nothing of it was committed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{}", Loggable(.0))]
    Database(#[from] sqlx::Error),
    #[error("the database did not answer in time")]
    TimedOut,
    /// The outcome of a record is unknown.
    #[error("the outcome of a record of the batch is unknown")]
    Unresolved,
    /// Too many dead letters in a row, of several campaigns.
    #[error(
        "{in_a_row} dead letters in a row, of {campaigns} campaigns: all {records} records of a batch were refused, the first one as {reason} \
         (partition {partition}, offset {offset}). This looks like a wrong deployment and not like wrong data. Nothing of the batch was \
         written, and its offsets are not committed. Check that the topic, the database and the versions of bridge and consumer fit \
         together, then start the consumer again. If the records are to become dead letters, start it once \
         with CONSUMER_ALL_BAD_STOPS_AT=0"
    )]
    AllBad {
        /// The number of dead letters since the last good record.
        in_a_row: usize,
        campaigns: usize,
        records: usize,
        /// Why the first record was refused.
        reason: Reason,
        partition: i32,
        offset: i64,
    },
    /// The database refuses the dead letter as well.
    #[error(
        "writing the dead letter of partition {partition}, offset {offset}: the database refused it (error {number}). \
         Run the migrations with `rushgate setup`, then start the consumer again. The record's offset is not committed"
    )]
    DeadLetterRefused {
        partition: i32,
        offset: i64,
        number: u16,
    },
}

impl StoreError {
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Database(_) | Self::TimedOut | Self::Unresolved)
    }
}

/// One database connection. Each writer has its own store; a pool would only hide when a connection is lost.
pub(crate) struct Store {
    options: MySqlConnectOptions,
    connection: Option<Idle>,
    statements: InsertStatements,
    topic: String,
    streak: Streak,
}

impl Store {
    /// It connects when it is first used.
    pub(crate) fn new(options: MySqlConnectOptions, topic: String, streak: Streak) -> Self {
        Self {
            options,
            connection: None,
            statements: InsertStatements::default(),
            topic,
            streak,
        }
    }

    /// Checks that the database answers and has the tables with the columns that are used here.
    ///
    /// # Errors
    /// When a table or column is missing, or the database does not answer.
    pub(crate) async fn check(&mut self) -> Result<(), StoreError> {
        let mut connection = self.connect().await?;
        sqlx::query(
            "SELECT c.active_serial, c.turn, p.one_per, r.quota, f.kafka_timestamp, l.action \
             FROM coupons c, campaigns p, rounds r, failed_events f, campaign_log l LIMIT 0",
        )
        .execute(&mut connection)
        .await?;
        self.connection = Some(Idle::new(connection));
        Ok(())
    }

    pub(crate) async fn close(self) {
        if let Some(idle) = self.connection {
            idle.close().await;
        }
    }

    /// Writes a batch and commits it. After an error, or if this future is dropped, the connection is closed,
    /// which rolls the transaction back.
    ///
    /// # Errors
    /// When nothing was written, or (if the answer to COMMIT was lost) when it is not known. Writing the batch
    /// again is safe.
    pub(crate) async fn write(&mut self, batch: &[Delivery]) -> Result<Written, StoreError> {
        let mut connection = self.connect().await?;
        let mut transaction = connection.begin().await?;
        let outcomes = self.write_records(&mut transaction, batch).await?;
        let fresh = self
            .insert_failed_events(&mut transaction, batch, &outcomes)
            .await?;
        let extended = self.extend_streak(batch, &outcomes, fresh).await?;
        failpoint("consumer::inserted");
        transaction.commit().await?;
        failpoint("consumer::committed");
        match extended {
            Some(extended) => extended.keep(),
            None => self.streak.end().await,
        }
        self.connection = Some(Idle::new(connection));
        Ok(Written { outcomes })
    }

    /// Writes the parked dead letters `ids` of one campaign, as far as they may be written now, and commits.
    /// They stay open until [`parked::note`], so it is safe to repeat this at any time. Nothing is written for
    /// a campaign that is halted; `rushgate restore` relies on that.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub(crate) async fn replay(
        &mut self,
        campaign: &CampaignId,
        ids: &[u64],
        trust: &SignaturePolicy,
    ) -> Result<Replayed, StoreError> {
        let mut connection = self.connect().await?;
        let mut transaction = connection.begin().await?;
        let mut replayed = Replayed::default();
        if !parked::is_halted(&mut transaction, campaign).await? {
            (replayed.parked, replayed.batch) = parked::read(&mut transaction, ids, trust).await?;
            replayed.outcomes = self
                .write_records(&mut transaction, &replayed.batch)
                .await?;
        }
        transaction.commit().await?;
        self.connection = Some(Idle::new(connection));
        Ok(replayed)
    }

    /// Runs a query outside of a batch's transaction.
    pub(crate) async fn ask<T>(
        &mut self,
        question: impl AsyncFnOnce(&mut MySqlConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, StoreError> {
        let mut connection = self.connect().await?;
        let answer = question(&mut connection).await?;
        self.connection = Some(Idle::new(connection));
        Ok(answer)
    }

    /// Takes the connection out. It is put back only after success, so a failed connection is never used again.
    async fn connect(&mut self) -> Result<MySqlConnection, sqlx::Error> {
        if let Some(idle) = self.connection.take()
            && let Some(connection) = idle.wake().await
        {
            return Ok(connection);
        }
        session::open(&self.options).await
    }

    async fn write_records(
        &self,
        connection: &mut MySqlConnection,
        batch: &[Delivery],
    ) -> Result<Vec<RecordOutcome>, StoreError> {
        let rounds = rounds_in_force(connection, batch).await?;
        let mut outcomes: Vec<Option<RecordOutcome>> = vec![None; batch.len()];
        let mut planned = vec![];
        for (place, delivery) in batch.iter().enumerate() {
            match admit(place, delivery, &rounds) {
                Ok(event) => planned.push(event),
                Err(rejection) => outcomes[place] = Some(RecordOutcome::Rejected(rejection)),
            }
        }
        let Plan { steps, repeats } = plan(planned);
        for step in steps {
            match step {
                Step::Grants(grants) => {
                    insert(connection, &self.statements, grants, &mut outcomes).await?;
                }
                Step::Revoke(planned) => {
                    let revoked = revoke(connection, &planned).await;
                    outcomes[planned.place] = Some(revoked.or_else(refused)?);
                }
            }
        }
        for (place, first) in repeats {
            outcomes[place] = match &outcomes[first] {
                Some(RecordOutcome::Inserted) => Some(RecordOutcome::AlreadyInserted),
                Some(RecordOutcome::InsertedRevoked) => Some(RecordOutcome::AlreadyRevoked),
                other => other.clone(),
            };
        }
        // Every record has its outcome by now. If one had none, the batch would be tried again.
        let outcomes: Option<Vec<RecordOutcome>> = outcomes.into_iter().collect();
        outcomes.ok_or(StoreError::Unresolved)
    }

    /// Writes the dead letters. Returns, for each campaign, how many new ones count towards the streak.
    async fn insert_failed_events(
        &self,
        connection: &mut MySqlConnection,
        batch: &[Delivery],
        outcomes: &[RecordOutcome],
    ) -> Result<Counts, StoreError> {
        let mut fresh = Counts::new();
        for (delivery, outcome) in batch.iter().zip(outcomes) {
            if let RecordOutcome::Rejected(rejection) = outcome {
                let is_new =
                    insert_failed_event(connection, &self.topic, delivery, rejection).await?;
                // A dead letter that was written before says nothing about this deployment. One that
                // contradicts a coupon does not either: the gate is asked about that coupon.
                if is_new && rejection.rival.is_none() {
                    *fresh.entry(delivery.campaign()).or_default() += 1;
                }
            }
        }
        Ok(fresh)
    }

    /// A batch of dead letters only may be committed only if the streak does not become too long. Returns
    /// `None` for other batches.
    async fn extend_streak(
        &self,
        batch: &[Delivery],
        outcomes: &[RecordOutcome],
        fresh: Counts,
    ) -> Result<Option<ExtendedStreak>, StoreError> {
        let all_bad = outcomes
            .iter()
            .all(|outcome| matches!(outcome, RecordOutcome::Rejected(_)));
        let (Some(delivery), Some(RecordOutcome::Rejected(rejection)), true) =
            (batch.first(), outcomes.first(), all_bad)
        else {
            return Ok(None);
        };
        let longer = self.streak.extend(fresh).await;
        longer.map(Some).map_err(|too_long| StoreError::AllBad {
            in_a_row: too_long.in_a_row,
            campaigns: too_long.campaigns,
            records: outcomes.len(),
            reason: rejection.reason,
            partition: delivery.record.partition,
            offset: delivery.record.offset,
        })
    }
}

/// Revokes a coupon. If its grant has not arrived yet, inserts a revoked row.
async fn revoke(
    connection: &mut MySqlConnection,
    planned: &Planned<'_>,
) -> Result<RecordOutcome, sqlx::Error> {
    let event = planned.event;
    let row = sqlx::query(
        "SELECT id, state FROM coupons \
         WHERE campaign_id = ? AND round_id = ? AND serial = ? AND user_id = ? FOR UPDATE",
    )
    .bind(event.campaign.as_str())
    .bind(event.round.as_str())
    .bind(event.serial.get())
    .bind(event.applicant.as_str())
    .fetch_optional(&mut *connection)
    .await?;
    let Some(row) = row else {
        insert_revoked(connection, planned, None, event.at).await?;
        return Ok(RecordOutcome::Revoked);
    };
    // Also if the row is revoked already: a later grant of the serial may have revoked it without knowing the
    // exact time.
    revoke_row(connection, row.try_get(0)?, event.at).await?;
    Ok(if row.try_get::<String, _>(1)? == ACTIVE {
        RecordOutcome::Revoked
    } else {
        RecordOutcome::AlreadyInserted
    })
}
