//! Reads what `rushgate watch` shows of Redis: all campaigns in one question.

use super::connection::Gate;
use anyhow::Result;
use redis::{Cmd, FromRedisValue, RedisError, from_redis_value};
use rushgate_gate::overview::{self, Overview};
use rushgate_gate::script::Eval;
use rushgate_gate::{CampaignId, Keys, Value};

/// What Redis knows at one moment. A figure that it did not return is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GateReading {
    pub campaigns: Vec<CampaignReading>,
    /// The reply to `INFO memory persistence`; `None` if this user may not run it.
    pub info: Option<String>,
    /// The setting; `None` if this user may not read it, which is usual.
    pub appendfsync: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CampaignReading {
    pub campaign: CampaignId,
    /// `Some(None)`: the gate does not know the campaign.
    pub overview: Option<Option<Overview>>,
    /// Entries that the bridge has not acked.
    pub in_stream: Option<u64>,
    /// When the oldest of them was added, in ms since 1970 by the clock of Redis.
    pub oldest_entry: Option<i64>,
    /// Dead letters of the bridge.
    pub dead_letters: Option<u64>,
}

/// Commands for each campaign.
const EACH: usize = 4;

type Reply = Result<redis::Value, RedisError>;

/// Entries of a stream: ids, names and values.
type Entries = Vec<(String, Vec<Vec<u8>>)>;

impl Gate {
    /// Asks once. A campaign whose keys are broken hides nothing of the others.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn reading(&mut self, campaigns: &[CampaignId]) -> Result<GateReading> {
        let mut replies = self.batch(commands(campaigns, Eval::BySha)).await?;
        let is_unknown =
            |reply: &Reply| matches!(reply, Err(error) if error.code() == Some("NOSCRIPT"));
        if replies.iter().any(is_unknown) {
            replies = self.batch(commands(campaigns, Eval::BySource)).await?;
        }
        let mut replies = replies.into_iter();
        let info = replies.next().and_then(read);
        // Names and values, one after the other.
        let setting: Option<Vec<String>> = replies.next().and_then(read);
        let mut reading = GateReading {
            campaigns: vec![],
            info,
            appendfsync: setting.and_then(|mut words| words.pop()),
        };
        for campaign in campaigns {
            let overview: Option<Vec<Value>> = replies.next().and_then(read);
            let in_stream = replies.next().and_then(read);
            let oldest: Option<Entries> = replies.next().and_then(read);
            let (id, _) = oldest.and_then(|mut entries| entries.pop()).unzip();
            reading.campaigns.push(CampaignReading {
                campaign: campaign.clone(),
                overview: overview.and_then(|reply| overview::overview(&reply).ok()),
                in_stream,
                oldest_entry: id.and_then(|id| id.split('-').next()?.parse().ok()),
                dead_letters: replies.next().and_then(read),
            });
        }
        Ok(reading)
    }
}

fn read<T: FromRedisValue>(reply: Reply) -> Option<T> {
    from_redis_value(reply.ok()?).ok()
}

fn commands(campaigns: &[CampaignId], eval: Eval) -> Vec<Cmd> {
    let mut commands = Vec::with_capacity(2 + EACH * campaigns.len());
    let mut add = |words: &[&str]| {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        commands.push(command);
    };
    add(&["INFO", "memory", "persistence"]);
    add(&["CONFIG", "GET", "appendfsync"]);
    for campaign in campaigns {
        let keys = Keys::of(campaign);
        let call = overview::call(campaign);
        let words: Vec<&str> = [eval.command()]
            .into_iter()
            .chain(call.arguments(eval))
            .collect();
        add(&words);
        add(&["XLEN", &keys.stream()]);
        add(&["XRANGE", &keys.stream(), "-", "+", "COUNT", "1"]);
        add(&["XLEN", &keys.dead_letters()]);
    }
    commands
}
