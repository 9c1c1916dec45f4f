//! Reads and locks the rows that collide with some grants: rows with the same serial, and rows of the same applicant
//! in the same campaign or round. The rows stay locked until the transaction commits.

use crate::rejection::{Reason, Rejection};
use crate::table::coupon_row::ACTIVE;
use crate::table::judge::{ExistingRow, JudgeVerdict, judge};
use crate::table::plan::Planned;
use crate::table::statement_length::{padded, placeholders};
use rushgate_gate::event::EventKey;
use rushgate_gate::{CampaignId, Millis, Ordinal, RoundId};
use sqlx::mysql::MySqlRow;
use sqlx::{AssertSqlSafe, MySqlConnection, Row};
use std::collections::{BTreeMap, HashMap, HashSet};

/// The columns of an [`ExistingRow`].
const COLUMNS: &str = "id, round_id, serial, user_id, state, turn, win, \
    CAST(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', granted_at) DIV 1000 AS SIGNED)";

/// The rows that collide with some grants.
#[derive(Debug, Default)]
pub(crate) struct Existing {
    /// By serial: every row that the serial has or had.
    serials: HashMap<EventKey, Vec<ExistingRow>>,
    /// By campaign, scope and person: the row that the person holds.
    people: HashMap<Person, ExistingRow>,
    /// Serials and persons with a row that cannot be read. Nothing can be decided about their grants.
    unreadable: HashSet<Either>,
}

/// Campaign, scope and user id.
type Person = (CampaignId, String, String);

#[derive(Debug, PartialEq, Eq, Hash)]
enum Either {
    Serial(EventKey),
    Person(Person),
}

impl Existing {
    /// Reads the rows with locks, so that they are the latest and cannot change before the commit.
    pub(crate) async fn look(
        connection: &mut MySqlConnection,
        grants: &[Planned<'_>],
    ) -> Result<Self, sqlx::Error> {
        let mut serials: BTreeMap<(&CampaignId, &RoundId), Vec<&Planned<'_>>> = BTreeMap::new();
        let mut people: BTreeMap<(&CampaignId, &str), Vec<&Planned<'_>>> = BTreeMap::new();
        for grant in grants {
            let event = grant.event;
            let round = (&event.campaign, &event.round);
            serials.entry(round).or_default().push(grant);
            let scope = (&event.campaign, grant.person_scope());
            people.entry(scope).or_default().push(grant);
        }
        let mut existing = Self::default();
        for ((campaign, round), grants) in serials {
            let sql = format!(
                "SELECT {COLUMNS} FROM coupons \
                 WHERE campaign_id = ? AND round_id = ? AND serial IN ({}) LOCK IN SHARE MODE",
                placeholders(&grants, "?", ", ")
            );
            let mut query = sqlx::query(AssertSqlSafe(sql))
                .bind(campaign.as_str())
                .bind(round.as_str());
            for grant in padded(&grants) {
                query = query.bind(grant.event.serial.get());
            }
            let keys: HashMap<u32, EventKey> = grants
                .iter()
                .map(|grant| (grant.event.serial.get(), grant.event.key()))
                .collect();
            for row in query.fetch_all(&mut *connection).await? {
                let Some(key) = keys.get(&row.try_get::<u32, _>(2)?) else {
                    continue;
                };
                match existing_row(&row) {
                    Ok(row) => existing.serials.entry(key.clone()).or_default().push(row),
                    Err(_) => {
                        let serial = Either::Serial(key.clone());
                        existing.unreadable.insert(serial);
                    }
                }
            }
        }
        for ((campaign, scope), grants) in people {
            let sql = format!(
                "SELECT {COLUMNS} FROM coupons \
                 WHERE campaign_id = ? AND person_scope = ? AND active_user_id IN ({}) LOCK IN SHARE MODE",
                placeholders(&grants, "?", ", ")
            );
            let mut query = sqlx::query(AssertSqlSafe(sql))
                .bind(campaign.as_str())
                .bind(scope);
            for grant in padded(&grants) {
                query = query.bind(grant.event.applicant.as_str());
            }
            for row in query.fetch_all(&mut *connection).await? {
                let person = (campaign.clone(), scope.to_owned(), row.try_get(3)?);
                match existing_row(&row) {
                    Ok(row) => {
                        existing.people.insert(person, row);
                    }
                    Err(_) => {
                        existing.unreadable.insert(Either::Person(person));
                    }
                }
            }
        }
        Ok(existing)
    }

    pub(crate) fn judge(&self, grant: &Planned<'_>) -> JudgeVerdict {
        let event = grant.event;
        let of_serial = self.serials.get(&event.key()).map(Vec::as_slice);
        let person = (
            event.campaign.clone(),
            grant.person_scope().to_owned(),
            event.applicant.to_string(),
        );
        let of_person = self.people.get(&person);
        let either = [Either::Serial(event.key()), Either::Person(person)];
        if either.iter().any(|either| self.unreadable.contains(either)) {
            return JudgeVerdict::Rejected(Rejection::new(
                Reason::RowRefused,
                "a row of the same serial or person cannot be read",
            ));
        }
        judge(event, of_serial.unwrap_or_default(), of_person)
    }
}

fn existing_row(row: &MySqlRow) -> Result<ExistingRow, sqlx::Error> {
    fn decoded<T, E: std::error::Error + Send + Sync + 'static>(
        value: Result<T, E>,
    ) -> Result<T, sqlx::Error> {
        value.map_err(|error| sqlx::Error::Decode(Box::new(error)))
    }
    let ordinal = |column: usize| decoded(Ordinal::try_from(row.try_get::<u32, _>(column)?));
    let granted_at: Option<i64> = row.try_get(7)?;
    Ok(ExistingRow {
        id: row.try_get(0)?,
        round: row.try_get(1)?,
        serial: row.try_get(2)?,
        user_id: row.try_get(3)?,
        active: row.try_get::<String, _>(4)? == ACTIVE,
        turn: ordinal(5)?,
        win: ordinal(6)?,
        granted_at: granted_at
            .map(|millis| decoded(Millis::try_from(millis)))
            .transpose()?,
    })
}
