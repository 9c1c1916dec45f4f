//! Each deed: what the gate is told, and then what is written in one transaction. Doing it again changes nothing.

use super::{BEAT_EVERY, Declined, Operation, halted, lost, moved_up, or_repair};
use crate::database::{Action, Entry, Resolution, Write};
use crate::failed::LetterId;
use crate::intention::{Deed, Intention, Taken};
use anyhow::{Result, bail};
use rushgate_gate::project::Origin;
use rushgate_gate::status::Status;
use rushgate_gate::{Assignment, Grant, confirm, resend, revoke};

impl Operation {
    /// Does what was intended, whether or not it was done before. What comes of it is written, unless it was declined.
    pub(super) async fn carry_out(
        &mut self,
        intention: &Intention,
    ) -> Result<Result<String, Declined>> {
        let reason = intention.reason.as_deref();
        match &intention.deed {
            Deed::Change { before, after } => {
                self.change(intention, before.differences(after)).await
            }
            Deed::Pause => self.set_state(intention, Action::Paused).await,
            Deed::Resume => self.set_state(intention, Action::Resumed).await,
            Deed::Close => self.set_state(intention, Action::Closed).await,
            Deed::Revoke { grant } => {
                let (grant, passed_on) = match self.revoke(grant).await? {
                    Ok(revoked) => revoked,
                    Err(declined) => return Ok(Err(declined)),
                };
                let text = format!("{}/{grant} is revoked{passed_on}", intention.campaign);
                let entry = Entry {
                    about: Some(&grant),
                    ..Entry::of(intention, Action::Revoked, &text)
                };
                let writes = [Write::End(intention), Write::Log(entry)];
                self.database.write(&intention.campaign, &writes).await?;
                Ok(Ok(text))
            }
            Deed::Replay { entry_id } => {
                let id = &intention.campaign;
                // If it is not there, it was put back before the interruption; unless Redis has lost all.
                if !self.gate.readmit(id, entry_id).await? && self.told.is_none() {
                    return Ok(Err(Declined::Waits(lost(id))));
                }
                let text = format!("{id}/{entry_id} is on the stream again");
                self.end(intention, Some((Action::Replayed, &text))).await?;
                Ok(Ok(text))
            }
            Deed::Discard {
                letter,
                content,
                about,
                grant,
            } => {
                let entry = |about, action, detail| Entry {
                    about,
                    ..Entry::of(intention, action, detail)
                };
                let (mut returned, mut revoked) = (String::new(), None);
                if let Some(grant) = grant {
                    // It may have got its row since the command began.
                    let keeps = self.keeps(grant).await?;
                    let revocation = match keeps {
                        Some(keeps) => Err(Declined::Refused(keeps)),
                        None => self.revoke(grant).await?,
                    };
                    match revocation {
                        Ok((grant, passed_on)) => {
                            returned = format!(", {grant} is taken back{passed_on}");
                            let text =
                                format!("{}/{grant} is revoked{passed_on}", intention.campaign);
                            revoked = Some((grant, text));
                        }
                        Err(Declined::Refused(why)) => returned = format!(", {why}"),
                        Err(waits) => return Ok(Err(waits)),
                    }
                }
                let detail = match content {
                    Some(content) => format!("{letter}: {content}{returned}"),
                    None => format!("{letter}{returned}"),
                };
                let mut writes = vec![Write::End(intention)];
                if let Some((grant, text)) = &revoked {
                    writes.push(Write::Log(entry(Some(grant), Action::Revoked, text)));
                }
                let discarded = entry(about.as_ref(), Action::Discarded, &detail);
                writes.push(Write::Log(discarded));
                match letter.parse() {
                    Ok(LetterId::Consumer(id)) => {
                        let note = reason.unwrap_or_default();
                        writes.push(Write::Resolved(id, Resolution::Discarded, note));
                    }
                    Ok(LetterId::Bridge(campaign, entry_id)) => {
                        self.gate.discard(&campaign, &entry_id).await?;
                    }
                    Err(hint) => bail!("{hint}"),
                }
                self.database.write(&intention.campaign, &writes).await?;
                Ok(Ok(format!("discarded{returned}")))
            }
            Deed::Repair {
                resend,
                confirm,
                agree,
            } => self.repair(intention, resend, confirm, *agree).await,
        }
    }

    /// Why a grant is not to be taken back with its dead letter, if it is not as it was when the command began.
    async fn keeps(&mut self, grant: &Taken) -> Result<Option<String>> {
        if self.has_coupon(grant).await? {
            return Ok(Some("the person has the coupon and keeps it".to_owned()));
        }
        let id = self.campaign.id.clone();
        let status = self
            .gate
            .application(&id, &grant.user_id, Some(&grant.round))
            .await?;
        Ok(match status {
            Status::Granted(held) | Status::Issued(held) if held.serial != grant.serial => Some(
                format!("the person holds serial {} and keeps it", held.serial),
            ),
            _ => None,
        })
    }

