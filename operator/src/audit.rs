//! `rushgate audit`: checks that gate, stream, topic, tables and dead letters agree, and repairs what it safely can.
//!
//! It takes no locks, so it may run during a rush. A grant that moves between two reads can look wrong once; therefore
//! everything that looks wrong is read a second time, and only what is wrong both times is reported.

mod findings;
mod lines;

pub use findings::{Finding, Seen, differing_terms, findings};
use lines::lines;

use crate::campaign::no_such;
use crate::config::Config;
use crate::database::{Action, Database, FailedEvent, FailedEventFilter, Resolution};
use crate::failed::DeadLetterId;
use crate::gate::Gate;
use crate::intention::{GrantRef, Task};
use crate::operation::Reserved;
use crate::output::{CommandOutput, figure};
use crate::servers::{Servers, is_away};
use anyhow::{Result, bail};
use clap::Args;
use rushgate_gate::restore::Standing;
use rushgate_gate::{Assignment, CampaignId, CampaignState, Event};
use std::collections::BTreeSet;
use std::fmt::Write;

pub const EXAMPLES: &str = "Examples:
  rushgate audit                   all campaigns; for a cron job: exits with 0 if all agree, 2 if something does not, 1 if
                                   nothing was found but not everything could be read
  rushgate audit welcome --repair  finishes interrupted commands, puts missing grants back on the stream, confirms
                                   committed rows, makes database and gate agree on the terms; exits with 0 if nothing
                                   else is left

The audit takes no locks and may run during a rush. Each finding says what to do about it. If a server does not answer,
what the other servers know is still shown. Settings of Redis with which grants may be lost are warnings, not findings.";

/// Most findings repaired in one batch.
const AT_ONCE: usize = 5_000;

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
    config: &'a Config,
}

/// What one pass observed, with counts; `None` where a server did not answer.
struct Look {
    seen: Seen,
    held: Option<usize>,
    coupons: Option<usize>,
    on_the_way: Option<usize>,
}

