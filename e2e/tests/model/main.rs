//! Searches all states of a model of the pipeline, and checks that its properties hold in each of them.

#![allow(
    clippy::expect_used,
    reason = "helpers of tests, outside #[test] functions"
)]

mod bridge;
mod broker;
mod check;
mod configurations;
mod consumer;
mod fault;
mod gate;
mod mutation;
mod pipeline;
mod properties;
mod rest;
mod shared;
mod stream;
mod table;

use configurations::{BACK, FRONT, LOSS, WINDOW, WRITERS};
use mutation::Mutation::{self, *};
use pipeline::Pipeline;
use properties::{C1, C2, C3, C5, C6, HALTED, ONCE, REMOVED};
use stateright::HasDiscoveries;
use std::collections::BTreeSet;
use std::time::Instant;

/// Each known bug, the configuration that it is planted in, and the property that it breaks.
const CAUGHT: [(Mutation, Pipeline, &str); 11] = [
    (AckBeforeReport, FRONT, C3),
    (AckNotRetried, FRONT, ONCE),
    (InsertIgnore, LOSS, C3),
    (TrimmedStream, FRONT, REMOVED),
    (CommitBeforeWrite, BACK, C3),
    (CommitBeforeConfirm, BACK, C5),
    (CommitPastOtherWriter, WRITERS, C3),
    (QuotaOutsideScript, WINDOW, C1),
    (DuplicateCheckAfterCount, FRONT, C6),
    (NoDuplicateCheck, FRONT, C2),
    (ConfirmBlindly, LOSS, HALTED),
];

#[test]
fn every_property_holds_in_every_state() {
    for configuration in configurations::chosen() {
        let begun = Instant::now();
        let explored = configuration.explore(HasDiscoveries::AnyFailures);
        let name = configuration.name;
        assert!(explored.broken.is_empty(), "{name}: {:#?}", explored.broken);
        eprintln!(
            "{name}: {} states, up to {} steps deep, all properties hold ({:.1} s)",
            explored.states,
            explored.depth,
            begun.elapsed().as_secs_f64()
        );
    }
}

#[test]
fn everything_comes_to_rest() {
    for configuration in configurations::chosen() {
        let begun = Instant::now();
        let name = configuration.name;
        match configuration.find_circle() {
            Ok(states) => eprintln!(
                "{name}: {states} states, and no way back to any of them ({:.1} s)",
                begun.elapsed().as_secs_f64()
            ),
            Err(way) => panic!("{name}: it goes round in a circle: {way:#?}"),
        }
    }
}

#[test]
fn known_bugs_are_caught() {
    let mut missed = vec![];
    for (mutation, configuration, property) in CAUGHT {
        let mut chosen = configurations::chosen().iter();
        if !chosen.any(|chosen| chosen.name == configuration.name) {
            continue;
        }
        let configuration = Pipeline {
            mutation: Some(mutation),
            ..configuration
        };
        let explored = configuration.explore(HasDiscoveries::AnyOf(BTreeSet::from([property])));
        match explored.broken.get(property) {
            Some(way) => eprintln!(
                "mutation {mutation:?}: caught by \"{property}\" after {} steps",
                way.len()
            ),
            None => missed.push(format!(
                "mutation {mutation:?}: \"{property}\" holds in all {} states of {}; broken are {:?}",
                explored.states,
                configuration.name,
                explored.broken.keys()
            )),
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}
