//! Redis: the one file that speaks to it.
//!
//! Two connections, each used for one thing at a time: the [`Reader`]'s may block for a while, and the
//! [`Settler`]'s must not wait for it. Either is dropped after any error and opened again at the next use,
//! so that no late answer can be taken for another command's.

use crate::entry::{EntryId, EntryRef, StreamNo};
use crate::flow::Read;
use crate::ledger::Settlement;
use crate::reply::{self, UnexpectedReply};
use crate::streams::Step;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, Pipeline, RedisError, RedisResult, Value, cmd};
use rushgate_gate::keys::{BRIDGE_GROUP, CAMPAIGNS};
use rushgate_gate::{CampaignId, Keys};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long a read waits for new entries. Campaigns are looked for between two reads.
const BLOCK: Duration = Duration::from_millis(100);

/// How long Redis may take over anything else, waiting for the disk included.
const PATIENCE: Duration = Duration::from_secs(5);

const ACK: &str = include_str!("lua/ack.lua");
const DEAD_LETTER: &str = include_str!("lua/dead_letter.lua");

/// Why Redis could not be asked, or what it answered instead.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// No connection, no answer, or an error for an answer.
    #[error(transparent)]
    Redis(#[from] RedisError),
    /// An answer that cannot be one.
    #[error(transparent)]
    Reply(#[from] UnexpectedReply),
}

/// Where to find the keys of every stream.
pub type KeysOf = BTreeMap<StreamNo, Keys>;

/// What the answer to a [`Step`] was.
#[derive(Debug)]
pub enum Answer {
    /// To [`Step::Discover`].
    Campaigns(BTreeSet<CampaignId>),
    /// To [`Step::CreateGroups`]: whether there is one now.
    Groups(Vec<(StreamNo, bool)>),
    /// To all others.
    Entries(Read<crate::entry::Fields>),
}

/// How the settlement of one entry ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Settled {
    /// Which entry.
    pub entry: EntryRef,
    /// Whether Redis has confirmed it.
    pub confirmed: bool,
    /// Whether it was moved to the dead letters just now.
    pub moved: bool,
}

/// What an error of one command, among others that went well, means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// There was nothing to do.
    Done,
    /// This one stream cannot be served now; others can.
    ThisStream,
    /// It may go better later.
    Retry,
}

impl Verdict {
    /// On error codes, never on texts.
    fn of(error: &RedisError) -> Self {
        match error.code() {
            Some("BUSYGROUP") => Self::Done,
            Some("WRONGTYPE" | "OOM") => Self::ThisStream,
            _ => Self::Retry,
        }
    }
}

/// A connection that is opened when it is needed.
#[derive(Debug)]
struct Link {
    client: Client,
    response_timeout: Duration,
    connection: Option<MultiplexedConnection>,
}

impl Link {
    fn new(client: Client, response_timeout: Duration) -> Self {
        Self {
            client,
            response_timeout,
            connection: None,
        }
    }

    async fn open(&mut self) -> RedisResult<&mut MultiplexedConnection> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let config = AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(PATIENCE))
                    .set_response_timeout(Some(self.response_timeout));
                let client = &self.client;
                client
                    .get_multiplexed_async_connection_with_config(&config)
                    .await?
            }
        };
        Ok(self.connection.insert(connection))
    }

    async fn ask(&mut self, command: &Cmd) -> RedisResult<Value> {
        command.query_async(self.open().await?).await
    }

    /// The answer to each command, errors included.
    async fn ask_all(&mut self, commands: &Pipeline) -> RedisResult<Vec<RedisResult<Value>>> {
        commands.query_async(self.open().await?).await
    }

    fn close(&mut self) {
        self.connection = None;
    }
}

/// Asks Redis for campaigns, groups and entries.
#[derive(Debug)]
pub struct Reader {
    link: Link,
    consumer: String,
    claim_idle: Duration,
    /// What was complained about already.
    complaints: BTreeSet<String>,
}

impl Reader {
    /// Reads as `consumer`, and claims what has been pending for `claim_idle`.
    pub fn new(client: Client, consumer: String, claim_idle: Duration) -> Self {
        Self {
            link: Link::new(client, BLOCK + PATIENCE),
            consumer,
            claim_idle,
            complaints: BTreeSet::new(),
        }
    }

    /// Carries out `step`.
    ///
    /// # Errors
    /// When Redis cannot be asked, or refuses. Entries may have been given to this consumer nevertheless.
    pub async fn ask(&mut self, step: &Step, keys: &KeysOf) -> Result<Answer, SourceError> {
        let answer = self.answer(step, keys).await;
        if answer.is_err() {
            self.link.close();
        }
        answer
    }

    async fn answer(&mut self, step: &Step, keys: &KeysOf) -> Result<Answer, SourceError> {
        match step {
            Step::Discover => self.campaigns().await,
            Step::CreateGroups(_) => self.create_groups(keys).await,
            Step::Own { after, count } => {
                let after = after.iter().map(|(_, id)| id.to_string());
                let command = self.xreadgroup(*count, None, keys, after);
                self.entries(&command, keys).await
            }
            Step::New { count, steps, .. } => {
                // 0 would block for ever.
                let block = (BLOCK / *steps).max(Duration::from_millis(1));
                let unseen = keys.iter().map(|_| ">".to_owned());
                let command = self.xreadgroup(*count, Some(block), keys, unseen);
                self.entries(&command, keys).await
            }
            Step::Claim { from, count, .. } => self.claim(*from, *count, keys).await,
        }
    }

