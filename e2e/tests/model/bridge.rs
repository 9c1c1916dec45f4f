//! Models a bridge: the real [`Flow`] of the program, with its requests in flight at Redis and Kafka.

use crate::gate::Grant;
use crate::mutation::Mutation;
use crate::stream::{BridgeNo, Id, Stream};
use rushgate_kafka_bridge::entry::{EntryId, EntryRef, StreamNo};
use rushgate_kafka_bridge::flow::{Flow, Read};
use rushgate_kafka_bridge::read_plan::Step;
use std::collections::BTreeSet;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Bridge {
    flow: Flow,
    stream: StreamNo,
    /// The reply to the step in flight: Redis has carried it out, and the bridge does not know yet.
    reply: Option<Reply>,
    /// Given to the producer, without a delivery report yet.
    sent: Vec<Sent>,
    /// Redis has completed these, and the bridge does not know yet.
    completed: Vec<EntryRef>,
    /// Kafka has confirmed these to this bridge.
    confirmed: BTreeSet<Id>,
    /// Something was not delivered, and is to be sent again.
    failed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Reply {
    entries: Vec<(EntryRef, Option<Grant>)>,
    claim_from: EntryId,
    deleted: Vec<EntryRef>,
}

/// A record in the producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Sent {
    entry: EntryRef,
    pub(crate) grant: Grant,
    /// Whether it is in the topic.
    pub(crate) written: bool,
}

/// What a bridge must never do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Misdeeds {
    /// It published again what Kafka had confirmed to it.
    pub(crate) published_again: bool,
    /// It found that an entry was deleted before it was delivered.
    pub(crate) found_lost: bool,
}

impl Bridge {
    /// A bridge that has just started, and knows the campaign and its group.
    pub(crate) fn start(window: usize, stream: &mut Stream) -> Self {
        let mut flow = Flow::new(window, window);
        let mut number = None;
        while let Some(step) = flow.next_step(false) {
            number = step.streams().first().copied();
            set_up(&mut flow, &step, stream);
        }
        Self {
            flow,
            stream: number.expect("a group is made for the one campaign"),
            reply: None,
            sent: vec![],
            completed: vec![],
            confirmed: BTreeSet::new(),
            failed: false,
        }
    }

    /// Asks Redis, which carries it out at once; the reply is then in flight. Replies without entries and those of
    /// set-up steps arrive at once.
    pub(crate) fn ask(&mut self, me: BridgeNo, stream: &mut Stream, idle: &BTreeSet<Id>) {
        self.ask_redis(me, stream, idle, false);
    }

    /// Asks Redis, which reads new entries for it only after the bridge has given up.
    pub(crate) fn ask_slow_redis(&mut self, me: BridgeNo, stream: &mut Stream) {
        self.ask_redis(me, stream, &BTreeSet::new(), true);
    }

    fn ask_redis(&mut self, me: BridgeNo, stream: &mut Stream, idle: &BTreeSet<Id>, is_slow: bool) {
        while let Some(step) = self.flow.next_step(true) {
            let refer = |id| EntryRef {
                stream: self.stream,
                id: EntryId { ms: id, seq: 0 },
            };
            let reply = match &step {
                Step::Discover | Step::CreateGroups(_) => {
                    set_up(&mut self.flow, &step, stream);
                    continue;
                }
                Step::ReadPending { after, count } => {
                    let after = after.first().map_or(0, |(_, id)| id.ms);
                    stream
                        .own(me, after, *count)
                        .map(|entries| (entries, 0, vec![]))
                }
                Step::Claim { from, count, .. } => stream
                    .claim(me, from.ms, *count, idle)
                    .map(|claimed| (claimed.entries, claimed.next, claimed.deleted)),
                Step::ReadNew { count, .. } if is_slow => {
                    stream.read_later(me, *count);
                    self.flow.step_failed();
                    return;
                }
                Step::ReadNew { count, .. } => stream
                    .new_entries(me, *count)
                    .map(|entries| (entries, 0, vec![])),
            };
            let Some((entries, next, deleted)) = reply else {
                // NOGROUP
                self.flow.step_failed();
                continue;
            };
            let reply = Reply {
                entries: entries
                    .into_iter()
                    .map(|(id, grant)| (refer(id), grant))
                    .collect(),
                claim_from: EntryId { ms: next, seq: 0 },
                deleted: deleted.into_iter().map(refer).collect(),
            };
            let nothing_new = matches!(step, Step::ReadNew { .. }) && reply.entries.is_empty();
            if !reply.entries.is_empty() || !reply.deleted.is_empty() {
                self.reply = Some(reply);
                return;
            }
            self.flow.read::<Grant>(reply.into());
            if nothing_new {
                return;
            }
        }
    }

    /// The claim interval has passed: claims entries of dead peers with the next request.
    pub(crate) fn claim(&mut self, me: BridgeNo, stream: &mut Stream, idle: &BTreeSet<Id>) {
        self.flow.claim();
        self.ask(me, stream, idle);
    }

