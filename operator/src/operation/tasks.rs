//! Carries out each kind of task: calls of the gate first, then one transaction. Every task is idempotent.

use super::outcome::{Declined, Done, halted, lost, moved_up, or_repair};
use super::running::{BEAT_EVERY, Operation};
use crate::database::{Action, Entry, Resolution, Write};
use crate::dead_letter::DeadLetterId;
use crate::intention::{GrantRef, Intention, Task};
use crate::output::quoted;
use crate::refusal::{ErrorCode, Refusal};
use anyhow::{Result, bail};
use rushgate_gate::project::Origin;
use rushgate_gate::status::Status;
use rushgate_gate::{Applicant, Assignment, Grant, confirm, resend, revoke};
use std::fmt;

/// A revoked grant (with another serial, if a restore has reassigned it), and what became of its serial.
struct Revoked {
    grant: GrantRef,
    passed_on: PassedOn,
}

enum PassedOn {
    Free,
    To(Applicant),
    Unknown,
}

impl Revoked {
    fn next_owner(&self) -> Option<Applicant> {
        match &self.passed_on {
            PassedOn::To(next) => Some(next.clone()),
            PassedOn::Free | PassedOn::Unknown => None,
        }
    }
}

impl fmt::Display for Revoked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is revoked", self.grant)?;
        match &self.passed_on {
            PassedOn::Free => f.write_str("; its serial is free again"),
            PassedOn::To(next) => write!(f, "; its serial now belongs to {next}"),
            PassedOn::Unknown => Ok(()),
        }
    }
}

impl Operation {
    /// Carries an intention out, whether or not that was done before. Records the result, unless it was declined.
    pub(super) async fn carry_out(
        &mut self,
        intention: &Intention,
    ) -> Result<Result<Done, Declined>> {
        let reason = intention.reason.as_deref();
        match &intention.task {
            Task::Change { before, after } => {
                self.change(intention, before.differences(after)).await
            }
            Task::Pause => self.set_state(intention, Action::Paused).await,
            Task::Resume => self.set_state(intention, Action::Resumed).await,
            Task::Close => self.set_state(intention, Action::Closed).await,
            Task::Revoke { grant } => {
                let revoked = match self.revoke(grant).await? {
                    Ok(revoked) => revoked,
                    Err(declined) => return Ok(Err(declined)),
                };
                let text = format!("{}/{revoked}", intention.campaign);
                let entry = Entry {
                    about: Some(&revoked.grant),
                    ..Entry::of(intention, Action::Revoked, &text)
                };
                let writes = [Write::End(intention), Write::Log(entry)];
                self.database.write(&intention.campaign, &writes).await?;
                let next_owner = revoked.next_owner();
                Ok(Ok(Done {
                    promoted: u32::from(next_owner.is_some()),
                    next_owner,
                    ..Done::now(text)
                }))
            }
            Task::Replay { entry_id } => {
                let id = &intention.campaign;
                // If the dead letter is missing, it was put back before the interruption; unless Redis has lost
                // everything.
                if !self.gate.readmit(id, entry_id).await? && self.at_gate.is_none() {
                    return Ok(Err(Declined::Waits(lost(id))));
                }
                let text = format!("{id}/{entry_id} is on the stream again");
                self.end(intention, Some((Action::Replayed, &text))).await?;
                Ok(Ok(Done::now(text)))
            }
            Task::Discard {
                dead_letter,
                content,
                about,
                grant,
            } => {
                let entry = |about, action, detail| Entry {
                    about,
                    ..Entry::of(intention, action, detail)
                };
                let (mut returned, mut revoked, mut next_owner) = (String::new(), None, None);
                if let Some(grant) = grant {
                    // The row may have been committed since the command began.
                    let keeps = self.keeps(grant).await?;
                    let revocation = match keeps {
                        Some(keeps) => Err(Declined::Refused(Refusal::new(
                            ErrorCode::DeadLetterUnusable,
                            keeps,
                        ))),
                        None => self.revoke(grant).await?,
                    };
                    match revocation {
                        Ok(done) => {
                            returned = format!(", {done}");
                            next_owner = done.next_owner();
                            let text = format!("{}/{done}", intention.campaign);
                            revoked = Some((done.grant, text));
                        }
                        Err(Declined::Refused(why)) => returned = format!(", {why}"),
                        Err(waits) => return Ok(Err(waits)),
                    }
                }
                let detail = match content {
                    Some(content) => format!("{dead_letter}: {content}{returned}"),
                    None => format!("{dead_letter}{returned}"),
                };
                let mut writes = vec![Write::End(intention)];
                if let Some((grant, text)) = &revoked {
                    writes.push(Write::Log(entry(Some(grant), Action::Revoked, text)));
                }
                let discarded = entry(about.as_ref(), Action::Discarded, &detail);
                writes.push(Write::Log(discarded));
                match dead_letter.parse() {
                    Ok(DeadLetterId::Consumer(id)) => {
                        let note = reason.unwrap_or_default();
                        writes.push(Write::Resolved(id, Resolution::Discarded, note));
                    }
                    Ok(DeadLetterId::Bridge(campaign, entry_id)) => {
                        self.gate.discard(&campaign, &entry_id).await?;
                    }
                    Err(hint) => bail!("{hint}"),
                }
                self.database.write(&intention.campaign, &writes).await?;
                Ok(Ok(Done {
                    promoted: u32::from(next_owner.is_some()),
                    next_owner,
                    ..Done::now(format!("discarded{returned}"))
                }))
            }
            Task::Repair {
                resend,
                confirm,
                agree,
            } => self.repair(intention, resend, confirm, *agree).await,
        }
    }

