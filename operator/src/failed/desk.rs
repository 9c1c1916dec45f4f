//! Where dead letters are dealt with.

use super::show::{UNPUBLISHED, shown};
use super::{Chosen, Filter, LetterId};
use crate::campaign::existing;
use crate::config::Config;
use crate::database::{Action, Database, Entry, Letter, Resolution, Which, Write};
use crate::gate::{Gate, Unpublished};
use crate::intention::{Deed, Taken};
use crate::kafka::Kafka;
use crate::operation::{Operation, halted};
use crate::unknown::Unknown;
use anyhow::{Context, Result, bail, ensure};
use rushgate_gate::record::ATTEMPT_HEADER;
use rushgate_gate::status::Status;
use rushgate_gate::{CampaignId, CampaignState, Event, EventType, signature};

/// The most of a record that is kept, and so can be sent again: what the column holds.
const LONGEST_VALUE: usize = 65_535;

/// The servers that know of them.
pub(super) struct Desk<'a> {
    pub(super) config: &'a Config,
    pub(super) database: Database,
    pub(super) gate: Gate,
    pub(super) kafka: Kafka,
}

impl Desk<'_> {
    /// The bridge's dead letters.
    async fn unpublished(&mut self, filter: &Filter) -> Result<Vec<(CampaignId, Unpublished)>> {
        if filter
            .reason
            .as_ref()
            .is_some_and(|reason| reason != UNPUBLISHED)
        {
            return Ok(vec![]);
        }
        let campaigns = match &filter.campaign {
            Some(campaign) => vec![existing(&self.database, campaign).await?.id],
            None => self.database.campaigns().await?,
        };
        let mut letters = vec![];
        for campaign in campaigns {
            for unpublished in self.gate.unpublished(&campaign).await? {
                letters.push((campaign.clone(), unpublished));
            }
        }
        Ok(letters)
    }

    /// The dead letter of the bridge of that name.
    async fn of_bridge(
        &mut self,
        campaign: &CampaignId,
        entry_id: &str,
    ) -> Result<Option<Unpublished>> {
        let mut letters = self.gate.unpublished(campaign).await?.into_iter();
        Ok(letters.find(|letter| letter.entry_id == entry_id))
    }

    pub(super) async fn chosen(&mut self, chosen: &Chosen) -> Result<Vec<LetterId>> {
        if !chosen.all {
            return Ok(chosen.ids.clone());
        }
        let which = Which {
            campaign: chosen.filter.campaign.clone(),
            reason: chosen.filter.reason.clone(),
            ..Which::default()
        };
        let letters = self.database.letters(&which).await?;
        let mut ids: Vec<LetterId> = letters
            .into_iter()
            .map(|letter| LetterId::Consumer(letter.id))
            .collect();
        for (campaign, unpublished) in self.unpublished(&chosen.filter).await? {
            ids.push(LetterId::Bridge(campaign, unpublished.entry_id));
        }
        Ok(ids)
    }

    /// Published first and noted second: interrupted in between, it is replayed twice, which is harmless.
    pub(super) async fn replay(&mut self, id: &LetterId) -> Result<String> {
        match id {
            LetterId::Consumer(number) => {
                let letter = self.database.letter(*number).await?;
                if let Some(before) = before(&letter, Resolution::Replayed)? {
                    return Ok(before);
                }
                // What an interrupted command was about to do with it comes first.
                let operation = self.operation_on(&letter).await?;
                let done = self.send_again(operation.as_ref(), *number).await;
                told(operation.as_ref(), done)
            }
            LetterId::Bridge(campaign, entry_id) => {
                let mut operation = Operation::begin(self.config, campaign).await?;
                let done = self.readmit(&mut operation, id, entry_id).await;
                operation.tell(done)
            }
        }
    }

    async fn send_again(&mut self, operation: Option<&Operation>, number: u64) -> Result<String> {
        // As it stands after what was finished first.
        let letter = self.database.letter(number).await?;
        if let Some(before) = before(&letter, Resolution::Replayed)? {
            return Ok(before);
        }
        let value = letter.value.as_deref();
        ensure!(
            value.is_none_or(|value| value.len() < LONGEST_VALUE),
            "the record was longer than what is kept of it, so it cannot be sent again: discard it"
        );
        ensure!(
            !letter.has_lost_headers,
            "the record's headers were longer than what is kept of them, or have a name that is no text, so it cannot be sent \
             again: discard it"
        );
        let mut headers = letter.headers.clone();
        let attempt = letter.attempts.saturating_add(1);
        headers.retain(|(name, _)| !name.eq_ignore_ascii_case(ATTEMPT_HEADER));
        let text = attempt.to_string().into_bytes();
        headers.push((ATTEMPT_HEADER.to_owned(), Some(text)));
        let key = letter.key.as_deref();
        self.kafka.connect().await?;
        let published = self.kafka.publish(key, value, &headers).await;
        published.map_err(|error| unknown("its replay", number, error))?;
        let note = format!("attempt {attempt}");
        self.resolve(operation, number, Resolution::Replayed, &note)
            .await?;
        Ok(format!(
            "sent again, as {note}; if it fails again it is a dead letter again"
        ))
    }

    async fn readmit(
        &mut self,
        operation: &mut Operation,
        id: &LetterId,
        entry_id: &str,
    ) -> Result<String> {
        if matches!(operation.finished_deed(), Some(Deed::Replay { entry_id: finished }) if finished == entry_id)
        {
            return Ok(String::new());
        }
        let campaign = operation.campaign.id.clone();
        let Some(letter) = self.of_bridge(&campaign, entry_id).await? else {
            return gone(operation, id, Action::Replayed).await;
        };
        ensure!(
            letter
                .fields
                .keys()
                .any(|name| !["reason", "entry_id"].contains(&name.as_str())),
            "the entry has no fields, so it cannot be sent again: discard it"
        );
        let entry_id = entry_id.to_owned();
        operation.perform(Deed::Replay { entry_id }, None).await?;
        Ok("on the stream again; if it fails again it is a dead letter again".to_owned())
    }

    pub(super) async fn discard(
        &mut self,
        id: &LetterId,
        return_serial: bool,
        note: Option<&str>,
    ) -> Result<String> {
        match id {
            LetterId::Consumer(number) => {
                let letter = self.database.letter(*number).await?;
                if let Some(before) = before(&letter, Resolution::Discarded)? {
                    return Ok(before);
                }
                if return_serial {
                    ensure!(letter.reason != signature::REASON, NOBODYS);
                    let event = letter.event().context(NOBODYS)?;
                    let mut operation = Operation::begin(self.config, &event.campaign).await?;
                    let done = match before(
                        &self.database.letter(*number).await?,
                        Resolution::Discarded,
                    ) {
                        Ok(Some(before)) => Ok(before),
                        Ok(None) => self.take_back(&mut operation, id, &event, None, note).await,
                        Err(error) => Err(error),
                    };
                    return operation.tell(done);
                }
                let operation = self.operation_on(&letter).await?;
                let done = self.give_up(operation.as_ref(), *number, note).await;
                told(operation.as_ref(), done)
            }
            LetterId::Bridge(campaign, entry_id) => {
                let mut operation = Operation::begin(self.config, campaign).await?;
                let done = self
                    .discard_entry(&mut operation, id, entry_id, return_serial, note)
                    .await;
                operation.tell(done)
            }
        }
    }

    async fn give_up(
        &self,
        operation: Option<&Operation>,
        number: u64,
        note: Option<&str>,
    ) -> Result<String> {
        // As it stands after what was finished first.
        let letter = self.database.letter(number).await?;
        if let Some(before) = before(&letter, Resolution::Discarded)? {
            return Ok(before);
        }
        let note = note.unwrap_or_default();
        self.resolve(operation, number, Resolution::Discarded, note)
            .await?;
        Ok("discarded".to_owned())
    }

    async fn discard_entry(
        &mut self,
        operation: &mut Operation,
        id: &LetterId,
        entry_id: &str,
        return_serial: bool,
        note: Option<&str>,
    ) -> Result<String> {
        if matches!(operation.finished_deed(), Some(Deed::Discard { letter, .. }) if *letter == id.to_string())
        {
            return Ok(String::new());
        }
        let campaign = operation.campaign.id.clone();
        let Some(letter) = self.of_bridge(&campaign, entry_id).await? else {
            return gone(operation, id, Action::Discarded).await;
        };
        // The log keeps what the entry said, because nothing else does.
        let fields: Vec<String> = letter
            .fields
            .iter()
            .map(|(name, value)| format!("{name}={}", shown(Some(value))))
            .collect();
        let content = Some(fields.join(" "));
        if return_serial {
            let event = letter.event().context(NOBODYS)?;
            return self.take_back(operation, id, &event, content, note).await;
        }
        let about = letter.event().ok().map(|event| about(&event));
        let deed = Deed::discard(id, content, about, None);
        operation.perform(deed, note).await
    }

    /// An operation on the campaign that the dead letter is about, where that is known and is not halted.
    async fn operation_on(&self, letter: &Letter) -> Result<Option<Operation>> {
        let Ok(event) = letter.event() else {
            return Ok(None);
        };
        match self.database.campaign(&event.campaign).await? {
            Some(campaign) if campaign.state != CampaignState::Halted => {
                Ok(Some(Operation::begin(self.config, &campaign.id).await?))
            }
            _ => Ok(None),
        }
    }

    /// Notes what was done with a dead letter of the consumer, also in the log of its campaign.
    async fn resolve(
        &self,
        operation: Option<&Operation>,
        number: u64,
        resolution: Resolution,
        note: &str,
    ) -> Result<()> {
        let written = match operation {
            None => self.database.resolve(number, resolution, note).await,
            Some(operation) => {
                let (action, detail) = match resolution {
                    Resolution::Replayed => (Action::Replayed, format!("{number}: {note}")),
                    Resolution::Discarded => (Action::Discarded, number.to_string()),
                };
                let entry = Entry {
                    action,
                    detail: &detail,
                    reason: Some(note)
                        .filter(|note| !note.is_empty() && action == Action::Discarded),
                    actor: Some(operation.actor()),
                    about: None,
                };
                let writes = [Write::Resolved(number, resolution, note), Write::Log(entry)];
                let id = &operation.campaign.id;
                operation.database.write(id, &writes).await
            }
        };
        written.map_err(|error| unknown("what was done with it", number, error))
    }

    /// Discards a dead letter, and takes its grant back if the gate still has it just so and it has no coupon.
    async fn take_back(
        &mut self,
        operation: &mut Operation,
        id: &LetterId,
        event: &Event,
        content: Option<String>,
        note: Option<&str>,
    ) -> Result<String> {
        let (campaign, round, applicant) = (&event.campaign, &event.round, &event.applicant);
        ensure!(
            event.event_type == EventType::Granted,
            "it is not about a grant, so there is no serial to return"
        );
        let status = self
            .gate
            .application(campaign, applicant, Some(round))
            .await?;
        let (grant, remark) = match status {
            Status::Granted(held) | Status::Issued(held) if held.serial == event.serial => {
                let grant = Taken::new(round.clone(), held.serial, applicant.clone());
                ensure!(
                    !operation.has_coupon(&grant).await?,
                    "the person has the coupon of this very grant: `rushgate revoke` takes it back, \
                     `rushgate failed discard` without --return-serial leaves it"
                );
                (Some(grant), String::new())
            }
            Status::Granted(held) | Status::Issued(held) => (
                None,
                format!(", the person holds serial {} and keeps it", held.serial),
            ),
            Status::Revoked { .. } => (
                None,
                ", the gate had taken the grant back before".to_owned(),
            ),
            Status::Halted => bail!("{}", halted(campaign)),
            Status::Waitlisted(_)
            | Status::NotFound
            | Status::UnknownRound
            | Status::UnknownCampaign => (None, ", the gate knows of no such grant".to_owned()),
        };
        let deed = Deed::discard(id, content, Some(about(event)), grant);
        let text = operation.perform(deed, note).await?;
        Ok(format!("{text}{remark}"))
    }
}

