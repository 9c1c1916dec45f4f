//! Lists where each grant was seen on its way to the table, so that a breach can name the place where a grant was
//! lost.

use crate::evidence::Evidence;
use crate::history::Place;
use rushgate_gate::{Event, EventType};
use std::collections::{BTreeMap, BTreeSet};

/// How a trail begins that ends with a dead letter.
pub(super) const DEAD_LETTER: &str = "a dead letter";

/// Where grants were seen, by applicant and place.
pub(super) struct Trail(BTreeMap<(String, Place), BTreeSet<String>>);

impl Trail {
    pub(super) fn of(evidence: &Evidence) -> Self {
        let mut trail = Self(BTreeMap::new());
        for ((user_id, place), _) in evidence.held() {
            trail.add(user_id, place, "held by the gate");
        }
        for event in &evidence.in_stream {
            trail.add_event(event, "in the stream");
        }
        for event in &evidence.published {
            trail.add_event(event, "in the topic");
        }
        for failed_event in &evidence.failed_events {
            if let Some(event) = &failed_event.event {
                trail.add_event(event, &format!("{DEAD_LETTER} ({})", failed_event.reason));
            }
        }
        trail
    }

    fn add_event(&mut self, event: &Event, seen: &str) {
        if event.event_type == EventType::Granted {
            let place = Place::new(event.round.as_str(), event.serial.get());
            self.add(event.applicant.to_string(), place, seen);
        }
    }

    fn add(&mut self, user_id: String, place: Place, seen: &str) {
        let trail = self.0.entry((user_id, place)).or_default();
        trail.insert(seen.to_owned());
    }

    pub(super) fn of_grant(&self, user_id: &str, place: &Place) -> Vec<&str> {
        let trail = self.0.get(&(user_id.to_owned(), place.clone()));
        trail.into_iter().flatten().map(String::as_str).collect()
    }

    pub(super) fn in_words(&self, user_id: &str, place: &Place) -> String {
        match self.of_grant(user_id, place)[..] {
            [] => "it is nowhere".to_owned(),
            ref seen => format!("it is {}", seen.join(" and ")),
        }
    }
}
