//! What is asked of Redis.

use super::{LazyConnection, RESPONSE_TIMEOUT, StreamError};
use crate::config::Config;
use crate::entry::{EntryId, EntryRef, Fields, StreamNo};
use crate::flow::Read;
use crate::read_plan::Step;
use crate::record::ValueFormat;
use crate::reply;
use redis::{Client, Cmd, RedisError, cmd};
use rushgate_gate::keys::{BRIDGE_GROUP, CAMPAIGNS};
use rushgate_gate::{CampaignId, Keys, UserIds};
use rushgate_settings::redis_dangers;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// How long a read waits for new entries. Campaigns are looked for between two reads.
const BLOCK: Duration = Duration::from_millis(100);

const FORGET: &str = include_str!("../lua/forget.lua");

/// Asks Redis for campaigns, groups and entries.
#[derive(Debug)]
pub struct Reader {
    link: LazyConnection,
    consumer: String,
    claim_idle: Duration,
    forget_idle: Duration,
    value_format: ValueFormat,
    /// Campaigns of which it is known that all user ids are numbers, which never changes.
    numeric: BTreeSet<CampaignId>,
    /// Whether it was said what is unsafe about Redis' own settings.
    has_warned: bool,
    /// When names were last looked for that may be forgotten.
    tidied: BTreeMap<StreamNo, Instant>,
    /// What was complained about already.
    complaints: BTreeSet<String>,
}

/// Where to find the keys of every stream.
pub type KeysOf = BTreeMap<StreamNo, Keys>;

/// What the answer to a [`Step`] was.
#[derive(Debug)]
pub enum StepReply {
    /// To [`Step::Discover`].
    Campaigns {
        /// Those whose streams are to be read.
        read: BTreeSet<CampaignId>,
        /// How many others there are, whose user ids need not fit the values of the records.
        unread: usize,
    },
    /// To [`Step::CreateGroups`]: whether there is one now.
    Groups(Vec<(StreamNo, bool)>),
    /// To all others.
    Entries(Read<Fields>),
}

/// What an error of one command, among others that went well, means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CreateGroupError {
    /// There was nothing to do.
    AlreadyExists,
    /// This one stream cannot be served now; others can.
    ThisStream,
    /// It may go better later.
    Retry,
}

impl CreateGroupError {
    /// On error codes, never on texts.
    fn of(error: &RedisError) -> Self {
        match error.code() {
            Some("BUSYGROUP") => Self::AlreadyExists,
            Some("WRONGTYPE" | "OOM") => Self::ThisStream,
            _ => Self::Retry,
        }
    }
}

impl Reader {
    /// Reads as `consumer`, and claims and forgets as `config` says. Campaigns whose user ids need not fit the values of
    /// the records are left out.
    pub fn new(client: Client, consumer: String, config: &Config) -> Self {
        Self {
            link: LazyConnection::new(client, BLOCK + RESPONSE_TIMEOUT),
            consumer,
            claim_idle: config.claim_idle,
            forget_idle: config.forget_idle,
            value_format: config.value_format,
            numeric: BTreeSet::new(),
            has_warned: false,
            tidied: BTreeMap::new(),
            complaints: BTreeSet::new(),
        }
    }

    /// Carries out `step`.
    ///
    /// # Errors
    /// When Redis cannot be asked, or refuses. Entries may have been given to this consumer nevertheless.
    pub async fn ask(&mut self, step: &Step, keys: &KeysOf) -> Result<StepReply, StreamError> {
        let answer = self.answer(step, keys).await;
        if answer.is_err() {
            self.link.close();
        }
        answer
    }

    async fn answer(&mut self, step: &Step, keys: &KeysOf) -> Result<StepReply, StreamError> {
        match step {
            Step::Discover => self.campaigns().await,
            Step::CreateGroups(_) => self.create_groups(keys).await,
            Step::ReadPending { after, count } => {
                let after = after.iter().map(|(_, id)| id.to_string());
                let command = self.xreadgroup(*count, None, keys, after);
                self.entries(&command, keys).await
            }
            Step::ReadNew { count, steps, .. } => {
                // 0 would block for ever.
                let block = (BLOCK / *steps).max(Duration::from_millis(1));
                let unseen = keys.iter().map(|_| ">".to_owned());
                let command = self.xreadgroup(*count, Some(block), keys, unseen);
                self.entries(&command, keys).await
            }
            Step::Claim { from, count, .. } => self.claim(*from, *count, keys).await,
        }
    }

