//! Reads the whole state of a campaign as lines of text, without what differs in every run: times, numbers and the
//! campaign's name.

use super::scene::{Scene, keys};
use redis::streams::StreamRangeReply;
use std::collections::BTreeMap;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) gate: Vec<String>,
    pub(super) database: Vec<String>,
}

/// One line for each thing that the database has of a campaign.
const DATABASE: &str = "\
SELECT CONVERT(CONCAT_WS(' ', 'campaign', state, one_per, 'waitlist', waitlist, first_day, last_day, opens_local, \
    IF(projected_at IS NULL, 'not projected', 'projected')) USING utf8mb4) AS line FROM campaigns WHERE campaign_id = ? \
UNION ALL SELECT CONVERT(CONCAT_WS(' ', 'round', round_id, IFNULL(opens_at, '-'), IFNULL(closes_at, '-'), quota) \
    USING utf8mb4) FROM rounds WHERE campaign_id = ? \
UNION ALL SELECT CONVERT(CONCAT_WS(' ', 'coupon', round_id, serial, user_id, state, \
    IF(code IS NULL, NULL, 'coded'), IF(redeemed_at IS NULL, NULL, 'redeemed'), order_id) USING utf8mb4) \
    FROM coupons WHERE campaign_id = ? \
UNION ALL SELECT CONVERT(CONCAT_WS(' ', 'dead letter', record_key, reason, IFNULL(resolution, 'open'), resolution_note) \
    USING utf8mb4) FROM failed_events WHERE record_key LIKE CONCAT(?, '/%') \
UNION ALL SELECT CONVERT(IF(action = 'restored', 'log restored', \
    CONCAT_WS(' ', 'log', action, REGEXP_REPLACE(SUBSTRING_INDEX(detail, '; its serial', 1), '^[0-9]+', 'N'), CONCAT('(', reason, ')'))) USING utf8mb4) \
    FROM campaign_log WHERE campaign_id = ?";

impl Standing {
    pub(super) async fn of(scene: &Scene, campaign: &str) -> Self {
        let mut standing = Self {
            gate: at_gate(scene, campaign).await,
            database: in_database(scene, campaign).await,
        };
        for line in standing.gate.iter_mut().chain(standing.database.iter_mut()) {
            *line = without_moments(&line.replace(campaign, "C"));
        }
        standing.gate.sort();
        standing.database.sort();
        standing
    }

    /// The differences from the expected state.
    pub(super) fn differs_from(&self, expected: &Self) -> Option<String> {
        if self == expected {
            return None;
        }
        let mut differences = vec![];
        for (store, have, want) in [
            ("gate", &self.gate, &expected.gate),
            ("database", &self.database, &expected.database),
        ] {
            let counts = |lines: &[String]| {
                lines.iter().fold(BTreeMap::new(), |mut counts, line| {
                    *counts.entry(line.clone()).or_insert(0) += 1;
                    counts
                })
            };
            let (have, want) = (counts(have), counts(want));
            for (line, count) in &have {
                let wanted = want.get(line).copied().unwrap_or(0);
                if *count > wanted {
                    differences.push(format!(
                        "{store} has {} too many of [{line}]",
                        count - wanted
                    ));
                }
            }
            for (line, wanted) in &want {
                let count = have.get(line).copied().unwrap_or(0);
                if count < *wanted {
                    differences.push(format!("{store} lacks {} of [{line}]", wanted - count));
                }
            }
        }
        Some(differences.join("; "))
    }
}

/// The line without times in ms.
fn without_moments(line: &str) -> String {
    const DIGITS: usize = 13;
    let mut words: Vec<&str> = vec![];
    for piece in line.split_inclusive(|letter: char| !letter.is_ascii_digit()) {
        let digits = piece.trim_end_matches(|letter: char| !letter.is_ascii_digit());
        words.push(match digits.len() {
            DIGITS => &piece[DIGITS..],
            _ => piece,
        });
    }
    words.concat()
}

async fn in_database(scene: &Scene, campaign: &str) -> Vec<String> {
    let mut query = sqlx::query_scalar(DATABASE);
    for _ in 0..5 {
        query = query.bind(campaign);
    }
    query.fetch_all(&scene.database).await.expect("lines")
}

async fn at_gate(scene: &Scene, campaign: &str) -> Vec<String> {
    let keys = keys(campaign);
    let mut lines = vec![];
    let rules: BTreeMap<String, String> = scene.redis(&["HGETALL", &keys.campaign()]).await;
    let is_rule = |name: &str| matches!(name, "state" | "one_per" | "waitlist" | "revokes");
    let rules = rules.into_iter().filter(|(name, _)| is_rule(name));
    lines.extend(rules.map(|(name, value)| format!("{name} {value}")));
    let rounds: BTreeMap<String, String> = scene.redis(&["HGETALL", &keys.rounds()]).await;
    // A count of zero is stored in some rounds, and missing in others.
    let rounds = rounds.into_iter().filter(|(_, value)| value != "0");
    lines.extend(rounds.map(|(name, value)| format!("round {name} {value}")));
    let schedule: Vec<(String, i64)> = scene
        .redis(&["ZRANGE", &keys.schedule(), "0", "-1", "WITHSCORES"])
        .await;
    let opens = |(round, at): &(String, i64)| format!("round {round} opens {at}");
    lines.extend(schedule.iter().map(opens));
    let grants: BTreeMap<String, String> = scene.redis(&["HGETALL", &keys.grants()]).await;
    lines.extend(grants.iter().map(|(holder, held)| {
        let mut parts = held.split('/');
        let place = [parts.next(), parts.next()].map(Option::unwrap_or_default);
        let issued = parts.nth(1).unwrap_or("not issued");
        let redeemed = parts.next().map_or("", |_| " redeemed");
        format!("grant {holder} {} {issued}{redeemed}", place.join("/"))
    }));
    let waitlist: Vec<String> = scene.redis(&["ZRANGE", &keys.waitlist(), "0", "-1"]).await;
    lines.extend(waitlist.iter().map(|member| format!("waits {member}")));
    let waiting: BTreeMap<String, String> = scene.redis(&["HGETALL", &keys.waiting()]).await;
    lines.extend(waiting.keys().map(|who| format!("is waiting {who}")));
    let revoked: BTreeMap<String, String> = scene.redis(&["HGETALL", &keys.revoked()]).await;
    lines.extend(revoked.iter().map(|(what, value)| {
        let value = match what.contains('/') {
            true => value.split('/').next().unwrap_or_default(),
            false => value,
        };
        format!("revoked {what} {value}")
    }));
    let pool: Vec<String> = scene.redis(&["ZRANGE", &keys.pool(), "0", "-1"]).await;
    lines.extend(pool.iter().map(|serial| format!("free {serial}")));
    for (name, key) in [
        ("stream", keys.stream()),
        ("dead letter", keys.dead_letters()),
    ] {
        let entries: StreamRangeReply = scene.redis(&["XRANGE", &key, "-", "+"]).await;
        let mut events: Vec<String> = entries
            .ids
            .iter()
            .map(|entry| {
                let field = |name| entry.get::<String>(name).unwrap_or_default();
                let fields = ["type", "round", "serial", "turn", "user_id"].map(field);
                format!("{name} {}", fields.join(" "))
            })
            .collect();
        // An event that is sent a second time is recognised by the consumer.
        events.sort();
        events.dedup();
        lines.extend(events);
    }
    lines
}
