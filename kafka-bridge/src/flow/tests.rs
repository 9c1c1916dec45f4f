//! Tests the decisions of two bridges against a small model: a Redis stream with its consumer group, a Kafka that
//! never loses a record, and every fault that can happen between them, in any order.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const WINDOW: usize = 5;

/// Ids of entries that can never be published.
fn is_poison(id: u64) -> bool {
    id.is_multiple_of(7)
}

#[derive(Default)]
struct World {
    added: u64,
    stream: BTreeSet<u64>,
    /// The group: the last id that it has delivered, and the owner of each pending entry. `None` if there is no
    /// group.
    group: Option<(u64, BTreeMap<u64, usize>)>,
    topic: BTreeSet<u64>,
    dead_letters: BTreeSet<u64>,
    bridges: Vec<Bridge>,
    /// Commands of bridges that no longer wait for the reply.
    stray: Vec<(usize, Step)>,
}

struct Bridge {
    flow: Flow,
    step: Option<(Step, Option<Answer>)>,
    completing: Option<(Vec<(EntryRef, Completion)>, bool)>,
    in_flight: Vec<EntryRef>,
}

#[derive(Clone, Debug)]
enum Answer {
    Campaigns,
    Group,
    Read(Read<()>),
    NoGroup,
}

#[derive(Clone, Debug)]
enum Event {
    Add,
    BeginStep,
    RedisCarriesOutStep,
    StepAnswered,
    StepAnswerLost,
    StrayStepArrives,
    Report {
        of: usize,
        in_kafka: bool,
        known: bool,
    },
    BeginCompleting,
    RedisCompletes,
    CompletionAnswered,
    CompletionAnswerLost,
    Claim,
    Retry,
    Crash,
    DestroyGroup,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => Just(Event::Add),
        6 => Just(Event::BeginStep),
        6 => Just(Event::RedisCarriesOutStep),
        6 => Just(Event::StepAnswered),
        1 => Just(Event::StepAnswerLost),
        1 => Just(Event::StrayStepArrives),
        8 => (0..WINDOW, prop::bool::weighted(0.8), prop::bool::weighted(0.8))
            .prop_map(|(of, in_kafka, known)| Event::Report { of, in_kafka, known }),
        4 => Just(Event::BeginCompleting),
        4 => Just(Event::RedisCompletes),
        4 => Just(Event::CompletionAnswered),
        1 => Just(Event::CompletionAnswerLost),
        1 => Just(Event::Claim),
        2 => Just(Event::Retry),
        1 => Just(Event::Crash),
        1 => Just(Event::DestroyGroup),
    ]
}

fn entry(id: u64) -> EntryRef {
    EntryRef {
        stream: StreamNo(0),
        id: EntryId { ms: id, seq: 0 },
    }
}

impl Bridge {
    fn new() -> Self {
        Self {
            flow: Flow::new(WINDOW, 3),
            step: None,
            completing: None,
            in_flight: Vec::new(),
        }
    }
}

impl World {
    fn new() -> Self {
        Self {
            bridges: vec![Bridge::new(), Bridge::new()],
            ..Self::default()
        }
    }

    fn happen(&mut self, who: usize, event: Event) -> Result<(), TestCaseError> {
        let bridge = &mut self.bridges[who];
        match event {
            Event::Add => {
                self.added += 1;
                self.stream.insert(self.added);
            }
            Event::BeginStep => {
                if let Some(step) = bridge.flow.next_step(true) {
                    prop_assert!(bridge.step.is_none(), "two steps at once");
                    bridge.step = Some((step, None));
                }
            }
            Event::RedisCarriesOutStep => {
                if let Some((step, None)) = bridge.step.clone() {
                    let answer = self.redis(who, &step);
                    self.bridges[who].step = Some((step, Some(answer)));
                }
            }
            Event::StepAnswered => self.answer_step(who)?,
            Event::StepAnswerLost => {
                if let Some((step, answer)) = bridge.step.take() {
                    bridge.flow.step_failed();
                    if answer.is_none() {
                        self.stray.push((who, step));
                    }
                }
            }
            Event::StrayStepArrives => {
                if let Some((who, step)) = self.stray.pop() {
                    self.redis(who, &step);
                }
            }
            Event::Report {
                of,
                in_kafka,
                known,
            } => {
                if of < bridge.in_flight.len() {
                    let entry = bridge.in_flight.remove(of);
                    if in_kafka {
                        self.topic.insert(entry.id.ms);
                    }
                    if in_kafka && known {
                        bridge.flow.delivered(entry);
                    } else {
                        bridge.flow.not_delivered(entry);
                    }
                }
            }
            Event::BeginCompleting => {
                if bridge.completing.is_none() {
                    bridge.completing = Some((bridge.flow.take_completions(3), false));
                }
            }
            Event::RedisCompletes => {
                if let Some((batch, false)) = bridge.completing.clone() {
                    for (entry, completion) in &batch {
                        self.complete(entry.id.ms, completion)?;
                    }
                    self.bridges[who].completing = Some((batch, true));
                }
            }
            Event::CompletionAnswered => {
                if let Some((batch, true)) = bridge.completing.clone() {
                    bridge.completing = None;
                    for (entry, _) in batch {
                        bridge.flow.completion_answered(entry, true);
                    }
                }
            }
            Event::CompletionAnswerLost => {
                for (entry, _) in bridge
                    .completing
                    .take()
                    .into_iter()
                    .flat_map(|(batch, _)| batch)
                {
                    bridge.flow.completion_answered(entry, false);
                }
            }
            Event::Claim => bridge.flow.claim(),
            Event::Retry => bridge.flow.retry(),
            Event::Crash => {
                if let Some((step, None)) = bridge.step.take() {
                    self.stray.push((who, step));
                }
                self.bridges[who] = Bridge::new();
            }
            Event::DestroyGroup => self.group = None,
        }
        for bridge in &self.bridges {
            let ledger = bridge.flow.ledger();
            prop_assert!(ledger.in_flight() + ledger.unacked() <= WINDOW);
            prop_assert_eq!(ledger.in_flight(), bridge.in_flight.len());
        }
        Ok(())
    }

