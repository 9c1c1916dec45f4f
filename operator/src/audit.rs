//! `rushgate audit`: whether gate, stream, topic, tables and dead letters agree, and putting right what can be.
//!
//! Nothing is locked, so it may run in the middle of a rush. What moves while it is being looked at can look wrong
//! once; so whatever looks wrong is looked at a second time, and only what is wrong both times is told.

mod findings;
mod lines;

pub use findings::{Finding, Seen, differing_terms, findings};
use lines::lines;

use crate::answer::{Answer, figure};
use crate::campaign::no_such;
use crate::config::Config;
use crate::database::{Action, Database, Letter, Resolution, Which};
use crate::failed::LetterId;
use crate::gate::Gate;
use crate::intention::{Deed, Taken};
use crate::operation::Reserved;
use crate::servers::{Servers, is_away};
use anyhow::{Result, bail};
use clap::Args;
use rushgate_gate::restore::Standing;
use rushgate_gate::{Assignment, CampaignId, CampaignState, Event};
use std::collections::BTreeSet;
use std::fmt::Write;

/// Shown below the flags.
pub const EXAMPLES: &str = "Examples:
  rushgate audit                   all campaigns; for a cron job: the exit code is 0 if all agree, 2 if something does
                                   not, 1 if nothing was found but not everything could be looked at
  rushgate audit welcome --repair  finishes what was interrupted, puts back on the stream what is missing, confirms what
                                   was not confirmed, makes database and gate agree on the terms; 0 if that was all

It locks nothing and may run in the middle of a rush. Every finding says what is to be done about it. A server that does
not answer hides nothing of what the others show. Settings of Redis with which grants may be lost are a warning, and no
finding.";

/// Findings that are repaired in one go.
const AT_ONCE: usize = 5_000;

/// What is to be audited.
#[derive(Args)]
pub struct Audit {
    /// The campaign; all of them, if it is not given
    campaign: Option<CampaignId>,
    /// Put right what can be proven: missing grants go back on the stream, committed ones are confirmed
    #[arg(long)]
    repair: bool,
    /// Show every finding by itself, instead of counting those that are alike
    #[arg(long)]
    all: bool,
}

