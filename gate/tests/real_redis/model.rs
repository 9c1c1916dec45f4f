//! Compares the Lua scripts with a model in Rust: after any sequence of calls, both give the same replies.

use crate::support::{Gate, applicant, round};
use proptest::prelude::*;
use rushgate_gate::project::{Origin, ProjectOutcome};
use rushgate_gate::redeem::RedeemOutcome;
use rushgate_gate::refusal_cache::{Excluded, GRACE_PERIOD};
use rushgate_gate::{
    CampaignState, Codes, Decision, Event, EventType, Grant, GrantCode, OnePer, Ordinal,
    PromoteUntil, Round, RoundId, Terms, cancel::CancelOutcome, confirm, revoke, status,
};
use std::collections::{BTreeMap, BTreeSet};

/// So long that no opening or closing happens during a test run.
const DAY: i64 = 86_400_000;

/// The position of the clock relative to two consecutive rounds `a` and `b`.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    BeforeA,
    InA,
    Between,
    InB,
    AfterB,
}

#[derive(Clone, Debug)]
enum Step {
    Apply(u8),
    Ask(u8, Option<usize>),
    Revoke(u8, Option<usize>),
    Cancel(u8, Option<usize>),
    Redeem(u8),
    Confirm(u8),
    Move(Phase),
    SetState(CampaignState),
    SetTerms([u32; 2], u32, Rules),
    /// An instance caches the refusal, and its exclusion list or filter. With a filter it asks until this many steps are done.
    CacheRefusal(usize),
    /// Time passes until the cached refusal has expired and the grace period has ended.
    EndGracePeriod,
}

/// The rules that can change.
#[derive(Clone, Copy, Debug)]
struct Rules {
    self_cancel: bool,
    promotes_forever: bool,
}

#[derive(Clone, Debug, PartialEq)]
struct ModelGrant {
    round: usize,
    serial: u32,
    person: u8,
    issued: bool,
    redeemed: bool,
}

/// An event of the stream.
#[derive(Clone, Debug, PartialEq)]
struct ModelEvent {
    event_type: EventType,
    round: usize,
    serial: u32,
    turn: u32,
    person: u8,
    win: u32,
    /// How many grants there were before and with the one that this is about; `None` without pool codes.
    code_number: Option<u32>,
}

/// The expected behaviour of the gate, as simply as possible.
#[derive(Clone)]
struct Model {
    one_per: OnePer,
    rules: Rules,
    state: CampaignState,
    phase: Phase,
    quotas: [u32; 2],
    waitlist: u32,
    /// The highest serial granted.
    granted: [u32; 2],
    pool: [BTreeSet<u32>; 2],
    held: Vec<ModelGrant>,
    waiting: [Vec<u8>; 2],
    /// (round, person, serial) in the order of revocation.
    revoked: Vec<(usize, u8, u32)>,
    events: Vec<ModelEvent>,
    /// The grace period, while it runs.
    grace_period: Option<GracePeriod>,
}

/// The decision for unknown applicants during a grace period.
#[derive(Clone, Copy, Debug, PartialEq)]
enum GracePeriod {
    SoldOut,
    NotOpen,
}

/// A cached refusal.
#[derive(Debug)]
struct CachedRefusal {
    known: BTreeSet<u8>,
    /// The current round at that time.
    round: Option<usize>,
    /// With one grant per round: persons with an entry in the other round.
    elsewhere: BTreeSet<u8>,
}

/// A decision or a status, without its times.
#[derive(Debug, PartialEq)]
enum Expected {
    Granted(usize, u32),
    AlreadyGranted(usize, u32),
    Issued(usize, u32),
    Redeemed(usize, u32),
    Expired(usize),
    Waitlisted(usize, u32),
    Revoked(usize),
    SoldOut(usize),
    NotOpen(usize),
    Closed,
    Paused,
    NotFound,
}

/// A person who applies only to copies of the model.
const UNKNOWN: u8 = u8::MAX;

const ROUNDS: [&str; 2] = ["a", "b"];

