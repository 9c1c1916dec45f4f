//! Lists all faults of the model, where they can happen, and their effects. Each fault that happens is counted.

use crate::bridge::Bridge;
use crate::consumer::{Consumer, Writer};
use crate::pipeline::{Action, Pipeline, Place, State};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The gate's answer does not reach the applicant.
    AnswerLost,
    /// A bridge dies and is started again under the same name.
    BridgeRestarts,
    /// A bridge dies and does not come back.
    BridgeGone,
    /// Redis has carried out a read, and its reply does not reach the bridge.
    ReplyLost,
    /// Redis carries out a read of new entries only when the bridge has given up on it.
    ReadLate,
    /// A bridge claims what its living owner holds.
    HastyClaim,
    /// A delivery report says that it failed, whether the record was written or not.
    ReportFails,
    /// The same, and the record is written only after that.
    RecordLate,
    /// A record comes into the topic once more.
    RecordAgain,
    /// Redis cannot be told what is completed.
    CompletionRefused,
    /// Redis has completed, and its answer does not reach the bridge.
    CompletionAnswerLost,
    /// The consumer group of the stream is destroyed.
    GroupLost,
    /// Redis is rolled back to before its last grant.
    GrantLost,
    /// A consumer dies and restarts, or its partitions go to another.
    ConsumerCrashes,
    /// Partitions move; the old owner learns of it in time.
    Rebalance,
    /// Partitions move; the old owner continues as a zombie until it learns of it.
    Expelled,
    /// The database has committed a batch, and its answer does not reach the consumer.
    WriteAnswerLost,
    /// The gate has confirmed, and its answer does not reach the consumer.
    ConfirmAnswerLost,
    /// The broker has accepted a commit, and its answer does not reach the consumer.
    CommitAnswerLost,
}

impl Pipeline {
    /// The faults that may happen next.
    pub(crate) fn faults(&self, state: &State, actions: &mut Vec<Action>) {
        if state.faults_left == 0 {
            return;
        }
        for fault in self.kinds {
            let mut push = |place| actions.push(Action::Fault(*fault, place));
            match fault {
                Fault::AnswerLost => state
                    .gate
                    .comers(self.people)
                    .map(Place::Person)
                    .for_each(push),
                Fault::GroupLost if state.stream.has_group() => push(Place::Redis),
                Fault::GrantLost if !state.gate.grants().is_empty() => push(Place::Redis),
                Fault::GroupLost | Fault::GrantLost => {}
                Fault::RecordAgain => state.broker.grants().map(Place::Topic).for_each(push),
                Fault::WriteAnswerLost => self.writers_with_batches(state).for_each(push),
                Fault::ConsumerCrashes
                | Fault::Rebalance
                | Fault::Expelled
                | Fault::ConfirmAnswerLost
                | Fault::CommitAnswerLost => consumer_faults(state, *fault, &mut push),
                _ => bridge_faults(state, *fault, &mut push),
            }
        }
    }

    pub(crate) fn fail(&self, state: &mut State, fault: Fault, place: Place) {
        state.faults_left -= 1;
        match place {
            Place::Redis => match fault {
                Fault::GroupLost => state.stream.change(|stream| stream.lose_group()),
                _ => {
                    if let Some(grant) = state.gate.change(|gate| gate.lose_last()) {
                        state.stream.change(|stream| stream.lose(grant));
                    }
                }
            },
            Place::Topic(grant) => state.broker.change(|broker| broker.append(grant)),
            Place::Person(person) => self.apply(state, person, false),
            Place::Bridge(me) => self.bridge_fails(state, me, fault),
            Place::Record(me, sent) => state.bridges[me].change(|bridge| match bridge {
                Some(bridge) if fault == Fault::RecordLate => {
                    let grant = bridge.given_up(sent);
                    state.broker.change(|broker| broker.append_later(grant));
                }
                Some(bridge) => bridge.reported(sent, false),
                None => {}
            }),
            Place::Consumer(me) => self.consumer_fails(state, me, fault),
            Place::Writer(me, writer) => self.write_answer_lost(state, me, writer),
            Place::Partitions(from, to) => rebalance(state, from, to, fault),
        }
    }