    async fn campaigns(&mut self) -> Result<Answer, SourceError> {
        let members = self.link.ask(cmd("SMEMBERS").arg(CAMPAIGNS)).await?;
        let members: Vec<String> = redis::from_redis_value(members).map_err(RedisError::from)?;
        let mut campaigns = BTreeSet::new();
        for member in members {
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
        Ok(Answer::Campaigns(campaigns))
    }

    async fn create_groups(&mut self, keys: &KeysOf) -> Result<Answer, SourceError> {
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
            match answer.as_ref().map_err(|error| (Verdict::of(error), error)) {
                Ok(_) | Err((Verdict::Done, _)) => {
                    self.complaints.remove(&complaint);
                    groups.push((*stream, true));
                }
                Err((Verdict::ThisStream, error)) => {
                    if self.complaints.insert(complaint) {
                        tracing::error!(%error, key = keys.stream(), "no group can be made; left out until one can");
                    }
                    groups.push((*stream, false));
                }
                Err((Verdict::Retry, error)) => return Err(error.clone().into()),
            }
        }
        Ok(Answer::Groups(groups))
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

    async fn entries(&mut self, command: &Cmd, keys: &KeysOf) -> Result<Answer, SourceError> {
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
        Ok(Answer::Entries(Read {
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
    ) -> Result<Answer, SourceError> {
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
        }
        Ok(Answer::Entries(read))
    }
}

fn refer<P>(stream: StreamNo, entries: Vec<(EntryId, P)>) -> impl Iterator<Item = (EntryRef, P)> {
    let entries = entries.into_iter();
    entries.map(move |(id, payload)| (EntryRef { stream, id }, payload))
}

/// Tells Redis which entries are done.
#[derive(Debug)]
pub struct Settler {
    link: Link,
}

impl Settler {
    /// Over a connection of its own.
    pub fn new(client: Client) -> Self {
        Self {
            link: Link::new(client, PATIENCE),
        }
    }

    /// Settles `batch` and tells how it went for every entry of it, with the error if it did not go well
    /// for all.
    pub async fn settle(
        &mut self,
        batch: Vec<(EntryRef, Keys, Settlement)>,
    ) -> (Vec<Settled>, Option<SourceError>) {
        let commands = Command::of(batch);
        let mut pipeline = redis::pipe();
        for command in &commands {
            pipeline.add_command(command.eval.clone());
        }
        let answers = self.link.ask_all(pipeline.ignore_errors()).await;
        let (answers, mut error) = match answers {
            Ok(answers) => (answers, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        let mut answers = answers.into_iter();
        let mut settled = Vec::new();
        for command in commands {
            let answer = answers.next();
            let confirmed = match &answer {
                Some(Ok(_)) => true,
                // Something else stands where the stream was: there is nothing left to settle.
                Some(Err(error)) if error.code() == Some("WRONGTYPE") => true,
                Some(Err(_)) | None => false,
            };
            let moved = command.is_dead_letter && matches!(answer, Some(Ok(Value::Int(1))));
            if let Some(Err(refusal)) = answer {
                error = Some(refusal);
            }
            settled.extend(command.entries.into_iter().map(|entry| Settled {
                entry,
                confirmed,
                moved,
            }));
        }
        if error.is_some() {
            self.link.close();
        }
        (settled, error.map(SourceError::from))
    }
}

/// One script call: the acks of one stream, or one dead letter.
struct Command {
    eval: Cmd,
    entries: Vec<EntryRef>,
    is_dead_letter: bool,
}

impl Command {
    fn of(batch: Vec<(EntryRef, Keys, Settlement)>) -> Vec<Self> {
        let mut commands = Vec::new();
        let mut acks: BTreeMap<StreamNo, (Keys, Vec<EntryRef>)> = BTreeMap::new();
        for (entry, keys, settlement) in batch {
            match settlement {
                Settlement::Ack => {
                    let (_, entries) = acks.entry(entry.stream).or_insert((keys, Vec::new()));
                    entries.push(entry);
                }
                Settlement::DeadLetter(reason) => {
                    commands.push(Self::dead_letter(entry, reason, &keys));
                }
            }
        }
        let acks = acks.into_values();
        commands.extend(acks.map(|(keys, entries)| Self::ack(entries, &keys)));
        commands
    }

    // By source, not by SHA-1: the scripts are short, and a batch shares one call.
    fn ack(entries: Vec<EntryRef>, keys: &Keys) -> Self {
        let mut eval = cmd("EVAL");
        eval.arg(ACK).arg(1).arg(keys.stream()).arg(BRIDGE_GROUP);
        for entry in &entries {
            eval.arg(entry.id.to_string());
        }
        Self {
            eval,
            entries,
            is_dead_letter: false,
        }
    }

    fn dead_letter(entry: EntryRef, reason: String, keys: &Keys) -> Self {
        let mut eval = cmd("EVAL");
        eval.arg(DEAD_LETTER)
            .arg(2)
            .arg(keys.stream())
            .arg(keys.dead_letters());
        eval.arg(BRIDGE_GROUP).arg(entry.id.to_string()).arg(reason);
        Self {
            eval,
            entries: vec![entry],
            is_dead_letter: true,
        }
    }
}