/// The codes of the pool: fewer than most runs take.
const LOADED: [&str; 4] = ["Tree-1", "Tree 22", "tree/333", "TREE"];

impl Model {
    fn new(one_per: OnePer, waitlist: u32, rules: Rules) -> Self {
        Self {
            one_per,
            rules,
            state: CampaignState::Running,
            phase: Phase::InA,
            quotas: [3, 3],
            waitlist,
            granted: [0; 2],
            pool: Default::default(),
            held: vec![],
            waiting: Default::default(),
            revoked: vec![],
            events: vec![],
            grace_period: None,
        }
    }

    fn open_round(&self) -> Option<usize> {
        match self.phase {
            Phase::InA => Some(0),
            Phase::InB => Some(1),
            _ => None,
        }
    }

    fn last_opened(&self) -> Option<usize> {
        match self.phase {
            Phase::BeforeA => None,
            Phase::InA | Phase::Between => Some(0),
            Phase::InB | Phase::AfterB => Some(1),
        }
    }

    /// The grant of `person`; with one grant per round, that of `round`.
    fn held(&self, person: u8, round: Option<usize>) -> Option<&ModelGrant> {
        self.held.iter().find(|held| {
            held.person == person && (self.one_per == OnePer::Campaign || Some(held.round) == round)
        })
    }

    fn position(&self, round: usize, person: u8) -> Option<u32> {
        let before = self.waiting[round].iter().position(|&p| p == person)?;
        Some(before as u32 + 1)
    }

    fn was_revoked(&self, round: usize, person: u8) -> bool {
        self.revoked
            .iter()
            .any(|&(r, p, _)| (r, p) == (round, person))
    }

    fn has_place(&self, round: usize) -> bool {
        !self.pool[round].is_empty() || self.granted[round] < self.quotas[round]
    }

    fn grant(&mut self, round: usize, person: u8) -> u32 {
        let serial = self.pool[round].pop_first().unwrap_or_else(|| {
            self.granted[round] += 1;
            self.granted[round]
        });
        self.held.push(ModelGrant {
            round,
            serial,
            person,
            issued: false,
            redeemed: false,
        });
        self.push_event(EventType::Granted, round, serial, person);
        serial
    }

    /// Computes `turn` and `win` by counting the earlier events.
    fn push_event(&mut self, event_type: EventType, round: usize, serial: u32, person: u8) {
        let grants = |with: &dyn Fn(&ModelEvent) -> bool| {
            let before = self
                .events
                .iter()
                .filter(|event| event.event_type == EventType::Granted && with(event))
                .count();
            before as u32 + u32::from(event_type == EventType::Granted)
        };
        let turn = grants(&|event| (event.round, event.serial) == (round, serial));
        let win = grants(&|event| {
            event.person == person && (self.one_per == OnePer::Campaign || event.round == round)
        });
        self.events.push(ModelEvent {
            event_type,
            round,
            serial,
            turn,
            person,
            win,
            code_number: None,
        });
        let number = self.code_number(round, serial, person);
        if let Some(event) = self.events.last_mut() {
            event.code_number = number;
        }
    }

    /// Whether freed serials of the round still go to its waitlist.
    fn promotes(&self, round: usize) -> bool {
        let is_over = match round {
            0 => matches!(self.phase, Phase::Between | Phase::InB | Phase::AfterB),
            _ => self.phase == Phase::AfterB,
        };
        self.rules.promotes_forever || !is_over
    }

    /// The number of the code of the last grant of the serial to this person: codes are taken in the order of all grants.
    fn code_number(&self, round: usize, serial: u32, person: u8) -> Option<u32> {
        let grants = self.events.iter();
        let grants = grants.filter(|event| event.event_type == EventType::Granted);
        let of_person = grants.zip(1..).filter(|(event, _)| {
            (event.round, event.serial, event.person) == (round, serial, person)
        });
        of_person.last().map(|(_, number)| number)
    }