impl Auditor<'_> {
    /// Audits one campaign. True if there are no findings, or all of them were repaired.
    async fn audit(&mut self, id: &CampaignId, audit: &Audit, text: &mut String) -> Result<bool> {
        let Some(look) = self.look(id).await else {
            bail!("{}", no_such(id));
        };
        let mut found = findings(&look.seen);
        if !found.is_empty()
            && let Some(again) = self.look(id).await
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
            true => self.repair(id, &found, text).await?,
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

    /// Reads everything, upstream first: a grant that moves on during the pass is then seen at least once. `None` if
    /// there is no such campaign.
    async fn look(&mut self, id: &CampaignId) -> Option<Look> {
        let mut seen = Seen::default();
        let servers = &mut self.servers;
        let what = format!("the terms of campaign {id}");
        let question = async |database: &mut Database| {
            // A command that is still running is not interrupted, and it changes what is compared here.
            let is_at_work = database.is_reserved(id).await?;
            let terms = database.campaign(id).await?;
            Ok((is_at_work, terms, database.intention(id).await?))
        };
        let (is_at_work, terms, intention) = match servers.database(&what, question).await {
            Some((_, None, _)) => return None,
            Some(found) => found,
            None => (true, None, None),
        };
        let what = format!("the state of campaign {id} at the gate");
        let projection = servers
            .gate(&what, async |gate| gate.projection(id).await)
            .await;
        if let Some(projection) = &projection {
            let at_gate = projection.as_ref().map(|at_gate| at_gate.state);
            let was_told = terms.as_ref().is_some_and(|terms| terms.projected);
            seen.is_unknown = was_told && at_gate.is_none();
            seen.is_halted = at_gate == Some(CampaignState::Halted);
        }
        if let Some(terms) = &terms {
            let at_gate = projection.as_ref().and_then(Option::as_ref);
            let is_halted = terms.state == CampaignState::Halted;
            seen.is_halted_here =
                is_halted && at_gate.is_some_and(|at_gate| at_gate.state != CampaignState::Halted);
            seen.is_halted |= is_halted;
            if !is_at_work {
                seen.unfinished = match terms.projected {
                    true => intention.map(|intention| intention.to_string()),
                    false => Some("the creation of the campaign was interrupted".to_owned()),
                };
                if let (Some(at_gate), false) =
                    (at_gate, seen.is_halted || seen.unfinished.is_some())
                {
                    let states = (terms.state, at_gate.state);
                    seen.states = (states.0 != states.1).then_some(states);
                    seen.terms = differing_terms(terms, at_gate);
                }
            }
        }
        let what = format!("grants of campaign {id} at the gate");
        let books = match &terms {
            Some(terms) => {
                // The one-per rule is part of each grant's key: use the rule that the gate has.
                let at_gate = projection.as_ref().and_then(Option::as_ref);
                let at_gate = at_gate.and_then(|at_gate| at_gate.terms);
                let one_per = at_gate.unwrap_or(terms.terms).one_per;
                let books = async |gate: &mut Gate| {
                    let held = gate.held(id, one_per).await?;
                    let unheld = (gate.pool(id).await?, gate.miscounts(id).await?);
                    Ok((
                        held,
                        unheld,
                        gate.revoked(id).await?,
                        gate.events(id).await?,
                    ))
                };
                servers.gate(&what, books).await
            }
            None => None,
        };
        let held = books.as_ref().map(|((held, _), ..)| held.len());
        if let Some(((held, unreadable), ((free, odd), miscounts), revoked, events)) = books {
            seen.unreadable.extend(unreadable.into_iter().chain(odd));
            seen.free = free;
            seen.miscounts.extend(miscounts);
            let held = held.into_iter();
            seen.held = held.map(|held| (held.assignment, held.issued)).collect();
            seen.taken_back.extend(revoked);
            for event in events {
                seen.on_the_way.insert((place(&event), event.event_type));
            }
        }
        let what = format!("dead letters of the bridge in campaign {id}");
        let unpublished = servers
            .gate(&what, async |gate| gate.unpublished(id).await)
            .await;
        for unpublished in unpublished.iter().flatten() {
            let about = unpublished.event().ok().map(|event| place(&event));
            let dead_letter = DeadLetterId::Bridge(id.clone(), unpublished.entry_id.clone());
            seen.unpublished.insert(dead_letter.to_string(), about);
        }
        let what = format!("campaign {id} in Kafka");
        let topic = servers
            .kafka(&what, async |kafka| kafka.events(id).await)
            .await;
        for (event, waits) in topic.iter().flatten() {
            let about = place(event);
            if *waits {
                seen.on_the_way.insert((about.clone(), event.event_type));
            }
            seen.in_topic.insert(about);
        }
        let what = format!("coupons and dead letters of campaign {id}");
        let which = FailedEventFilter {
            campaign: Some(id.clone()),
            resolved: true,
            ..FailedEventFilter::default()
        };
        let tables = match &terms {
            Some(_) => {
                let question = async |database: &mut Database| {
                    let granted = database.granted(id).await?;
                    let failed_events = database.failed_events(&which).await?;
                    let discarded = database.grants_of(id, Action::Discarded).await?;
                    let revoked = database.grants_of(id, Action::Revoked).await?;
                    Ok((granted, failed_events, discarded, revoked))
                };
                servers.database(&what, question).await
            }
            None => None,
        };
        let has_tables = tables.is_some();
        if let Some((granted, failed_events, discarded, revoked)) = tables {
            seen.discarded.extend(discarded);
            seen.revoked_by_log.extend(revoked);
            for granted in granted {
                let active = !matches!(granted.standing, Standing::Revoked(_));
                let about = Assignment {
                    round: granted.round,
                    serial: granted.serial,
                    applicant: granted.applicant,
                };
                seen.rows.insert(about, active);
            }
            for failed_event in failed_events {
                let about = failed_event.place();
                match &failed_event.resolution {
                    None => {
                        seen.failed_events
                            .insert(failed_event.id, (about, failed_event.reason));
                    }
                    Some((word, _)) if word == Resolution::Discarded.as_str() => {
                        seen.discarded.extend(about);
                    }
                    Some(_) => {}
                }
            }
        }
        let rounds = terms.iter().flat_map(|terms| &terms.rounds);
        seen.quotas = rounds
            .map(|round| (round.id.clone(), round.quota.get()))
            .collect();
        let has_all_on_the_way = held.is_some() && topic.is_some();
        seen.is_partial =
            projection.is_none() || unpublished.is_none() || !has_all_on_the_way || !has_tables;
        Some(Look {
            held,
            coupons: has_tables.then(|| seen.rows.values().filter(|active| **active).count()),
            on_the_way: has_all_on_the_way.then_some(seen.on_the_way.len()),
            seen,
        })
    }

    /// Repairs what is certain; returns how many findings that covers.
    async fn repair(
        &self,
        id: &CampaignId,
        found: &BTreeSet<Finding>,
        text: &mut String,
    ) -> Result<usize> {
        let mut operation = Reserved::new(self.config, id).await?.take_over().await?;
        if operation.is_halted() {
            writeln!(
                text,
                "  {}",
                operation.halt_both("an audit has found it").await?
            )?;
            return Ok(0);
        }
        operation.finish().await?;
        let finished = operation.report("");
        if !finished.is_empty() {
            writeln!(text, "  {}", finished.replace('\n', "\n  "))?;
        }
        if let Some(Task::Repair { .. }) = operation.finished_task() {
            // The interrupted command was this repair, and it covered what is found now.
            return Ok(found.iter().filter(|it| it.is_repairable()).count());
        }
        let mut repaired = usize::from(found.iter().any(Finding::is_unfinished));
        let mut left: Vec<&Finding> = found.iter().filter(|it| it.is_repairable()).collect();
        left.retain(|finding| !finding.is_unfinished());
        for findings in left.chunks(AT_ONCE) {
            let done = operation.perform(task(findings), None).await?;
            writeln!(text, "  repaired: {done}")?;
            repaired += findings.len();
        }
        Ok(repaired)
    }
}

/// The task that repairs the repairable findings.
fn task(findings: &[&Finding]) -> Task {
    let (mut resend, mut confirm, mut agree) = (vec![], vec![], false);
    for finding in findings {
        match finding {
            Finding::Missing { place, .. } | Finding::StillActive(place) => {
                resend.push(GrantRef::from(place));
            }
            Finding::Unconfirmed(place) => confirm.push(GrantRef::from(place)),
            _ => agree = true,
        }
    }
    Task::Repair {
        resend,
        confirm,
        agree,
    }
}

fn place(event: &Event) -> Assignment {
    Assignment {
        round: event.round.clone(),
        serial: event.serial,
        applicant: event.applicant.clone(),
    }
}
