//! Simulates queues: several servers that share one queue, or a gate that processes everything that has arrived in one
//! turn.

use super::agenda::Nanos;
use std::collections::VecDeque;

/// Servers behind one queue, first come, first served. The owner schedules the end of each service.
#[derive(Clone, Debug)]
pub(crate) struct Station<T> {
    servers: usize,
    busy: usize,
    line: VecDeque<T>,
    work: Nanos,
}

/// Most applications in one turn of a gate: assumed, 64 connections with 16 requests in flight on each.
const AT_ONCE: usize = 1_024;

/// A single-threaded server that syncs to disk before it answers, like Redis with `appendfsync always`: everything that
/// has arrived is processed in one turn, with one sync at its end.
#[derive(Clone, Debug)]
pub(crate) struct Gate<T> {
    sync: Nanos,
    line: VecDeque<T>,
    busy: bool,
    work: Nanos,
}

impl<T> Station<T> {
    /// A station with this many servers.
    pub(crate) fn new(servers: usize) -> Self {
        Self {
            servers,
            busy: 0,
            line: VecDeque::new(),
            work: 0,
        }
    }

    /// An arrival; returns the item whose service begins now.
    pub(crate) fn arrive(&mut self, who: T) -> Option<T> {
        if self.busy < self.servers {
            self.busy += 1;
            return Some(who);
        }
        self.line.push_back(who);
        None
    }

    /// A service of this duration has ended; returns the item whose service begins now.
    pub(crate) fn leave(&mut self, took: Nanos) -> Option<T> {
        self.work += took;
        let next = self.line.pop_front();
        if next.is_none() {
            self.busy -= 1;
        }
        next
    }

    /// Total service time, divided by the number of servers.
    pub(crate) fn work_of_each(&self) -> Nanos {
        self.work / self.servers as Nanos
    }
}

impl<T> Gate<T> {
    /// A gate with this sync time.
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

    /// Begins a turn, if none runs and something waits: with everything that waits, but at most [`AT_ONCE`]. `serve`
    /// returns how long each takes and whether it needs a sync; `None`, if this one and all behind it have to wait.
    /// Returns the duration of the turn, with its sync.
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

    /// Busy time without syncs: the more arrive at once, the fewer syncs there are.
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

    /// The mean sojourn time, in mean service times, of a station with this utilisation.
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
            // M/M/1, and M/D/1 by Pollaczek and Khinchine.
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
    fn one_sync_serves_everything_that_has_arrived() {
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
        assert_eq!(gate.turn(serve), None, "no request can be served");
        assert_eq!(gate.work(), 30);
    }
}
