//! Reads a campaign's terms from the database and from the gate, so that tests can compare them.

use crate::evidence::Stores;
use crate::rows::Database;
use anyhow::{Context, Result};
use redis::AsyncTypedCommands;
use rushgate_gate::Keys;
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// `running`, `paused`, `closed` or `halted`.
    pub state: String,
    /// `campaign` or `round`.
    pub one_per: String,
    /// Size of the waitlist of a round.
    pub waitlist: u32,
    pub rounds: BTreeMap<String, Round>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round {
    /// In ms; 0: it has always been open.
    pub opens_at: i64,
    /// In ms; `None`: it never closes.
    pub closes_at: Option<i64>,
    pub quota: u32,
}

impl Stores {
    /// The terms of `campaign` at the gate; `None` if the gate does not know the campaign.
    ///
    /// # Errors
    /// When Redis does not answer, or the gate's keys contradict each other.
    pub async fn terms_at_gate(&self, campaign: &str) -> Result<Option<Terms>> {
        let keys = Keys::of(&campaign.parse().context("parsing the campaign id")?);
        let mut redis = self.redis().await?;
        let mut rules = redis.hgetall(keys.campaign()).await?;
        let (Some(state), Some(one_per), Some(waitlist)) = (
            rules.remove("state"),
            rules.remove("one_per"),
            rules.remove("waitlist"),
        ) else {
            return Ok(None);
        };
        let fields = redis.hgetall(keys.rounds()).await?;
        let field = |round: &str, name: &str| {
            let value = fields.get(&format!("{round}/{name}"));
            value.with_context(|| format!("round {round} has no {name} at the gate"))
        };
        let mut rounds = BTreeMap::new();
        for (round, opens_at) in redis.zrange_withscores(keys.schedule(), 0, -1).await? {
            let closes_at = match field(&round, "closes_at")?.as_str() {
                "" => None,
                at => Some(at.parse()?),
            };
            let terms = Round {
                opens_at: opens_at as i64,
                closes_at,
                quota: field(&round, "quota")?.parse()?,
            };
            rounds.insert(round, terms);
        }
        Ok(Some(Terms {
            state,
            one_per,
            waitlist: waitlist.parse()?,
            rounds,
        }))
    }
}

impl Database {
    /// The terms of `campaign` in the database; `None` if it has no such campaign.
    pub async fn terms(&self, campaign: &str) -> Result<Option<Terms>> {
        let rules = "SELECT state, one_per, waitlist FROM campaigns WHERE campaign_id = ?";
        let rules: Option<(String, String, u32)> = sqlx::query_as(rules)
            .bind(campaign)
            .fetch_optional(self.pool())
            .await?;
        let Some((state, one_per, waitlist)) = rules else {
            return Ok(None);
        };
        let rounds: Vec<(String, Option<i64>, Option<i64>, u32)> = sqlx::query_as(
            "SELECT round_id, CAST(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', opens_at) DIV 1000 AS SIGNED), \
             CAST(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', closes_at) DIV 1000 AS SIGNED), quota \
             FROM rounds WHERE campaign_id = ?",
        )
        .bind(campaign)
        .fetch_all(self.pool())
        .await?;
        let rounds = rounds
            .into_iter()
            .map(|(round, opens_at, closes_at, quota)| {
                let terms = Round {
                    opens_at: opens_at.unwrap_or_default(),
                    closes_at,
                    quota,
                };
                (round, terms)
            });
        Ok(Some(Terms {
            state,
            one_per,
            waitlist,
            rounds: rounds.collect(),
        }))
    }
}