    /// Says what of Redis' own settings may lose grants, unless this user may not ask for them.
    async fn warn_of_settings(&mut self) -> Result<(), StreamError> {
        let mut info = cmd("INFO");
        info.arg("memory").arg("persistence");
        match self.link.ask(&info).await {
            Ok(info) => {
                let info: String = redis::from_redis_value(info).map_err(RedisError::from)?;
                for danger in redis_dangers(&info) {
                    tracing::warn!("Redis: {danger}");
                }
            }
            Err(error) if error.code().is_some() => {}
            Err(error) => return Err(error.into()),
        }
        self.has_warned = true;
        Ok(())
    }

    async fn campaigns(&mut self) -> Result<StepReply, StreamError> {
        if !self.has_warned {
            self.warn_of_settings().await?;
        }
        let (members, is_lost) = self.link.campaigns().await?;
        if is_lost && self.complaints.insert(CAMPAIGNS.to_owned()) {
            tracing::error!(
                key = CAMPAIGNS,
                "the set of campaigns is lost, and they are read out of its index: run `rushgate setup`"
            );
        }
        let mut campaigns = BTreeSet::new();
        for member in members {
            let member = String::from_utf8_lossy(&member);
            match member.parse() {
                Ok(campaign) => {
                    campaigns.insert(campaign);
                }
                Err(error) => {
                    if self.complaints.insert(format!("campaign {member}")) {
                        tracing::warn!(%error, key = CAMPAIGNS, "a member that is no campaign is passed over");
                    }
                }
            }
        }
        let found = campaigns.len();
        if self.value_format == ValueFormat::Long {
            self.leave_out_unfit(&mut campaigns).await?;
        }
        Ok(StepReply::Campaigns {
            unread: found - campaigns.len(),
            read: campaigns,
        })
    }

    /// Leaves those campaigns out whose user ids need not be numbers: a grant that can become no record, and so no coupon,
    /// is better kept in the stream for a bridge that can publish it. Nothing was said of user ids in campaigns that are
    /// older than that rule; they are read, and only what is no number becomes a dead letter.
    async fn leave_out_unfit(
        &mut self,
        campaigns: &mut BTreeSet<CampaignId>,
    ) -> Result<(), StreamError> {
        let asked: Vec<CampaignId> = campaigns.difference(&self.numeric).cloned().collect();
        if asked.is_empty() {
            return Ok(());
        }
        let mut commands = redis::pipe();
        for campaign in &asked {
            let command = commands.cmd("HMGET").arg(Keys::of(campaign).campaign());
            command.arg("state").arg("user_ids");
        }
        let answers = self.link.ask_all(commands.ignore_errors()).await?;
        for (campaign, answer) in asked.into_iter().zip(answers) {
            // An error, such as that of a key of another type, says that nothing is known of this campaign.
            let known = answer.and_then(|known| Ok(redis::from_redis_value(known)?));
            let (state, word): (Option<String>, Option<String>) = known.unwrap_or_default();
            if state.is_none() {
                // The gate is about to be told of it. What it grants before that is nothing.
                campaigns.remove(&campaign);
                continue;
            }
            let user_ids = word.and_then(|word| word.parse().ok());
            match user_ids {
                Some(UserIds::Numeric) => {
                    self.numeric.insert(campaign);
                }
                Some(UserIds::Any) => {
                    if self
                        .complaints
                        .insert(format!("any user ids in {campaign}"))
                    {
                        tracing::error!(
                            %campaign,
                            "its stream is left unread: it takes user ids that are no numbers, which \
                             KAFKA_VALUE_FORMAT=long cannot carry. Run a bridge with KAFKA_VALUE_FORMAT=json for it, or \
                             create campaigns with --user-ids numeric"
                        );
                    }
                    campaigns.remove(&campaign);
                }
                Some(UserIds::Unstated) | None => {
                    if self
                        .complaints
                        .insert(format!("no word on user ids in {campaign}"))
                    {
                        tracing::warn!(
                            %campaign,
                            "nothing says that its user ids are numbers: others become dead letters, as \
                             KAFKA_VALUE_FORMAT=long cannot carry them"
                        );
                    }
                }
            }
        }
        Ok(())
    }

    async fn create_groups(&mut self, keys: &KeysOf) -> Result<StepReply, StreamError> {
        let mut commands = redis::pipe();
        for keys in keys.values() {
            // From 0: what was acked is deleted, so whatever is in the stream has not been delivered.
            let command = commands.cmd("XGROUP").arg("CREATE").arg(keys.stream());
            command.arg(BRIDGE_GROUP).arg("0").arg("MKSTREAM");
        }
        let answers = self.link.ask_all(commands.ignore_errors()).await?;
        let mut groups = Vec::new();
        for ((stream, keys), answer) in keys.iter().zip(answers) {
            let complaint = format!("group {}", keys.stream());
            match answer
                .as_ref()
                .map_err(|error| (CreateGroupError::of(error), error))
            {
                Ok(_) | Err((CreateGroupError::AlreadyExists, _)) => {
                    self.complaints.remove(&complaint);
                    groups.push((*stream, true));
                }
                Err((CreateGroupError::ThisStream, error)) => {
                    if self.complaints.insert(complaint) {
                        tracing::error!(%error, key = keys.stream(), "no group can be made; left out until one can");
                    }
                    groups.push((*stream, false));
                }
                Err((CreateGroupError::Retry, error)) => return Err(error.clone().into()),
            }
        }
        Ok(StepReply::Groups(groups))
    }

