//! `rushgate campaign`: create campaigns, change them, see how they stand.

mod change;
mod create;
mod show;
mod state;

use crate::config::Config;
use crate::database::Database;
use crate::gate::Gate;
use crate::terms::Campaign;
use anyhow::{Context, Result, bail};
use change::Change;
use clap::{Args, Subcommand};
use create::Create;
use rushgate_gate::project::{Origin, Outcome};
use rushgate_gate::{CampaignId, CampaignState, Millis};

/// What an operator can do with campaigns.
#[derive(Subcommand)]
pub enum CampaignCommand {
    /// Create a campaign; harmless if the same one is there already
    #[command(after_help = create::EXAMPLES)]
    Create(Create),
    /// Change quota, windows, days or waitlist of a campaign, also of one that runs
    #[command(after_help = change::EXAMPLES)]
    Change(Change),
    /// Refuse applications until it is resumed; winners keep what they have
    Pause(Target),
    /// Take applications again
    Resume(Target),
    /// End it for good; winners keep what they have, and waitlists still move up when something is revoked
    Close(Target),
    /// One line for each campaign
    List,
    /// Its terms, and where its grants are: granted, in the stream, in Kafka, inserted
    Show {
        /// The campaign
        id: CampaignId,
    },
    /// What was done to it, when and why
    Log {
        /// The campaign
        id: CampaignId,
    },
}

/// A campaign, and why something is done to it.
#[derive(Args)]
pub struct Target {
    /// The campaign
    id: CampaignId,
    /// Why, for the log of the campaign
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl CampaignCommand {
    /// Does it; the text for the operator.
    ///
    /// # Errors
    /// When a server does not answer or refuses, or what was asked for makes no sense.
    pub async fn run(&self, config: &Config) -> Result<String> {
        match self {
            Self::Create(create) => create.run(config).await,
            Self::Change(change) => change.run(config).await,
            Self::Pause(target) => state::set(config, target, CampaignState::Paused).await,
            Self::Resume(target) => state::set(config, target, CampaignState::Running).await,
            Self::Close(target) => state::set(config, target, CampaignState::Closed).await,
            Self::List => show::list(config).await,
            Self::Show { id } => show::show(config, id).await,
            Self::Log { id } => show::log(config, id).await,
        }
    }
}

/// The campaign of that name.
pub(crate) async fn existing(database: &Database, id: &CampaignId) -> Result<Campaign> {
    database.campaign(id).await?.with_context(|| {
        format!("there is no campaign {id}: `rushgate campaign list` shows those there are")
    })
}

/// Tells the gate; how many people have moved up from waitlists with it.
pub(crate) async fn project(
    gate: &mut Gate,
    campaign: &Campaign,
    origin: Origin,
    state: CampaignState,
) -> Result<u32> {
    let id = &campaign.id;
    match gate
        .project(id, origin, state, &campaign.terms, &campaign.rounds)
        .await?
    {
        Outcome::Projected { promoted } => Ok(promoted),
        Outcome::UnknownCampaign => bail!(
            "Redis has lost campaign {id} and who won in it; beginning again would give serials twice. \
             Bring back Redis' data (its append-only file or a replica) and run this again, or let `rushgate restore {id}` \
             rebuild it from the database"
        ),
        Outcome::QuotaBelowGranted { round, granted } => bail!(
            "round {round} of campaign {id} has given serials up to {granted} already: choose a --quota of at least that"
        ),
        Outcome::RoundHasGrants { round } => bail!(
            "somebody has won in round {round} of campaign {id} already, so it cannot be removed: choose a later --to"
        ),
        Outcome::Halted => bail!("{}", halted(id)),
    }
}

/// What to say of a campaign that waits to be restored.
pub(crate) fn halted(id: &CampaignId) -> String {
    format!(
        "campaign {id} is halted, because Redis has lost grants of it (`rushgate campaign log {id}` says when): \
         `rushgate restore {id}` rebuilds what it has lost"
    )
}

/// Reads an instant with its offset.
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