    /// The code of a grant that this person holds.
    fn code(&self, codes: Codes, grant: &Grant, person: u8) -> GrantCode {
        if codes == Codes::None {
            return GrantCode::None;
        }
        let number = self.code_number(index(&grant.round), grant.serial.get(), person);
        let code = LOADED.get(number.expect("a grant") as usize - 1);
        GrantCode::Pool(code.map(|code| code.parse().expect("a code")))
    }

    /// How often the serial was granted.
    fn turn(&self, round: usize, serial: u32) -> u32 {
        let grants = self.events.iter().filter(|event| {
            (event.event_type, event.round, event.serial) == (EventType::Granted, round, serial)
        });
        grants.count() as u32
    }

    fn promote(&mut self, round: usize) -> Vec<u8> {
        let mut promoted = vec![];
        if !self.promotes(round) {
            return promoted;
        }
        while self.has_place(round) && !self.waiting[round].is_empty() {
            let person = self.waiting[round].remove(0);
            if self.held(person, Some(round)).is_none() {
                self.grant(round, person);
                promoted.push(person);
            }
        }
        promoted
    }

    fn apply(&mut self, person: u8) -> Expected {
        if self.state == CampaignState::Paused {
            return Expected::Paused;
        }
        if let Some(held) = self.held(person, self.last_opened()) {
            return Expected::AlreadyGranted(held.round, held.serial);
        }
        if let Some(round) = self.last_opened()
            && let Some(position) = self.position(round, person)
            && self.promotes(round)
        {
            return Expected::Waitlisted(round, position);
        }
        if self.state == CampaignState::Closed {
            return Expected::Closed;
        }
        let Some(round) = self.open_round() else {
            return match self.phase {
                Phase::BeforeA => Expected::NotOpen(0),
                Phase::Between => Expected::NotOpen(1),
                _ => Expected::Closed,
            };
        };
        if self.was_revoked(round, person) {
            return Expected::Revoked(round);
        }
        let may_wait = (self.waiting[round].len() as u32) < self.waitlist;
        match self.grace_period {
            Some(GracePeriod::SoldOut) => return Expected::SoldOut(round),
            Some(GracePeriod::NotOpen) if self.has_place(round) || may_wait => {
                return Expected::NotOpen(round);
            }
            _ => {}
        }
        if self.has_place(round) {
            assert!(
                self.waiting[round].is_empty(),
                "a serial is free although a person waits"
            );
            return Expected::Granted(round, self.grant(round, person));
        }
        if may_wait {
            self.waiting[round].push(person);
            return Expected::Waitlisted(round, self.waiting[round].len() as u32);
        }
        Expected::SoldOut(round)
    }

    /// The refusal for unknown applicants, ignoring a pause and a grace period; `None` if they would get something.
    fn refusal(&self) -> Option<Expected> {
        let mut asked = Self {
            grace_period: None,
            ..self.clone()
        };
        if asked.state == CampaignState::Paused {
            asked.state = CampaignState::Running;
        }
        Some(asked.apply(UNKNOWN)).filter(is_refusal)
    }

