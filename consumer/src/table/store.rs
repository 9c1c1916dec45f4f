//! Writes batches to MySQL or MariaDB, one transaction for each batch.
//!
//! It guarantees that a batch is written as a whole or not at all, and that writing it again changes nothing. Each
//! record becomes a row, already has its row, or becomes a dead letter.

use crate::kafka::record::Delivery;
use crate::metrics;
use crate::table::coupon_row::InsertStatements;
use crate::table::dead_letter::insert_failed_event;
use crate::table::error::StoreError;
use crate::table::insert::insert;
use crate::table::outcome::{RecordOutcome, refused};
use crate::table::parked::{self, Parked};
use crate::table::plan::{Plan, Planned, Step, plan};
use crate::table::revoke::revoke;
use crate::table::rounds::{admit, rounds_in_force};
use crate::table::row_codes::RowCodes;
use crate::table::session::Session;
use crate::table::streak::{Counts, ExtendedStreak, Streak};
use rushgate_gate::failpoint::failpoint;
use rushgate_gate::signature::SignaturePolicy;
use rushgate_gate::{CampaignId, Codes};
use sqlx::mysql::MySqlConnectOptions;
use sqlx::{Connection, MySqlConnection};

/// Parked dead letters that were read, with the outcome of each.
#[derive(Debug, Default)]
pub(crate) struct Replayed {
    /// The rows of `failed_events`.
    pub(crate) parked: Vec<Parked>,
    /// The records in these rows.
    pub(crate) batch: Vec<Delivery>,
    pub(crate) outcomes: Vec<RecordOutcome>,
}

/// Writes over one database connection. Each writer has its own store.
pub(crate) struct Store {
    session: Session,
    statements: InsertStatements,
    topic: String,
    streak: Streak,
    codes: RowCodes,
}

impl Store {
    /// It connects when it is first used.
    pub(crate) fn new(
        options: MySqlConnectOptions,
        topic: String,
        streak: Streak,
        codes: RowCodes,
    ) -> Self {
        Self {
            session: Session::new(options),
            statements: InsertStatements::default(),
            topic,
            streak,
            codes,
        }
    }

    /// Checks that the database answers and has the tables with the columns that are used here.
    ///
    /// # Errors
    /// When a table or column is missing, or the database does not answer.
    pub(crate) async fn check(&mut self) -> Result<(), StoreError> {
        let mut connection = self.session.take().await?;
        sqlx::query(
            "SELECT c.active_serial, c.turn, c.code, c.code_number, p.one_per, p.codes, p.code_key, r.quota, f.kafka_timestamp, l.action \
             FROM coupons c, campaigns p, rounds r, failed_events f, campaign_log l LIMIT 0",
        )
        .execute(&mut connection)
        .await?;
        self.session.put_back(connection);
        Ok(())
    }

    pub(crate) async fn close(self) {
        self.session.close().await;
    }

    /// Writes a batch and commits it. Returns the outcome of each record, in the same order. After an error, or if this future is dropped, the connection is closed,
    /// which rolls the transaction back.
    ///
    /// # Errors
    /// When nothing was written, or (if the answer to COMMIT was lost) when it is not known. Writing the batch
    /// again is safe.
    pub(crate) async fn write(
        &mut self,
        batch: &[Delivery],
    ) -> Result<Vec<RecordOutcome>, StoreError> {
        let mut connection = self.session.take().await?;
        let mut transaction = connection.begin().await?;
        let (outcomes, without_code) = self.write_records(&mut transaction, batch).await?;
        let fresh = self
            .insert_failed_events(&mut transaction, batch, &outcomes)
            .await?;
        let extended = self.extend_streak(batch, &outcomes, fresh).await?;
        failpoint("consumer::inserted");
        transaction.commit().await?;
        failpoint("consumer::committed");
        metrics::without_code(without_code);
        match extended {
            Some(extended) => extended.keep(),
            None => self.streak.end().await,
        }
        self.session.put_back(connection);
        Ok(outcomes)
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
        let mut connection = self.session.take().await?;
        let mut transaction = connection.begin().await?;
        let (mut replayed, mut without_code) = (Replayed::default(), 0);
        if !parked::is_halted(&mut transaction, campaign).await? {
            (replayed.parked, replayed.batch) = parked::read(&mut transaction, ids, trust).await?;
            (replayed.outcomes, without_code) = self
                .write_records(&mut transaction, &replayed.batch)
                .await?;
        }
        transaction.commit().await?;
        metrics::without_code(without_code);
        self.session.put_back(connection);
        Ok(replayed)
    }

    /// Runs a query outside of a batch's transaction.
    pub(crate) async fn ask<T>(
        &mut self,
        question: impl AsyncFnOnce(&mut MySqlConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, StoreError> {
        let mut connection = self.session.take().await?;
        let answer = question(&mut connection).await?;
        self.session.put_back(connection);
        Ok(answer)
    }

    /// Writes the records. Returns their outcomes, and how many rows were inserted without the code that they should
    /// have.
    async fn write_records(
        &self,
        connection: &mut MySqlConnection,
        batch: &[Delivery],
    ) -> Result<(Vec<RecordOutcome>, usize), StoreError> {
        let rounds = rounds_in_force(connection, batch).await?;
        let mut outcomes: Vec<Option<RecordOutcome>> = vec![None; batch.len()];
        let mut planned = vec![];
        for (place, delivery) in batch.iter().enumerate() {
            match admit(place, delivery, &rounds, &self.codes) {
                Ok(event) => planned.push(event),
                Err(rejection) => outcomes[place] = Some(RecordOutcome::Rejected(rejection)),
            }
        }
        let lacks_code = |planned: &&Planned<'_>| {
            planned.code.is_none() && matches!(planned.round.codes, Codes::Signed(_))
        };
        let lacking = planned.iter().filter(lacks_code);
        let lacking: Vec<usize> = lacking.map(|planned| planned.place).collect();
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
        let outcomes = outcomes.ok_or(StoreError::Unresolved)?;
        let without_code = lacking
            .iter()
            .filter(|place| outcomes[**place].is_inserted());
        let without_code = without_code.count();
        Ok((outcomes, without_code))
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