    fn xreadgroup(
        &self,
        count: usize,
        block: Option<Duration>,
        keys: &KeysOf,
        ids: impl Iterator<Item = String>,
    ) -> Cmd {
        let mut command = cmd("XREADGROUP");
        command.arg("GROUP").arg(BRIDGE_GROUP).arg(&self.consumer);
        command.arg("COUNT").arg(count);
        if let Some(block) = block {
            command.arg("BLOCK").arg(block.as_millis() as u64);
        }
        command.arg("STREAMS");
        for keys in keys.values() {
            command.arg(keys.stream());
        }
        for id in ids {
            command.arg(id);
        }
        command
    }

    async fn entries(&mut self, command: &Cmd, keys: &KeysOf) -> Result<StepReply, StreamError> {
        let numbers = keys
            .iter()
            .map(|(stream, keys)| (keys.stream().into_bytes(), *stream));
        let numbers: BTreeMap<Vec<u8>, StreamNo> = numbers.collect();
        let mut entries = Vec::new();
        for (name, of_stream) in reply::streams(self.link.ask(command).await?)? {
            if let Some(stream) = numbers.get(&name) {
                entries.extend(refer(*stream, of_stream));
            }
        }
        Ok(StepReply::Entries(Read {
            entries,
            claim_from: EntryId::ZERO,
            deleted: Vec::new(),
        }))
    }

    async fn claim(
        &mut self,
        from: EntryId,
        count: usize,
        keys: &KeysOf,
    ) -> Result<StepReply, StreamError> {
        let mut read = Read {
            entries: Vec::new(),
            claim_from: EntryId::ZERO,
            deleted: Vec::new(),
        };
        for (stream, keys) in keys {
            let mut command = cmd("XAUTOCLAIM");
            command
                .arg(keys.stream())
                .arg(BRIDGE_GROUP)
                .arg(&self.consumer);
            command
                .arg(self.claim_idle.as_millis() as u64)
                .arg(from.to_string());
            command.arg("COUNT").arg(count);
            let claimed = reply::claimed(self.link.ask(&command).await?)?;
            read.entries.extend(refer(*stream, claimed.entries));
            let deleted = claimed.deleted.into_iter();
            read.deleted.extend(deleted.map(|id| EntryRef {
                stream: *stream,
                id,
            }));
            read.claim_from = claimed.next;
            let tidied = self.tidied.get(stream);
            if tidied.is_none_or(|at| at.elapsed() >= self.forget_idle / 24) {
                self.forget(keys, "").await?;
                self.tidied.insert(*stream, Instant::now());
            }
        }
        Ok(StepReply::Entries(read))
    }

    /// Removes the own name from the groups of these streams, wherever nothing is pending under it: from now on nobody
    /// reads as that.
    ///
    /// # Errors
    /// When Redis cannot be asked. The name is forgotten by another bridge then, when it has been silent for long.
    pub async fn leave(&mut self, keys: &KeysOf) -> Result<(), StreamError> {
        let own = self.consumer.clone();
        for keys in keys.values() {
            self.forget(keys, &own).await?;
        }
        Ok(())
    }

    async fn forget(&mut self, keys: &Keys, ended: &str) -> Result<(), StreamError> {
        let mut eval = cmd("EVAL");
        eval.arg(FORGET).arg(1).arg(keys.stream());
        eval.arg(BRIDGE_GROUP).arg(ended);
        eval.arg(self.forget_idle.as_millis() as u64);
        match self.link.ask(&eval).await {
            Ok(_) => Ok(()),
            // This user may not; names that stay keep no entry from anybody.
            Err(error) if error.code().is_some() => {
                if self.complaints.insert("names".to_owned()) {
                    tracing::warn!(%error, "names of bridges that are gone stay in the consumer groups");
                }
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn refer<P>(stream: StreamNo, entries: Vec<(EntryId, P)>) -> impl Iterator<Item = (EntryRef, P)> {
    let entries = entries.into_iter();
    entries.map(move |(id, payload)| (EntryRef { stream, id }, payload))
}
