//! Simulates an operator who runs commands all the time, beside the applicants. The commands are interrupted.
//!
//! The operator believes what a command reports (done, refused or unknown), and then runs it again or runs another
//! one. The reports are recorded and compared with the stores in the end.

use crate::people::{Coupon, People};
use crate::world::World;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rushgate_e2e::campaign::{self, Ended};
use rushgate_e2e::check::Operated;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, MutexGuard, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Average pause before the next command.
const PACE: Duration = Duration::from_millis(250);

/// Time limit of a command once no fault disturbs it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Exit codes of the command.
const DONE: i32 = 0;
const REFUSED: i32 = 1;
const DISAGREES: i32 = 2;

pub(crate) struct Operator {
    hand: Arc<Hand>,
    work: JoinHandle<Diary>,
}

/// Lets other tasks kill or stop the operator.
struct Hand {
    command: campaign::Operator,
    campaign: String,
    /// Whether commands may lower quotas and revoke coupons.
    may_take: bool,
    keeps_quota: bool,
    /// Files of codes that can be loaded.
    code_files: Vec<String>,
    people: Arc<People>,
    is_over: watch::Sender<bool>,
    kills: watch::Sender<u64>,
    /// Held while a command runs.
    at_work: Mutex<()>,
}

#[derive(Default)]
pub(crate) struct Diary {
    /// Decides which replies applicants may get.
    pub(crate) operated: Operated,
    /// Possible values of the quota.
    pub(crate) quotas: BTreeSet<u32>,
    pub(crate) waitlists: BTreeSet<u32>,
    /// Campaigns beside the one that applicants use.
    pub(crate) sides: Vec<String>,
    /// Reasons that must be in the log, once.
    pub(crate) reported: BTreeSet<String>,
    /// All reasons: none may be in the log more than once.
    pub(crate) reasons: BTreeSet<String>,
    /// Violations that were found during the run.
    pub(crate) complaints: Vec<String>,
    /// Number of commands.
    pub(crate) commands: u64,
    /// Commands whose effect was unknown.
    pub(crate) unknown: u64,
    /// The last command of each campaign whose effect is unknown.
    unfinished: BTreeMap<String, Command>,
    /// Redemptions, and codes that were loaded, whose effect is unknown. No other command finishes them.
    to_repeat: Vec<Command>,
    /// Since when places may have become free through these.
    may_free: Vec<Instant>,
    campaign: String,
}

#[derive(Clone)]
struct Command {
    campaign: String,
    what: What,
    reason: String,
    /// Whether the log must have a line about it.
    is_news: bool,
}

#[derive(Clone)]
enum What {
    Quota(u32),
    Waitlist(u32),
    Revoke(String),
    /// A coupon, for an order.
    Redeem(Coupon, String),
    /// The codes of a file.
    Load(String),
    Pause,
    Resume,
    Repair,
    Create,
    Close,
    Finish,
}

impl Operator {
    /// Starts running commands on `campaign`, which has `people` applicants, over connections that can be broken.
    pub(crate) fn begin(
        world: &World,
        campaign: &str,
        seed: u64,
        quota: u32,
        people: Arc<People>,
        may_take: bool,
        keeps_quota: bool,
    ) -> Self {
        let hand = Arc::new(Hand {
            command: world.operator_on_links(),
            campaign: campaign.to_owned(),
            may_take,
            keeps_quota,
            code_files: world.code_files(campaign),
            people,
            is_over: watch::channel(false).0,
            kills: watch::channel(0).0,
            at_work: Mutex::new(()),
        });
        let diary = Diary {
            quotas: [quota].into(),
            waitlists: [0].into(),
            campaign: campaign.to_owned(),
            ..Diary::default()
        };
        let random = StdRng::seed_from_u64(!seed);
        let work = tokio::spawn(Arc::clone(&hand).works(random, diary));
        Self { hand, work }
    }

