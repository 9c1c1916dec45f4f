//! Models the whole pipeline: which actions are possible next, and what each of them changes.

use crate::bridge::Bridge;
use crate::broker::{Broker, ConsumerNo};
use crate::consumer::{Consumer, Writer};
use crate::fault::Fault;
use crate::gate::{Decision, Gate, Grant, Person};
use crate::mutation::Mutation;
use crate::shared::Shared;
use crate::stream::{BridgeNo, Id, Stream};
use crate::table::Table;
use std::collections::BTreeSet;

#[derive(Clone, Debug)]
pub(crate) struct Pipeline {
    pub(crate) name: &'static str,
    pub(crate) people: Person,
    pub(crate) quota: u8,
    /// Without bridges, grants go directly to the topic.
    pub(crate) bridges: usize,
    /// Most entries that a bridge holds.
    pub(crate) window: usize,
    pub(crate) partitions: usize,
    pub(crate) consumers: usize,
    /// How many writers a consumer has.
    pub(crate) writers: u8,
    /// How many faults may happen, of these kinds.
    pub(crate) faults: u8,
    pub(crate) kinds: &'static [Fault],
    pub(crate) mutation: Option<Mutation>,
}

/// The whole state at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) gate: Shared<Gate>,
    pub(crate) stream: Shared<Stream>,
    /// `None` for a bridge that is gone for good.
    pub(crate) bridges: Vec<Shared<Option<Bridge>>>,
    pub(crate) broker: Shared<Broker>,
    pub(crate) consumers: Vec<Shared<Consumer>>,
    pub(crate) table: Shared<Table>,
    pub(crate) faults_left: u8,
    /// A bridge published again what Kafka had confirmed to it.
    pub(crate) published_again: bool,
    /// A bridge found an entry deleted before it was delivered.
    pub(crate) found_lost: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Apply(Person),
    /// Redis carries out a read after the bridge has given up.
    LateRead,
    /// The broker appends a record whose report has failed.
    LateRecord,
    Bridge(BridgeNo, BridgeAction),
    Consumer(ConsumerNo, ConsumerAction),
    Fault(Fault, Place),
}

/// What a bridge does, or what reaches it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BridgeAction {
    /// It asks Redis, which carries the request out.
    Ask,
    /// It claims entries of dead peers.
    Claim,
    ReplyArrives,
    /// It sends again what was not delivered.
    Retry,
    /// The broker appends a record that the bridge sent.
    Written(usize),
    ReportArrives(usize),
    /// It completes entries in Redis.
    Complete,
    CompletionAnswered,
}

/// What a consumer does, or what reaches it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConsumerAction {
    Join,
    Read(usize),
    Write(Writer),
    Confirm,
    Commit,
    CommitAnswered,
}

/// What a fault affects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Redis,
    Person(Person),
    Topic(Grant),
    Bridge(BridgeNo),
    Record(BridgeNo, usize),
    Consumer(ConsumerNo),
    Writer(ConsumerNo, Writer),
    /// From the first to the second.
    Partitions(ConsumerNo, ConsumerNo),
}

impl Pipeline {
    /// The initial state.
    pub(crate) fn start(&self) -> State {
        let mut stream = Stream::default();
        let bridges = (0..self.bridges)
            .map(|_| Shared::new(Some(Bridge::start(self.window, &mut stream))))
            .collect();
        let broker = Broker::new(self.partitions, self.consumers);
        let consumers = (0..self.consumers).map(|me| {
            let mut consumer = Consumer::default();
            consumer.join(me, &broker);
            Shared::new(consumer)
        });
        State {
            gate: Shared::new(Gate::default()),
            stream: Shared::new(stream),
            bridges,
            consumers: consumers.collect(),
            broker: Shared::new(broker),
            table: Shared::new(Table::default()),
            faults_left: self.faults,
            published_again: false,
            found_lost: false,
        }
    }

    /// What the components may do next, without faults. Some of it may change nothing.
    pub(crate) fn work(&self, state: &State, actions: &mut Vec<Action>) {
        actions.extend(state.gate.comers(self.people).map(Action::Apply));
        if state.stream.has_late_reads() {
            actions.push(Action::LateRead);
        }
        if state.broker.has_late_records() {
            actions.push(Action::LateRecord);
        }
        for (me, bridge) in state.bridges.iter().enumerate() {
            if let Some(bridge) = &**bridge {
                let mut push = |action| actions.push(Action::Bridge(me, action));
                bridge_work(state, me, bridge, &mut push);
            }
        }
        for (me, consumer) in state.consumers.iter().enumerate() {
            let mut push = |action| actions.push(Action::Consumer(me, action));
            self.consumer_work(state, consumer, &mut push);
        }
    }

    /// Carries out an action of a component.
    pub(crate) fn perform(&self, state: &mut State, action: Action) {
        match action {
            Action::Apply(person) => self.apply(state, person, true),
            Action::LateRead => state.stream.change(|stream| stream.read_late()),
            Action::LateRecord => state.broker.change(|broker| broker.append_late()),
            Action::Bridge(me, action) => self.bridge_performs(state, me, action),
            Action::Consumer(me, action) => self.consumer_performs(state, me, action),
            Action::Fault(fault, place) => self.fail(state, fault, place),
        }
    }

