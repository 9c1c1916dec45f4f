//! `rushgate audit`: whether gate, stream, topic, tables and dead letters agree, and putting right what can be.
//!
//! Nothing is locked, so it may run in the middle of a rush. What moves while it is being looked at can look wrong
//! once; so whatever looks wrong is looked at a second time, and only what is wrong both times is told.

mod findings;

pub use findings::{Finding, Seen, differing_terms, findings};

use crate::campaign::existing;
use crate::config::Config;
use crate::database::{Database, Resolution, Which};
use crate::failed::LetterId;
use crate::gate::Gate;
use crate::intention::{Deed, Taken};
use crate::kafka::Kafka;
use crate::operation::Reserved;
use anyhow::Result;
use clap::Args;
use rushgate_gate::restore::Standing;
use rushgate_gate::{CampaignId, CampaignState, Event, Place};
use std::collections::BTreeSet;
use std::fmt::Write;

/// Shown below the flags.
pub const EXAMPLES: &str = "Examples:
  rushgate audit                   all campaigns; for a cron job: the exit code is 0 if all agree, 2 if they do not, 1 if
                                   that could not be found out
  rushgate audit welcome --repair  finishes what was interrupted, puts back on the stream what is missing, confirms what
                                   was not confirmed, makes database and gate agree on the terms; 0 if that was all

It locks nothing and may run in the middle of a rush. Every finding says what is to be done about it.";

/// The exit code when something does not agree.
pub const DISAGREES: u8 = 2;

/// Findings that are repaired in one go.
const AT_ONCE: usize = 5_000;

/// Findings that are told one by one; of more, how many there are.
const SHOWN: usize = 50;

/// What is to be audited.
#[derive(Args)]
pub struct Audit {
    /// The campaign; all of them, if it is not given
    campaign: Option<CampaignId>,
    /// Put right what can be proven: missing grants go back on the stream, committed ones are confirmed
    #[arg(long)]
    repair: bool,
}

impl Audit {
    /// Does it; the text for the operator, and whether all agree.
    ///
    /// # Errors
    /// When a server does not answer or refuses.
    pub async fn run(&self, config: &Config) -> Result<(String, bool)> {
        let mut auditor = Auditor {
            database: Database::connect(config).await?,
            gate: Gate::connect(config).await?,
            config,
        };
        let campaigns = match &self.campaign {
            Some(id) => vec![id.clone()],
            None => auditor.database.campaigns().await?,
        };
        let mut text = String::new();
        let mut agrees = true;
        for id in &campaigns {
            agrees &= auditor.audit(id, self.repair, &mut text).await?;
        }
        if text.is_empty() {
            text.push_str("there is no campaign");
        }
        Ok((text.trim_end().to_owned(), agrees))
    }
}

struct Auditor<'a> {
    database: Database,
    gate: Gate,
    config: &'a Config,
}

impl Auditor<'_> {
    /// Audits a campaign; whether it agrees, or what did not was repaired.
    async fn audit(&mut self, id: &CampaignId, repair: bool, text: &mut String) -> Result<bool> {
        let seen = self.look(id).await?;
        let mut found = findings(&seen);
        if !found.is_empty() {
            let again = findings(&self.look(id).await?);
            found = found.intersection(&again).cloned().collect();
        }
        let (held, rows) = (
            seen.held.len(),
            seen.rows.values().filter(|active| **active).count(),
        );
        writeln!(
            text,
            "campaign {id}: {held} held at the gate, {rows} coupons, {} on the way, {}",
            seen.on_the_way.len(),
            match found.len() {
                0 => "all agree".to_owned(),
                1 => "1 finding".to_owned(),
                count => format!("{count} findings"),
            }
        )?;
        for finding in found.iter().take(SHOWN) {
            writeln!(text, "  {finding}: {}", finding.advice())?;
        }
        if found.len() > SHOWN {
            writeln!(text, "  … and {} more", found.len() - SHOWN)?;
        }
        let repaired = match repair && !found.is_empty() {
            true => self.repair(id, &found, text).await?,
            false => 0,
        };
        Ok(found.len() == repaired)
    }

    /// Looks at everything, upstream first, so that what moves on meanwhile is seen at least once.
    async fn look(&mut self, id: &CampaignId) -> Result<Seen> {
        // A command that is at work has not been interrupted, and changes what is compared.
        let is_at_work = self.database.is_reserved(id).await?;
        let campaign = &existing(&self.database, id).await?;
        let intention = self.database.intention(id).await?;
        let told = self.gate.projection(id).await?;
        let at_gate = told.as_ref().map(|told| told.state);
        let is_halted = [at_gate, Some(campaign.state)].contains(&Some(CampaignState::Halted));
        let mut seen = Seen {
            is_unknown: campaign.projected && at_gate.is_none(),
            is_halted,
            is_halted_here: is_halted
                && at_gate.is_some_and(|state| state != CampaignState::Halted),
            ..Seen::default()
        };
        if !is_at_work {
            seen.unfinished = match campaign.projected {
                true => intention.map(|intention| intention.to_string()),
                false => Some("the campaign was not created to the end".to_owned()),
            };
            if let (Some(told), false) = (&told, is_halted || seen.unfinished.is_some()) {
                let states = (campaign.state, told.state);
                seen.states = (states.0 != states.1).then_some(states);
                seen.terms = differing_terms(campaign, told);
            }
        }
        let (held, unreadable) = self.gate.held(id, campaign.terms.one_per).await?;
        seen.unreadable.extend(unreadable);
        for held in held {
            seen.held.insert(held.place, held.issued);
        }
        seen.taken_back.extend(self.gate.revoked(id).await?);
        for event in self.gate.events(id).await? {
            seen.on_the_way.insert((place(&event), event.event_type));
        }
        for unpublished in self.gate.unpublished(id).await? {
            let about = unpublished.event().ok().map(|event| place(&event));
            let letter = LetterId::Bridge(id.clone(), unpublished.entry_id);
            seen.unpublished.insert(letter.to_string(), about);
        }
        let events = {
            let (kafka, id) = (Kafka::new(self.config)?, id.clone());
            tokio::task::spawn_blocking(move || kafka.events(&id)).await??
        };
        for (event, waits) in events {
            let about = place(&event);
            if waits {
                seen.on_the_way.insert((about.clone(), event.event_type));
            }
            seen.in_topic.insert(about);
        }
        for granted in self.database.granted(id).await? {
            let active = !matches!(granted.standing, Standing::Revoked(_));
            let about = Place {
                round: granted.round,
                serial: granted.serial,
                applicant: granted.applicant,
            };
            seen.rows.insert(about, active);
        }
        let which = Which {
            campaign: Some(id.clone()),
            resolved: true,
            ..Which::default()
        };
        for letter in self.database.letters(&which).await? {
            let about = letter.event().ok().map(|event| place(&event));
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
        let rounds = campaign.rounds.iter();
        seen.quotas = rounds
            .map(|round| (round.id.clone(), round.quota.get()))
            .collect();
        Ok(seen)
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

fn place(event: &Event) -> Place {
    Place {
        round: event.round.clone(),
        serial: event.serial,
        applicant: event.applicant.clone(),
    }
}