    /// Makes a change, and starts a grace period if needed.
    fn change<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.refusal();
        let done = work(self);
        if let (Some(before), None) = (before, self.refusal()) {
            let still_sold_out = self
                .open_round()
                .is_some_and(|round| before == Expected::SoldOut(round));
            self.grace_period = Some(match still_sold_out {
                true => GracePeriod::SoldOut,
                false => GracePeriod::NotOpen,
            });
        }
        done
    }

    /// Persons who hold a grant, wait, or had a grant revoked, in the rounds for which `counts` is true.
    fn people(&self, counts: impl Fn(usize) -> bool) -> BTreeSet<u8> {
        let held = self.held.iter().map(|held| (held.round, held.person));
        let revoked = self
            .revoked
            .iter()
            .map(|&(round, person, _)| (round, person));
        let waiting = (0..2).flat_map(|round| {
            self.waiting[round]
                .iter()
                .map(move |&person| (round, person))
        });
        let all = held.chain(revoked).chain(waiting);
        all.filter(|(round, _)| counts(*round))
            .map(|(_, person)| person)
            .collect()
    }

    fn ask(&self, person: u8, asked: Option<usize>) -> Expected {
        let round = asked.or(self.last_opened());
        if let Some(held) = self.held(person, round)
            && asked.is_none_or(|asked| asked == held.round)
        {
            return held.status();
        }
        if let Some(round) = round {
            if let Some(position) = self.position(round, person) {
                return match self.promotes(round) {
                    true => Expected::Waitlisted(round, position),
                    false => Expected::Expired(round),
                };
            }
            if self.was_revoked(round, person) {
                return Expected::Revoked(round);
            }
        }
        // An earlier round.
        if asked.is_none() && self.last_opened() == Some(1) {
            if let Some(held) = self.held(person, Some(0)) {
                return held.status();
            }
            if let Some(position) = self.position(0, person)
                && self.promotes(0)
            {
                return Expected::Waitlisted(0, position);
            }
        }
        let past = self.revoked.iter().rfind(|&&(_, p, _)| p == person);
        match past {
            Some(&(round, ..)) if asked.is_none() && self.one_per == OnePer::Campaign => {
                Expected::Revoked(round)
            }
            _ => Expected::NotFound,
        }
    }

    /// Revokes; returns round, serial and the promoted person.
    fn revoke(&mut self, person: u8, asked: Option<usize>) -> Option<(usize, u32, Option<u8>)> {
        let round = asked.or(self.last_opened());
        let held = self.held(person, round)?.clone();
        if asked.is_some_and(|asked| asked != held.round) || held.redeemed {
            return None;
        }
        self.held.retain(|other| *other != held);
        self.push_event(EventType::Revoked, held.round, held.serial, person);
        self.revoked.push((held.round, person, held.serial));
        self.pool[held.round].insert(held.serial);
        let promoted = self.promote(held.round);
        Some((held.round, held.serial, promoted.first().copied()))
    }

    fn cancel(&mut self, person: u8, asked: Option<usize>) -> Cancelled {
        let round = asked.or(self.last_opened());
        let held = self.held(person, round).cloned();
        if let Some(held) = held.filter(|held| asked.is_none_or(|asked| asked == held.round)) {
            return match (held.redeemed, self.rules.self_cancel) {
                (true, _) => Cancelled::Redeemed,
                (false, false) => Cancelled::NotAllowed,
                (false, true) => {
                    self.revoke(person, asked);
                    Cancelled::Revoked(held.round, held.serial)
                }
            };
        }
        if let Some(round) = round {
            if let Some(position) = self.position(round, person) {
                self.waiting[round].remove(position as usize - 1);
                return Cancelled::Left(round);
            }
            if let Some(&(round, _, serial)) = self
                .revoked
                .iter()
                .find(|&&(r, p, _)| (r, p) == (round, person))
            {
                return Cancelled::AlreadyRevoked(round, serial);
            }
        }
        match self.revoked.iter().rfind(|&&(_, p, _)| p == person) {
            Some(&(round, _, serial)) if asked.is_none() && self.one_per == OnePer::Campaign => {
                Cancelled::AlreadyRevoked(round, serial)
            }
            _ => Cancelled::NotFound,
        }
    }

    /// Windows around `now` for the phase of the model.
    fn rounds(&self, now: i64) -> [Round; 2] {
        let windows = match self.phase {
            Phase::BeforeA => [(1, 2), (3, 4)],
            Phase::InA => [(-1, 1), (2, 3)],
            Phase::Between => [(-2, -1), (1, 2)],
            Phase::InB => [(-3, -2), (-1, 1)],
            Phase::AfterB => [(-4, -3), (-2, -1)],
        };
        [0, 1].map(|i| {
            let (opens, closes) = windows[i];
            round(
                ROUNDS[i],
                Some(now + opens * DAY),
                Some(now + closes * DAY),
                self.quotas[i],
            )
        })
    }
}

impl ModelGrant {
    fn status(&self) -> Expected {
        match (self.redeemed, self.issued) {
            (true, _) => Expected::Redeemed(self.round, self.serial),
            (false, true) => Expected::Issued(self.round, self.serial),
            (false, false) => Expected::Granted(self.round, self.serial),
        }
    }
}

