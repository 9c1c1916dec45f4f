//! Reads the terms of the rounds in a batch, and rejects the records that do not fit them: those with an unknown
//! round, or with a serial above the quota.

use crate::kafka::record::Delivery;
use crate::rejection::{Reason, Rejection};
use crate::table::plan::{Planned, RoundInForce};
use crate::table::row_codes::RowCodes;
use crate::table::statement_length::{padded, placeholders};
use rushgate_gate::{CampaignId, Quota, RoundId};
use sqlx::mysql::MySqlRow;
use sqlx::{AssertSqlSafe, MySqlConnection, Row};
use std::collections::{BTreeSet, HashMap};

/// Rounds by campaign and round id. `None` if the values in the database cannot be read, for example because a
/// later version has written them.
pub(crate) type Rounds = HashMap<CampaignId, HashMap<RoundId, Option<RoundInForce>>>;

/// Reads the terms of the rounds in the batch. The rounds are locked against changes until the commit. Their
/// campaigns are not locked: how often a person may win and which codes there are never changes, and a command that
/// changes a campaign locks the campaign before its rounds.
///
/// # Errors
/// When the transaction must be tried again.
pub(crate) async fn rounds_in_force(
    connection: &mut MySqlConnection,
    batch: &[Delivery],
) -> Result<Rounds, sqlx::Error> {
    let (campaigns, names): (BTreeSet<_>, BTreeSet<_>) = batch
        .iter()
        .filter_map(|delivery| delivery.decoded.as_ref().ok())
        .map(|event| (&event.campaign, &event.round))
        .unzip();
    if campaigns.is_empty() {
        return Ok(Rounds::new());
    }
    let campaigns: Vec<&CampaignId> = campaigns.into_iter().collect();
    let names: Vec<&RoundId> = names.into_iter().collect();
    // Two lists, although they also find rounds that are not in the batch: MariaDB does not use the key for a
    // list of pairs, and with pairs joined by OR it compares each row with every pair.
    let sql = format!(
        "SELECT campaign_id, round_id, quota, \
         (SELECT one_per FROM campaigns WHERE campaign_id = rounds.campaign_id), \
         (SELECT CONCAT_WS('/', codes, code_key) FROM campaigns WHERE campaign_id = rounds.campaign_id) \
         FROM rounds WHERE campaign_id IN ({}) AND round_id IN ({}) LOCK IN SHARE MODE",
        placeholders(&campaigns, "?", ", "),
        placeholders(&names, "?", ", ")
    );
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for campaign in padded(&campaigns) {
        query = query.bind(campaign.as_str());
    }
    for name in padded(&names) {
        query = query.bind(name.as_str());
    }
    let rows = query.fetch_all(connection).await?;
    let mut rounds = Rounds::new();
    for row in &rows {
        let text = |column: usize| row.try_get::<String, _>(column);
        // A round with another name is not one of the rounds that were requested.
        if let (Ok(campaign), Ok(round)) = (text(0)?.parse(), text(1)?.parse()) {
            let of_campaign = rounds.entry(campaign).or_default();
            of_campaign.insert(round, in_force(row));
        }
    }
    Ok(rounds)
}

fn in_force(row: &MySqlRow) -> Option<RoundInForce> {
    Some(RoundInForce {
        quota: Quota::try_from(row.try_get::<u32, _>(2).ok()?).ok()?,
        one_per: row.try_get::<String, _>(3).ok()?.parse().ok()?,
        codes: row.try_get::<String, _>(4).ok()?.parse().ok()?,
    })
}

/// Checks a record against its round before any row is written.
///
/// # Errors
/// With the reason for its dead letter.
pub(crate) fn admit<'a>(
    place: usize,
    delivery: &'a Delivery,
    rounds: &Rounds,
    codes: &RowCodes,
) -> Result<Planned<'a>, Rejection> {
    let event = delivery.decoded.as_ref().map_err(Rejection::clone)?;
    let round = rounds
        .get(&event.campaign)
        .and_then(|rounds| rounds.get(&event.round))
        .copied()
        .ok_or("no round")
        .and_then(|round| round.ok_or("the database's terms cannot be read of round"))
        .map_err(|problem| {
            let detail = format_args!("{problem} {}/{}", event.campaign, event.round);
            Rejection::new(Reason::UnknownRound, detail)
        })?;
    if event.serial.get() > round.quota.get() {
        return Err(Rejection::new(
            Reason::OverQuota,
            format_args!(
                "{} is above the round's quota of {}",
                event.key(),
                round.quota
            ),
        ));
    }
    Ok(Planned {
        place,
        event,
        round,
        code: codes.of(event, round.codes),
    })
}
