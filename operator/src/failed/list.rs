//! The command `rushgate failed list`.

use super::arguments::Filter;
use super::since::since;
use crate::config::Config;
use crate::database::{FailedEvent, FailedEventFilter};
use crate::dead_letter::{DeadLetterId, UNPUBLISHED, shown};
use crate::gate::Unpublished;
use crate::output::CommandOutput;
use crate::servers::Servers;
use crate::terms::no_such_campaign;
use anyhow::{Result, bail};
use rushgate_gate::CampaignId;
use serde::Serialize;
use std::fmt;

/// The dead letters, an item each.
#[derive(Serialize)]
struct List(Vec<Listed>);

#[derive(Serialize)]
struct Listed {
    id: DeadLetterId,
    since: String,
    reason: String,
    /// `campaign/round/serial`, if it is an event.
    record_key: Option<String>,
    attempts: u32,
    /// `open`, `replayed` or `discarded`.
    resolution: String,
}

impl From<FailedEvent> for Listed {
    fn from(failed_event: FailedEvent) -> Self {
        Self {
            id: DeadLetterId::Consumer(failed_event.id),
            record_key: failed_event.key.as_deref().map(|key| shown(Some(key))),
            resolution: failed_event.resolution_word().to_owned(),
            since: failed_event.at,
            reason: failed_event.reason,
            attempts: failed_event.attempts,
        }
    }
}

impl From<(CampaignId, Unpublished)> for Listed {
    fn from((campaign, unpublished): (CampaignId, Unpublished)) -> Self {
        let event = unpublished.event().ok();
        Self {
            since: since(&unpublished.entry_id),
            reason: UNPUBLISHED.to_owned(),
            record_key: event.map(|event| event.key().to_string()),
            attempts: 1,
            resolution: "open".to_owned(),
            id: DeadLetterId::Bridge(campaign, unpublished.entry_id),
        }
    }
}

pub(super) async fn list(
    config: &Config,
    filter: &Filter,
    all: bool,
    limit: u32,
) -> Result<CommandOutput> {
    let mut servers = Servers::connect(config).await;
    let which = FailedEventFilter {
        campaign: filter.campaign.clone(),
        reason: filter.reason.clone(),
        resolved: all,
        limit: Some(limit),
        ..FailedEventFilter::default()
    };
    let failed_events = servers
        .database("dead letters of the consumer", async |database| {
            database.failed_events(&which).await
        })
        .await;
    let failed_events = failed_events.unwrap_or_default().into_iter();
    let mut list: Vec<Listed> = failed_events.map(Listed::from).collect();
    let is_asked_for = |reason: &String| reason == UNPUBLISHED;
    if filter.reason.as_ref().is_none_or(is_asked_for) {
        let unpublished = unpublished(&mut servers, filter).await?;
        list.extend(unpublished.into_iter().map(Listed::from));
    }
    Ok(CommandOutput::without(List(list), servers.missing))
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<32} {:<20} {:<14} {:<32} {:>8}  RESOLUTION",
            "ID", "SINCE", "REASON", "RECORD", "ATTEMPTS"
        )?;
        self.0.iter().try_for_each(|listed| {
            let record = listed.record_key.as_deref().unwrap_or("none");
            write!(
                f,
                "\n{:<32} {:<20} {:<14} {record:<32} {:>8}  {}",
                listed.id, listed.since, listed.reason, listed.attempts, listed.resolution
            )
        })
    }
}

async fn unpublished(
    servers: &mut Servers,
    filter: &Filter,
) -> Result<Vec<(CampaignId, Unpublished)>> {
    let campaigns = match &filter.campaign {
        Some(id) => match servers.campaign(id).await {
            Some(None) => bail!(no_such_campaign(id)),
            _ => vec![id.clone()],
        },
        None => servers.campaigns().await,
    };
    let mut dead_letters = vec![];
    for id in campaigns {
        let of_campaign = servers
            .gate(
                &format!("dead letters of the bridge in campaign {id}"),
                async |gate| gate.unpublished(&id).await,
            )
            .await;
        let of_campaign = of_campaign.unwrap_or_default().into_iter();
        dead_letters.extend(of_campaign.map(|dead_letter| (id.clone(), dead_letter)));
    }
    Ok(dead_letters)
}
