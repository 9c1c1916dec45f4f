//! The event queue of a simulation. It contains the events in the order of their times, and the simulated clock.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// Nanoseconds from the start of a simulation. Integers, so that sums do not depend on their order.
pub(crate) type Nanos = u64;

/// Microseconds as time.
pub(crate) fn micros(micros: f64) -> Nanos {
    (micros * 1e3).round() as Nanos
}

/// Milliseconds as time.
pub(crate) fn millis(millis: f64) -> Nanos {
    micros(millis * 1e3)
}

/// Time in seconds.
pub(crate) fn seconds(time: Nanos) -> f64 {
    time as f64 / 1e9
}

#[derive(Debug)]
pub(crate) struct Agenda<E> {
    heap: BinaryHeap<Reverse<Entry<E>>>,
    number: u64,
    now: Nanos,
}

#[derive(Debug)]
struct Entry<E> {
    at: Nanos,
    number: u64,
    event: E,
}

impl<E> Agenda<E> {
    /// An empty queue, at time 0.
    pub(crate) fn new() -> Self {
        Self {
            heap: BinaryHeap::new(),
            number: 0,
            now: 0,
        }
    }

    /// The time of the event that was taken last.
    pub(crate) fn now(&self) -> Nanos {
        self.now
    }

    /// Schedules an event after a delay. Of two events at the same time, the one scheduled first comes first.
    pub(crate) fn after(&mut self, delay: Nanos, event: E) {
        self.at(self.now + delay, event);
    }

    /// Schedules an event at a time, or now, if that has passed.
    pub(crate) fn at(&mut self, at: Nanos, event: E) {
        let number = self.number;
        self.number += 1;
        let at = at.max(self.now);
        self.heap.push(Reverse(Entry { at, number, event }));
    }

    /// Takes the next event, and advances the clock to its time.
    pub(crate) fn next(&mut self) -> Option<E> {
        let Reverse(entry) = self.heap.pop()?;
        self.now = entry.at;
        Some(entry.event)
    }
}

impl<E> Entry<E> {
    fn order(&self) -> (Nanos, u64) {
        (self.at, self.number)
    }
}

impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order().cmp(&other.order())
    }
}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}

impl<E> Eq for Entry<E> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_the_order_of_their_times_and_then_of_their_entry() {
        let mut agenda = Agenda::new();
        agenda.after(20, 'c');
        agenda.after(10, 'a');
        agenda.after(10, 'b');
        let mut seen = vec![];
        while let Some(event) = agenda.next() {
            seen.push((agenda.now(), event));
            if event == 'c' {
                // An overdue event happens now.
                agenda.at(5, 'd');
            }
        }
        assert_eq!(seen, [(10, 'a'), (10, 'b'), (20, 'c'), (20, 'd')]);
    }
}
