//! Runs one episode: a campaign, applicants, some faults, and the check of the result.

use crate::contradictions::contradictions;
use crate::fault::{Deck, Fault, Planned};
use crate::load::{Crowd, Load};
use crate::loss;
use crate::operator::Operator;
use crate::people::People;
use crate::sabotage::{self, Planted};
use crate::tally::Tally;
use crate::world::World;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rushgate_e2e::check::{Expected, breaches, lost_with_redis};
use rushgate_e2e::evidence::Evidence;
use rushgate_e2e::history::{CancelReply, History};
use rushgate_gate::{Event, Millis};
use rushgate_testbed::wait::until;
use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::time::sleep;

/// How long everything may take to arrive after all faults are healed: the partitions of a dead consumer wait for the
/// end of its session, the entries of a dead bridge for the claim, and a Kafka client for its own backoff.
pub(crate) const REST: Duration = Duration::from_secs(120);

/// How long applicants may cancel after the end of a round.
const AFTER_THE_END: Duration = Duration::from_secs(3);

pub(crate) struct Episode {
    number: u64,
    seed: u64,
    quota: u32,
    /// Whether the round ends while applicants wait for coupons.
    ends: bool,
    /// Whether the codes come from a pool, and are not signed.
    has_pool: bool,
    faults: Vec<Planned>,
    /// In a rush, faults are drawn until this many applicants have come.
    rush: Option<u32>,
}

pub(crate) struct Result {
    pub(crate) summary: String,
    pub(crate) breaches: Vec<String>,
}

impl Episode {
    pub(crate) fn draw(number: u64, seed: u64, deck: &mut Deck) -> Self {
        let seed = seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut random = StdRng::seed_from_u64(seed);
        let faults = deck.draw();
        // Sometimes the last coupon is granted during the fault; but a component that is to die at a failpoint needs
        // work until then.
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
            ends: quota < 1_000,
            has_pool: random.random_bool(0.4),
            faults,
            rush: None,
        }
    }

    /// A rush of this many applicants.
    pub(crate) fn rush(seed: u64, applicants: u32, quota: u32) -> Self {
        Self {
            number: 1,
            seed,
            quota,
            ends: true,
            has_pool: false,
            faults: vec![],
            rush: Some(applicants),
        }
    }

    fn truncates(&self) -> bool {
        let mut faults = self.faults.iter();
        faults.any(|planned| planned.fault == Fault::TopicTruncated)
    }

    pub(crate) async fn play(
        &self,
        world: &mut World,
        deck: &mut Deck,
        tally: &mut Tally,
    ) -> Result {
        let campaign = format!("chaos-{}-{}", std::process::id(), self.number);
        let which = if self.has_pool { "pool" } else { "signed" };
        let codes = world.create(&campaign, self.quota, which).await;
        if self.has_pool {
            world.write_codes(&campaign);
        }
        let already_done = world.metric(ALREADY_DONE).await;
        let is_loss = self.faults.iter().any(|planned| planned.fault.is_loss());

        // A grant that the gate or Kafka has lost cannot be distinguished from one that was revoked or given back.
        let may_take = !is_loss && !self.truncates();
        let crowd = Crowd {
            may_cancel: may_take,
            ..self.rush.map_or(Crowd::USUAL, Crowd::rush)
        };
        let load = Load::begin(world.urls(), &campaign, self.seed, crowd);
        let people = load.people();
        let operator = Operator::begin(
            world,
            &campaign,
            self.seed,
            self.quota,
            people.clone(),
            may_take,
            self.rush.is_some(),
        );
        let mut planted = Planted::default();
        let stopped = if let [fault] = self.faults[..]
            && is_loss
        {
            sleep(fault.before).await;
            tally.fault(&fault);
            let stopped = loss::stop_in_the_middle(world, &fault, operator).await;
            loss::commit(world, &fault, &campaign).await;
            stopped
        } else {
            let mut faults = self.faults.clone();
            loop {
                for fault in &faults {
                    sleep(fault.before).await;
                    tally.fault(fault);
                    sabotage::commit(world, fault, &campaign, self.quota, &operator, &mut planted)
                        .await;
                    world.revive();
                }
                world.heal().await;
                sabotage::mend(world).await;
                if self
                    .rush
                    .is_none_or(|applicants| people.count() >= applicants)
                {
                    break;
                }
                faults = deck.draw();
                eprintln!("{:>7} have come", people.count());
            }
            operator.stop().await
        };
        let diary = stopped.finish(is_loss).await;
        let told = match self.ends && may_take {
            true => end_the_round(world, &campaign, &people).await,
            false => 0,
        };
        let history = load.end().await;
        if self.truncates() {
            put_back(world, &campaign).await;
        }
        // After a loss, some may be left for people to decide about.
        let letters = (!is_loss).then_some(planted.failed_events);
        let evidence = at_rest(world, &campaign, letters, REST).await;

        let mut contradictions = contradictions(world, &campaign, &diary).await;
        let terms = world.database.terms(&campaign).await.expect("the database");
        let rounds = terms.expect("the campaign").rounds;
        let round = rounds.values().next().expect("a round");
        let ends = round.closes_at.map(|ends| Millis::try_from(ends.max(told)));
        let expected = Expected {
            quota: round.quota,
            codes: (!self.has_pool).then_some(codes),
            has_pool: self.has_pool,
            ends: ends.transpose().expect("a time"),
            dead_letters: (planted.failed_events, planted.unpublished),
            restored: is_loss,
            operated: diary.operated,
            ..Expected::default()
        };
        let mut breaches: Vec<String> = breaches(&expected, &history, &evidence)
            .iter()
            .map(ToString::to_string)
            .collect();
        breaches.append(&mut contradictions);
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
        tally.dead_letters += planted.failed_events + planted.unpublished;
        let replayed = world.database.replayed(&campaign).await;
        tally.replayed += replayed.expect("the database");
        for cancel in &history.cancels {
            match cancel.reply {
                CancelReply::GivenBack(_) => tally.given_back += 1,
                CancelReply::Left => tally.left += 1,
                CancelReply::Redeemed => tally.kept += 1,
                _ => {}
            }
        }
        tally.revoked += evidence.revoked.len() as u64;
        let redeemed = evidence.codes.iter().filter(|row| row.is_redeemed);
        tally.redeemed += redeemed.count() as u64;
        tally.commands += diary.commands;
        tally.unknown += diary.unknown;
        tally.restored += u64::from(is_loss);
        tally.lost_with_redis += lost;
        Result {
            summary: summary(&history, &evidence, expected.quota, again, lost),
            breaches,
        }
    }
}