    fn bridge_fails(&self, state: &mut State, me: usize, fault: Fault) {
        let stream = &mut state.stream;
        let pending = stream.pending().map(|(id, _)| id).collect();
        state.bridges[me].change(|slot| {
            let Some(bridge) = slot else { return };
            match fault {
                Fault::BridgeRestarts => {
                    *bridge = stream.change(|stream| Bridge::start(self.window, stream));
                }
                Fault::BridgeGone => *slot = None,
                Fault::HastyClaim => stream.change(|stream| bridge.claim(me, stream, &pending)),
                Fault::ReadLate => stream.change(|stream| bridge.ask_slow_redis(me, stream)),
                Fault::CompletionRefused => bridge.completion_refused(self.mutation),
                Fault::CompletionAnswerLost => bridge.completion_answered(false, self.mutation),
                _ => bridge.reply_lost(),
            }
        });
    }

    fn writers_with_batches(&self, state: &State) -> impl Iterator<Item = Place> {
        let consumers = state.consumers.iter().enumerate();
        consumers.flat_map(|(me, consumer)| {
            let writers = self.writers().filter(|writer| consumer.has_batch(*writer));
            writers.map(move |writer| Place::Writer(me, writer))
        })
    }

    fn write_answer_lost(&self, state: &mut State, me: usize, writer: Writer) {
        let table = &mut state.table;
        state.consumers[me].change(|consumer| {
            table.change(|table| consumer.write(writer, table, self.quota, false, self.mutation));
        });
    }

    fn consumer_fails(&self, state: &mut State, me: usize, fault: Fault) {
        let State { gate, .. } = state;
        state.consumers[me].change(|consumer| match fault {
            Fault::ConfirmAnswerLost => {
                gate.change(|gate| consumer.confirm(gate, false, self.mutation));
            }
            _ => consumer.commit_answered(false),
        });
    }
}

fn rebalance(state: &mut State, from: usize, to: usize, fault: Fault) {
    match fault {
        Fault::ConsumerCrashes => {
            state.consumers[from].change(|consumer| *consumer = Consumer::default());
        }
        Fault::Rebalance => {
            let generation = state.broker.generation();
            for consumer in &mut state.consumers {
                if consumer.generation() == generation {
                    let broker = &mut state.broker;
                    consumer.change(|consumer| broker.change(|broker| consumer.give_back(broker)));
                }
            }
        }
        _ => {}
    }
    state.broker.change(|broker| broker.rebalance(from, to));
}

fn bridge_faults(state: &State, fault: Fault, push: &mut impl FnMut(Place)) {
    let alive = state.bridges.iter().filter(|bridge| bridge.is_some());
    let alive = alive.count();
    for (me, bridge) in state.bridges.iter().enumerate() {
        let Some(bridge) = &**bridge else { continue };
        let can = match fault {
            // A bridge without entries loses nothing.
            Fault::BridgeRestarts => !bridge.is_drained(),
            Fault::BridgeGone => alive > 1,
            Fault::ReplyLost => bridge.awaits_reply(),
            Fault::HastyClaim => {
                let mut pending = state.stream.pending();
                bridge.has_room()
                    && !bridge.awaits_reply()
                    && pending.any(|(id, _)| !bridge.holds(id))
            }
            Fault::CompletionRefused => bridge.has_completions() && !bridge.is_completing(),
            Fault::CompletionAnswerLost => bridge.is_completing(),
            Fault::ReadLate => {
                bridge.has_room() && !bridge.awaits_reply() && state.stream.has_new()
            }
            Fault::ReportFails | Fault::RecordLate => {
                for (place, sent) in bridge.sent().iter().enumerate() {
                    if fault == Fault::ReportFails || !sent.written {
                        push(Place::Record(me, place));
                    }
                }
                false
            }
            _ => false,
        };
        if can {
            push(Place::Bridge(me));
        }
    }
}

fn consumer_faults(state: &State, fault: Fault, push: &mut impl FnMut(Place)) {
    for (me, consumer) in state.consumers.iter().enumerate() {
        let can = match fault {
            Fault::ConfirmAnswerLost => consumer.has_written(),
            Fault::CommitAnswerLost => consumer.is_committing(),
            _ => false,
        };
        if can {
            push(Place::Consumer(me));
        }
        if matches!(
            fault,
            Fault::ConsumerCrashes | Fault::Rebalance | Fault::Expelled
        ) {
            let others = 0..state.consumers.len();
            others.for_each(|to| push(Place::Partitions(me, to)));
        }
    }
}
