//! MySQL or MariaDB: one transaction a batch.
//!
//! Guarantees that a batch is written as a whole or not at all, that writing it again changes nothing, and that
//! each of its records ends as a row, as a row that was there already, or as a dead letter.

use crate::dead_letter::insert_failed_event;
use crate::existing::ACTIVE;
use crate::failure::Loggable;
use crate::insert::{InsertStatements, insert, insert_revoked, refused, revoke_row};
use crate::parked::{self, Parked};
use crate::plan::{Plan, Planned, Step, plan};
use crate::record::Delivery;
use crate::rejection::{Reason, Rejection};
use crate::rounds::{admit, rounds_in_force};
use crate::session::{self, Idle};
use crate::streak::{Counts, ExtendedStreak, Streak};
use rushgate_gate::CampaignId;
use rushgate_gate::failpoint::failpoint;
use rushgate_gate::signature::SignaturePolicy;
use sqlx::mysql::MySqlConnectOptions;
use sqlx::{Connection, MySqlConnection, Row};

/// What became of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordOutcome {
    /// It is a row now.
    Inserted,
    /// It was there already.
    AlreadyInserted,
    /// It was there already, and has been revoked since.
    AlreadyRevoked,
    /// It is a row now, and one that is revoked: the coupon was passed on before this was heard of.
    InsertedRevoked,
    /// A row was revoked.
    Revoked,
    /// It is a dead letter.
    Rejected(Rejection),
}

/// What became of a batch: the outcome of each record, in their order.
#[derive(Debug)]
pub struct Written {
    /// One for each record.
    pub outcomes: Vec<RecordOutcome>,
}

/// Parked dead letters that were read, and what became of each.
#[derive(Debug, Default)]
pub struct Replayed {
    /// The rows of `failed_events`.
    pub parked: Vec<Parked>,
    /// The records that they hold.
    pub batch: Vec<Delivery>,
    /// One for each.
    pub outcomes: Vec<RecordOutcome>,
}

/// Why a batch was not written. Nothing of it was.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database could not do it now.
    #[error("{}", Loggable(.0))]
    Database(#[from] sqlx::Error),
    /// It took too long.
    #[error("no answer in time")]
    TimedOut,
    /// It is not known what became of a record.
    #[error("it is not known what became of a record of the batch")]
    Unresolved,
    /// Nothing but dead letters has come for too long, and of several campaigns.
    #[error(
        "{in_a_row} dead letters in a row, of {campaigns} campaigns: all {records} records of a batch were refused, first for {reason} \
         (partition {partition}, offset {offset}): this looks like a wrong deployment, not like wrong data. Nothing of the batch was written \
         and its offsets stand still. Check that topic, database and the versions of bridge and consumer belong \
         together, then start the consumer again; if the records are to become dead letters, start it once \
         with CONSUMER_ALL_BAD_STOPS_AT=0"
    )]
    AllBad {
        /// How many dead letters there would be since the last good record.
        in_a_row: usize,
        /// Of how many campaigns they are.
        campaigns: usize,
        /// How many records the batch has.
        records: usize,
        /// Why the first was refused.
        reason: Reason,
        /// Partition of the first.
        partition: i32,
        /// Offset of the first.
        offset: i64,
    },
    /// A dead letter cannot be written either.
    #[error(
        "the dead letter of partition {partition}, offset {offset} was refused by the database (error {number}): \
         check that all migrations have been run, then start the consumer again. Its offset stands still"
    )]
    DeadLetterRefused {
        /// Its partition.
        partition: i32,
        /// Its offset.
        offset: i64,
        /// MySQL's error number.
        number: u16,
    },
}

impl StoreError {
    /// Whether the same batch may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Database(_) | Self::TimedOut | Self::Unresolved)
    }
}

/// The database, through one connection: a writer has one writer, and a pool would only hide when it is lost.
pub struct Store {
    options: MySqlConnectOptions,
    connection: Option<Idle>,
    statements: InsertStatements,
    topic: String,
    streak: Streak,
}

impl Store {
    /// A store that connects when it is first used.
    pub fn new(options: MySqlConnectOptions, topic: String, streak: Streak) -> Self {
        Self {
            options,
            connection: None,
            statements: InsertStatements::default(),
            topic,
            streak,
        }
    }

    /// Whether the database answers and has the tables, with the columns used here.
    ///
    /// # Errors
    /// When it does not.
    pub async fn check(&mut self) -> Result<(), StoreError> {
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

    /// Ends the session with the database.
    pub async fn close(self) {
        if let Some(idle) = self.connection {
            idle.close().await;
        }
    }

    /// Writes a batch and commits it. After an error, or when this future is dropped, the connection is given
    /// up, and whatever was open on it with it.
    ///
    /// # Errors
    /// When nothing of it was written, or (a lost answer to COMMIT) that is not known; writing it again is
    /// harmless.
    pub async fn write(&mut self, batch: &[Delivery]) -> Result<Written, StoreError> {
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

    /// Writes dead letters that are parked, all of one campaign, as far as they may be written now, and commits that. They
    /// stay open until [`parked::note`], so this may be done again at any time. Nothing is written of a campaign that is
    /// halted: a restore counts on that.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub async fn replay(
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

    /// Asks the database something, outside of any transaction.
    ///
    /// # Errors
    /// When it does not answer, or refuses.
    pub async fn ask<T>(
        &mut self,
        question: impl AsyncFnOnce(&mut MySqlConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, StoreError> {
        let mut connection = self.connect().await?;
        let answer = question(&mut connection).await?;
        self.connection = Some(Idle::new(connection));
        Ok(answer)
    }

    /// The connection, taken out: only who succeeds puts it back.
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
        // Every place has its outcome by now; one that had none would have to be tried again.
        let outcomes: Option<Vec<RecordOutcome>> = outcomes.into_iter().collect();
        outcomes.ok_or(StoreError::Unresolved)
    }

    /// Writes the dead letters; how many there are of each campaign that say something about this deployment.
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
                // One that was buried before says nothing about this deployment; nor does one that contradicts a
                // coupon: that is between the gate and the table, and the gate is asked about it.
                if is_new && rejection.rival.is_none() {
                    *fresh.entry(delivery.campaign()).or_default() += 1;
                }
            }
        }
        Ok(fresh)
    }

    /// A batch that is all bad may be committed only when that does not make too many in a row; `None` if it is not.
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

/// Takes a coupon back, once; also one whose grant is still on its way.
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
    // Again if it was revoked before: by a later grant of the serial, which did not know the exact time.
    revoke_row(connection, row.try_get(0)?, event.at).await?;
    Ok(if row.try_get::<String, _>(1)? == ACTIVE {
        RecordOutcome::Revoked
    } else {
        RecordOutcome::AlreadyInserted
    })
}