    /// Whether just this grant has become a coupon that is held.
    pub(crate) async fn has_coupon(&self, grant: &Taken) -> Result<bool> {
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
    ) -> Result<Result<String, Declined>> {
        let Deed::Change { before, after } = &intention.deed else {
            bail!("{} is no change", intention.deed);
        };
        let wanted = self.campaign.with(after);
        let promoted = match self
            .try_project(&wanted, Origin::Known, wanted.state)
            .await?
        {
            Ok(promoted) => promoted,
            Err(Declined::Refused(why)) => {
                // The gate has not taken it, so the room for it goes again; but not what the gate was told otherwise.
                let campaign = self.campaign.with(before);
                let told = self.gate.projection(&intention.campaign).await?;
                self.campaign = told.map_or(campaign.clone(), |told| campaign.with_room_for(&told));
                let writes = [Write::Told(&self.campaign)];
                self.database.write(&intention.campaign, &writes).await?;
                return Ok(Err(Declined::Refused(why)));
            }
            Err(waits) => return Ok(Err(waits)),
        };
        let writes = [
            Write::Told(&wanted),
            Write::End(intention),
            Write::Log(Entry::of(intention, Action::Changed, &detail)),
        ];
        self.database.write(&intention.campaign, &writes).await?;
        self.campaign = wanted;
        Ok(Ok(format!(
            "campaign {} changed: {}{}",
            intention.campaign,
            self.campaign,
            moved_up(promoted)
        )))
    }

    async fn set_state(
        &mut self,
        intention: &Intention,
        action: Action,
    ) -> Result<Result<String, Declined>> {
        let Some(state) = intention.deed.state() else {
            bail!("{} is no change of the state", intention.deed);
        };
        let campaign = self.campaign.clone();
        match self.try_project(&campaign, Origin::Known, state).await? {
            Ok(_) => {}
            Err(Declined::Refused(why)) => {
                let why = format!("{why}{}", or_repair(&campaign.id));
                return Ok(Err(Declined::Refused(why)));
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
        Ok(Ok(format!("campaign {} is {state}", intention.campaign)))
    }

    /// Puts grants and revocations on the stream again, confirms rows, and makes database and gate agree on the terms.
    async fn repair(
        &mut self,
        intention: &Intention,
        resend: &[Taken],
        unconfirmed: &[Taken],
        agree: bool,
    ) -> Result<Result<String, Declined>> {
        let id = &intention.campaign;
        // The database first: it has room for all that is put on the stream.
        let told = match agree {
            true => self.agree_with_gate().await?,
            false => String::new(),
        };
        let mut sent = 0;
        for (done, taken) in resend.iter().enumerate() {
            if done % BEAT_EVERY == 0 {
                self.database.beat().await?;
            }
            // The gate itself says what goes on the stream: if it has changed its mind meanwhile, that does.
            let resent = self.gate.resend(id, &taken.round, &taken.user_id).await?;
            sent += usize::from(resent != resend::ResendOutcome::Nothing);
        }
        let mut text = format!("{sent} put back on the stream");
        let places: Vec<Assignment> = unconfirmed.iter().cloned().map(Assignment::from).collect();
        let confirmed = match self.gate.confirm(id, &places).await? {
            confirm::ConfirmOutcome::Confirmed { .. } => places.len(),
            // It went back in time between our looking and our asking: the gate has halted it, and the database does too.
            confirm::ConfirmOutcome::Lost { .. } | confirm::ConfirmOutcome::UnknownCampaign => {
                let halted = self.halt_both("Redis has lost grants").await?;
                text.push_str(&format!(", {halted}"));
                0
            }
        };
        text.push_str(&format!(", {confirmed} confirmed{told}"));
        self.end(intention, Some((Action::Repaired, &text))).await?;
        Ok(Ok(text))
    }

    /// Takes a grant back at the gate, if that has not been done before: what was taken back (another serial, if a restore
    /// has given the person one), and what became of it.
    async fn revoke(&mut self, grant: &Taken) -> Result<Result<(Taken, String), Declined>> {
        let id = self.campaign.id.clone();
        let outcome = self
            .gate
            .revoke(&id, &grant.user_id, Some(&grant.round))
            .await?;
        let taken = |taken: Grant| Taken::new(taken.round, taken.serial, grant.user_id.clone());
        Ok(match outcome {
            revoke::RevokeOutcome::Revoked { grant, promoted } => {
                let passed_on = match promoted {
                    None => ", its serial is free again".to_owned(),
                    Some(next) => format!(", its serial is {next}'s now"),
                };
                Ok((taken(grant), passed_on))
            }
            // Before the interruption. Who has the serial now, the gate has told nobody.
            revoke::RevokeOutcome::AlreadyRevoked { grant, .. } => {
                Ok((taken(grant), String::new()))
            }
            revoke::RevokeOutcome::NotGranted => Err(Declined::Refused(format!(
                "{grant} is not held at the gate of campaign {id}: `rushgate coupon find {}` shows what there is",
                grant.user_id
            ))),
            revoke::RevokeOutcome::Halted => Err(Declined::Waits(halted(&id))),
            revoke::RevokeOutcome::UnknownCampaign => Err(Declined::Waits(lost(&id))),
        })
    }
}
