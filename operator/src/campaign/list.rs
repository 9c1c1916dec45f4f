//! The command `rushgate campaign list`.

use crate::config::Config;
use crate::fields::AtGate;
use crate::output::{CommandOutput, UNKNOWN};
use crate::servers::Servers;
use anyhow::Result;
use rushgate_gate::overview::Overview;
use rushgate_gate::{CampaignId, Millis, Round};
use serde::Serialize;
use std::fmt;

/// All campaigns, an item each.
#[derive(Serialize)]
struct Campaigns(Vec<Listed>);

#[derive(Serialize)]
struct Listed {
    campaign: CampaignId,
    #[serde(flatten)]
    counts: AtGate,
}

pub(super) async fn list(config: &Config) -> Result<CommandOutput> {
    let mut servers = Servers::connect(config).await;
    let mut listed = vec![];
    for campaign in servers.campaigns().await {
        let counts = servers
            .gate(&format!("campaign {campaign}"), async |gate| {
                gate.overview(&campaign).await
            })
            .await;
        listed.push(Listed {
            campaign,
            counts: AtGate(counts),
        });
    }
    Ok(CommandOutput::without(Campaigns(listed), servers.missing))
}

impl fmt::Display for Campaigns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<24} {:<10} {:<18} {:>9} {:>9} {:>9} {:>10}  NEXT",
            "CAMPAIGN", "STATE", "ROUND", "QUOTA", "GRANTED", "ISSUED", "WAITLISTED"
        )?;
        self.0.iter().try_for_each(|listed| write!(f, "\n{listed}"))
    }
}

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = &self.campaign;
        match &self.counts.0 {
            None => write!(f, "{id:<24} {UNKNOWN}"),
            Some(None) => write!(f, "{id:<24} unknown to the gate"),
            Some(Some(overview)) => f.write_str(&line(id, overview)),
        }
    }
}

fn line(id: &CampaignId, overview: &Overview) -> String {
    let (round, counts) = overview.round.as_ref().map_or_else(
        || (String::new(), [0; 4]),
        |round| {
            let quota = round.round.quota.get();
            let counts = [quota, round.granted, round.issued, round.waitlisted];
            (shown(&round.round, overview.now), counts)
        },
    );
    let [quota, granted, issued, waitlisted] = counts;
    let next = overview.next.as_ref();
    let next = next.map_or_else(String::new, |(round, opens_at)| {
        format!("{round} at {opens_at}")
    });
    let line = format!(
        "{id:<24} {:<10} {round:<18} {quota:>9} {granted:>9} {issued:>9} {waitlisted:>10}  {next}",
        overview.state
    );
    line.trim_end().to_owned()
}

/// The round's name, marked if the round is over.
pub(super) fn shown(round: &Round, now: Millis) -> String {
    match round.is_over(now) {
        true => format!("{} (over)", round.id),
        false => round.id.to_string(),
    }
}
