//! The real Lua against a model in Rust: whatever the interleaving, they agree on every answer.

use crate::support::{Gate, round};
use proptest::prelude::*;
use rushgate_gate::project::{Origin, Outcome};
use rushgate_gate::{CampaignState, Decision, EventType, OnePer, Round, application};
use std::collections::BTreeMap;

/// Far enough from the clock that no test run crosses an edge.
const DAY: i64 = 86_400_000;

/// Where the clock stands, relative to two rounds `a` and `b` that follow each other.
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
    Ask(u8),
    Move(Phase),
    SetState(CampaignState),
    SetQuotas(u32, u32),
}

/// What the gate should do, said as plainly as possible.
struct Model {
    one_per: OnePer,
    state: CampaignState,
    phase: Phase,
    quotas: [u32; 2],
    /// Grants in order: (round, person).
    granted: Vec<(usize, u8)>,
}

#[derive(Debug, PartialEq)]
enum Expected {
    Granted(usize, u32),
    AlreadyGranted(usize, u32),
    SoldOut(usize),
    NotOpen(usize),
    Closed,
    Paused,
}

const ROUNDS: [&str; 2] = ["a", "b"];

impl Model {
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

    fn given(&self, round: usize) -> u32 {
        self.granted.iter().filter(|(r, _)| *r == round).count() as u32
    }

    fn held(&self, person: u8) -> Option<(usize, u32)> {
        let mut serials = [0; 2];
        self.granted
            .iter()
            .map(|&(round, holder)| {
                serials[round] += 1;
                (round, serials[round], holder)
            })
            .find(|&(round, _, holder)| {
                holder == person
                    && (self.one_per == OnePer::Campaign || Some(round) == self.last_opened())
            })
            .map(|(round, serial, _)| (round, serial))
    }

    fn apply(&mut self, person: u8) -> Expected {
        if self.state == CampaignState::Paused {
            return Expected::Paused;
        }
        if let Some((round, serial)) = self.held(person) {
            return Expected::AlreadyGranted(round, serial);
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
        if self.given(round) >= self.quotas[round] {
            return Expected::SoldOut(round);
        }
        self.granted.push((round, person));
        Expected::Granted(round, self.given(round))
    }

    /// Windows around `now` that put the clock where the model has it.
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

fn seen(decision: Decision) -> Expected {
    let index = |id: rushgate_gate::RoundId| {
        ROUNDS
            .iter()
            .position(|round| *round == id.as_str())
            .expect("one of the two")
    };
    match decision {
        Decision::Granted(grant) => Expected::Granted(index(grant.round), grant.serial.get()),
        Decision::AlreadyGranted(grant) => {
            Expected::AlreadyGranted(index(grant.round), grant.serial.get())
        }
        Decision::SoldOut { round } => Expected::SoldOut(index(round)),
        Decision::NotOpen { round, .. } => Expected::NotOpen(index(round)),
        Decision::Closed => Expected::Closed,
        Decision::Paused => Expected::Paused,
        other => panic!("{other:?}"),
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
    let step = prop_oneof![
        12 => (0u8..8).prop_map(Step::Apply),
        3 => (0u8..8).prop_map(Step::Ask),
        2 => phase.prop_map(Step::Move),
        1 => state.prop_map(Step::SetState),
        1 => (1u32..6, 1u32..6).prop_map(|(a, b)| Step::SetQuotas(a, b)),
    ];
    prop::collection::vec(step, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_gate_agrees_with_the_model(
        one_per in prop_oneof![Just(OnePer::Campaign), Just(OnePer::Round)],
        steps in steps(),
    ) {
        let mut gate = Gate::unknown();
        let now = gate.now();
        let mut model = Model {
            one_per,
            state: CampaignState::Running,
            phase: Phase::InA,
            quotas: [3, 3],
            granted: vec![],
        };
        gate.project(Origin::New, model.state, one_per, &model.rounds(now));
        for step in steps {
            match step {
                Step::Apply(person) => {
                    let expected = model.apply(person);
                    prop_assert_eq!(seen(gate.apply(&format!("p{person}"))), expected);
                    continue;
                }
                Step::Ask(person) => {
                    let status = gate.status(&format!("p{person}"));
                    match model.held(person) {
                        None => prop_assert_eq!(status, application::Status::NotFound),
                        Some((round, serial)) => {
                            let application::Status::Granted(grant) = status else {
                                panic!("{status:?}")
                            };
                            prop_assert_eq!((grant.round.as_str(), grant.serial.get()), (ROUNDS[round], serial));
                        }
                    }
                    continue;
                }
                Step::Move(phase) => model.phase = phase,
                Step::SetState(state) => model.state = state,
                Step::SetQuotas(a, b) => {
                    let before = model.quotas;
                    model.quotas = [a, b];
                    let short = (0..2).find(|&round| model.given(round) > model.quotas[round]);
                    let outcome = gate.try_project(Origin::Known, model.state, one_per, &model.rounds(now));
                    if let Some(round) = short {
                        prop_assert_eq!(outcome, Outcome::QuotaBelowGranted {
                            round: ROUNDS[round].parse().expect("a round id"),
                            granted: model.given(round),
                        });
                        model.quotas = before;
                    }
                }
            }
            gate.project(Origin::Known, model.state, one_per, &model.rounds(now));
        }

        // The stream tells the same story, in the same order.
        let told: Vec<(String, u32, String)> = gate
            .events()
            .into_iter()
            .inspect(|event| assert_eq!(event.event_type, EventType::Granted))
            .map(|event| (event.round.to_string(), event.serial.get(), event.applicant.to_string()))
            .collect();
        let mut serials = BTreeMap::new();
        let expected: Vec<(String, u32, String)> = model
            .granted
            .iter()
            .map(|&(round, person)| {
                let serial = serials.entry(round).or_insert(0);
                *serial += 1;
                (ROUNDS[round].to_owned(), *serial, format!("p{person}"))
            })
            .collect();
        prop_assert_eq!(told, expected);
    }
}
