//! The commands `rushgate failed list` and `rushgate failed show`.

use super::arguments::Filter;
use crate::config::Config;
use crate::database::{Database, FailedEventFilter};
use crate::dead_letter::{DeadLetterId, UNPUBLISHED, no_such, shown};
use crate::gate::{Gate, Unpublished};
use crate::output::CommandOutput;
use crate::servers::Servers;
use crate::terms::no_such_campaign;
use anyhow::{Context, Result, bail};
use rushgate_gate::CampaignId;
use rushgate_gate::record::PARKED;
use std::fmt::Write;

pub(super) async fn list(
    config: &Config,
    filter: &Filter,
    all: bool,
    limit: u32,
) -> Result<CommandOutput> {
    let mut servers = Servers::connect(config).await;
    let mut text = format!(
        "{:<32} {:<20} {:<14} {:<32} {:>8}  RESOLUTION",
        "ID", "SINCE", "REASON", "RECORD", "ATTEMPTS"
    );
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
    for failed_event in failed_events.unwrap_or_default() {
        let resolution = failed_event
            .resolution
            .as_ref()
            .map_or("open", |(word, _)| word.as_str());
        write!(
            text,
            "\n{:<32} {:<20} {:<14} {:<32} {:>8}  {resolution}",
            failed_event.id,
            failed_event.at,
            failed_event.reason,
            shown(failed_event.key.as_deref()),
            failed_event.attempts
        )?;
    }
    let is_asked_for = |reason: &String| reason == UNPUBLISHED;
    if filter.reason.as_ref().is_none_or(is_asked_for) {
        for (campaign, unpublished) in unpublished(&mut servers, filter).await? {
            let id = DeadLetterId::Bridge(campaign, unpublished.entry_id.clone());
            write!(
                text,
                "\n{id:<32} {:<20} {UNPUBLISHED:<14} {:<32} {:>8}  open",
                since(&unpublished.entry_id),
                unpublished
                    .event()
                    .map_or_else(|_| "no event".to_owned(), |event| event.key().to_string()),
                1
            )?;
        }
    }
    Ok(CommandOutput {
        text,
        missing: servers.missing,
        ..CommandOutput::default()
    })
}

async fn unpublished(
    servers: &mut Servers,
    filter: &Filter,
) -> Result<Vec<(CampaignId, Unpublished)>> {
    let campaigns = match &filter.campaign {
        Some(id) => match servers.campaign(id).await {
            Some(None) => bail!("{}", no_such_campaign(id)),
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

/// Asks only the server that stores this kind.
pub(super) async fn show(config: &Config, id: &DeadLetterId) -> Result<String> {
    let database = Database::connect(config).await?;
    let mut text = format!("dead letter {id}");
    let mut line = |what: &str, value: &str| write!(text, "\n  {what:<12} {value}");
    match id {
        DeadLetterId::Consumer(id) => {
            let failed_event = database.failed_event(*id).await?;
            line("since", &failed_event.at)?;
            line(
                "reason",
                &format!("{}: {}", failed_event.reason, failed_event.detail),
            )?;
            let place = format!(
                "{} partition {} offset {}",
                failed_event.topic, failed_event.partition, failed_event.offset
            );
            line("record", &place)?;
            line("key", &shown(failed_event.key.as_deref()))?;
            line("value", &shown(failed_event.value.as_deref()))?;
            for (name, value) in &failed_event.headers {
                line("header", &format!("{name}: {}", shown(value.as_deref())))?;
            }
            if failed_event.has_lost_headers {
                line("header", "… and more, which are not stored")?;
            }
            line("attempts", &failed_event.attempts.to_string())?;
            let parked = PARKED
                .iter()
                .find(|(reason, _)| *reason == failed_event.reason);
            if let (Some((_, until)), None) = (parked, &failed_event.resolution) {
                line(
                    "parked",
                    &format!("until {until}; then the consumer replays it"),
                )?;
            }
            match &failed_event.resolution {
                None => line("resolution", "open")?,
                Some((word, at)) => line("resolution", &format!("{word} at {at}"))?,
            }
            if let Some(note) = &failed_event.note {
                line("note", note)?;
            }
        }
        DeadLetterId::Bridge(campaign, entry_id) => {
            let mut gate = Gate::connect(config).await?;
            database.existing(campaign).await?;
            let mut dead_letters = gate.unpublished(campaign).await?.into_iter();
            let dead_letter = dead_letters.find(|dead_letter| dead_letter.entry_id == *entry_id);
            let dead_letter = dead_letter.with_context(|| no_such(campaign))?;
            line("since", &since(entry_id))?;
            line("reason", &dead_letter.reason())?;
            for (name, value) in &dead_letter.fields {
                if name != "reason" {
                    line("field", &format!("{name}: {}", shown(Some(value))))?;
                }
            }
        }
    }
    Ok(text)
}

/// When Redis added the entry.
fn since(entry_id: &str) -> String {
    let millis = entry_id
        .split('-')
        .next()
        .and_then(|ms| ms.parse::<i64>().ok());
    let instant = millis.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    instant.map_or_else(String::new, |instant| format!("{instant:.0}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_id_says_since_when_it_exists() {
        assert_eq!(since("1796086800123-0"), "2026-12-01T01:00:00Z");
    }
}
