//! A campaign, a crowd, some faults, and what came of it.

use crate::fault::{Deck, Fault, Planned};
use crate::load::Load;
use crate::loss;
use crate::sabotage::{self, Planted};
use crate::tally::Tally;
use crate::world::World;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rushgate_e2e::check::{Expected, breaches, lost_with_redis};
use rushgate_e2e::evidence::Evidence;
use rushgate_e2e::history::History;
use rushgate_gate::Event;
use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// How long, after all is mended, everything may take to arrive: a dead consumer's partitions wait for the end of its
/// session, entries of a dead bridge for theirs, and a client of Kafka for its own backoff.
const REST: Duration = Duration::from_secs(120);

/// What is to happen.
pub(crate) struct Episode {
    number: u64,
    seed: u64,
    quota: u32,
    faults: Vec<Planned>,
}

/// What came of it.
pub(crate) struct Result {
    pub(crate) summary: String,
    pub(crate) breaches: Vec<String>,
}

impl Episode {
    /// The next one.
    pub(crate) fn draw(number: u64, seed: u64, deck: &mut Deck) -> Self {
        let seed = seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut random = StdRng::seed_from_u64(seed);
        let faults = deck.draw();
        // Sometimes the last coupon goes in the middle of it; but who is to die at work needs work until he does.
        let needs_work = |planned: &Planned| matches!(planned.fault, Fault::DieAt(..));
        let quota = match random.random_range(0..3) {
            _ if faults.iter().any(needs_work) => 1_000_000,
            0 => random.random_range(50..600),
            _ => random.random_range(2_000..20_000),
        };
        Self {
            number,
            seed,
            quota,
            faults,
        }
    }

    /// Lets it happen.
    pub(crate) async fn play(&self, world: &mut World, tally: &mut Tally) -> Result {
        let campaign = format!("chaos-{}-{}", std::process::id(), self.number);
        world
            .operator
            .create(&campaign, self.quota)
            .await
            .expect("created");
        let already_done = world.metric(ALREADY_DONE).await;
        let is_loss = self.faults.iter().any(|planned| planned.fault.is_loss());

        let load = Load::begin(world.urls(), &campaign, self.seed, is_loss);
        let mut planted = Planted::default();
        for fault in &self.faults {
            sleep(fault.before).await;
            tally.fault(fault);
            if is_loss {
                loss::commit(world, fault, &campaign).await;
            } else {
                sabotage::commit(world, fault, &campaign, self.quota, &mut planted).await;
            }
            world.revive();
        }
        world.heal().await;
        sabotage::mend(world).await;
        let (people, history) = load.end().await;
        let evidence = at_rest(world, &campaign, REST).await;

        let expected = Expected {
            due: match is_loss {
                true => Default::default(),
                false => [("once".to_owned(), people.min(self.quota))].into(),
            },
            dead_letters: (planted.letters, planted.unpublished),
            restored: is_loss,
            ..Expected::once(self.quota, people)
        };
        let mut breaches: Vec<String> = breaches(&expected, &history, &evidence)
            .iter()
            .map(ToString::to_string)
            .collect();
        breaches.append(&mut world.deserters);

        let again = published_again(&evidence);
        let done = world.metric(ALREADY_DONE).await;
        let lost = lost_with_redis(&history, &evidence).len() as u64;
        tally.answers += history.sent;
        tally.retried += history.retried;
        tally.granted += evidence.rows.len() as u64;
        tally.published_again += again;
        tally.already_done += done.checked_sub(already_done).unwrap_or(done);
        tally.dead_at_points += std::mem::take(&mut world.dead_at_points);
        tally.dead_letters += planted.letters + planted.unpublished;
        tally.restored += u64::from(is_loss);
        tally.lost_with_redis += lost;
        Result {
            summary: self.summary(&history, &evidence, again, lost),
            breaches,
        }
    }

    fn summary(&self, history: &History, evidence: &Evidence, again: u64, lost: u64) -> String {
        let rows = evidence.rows.len();
        let mut summary = format!(
            "{} answers ({} sent again), {rows} of {} coupons, {again} published again",
            history.sent, history.retried, self.quota
        );
        if lost > 0 {
            summary.push_str(&format!(", {lost} lost with Redis"));
        }
        summary
    }
}

impl fmt::Display for Episode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults: Vec<String> = self
            .faults
            .iter()
            .map(|planned| planned.fault.to_string())
            .collect();
        write!(f, "{} {}", self.number, faults.join(" "))
    }
}

const ALREADY_DONE: &str = "rushgate_consumer_already_done_total";

/// What stands once nothing is on its way any more; or, if that takes too long, what stands then.
pub(crate) async fn at_rest(world: &mut World, campaign: &str, patience: Duration) -> Evidence {
    let deadline = Instant::now() + patience;
    loop {
        // Somebody who was told to die at a certain point may come to it only now.
        world.revive();
        match world.stores().read(campaign).await {
            Ok(evidence) if evidence.is_at_rest() || Instant::now() > deadline => return evidence,
            Err(error) if Instant::now() > deadline => {
                panic!("the stores cannot be read: {error:#}")
            }
            _ => sleep(Duration::from_millis(100)).await,
        }
    }
}

fn published_again(evidence: &Evidence) -> u64 {
    let key = |event: &Event| {
        let Event {
            event_type,
            turn,
            applicant,
            win,
            ..
        } = event;
        (
            event.key().to_string(),
            *event_type,
            *turn,
            applicant.clone(),
            *win,
        )
    };
    let distinct: BTreeSet<_> = evidence.published.iter().map(key).collect();
    (evidence.published.len() - distinct.len()) as u64
}