    /// The retry interval has passed: sends again what was not delivered.
    pub(crate) fn retry(&mut self) {
        self.failed = false;
        self.flow.retry();
    }

    pub(crate) fn answered(&mut self, mutation: Option<Mutation>) -> Misdeeds {
        let Some(reply) = self.reply.take() else {
            return Misdeeds::default();
        };
        let to_do = self.flow.read(reply.into());
        let mut misdeeds = Misdeeds {
            published_again: false,
            found_lost: !to_do.lost.is_empty(),
        };
        for (entry, grant) in to_do.publish {
            misdeeds.published_again |= self.confirmed.contains(&entry.id.ms);
            self.sent.push(Sent {
                entry,
                grant,
                written: false,
            });
            if mutation == Some(Mutation::AckBeforeReport) {
                self.flow.delivered(entry);
            }
        }
        self.sent.sort_unstable();
        misdeeds
    }

    pub(crate) fn reply_lost(&mut self) {
        self.reply = None;
        self.flow.step_failed();
    }

    /// The broker writes the record.
    pub(crate) fn written(&mut self, place: usize) -> Grant {
        self.sent[place].written = true;
        self.sent[place].grant
    }

    /// The report of a sent record fails before the broker has it; it may still arrive there.
    pub(crate) fn given_up(&mut self, place: usize) -> Grant {
        let grant = self.sent[place].grant;
        self.reported(place, false);
        grant
    }

    /// The delivery report arrives: success, or failure (whether or not the record was written).
    pub(crate) fn reported(&mut self, place: usize, delivered: bool) {
        let Sent { entry, .. } = self.sent.remove(place);
        if delivered {
            self.confirmed.insert(entry.id.ms);
            self.flow.delivered(entry);
        } else {
            self.failed = true;
            self.flow.not_delivered(entry);
        }
    }

    /// Redis completes entries; its answer is then in flight.
    pub(crate) fn complete(&mut self, stream: &mut Stream) {
        self.completed = self.take_completions();
        let ids: Vec<Id> = self.completed.iter().map(|entry| entry.id.ms).collect();
        stream.complete(&ids);
    }

    /// The answer to the completion arrives, or is lost.
    pub(crate) fn completion_answered(&mut self, arrived: bool, mutation: Option<Mutation>) {
        let confirmed = arrived || mutation == Some(Mutation::AckNotRetried);
        for entry in std::mem::take(&mut self.completed) {
            self.flow.completion_answered(entry, confirmed);
        }
    }

    /// Redis could not be reached.
    pub(crate) fn completion_refused(&mut self, mutation: Option<Mutation>) {
        self.completed = self.take_completions();
        self.completion_answered(false, mutation);
    }

    fn take_completions(&mut self) -> Vec<EntryRef> {
        let completions = self.flow.take_completions(usize::MAX).into_iter();
        completions.map(|(entry, _)| entry).collect()
    }

    pub(crate) fn sent(&self) -> &[Sent] {
        &self.sent
    }

    pub(crate) fn awaits_reply(&self) -> bool {
        self.reply.is_some()
    }

    pub(crate) fn has_room(&self) -> bool {
        self.flow.ledger().room() > 0
    }

    /// Whether something is to be sent again.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed
    }

    /// Whether Redis has completed something that this bridge does not know yet.
    pub(crate) fn is_completing(&self) -> bool {
        !self.completed.is_empty()
    }

    /// Whether there are entries to complete.
    pub(crate) fn has_completions(&self) -> bool {
        self.flow.ledger().unacked() > self.completed.len()
    }

    /// Whether it holds the entry, or is about to.
    pub(crate) fn holds(&self, id: Id) -> bool {
        let is_it = |entry: &EntryRef| entry.id.ms == id;
        let entry = EntryRef {
            stream: self.stream,
            id: EntryId { ms: id, seq: 0 },
        };
        let replied = self.reply.iter().flat_map(|reply| &reply.entries);
        self.flow.ledger().knows(entry) || replied.into_iter().any(|(entry, _)| is_it(entry))
    }

    /// Whether it holds nothing and has nothing in flight.
    pub(crate) fn is_drained(&self) -> bool {
        let ledger = self.flow.ledger();
        self.reply.is_none() && self.sent.is_empty() && ledger.in_flight() + ledger.unacked() == 0
    }
}

impl From<Reply> for Read<Grant> {
    fn from(reply: Reply) -> Self {
        Self {
            entries: reply.entries,
            claim_from: reply.claim_from,
            deleted: reply.deleted,
        }
    }
}

fn set_up(flow: &mut Flow, step: &Step, stream: &mut Stream) {
    match step {
        Step::Discover => {
            let campaign = "welcome".parse().expect("a campaign");
            flow.discovered(BTreeSet::from([campaign]));
        }
        Step::CreateGroups(streams) => {
            stream.create_group();
            let answers: Vec<_> = streams.iter().map(|stream| (*stream, true)).collect();
            flow.groups_answered(&answers);
        }
        _ => {}
    }
}
