//! The insert: grants become rows of `coupons`, or it is known of each why it does not.
//!
//! A plain multi-row INSERT, because the keys of the table are the last word. When one of them says no, we
//! look which rows it spoke of: INSERT IGNORE and ON DUPLICATE KEY UPDATE would hide that, and the number of
//! affected rows does not tell either.

use crate::failure::{Verdict, number, verdict};
use crate::plan::{Planned, RoundKey};
use crate::refusal::{Reason, Refusal};
use crate::shape::{padded, placeholders, powers_of_two};
use crate::store::{Fate, StoreError};
use rushgate_gate::event::EventKey;
use rushgate_gate::{CampaignId, Millis};
use sqlx::{AssertSqlSafe, MySqlConnection, Row};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// The most rows in a statement: 3,584 placeholders of the 65,535 that the protocol allows, and some 100 KB of
/// the 16 MB that MariaDB takes. Longer statements are hardly faster.
const LONGEST: usize = 512;

/// `coupons.state` of a coupon that was not revoked.
pub(crate) const ACTIVE: &str = "active";

/// The INSERT for 1, 2, 4 … 512 rows.
pub struct InsertStatements(Vec<Arc<str>>);

impl Default for InsertStatements {
    fn default() -> Self {
        Self(
            (0..=LONGEST.ilog2())
                .map(|power| {
                    let rows = vec!["(?, ?, ?, ?, ?, ?, ?)"; 1 << power].join(", ");
                    Arc::from(format!(
                        "INSERT INTO coupons \
                         (campaign_id, round_id, serial, user_id, quota, person_scope, granted_at) \
                         VALUES {rows}"
                    ))
                })
                .collect(),
        )
    }
}

/// Inserts grants, no two of which may be of the same serial or person, and writes down their fates.
///
/// # Errors
/// When the transaction has to be tried again as a whole.
pub async fn insert(
    connection: &mut MySqlConnection,
    statements: &InsertStatements,
    mut grants: Vec<Planned<'_>>,
    fates: &mut [Option<Fate>],
) -> Result<(), StoreError> {
    // Whoever locks in the same order does not deadlock. (The order of people cannot be kept as well.)
    grants.sort_by(|a, b| sort_key(a).cmp(&sort_key(b)));
    let mut to_insert = powers_of_two(grants, LONGEST);
    to_insert.reverse();
    while let Some(mut rows) = to_insert.pop() {
        let Err(error) = insert_rows(connection, statements, &rows).await else {
            for row in &rows {
                fates[row.place] = Some(Fate::Inserted);
            }
            continue;
        };
        match verdict(&error) {
            Verdict::Retryable => return Err(error.into()),
            Verdict::Duplicate => {
                let existing = Existing::look(connection, &rows).await?;
                let before = rows.len();
                rows.retain(|row| {
                    fates[row.place] = existing.judge(row);
                    fates[row.place].is_none()
                });
                if rows.len() == before {
                    return Err(StoreError::Unsettled);
                }
                to_insert.extend(powers_of_two(rows, LONGEST));
            }
            Verdict::Permanent if rows.len() == 1 => {
                let refusal = Refusal::new(
                    Reason::RowRefused,
                    format_args!("error {}: {error}", number(&error)),
                );
                fates[rows[0].place] = Some(Fate::Refused(refusal));
            }
            Verdict::Permanent => {
                let second_half = rows.split_off(rows.len() / 2);
                to_insert.extend([second_half, rows]);
            }
        }
    }
    Ok(())
}