    /// What Redis does for a step, reduced to one stream.
    fn redis(&mut self, who: usize, step: &Step) -> Answer {
        if let Step::Discover = step {
            return Answer::Campaigns;
        }
        if let Step::CreateGroups(_) = step {
            self.group.get_or_insert_default();
            return Answer::Group;
        }
        let Some((last, pending)) = &mut self.group else {
            return Answer::NoGroup;
        };
        let mut read = Read {
            entries: Vec::new(),
            claim_from: EntryId::ZERO,
            deleted: Vec::new(),
        };
        match step {
            Step::ReadPending { after, count } => {
                let after = after[0].1.ms;
                let own = pending
                    .iter()
                    .filter(|(id, owner)| **id > after && **owner == who);
                let own = own.map(|(id, _)| (entry(*id), self.stream.contains(id).then_some(())));
                read.entries.extend(own.take(*count));
            }
            Step::Claim { from, count, .. } => {
                let ids: Vec<u64> = pending
                    .range(from.ms..)
                    .map(|(id, _)| *id)
                    .take(*count)
                    .collect();
                if ids.len() == *count {
                    read.claim_from = entry(ids[count - 1] + 1).id;
                }
                for id in ids {
                    if self.stream.contains(&id) {
                        pending.insert(id, who);
                        read.entries.push((entry(id), Some(())));
                    } else {
                        pending.remove(&id);
                        read.deleted.push(entry(id));
                    }
                }
            }
            Step::ReadNew { count, .. } => {
                for id in self.stream.range(*last + 1..).take(*count) {
                    *last = *id;
                    pending.insert(*id, who);
                    read.entries.push((entry(*id), Some(())));
                }
            }
            Step::Discover | Step::CreateGroups(_) => {}
        }
        Answer::Read(read)
    }

    fn answer_step(&mut self, who: usize) -> Result<(), TestCaseError> {
        let bridge = &mut self.bridges[who];
        let Some((_, Some(answer))) = bridge.step.clone() else {
            return Ok(());
        };
        bridge.step = None;
        match answer {
            Answer::Campaigns => {
                bridge.flow.discovered(["c".parse().expect("an id")].into());
            }
            Answer::Group => bridge.flow.groups_answered(&[(StreamNo(0), true)]),
            Answer::NoGroup => bridge.flow.step_failed(),
            Answer::Read(read) => {
                let to_do = bridge.flow.read(read);
                prop_assert_eq!(to_do.lost, [], "only completed entries are deleted");
                for (entry, ()) in to_do.publish {
                    prop_assert!(
                        !bridge.in_flight.contains(&entry),
                        "published while in flight"
                    );
                    if is_poison(entry.id.ms) {
                        bridge.flow.rejected(entry, "poison".to_owned());
                    } else {
                        bridge.in_flight.push(entry);
                    }
                }
            }
        }
        Ok(())
    }

    fn complete(&mut self, id: u64, completion: &Completion) -> Result<(), TestCaseError> {
        match completion {
            Completion::Ack => prop_assert!(self.topic.contains(&id), "acked, but not in Kafka"),
            Completion::DeadLetter(_) => {
                prop_assert!(is_poison(id));
                if self.stream.contains(&id) {
                    prop_assert!(self.dead_letters.insert(id), "a dead letter twice");
                }
            }
        }
        self.stream.remove(&id);
        if let Some((_, pending)) = &mut self.group {
            pending.remove(&id);
        }
        Ok(())
    }

