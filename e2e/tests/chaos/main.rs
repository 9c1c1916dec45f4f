//! Injects every fault at random moments while applicants apply, and checks afterwards that C1 to C7 hold.
//!
//! `cargo xtask chaos` runs this for the given time; `cargo xtask test` runs it until every fault has happened once.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests, outside #[test] functions"
)]

mod component;
mod contradictions;
mod coupon_mutations;
mod episode;
mod fault;
mod load;
mod loss;
mod mutations;
mod operator;
mod people;
mod sabotage;
mod table;
mod tally;
mod test_servers;
mod world;

use episode::Episode;
use fault::Deck;
use std::time::{Duration, Instant};
use tally::Tally;
use test_servers::TestServers;
use world::World;

/// The default seed, so that every run without a seed makes the same choices.
const USUAL_SEED: u64 = 77;

#[tokio::test(flavor = "multi_thread")]
async fn chaos() {
    let number = |variable: &str| {
        let text = std::env::var(variable).ok()?;
        Some(text.parse::<u64>().expect(variable))
    };
    let seed = number("RUSHGATE_SEED").unwrap_or(USUAL_SEED);
    let minutes = number("RUSHGATE_CHAOS_MINUTES");
    let only = std::env::var("RUSHGATE_CHAOS_ONLY").ok();
    let rush = std::env::var("RUSHGATE_CHAOS_RUSH").ok();
    let rush = rush.as_deref().map(|rush| {
        let (applicants, quota) = rush.split_once('/').expect("applicants/quota");
        let number = |text: &str| text.parse::<u32>().expect("RUSHGATE_CHAOS_RUSH");
        (number(applicants), number(quota))
    });
    let mut deck = Deck::new(seed, only.as_deref(), minutes.is_some());
    if rush.is_some() {
        deck = deck.without_losses();
    }
    let signed = match deck.is_signed() {
        true => "records are signed",
        false => "records are not signed",
    };
    eprintln!("chaos: seed {seed}, {signed}");
    let mut world = World::start(TestServers::take().await, deck.is_signed()).await;
    let (begun, mut tally) = (Instant::now(), Tally::default());
    let mut number = 0;
    loop {
        number += 1;
        let episode = match rush {
            Some((applicants, quota)) => Episode::rush(seed, applicants, quota),
            None => Episode::draw(number, seed, &mut deck),
        };
        let result = episode.play(&mut world, &mut deck, &mut tally).await;
        eprintln!(
            "{:>5} s  {episode}: {}",
            begun.elapsed().as_secs(),
            result.summary
        );
        assert!(
            result.breaches.is_empty(),
            "episode {number} of seed {seed} ended in {} breaches; the first of them:\n  {}\n\n{}",
            result.breaches.len(),
            result
                .breaches
                .iter()
                .take(20)
                .cloned()
                .collect::<Vec<_>>()
                .join("\n  "),
            world.last_words(),
        );
        let is_over = match minutes {
            _ if rush.is_some() => true,
            Some(minutes) => begun.elapsed() >= Duration::from_secs(minutes * 60),
            None => deck.is_dealt(),
        };
        if is_over {
            break;
        }
    }
    eprintln!(
        "\nchaos, seed {seed}, {number} episodes in {} s:\n{tally}",
        begun.elapsed().as_secs()
    );
}
