//! `rushgate audit`: checks that gate, stream, topic, tables and dead letters agree, and repairs what it safely can.
//!
//! It takes no locks, so it may run during a rush. A grant that moves between two reads can look wrong once; therefore
//! everything that looks wrong is read a second time, and only what is wrong both times is reported.

mod finding;
mod findings;
mod lines;
mod look;
mod pool;
mod repair;

pub use finding::Finding;
pub use findings::{Seen, findings};
use lines::lines;
use repair::repair;

use crate::config::Config;
use crate::database::{Database, FailedEvent, FailedEventFilter};
use crate::output::{CommandOutput, figure};
use crate::servers::{Servers, is_away};
use crate::terms::no_such_campaign;
use anyhow::{Result, bail};
use clap::Args;
use rushgate_gate::{CampaignId, CodeKeys};
use std::fmt::Write;

pub const EXAMPLES: &str = "Examples:
  rushgate audit                   all campaigns; for a cron job: exits with 0 if all agree, 2 if something does not, 1 if
                                   nothing was found but not everything could be read
  rushgate audit welcome --repair  finishes interrupted commands, puts missing grants back on the stream, confirms
                                   committed rows, makes database and gate agree on the terms; exits with 0 if nothing
                                   else is left

The audit takes no locks and may run during a rush. Each finding says what to do about it. If a server does not answer,
what the other servers know is still shown. Settings of Redis with which grants may be lost are warnings, not findings.";

/// The arguments of `audit`.
#[derive(Args)]
pub struct Audit {
    /// The campaign; default: all campaigns
    campaign: Option<CampaignId>,
    /// Repair what is certain: put missing grants back on the stream, confirm committed rows
    #[arg(long)]
    repair: bool,
    /// Print every finding, instead of counting similar ones
    #[arg(long)]
    all: bool,
}

impl Audit {
    /// Runs the audit and returns the text for the operator.
    ///
    /// # Errors
    /// When there is no such campaign, or a repair fails.
    pub async fn run(&self, config: &Config) -> Result<CommandOutput> {
        let mut auditor = Auditor {
            servers: Servers::connect(config).await,
            keys: config.coupon_codes.keys()?,
            config,
        };
        for danger in auditor.servers.redis_dangers().await {
            eprintln!("warning: {danger}");
        }
        let campaigns = match &self.campaign {
            Some(id) => vec![id.clone()],
            None => auditor.servers.campaigns().await,
        };
        let mut text = String::new();
        let mut agrees = true;
        let mut errors = vec![];
        for id in &campaigns {
            match auditor.audit(id, self, &mut text).await {
                Ok(agreed) => agrees &= agreed,
                Err(error) => {
                    // What is wrong with this campaign alone hides nothing of the others.
                    let goes_on = !is_away(&error);
                    errors.push(error.context(format!("campaign {id}")));
                    if !goes_on {
                        break;
                    }
                }
            }
        }
        if self.campaign.is_none() {
            agrees &= auditor.audit_rest(&campaigns, &mut text).await?;
        }
        let missing = auditor.servers.missing;
        if text.is_empty() && missing.is_empty() && errors.is_empty() {
            text.push_str("there is no campaign");
        }
        Ok(CommandOutput {
            text: text.trim_end().to_owned(),
            missing,
            disagrees: !agrees,
            errors,
        })
    }
}

struct Auditor<'a> {
    servers: Servers,
    /// The keys of codes.
    keys: CodeKeys,
    config: &'a Config,
}

impl Auditor<'_> {
    /// Audits one campaign. True if there are no findings, or all of them were repaired.
    async fn audit(&mut self, id: &CampaignId, audit: &Audit, text: &mut String) -> Result<bool> {
        let Some(look) = look::look(&mut self.servers, id, &self.keys).await else {
            bail!("{}", no_such_campaign(id));
        };
        let mut found = findings(&look.seen);
        if !found.is_empty()
            && let Some(again) = look::look(&mut self.servers, id, &self.keys).await
        {
            found = found
                .intersection(&findings(&again.seen))
                .cloned()
                .collect();
        }
        writeln!(
            text,
            "campaign {id}: {} held at the gate, {} coupons, {} on the way, {}",
            figure(look.held),
            figure(look.coupons),
            figure(look.on_the_way),
            match (found.len(), look.seen.is_partial) {
                (0, false) => "all agree".to_owned(),
                (0, true) => "no finding in what could be read".to_owned(),
                (1, _) => "1 finding".to_owned(),
                (count, _) => format!("{count} findings"),
            }
        )?;
        for line in lines(id, &found, audit.all) {
            writeln!(text, "  {line}")?;
        }
        let repaired = match audit.repair && !found.is_empty() {
            true => repair(self.config, id, &found, text).await?,
            false => 0,
        };
        Ok(found.len() == repaired)
    }

    /// Audits what belongs to none of `campaigns`. True if there are no findings.
    async fn audit_rest(&mut self, campaigns: &[CampaignId], text: &mut String) -> Result<bool> {
        let open = FailedEventFilter::default();
        let question = async |database: &mut Database| database.failed_events(&open).await;
        let what = "dead letters of unknown campaigns";
        let failed_events = self.servers.database(what, question).await;
        let belongs = |failed_event: &FailedEvent| {
            let key = failed_event.key.as_deref().unwrap_or_default();
            campaigns.iter().any(|campaign| {
                let rest = key.strip_prefix(campaign.as_str().as_bytes());
                rest.is_some_and(|rest| rest.starts_with(b"/"))
            })
        };
        let mut failed_events = failed_events.unwrap_or_default();
        failed_events.retain(|failed_event| !belongs(failed_event));
        let Some(first) = failed_events.first() else {
            return Ok(true);
        };
        writeln!(
            text,
            "no campaign: {} open dead letters name no known campaign, such as {} ({}): `rushgate failed show {}` \
             shows it",
            failed_events.len(),
            first.id,
            first.reason,
            first.id
        )?;
        Ok(false)
    }
}
