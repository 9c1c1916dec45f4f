//! The command `rushgate coupon codes`, which writes the codes that rows lack: those that a consumer without the key, or
//! of an older version, has inserted. With pool codes, these are the numbers of the codes; it also copies the codes of the
//! pool to the gate.

use crate::codes::{PoolCounts, copy};
use crate::config::Config;
use crate::database::{Codeless, Database};
use crate::gate::Gate;
use crate::output::CommandOutput;
use crate::refusal::refuse;
use crate::terms::{Campaign, no_such_campaign};
use anyhow::{Result, bail};
use clap::Args;
use rushgate_gate::{CampaignId, CodeOf, Codes, CouponCode};
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt;

pub(super) const EXAMPLES: &str = "Example:
  rushgate coupon codes --campaign welcome

With signed codes, it needs the key of the campaign in COUPON_CODE_KEYS. It may run at any time, and again after an interruption.";

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
        let key = match campaign.terms.codes {
            Codes::Signed(key) => key,
            Codes::Pool => return pool(config, &database, &campaign).await,
            Codes::None => refuse!(NoCodes, "campaign {id} has no codes"),
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
            pool: None,
        }))
    }
}

#[derive(Serialize)]
struct Written {
    campaign: CampaignId,
    /// How many codes were written.
    written: u64,
    /// With pool codes: those at the gate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pool: Option<PoolCounts>,
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            campaign, written, ..
        } = self;
        match &self.pool {
            None => write!(f, "campaign {campaign}: {written} codes written"),
            Some(pool) => write!(
                f,
                "campaign {campaign}: numbers of {written} codes written; the codes are at the gate: {pool}"
            ),
        }
    }
}

/// Writes what a campaign with pool codes lacks.
async fn pool(config: &Config, database: &Database, campaign: &Campaign) -> Result<CommandOutput> {
    let id = &campaign.id;
    let mut gate = Gate::connect(config).await?;
    let counts = copy(database, &mut gate, id, true).await?;
    let rows = database.granted(id).await?;
    let rows = rows.into_iter().filter(|row| row.code_number.is_none());
    let lacking: BTreeSet<_> = rows.map(|row| row.assignment()).collect();
    let (held, _) = gate.held(id, campaign.terms.one_per).await?;
    let numbers = held.into_iter().filter_map(|held| {
        let is_lacking = lacking.contains(&held.assignment);
        Some((held.assignment, held.code_number.filter(|_| is_lacking)?))
    });
    let numbers: Vec<_> = numbers.collect();
    let written = database.write_code_numbers(id, &numbers).await?;
    Ok(CommandOutput::of(Written {
        campaign: id.clone(),
        written,
        pool: Some(counts.into()),
    }))
}
