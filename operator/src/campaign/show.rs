//! `rushgate campaign list`, `show` and `log`.

use super::existing;
use crate::config::Config;
use crate::database::Database;
use crate::gate::Gate;
use crate::kafka::Kafka;
use crate::terms::window;
use anyhow::{Context, Result};
use rushgate_gate::CampaignId;
use std::fmt::Write;

pub(super) async fn list(config: &Config) -> Result<String> {
    let database = Database::connect(config).await?;
    let mut gate = Gate::connect(config).await?;
    let mut text = format!(
        "{:<24} {:<10} {:<12} {:>9} {:>9} {:>9} {:>10}  NEXT",
        "CAMPAIGN", "STATE", "ROUND", "QUOTA", "GRANTED", "ISSUED", "WAITLISTED"
    );
    for id in database.campaigns().await? {
        let Some(overview) = gate.overview(&id).await? else {
            write!(text, "\n{id:<24} unknown to the gate")?;
            continue;
        };
        let (round, counts) = overview.round.as_ref().map_or_else(
            || (String::new(), [0; 4]),
            |round| {
                let quota = round.round.quota.get();
                let counts = [quota, round.granted, round.issued, round.waitlisted];
                (round.round.id.to_string(), counts)
            },
        );
        let [quota, granted, issued, waitlisted] = counts;
        let next = overview.next.map_or_else(String::new, |(round, opens_at)| {
            format!("{round} at {opens_at}")
        });
        let line = format!(
            "{id:<24} {:<10} {round:<12} {quota:>9} {granted:>9} {issued:>9} {waitlisted:>10}  {next}",
            overview.state
        );
        write!(text, "\n{}", line.trim_end())?;
    }
    Ok(text)
}

pub(super) async fn show(config: &Config, id: &CampaignId) -> Result<String> {
    let database = Database::connect(config).await?;
    let campaign = existing(&database, id).await?;
    let mut gate = Gate::connect(config).await?;
    let overview = gate.overview(id).await?.with_context(|| {
        format!("the database knows campaign {id}, the gate does not: if it never did, run `rushgate campaign create` again with the same terms ({campaign})")
    })?;
    let in_stream = gate.in_stream(id).await?;
    let unpublished = gate.dead_letters(id).await?;
    let waiting = {
        let (kafka, id) = (Kafka::new(config)?, id.clone());
        tokio::task::spawn_blocking(move || kafka.waiting(&id)).await??
    };
    let arrived = database.arrived(id).await?;
    let mut text = format!("campaign {id}: {}, {campaign}", overview.state);
    match &overview.round {
        None => text.push_str("\n  no round has opened yet"),
        Some(current) => {
            let (round, quota) = (&current.round, current.round.quota);
            write!(
                text,
                "\n  round {}, quota {quota}, {}",
                round.id,
                window(round)
            )?;
            for (what, number) in [
                ("granted", current.granted),
                ("issued", current.issued),
                ("waitlisted", current.waitlisted),
                ("remaining", current.remaining()),
            ] {
                write!(text, "\n    {what:<28} {number:>9}")?;
            }
        }
    }
    if let Some((round, opens_at)) = &overview.next {
        write!(text, "\n  next round {round}, opens {opens_at}")?;
    }
    text.push_str("\n  of all rounds");
    for (what, number) in [
        ("in the stream", i64::try_from(in_stream)?),
        ("in Kafka", i64::try_from(waiting)?),
        ("inserted", arrived.inserted),
        ("dead letters of the bridge", i64::try_from(unpublished)?),
        ("dead letters of the consumer", arrived.failed),
    ] {
        write!(text, "\n    {what:<28} {number:>9}")?;
    }
    Ok(text)
}

pub(super) async fn log(config: &Config, id: &CampaignId) -> Result<String> {
    let database = Database::connect(config).await?;
    existing(&database, id).await?;
    let lines: Vec<String> = database
        .log(id)
        .await?
        .into_iter()
        .map(|line| {
            let reason = line
                .reason
                .map_or_else(String::new, |reason| format!(" ({reason})"));
            let actor = line
                .actor
                .map_or_else(String::new, |actor| format!(" [{actor}]"));
            format!(
                "{} {:<8} {}{reason}{actor}",
                line.at, line.action, line.detail
            )
        })
        .collect();
    Ok(lines.join("\n"))
}
