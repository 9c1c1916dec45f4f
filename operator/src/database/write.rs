//! Writes to several tables in one transaction: what a command has done, and that it has done it.

use super::connection::Database;
use super::failed_events::{self, Resolution};
use super::log::{self, Entry};
use super::{campaigns, intentions, rounds};
use crate::intention::Intention;
use crate::terms::Campaign;
use anyhow::Result;
use rushgate_gate::{CampaignId, CampaignState};
use sqlx::mysql::MySqlConnection;

/// One write of a transaction.
#[derive(Clone, Copy, Debug)]
pub enum Write<'a> {
    /// A command is about to do this.
    Begin(&'a Intention),
    /// The intention was carried out or refused. Fails if another command has taken the campaign over.
    End(&'a Intention),
    /// Add rounds and raise quotas to those of this campaign.
    Room(&'a Campaign),
    /// Store exactly these rules and rounds.
    Final(&'a Campaign),
    /// The gate knows the campaign.
    Projected,
    /// Set the state, unless the campaign was halted meanwhile.
    State(CampaignState),
    /// Set the state, also if the campaign is halted.
    Reopened(CampaignState),
    /// Resolve a dead letter of the consumer, unless it is already resolved.
    Resolved(u64, Resolution, &'a str),
    /// Append a line to the log.
    Log(Entry<'a>),
}

impl Database {
    /// Makes all these writes in one transaction.
    ///
    /// # Errors
    /// When the database refuses, or another command has taken the campaign over. Nothing was written then, unless the
    /// answer to the commit was lost.
    pub async fn write(&self, campaign: &CampaignId, writes: &[Write<'_>]) -> Result<()> {
        self.transact(async |connection| {
            for write in writes {
                one(connection, campaign, write).await?;
            }
            Ok(())
        })
        .await
    }

    /// Records what was done with a dead letter of the consumer, unless it is already resolved.
    pub async fn resolve(&self, id: u64, resolution: Resolution, note: &str) -> Result<()> {
        self.transact(async |connection| {
            failed_events::resolve(connection, id, resolution, note).await
        })
        .await
    }
}

async fn one(
    connection: &mut MySqlConnection,
    campaign: &CampaignId,
    write: &Write<'_>,
) -> Result<()> {
    match write {
        Write::Begin(intention) => intentions::begin(connection, intention).await,
        Write::End(intention) => intentions::end(connection, intention).await,
        Write::Room(wanted) => rounds::make_room(connection, wanted).await,
        Write::Final(campaign) => campaigns::finalize(connection, campaign).await,
        Write::Projected => campaigns::set_projected(connection, campaign).await,
        Write::State(state) => campaigns::set_state(connection, campaign, *state, false).await,
        Write::Reopened(state) => campaigns::set_state(connection, campaign, *state, true).await,
        Write::Resolved(id, resolution, note) => {
            failed_events::resolve(connection, *id, *resolution, note).await
        }
        Write::Log(entry) => log::append(connection, campaign, *entry).await,
    }
}