    /// An applicant applies; the answer may be lost.
    pub(crate) fn apply(&self, state: &mut State, person: Person, answered: bool) {
        let trimmed = self.mutation == Some(Mutation::TrimmedStream);
        let decision = state.gate.change(|gate| {
            let decision = gate.apply(person, self.quota, self.mutation);
            // An applicant who is turned away by a halted campaign comes again.
            if answered && !matches!(decision, Decision::Halted | Decision::Looked) {
                gate.tell(person);
            }
            decision
        });
        let Decision::Granted(grant) = decision else {
            return;
        };
        if self.bridges == 0 {
            state.broker.change(|broker| broker.append(grant));
        } else {
            let longest = trimmed.then_some(1);
            state.stream.change(|stream| stream.add(grant, longest));
        }
    }

    fn bridge_performs(&self, state: &mut State, me: BridgeNo, action: BridgeAction) {
        let idle = match action {
            BridgeAction::Claim => state.idle(),
            _ => BTreeSet::new(),
        };
        let stream = &mut state.stream;
        let misdeeds = state.bridges[me].change(|bridge| {
            let bridge = bridge.as_mut()?;
            match action {
                BridgeAction::Ask => stream.change(|stream| bridge.ask(me, stream, &idle)),
                BridgeAction::Claim => stream.change(|stream| bridge.claim(me, stream, &idle)),
                BridgeAction::ReplyArrives => return Some(bridge.answered(self.mutation)),
                BridgeAction::Retry => bridge.retry(),
                BridgeAction::Written(place) => {
                    let grant = bridge.written(place);
                    state.broker.change(|broker| broker.append(grant));
                }
                BridgeAction::ReportArrives(place) => bridge.reported(place, true),
                BridgeAction::Complete => stream.change(|stream| bridge.complete(stream)),
                BridgeAction::CompletionAnswered => {
                    bridge.completion_answered(true, self.mutation);
                }
            }
            None
        });
        if let Some(misdeeds) = misdeeds {
            state.published_again |= misdeeds.published_again;
            state.found_lost |= misdeeds.found_lost;
        }
    }

    /// The writers of a consumer.
    pub(crate) fn writers(&self) -> impl Iterator<Item = Writer> {
        let of = self.writers;
        (0..of).map(move |number| Writer { number, of })
    }

    fn consumer_work(
        &self,
        state: &State,
        consumer: &Consumer,
        push: &mut impl FnMut(ConsumerAction),
    ) {
        if consumer.generation() != state.broker.generation() {
            push(ConsumerAction::Join);
        }
        consumer
            .readable(&state.broker)
            .for_each(|partition| push(ConsumerAction::Read(partition)));
        let full = self.writers().filter(|writer| consumer.has_batch(*writer));
        full.for_each(|writer| push(ConsumerAction::Write(writer)));
        if consumer.has_written() {
            push(ConsumerAction::Confirm);
        }
        if consumer.is_committing() {
            push(ConsumerAction::CommitAnswered);
        }
        if consumer.may_commit() {
            push(ConsumerAction::Commit);
        }
    }

    fn consumer_performs(&self, state: &mut State, me: ConsumerNo, action: ConsumerAction) {
        let mutation = self.mutation;
        let broker = &mut state.broker;
        state.consumers[me].change(|consumer| match action {
            ConsumerAction::Join => consumer.join(me, broker),
            ConsumerAction::Read(partition) => consumer.read(partition, broker, mutation),
            ConsumerAction::Write(writer) => {
                let table = &mut state.table;
                table.change(|table| consumer.write(writer, table, self.quota, true, mutation));
            }
            ConsumerAction::Confirm => {
                let gate = &mut state.gate;
                gate.change(|gate| consumer.confirm(gate, true, mutation));
            }
            ConsumerAction::Commit => broker.change(|broker| consumer.commit(broker)),
            ConsumerAction::CommitAnswered => consumer.commit_answered(true),
        });
    }
}

impl State {
    /// Pending entries that no living bridge holds: in time they have been idle long enough to be claimed.
    fn idle(&self) -> BTreeSet<Id> {
        let pending = self.stream.pending();
        let forgotten = pending.filter(|(id, owner)| {
            let owner = self.bridges[*owner].as_ref();
            owner.is_none_or(|owner| !owner.holds(*id))
        });
        forgotten.map(|(id, _)| id).collect()
    }
}

fn bridge_work(state: &State, me: BridgeNo, bridge: &Bridge, push: &mut impl FnMut(BridgeAction)) {
    if bridge.awaits_reply() {
        push(BridgeAction::ReplyArrives);
    } else if bridge.has_room() {
        let unread = |(id, owner)| owner == me && !bridge.holds(id);
        if state.stream.has_new() || !state.stream.has_group() || state.stream.pending().any(unread)
        {
            push(BridgeAction::Ask);
        }
        if !state.idle().is_empty() {
            push(BridgeAction::Claim);
        }
    }
    if bridge.has_failed() {
        push(BridgeAction::Retry);
    }
    for (place, sent) in bridge.sent().iter().enumerate() {
        push(match sent.written {
            false => BridgeAction::Written(place),
            true => BridgeAction::ReportArrives(place),
        });
    }
    if bridge.is_completing() {
        push(BridgeAction::CompletionAnswered);
    } else if bridge.has_completions() {
        push(BridgeAction::Complete);
    }
}
