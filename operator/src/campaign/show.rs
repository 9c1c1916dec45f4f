//! The commands `rushgate campaign list`, `show` and `log`, which only read.

use crate::codes::short;
use crate::config::Config;
use crate::database::Database;
use crate::operation::lost;
use crate::output::{CommandOutput, UNKNOWN, figure};
use crate::servers::Servers;
use crate::terms::{no_such_campaign, window};
use anyhow::{Result, bail};
use rushgate_gate::overview::Overview;
use rushgate_gate::{CampaignId, Codes, Millis, Round};
use std::fmt::Write;

pub(super) async fn list(config: &Config) -> Result<CommandOutput> {
    let mut servers = Servers::connect(config).await;
    let mut text = format!(
        "{:<24} {:<10} {:<18} {:>9} {:>9} {:>9} {:>10}  NEXT",
        "CAMPAIGN", "STATE", "ROUND", "QUOTA", "GRANTED", "ISSUED", "WAITLISTED"
    );
    for id in servers.campaigns().await {
        let overview = servers
            .gate(&format!("campaign {id}"), async |gate| {
                gate.overview(&id).await
            })
            .await;
        let line = match overview {
            None => format!("{id:<24} {UNKNOWN}"),
            Some(None) => format!("{id:<24} unknown to the gate"),
            Some(Some(overview)) => listed(&id, &overview),
        };
        write!(text, "\n{line}")?;
    }
    Ok(CommandOutput {
        text,
        missing: servers.missing,
        ..CommandOutput::default()
    })
}

fn listed(id: &CampaignId, overview: &Overview) -> String {
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

pub(super) async fn show(config: &Config, id: &CampaignId) -> Result<CommandOutput> {
    const COUNTS: &str = "granted, issued, waitlisted";
    let mut servers = Servers::connect(config).await;
    let terms = servers.campaign(id).await;
    if let Some(None) = terms {
        bail!("{}", no_such_campaign(id));
    }
    let terms = terms.flatten();
    // Upstream first: a grant that moves on meanwhile is counted at least once.
    let at_gate = servers
        .gate(COUNTS, async |gate| gate.overview(id).await)
        .await;
    let overview = match at_gate {
        Some(None) => {
            let why = match &terms {
                Some(terms) if terms.projected => lost(id),
                Some(_) => format!(
                    "campaign {id} was never projected into the gate: run `rushgate campaign finish {id}`"
                ),
                None => format!("the gate does not know campaign {id}"),
            };
            servers.missing.add(COUNTS, &why);
            None
        }
        overview => overview.flatten(),
    };
    let in_stream = servers
        .gate("in the stream", async |gate| gate.in_stream(id).await)
        .await;
    let unpublished = servers
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

    let codes = match &terms {
        Some(terms) if terms.terms.codes == Codes::Pool => {
            let counts = servers
                .gate("codes", async |gate| gate.code_counts(id).await)
                .await;
            Some(figure(counts.flatten().map(short)))
        }
        _ => None,
    };

    let unfinished = servers
        .database("unfinished commands", async |database| {
            database.intention(id).await
        })
        .await;

    let state = match (&overview, &terms) {
        (Some(overview), _) => overview.state.to_string(),
        (None, Some(terms)) => format!("{} (in the database)", terms.state),
        (None, None) => UNKNOWN.to_owned(),
    };
    let mut text = format!("campaign {id}: {state}, {}", figure(terms));
    if let Some(intention) = unfinished.flatten() {
        write!(
            text,
            "\n  unfinished: {intention}. If no command is running, run `rushgate campaign finish {id}`"
        )?;
    }
    match &overview {
        Some(overview) => text.push_str(&rounds(overview)?),
        None => write!(text, "\n  {COUNTS}: {UNKNOWN}")?,
    }
    if let Some(codes) = codes {
        write!(text, "\n  {codes}")?;
    }
    text.push_str("\n  of all rounds");
    for (what, number) in [
        ("in the stream", figure(in_stream)),
        ("in Kafka", figure(in_kafka)),
        ("inserted", figure(arrived.map(|arrived| arrived.inserted))),
        ("dead letters of the bridge", figure(unpublished)),
        (
            "dead letters of the consumer",
            figure(arrived.map(|arrived| arrived.failed)),
        ),
    ] {
        write!(text, "\n    {what:<28} {number:>9}")?;
    }
    Ok(CommandOutput {
        text,
        missing: servers.missing,
        ..CommandOutput::default()
    })
}

/// The round's name, marked if the round is over.
fn shown(round: &Round, now: Millis) -> String {
    match round.is_over(now) {
        true => format!("{} (over)", round.id),
        false => round.id.to_string(),
    }
}

/// The round that opened last, and the next round.
fn rounds(overview: &Overview) -> Result<String> {
    let mut text = String::new();
    match &overview.round {
        None => text.push_str("\n  no round has opened yet"),
        Some(current) => {
            let (round, quota) = (&current.round, current.round.quota);
            write!(
                text,
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
                write!(text, "\n    {what:<28} {number:>9}")?;
            }
        }
    }
    if let Some((round, opens_at)) = &overview.next {
        write!(text, "\n  next round {round}, opens {opens_at}")?;
    }
    Ok(text)
}

pub(super) async fn log(config: &Config, id: &CampaignId) -> Result<String> {
    let database = Database::connect(config).await?;
    database.existing(id).await?;
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
