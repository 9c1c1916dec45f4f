//! The command `rushgate codes show`, which shows how many codes of a pool are loaded, taken and left.

use crate::config::Config;
use crate::operation::lost;
use crate::output::{CommandOutput, figure};
use crate::refusal::refuse;
use crate::servers::Servers;
use crate::terms::no_such_campaign;
use anyhow::{Result, bail};
use clap::Args;
use rushgate_gate::load_codes::CodeCounts;
use rushgate_gate::{CampaignId, Codes};
use serde::Serialize;
use std::fmt;

pub(super) const EXAMPLES: &str = "Example:
  rushgate codes show --campaign shop";

/// The arguments of `codes show`.
#[derive(Args)]
pub struct Show {
    /// The campaign
    #[arg(long)]
    campaign: CampaignId,
}

impl Show {
    pub(super) async fn run(&self, config: &Config) -> Result<CommandOutput> {
        let id = &self.campaign;
        let mut servers = Servers::connect(config).await;
        match servers.campaign(id).await {
            Some(None) => bail!(no_such_campaign(id)),
            Some(Some(campaign)) if campaign.terms.codes != Codes::Pool => {
                refuse!(NoCodes, "campaign {id} has no pool of codes")
            }
            _ => {}
        }
        let taken = servers
            .gate("codes taken", async |gate| gate.code_counts(id).await)
            .await;
        if let Some(None) = taken {
            let why = lost(id).to_string();
            servers.missing.add("codes taken", &why);
        }
        let loaded = servers
            .database("codes loaded", async |database| {
                database.pool_size(id).await
            })
            .await;
        let shown = Shown {
            campaign: id.clone(),
            loaded: loaded.map(|size| size.loaded),
            taken: taken.flatten().map(|counts| counts.taken),
        };
        Ok(CommandOutput::without(shown, servers.missing))
    }
}

/// The pool of a campaign. A figure that no server returned is `None`.
#[derive(Serialize)]
struct Shown {
    campaign: CampaignId,
    loaded: Option<u32>,
    taken: Option<u32>,
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "campaign {}: ", self.campaign)?;
        match (self.loaded, self.taken) {
            (Some(loaded), Some(taken)) => PoolCounts { loaded, taken }.fmt(f),
            (loaded, taken) => write!(
                f,
                "{} codes loaded, {} taken",
                figure(loaded),
                figure(taken)
            ),
        }
    }
}

/// How many codes of a pool are loaded, and how many grants have taken.
#[derive(Serialize)]
pub(crate) struct PoolCounts {
    loaded: u32,
    taken: u32,
}

impl From<CodeCounts> for PoolCounts {
    fn from(CodeCounts { loaded, taken }: CodeCounts) -> Self {
        Self { loaded, taken }
    }
}

impl fmt::Display for PoolCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { loaded, taken } = self;
        write!(f, "{loaded} codes loaded, {taken} taken")?;
        match taken.checked_sub(*loaded) {
            None | Some(0) => write!(f, ", {} left", loaded - taken),
            Some(missing) => write!(
                f,
                ": {missing} more are needed for grants that wait for their code"
            ),
        }
    }
}
