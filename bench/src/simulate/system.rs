//! Simulates the whole system: applications at handlers, decisions at gates, and the way of a grant to its row.
//!
//! The time of a handler core is exponentially distributed around its measured mean; every other step takes exactly
//! its measured time. All of a handler's work comes before the gate. The same gate also does the later work for a
//! grant (read, ack, confirm), so this work delays applications.

use super::agenda::{Agenda, Nanos, millis, seconds};
use super::costs::Costs;
use super::memory::{Asker, Memories};
use super::random::Random;
use super::rows::{Next, Row, Rows};
use super::run::Run;
use super::simulated::{Component, Simulated};
use super::station::{Gate, Station};

/// One way from handler to gate, in milliseconds: assumed, within one data centre.
pub(crate) const HOP: f64 = 0.25;

#[derive(Clone, Copy)]
struct Application {
    came: Nanos,
    gate: usize,
    asker: Option<Asker>,
}

/// The work of a gate.
enum Task {
    Decide(Application),
    Ask {
        asker: Asker,
        asked: Nanos,
    },
    /// The later work for a grant: read, ack, confirm.
    Follow,
}

enum Event {
    Comes,
    Handled(Application, Nanos),
    AtGate(usize, Task),
    TurnEnds(usize),
    Refused(Application),
    Granted(Application),
    Learned {
        gate: usize,
        asker: Asker,
        asked: Nanos,
    },
    Row(Row),
}

/// The system during a run.
pub(crate) struct System<'a> {
    costs: &'a Costs,
    run: &'a Run,
    random: Random,
    agenda: Agenda<Event>,
    come: u64,
    granted: Vec<u64>,
    memory: Memories,
    /// Applications that wait for a free slot of their instance.
    lines: Vec<Station<Application>>,
    handlers: Station<Application>,
    gates: Vec<Gate<Task>>,
    /// The answers of each gate at the end of its turn.
    answers: Vec<Vec<Event>>,
    rows: Rows<'a>,
    outcome: Simulated,
}

impl<'a> System<'a> {
    /// Without any applicants.
    pub(crate) fn new(run: &'a Run, costs: &'a Costs) -> Self {
        let sizing = run.sizing;
        let lines = run.memory.map_or(vec![], |memory| {
            vec![Station::new(memory.at_once); memory.askers]
        });
        Self {
            costs,
            run,
            random: Random::new(run.seed),
            agenda: Agenda::new(),
            come: 0,
            granted: vec![0; sizing.gates],
            memory: Memories::new(run.memory, sizing.gates),
            lines,
            handlers: Station::new(sizing.handler_cores),
            gates: (0..sizing.gates).map(|_| Gate::new(costs.sync)).collect(),
            answers: (0..sizing.gates).map(|_| vec![]).collect(),
            rows: Rows::new(sizing, costs),
            outcome: Simulated::default(),
        }
    }

    /// Runs until nothing happens any more.
    pub(crate) fn run(mut self) -> Simulated {
        self.await_next();
        while let Some(event) = self.agenda.next() {
            self.happens(event);
        }
        let gates = self.gates.iter().map(Gate::work).max();
        self.outcome.work = vec![
            (Component::Handler, seconds(self.handlers.work_of_each())),
            (Component::Gate, seconds(gates.unwrap_or(0))),
        ];
        self.outcome.work.extend(self.rows.work());
        self.outcome
    }

