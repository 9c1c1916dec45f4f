//! Reads from Redis: it creates consumer groups, and reads and claims entries.

use crate::config::Config;
use crate::entry::{EntryId, EntryRef, Fields, StreamNo};
use crate::flow::Read;
use crate::read_plan::Step;
use crate::stream::campaigns::Campaigns;
use crate::stream::connection::{LazyConnection, RESPONSE_TIMEOUT, StreamError};
use crate::stream::reply;
use redis::{Client, Cmd, RedisError, cmd};
use rushgate_gate::keys::BRIDGE_GROUP;
use rushgate_gate::{CampaignId, Keys};
use rushgate_startup::causes;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// How long a read blocks while there are no new entries, unless some stream may have more. New campaigns are looked
/// for between two reads.
const BLOCK: Duration = Duration::from_millis(100);

const REMOVE_NAMES: &str = include_str!("../lua/remove_names.lua");

/// Carries out [`Step`]s on Redis.
#[derive(Debug)]
pub(crate) struct Reader {
    link: LazyConnection,
    consumer: String,
    claim_idle: Duration,
    forget_idle: Duration,
    campaigns: Campaigns,
    /// When unused consumer names were last removed from the group of each stream.
    names_removed_at: BTreeMap<StreamNo, Instant>,
    /// Problems that have been logged already, so that each is logged once.
    logged: BTreeSet<String>,
}

/// The Redis keys of each stream's campaign.
pub(crate) type KeysOf = BTreeMap<StreamNo, Keys>;

/// The reply to a [`Step`].
#[derive(Debug)]
pub(crate) enum StepReply {
    Campaigns {
        /// The campaigns whose streams are read.
        read: BTreeSet<CampaignId>,
        /// The number of campaigns that are not read, because their user ids may not fit the value format.
        unread: usize,
    },
    /// For each stream, whether its group exists now.
    Groups(Vec<(StreamNo, bool)>),
    /// The reply to all other steps.
    Entries(Read<Fields>),
}

/// What the error of one XGROUP CREATE means. The other commands of the pipeline may have succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CreateGroupError {
    AlreadyExists,
    /// This stream cannot be read now; the others can.
    ThisStream,
    Retry,
}

impl CreateGroupError {
    /// Decides by the error code, never by the message.
    fn of(error: &RedisError) -> Self {
        match error.code() {
            Some("BUSYGROUP") => Self::AlreadyExists,
            Some("WRONGTYPE" | "OOM") => Self::ThisStream,
            _ => Self::Retry,
        }
    }
}

impl Reader {
    /// Reads under the consumer name `consumer`. Campaigns whose user ids may not fit the value format are left
    /// out.
    pub(crate) fn new(client: Client, consumer: String, config: &Config) -> Self {
        Self {
            link: LazyConnection::new(client, BLOCK + RESPONSE_TIMEOUT),
            consumer,
            claim_idle: config.claim_idle,
            forget_idle: config.forget_idle,
            campaigns: Campaigns::new(config.value_format),
            names_removed_at: BTreeMap::new(),
            logged: BTreeSet::new(),
        }
    }

    /// # Errors
    /// When Redis does not reply, or replies with an error. Redis may have assigned entries to this consumer
    /// nevertheless.
    pub(crate) async fn ask(
        &mut self,
        step: &Step,
        keys: &KeysOf,
    ) -> Result<StepReply, StreamError> {
        let reply = self.carry_out(step, keys).await;
        if reply.is_err() {
            self.link.close();
        }
        reply
    }