    /// Kills the running command, if there is one.
    pub(crate) fn kill(&self) {
        self.hand.kills.send_modify(|kills| *kills += 1);
    }

    /// Waits until the command that runs has ended; the next one begins when what is returned is dropped.
    pub(crate) async fn idle(&self) -> MutexGuard<'_, ()> {
        self.hand.at_work.lock().await
    }

    /// Starts no further command, and waits until the running one has ended.
    pub(crate) async fn stop(self) -> Stopped {
        self.hand.is_over.send_replace(true);
        let mut work = self.work;
        let diary = match timeout(PATIENCE, &mut work).await {
            Ok(diary) => diary.expect("no panic"),
            Err(_) => {
                self.hand.kills.send_modify(|kills| *kills += 1);
                let mut diary = work.await.expect("no panic");
                let complaint =
                    format!("a command of the operator has not ended after {PATIENCE:?}");
                diary.complaints.push(complaint);
                diary
            }
        };
        Stopped {
            hand: self.hand,
            diary,
        }
    }
}

/// A stopped operator, whose last commands may have been interrupted.
pub(crate) struct Stopped {
    hand: Arc<Hand>,
    diary: Diary,
}

impl Stopped {
    /// Without further faults, the same command, or the one that finishes it, must succeed. Nothing else is done by
    /// hand.
    ///
    /// After a loss (`is_loss`), the campaigns that Redis has lost are restored first, as `audit` says.
    pub(crate) async fn finish(mut self, is_loss: bool) -> Diary {
        let lost = match is_loss {
            true => self.diary.sides.clone(),
            false => vec![],
        };
        for side in lost {
            let restore = ["restore", &side, "--halt", "--wait", "60s"];
            let ended = self.hand.command.end_of(&restore).await.expect("run");
            // A campaign whose creation was interrupted has nothing to lose; the creation is run again.
            let has_nothing = ["there is no campaign", "was never projected"];
            let has_nothing = has_nothing.iter().any(|why| ended.stderr.contains(why));
            if ended.code != Some(DONE) && !has_nothing {
                let complaint = format!("{restore:?} does not lead out: {ended:?}");
                self.diary.complaints.push(complaint);
            }
        }
        for again in std::mem::take(&mut self.diary.to_repeat) {
            self.runs(again).await;
        }
        for again in std::mem::take(&mut self.diary.unfinished).into_values() {
            let is_there = !matches!(again.what, What::Create);
            let next = match is_there && self.diary.commands.is_multiple_of(2) {
                true => self.diary.command(again.campaign, What::Finish),
                false => again,
            };
            self.runs(next).await;
        }
        let campaign = self.hand.campaign.clone();
        let resume = self.diary.command(campaign, What::Resume);
        self.runs(resume).await;
        let now = Instant::now();
        self.diary.mark_freed(now);
        self.diary
    }

    async fn runs(&mut self, command: Command) {
        let ended = self.hand.run(&command, &mut self.diary).await;
        let is_refused = ended.code == Some(REFUSED) && command.what.may_be_refused();
        if ended.code != Some(DONE) && !is_refused && !is_for_people(&ended) {
            let complaint = format!(
                "{:?} does not lead out: {:?} {}{}",
                command.words(),
                ended.code,
                ended.stdout,
                ended.stderr
            );
            self.diary.complaints.push(complaint);
        }
    }
}

/// Whether an audit found nothing but codes that are to be loaded, and dead letters, which an operator decides about: after a loss, those of applicants
/// who lost their serial when none was left.
fn is_for_people(ended: &Ended) -> bool {
    let mut lines = ended.stdout.lines().skip(1).map(str::trim_start);
    ended.code == Some(DISAGREES)
        && lines.all(|line| {
            let lines = ["dead letter ", "repaired: ", "finished first: "];
            let waits = line.contains(" waits for its code");
            waits || lines.iter().any(|begins| line.starts_with(begins))
        })
}

