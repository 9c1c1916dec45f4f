//! The command `rushgate campaign change`, which changes the quota, window, last day, waitlist or other rules of a
//! campaign.

use super::create::{promote_until, show_remaining};
use super::instant::instant;
use super::report::{CampaignReport, report};
use crate::config::Config;
use crate::intention::Task;
use crate::operation::{Done, Operation, moved_up};
use crate::refusal::refuse;
use crate::stderr;
use crate::terms::{Campaign, window};
use anyhow::{Context, Result};
use clap::Args;
use jiff::civil::Date;
use rushgate_gate::project::Origin;
use rushgate_gate::{
    CampaignId, CampaignState, Millis, PromoteUntil, Quota, Round, RoundId, ShowRemaining, Waitlist,
};

pub(super) const EXAMPLES: &str = "Examples:
  rushgate campaign change welcome --quota 200 --reason 'the printer found another box'
  rushgate campaign change launch --closes-at 2026-12-01T13:00:00+09:00
  rushgate campaign change advent --round 2026-12-06 --quota 300
  rushgate campaign change advent --to 2026-12-31
  rushgate campaign change advent --self-cancel=false --promote-until forever

The gate applies the change at once. A quota cannot go below the highest serial that was given out; if it grows,
applicants on the waitlist move up. A round with winners cannot be removed. --one-per, --user-ids and --codes of a
campaign cannot be changed.";

