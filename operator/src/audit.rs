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
use lines::{Line, lines};
use repair::repair;

use crate::config::Config;
use crate::database::{Database, FailedEvent, FailedEventFilter};
use crate::output::{CommandOutput, figure};
use crate::servers::{Servers, is_away};
use crate::stderr;
use crate::terms::no_such_campaign;
use anyhow::{Result, bail};
use clap::Args;
use rushgate_gate::{CampaignId, CodeKeys};
use serde::Serialize;
use std::fmt;

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
    /// Runs the audit and returns its output.
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
            stderr::warning(&danger);
        }
        let campaigns = match &self.campaign {
            Some(id) => vec![id.clone()],
            None => auditor.servers.campaigns().await,
        };
        let mut audited = vec![];
        let mut agrees = true;
        let mut errors = vec![];
        for id in &campaigns {
            match auditor.audit(id, self, &mut audited).await {
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
            let rest = auditor.audit_rest(&campaigns).await;
            agrees &= rest.is_none();
            audited.extend(rest);
        }
        let missing = auditor.servers.missing;
        let is_silent = audited.is_empty() && !(missing.is_empty() && errors.is_empty());
        Ok(CommandOutput {
            report: (!is_silent).then(|| Box::new(AuditReport(audited)) as _),
            missing,
            disagrees: !agrees,
            errors,
        })
    }
}

/// An item for each campaign, and one for dead letters of no campaign.
#[derive(Serialize)]
struct AuditReport(Vec<Audited>);

/// A figure that no server returned is `None`.
#[derive(Serialize)]
struct Audited {
    /// `None`: what belongs to no campaign.
    campaign: Option<CampaignId>,
    /// Grants that the gate holds.
    held: Option<usize>,
    /// Active rows.
    coupons: Option<usize>,
    on_the_way: Option<usize>,
    /// Whether all stores could be read.
    is_complete: bool,
    /// No findings, or all of them were repaired.
    agrees: bool,
    /// How many findings there are.
    found: usize,
    findings: Vec<Line>,
    /// What was repaired, in words.
    repairs: Vec<String>,
}

impl fmt::Display for AuditReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("there is no campaign");
        }
        for (number, audited) in self.0.iter().enumerate() {
            let separator = if number == 0 { "" } else { "\n" };
            write!(f, "{separator}{audited}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Audited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(id) = &self.campaign else {
            f.write_str("no campaign: ")?;
            return self.findings.iter().try_for_each(|line| line.fmt(f));
        };
        write!(
            f,
            "campaign {id}: {} held at the gate, {} coupons, {} on the way, {}",
            figure(self.held),
            figure(self.coupons),
            figure(self.on_the_way),
            match (self.found, self.is_complete) {
                (0, true) => "all agree".to_owned(),
                (0, false) => "no finding in what could be read".to_owned(),
                (1, _) => "1 finding".to_owned(),
                (count, _) => format!("{count} findings"),
            }
        )?;
        self.findings
            .iter()
            .try_for_each(|line| write!(f, "\n  {line}"))?;
        self.repairs
            .iter()
            .try_for_each(|line| write!(f, "\n  {}", line.replace('\n', "\n  ")))
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
    async fn audit(
        &mut self,
        id: &CampaignId,
        audit: &Audit,
        audited: &mut Vec<Audited>,
    ) -> Result<bool> {
        let Some(look) = look::look(&mut self.servers, id, &self.keys).await else {
            bail!(no_such_campaign(id));
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
        let mut report = Audited {
            campaign: Some(id.clone()),
            held: look.held,
            coupons: look.coupons,
            on_the_way: look.on_the_way,
            is_complete: !look.seen.is_partial,
            agrees: found.is_empty(),
            found: found.len(),
            findings: lines(id, &found, audit.all),
            repairs: vec![],
        };
        let repaired = match audit.repair && !found.is_empty() {
            true => repair(self.config, id, &found, &mut report.repairs).await,
            false => Ok(0),
        };
        report.agrees |= matches!(repaired, Ok(repaired) if repaired == found.len());
        let agrees = report.agrees;
        audited.push(report);
        repaired.map(|_| agrees)
    }

    /// Audits what belongs to none of `campaigns`: dead letters that name no known one. `None` if there are none.
    async fn audit_rest(&mut self, campaigns: &[CampaignId]) -> Option<Audited> {
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
        let first = failed_events.first()?;
        let line = Line {
            kind: "failed_event",
            count: failed_events.len(),
            message: format!(
                "{} open dead letters name no known campaign, such as {} ({})",
                failed_events.len(),
                first.id,
                first.reason
            ),
            also: String::new(),
            advice: format!("`rushgate failed show {}` shows it", first.id),
            command: Some(format!("rushgate failed show {}", first.id)),
            repairable: false,
        };
        Some(Audited {
            campaign: None,
            held: None,
            coupons: None,
            on_the_way: None,
            is_complete: true,
            agrees: false,
            found: failed_events.len(),
            findings: vec![line],
            repairs: vec![],
        })
    }
}
