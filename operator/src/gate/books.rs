//! Reads what Redis stores for a campaign: grants, revocations, the stream, and the bridge's dead letters.

use super::connection::Gate;
use anyhow::{Context, Result};
use rushgate_gate::event::MalformedEvent;
use rushgate_gate::stored_grants::{HeldGrant, free, revoked};
use rushgate_gate::{Assignment, CampaignId, Event, Keys, OnePer, RoundId, Serial, keys, readmit};
use std::collections::{BTreeMap, BTreeSet};

/// Entries or fields read per call.
const PAGE: usize = 1_000;

/// Fields and values, or members and scores, as Redis has them.
type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// A dead letter of the bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unpublished {
    /// Its entry id in the dead letter stream.
    pub entry_id: String,
    /// Names and values; `reason` says why it could not be published, `entry_id` is its id in the stream.
    pub fields: BTreeMap<String, Vec<u8>>,
}

impl Unpublished {
    /// # Errors
    /// When the fields are not an event.
    pub fn event(&self) -> Result<Event, MalformedEvent> {
        Event::from_fields(|name| self.fields.get(name).map(Vec::as_slice))
    }

    pub fn reason(&self) -> String {
        let reason = self.fields.get("reason").map(Vec::as_slice);
        String::from_utf8_lossy(reason.unwrap_or_default()).into_owned()
    }
}

impl Gate {
    /// The ids of the registered campaigns.
    pub async fn campaigns(&mut self) -> Result<Vec<CampaignId>> {
        let mut members = redis::cmd("SMEMBERS");
        members.arg(keys::CAMPAIGNS);
        let names: Vec<Vec<u8>> = self
            .query(&members)
            .await
            .context("listing the campaigns")?;
        let names = names.iter().filter_map(|name| str::from_utf8(name).ok());
        let mut ids: Vec<CampaignId> = names.filter_map(|name| name.parse().ok()).collect();
        ids.sort();
        Ok(ids)
    }

    /// Length of the campaign's stream: events that the bridge has not acked.
    pub async fn in_stream(&mut self, campaign: &CampaignId) -> Result<usize> {
        let mut count = redis::cmd("XLEN");
        count.arg(Keys::of(campaign).stream());
        self.query(&count)
            .await
            .context("counting the entries of the stream")
    }

    /// The events in the campaign's stream. Skips malformed entries: the bridge makes dead letters of them.
    pub async fn events(&mut self, campaign: &CampaignId) -> Result<Vec<Event>> {
        let entries = self.entries(&Keys::of(campaign).stream()).await?;
        let events = entries.into_iter().filter_map(|(_, fields)| {
            Event::from_fields(|name| fields.get(name).map(Vec::as_slice)).ok()
        });
        Ok(events.collect())
    }

    /// How many dead letters of the bridge there are.
    pub async fn dead_letters(&mut self, campaign: &CampaignId) -> Result<usize> {
        let mut count = redis::cmd("XLEN");
        count.arg(Keys::of(campaign).dead_letters());
        self.query(&count)
            .await
            .context("counting the dead letters of the bridge")
    }

    /// The bridge's dead letters.
    pub async fn unpublished(&mut self, campaign: &CampaignId) -> Result<Vec<Unpublished>> {
        let entries = self.entries(&Keys::of(campaign).dead_letters()).await?;
        let entries = entries
            .into_iter()
            .map(|(entry_id, fields)| Unpublished { entry_id, fields });
        Ok(entries.collect())
    }

    /// Puts a dead letter of the bridge back on the stream; false if there is none.
    pub async fn readmit(&mut self, campaign: &CampaignId, entry_id: &str) -> Result<bool> {
        let reply = self.call(&readmit::call(campaign, entry_id)).await?;
        Ok(readmit::outcome(&reply)?)
    }

    /// Removes a dead letter of the bridge; false if there is none.
    pub async fn discard(&mut self, campaign: &CampaignId, entry_id: &str) -> Result<bool> {
        let mut remove = redis::cmd("XDEL");
        remove.arg(Keys::of(campaign).dead_letters()).arg(entry_id);
        let removed: u64 = self
            .query(&remove)
            .await
            .context("removing the dead letter")?;
        Ok(removed > 0)
    }