/// The arguments of `campaign change`.
#[derive(Args)]
#[group(skip)]
pub struct Change {
    /// The campaign
    id: CampaignId,
    /// Only this round; default: every round that has not closed (--quota), or the only round (--opens-at, --closes-at)
    #[arg(long)]
    round: Option<RoundId>,
    /// Coupons in each of these rounds
    #[arg(long)]
    quota: Option<Quota>,
    /// When the round opens, such as 2026-12-01T10:00:00+09:00
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    opens_at: Option<Millis>,
    /// When the round closes
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    closes_at: Option<Millis>,
    /// The last day of a campaign that opens daily
    #[arg(long, value_name = "DAY", conflicts_with = "round")]
    to: Option<Date>,
    /// Applicants that may wait in each round: 0 to 10000
    #[arg(long, value_name = "PEOPLE")]
    waitlist: Option<Waitlist>,
    /// Whether applicants may give their coupon back themselves
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    self_cancel: Option<bool>,
    /// How long a freed coupon goes to the waitlist: until the round closes, or forever
    #[arg(long, value_name = "UNTIL", value_parser = promote_until())]
    promote_until: Option<PromoteUntil>,
    /// Until when coupons can be redeemed
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    valid_until: Option<Millis>,
    /// What the API tells of the coupons that are left: exact, rough or hidden
    #[arg(long, value_name = "HOW", value_parser = show_remaining())]
    show_remaining: Option<ShowRemaining>,
    /// The reason, for the log of the campaign
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl Change {
    /// Opens a round of the campaign at `opens_at`.
    pub(super) fn opening(id: CampaignId, round: RoundId, opens_at: Millis) -> Self {
        Self {
            id,
            round: Some(round),
            quota: None,
            opens_at: Some(opens_at),
            closes_at: None,
            to: None,
            waitlist: None,
            self_cancel: None,
            promote_until: None,
            valid_until: None,
            show_remaining: None,
            reason: None,
        }
    }

    /// Makes room in the database before the gate learns of the change: the quota in the database is never below the
    /// gate's, so the database has room for every grant.
    pub(super) async fn run(&self, config: &Config) -> Result<CampaignReport> {
        let mut operation = Operation::begin(config, &self.id).await?;
        let done = self.change(&mut operation).await;
        report(&operation, done)
    }

    async fn change(&self, operation: &mut Operation) -> Result<Done> {
        let current = operation.campaign.clone();
        if current.state == CampaignState::Closed {
            refuse!(CampaignClosed, "campaign {} is closed for good", self.id);
        }
        let now = Millis::try_from(jiff::Timestamp::now().as_millisecond())?;
        let wanted = self.applied_to(&current, now)?;
        let stays = |id: &RoundId| wanted.rounds.iter().any(|round| round.id == *id);
        let gone = current.rounds.iter().map(|round| &round.id);
        let gone = gone.filter(|id| !stays(id));
        if let Some(round) = operation.database.with_coupons(&self.id, gone).await? {
            refuse!(
                RoundHasGrants,
                "round {round} of campaign {} has coupons, so it cannot be removed: choose a later --to",
                self.id
            );
        }
        Ok(if wanted.has_same_terms(&current) {
            let promoted = operation
                .project(&current, Origin::Known, current.state)
                .await?;
            Done {
                promoted,
                ..Done::before(format!(
                    "campaign {} unchanged: {current}{}",
                    self.id,
                    moved_up(promoted)
                ))
            }
        } else {
            let task = Task::change(&current, &wanted);
            if wanted.over(now) != current.over(now)
                && let Some(over) = wanted.over(now)
            {
                stderr::warning(&format!("campaign {}: {over}", self.id));
            }
            operation.perform(task, self.reason.as_deref()).await?
        })
    }

    /// The campaign after the change. Pure and idempotent.
    fn applied_to(&self, current: &Campaign, now: Millis) -> Result<Campaign> {
        let mut wanted = current.clone();
        if let Some(waitlist) = self.waitlist {
            wanted.terms.waitlist = waitlist;
        }
        let terms = &mut wanted.terms;
        terms.self_cancel = self.self_cancel.unwrap_or(terms.self_cancel);
        terms.promote_until = self.promote_until.unwrap_or(terms.promote_until);
        terms.show_remaining = self.show_remaining.unwrap_or(terms.show_remaining);
        wanted.valid_until = self.valid_until.or(wanted.valid_until);
        if let Some(last_day) = self.to {
            let quota = self
                .quota
                .or(current.rounds.last().map(|round| round.quota));
            let daily = wanted
                .daily
                .as_mut()
                .context("--to is for a campaign that opens daily: use --closes-at for this one")?;
            daily.last_day = last_day;
            let days = daily.rounds(quota.context("the campaign has no rounds")?)?;
            // Existing rounds stay as they are, also those that were changed one by one.
            let kept = |day: &Round| current.rounds.iter().find(|round| round.id == day.id);
            wanted.rounds = days
                .iter()
                .map(|day| kept(day).unwrap_or(day).clone())
                .collect();
        }
        if let Some(round) = &self.round
            && !wanted.rounds.iter().any(|there| there.id == *round)
        {
            refuse!(
                NoSuchRound,
                "campaign {} has no round {round}: it has {}",
                self.id,
                names(&wanted.rounds)
            );
        }
        let is_meant = |round: &Round| self.round.as_ref().is_none_or(|id| *id == round.id);
        if let Some(quota) = self.quota {
            wanted
                .rounds
                .iter_mut()
                .filter(|round| is_meant(round) && (self.round.is_some() || !round.is_over(now)))
                .for_each(|round| round.quota = quota);
        }
        if self.opens_at.is_some() || self.closes_at.is_some() {
            let rounds = names(&wanted.rounds);
            let mut meant = wanted.rounds.iter_mut().filter(|round| is_meant(round));
            let (Some(round), None) = (meant.next(), meant.next()) else {
                refuse!(
                    InvalidTerms,
                    "--opens-at and --closes-at need --round: the campaign has {rounds}"
                );
            };
            round.opens_at = self.opens_at.or(round.opens_at);
            round.closes_at = self.closes_at.or(round.closes_at);
            if round.opens_at >= round.closes_at && round.closes_at.is_some() {
                refuse!(
                    InvalidTerms,
                    "round {} would close before it opens ({}): change --opens-at or --closes-at",
                    round.id,
                    window(round)
                );
            }
        }
        wanted.check_rounds()?;
        Ok(wanted)
    }
}

/// The names of the rounds; of many, the first and the last.
fn names(rounds: &[Round]) -> String {
    match rounds {
        [] => "none".to_owned(),
        [one] => one.id.to_string(),
        [first, .., last] => format!("{} to {}", first.id, last.id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use rushgate_gate::{OnePer, PromoteUntil, Terms, UserIds};

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        change: Change,
    }

    fn change(arguments: &[&str]) -> Change {
        Cli::parse_from(["change", "c"].iter().chain(arguments)).change
    }

    /// Three days from 2026-12-01, 10:00 to 12:00 in Seoul.
    fn campaign() -> Campaign {
        let daily = crate::schedule::Daily {
            timezone: "Asia/Seoul".into(),
            first_day: "2026-12-01".parse().expect("a day"),
            last_day: "2026-12-03".parse().expect("a day"),
            opens_at: "10:00".parse().expect("a time"),
            open_for: "2h".parse().expect("a length"),
        };
        let quota = Quota::try_from(100u32).expect("a quota");
        Campaign {
            id: "c".parse().expect("an id"),
            state: CampaignState::Running,
            terms: Terms {
                one_per: OnePer::Round,
                waitlist: Waitlist::default(),
                user_ids: UserIds::Any,
                promote_until: PromoteUntil::Closes,
                ..Terms::default()
            },
            rounds: daily.rounds(quota).expect("rounds"),
            daily: Some(daily),
            valid_until: None,
            projected: true,
        }
    }

    /// During the second of these days.
    fn now() -> Millis {
        instant("2026-12-02T11:00:00+09:00").expect("an instant")
    }

    fn applied(arguments: &[&str]) -> Result<Campaign> {
        change(arguments).applied_to(&campaign(), now())
    }

    fn differences_of(before: &Campaign, after: &Campaign) -> String {
        before
            .rounds_and_rules()
            .differences(&after.rounds_and_rules())
    }

    fn differences(after: &Campaign) -> String {
        differences_of(&campaign(), after)
    }

    fn quotas(campaign: &Campaign) -> Vec<u32> {
        campaign
            .rounds
            .iter()
            .map(|round| round.quota.get())
            .collect()
    }

    #[test]
    fn a_quota_is_for_what_is_still_to_come_or_for_the_round_that_is_named() {
        let all = applied(&["--quota", "200"]).expect("fine");
        assert_eq!(quotas(&all), [100, 200, 200]);
        let one = applied(&["--quota", "200", "--round", "2026-12-01"]).expect("fine");
        assert_eq!(quotas(&one), [200, 100, 100]);
        assert_eq!(differences(&one), "2026-12-01: quota 100 -> 200");
    }

    #[test]
    fn days_are_added_and_taken_away_at_the_end_and_others_stay_as_they_are() {
        let moved = [
            "--round",
            "2026-12-02",
            "--closes-at",
            "2026-12-02T15:00:00+09:00",
        ];
        let before = applied(&moved).expect("fine");
        let more = change(&["--to", "2026-12-05"])
            .applied_to(&before, now())
            .expect("fine");
        assert_eq!(more.rounds[..3], before.rounds);
        assert_eq!(names(&more.rounds), "2026-12-01 to 2026-12-05");
        let fewer = change(&["--to", "2026-12-02"])
            .applied_to(&more, now())
            .expect("fine");
        assert_eq!(fewer.rounds, before.rounds[..2]);
        assert_eq!(
            differences_of(&more, &fewer),
            "last day 2026-12-05 -> 2026-12-02"
        );
    }

    #[test]
    fn the_same_change_again_changes_nothing() {
        for arguments in [
            vec!["--quota", "200"],
            vec!["--to", "2026-12-09", "--quota", "7"],
            vec!["--waitlist", "5"],
            vec!["--self-cancel"],
            vec!["--promote-until", "forever"],
            vec!["--show-remaining", "rough"],
            vec!["--valid-until", "2027-01-01T00:00:00Z"],
            vec![
                "--round",
                "2026-12-03",
                "--opens-at",
                "2026-12-03T09:00:00+09:00",
            ],
        ] {
            let change = change(&arguments);
            let once = change.applied_to(&campaign(), now()).expect("fine");
            assert_ne!(differences(&once), "", "{arguments:?}");
            let twice = change.applied_to(&once, now()).expect("fine");
            assert_eq!(differences_of(&once, &twice), "", "{arguments:?}");
            assert!(twice.has_same_terms(&once), "{arguments:?}");
        }
    }

    #[test]
    fn what_makes_no_sense_says_what_would() {
        for (arguments, expected) in [
            (
                vec!["--round", "2026-12-24", "--quota", "1"],
                "2026-12-01 to 2026-12-03",
            ),
            (vec!["--opens-at", "2026-12-01T00:00:00Z"], "need --round"),
            (
                vec![
                    "--round",
                    "2026-12-01",
                    "--closes-at",
                    "2026-12-02T10:00:01+09:00",
                ],
                "would still be open when round 2026-12-02 opens",
            ),
            (
                vec![
                    "--round",
                    "2026-12-01",
                    "--closes-at",
                    "2026-12-01T09:00:00+09:00",
                ],
                "would close before it opens",
            ),
            (vec!["--to", "2026-11-30"], "is before --from"),
        ] {
            let error = applied(&arguments).expect_err(expected).to_string();
            assert!(error.contains(expected), "{arguments:?}: {error}");
        }
    }
}