    fn await_next(&mut self) {
        if let Some(gap) = self.run.crowd.next(self.come, &mut self.random) {
            self.agenda.after(gap, Event::Comes);
        }
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Comes => self.comes(),
            Event::Handled(application, took) => {
                let next = self.handlers.leave(took);
                self.handle(next);
                self.handled(application);
            }
            Event::AtGate(gate, task) => {
                self.gates[gate].arrive(task);
                self.turn(gate);
            }
            Event::TurnEnds(gate) => {
                self.gates[gate].end_turn();
                for answer in std::mem::take(&mut self.answers[gate]) {
                    self.agenda.after(millis(HOP), answer);
                }
                self.turn(gate);
            }
            Event::Refused(application) => {
                self.answered(application);
                self.ask(application);
                self.came_back(application);
            }
            Event::Granted(application) => {
                self.answered(application);
                self.came_back(application);
                let next = self.rows.granted(application.gate);
                self.go_on([next, None]);
            }
            Event::Learned { gate, asker, asked } => self.memory.keep(asker, gate, asked),
            Event::Row(row) => self.row(row),
        }
    }

    fn comes(&mut self) {
        self.come += 1;
        let application = Application {
            came: self.agenda.now(),
            gate: self.random.below(self.run.sizing.gates),
            asker: self.memory.serve(&mut self.random),
        };
        let next = self.handlers.arrive(application);
        self.handle(next);
        self.await_next();
    }

    fn handle(&mut self, application: Option<Application>) {
        let Some(application) = application else {
            return;
        };
        let is_left = self.granted[application.gate] < self.share(application.gate);
        let mean = if is_left {
            self.costs.handler_granted
        } else {
            self.costs.handler_refused
        };
        let takes = self.random.around(mean);
        self.agenda.after(takes, Event::Handled(application, takes));
    }

    fn handled(&mut self, application: Application) {
        let begins = match application.asker {
            Some(_) if self.knows(application) => return self.answered(application),
            Some(asker) => self.lines[asker.place].arrive(application),
            None => Some(application),
        };
        if let Some(application) = begins {
            self.decide(application);
        }
    }

    fn decide(&mut self, application: Application) {
        let decide = Event::AtGate(application.gate, Task::Decide(application));
        self.agenda.after(millis(HOP), decide);
    }

    /// The next application in line is answered from the cache, if there is an answer by now, or goes to the gate.
    fn came_back(&mut self, application: Application) {
        let Some(asker) = application.asker else {
            return;
        };
        while let Some(next) = self.lines[asker.place].leave(0) {
            if !self.knows(next) {
                return self.decide(next);
            }
            self.answered(next);
        }
    }

    fn knows(&self, application: Application) -> bool {
        let now = self.agenda.now();
        let asker = application.asker;
        asker.is_some_and(|asker| self.memory.knows(asker, application.gate, now))
    }

    /// After a refusal: asks the gate for an answer that can be cached.
    fn ask(&mut self, application: Application) {
        let (gate, now) = (application.gate, self.agenda.now());
        if let Some(asker) = application.asker
            && self.memory.begin(asker, gate, now)
        {
            let ask = Task::Ask { asker, asked: now };
            self.agenda.after(millis(HOP), Event::AtGate(gate, ask));
        }
    }

    fn answered(&mut self, application: Application) {
        self.outcome.answered(application.came, self.agenda.now());
    }

    /// Places at a gate.
    fn share(&self, gate: usize) -> u64 {
        let gates = self.run.sizing.gates as u64;
        self.run.quota / gates + u64::from((gate as u64) < self.run.quota % gates)
    }

    fn turn(&mut self, gate: usize) {
        let share = self.share(gate);
        let (costs, outcome, memory) = (self.costs, &mut self.outcome, &self.memory);
        let (granted, answers) = (&mut self.granted[gate], &mut self.answers[gate]);
        let takes = self.gates[gate].turn(|task| {
            Some(match *task {
                Task::Decide(application) if *granted < share => {
                    *granted += 1;
                    outcome.decisions += 1;
                    answers.push(Event::Granted(application));
                    (costs.grant, true)
                }
                Task::Decide(application) => {
                    outcome.decisions += 1;
                    answers.push(Event::Refused(application));
                    (costs.refusal, false)
                }
                Task::Ask { asker, asked } => {
                    outcome.questions += 1;
                    if !memory.can_learn(*granted) {
                        return Some((costs.refusal, false));
                    }
                    answers.push(Event::Learned { gate, asker, asked });
                    (costs.question_of(*granted), false)
                }
                Task::Follow => (costs.follow, true),
            })
        });
        if let Some(takes) = takes {
            self.agenda.after(takes, Event::TurnEnds(gate));
        }
    }

    /// A grant on its way to its row.
    fn row(&mut self, row: Row) {
        match row {
            Row::Read(gate) => {
                self.gates[gate].arrive(Task::Follow);
                self.turn(gate);
            }
            Row::Committed => self.outcome.committed(self.agenda.now()),
            _ => {}
        }
        let next = self.rows.happens(row, &mut self.random);
        self.go_on(next);
    }

    fn go_on(&mut self, next: Next) {
        for (delay, row) in next.into_iter().flatten() {
            self.agenda.after(delay, Event::Row(row));
        }
    }
}