/// One statement. That it fails takes back its own rows and no others.
async fn insert_rows(
    connection: &mut MySqlConnection,
    statements: &InsertStatements,
    rows: &[Planned<'_>],
) -> Result<(), sqlx::Error> {
    let statement = &statements.0[rows.len().ilog2() as usize];
    let mut query = sqlx::query(AssertSqlSafe(Arc::clone(statement)));
    for row in rows {
        query = query
            .bind(row.event.campaign.as_str())
            .bind(row.event.round.as_str())
            .bind(row.event.serial.get())
            .bind(row.event.applicant.as_str())
            .bind(row.round.quota.get())
            .bind(row.person_scope())
            .bind(datetime(row.event.at));
    }
    query.execute(connection).await.map(drop)
}

/// As a `DATETIME(3)` is written.
pub fn datetime(at: Millis) -> String {
    at.to_string().replace('T', " ").replace('Z', "")
}

/// The rows that stand in the way of some grants.
#[derive(Debug, Default)]
struct Existing {
    /// By serial: who has it or had it, and whether he has it still.
    serials: HashMap<EventKey, Vec<(String, bool)>>,
    /// By campaign, scope and person: the round and serial that he holds.
    people: HashMap<(CampaignId, String, String), (String, u32)>,
}

impl Existing {
    /// Asks the database. Locking reads, so that what we see is the latest, and stays until we commit.
    async fn look(
        connection: &mut MySqlConnection,
        grants: &[Planned<'_>],
    ) -> Result<Self, sqlx::Error> {
        let mut serials: BTreeMap<RoundKey, Vec<&Planned<'_>>> = BTreeMap::new();
        let mut people: BTreeMap<(&CampaignId, &str), Vec<&Planned<'_>>> = BTreeMap::new();
        for grant in grants {
            let event = grant.event;
            let round = (event.campaign.clone(), event.round.clone());
            serials.entry(round).or_default().push(grant);
            let scope = (&event.campaign, grant.person_scope());
            people.entry(scope).or_default().push(grant);
        }
        let mut existing = Self::default();
        for ((campaign, round), grants) in serials {
            let sql = format!(
                "SELECT serial, user_id, state FROM coupons \
                 WHERE campaign_id = ? AND round_id = ? AND serial IN ({}) LOCK IN SHARE MODE",
                placeholders(&grants, "?", ", ")
            );
            let mut query = sqlx::query(AssertSqlSafe(sql))
                .bind(campaign.as_str())
                .bind(round.as_str());
            for grant in padded(&grants) {
                query = query.bind(grant.event.serial.get());
            }
            let rows = query.fetch_all(&mut *connection).await?;
            let keys: HashMap<u32, EventKey> = grants
                .iter()
                .map(|grant| (grant.event.serial.get(), grant.event.key()))
                .collect();
            for row in rows {
                if let Some(key) = keys.get(&row.try_get::<u32, _>(0)?) {
                    let holder = (row.try_get(1)?, row.try_get::<String, _>(2)? == ACTIVE);
                    existing
                        .serials
                        .entry(key.clone())
                        .or_default()
                        .push(holder);
                }
            }
        }
        for ((campaign, scope), grants) in people {
            let sql = format!(
                "SELECT active_user_id, round_id, serial FROM coupons \
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
                let person = (campaign.clone(), scope.to_owned(), row.try_get(0)?);
                existing
                    .people
                    .insert(person, (row.try_get(1)?, row.try_get(2)?));
            }
        }
        Ok(existing)
    }

    /// What the rows say of a grant; `None` if nothing is in its way.
    fn judge(&self, grant: &Planned<'_>) -> Option<Fate> {
        let event = grant.event;
        let holders = self
            .serials
            .get(&event.key())
            .map(Vec::as_slice)
            .unwrap_or_default();
        // Also if it was revoked since: the same grant does not come back to life.
        if holders
            .iter()
            .any(|(user_id, _)| user_id == event.applicant.as_str())
        {
            return Some(Fate::Done);
        }
        if let Some((user_id, _)) = holders.iter().find(|(_, active)| *active) {
            return Some(Fate::Refused(Refusal::new(
                Reason::SerialTaken,
                format_args!(
                    "{} of user_id {} is held by user_id {user_id}",
                    event.key(),
                    event.applicant
                ),
            )));
        }
        let person = (
            event.campaign.clone(),
            grant.person_scope().to_owned(),
            event.applicant.to_string(),
        );
        self.people.get(&person).map(|(round, serial)| {
            Fate::Refused(Refusal::new(
                Reason::AlreadyHolds,
                format_args!(
                    "user_id {} of {} holds {}/{round}/{serial} already",
                    event.applicant,
                    event.key(),
                    event.campaign
                ),
            ))
        })
    }
}

fn sort_key<'a>(grant: &Planned<'a>) -> (&'a str, &'a str, u32) {
    let event = grant.event;
    (
        event.campaign.as_str(),
        event.round.as_str(),
        event.serial.get(),
    )
}