    async fn carry_out(&mut self, step: &Step, keys: &KeysOf) -> Result<StepReply, StreamError> {
        match step {
            Step::Discover => {
                let (read, unread) = self.campaigns.find(&mut self.link).await?;
                Ok(StepReply::Campaigns { read, unread })
            }
            Step::CreateGroups(_) => self.create_groups(keys).await,
            Step::ReadPending { after, count } => {
                let after = after.iter().map(|(_, id)| id.to_string());
                let command = self.xreadgroup(*count, None, keys, after);
                self.entries(&command, keys).await
            }
            Step::ReadNew {
                count, steps, wait, ..
            } => {
                // BLOCK 0 would block forever.
                let block = wait.then(|| (BLOCK / *steps).max(Duration::from_millis(1)));
                let unseen = keys.iter().map(|_| ">".to_owned());
                let command = self.xreadgroup(*count, block, keys, unseen);
                self.entries(&command, keys).await
            }
            Step::Claim { from, count, .. } => self.claim(*from, *count, keys).await,
        }
    }

    async fn create_groups(&mut self, keys: &KeysOf) -> Result<StepReply, StreamError> {
        let mut commands = redis::pipe();
        for keys in keys.values() {
            // Start at id 0: acked entries are deleted, so everything in the stream is undelivered.
            let command = commands.cmd("XGROUP").arg("CREATE").arg(keys.stream());
            command.arg(BRIDGE_GROUP).arg("0").arg("MKSTREAM");
        }
        let replies = self.link.ask_all(commands.ignore_errors()).await?;
        let mut groups = Vec::new();
        for ((stream, keys), reply) in keys.iter().zip(replies) {
            let problem = format!("group {}", keys.stream());
            match reply
                .as_ref()
                .map_err(|error| (CreateGroupError::of(error), error))
            {
                Ok(_) | Err((CreateGroupError::AlreadyExists, _)) => {
                    self.logged.remove(&problem);
                    groups.push((*stream, true));
                }
                Err((CreateGroupError::ThisStream, error)) => {
                    if self.logged.insert(problem) {
                        tracing::error!(%error, key = keys.stream(), "creating the consumer group failed; this stream is not read until it succeeds");
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
                entries.extend(with_stream(*stream, of_stream));
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
            read.entries.extend(with_stream(*stream, claimed.entries));
            let deleted = claimed.deleted.into_iter();
            read.deleted.extend(deleted.map(|id| EntryRef {
                stream: *stream,
                id,
            }));
            read.claim_from = claimed.next;
            let names_removed_at = self.names_removed_at.get(stream);
            if names_removed_at.is_none_or(|at| at.elapsed() >= self.forget_idle / 24) {
                self.remove_names(keys, "").await?;
                self.names_removed_at.insert(*stream, Instant::now());
            }
        }
        Ok(StepReply::Entries(read))
    }

    /// Removes this bridge's consumer name from the groups of these streams, unless entries are pending under
    /// it. Call it after the last read.
    ///
    /// # Errors
    /// When Redis does not reply. Another bridge removes the name later, after `BRIDGE_FORGET_IDLE`.
    pub(crate) async fn leave(&mut self, keys: &KeysOf) -> Result<(), StreamError> {
        let own = self.consumer.clone();
        for keys in keys.values() {
            self.remove_names(keys, &own).await?;
        }
        Ok(())
    }

    async fn remove_names(&mut self, keys: &Keys, ended: &str) -> Result<(), StreamError> {
        let mut eval = cmd("EVAL");
        eval.arg(REMOVE_NAMES).arg(1).arg(keys.stream());
        eval.arg(BRIDGE_GROUP).arg(ended);
        eval.arg(self.forget_idle.as_millis() as u64);
        match self.link.ask(&eval).await {
            Ok(_) => Ok(()),
            // The Redis user lacks the permission. The names that stay hold back no entries.
            Err(error) if error.code().is_some() => {
                if self.logged.insert("names".to_owned()) {
                    tracing::warn!(
                        error = causes(&error),
                        "removing the consumer names of stopped bridges failed; they stay in the groups"
                    );
                }
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn with_stream<P>(
    stream: StreamNo,
    entries: Vec<(EntryId, P)>,
) -> impl Iterator<Item = (EntryRef, P)> {
    let entries = entries.into_iter();
    entries.map(move |(id, payload)| (EntryRef { stream, id }, payload))
}
