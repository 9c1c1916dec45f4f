//! `rushgate campaign`: create campaigns and see how they stand.

use crate::config::Config;
use crate::database::{Campaign, Database};
use crate::gate::Gate;
use crate::kafka::Kafka;
use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use rushgate_gate::project::{Origin, Outcome};
use rushgate_gate::{CampaignId, CampaignState, Millis, OnePer, Quota, Round, RoundId};
use std::fmt::Write;

/// What an operator can do with campaigns.
#[derive(Subcommand)]
pub enum CampaignCommand {
    /// Create a campaign; harmless if the same one is there already
    Create(Create),
    /// One line for each campaign
    List,
    /// Where the grants of a campaign are: granted, in the stream, in Kafka, inserted
    Show {
        /// The campaign
        id: CampaignId,
    },
}

/// A campaign with one round.
#[derive(Args)]
pub struct Create {
    /// Its name: 1 to 48 of a-z 0-9 - _
    #[arg(long)]
    id: CampaignId,
    /// How many coupons there are
    #[arg(long)]
    quota: Quota,
    /// When it opens, such as 2026-12-01T10:00:00+09:00; now, if it is not given
    #[arg(long, value_parser = instant)]
    opens_at: Option<Millis>,
    /// When it closes; never, if it is not given
    #[arg(long, value_parser = instant)]
    closes_at: Option<Millis>,
    /// How often one person may win
    #[arg(long, default_value_t = OnePer::Campaign)]
    one_per: OnePer,
}

impl CampaignCommand {
    /// Does it; the text for the operator.
    ///
    /// # Errors
    /// When a server does not answer or refuses, or what was asked for makes no sense.
    pub async fn run(&self, config: &Config) -> Result<String> {
        match self {
            Self::Create(create) => create.run(config).await,
            Self::List => list(config).await,
            Self::Show { id } => show(config, id).await,
        }
    }
}

impl Create {
    /// The database first, which keeps what was meant; then Redis, paused until the database knows that Redis
    /// knows. So at whatever point this dies, it can be run again, and a gate that has lost its grants is
    /// never taken for a new one.
    async fn run(&self, config: &Config) -> Result<String> {
        if let (Some(opens_at), Some(closes_at)) = (self.opens_at, self.closes_at)
            && opens_at >= closes_at
        {
            bail!("--closes-at {closes_at} must be after --opens-at {opens_at}");
        }
        let wanted = Campaign {
            id: self.id.clone(),
            state: CampaignState::Running,
            one_per: self.one_per,
            rounds: vec![Round {
                id: RoundId::once(),
                opens_at: self.opens_at,
                closes_at: self.closes_at,
                quota: self.quota,
            }],
            projected: false,
        };
        let database = Database::connect(config).await?;
        let mut gate = Gate::connect(config).await?;
        let campaign = database.create(&wanted).await?;
        if (campaign.one_per, &campaign.rounds) != (wanted.one_per, &wanted.rounds) {
            bail!(
                "campaign {} exists with other terms ({}): choose another --id",
                campaign.id,
                terms(&campaign)
            );
        }
        gate.register(&campaign.id).await?;
        if !campaign.projected {
            project(&mut gate, &campaign, Origin::New, CampaignState::Paused).await?;
            database.set_projected(&campaign.id).await?;
        }
        project(&mut gate, &campaign, Origin::Known, campaign.state).await?;
        Ok(format!(
            "campaign {} is {}: {}",
            campaign.id,
            campaign.state,
            terms(&campaign)
        ))
    }
}

async fn project(
    gate: &mut Gate,
    campaign: &Campaign,
    origin: Origin,
    state: CampaignState,
) -> Result<()> {
    let id = &campaign.id;
    match gate
        .project(id, origin, state, campaign.one_per, &campaign.rounds)
        .await?
    {
        Outcome::Projected => Ok(()),
        Outcome::UnknownCampaign => bail!(
            "Redis has lost campaign {id} and who won in it; beginning again would give serials twice. \
             Bring back Redis' data (its append-only file or a replica) and run this again"
        ),
        Outcome::QuotaBelowGranted { round, granted } => {
            bail!("round {round} of campaign {id} has granted {granted} already")
        }
        Outcome::Halted => bail!("campaign {id} is halted: its grants must be restored first"),
    }
}

