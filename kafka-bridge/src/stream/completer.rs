//! Writes to Redis: it acks entries, and moves entries that can never be published to the dead letters.

use crate::entry::{EntryRef, StreamNo};
use crate::ledger::Completion;
use crate::stream::connection::{LazyConnection, RESPONSE_TIMEOUT, StreamError};
use crate::stream::reader::KeysOf;
use redis::{Client, Cmd, Value, cmd};
use rushgate_gate::Keys;
use rushgate_gate::keys::BRIDGE_GROUP;
use rushgate_startup::causes;
use std::collections::BTreeMap;

const DEAD_LETTER: &str = include_str!("../lua/dead_letter.lua");

/// Acks entries and writes dead letters.
#[derive(Debug)]
pub(crate) struct Completer {
    link: LazyConnection,
}

/// The result for one entry.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Completed {
    pub(crate) entry: EntryRef,
    pub(crate) confirmed: bool,
    /// Whether this call moved it to the dead letters.
    pub(crate) moved: bool,
    /// The error with which Redis refused it, if any. It says nothing about other streams.
    pub(crate) refused: Option<String>,
}

impl Completer {
    /// Opens its own connection at the first use.
    pub(crate) fn new(client: Client) -> Self {
        Self {
            link: LazyConnection::new(client, RESPONSE_TIMEOUT),
        }
    }

    /// Completes the entries of `batch`. `keys` must contain every stream in it. Returns a result for every
    /// entry, and an error if any command failed.
    pub(crate) async fn complete(
        &mut self,
        batch: Vec<(EntryRef, Completion)>,
        keys: &KeysOf,
    ) -> (Vec<Completed>, Option<StreamError>) {
        let commands = Command::of(batch, keys);
        let mut pipeline = redis::pipe();
        for step in commands.iter().flat_map(|command| &command.steps) {
            pipeline.add_command(step.clone());
        }
        let answers = self.link.ask_all(pipeline.ignore_errors()).await;
        let (answers, mut error) = match answers {
            Ok(answers) => (answers, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        let mut answers = answers.into_iter();
        let mut completed = Vec::new();
        for command in commands {
            // The last reply of the command counts: that of EVAL, or of EXEC. If Redis refused an earlier step, EXEC
            // says only that.
            let mut replies: Vec<_> = answers
                .by_ref()
                .take(command.steps.len())
                .map(|reply| reply.and_then(Value::extract_error))
                .collect();
            let answer = match replies.iter().position(Result::is_err) {
                Some(refused) => Some(replies.swap_remove(refused)),
                None => replies.pop(),
            };
            let confirmed = match &answer {
                Some(Ok(_)) => true,
                // The key holds another type: the stream is gone, so there is nothing left to ack.
                Some(Err(error)) if error.code() == Some("WRONGTYPE") => true,
                Some(Err(_)) | None => false,
            };
            let refusal = answer.as_ref().and_then(|answer| answer.as_ref().err());
            let refused = refusal.filter(|_| !confirmed).map(|error| causes(error));
            let moved = command.is_dead_letter && matches!(answer, Some(Ok(Value::Int(1))));
            if let Some(Err(refusal)) = answer {
                error = Some(refusal);
            }
            completed.extend(command.entries.into_iter().map(|entry| Completed {
                entry,
                confirmed,
                moved,
                refused: refused.clone(),
            }));
        }
        if error.is_some() {
            self.link.close();
        }
        (completed, error.map(StreamError::from))
    }
}

/// The acks of one stream, or one dead letter. Redis carries it out as a whole or not at all.
struct Command {
    steps: Vec<Cmd>,
    entries: Vec<EntryRef>,
    is_dead_letter: bool,
}

impl Command {
    fn of(batch: Vec<(EntryRef, Completion)>, keys: &KeysOf) -> Vec<Self> {
        let mut commands = Vec::new();
        let mut acks: BTreeMap<StreamNo, Vec<EntryRef>> = BTreeMap::new();
        for (entry, completion) in batch {
            match completion {
                Completion::Ack => acks.entry(entry.stream).or_default().push(entry),
                Completion::DeadLetter(reason) => {
                    let keys = keys.get(&entry.stream);
                    commands.extend(keys.map(|keys| Self::dead_letter(entry, reason, keys)));
                }
            }
        }
        for (stream, entries) in acks {
            commands.extend(keys.get(&stream).map(|keys| Self::ack(entries, keys)));
        }
        commands
    }

    /// Removes the entries from the pending list and from the stream. Running it twice changes nothing.
    fn ack(entries: Vec<EntryRef>, keys: &Keys) -> Self {
        let ids: Vec<_> = entries.iter().map(|entry| entry.id.to_string()).collect();
        let (mut ack, mut delete) = (cmd("XACK"), cmd("XDEL"));
        ack.arg(keys.stream()).arg(BRIDGE_GROUP).arg(&ids);
        delete.arg(keys.stream()).arg(&ids);
        Self {
            steps: vec![cmd("MULTI"), ack, delete, cmd("EXEC")],
            entries,
            is_dead_letter: false,
        }
    }

    // EVAL with the source and not EVALSHA: the script is short and rarely used.
    fn dead_letter(entry: EntryRef, reason: String, keys: &Keys) -> Self {
        let mut eval = cmd("EVAL");
        eval.arg(DEAD_LETTER)
            .arg(2)
            .arg(keys.stream())
            .arg(keys.dead_letters());
        eval.arg(BRIDGE_GROUP).arg(entry.id.to_string()).arg(reason);
        Self {
            steps: vec![eval],
            entries: vec![entry],
            is_dead_letter: true,
        }
    }
}