fn about(event: &Event) -> Taken {
    Taken::new(event.round.clone(), event.serial, event.applicant.clone())
}

/// What there is to say, with what was finished first on the campaign, if the dead letter is about one.
fn told(operation: Option<&Operation>, done: Result<String>) -> Result<String> {
    match operation {
        Some(operation) => operation.tell(done),
        None => done,
    }
}

/// What to say of a dead letter of the bridge that is not there: whether it was dealt with before, as the log has it.
///
/// # Errors
/// When something else was done with it, or the log knows nothing of it.
async fn gone(operation: &Operation, id: &LetterId, wanted: Action) -> Result<String> {
    let campaign = &operation.campaign.id;
    let dealt_with = operation.database.dealt_with(campaign, id).await?;
    match dealt_with {
        Some((action, at)) if action == wanted.as_str() => {
            Ok(format!("was {action} already, at {at}"))
        }
        Some((action, at)) => bail!("was {action} already, at {at}"),
        None => bail!("{}", no_such(campaign)),
    }
}

/// Says that it is not known whether it was done; doing it again is harmless.
fn unknown(what: &str, number: u64, error: anyhow::Error) -> anyhow::Error {
    let way_out = format!(
        "Run the same command again; `rushgate failed show {number}` tells whether it was done"
    );
    error.context(Unknown::new(what, way_out))
}

/// Why a serial cannot be returned.
const NOBODYS: &str = "nobody can say whose grant it is";

pub(super) fn no_such(campaign: &CampaignId) -> String {
    format!(
        "there is none, or no more: `rushgate failed list --campaign {campaign}` shows those there are, \
         `rushgate campaign log {campaign}` what was done with others"
    )
}

/// What to say if it was dealt with before.
///
/// # Errors
/// When that was something else.
fn before(letter: &Letter, wanted: Resolution) -> Result<Option<String>> {
    let Some((word, at)) = &letter.resolution else {
        return Ok(None);
    };
    let before = format!("was {word} already, at {at}");
    ensure!(word == wanted.as_str(), "{before}");
    Ok(Some(before))
}