/// The outcome of a cancellation, without its times.
#[derive(Debug, PartialEq)]
enum Cancelled {
    Left(usize),
    Revoked(usize, u32),
    AlreadyRevoked(usize, u32),
    NotAllowed,
    Redeemed,
    NotFound,
}

fn cancelled(outcome: CancelOutcome) -> Cancelled {
    let serial = |grant: Grant| (index(&grant.round), grant.serial.get());
    match outcome {
        CancelOutcome::Left { round, .. } => Cancelled::Left(index(&round)),
        CancelOutcome::Revoked { grant, .. } => {
            let (round, serial) = serial(grant);
            Cancelled::Revoked(round, serial)
        }
        CancelOutcome::AlreadyRevoked { grant, .. } => {
            let (round, serial) = serial(grant);
            Cancelled::AlreadyRevoked(round, serial)
        }
        CancelOutcome::NotAllowed => Cancelled::NotAllowed,
        CancelOutcome::Redeemed => Cancelled::Redeemed,
        CancelOutcome::NotFound => Cancelled::NotFound,
        other => panic!("{other:?}"),
    }
}

fn index(id: &RoundId) -> usize {
    ROUNDS
        .iter()
        .position(|round| *round == id.as_str())
        .expect("one of the two")
}

fn name(person: u8) -> String {
    format!("p{person}")
}

fn decided(decision: Decision) -> Expected {
    match decision {
        Decision::Granted(grant) => Expected::Granted(index(&grant.round), grant.serial.get()),
        Decision::AlreadyGranted(grant) => {
            Expected::AlreadyGranted(index(&grant.round), grant.serial.get())
        }
        Decision::Waitlisted(waiting) => {
            Expected::Waitlisted(index(&waiting.round), waiting.position)
        }
        Decision::Revoked { round } => Expected::Revoked(index(&round)),
        Decision::SoldOut { round } => Expected::SoldOut(index(&round)),
        Decision::NotOpen { round, .. } => Expected::NotOpen(index(&round)),
        Decision::Closed => Expected::Closed,
        Decision::Paused => Expected::Paused,
        other => panic!("{other:?}"),
    }
}

fn answered(status: status::Status) -> Expected {
    use status::Status;
    match status {
        Status::Granted(grant) => Expected::Granted(index(&grant.round), grant.serial.get()),
        Status::Issued { grant, redeemed_at } => {
            let (round, serial) = (index(&grant.round), grant.serial.get());
            match redeemed_at {
                Some(_) => Expected::Redeemed(round, serial),
                None => Expected::Issued(round, serial),
            }
        }
        Status::Waitlisted(waiting) => {
            Expected::Waitlisted(index(&waiting.round), waiting.position)
        }
        Status::Revoked { grant, .. } => Expected::Revoked(index(&grant.round)),
        Status::Expired { round, .. } => Expected::Expired(index(&round)),
        Status::NotFound => Expected::NotFound,
        Status::UnknownRound => panic!("the gate forgot a round"),
        Status::Halted | Status::UnknownCampaign => panic!("the gate forgot grants"),
    }
}

fn person(name: &str) -> u8 {
    name[1..].parse().expect("a person")
}

fn model_event(event: Event) -> ModelEvent {
    ModelEvent {
        event_type: event.event_type,
        round: index(&event.round),
        serial: event.serial.get(),
        turn: event.turn.get(),
        person: person(event.applicant.as_str()),
        win: event.win.get(),
        code_number: event.code_number.map(Ordinal::get),
    }
}

fn is_refusal(answer: &Expected) -> bool {
    matches!(
        answer,
        Expected::SoldOut(_) | Expected::NotOpen(_) | Expected::Closed | Expected::Paused
    )
}

fn rules() -> impl Strategy<Value = Rules> {
    any::<(bool, bool)>().prop_map(|(self_cancel, promotes_forever)| Rules {
        self_cancel,
        promotes_forever,
    })
}

