//! The command `rushgate campaign show`.

use super::list::shown;
use crate::codes::PoolCounts;
use crate::config::Config;
use crate::fields::AtGate;
use crate::operation::lost;
use crate::output::{CommandOutput, UNKNOWN, figure};
use crate::servers::Servers;
use crate::terms::{Campaign, no_such_campaign, window};
use anyhow::{Result, bail};
use rushgate_gate::overview::Overview;
use rushgate_gate::{CampaignId, Codes};
use serde::Serialize;
use std::fmt;

/// The counts that only the gate knows.
const COUNTS: &str = "granted, issued, waitlisted";

/// A campaign: its terms, and how far its grants have come. A figure that no server returned is `None`.
#[derive(Serialize)]
struct Shown {
    campaign: CampaignId,
    #[serde(flatten)]
    counts: AtGate,
    terms: Option<Campaign>,
    /// What an interrupted command, or one that is running, has begun.
    unfinished: Option<String>,
    /// The outer `None`: it has no pool of codes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pool: Option<Option<PoolCounts>>,
    in_stream: Option<usize>,
    in_kafka: Option<usize>,
    inserted: Option<i64>,
    bridge_dead_letters: Option<usize>,
    consumer_dead_letters: Option<i64>,
}

pub(super) async fn show(config: &Config, id: &CampaignId) -> Result<CommandOutput> {
    let mut servers = Servers::connect(config).await;
    let terms = servers.campaign(id).await;
    if let Some(None) = terms {
        bail!(no_such_campaign(id));
    }
    let terms = terms.flatten();
    // Upstream first: a grant that moves on meanwhile is counted at least once.
    let counts = servers
        .gate(COUNTS, async |gate| gate.overview(id).await)
        .await;
    if let Some(None) = counts {
        let why = match &terms {
            Some(terms) if terms.projected => lost(id).to_string(),
            Some(_) => format!(
                "campaign {id} was never projected into the gate: run `rushgate campaign finish {id}`"
            ),
            None => format!("the gate does not know campaign {id}"),
        };
        servers.missing.add(COUNTS, &why);
    }
    let in_stream = servers
        .gate("in the stream", async |gate| gate.in_stream(id).await)
        .await;
    let bridge_dead_letters = servers
        .gate("dead letters of the bridge", async |gate| {
            gate.dead_letters(id).await
        })
        .await;
    let in_kafka = servers
        .kafka("in Kafka", async |kafka| kafka.waiting(id).await)
        .await;
    let arrived = servers
        .database("inserted, dead letters of the consumer", async |database| {
            database.arrived(id).await
        })
        .await;
    let pool = match &terms {
        Some(terms) if terms.terms.codes == Codes::Pool => {
            let counts = servers
                .gate("codes", async |gate| gate.code_counts(id).await)
                .await;
            Some(counts.flatten().map(PoolCounts::from))
        }
        _ => None,
    };
    let unfinished = servers
        .database("unfinished commands", async |database| {
            database.intention(id).await
        })
        .await;
    let shown = Shown {
        campaign: id.clone(),
        counts: AtGate(counts),
        terms,
        unfinished: unfinished.flatten().map(|intention| intention.to_string()),
        pool,
        in_stream,
        in_kafka,
        inserted: arrived.map(|arrived| arrived.inserted),
        bridge_dead_letters,
        consumer_dead_letters: arrived.map(|arrived| arrived.failed),
    };
    Ok(CommandOutput::without(shown, servers.missing))
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = &self.campaign;
        let overview = self.counts.overview();
        write!(f, "campaign {id}: ")?;
        match (overview, &self.terms) {
            (Some(overview), _) => write!(f, "{}", overview.state)?,
            (None, Some(terms)) => write!(f, "{} (in the database)", terms.state)?,
            (None, None) => f.write_str(UNKNOWN)?,
        }
        write!(f, ", {}", figure(self.terms.as_ref()))?;
        if let Some(unfinished) = &self.unfinished {
            write!(
                f,
                "\n  unfinished: {unfinished}. If no command is running, run `rushgate campaign finish {id}`"
            )?;
        }
        match overview {
            Some(overview) => rounds(overview, f)?,
            None => write!(f, "\n  {COUNTS}: {UNKNOWN}")?,
        }
        if let Some(pool) = &self.pool {
            write!(f, "\n  {}", figure(pool.as_ref()))?;
        }
        f.write_str("\n  of all rounds")?;
        for (what, number) in [
            ("in the stream", figure(self.in_stream)),
            ("in Kafka", figure(self.in_kafka)),
            ("inserted", figure(self.inserted)),
            (
                "dead letters of the bridge",
                figure(self.bridge_dead_letters),
            ),
            (
                "dead letters of the consumer",
                figure(self.consumer_dead_letters),
            ),
        ] {
            write!(f, "\n    {what:<28} {number:>9}")?;
        }
        Ok(())
    }
}

/// The round that opened last, and the next round.
fn rounds(overview: &Overview, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match &overview.round {
        None => f.write_str("\n  no round has opened yet")?,
        Some(current) => {
            let (round, quota) = (&current.round, current.round.quota);
            write!(
                f,
                "\n  round {}, quota {quota}, {}",
                shown(round, overview.now),
                window(round)
            )?;
            for (what, number) in [
                ("granted", current.granted),
                ("issued", current.issued),
                ("waitlisted", current.waitlisted),
                ("remaining", current.remaining()),
            ] {
                write!(f, "\n    {what:<28} {number:>9}")?;
            }
        }
    }
    match &overview.next {
        Some((round, opens_at)) => write!(f, "\n  next round {round}, opens {opens_at}"),
        None => Ok(()),
    }
}
