//! What a proxy does to its connections now, and how often a request has passed.

use std::time::Duration;
use tokio::sync::watch;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    None,
    /// Every piece of data is delayed by this time.
    Delay(Duration),
    /// Nothing gets through, and no connection is closed.
    Hang,
    /// Connections are reset, also new ones.
    Cut,
    /// Each connection is reset after this many bytes of answers.
    AnswersLostAfter(usize),
    /// This request does not get through: its connection is reset.
    DropRequest(usize, Then),
    /// The server answers this request, so it has done the work; the connection is reset instead of returning the
    /// answer.
    LoseAnswer(usize, Then),
    /// The server answers this request, and the answer is held back until the fault changes.
    HoldAnswer(usize),
}

/// What happens to other connections when one was reset at a certain request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    Works,
    /// All of them are [`Trouble::Cut`].
    Cut,
}

/// The state that all connections of a proxy share.
#[derive(Clone)]
pub(super) struct Line {
    now: watch::Sender<Now>,
    resets: watch::Sender<u64>,
}

#[derive(Clone, Copy)]
pub(super) struct Now {
    pub(super) trouble: Trouble,
    /// Connections and requests since the fault was set.
    pub(super) connections: usize,
    pub(super) requests: usize,
    /// Whether the request of the fault has come.
    pub(super) has_struck: bool,
}

impl Now {
    fn of(trouble: Trouble) -> Self {
        Self {
            trouble,
            connections: 0,
            requests: 0,
            has_struck: false,
        }
    }
}

impl Line {
    pub(super) fn new() -> Self {
        Self {
            now: watch::Sender::new(Now::of(Trouble::None)),
            resets: watch::Sender::new(0),
        }
    }

    pub(super) fn now(&self) -> Now {
        *self.now.borrow()
    }

    pub(super) fn watch(&self) -> watch::Receiver<Now> {
        self.now.subscribe()
    }

    pub(super) fn watch_resets(&self) -> watch::Receiver<u64> {
        self.resets.subscribe()
    }

    /// Sets the fault, and starts counting requests anew.
    pub(super) fn set(&self, trouble: Trouble) {
        self.now.send_replace(Now::of(trouble));
        if trouble == Trouble::Cut {
            self.reset();
        }
    }

    /// Resets the present connections.
    pub(super) fn reset(&self) {
        self.resets.send_modify(|resets| *resets += 1);
    }

    pub(super) fn count_connection(&self) {
        self.now.send_if_modified(|now| {
            now.connections += 1;
            // No task waits for a number.
            false
        });
    }

    /// Counts a request; returns the fault if it is about this one.
    pub(super) fn count(&self) -> Option<Trouble> {
        let mut met = None;
        self.now.send_if_modified(|now| {
            now.requests += 1;
            let (Trouble::DropRequest(nth, _)
            | Trouble::LoseAnswer(nth, _)
            | Trouble::HoldAnswer(nth)) = now.trouble
            else {
                return false;
            };
            met = (nth == now.requests).then_some(now.trouble);
            // No task waits for a number.
            false
        });
        met
    }

    /// The moment of `trouble` has come; returns whether it is still set.
    pub(super) fn strike(&self, trouble: Trouble) -> bool {
        let mut then = Then::Works;
        let is_wanted = self.now.send_if_modified(|now| {
            if now.trouble != trouble {
                return false;
            }
            now.has_struck = true;
            if let Trouble::DropRequest(_, Then::Cut) | Trouble::LoseAnswer(_, Then::Cut) = trouble
            {
                now.trouble = Trouble::Cut;
                then = Then::Cut;
            }
            true
        });
        if then == Then::Cut {
            self.reset();
        }
        is_wanted
    }
}