impl Hand {
    async fn works(self: Arc<Self>, mut random: StdRng, mut diary: Diary) -> Diary {
        let mut is_over = self.is_over.subscribe();
        loop {
            tokio::select! {
                _ = is_over.wait_for(|is_over| *is_over) => return diary,
                () = sleep(PACE.mul_f64(random.random_range(0.0..2.0))) => {}
            }
            let mut command = self.next(&mut random, &mut diary);
            loop {
                let ended = self.run(&command, &mut diary).await;
                if *is_over.borrow() {
                    return diary;
                }
                command = match (ended.code, &command.what) {
                    // Applicants cannot apply meanwhile.
                    (Some(DONE), What::Pause) => {
                        let campaign = command.campaign.clone();
                        diary.command(campaign, What::Resume)
                    }
                    (Some(DONE), _) => break,
                    // Soon: applicants do not wait for ever.
                    (_, What::Resume | What::Pause) => command,
                    // Run it again, or another command first.
                    _ if random.random_bool(0.5) => command,
                    _ => break,
                };
                sleep(PACE).await;
            }
        }
    }

    fn next(&self, random: &mut StdRng, diary: &mut Diary) -> Command {
        let campaign = self.campaign.clone();
        let highest = diary.quotas.last().copied().unwrap_or(1);
        let most = if self.code_files.is_empty() { 26 } else { 30 };
        let what = match random.random_range(0..most) {
            0..5 if !self.keeps_quota => What::Quota(highest + random.random_range(1..40)),
            5..7 if self.may_take && !self.keeps_quota && highest > 40 => {
                What::Quota(highest - random.random_range(1..40))
            }
            7..10 => {
                let before = diary.waitlists.last().copied().unwrap_or(0);
                What::Waitlist((before + random.random_range(1..30)) % 40)
            }
            10..14 if self.may_take => {
                let people = self.people.count().max(1);
                let person = random.random_range(0..people.min(highest));
                What::Revoke(format!("user-{person}"))
            }
            14..16 => What::Pause,
            16 => What::Repair,
            17 | 18 => {
                let side = format!("{campaign}-{}", diary.sides.len());
                diary.sides.push(side.clone());
                return diary.command(side, What::Create);
            }
            26..30 => What::Load(self.code_files.choose(random).expect("files").clone()),
            0..7 | 20..26 if let Some(coupon) = self.people.coupon(random) => {
                What::Redeem(coupon, format!("order-{}", diary.commands))
            }
            _ => match diary.sides.last().cloned() {
                Some(side) => return diary.command(side, What::Close),
                None => What::Repair,
            },
        };
        diary.command(campaign, what)
    }

    async fn run(&self, command: &Command, diary: &mut Diary) -> Ended {
        let _at_work = self.at_work.lock().await;
        let began = Instant::now();
        let mut kills = self.kills.subscribe();
        let killed = async {
            let _ = kills.changed().await;
        };
        let words = command.words();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let ended = self.command.end_of_unless(&words, killed).await;
        let ended = ended.expect("run");
        diary.note(command, began, &ended);
        ended
    }
}

impl Diary {
    fn command(&mut self, campaign: String, what: What) -> Command {
        let reason = format!("{campaign}/{}", self.reasons.len());
        self.reasons.insert(reason.clone());
        let is_news = match &what {
            What::Quota(quota) => !self.quotas.contains(quota),
            What::Waitlist(people) => !self.waitlists.contains(people),
            _ => false,
        };
        Command {
            campaign,
            what,
            reason,
            is_news,
        }
    }

    fn note(&mut self, command: &Command, began: Instant, ended: &Ended) {
        self.commands += 1;
        match ended.code {
            Some(DONE) => self.did(command, began, &ended.stdout),
            // It was refused and will never be done.
            Some(REFUSED) => {}
            // It found something that it cannot repair: dead letters that the test has planted.
            Some(DISAGREES) if matches!(command.what, What::Repair) => {}
            _ => self.may_have_done(command, began),
        }
    }

