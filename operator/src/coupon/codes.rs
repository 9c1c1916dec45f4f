//! The command `rushgate coupon codes`, which writes the codes that rows lack: those that a consumer without the key, or
//! of an older version, has inserted.

use crate::config::Config;
use crate::database::{Codeless, Database};
use crate::output::CommandOutput;
use crate::refusal::refuse;
use crate::terms::no_such_campaign;
use anyhow::{Result, bail};
use clap::Args;
use rushgate_gate::{CampaignId, CodeOf, Codes, CouponCode};
use serde::Serialize;
use std::fmt;

pub(super) const EXAMPLES: &str = "Example:
  rushgate coupon codes --campaign welcome

It needs the key of the campaign in COUPON_CODE_KEYS. It may run at any time, and again after an interruption.";

/// Rows in one statement.
const AT_ONCE: usize = 512;

/// The arguments of `coupon codes`.
#[derive(Args)]
pub struct WriteCodes {
    /// The campaign
    #[arg(long)]
    campaign: CampaignId,
}

impl WriteCodes {
    pub(super) async fn run(&self, config: &Config) -> Result<CommandOutput> {
        let (id, keys) = (&self.campaign, config.coupon_codes.keys()?);
        let database = Database::connect(config).await?;
        let Some(campaign) = database.campaign(id).await? else {
            bail!(no_such_campaign(id));
        };
        let Codes::Signed(key) = campaign.terms.codes else {
            refuse!(NoCodes, "campaign {id} has no signed codes");
        };
        let code = |row: &Codeless| -> Option<(u64, CouponCode)> {
            let of = CodeOf {
                campaign: id,
                round: &row.grant.round,
                serial: row.grant.serial,
                turn: row.turn,
                applicant: &row.grant.applicant,
            };
            Some((row.id, keys.code(key, of)?))
        };
        if !keys.contains(key) {
            refuse!(
                NoCodes,
                "COUPON_CODE_KEYS lacks the key {key} of campaign {id}: add it to the keys (docs/codes.md), and run this \
                 command again"
            );
        }
        let mut written = 0;
        for round in &campaign.rounds {
            let mut from = 0;
            loop {
                let rows = database.codeless(id, &round.id, from, AT_ONCE).await?;
                let Some(last) = rows.last() else { break };
                // The same serial again: the rest of its rows may be on the next page.
                from = last.grant.serial.get();
                let codes: Vec<_> = rows.iter().filter_map(code).collect();
                written += database.write_codes(&codes).await?;
            }
        }
        Ok(CommandOutput::of(Written {
            campaign: id.clone(),
            written,
        }))
    }
}

#[derive(Serialize)]
struct Written {
    campaign: CampaignId,
    /// How many codes were written.
    written: u64,
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "campaign {}: {} codes written",
            self.campaign, self.written
        )
    }
}