    /// All held grants, and entries that cannot be parsed.
    pub async fn held(
        &mut self,
        campaign: &CampaignId,
        one_per: OnePer,
    ) -> Result<(Vec<HeldGrant>, Vec<String>)> {
        let fields = self.hash(&Keys::of(campaign).grants()).await?;
        let (mut read, mut unreadable) = (vec![], vec![]);
        for (field, value) in fields {
            match HeldGrant::of(one_per, &field, &value) {
                Some(held) => read.push(held),
                None => unreadable.push(format!("{field} → {value}")),
            }
        }
        Ok((read, unreadable))
    }

    /// All free serials, as `<round>/<serial>`, and members of the pool that cannot be parsed.
    pub async fn pool(
        &mut self,
        campaign: &CampaignId,
    ) -> Result<(BTreeSet<(RoundId, Serial)>, Vec<String>)> {
        let (mut read, mut unreadable) = (BTreeSet::new(), vec![]);
        let members = self.scan("ZSCAN", &Keys::of(campaign).pool()).await?;
        for member in members.into_keys() {
            match free(&member) {
                Some(free) => {
                    read.insert(free);
                }
                None => unreadable.push(member),
            }
        }
        Ok((read, unreadable))
    }

    /// All revoked grants.
    pub async fn revoked(&mut self, campaign: &CampaignId) -> Result<Vec<Assignment>> {
        let fields = self.hash(&Keys::of(campaign).revoked()).await?;
        let places = fields
            .iter()
            .filter_map(|(field, value)| revoked(field, value));
        Ok(places.collect())
    }

    /// Pool codes from the number `first` on, at most `count`; fewer if the gate has fewer.
    pub async fn codes(
        &mut self,
        campaign: &CampaignId,
        first: u32,
        count: usize,
    ) -> Result<Vec<String>> {
        const WHAT: &str = "reading the codes of the gate";
        let keys = Keys::of(campaign);
        let mut width = redis::cmd("HGET");
        width.arg(keys.campaign()).arg("codes_width");
        let width: Option<usize> = self.query(&width).await.context(WHAT)?;
        let Some(width) = width.filter(|width| *width > 0) else {
            return Ok(vec![]);
        };
        let begin = (first as usize - 1) * width;
        let mut range = redis::cmd("GETRANGE");
        range.arg(keys.codes()).arg(begin);
        range.arg(begin + count * width - 1);
        let cells: Vec<u8> = self.query(&range).await.context(WHAT)?;
        let cells = cells.chunks_exact(width).map(String::from_utf8_lossy);
        Ok(cells.map(|cell| cell.trim_end().to_owned()).collect())
    }

    async fn hash(&mut self, key: &str) -> Result<BTreeMap<String, String>> {
        self.scan("HSCAN", key).await
    }

    /// Reads a hash or a sorted set in pages, so that it never blocks Redis; removes duplicates.
    async fn scan(&mut self, command: &str, key: &str) -> Result<BTreeMap<String, String>> {
        let mut hash = BTreeMap::new();
        let mut cursor = 0_u64;
        loop {
            let mut scan = redis::cmd(command);
            scan.arg(key).arg(cursor).arg("COUNT").arg(PAGE);
            let (next, fields): (u64, Pairs) = self
                .query(&scan)
                .await
                .with_context(|| format!("reading {key}"))?;
            // What is no text is shown as far as it is one, and found not to be readable where it is looked at.
            let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
            let fields = fields.into_iter();
            hash.extend(fields.map(|(field, value)| (text(field), text(value))));
            cursor = next;
            if cursor == 0 {
                return Ok(hash);
            }
        }
    }

    /// The entries of a stream: their ids, and names and values of their fields.
    async fn entries(&mut self, key: &str) -> Result<Vec<(String, BTreeMap<String, Vec<u8>>)>> {
        let mut entries: Vec<(String, _)> = vec![];
        loop {
            let after = entries
                .last()
                .map_or_else(|| "-".to_owned(), |(id, _)| format!("({id}"));
            let mut range = redis::cmd("XRANGE");
            range.arg(key).arg(after).arg("+").arg("COUNT").arg(PAGE);
            let page: Vec<(String, Vec<Vec<u8>>)> = self
                .query(&range)
                .await
                .with_context(|| format!("reading {key}"))?;
            if page.is_empty() {
                return Ok(entries);
            }
            entries.extend(page.into_iter().map(|(id, words)| (id, fields(&words))));
        }
    }
}

fn fields(words: &[Vec<u8>]) -> BTreeMap<String, Vec<u8>> {
    let fields = words.chunks_exact(2);
    fields
        .map(|field| {
            let name = String::from_utf8_lossy(&field[0]).into_owned();
            (name, field[1].clone())
        })
        .collect()
}
