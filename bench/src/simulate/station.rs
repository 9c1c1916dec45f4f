//! Where things wait and are served: by one of several servers, or by a gate that takes all that has come at once.

use super::agenda::Nanos;
use std::collections::VecDeque;

/// Servers behind one line, first come first served. Its owner enters the end of each service into the agenda.
#[derive(Clone, Debug)]
pub(crate) struct Station<T> {
    servers: usize,
    busy: usize,
    line: VecDeque<T>,
    work: Nanos,
}

/// The most that a gate does in one turn: assumed, 64 connections with 16 applications under way on each.
const AT_ONCE: usize = 1_024;

/// A single-threaded server that writes down what it has done before it answers, as Redis does with `appendfsync always`:
/// all that has come is done in one turn, and one sync at the end of it serves all.
#[derive(Clone, Debug)]
pub(crate) struct Gate<T> {
    sync: Nanos,
    line: VecDeque<T>,
    busy: bool,
    work: Nanos,
}

impl<T> Station<T> {
    /// A station of so many servers.
    pub(crate) fn new(servers: usize) -> Self {
        Self {
            servers,
            busy: 0,
            line: VecDeque::new(),
            work: 0,
        }
    }

    /// Somebody comes; returned is whose service begins now.
    pub(crate) fn arrive(&mut self, who: T) -> Option<T> {
        if self.busy < self.servers {
            self.busy += 1;
            return Some(who);
        }
        self.line.push_back(who);
        None
    }

    /// A service has ended that took so long; returned is whose service begins now.
    pub(crate) fn leave(&mut self, took: Nanos) -> Option<T> {
        self.work += took;
        let next = self.line.pop_front();
        if next.is_none() {
            self.busy -= 1;
        }
        next
    }

    /// The service time of all who were served, for each server.
    pub(crate) fn work_of_each(&self) -> Nanos {
        self.work / self.servers as Nanos
    }
}

impl<T> Gate<T> {
    /// A gate whose sync takes so long.
    pub(crate) fn new(sync: Nanos) -> Self {
        Self {
            sync,
            line: VecDeque::new(),
            busy: false,
            work: 0,
        }
    }

    pub(crate) fn arrive(&mut self, who: T) {
        self.line.push_back(who);
    }

    /// Begins a turn, if none is under way and somebody waits: those who do, but no more than [`AT_ONCE`]. `serve` says how
    /// long each takes, and whether anything has to be written down for him; nothing, if he and those behind him are to
    /// wait. Returned is how long the turn takes, with its sync.
    pub(crate) fn turn(
        &mut self,
        mut serve: impl FnMut(&T) -> Option<(Nanos, bool)>,
    ) -> Option<Nanos> {
        if self.busy {
            return None;
        }
        let (mut takes, mut writes) = (0, false);
        for _ in 0..AT_ONCE {
            let Some((service, written)) = self.line.front().and_then(&mut serve) else {
                break;
            };
            self.line.pop_front();
            takes += service;
            writes |= written;
        }
        if takes == 0 {
            return None;
        }
        self.busy = true;
        self.work += takes;
        Some(takes + if writes { self.sync } else { 0 })
    }

    pub(crate) fn end_turn(&mut self) {
        self.busy = false;
    }

    /// How long it has been at work, without its syncs: the more come at once, the fewer there are.
    pub(crate) fn work(&self) -> Nanos {
        self.work
    }
}

#[cfg(test)]
mod tests {
    use super::super::agenda::Agenda;
    use super::super::random::Random;
    use super::*;

    enum Event {
        Comes,
        Goes(Nanos, Nanos),
    }

    /// The mean time from coming to going, in mean service times, of a station that is busy for that part of the time.
    fn sojourn(servers: usize, load: f64, mut service: impl FnMut(&mut Random) -> Nanos) -> f64 {
        const MEAN: Nanos = 1_000_000;
        let mut random = Random::new(7);
        let mut agenda = Agenda::new();
        let mut station = Station::new(servers);
        let between = (MEAN as f64 / load / servers as f64) as Nanos;
        let people = 400_000;
        let (mut come, mut sum) = (0, 0);
        agenda.after(0, Event::Comes);
        while let Some(event) = agenda.next() {
            let begins = match event {
                Event::Comes => {
                    come += 1;
                    if come < people {
                        agenda.after(random.around(between), Event::Comes);
                    }
                    station.arrive(agenda.now())
                }
                Event::Goes(came, took) => {
                    sum += agenda.now() - came;
                    station.leave(took)
                }
            };
            if let Some(came) = begins {
                let takes = service(&mut random);
                agenda.after(takes, Event::Goes(came, takes));
            }
        }
        sum as f64 / f64::from(people) / MEAN as f64
    }

    fn is_near(found: f64, expected: f64) {
        assert!(
            (found / expected - 1.0).abs() < 0.03,
            "{found} for {expected}"
        );
    }

    #[test]
    fn waiting_is_as_long_as_the_formulas_say() {
        for load in [0.5, 0.8] {
            // M/M/1, and Pollaczek and Khinchine's for M/D/1.
            is_near(
                sojourn(1, load, |random| random.around(1_000_000)),
                1.0 / (1.0 - load),
            );
            is_near(
                sojourn(1, load, |_| 1_000_000),
                1.0 + load / 2.0 / (1.0 - load),
            );
        }
        // M/M/2.
        is_near(
            sojourn(2, 0.8, |random| random.around(1_000_000)),
            1.0 / (1.0 - 0.8 * 0.8),
        );
    }

    #[test]
    fn one_sync_serves_all_who_have_come() {
        let mut gate = Gate::new(100);
        for who in ["grant", "refusal", "grant"] {
            gate.arrive(who);
        }
        let serve = |who: &&str| match *who {
            "grant" => Some((10, true)),
            "refusal" => Some((5, false)),
            _ => None,
        };
        assert_eq!(gate.turn(serve), Some(125));
        gate.arrive("refusal");
        assert_eq!(gate.turn(serve), None, "a turn is under way");
        gate.end_turn();
        assert_eq!(gate.turn(serve), Some(5), "nothing to write down");
        gate.end_turn();
        gate.arrive("later");
        assert_eq!(gate.turn(serve), None, "nobody can be served");
        assert_eq!(gate.work(), 30);
    }
}