    /// Why a grant is not revoked with its dead letter: it is not as it was when the command began.
    async fn keeps(&mut self, grant: &GrantRef) -> Result<Option<String>> {
        if self.has_coupon(grant).await? {
            return Ok(Some("the applicant has the coupon and keeps it".to_owned()));
        }
        let id = self.campaign.id.clone();
        let status = self
            .gate
            .application(&id, &grant.user_id, Some(&grant.round))
            .await?;
        Ok(match status {
            Status::Granted(held) | Status::Issued { grant: held, .. }
                if held.serial != grant.serial =>
            {
                Some(format!(
                    "the applicant holds serial {} and keeps it",
                    held.serial
                ))
            }
            _ => None,
        })
    }

    /// Whether exactly this grant has an active coupon.
    pub(crate) async fn has_coupon(&self, grant: &GrantRef) -> Result<bool> {
        let id = &self.campaign.id;
        let coupons = self.database.coupons(id, &grant.user_id).await?;
        Ok(coupons.iter().any(|coupon| {
            coupon.round == grant.round.as_str()
                && coupon.serial == grant.serial.get()
                && coupon.state == "active"
        }))
    }

    async fn change(
        &mut self,
        intention: &Intention,
        detail: String,
    ) -> Result<Result<Done, Declined>> {
        let Task::Change { before, after } = &intention.task else {
            bail!("{} is no change", intention.task);
        };
        let wanted = self.campaign.with(after);
        let promoted = match self
            .try_project(&wanted, Origin::Known, wanted.state)
            .await?
        {
            Ok(promoted) => promoted,
            Err(Declined::Refused(why)) => {
                // The gate refused it, so remove the room that was made; but keep what the gate has.
                let campaign = self.campaign.with(before);
                let at_gate = self.gate.projection(&intention.campaign).await?;
                self.campaign =
                    at_gate.map_or(campaign.clone(), |at_gate| campaign.with_room_for(&at_gate));
                let writes = [Write::Final(&self.campaign)];
                self.database.write(&intention.campaign, &writes).await?;
                return Ok(Err(Declined::Refused(why)));
            }
            Err(waits) => return Ok(Err(waits)),
        };
        let writes = [
            Write::Final(&wanted),
            Write::End(intention),
            Write::Log(Entry::of(intention, Action::Changed, &detail)),
        ];
        self.database.write(&intention.campaign, &writes).await?;
        self.campaign = wanted;
        Ok(Ok(Done {
            promoted,
            ..Done::now(format!(
                "campaign {} changed: {}{}",
                intention.campaign,
                self.campaign,
                moved_up(promoted)
            ))
        }))
    }