/// The terms of the gate's next projection.
fn terms(rules: Rules, codes: Codes) -> Terms {
    Terms {
        codes,
        self_cancel: rules.self_cancel,
        promote_until: match rules.promotes_forever {
            true => PromoteUntil::Forever,
            false => PromoteUntil::Closes,
        },
        ..Terms::default()
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let phase = prop_oneof![
        1 => Just(Phase::BeforeA),
        3 => Just(Phase::InA),
        1 => Just(Phase::Between),
        3 => Just(Phase::InB),
        1 => Just(Phase::AfterB),
    ];
    let state = prop_oneof![
        3 => Just(CampaignState::Running),
        1 => Just(CampaignState::Paused),
        1 => Just(CampaignState::Closed),
    ];
    let round = prop_oneof![2 => Just(None), 1 => (0usize..2).prop_map(Some)];
    let step = prop_oneof![
        24 => (0u8..10).prop_map(Step::Apply),
        6 => ((0u8..10), round.clone()).prop_map(|(person, round)| Step::Ask(person, round)),
        8 => ((0u8..10), round.clone()).prop_map(|(person, round)| Step::Revoke(person, round)),
        6 => ((0u8..10), round).prop_map(|(person, round)| Step::Cancel(person, round)),
        2 => (0u8..10).prop_map(Step::Redeem),
        4 => (0u8..10).prop_map(Step::Confirm),
        3 => phase.prop_map(Step::Move),
        1 => state.prop_map(Step::SetState),
        2 => ([1u32..6, 1u32..6], 0u32..4, rules()).prop_map(|(quotas, waitlist, rules)| Step::SetTerms(quotas, waitlist, rules)),
        4 => (1usize..12).prop_map(Step::CacheRefusal),
        4 => Just(Step::EndGracePeriod),
    ];
    prop::collection::vec(step, 1..90)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_gate_agrees_with_the_model(
        one_per in prop_oneof![Just(OnePer::Campaign), Just(OnePer::Round)],
        waitlist in 0u32..4,
        rules in rules(),
        codes in prop_oneof![Just(Codes::None), Just(Codes::Pool)],
        with_filter in prop::bool::weighted(0.25),
        steps in steps(),
    ) {
        let mut gate = Gate::unknown();
        let now = gate.now();
        let mut model = Model::new(one_per, waitlist, rules);
        if with_filter {
            // Too many for an exclusion list.
            gate.add_grants(if one_per == OnePer::Round { "before/z" } else { "z" }, 2_100);
        }
        (gate.waitlist, gate.rules) = (waitlist, terms(rules, codes));
        gate.project(Origin::New, model.state, one_per, &model.rounds(now));
        if codes == Codes::Pool {
            gate.load(&LOADED);
        }
        let mut remembered: Vec<CachedRefusal> = vec![];
        for step in steps {
            // Independent of the duration of the test: a grace period lasts until `Step::EndGracePeriod`.
            let is_change = matches!(step, Step::Revoke(..) | Step::Cancel(..) | Step::Move(_) | Step::SetState(_) | Step::SetTerms(..));
            gate.extend_grace_period(if is_change { 900 } else { DAY });
            // Each command of an operator has a higher one.
            gate.fence = (gate.fence.get() + 1).into();
            match step {
                Step::Apply(person) => {
                    let expected = model.apply(person);
                    let decision = gate.apply(&name(person));
                    if let Decision::Granted(grant) | Decision::AlreadyGranted(grant) = &decision {
                        let turn = model.turn(index(&grant.round), grant.serial.get());
                        let turn = if codes == Codes::None { 1 } else { turn };
                        prop_assert_eq!((grant.turn.get(), &grant.code), (turn, &model.code(codes, grant, person)));
                    }
                    prop_assert_eq!(decided(decision), expected);
                }
                Step::CacheRefusal(times) => {
                    let expected = model.clone().apply(UNKNOWN);
                    let answer = if with_filter {
                        gate.forget_known();
                        gate.answer_after_steps(times)
                    } else {
                        gate.refusal_answer()
                    };
                    let is_under_way = answer.ttl < GRACE_PERIOD;
                    let Some(refusal) = answer.refusal else {
                        if with_filter && is_under_way {
                            continue;
                        }
                        prop_assert!(model.state == CampaignState::Paused || !is_refusal(&expected), "{expected:?}");
                        continue;
                    };
                    prop_assert!((1..=900).contains(&answer.ttl.as_millis()), "{:?}", answer.ttl);
                    let known: BTreeSet<u8> = match &refusal.excluded {
                        Excluded::List(list) => list.user_ids().map(person).collect(),
                        Excluded::Filter(filter) => (0..10).filter(|&person| filter.contains(&applicant(&name(person)))).collect(),
                    };
                    prop_assert!(with_filter || known.is_subset(&model.people(|_| true)));
                    for person in (0..10).filter(|person| !known.contains(person)) {
                        prop_assert_eq!(&model.clone().apply(person), &expected, "{} is not unknown", person);
                    }
                    prop_assert_eq!(decided(refusal.decided.decision), expected);
                    let round = model.last_opened();
                    let elsewhere = |other| one_per == OnePer::Round && Some(other) != round;
                    remembered.push(CachedRefusal { known, round, elsewhere: model.people(elsewhere) });
                }
                Step::EndGracePeriod => {
                    gate.end_grace_period();
                    model.grace_period = None;
                    remembered.clear();
                }
                Step::Ask(person, round) => {
                    let status = gate.status_in(&name(person), round.map(|round| ROUNDS[round]));
                    if let status::Status::Granted(grant) | status::Status::Issued { grant, .. } = &status
                        && codes != Codes::None
                    {
                        let turn = model.turn(index(&grant.round), grant.serial.get());
                        prop_assert_eq!((grant.turn.get(), &grant.code), (turn, &model.code(codes, grant, person)));
                    }
                    prop_assert_eq!(answered(status), model.ask(person, round));
                }
                Step::Revoke(person, asked) => {
                    let outcome = gate.revoke(&name(person), asked.map(|round| ROUNDS[round]));
                    match (model.change(|model| model.revoke(person, asked)), outcome) {
                        (Some((round, serial, next)), revoke::RevokeOutcome::Revoked { grant, promoted }) => {
                            prop_assert_eq!((index(&grant.round), grant.serial.get()), (round, serial));
                            prop_assert_eq!(promoted.map(|next| next.to_string()), next.map(name));
                        }
                        (None, revoke::RevokeOutcome::AlreadyRevoked { grant, .. }) => {
                            let past = (index(&grant.round), person, grant.serial.get());
                            prop_assert!(model.revoked.contains(&past), "{past:?}");
                        }
                        (None, revoke::RevokeOutcome::Redeemed) => {
                            prop_assert!(model.held(person, asked.or(model.last_opened())).is_some_and(|held| held.redeemed));
                        }
                        (None, revoke::RevokeOutcome::NotGranted) => {
                            let round = asked.or(model.last_opened());
                            prop_assert!(round.is_none_or(|round| !model.was_revoked(round, person)));
                        }
                        (expected, outcome) => panic!("{expected:?}, but {outcome:?}"),
                    }
                }
                Step::Cancel(person, asked) => {
                    let outcome = gate.cancel(&name(person), asked.map(|round| ROUNDS[round]));
                    prop_assert_eq!(cancelled(outcome), model.change(|model| model.cancel(person, asked)));
                }
                Step::Redeem(person) => {
                    let known = model.held.iter_mut().find(|held| held.person == person);
                    let Some(held) = known else { continue };
                    let outcome = gate.redeem(ROUNDS[held.round], held.serial, &name(person));
                    held.issued = true;
                    match (std::mem::replace(&mut held.redeemed, true), outcome) {
                        (false, RedeemOutcome::Redeemed { .. }) | (true, RedeemOutcome::AlreadyRedeemed { .. }) => {}
                        (before, outcome) => panic!("redeemed before: {before}, but {outcome:?}"),
                    }
                }
                Step::Confirm(person) => {
                    let Some(held) = model.held.iter_mut().find(|held| held.person == person) else { continue };
                    let outcome = gate.confirm(ROUNDS[held.round], held.serial, &name(person));
                    let issued = u32::from(!std::mem::replace(&mut held.issued, true));
                    prop_assert_eq!(outcome, confirm::ConfirmOutcome::Confirmed { issued });
                }
                Step::Move(phase) => {
                    model.change(|model| {
                        model.phase = phase;
                        for round in [0, 1] {
                            model.promote(round);
                        }
                    });
                    gate.project(Origin::Known, model.state, one_per, &model.rounds(now));
                }
                Step::SetState(state) => {
                    model.change(|model| model.state = state);
                    gate.project(Origin::Known, model.state, one_per, &model.rounds(now));
                }
                Step::SetTerms(quotas, waitlist, rules) => {
                    let before = (gate.waitlist, gate.rules);
                    (gate.waitlist, gate.rules) = (waitlist, terms(rules, codes));
                    let rounds = Model { quotas, ..model.clone() }.rounds(now);
                    let outcome = gate.try_project(Origin::Known, model.state, one_per, &rounds);
                    if let Some(short) = (0..2).find(|&round| model.granted[round] > quotas[round]) {
                        let granted = model.granted[short];
                        prop_assert_eq!(outcome, ProjectOutcome::QuotaBelowGranted { round: ROUNDS[short].parse().expect("an id"), granted });
                        (gate.waitlist, gate.rules) = before;
                    } else {
                        let promoted = model.change(|model| {
                            (model.quotas, model.waitlist, model.rules) = (quotas, waitlist, rules);
                            (model.promote(0).len() + model.promote(1).len()) as u32
                        });
                        prop_assert_eq!(outcome, ProjectOutcome::Projected { promoted });
                    }
                }
            }

            // While the refusal is cached, a person outside its exclusion list has no entry.
            for CachedRefusal { known, round, elsewhere } in &remembered {
                for person in (0..10).filter(|person| !known.contains(person)) {
                    if *round != model.last_opened() && elsewhere.contains(&person) {
                        continue;
                    }
                    let expected = model.clone().apply(person);
                    prop_assert!(is_refusal(&expected) || matches!(expected, Expected::Revoked(_)), "{person}: {expected:?}");
                }
            }

            // After each step: the counts are right, and no serial has two holders.
            let overview = gate.overview().expect("a known campaign");
            match (overview.round, model.last_opened()) {
                (None, None) => {}
                (Some(seen), Some(round)) => {
                    let held = || model.held.iter().filter(|held| held.round == round);
                    prop_assert_eq!(seen.granted as usize, held().count());
                    prop_assert_eq!(seen.issued as usize, held().filter(|held| held.issued).count());
                    prop_assert_eq!(seen.waitlisted as usize, model.waiting[round].len());
                    prop_assert!(seen.granted <= model.quotas[round]);
                }
                (seen, expected) => panic!("{seen:?}, but {expected:?}"),
            }
        }

        // The stream has the same events in the same order, and the holders follow from it alone.
        let events: Vec<ModelEvent> = gate.events().into_iter().map(model_event).collect();
        if codes == Codes::None {
            model.events.iter_mut().for_each(|event| event.code_number = None);
        }
        prop_assert_eq!(&events, &model.events);
        let mut latest: BTreeMap<(usize, u32), &ModelEvent> = BTreeMap::new();
        for event in &events {
            let last = latest.entry((event.round, event.serial)).or_insert(event);
            if (event.turn, event.event_type == EventType::Revoked) >= (last.turn, last.event_type == EventType::Revoked) {
                *last = event;
            }
        }
        let holders: BTreeSet<_> = latest
            .values()
            .filter(|event| event.event_type == EventType::Granted)
            .map(|event| (event.round, event.serial, event.person))
            .collect();
        prop_assert_eq!(holders, model.held.iter().map(|held| (held.round, held.serial, held.person)).collect());
    }
}
