//! Simulates one gate with applicants all over the world. Each applicant is served by an *edge*: handlers in a region
//! near the applicant, which ask the gate in its home region and cache refusals.
//!
//! Times are counted at the edges: the network delay between an applicant and the edge does not depend on what happens
//! behind the edge.

use super::agenda::{Agenda, Nanos, millis, seconds};
use super::costs::Costs;
use super::crowd::Crowd;
use super::memory::{Asker, Memories, Memory};
use super::random::Random;
use super::station::Gate;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Region {
    /// Round trip from its edge to the gate, in milliseconds.
    pub(crate) round_trip: f64,
    /// Its number of applicants, relative to the others.
    pub(crate) people: f64,
}

/// A campaign for several regions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Edges<'a> {
    pub(crate) regions: &'a [Region],
    /// The negative caches in each region.
    pub(crate) memory: Memory,
    /// How long the gate collects applications before it decides them in the order of their clicks, in milliseconds
    /// from each click; 0: it decides in the order of arrival at the gate.
    pub(crate) window: f64,
    pub(crate) quota: u64,
    pub(crate) crowd: Crowd,
    pub(crate) seed: u64,
}

/// The results of a region's applicants.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Served {
    pub(crate) people: u64,
    /// Latencies of the winners in milliseconds, in the order of their answers.
    pub(crate) granted: Vec<f64>,
    /// Latencies of all other answers in milliseconds.
    pub(crate) refused: Vec<f64>,
    /// Refusals from the edge's cache.
    pub(crate) remembered: u64,
}

#[derive(Clone, Copy)]
struct Application {
    clicked: Nanos,
    region: usize,
    asker: Asker,
}

enum Task {
    Decide(Application),
    Ask {
        region: usize,
        asker: Asker,
        asked: Nanos,
    },
}

enum Event {
    Clicks,
    /// An edge has processed an application.
    Handled(Application),
    /// At home, and not decided yet.
    Arrives(Application),
    AtGate(Task),
    TurnEnds,
    Answered(Application, bool),
    Learned {
        region: usize,
        asker: Asker,
        asked: Nanos,
    },
}

struct World<'a> {
    edges: &'a Edges<'a>,
    costs: &'a Costs,
    random: Random,
    agenda: Agenda<Event>,
    clicked: u64,
    memories: Vec<Memories>,
    gate: Gate<Task>,
    granted: u64,
    answers: Vec<Event>,
    served: Vec<Served>,
}

impl Edges<'_> {
    /// Simulates the applicants of each region.
    pub(crate) fn simulate(&self, costs: &Costs) -> Vec<Served> {
        let regions = self.regions.len();
        let mut world = World {
            edges: self,
            costs,
            random: Random::new(self.seed),
            agenda: Agenda::new(),
            clicked: 0,
            memories: vec![Memories::new(Some(self.memory), 1); regions],
            gate: Gate::new(costs.sync),
            granted: 0,
            answers: vec![],
            served: vec![Served::default(); regions],
        };
        world.await_next();
        while let Some(event) = world.agenda.next() {
            world.happens(event);
        }
        world.served
    }
}

impl World<'_> {
    fn await_next(&mut self) {
        if let Some(gap) = self.edges.crowd.next(self.clicked, &mut self.random) {
            self.agenda.after(gap, Event::Clicks);
        }
    }

    /// One way from this region to the gate, or back.
    fn way(&self, region: usize) -> Nanos {
        millis(self.edges.regions[region].round_trip) / 2
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Clicks => self.click(),
            Event::Handled(application) => {
                let Application { region, asker, .. } = application;
                if self.memories[region].knows(asker, 0, self.agenda.now()) {
                    self.served[region].remembered += 1;
                    self.answer(application, false);
                } else {
                    let way = self.way(region);
                    self.agenda.after(way, Event::Arrives(application));
                }
            }
            Event::Arrives(application) => {
                let due = application.clicked + millis(self.edges.window);
                let decide = Event::AtGate(Task::Decide(application));
                self.agenda.at(due, decide);
            }
            Event::AtGate(task) => {
                self.gate.arrive(task);
                self.turn();
            }
            Event::TurnEnds => {
                self.gate.end_turn();
                for answer in std::mem::take(&mut self.answers) {
                    let (Event::Answered(Application { region, .. }, _)
                    | Event::Learned { region, .. }) = answer
                    else {
                        continue;
                    };
                    self.agenda.after(self.way(region), answer);
                }
                self.turn();
            }
            Event::Answered(application, granted) => self.answer(application, granted),
            Event::Learned {
                region,
                asker,
                asked,
            } => self.memories[region].keep(asker, 0, asked),
        }
    }

    fn click(&mut self) {
        self.clicked += 1;
        let people = self.edges.regions.iter().map(|region| region.people);
        let people: Vec<f64> = people.collect();
        let region = self.random.among(&people);
        self.served[region].people += 1;
        if let Some(asker) = self.memories[region].serve(&mut self.random) {
            let clicked = self.agenda.now();
            let application = Application {
                clicked,
                region,
                asker,
            };
            let takes = self.random.around(self.costs.handler_refused);
            self.agenda.after(takes, Event::Handled(application));
        }
        self.await_next();
    }

    fn turn(&mut self) {
        let (costs, quota) = (self.costs, self.edges.quota);
        let (granted, answers, memories) = (&mut self.granted, &mut self.answers, &self.memories);
        let takes = self.gate.turn(|task| match *task {
            Task::Decide(application) => {
                let has_place = *granted < quota;
                *granted += u64::from(has_place);
                answers.push(Event::Answered(application, has_place));
                let takes = if has_place {
                    costs.grant
                } else {
                    costs.refusal
                };
                Some((takes, has_place))
            }
            Task::Ask {
                region,
                asker,
                asked,
            } => {
                if !memories[region].can_learn(*granted) {
                    return Some((costs.refusal, false));
                }
                answers.push(Event::Learned {
                    region,
                    asker,
                    asked,
                });
                Some((costs.question_of(*granted), false))
            }
        });
        if let Some(takes) = takes {
            self.agenda.after(takes, Event::TurnEnds);
        }
    }

    fn answer(&mut self, application: Application, granted: bool) {
        let Application {
            clicked,
            region,
            asker,
        } = application;
        let now = self.agenda.now();
        let took = seconds(now - clicked) * 1e3;
        let served = &mut self.served[region];
        if granted {
            served.granted.push(took);
            return;
        }
        served.refused.push(took);
        let ends = self.memories[region].begin(asker, 0, now);
        if ends {
            let ask = Task::Ask {
                region,
                asker,
                asked: now,
            };
            self.agenda.after(self.way(region), Event::AtGate(ask));
        }
    }
}