async fn list(config: &Config) -> Result<String> {
    let database = Database::connect(config).await?;
    let mut gate = Gate::connect(config).await?;
    let mut text = format!(
        "{:<24} {:<10} {:<12} {:>9} {:>9}",
        "CAMPAIGN", "STATE", "ROUND", "QUOTA", "GRANTED"
    );
    for id in database.campaigns().await? {
        let (state, round, quota, granted) = match gate.overview(&id).await? {
            None => ("unknown".to_owned(), String::new(), 0, 0),
            Some(overview) => {
                let (round, quota, granted) = overview.round.map_or_else(
                    || (String::new(), 0, 0),
                    |current| {
                        let quota = current.round.quota.get();
                        (current.round.id.to_string(), quota, current.granted)
                    },
                );
                (overview.state.to_string(), round, quota, granted)
            }
        };
        write!(
            text,
            "\n{id:<24} {state:<10} {round:<12} {quota:>9} {granted:>9}"
        )?;
    }
    Ok(text)
}

async fn show(config: &Config, id: &CampaignId) -> Result<String> {
    let database = Database::connect(config).await?;
    let campaign = database.campaign(id).await?.with_context(|| {
        format!("there is no campaign {id}: `rushgate campaign list` shows those there are")
    })?;
    let mut gate = Gate::connect(config).await?;
    let overview = gate.overview(id).await?.with_context(|| {
        format!("the database knows campaign {id}, the gate does not: run `rushgate campaign create` again with the same terms ({})", terms(&campaign))
    })?;
    let granted = overview.round.as_ref().map_or(0, |round| round.granted);
    let in_stream = gate.in_stream(id).await?;
    let unpublished = gate.dead_letters(id).await?;
    let waiting = {
        let (kafka, id) = (Kafka::new(config)?, id.clone());
        tokio::task::spawn_blocking(move || kafka.waiting(&id)).await??
    };
    let arrived = database.arrived(id).await?;
    let mut text = format!("campaign {id}: {}, {}", overview.state, terms(&campaign));
    for (what, number) in [
        ("granted", i64::from(granted)),
        ("in the stream", i64::try_from(in_stream)?),
        ("in Kafka", i64::try_from(waiting)?),
        ("inserted", arrived.inserted),
        ("dead letters of the bridge", i64::try_from(unpublished)?),
        ("dead letters of the consumer", arrived.failed),
    ] {
        write!(text, "\n  {what:<28} {number:>9}")?;
    }
    Ok(text)
}

/// What was agreed on, in a few words.
fn terms(campaign: &Campaign) -> String {
    let rounds: Vec<String> = campaign
        .rounds
        .iter()
        .map(|round| {
            let opens = round
                .opens_at
                .map_or_else(|| "now".to_owned(), |at| at.to_string());
            let closes = round
                .closes_at
                .map_or_else(|| "never".to_owned(), |at| at.to_string());
            format!("quota {}, opens {opens}, closes {closes}", round.quota)
        })
        .collect();
    format!("{}, one per {}", rounds.join("; "), campaign.one_per)
}

fn instant(text: &str) -> Result<Millis, String> {
    text.parse::<jiff::Timestamp>()
        .ok()
        .and_then(|instant| Millis::try_from(instant.as_millisecond()).ok())
        .ok_or_else(|| {
            "give date, time and offset, such as 2026-12-01T10:00:00+09:00 or 2026-12-01T01:00:00Z"
                .to_owned()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_needs_its_offset() {
        let at = |text| instant(text).map(Millis::get);
        assert_eq!(at("2026-12-01T10:00:00+09:00"), Ok(1_796_086_800_000));
        assert_eq!(at("2026-12-01T01:00:00Z"), Ok(1_796_086_800_000));
        for bad in [
            "2026-12-01T10:00:00",
            "2026-12-01",
            "tomorrow",
            "1969-12-31T00:00:00Z",
        ] {
            assert!(at(bad).expect_err(bad).contains("such as"), "{bad}");
        }
    }
}