impl fmt::Display for Episode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults: Vec<String> = self
            .faults
            .iter()
            .map(|planned| planned.fault.to_string())
            .collect();
        let pool = if self.has_pool { " (pool codes)" } else { "" };
        write!(f, "{}{pool} {}", self.number, faults.join(" "))
    }
}

fn summary(history: &History, evidence: &Evidence, quota: u32, again: u64, lost: u64) -> String {
    let (rows, revoked) = (evidence.rows.len(), evidence.revoked.len());
    let mut summary = format!(
        "{} answers ({} sent again), {rows} of {quota} coupons, {revoked} taken back, {again} published again",
        history.sent, history.retried
    );
    if lost > 0 {
        summary.push_str(&format!(", {lost} lost with Redis"));
    }
    summary
}

const ALREADY_DONE: &str = "rushgate_consumer_already_done_total";

/// What stands once nothing is on its way any more, and no more dead letters are open than `letters`, if that is known;
/// or, if that takes too long, what stands then.
pub(crate) async fn at_rest(
    world: &mut World,
    campaign: &str,
    letters: Option<u64>,
    patience: Duration,
) -> Evidence {
    let deadline = Instant::now() + patience;
    loop {
        // A component may reach its failpoint only now.
        world.revive();
        // A parked one is noted as replayed after its grant is confirmed.
        let is_over = |evidence: &Evidence| {
            let open = evidence.failed_events.len() as u64;
            evidence.is_at_rest() && letters.is_none_or(|letters| open <= letters)
        };
        match world.stores().read(campaign).await {
            Ok(evidence) if is_over(&evidence) || Instant::now() > deadline => return evidence,
            Err(error) if Instant::now() > deadline => {
                panic!("the stores cannot be read: {error:#}")
            }
            _ => sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Lets the round end, and waits until some applicants have cancelled after that: no applicant gets what they free. Returns
/// a time at which the gate has been told: on a busy machine it may be told later than the round was to end.
async fn end_the_round(world: &World, campaign: &str, people: &People) -> i64 {
    let ends = now_ms() + 1_000;
    let time = Millis::try_from(ends).expect("a time").to_string();
    let change = ["campaign", "change", campaign, "--closes-at", &time];
    world.operator.run(&change).await.expect("changed");
    let told = now_ms();
    until("the round has ended", async || {
        (now_ms() > ends).then_some(())
    })
    .await;
    let enough = people.cancelled() + 3;
    let deadline = Instant::now() + AFTER_THE_END;
    while people.cancelled() < enough && Instant::now() < deadline {
        sleep(Duration::from_millis(20)).await;
    }
    told
}

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("a time after 1970").as_millis() as i64
}

/// Repairs what Kafka has lost, as an operator does, once nothing else is on its way.
async fn put_back(world: &World, campaign: &str) {
    until("stream and topic are empty", async || {
        let evidence = world.stores().read(campaign).await.ok()?;
        (evidence.entries + evidence.pending + evidence.lag == 0).then_some(())
    })
    .await;
    let repair = world.operator.end_of(&["audit", "--repair"]).await;
    let repair = repair.expect("run");
    // Dead letters of earlier episodes do not matter here.
    assert!(matches!(repair.code, Some(0 | 2)), "{repair:?}");
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