impl Audit {
    /// Does it; what the operator is told.
    ///
    /// # Errors
    /// When there is no such campaign, or something cannot be repaired.
    pub async fn run(&self, config: &Config) -> Result<Answer> {
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
        Ok(Answer {
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

/// What was seen, and how much of it; `None` where that could not be found out.
struct Look {
    seen: Seen,
    held: Option<usize>,
    coupons: Option<usize>,
    on_the_way: Option<usize>,
}

impl Auditor<'_> {
    /// Audits a campaign; whether nothing was found, or what was found is repaired.
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
                (0, true) => "nothing found as far as could be looked".to_owned(),
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

    /// Audits what belongs to none of `campaigns`; whether nothing was found.
    async fn audit_rest(&mut self, campaigns: &[CampaignId], text: &mut String) -> Result<bool> {
        let open = Which::default();
        let question = async |database: &mut Database| database.letters(&open).await;
        let what = "dead letters of no campaign";
        let letters = self.servers.database(what, question).await;
        let belongs = |letter: &Letter| {
            let key = letter.key.as_deref().unwrap_or_default();
            campaigns.iter().any(|campaign| {
                let rest = key.strip_prefix(campaign.as_str().as_bytes());
                rest.is_some_and(|rest| rest.starts_with(b"/"))
            })
        };
        let mut letters = letters.unwrap_or_default();
        letters.retain(|letter| !belongs(letter));
        let Some(first) = letters.first() else {
            return Ok(true);
        };
        writeln!(
            text,
            "no campaign: {} open dead letters name none that is known, such as {} ({}): `rushgate failed show {}` tells more",
            letters.len(),
            first.id,
            first.reason,
            first.id
        )?;
        Ok(false)
    }

    /// Looks at everything, upstream first, so that what moves on meanwhile is seen at least once.
    /// `None` if there is no such campaign.
    async fn look(&mut self, id: &CampaignId) -> Option<Look> {
        let mut seen = Seen::default();
        let servers = &mut self.servers;
        let what = format!("the terms of campaign {id}");
        let question = async |database: &mut Database| {
            // A command that is at work has not been interrupted, and changes what is compared.
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
        let told = servers
            .gate(&what, async |gate| gate.projection(id).await)
            .await;
        if let Some(told) = &told {
            let at_gate = told.as_ref().map(|told| told.state);
            let was_told = terms.as_ref().is_some_and(|terms| terms.projected);
            seen.is_unknown = was_told && at_gate.is_none();
            seen.is_halted = at_gate == Some(CampaignState::Halted);
        }
        if let Some(terms) = &terms {
            let at_gate = told.as_ref().and_then(Option::as_ref);
            let is_halted = terms.state == CampaignState::Halted;
            seen.is_halted_here =
                is_halted && at_gate.is_some_and(|told| told.state != CampaignState::Halted);
            seen.is_halted |= is_halted;
            if !is_at_work {
                seen.unfinished = match terms.projected {
                    true => intention.map(|intention| intention.to_string()),
                    false => Some("the campaign was not created to the end".to_owned()),
                };
                if let (Some(told), false) = (at_gate, seen.is_halted || seen.unfinished.is_some())
                {
                    let states = (terms.state, told.state);
                    seen.states = (states.0 != states.1).then_some(states);
                    seen.terms = differing_terms(terms, told);
                }
            }
        }
        let what = format!("grants of campaign {id} at the gate");
        let books = match &terms {
            Some(terms) => {
                // The rule is in the name of each grant: it is the one that the gate was told.
                let at_gate = told.as_ref().and_then(Option::as_ref);
                let at_gate = at_gate.and_then(|told| told.terms);
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
            let letter = LetterId::Bridge(id.clone(), unpublished.entry_id.clone());
            seen.unpublished.insert(letter.to_string(), about);
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
        let which = Which {
            campaign: Some(id.clone()),
            resolved: true,
            ..Which::default()
        };
        let tables = match &terms {
            Some(_) => {
                let question = async |database: &mut Database| {
                    let granted = database.granted(id).await?;
                    let letters = database.letters(&which).await?;
                    let discarded = database.grants_of(id, Action::Discarded).await?;
                    let revoked = database.grants_of(id, Action::Revoked).await?;
                    Ok((granted, letters, discarded, revoked))
                };
                servers.database(&what, question).await
            }
            None => None,
        };
        let has_tables = tables.is_some();
        if let Some((granted, letters, discarded, revoked)) = tables {
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
            for letter in letters {
                let about = letter.place();
                match &letter.resolution {
                    None => {
                        seen.letters.insert(letter.id, (about, letter.reason));
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
            told.is_none() || unpublished.is_none() || !has_all_on_the_way || !has_tables;
        Some(Look {
            held,
            coupons: has_tables.then(|| seen.rows.values().filter(|active| **active).count()),
            on_the_way: has_all_on_the_way.then_some(seen.on_the_way.len()),
            seen,
        })
    }

    /// Puts right what can be proven; how many of the findings that is.
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
        if let Some(Deed::Repair { .. }) = operation.finished_deed() {
            // That was this very repair, of what is found as well.
            return Ok(found.iter().filter(|it| it.is_repairable()).count());
        }
        let mut repaired = usize::from(found.iter().any(Finding::is_unfinished));
        let mut left: Vec<&Finding> = found.iter().filter(|it| it.is_repairable()).collect();
        left.retain(|finding| !finding.is_unfinished());
        for findings in left.chunks(AT_ONCE) {
            let done = operation.perform(deed(findings), None).await?;
            writeln!(text, "  repaired: {done}")?;
            repaired += findings.len();
        }
        Ok(repaired)
    }
}

/// What is to be done about findings that can be repaired.
fn deed(findings: &[&Finding]) -> Deed {
    let (mut resend, mut confirm, mut agree) = (vec![], vec![], false);
    for finding in findings {
        match finding {
            Finding::Missing { place, .. } | Finding::StillActive(place) => {
                resend.push(Taken::from(place));
            }
            Finding::Unconfirmed(place) => confirm.push(Taken::from(place)),
            _ => agree = true,
        }
    }
    Deed::Repair {
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
