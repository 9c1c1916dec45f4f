//! The command `rushgate codes show`, which shows how many codes of a pool are loaded, taken and left.

use crate::config::Config;
use crate::output::CommandOutput;
use crate::servers::Servers;
use crate::terms::no_such_campaign;
use anyhow::{Result, bail};
use clap::Args;
use rushgate_gate::load_codes::CodeCounts;
use rushgate_gate::{CampaignId, Codes};

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
            Some(None) => bail!("{}", no_such_campaign(id)),
            Some(Some(campaign)) if campaign.terms.codes != Codes::Pool => {
                bail!("campaign {id} has no pool of codes")
            }
            _ => {}
        }
        let taken = servers
            .gate("codes taken", async |gate| gate.code_counts(id).await)
            .await;
        let loaded = servers
            .database("codes loaded", async |database| {
                database.pool_size(id).await
            })
            .await;
        let text = match (loaded, taken) {
            (Some(size), Some(Some(counts))) => short(CodeCounts {
                loaded: size.loaded,
                ..counts
            }),
            (Some(size), Some(None)) => {
                format!(
                    "{} codes loaded; the gate does not know the campaign",
                    size.loaded
                )
            }
            (Some(size), None) => format!("{} codes loaded", size.loaded),
            (None, Some(Some(counts))) => format!("{} codes taken", counts.taken),
            (None, _) => "nothing is known".to_owned(),
        };
        Ok(CommandOutput {
            text: format!("campaign {id}: {text}"),
            missing: servers.missing,
            ..CommandOutput::default()
        })
    }
}

/// The counts in one line.
pub(crate) fn short(counts: CodeCounts) -> String {
    let CodeCounts { loaded, taken } = counts;
    match taken.checked_sub(loaded) {
        None | Some(0) => format!(
            "{loaded} codes loaded, {taken} taken, {} left",
            loaded - taken
        ),
        Some(missing) => format!(
            "{loaded} codes loaded, {taken} taken: {missing} more are needed for grants that wait for their code"
        ),
    }
}
