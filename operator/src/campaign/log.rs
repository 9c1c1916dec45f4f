//! The command `rushgate campaign log`.

use crate::config::Config;
use crate::database::{Database, LogLine};
use anyhow::Result;
use rushgate_gate::CampaignId;
use serde::Serialize;
use std::fmt;

/// The log of a campaign, oldest line first.
#[derive(Serialize)]
pub(super) struct Log(Vec<LogLine>);

pub(super) async fn log(config: &Config, id: &CampaignId) -> Result<Log> {
    let database = Database::connect(config).await?;
    database.existing(id).await?;
    Ok(Log(database.log(id).await?))
}

impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, line) in self.0.iter().enumerate() {
            let separator = if number == 0 { "" } else { "\n" };
            let LogLine {
                at, action, detail, ..
            } = line;
            write!(f, "{separator}{at} {action:<8} {detail}")?;
            if let Some(reason) = &line.reason {
                write!(f, " ({reason})")?;
            }
            if let Some(actor) = &line.actor {
                write!(f, " [{actor}]")?;
            }
        }
        Ok(())
    }
}