    /// The command was done, so everything begun before it is done, or never will be.
    fn did(&mut self, command: &Command, began: Instant, said: &str) {
        if let What::Redeem(coupon, order) = &command.what {
            let orders = self.operated.redeemed.entry(coupon.grant());
            orders.or_default().insert(order.clone());
            return;
        }
        if let What::Load(_) = &command.what {
            return;
        }
        self.unfinished.remove(&command.campaign);
        if command.is_news {
            self.reported.insert(command.reason.clone());
        }
        match &command.what {
            What::Quota(quota) => {
                self.quotas = [*quota].into();
                self.may_free.push(began);
            }
            What::Waitlist(people) => self.waitlists = [*people].into(),
            What::Revoke(user_id) => {
                self.operated.perhaps_revoked.remove(user_id);
                self.operated.revoked.insert(user_id.clone());
                self.may_free.push(began);
                // Unless another command has done it.
                if said.contains("is revoked") {
                    self.reported.insert(command.reason.clone());
                }
            }
            _ => {}
        }
        if command.campaign == self.campaign {
            self.mark_freed(Instant::now());
        }
    }

    /// It is unknown whether the command was done.
    fn may_have_done(&mut self, command: &Command, began: Instant) {
        self.unknown += 1;
        if let What::Redeem(coupon, _) = &command.what {
            self.operated.perhaps_redeemed.insert(coupon.grant());
            self.to_repeat.push(command.clone());
            return;
        }
        if let What::Load(_) = &command.what {
            self.to_repeat.push(command.clone());
            return;
        }
        self.unfinished
            .insert(command.campaign.clone(), command.clone());
        match &command.what {
            What::Quota(quota) => {
                self.quotas.insert(*quota);
                self.may_free.push(began);
            }
            What::Waitlist(people) => {
                self.waitlists.insert(*people);
            }
            What::Revoke(user_id) => {
                if !self.operated.revoked.contains(user_id) {
                    self.operated.perhaps_revoked.insert(user_id.clone());
                }
                self.may_free.push(began);
            }
            _ => {}
        }
    }

    /// All places that may have become free are free by now.
    fn mark_freed(&mut self, now: Instant) {
        let freed = self.may_free.drain(..).map(|from| (from, now));
        self.operated.freed.extend(freed);
    }
}

impl Command {
    fn words(&self) -> Vec<String> {
        let id = &self.campaign;
        let words = match &self.what {
            What::Redeem(coupon, order) => {
                let words = ["coupon", "redeem", &coupon.code, "--order", order];
                return words.map(str::to_owned).into();
            }
            What::Load(file) => format!("codes load --campaign {id} --input {file}"),
            What::Quota(quota) => format!("campaign change {id} --quota {quota}"),
            What::Waitlist(people) => format!("campaign change {id} --waitlist {people}"),
            What::Revoke(user_id) => format!("revoke {id} {user_id}"),
            What::Pause => format!("campaign pause {id}"),
            What::Resume => format!("campaign resume {id}"),
            What::Close => format!("campaign close {id}"),
            What::Repair => format!("audit {id} --repair"),
            What::Create => format!("campaign create --id {id} --quota 5"),
            What::Finish => format!("campaign finish {id}"),
        };
        let mut words: Vec<String> = words.split(' ').map(str::to_owned).collect();
        let has_reason = !matches!(
            self.what,
            What::Repair | What::Create | What::Finish | What::Load(_)
        );
        if has_reason {
            words.extend(["--reason".to_owned(), self.reason.clone()]);
        }
        words
    }
}

impl What {
    /// Whether there may be a good reason to refuse it.
    fn may_be_refused(&self) -> bool {
        matches!(
            self,
            Self::Quota(_) | Self::Revoke(_) | Self::Redeem(..) | Self::Close
        )
    }
}