    async fn set_state(
        &mut self,
        intention: &Intention,
        action: Action,
    ) -> Result<Result<Done, Declined>> {
        let Some(state) = intention.task.state() else {
            bail!("{} is no change of the state", intention.task);
        };
        let campaign = self.campaign.clone();
        match self.try_project(&campaign, Origin::Known, state).await? {
            Ok(_) => {}
            Err(Declined::Refused(why)) => {
                return Ok(Err(Declined::Refused(why.and(or_repair(&campaign.id)))));
            }
            Err(waits) => return Ok(Err(waits)),
        }
        let detail = format!("is {state}");
        let writes = [
            Write::State(state),
            Write::End(intention),
            Write::Log(Entry::of(intention, action, &detail)),
        ];
        self.database.write(&intention.campaign, &writes).await?;
        self.campaign.state = state;
        Ok(Ok(Done::now(format!(
            "campaign {} is {state}",
            intention.campaign
        ))))
    }

    /// Puts grants and revocations on the stream again, confirms rows, and makes database and gate agree on the terms.
    async fn repair(
        &mut self,
        intention: &Intention,
        resend: &[GrantRef],
        unconfirmed: &[GrantRef],
        agree: bool,
    ) -> Result<Result<Done, Declined>> {
        let id = &intention.campaign;
        // The database first, so that it has room for everything that goes on the stream.
        let agreed = match agree {
            true => self.agree_with_gate().await?,
            false => String::new(),
        };
        let mut sent = 0;
        for (done, taken) in resend.iter().enumerate() {
            if done % BEAT_EVERY == 0 {
                self.database.beat().await?;
            }
            // The gate decides what goes on the stream: its present event about the grant.
            let resent = self.gate.resend(id, &taken.round, &taken.user_id).await?;
            sent += usize::from(resent != resend::ResendOutcome::Nothing);
        }
        let mut text = format!("{sent} put back on the stream");
        let places: Vec<Assignment> = unconfirmed.iter().cloned().map(Assignment::from).collect();
        let confirmed = match self.gate.confirm(id, &places).await? {
            confirm::ConfirmOutcome::Confirmed { .. } => places.len(),
            // Redis was rolled back since the audit: the gate has halted the campaign, and so does the database.
            confirm::ConfirmOutcome::Lost { .. } | confirm::ConfirmOutcome::UnknownCampaign => {
                let halted = self.halt_both("Redis has lost grants").await?;
                text.push_str(&format!(", {halted}"));
                0
            }
        };
        text.push_str(&format!(", {confirmed} confirmed{agreed}"));
        self.end(intention, Some((Action::Repaired, &text))).await?;
        Ok(Ok(Done::now(text)))
    }

    /// Revokes a grant at the gate, if that was not done before.
    async fn revoke(&mut self, grant: &GrantRef) -> Result<Result<Revoked, Declined>> {
        let id = self.campaign.id.clone();
        let outcome = self
            .gate
            .revoke(&id, &grant.user_id, Some(&grant.round))
            .await?;
        let taken = |grant_ref: Grant| {
            GrantRef::new(grant_ref.round, grant_ref.serial, grant.user_id.clone())
        };
        Ok(match outcome {
            revoke::RevokeOutcome::Revoked { grant, promoted } => Ok(Revoked {
                grant: taken(grant),
                passed_on: match promoted {
                    None => PassedOn::Free,
                    Some(next) => PassedOn::To(next),
                },
            }),
            // Revoked before the interruption. The gate does not say who has the serial now.
            revoke::RevokeOutcome::AlreadyRevoked { grant, .. } => Ok(Revoked {
                grant: taken(grant),
                passed_on: PassedOn::Unknown,
            }),
            revoke::RevokeOutcome::NotGranted => Err(Declined::Refused(Refusal::new(
                ErrorCode::NoSuchGrant,
                format!(
                    "the gate of campaign {id} does not hold {grant}: `rushgate coupon find {}` shows what they have",
                    quoted(&grant.user_id)
                ),
            ))),
            revoke::RevokeOutcome::Redeemed => Err(Declined::Refused(Refusal::new(
                ErrorCode::CouponRedeemed,
                format!("{grant} is redeemed, so it cannot be revoked"),
            ))),
            revoke::RevokeOutcome::Halted => Err(Declined::Waits(halted(&id))),
            revoke::RevokeOutcome::UnknownCampaign => Err(Declined::Waits(lost(&id))),
        })
    }
}