    /// Without further faults, every entry must reach Kafka or the dead letters.
    fn heal(&mut self) -> Result<(), TestCaseError> {
        while !self.stray.is_empty() {
            self.happen(0, Event::StrayStepArrives)?;
        }
        let rest = |world: &Self| {
            world.stream.is_empty()
                && world
                    .group
                    .as_ref()
                    .is_some_and(|(_, pending)| pending.is_empty())
        };
        for round in 0..10_000 {
            if rest(self) {
                break;
            }
            for who in 0..self.bridges.len() {
                if round % 30 == 0 {
                    self.happen(who, Event::Claim)?;
                }
                for event in [
                    Event::Retry,
                    Event::BeginStep,
                    Event::RedisCarriesOutStep,
                    Event::StepAnswered,
                    Event::Report {
                        of: 0,
                        in_kafka: true,
                        known: true,
                    },
                    Event::BeginCompleting,
                    Event::RedisCompletes,
                    Event::CompletionAnswered,
                ] {
                    self.happen(who, event)?;
                }
            }
        }
        prop_assert!(
            rest(self),
            "not all is completed: {:?} {:?}",
            self.stream,
            self.group
        );
        for id in 1..=self.added {
            prop_assert!(
                self.topic.contains(&id) != self.dead_letters.contains(&id),
                "{} is in the wrong place",
                id
            );
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 20_000, ..ProptestConfig::with_cases(2000) })]
    #[test]
    fn no_entry_is_acked_before_kafka_has_it_and_in_the_end_every_entry_is(
        events in prop::collection::vec((0usize..2, event()), 0..300)
    ) {
        let mut world = World::new();
        for (who, event) in events {
            world.happen(who, event)?;
        }
        world.heal()?;
    }
}

/// A flow with one stream and its group, about to read its own pending entries.
fn started() -> Flow {
    let mut flow = Flow::new(WINDOW, WINDOW);
    flow.next_step(true);
    flow.discovered(["c".parse().expect("an id")].into());
    flow.next_step(true);
    flow.groups_answered(&[(StreamNo(0), true)]);
    flow
}

fn read(ids: impl IntoIterator<Item = u64>, payload: Option<()>) -> Read<()> {
    Read {
        entries: ids.into_iter().map(|id| (entry(id), payload)).collect(),
        claim_from: EntryId::ZERO,
        deleted: Vec::new(),
    }
}

#[test]
fn a_full_page_of_own_entries_is_followed_by_the_next_one() {
    let mut flow = started();
    assert!(matches!(
        flow.next_step(true),
        Some(Step::ReadPending { count: WINDOW, .. })
    ));
    let to_do = flow.read(read(1..=WINDOW as u64, Some(())));
    assert_eq!(to_do.publish.len(), WINDOW);
    assert_eq!(flow.next_step(true), None, "the window is full");
    for id in 1..=WINDOW as u64 {
        flow.delivered(entry(id));
    }
    assert_eq!(flow.next_step(true), None, "unacked entries count");
    for (entry, _) in flow.take_completions(100) {
        flow.completion_answered(entry, true);
    }
    let after = vec![(StreamNo(0), entry(WINDOW as u64).id)];
    assert_eq!(
        flow.next_step(true),
        Some(Step::ReadPending {
            after,
            count: WINDOW
        })
    );
}

#[test]
fn a_pending_entry_that_was_deleted_is_reported_lost_and_no_longer_pending() {
    let mut flow = started();
    flow.next_step(true);
    let to_do = flow.read(read([3], None));
    assert_eq!((to_do.publish, to_do.lost), (vec![], vec![entry(3)]));
    assert_eq!(flow.take_completions(9), [(entry(3), Completion::Ack)]);
}

#[test]
fn while_publishing_is_not_allowed_campaigns_and_groups_are_kept_but_no_entries_are_read() {
    let mut flow = started();
    assert_eq!(flow.next_step(false), None);
    flow.discover();
    assert_eq!(flow.next_step(false), Some(Step::Discover));
    assert_eq!(flow.next_step(true), None, "one step at a time");
}

#[test]
fn a_stream_that_gave_as_much_as_was_asked_for_may_have_more() {
    let read = |streams: &[u32]| Read::<()> {
        entries: (1..)
            .zip(streams)
            .map(|(id, stream)| {
                (
                    EntryRef {
                        stream: StreamNo(*stream),
                        ..entry(id)
                    },
                    None,
                )
            })
            .collect(),
        claim_from: EntryId::ZERO,
        deleted: vec![],
    };
    for (streams, count, expected) in [
        (&[][..], 1, &[][..]),
        (&[0, 0], 3, &[]),
        (&[0, 0], 2, &[0]),
        (&[0, 1], 2, &[]),
        (&[0, 1, 1], 2, &[1]),
        (&[0, 1, 2, 3], 2, &[]),
    ] {
        let read = read(streams);
        let full: Vec<_> = read.full(count).map(|stream| stream.0).collect();
        assert_eq!(full, expected, "{streams:?} {count}");
    }
}
