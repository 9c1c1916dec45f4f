//! A campaign's terms: its rules and its rounds, with a short description of them for operators.

use crate::refusal::{ErrorCode, Refusal};
use crate::schedule::Daily;
use jiff::civil::Date;
use rushgate_gate::projection::Projection;
use rushgate_gate::{
    CampaignId, CampaignState, Codes, Millis, PromoteUntil, Quota, Round, RoundId, ShowRemaining,
    Terms, UserIds, Waitlist,
};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A campaign as its operator defined it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Campaign {
    pub id: CampaignId,
    /// The state that the gate should have.
    pub state: CampaignState,
    pub terms: Terms,
    /// The schedule of its rounds, if there is one round a day.
    pub daily: Option<Daily>,
    /// Its rounds, in the order of their names.
    pub rounds: Vec<Round>,
    /// Until when its coupons can be redeemed; `None`: for ever.
    pub valid_until: Option<Millis>,
    /// Whether the gate knows it; from then on it may have granted.
    pub projected: bool,
}

/// What can be changed after a campaign was created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoundsAndRules {
    waitlist: u32,
    /// The last day of a campaign that opens daily.
    last_day: Option<Date>,
    rounds: Vec<Round>,
    // Absent in an intention of an older version, which leaves them as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    self_cancel: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    promote_until: Option<PromoteUntil>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    valid_until: Option<Millis>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    show_remaining: Option<ShowRemaining>,
}

impl RoundsAndRules {
    /// What differs in `after`, as text; empty if nothing does.
    pub fn differences(&self, after: &Self) -> String {
        let mut differences = vec![];
        if self.waitlist != after.waitlist {
            differences.push(format!("waitlist {} -> {}", self.waitlist, after.waitlist));
        }
        if let (Some(before), Some(after)) = (self.last_day, after.last_day)
            && before != after
        {
            differences.push(format!("last day {before} -> {after}"));
        }
        let mut differ = |what: &str, before: Option<String>, after: Option<String>| {
            if let Some(after) = after
                && before.as_ref() != Some(&after)
            {
                let before = before.as_deref().unwrap_or("unset");
                differences.push(format!("{what} {before} -> {after}"));
            }
        };
        let on = |is_on: bool| if is_on { "on" } else { "off" }.to_owned();
        differ(
            "self-cancel",
            self.self_cancel.map(on),
            after.self_cancel.map(on),
        );
        let word = |until: PromoteUntil| until.to_string();
        differ(
            "promote until",
            self.promote_until.map(word),
            after.promote_until.map(word),
        );
        let at = |instant: Millis| instant.to_string();
        differ(
            "valid until",
            self.valid_until.map(at),
            after.valid_until.map(at),
        );
        let word = |show: ShowRemaining| show.to_string();
        differ(
            "show remaining",
            self.show_remaining.map(word),
            after.show_remaining.map(word),
        );
        for round in &after.rounds {
            let Some(before) = self.rounds.iter().find(|there| there.id == round.id) else {
                continue;
            };
            if before.quota != round.quota {
                differences.push(format!(
                    "{}: quota {} -> {}",
                    round.id, before.quota, round.quota
                ));
            }
            if (before.opens_at, before.closes_at) != (round.opens_at, round.closes_at) {
                differences.push(format!("{}: {}", round.id, window(round)));
            }
        }
        differences.join("; ")
    }
}

/// Two rounds that would be open at once.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("round {first} would still be open when round {second} opens: change one of them")]
pub struct Overlap {
    first: RoundId,
    second: RoundId,
}

impl Campaign {
    /// Whether `other` has the same terms; states do not matter. Unstated user ids mean any.
    pub fn has_same_terms(&self, other: &Self) -> bool {
        let terms = |mut terms: Terms| {
            if terms.user_ids == UserIds::Unstated {
                terms.user_ids = UserIds::Any;
            }
            terms
        };
        let all = |campaign: &Self| (terms(campaign.terms), campaign.valid_until);
        (all(self), &self.daily, &self.rounds) == (all(other), &other.daily, &other.rounds)
    }

    pub fn rounds_and_rules(&self) -> RoundsAndRules {
        RoundsAndRules {
            waitlist: self.terms.waitlist.get(),
            last_day: self.daily.as_ref().map(|daily| daily.last_day),
            rounds: self.rounds.clone(),
            self_cancel: Some(self.terms.self_cancel),
            promote_until: Some(self.terms.promote_until),
            valid_until: self.valid_until,
            show_remaining: Some(self.terms.show_remaining),
        }
    }

    /// The same campaign with other rounds and rules; keeps its waitlist if the new one is out of range.
    pub fn with(&self, changed: &RoundsAndRules) -> Self {
        let mut campaign = self.clone();
        campaign.rounds.clone_from(&changed.rounds);
        if let Ok(waitlist) = Waitlist::try_from(changed.waitlist) {
            campaign.terms.waitlist = waitlist;
        }
        let terms = &mut campaign.terms;
        terms.self_cancel = changed.self_cancel.unwrap_or(terms.self_cancel);
        terms.promote_until = changed.promote_until.unwrap_or(terms.promote_until);
        terms.show_remaining = changed.show_remaining.unwrap_or(terms.show_remaining);
        campaign.valid_until = changed.valid_until.or(campaign.valid_until);
        if let (Some(daily), Some(last_day)) = (&mut campaign.daily, changed.last_day) {
            daily.last_day = last_day;
        }
        campaign
    }

    /// The same campaign with room for everything that the gate has granted: where the gate has given serials above the
    /// quota, or in a round that is missing here, quota or round are taken from the gate. So is the one-per rule if
    /// there are grants.
    pub fn with_room_for(&self, at_gate: &Projection) -> Self {
        let mut campaign = self.clone();
        for (round, granted) in &at_gate.rounds {
            match campaign.rounds.iter_mut().find(|here| here.id == round.id) {
                Some(here) if here.quota.get() < *granted => {
                    let least = Quota::try_from(*granted).unwrap_or(round.quota);
                    here.quota = round.quota.max(least);
                }
                None if *granted > 0 => campaign.rounds.push(round.clone()),
                _ => {}
            }
        }
        let has_grants = at_gate.rounds.iter().any(|(_, granted)| *granted > 0);
        if let Some(terms) = at_gate.terms.filter(|_| has_grants) {
            campaign.terms.one_per = terms.one_per;
        }
        campaign.rounds.sort_by(|a, b| a.id.cmp(&b.id));
        campaign.span_days();
        campaign
    }

    /// Moves the last day of a daily campaign to its last round, never earlier.
    fn span_days(&mut self) {
        let last = self.rounds.last().map(|round| round.id.as_str().parse());
        if let (Some(daily), Some(Ok(last_day))) = (&mut self.daily, last) {
            daily.last_day = daily.last_day.max(last_day);
        }
    }

    /// The rounds that are over at `now`, if any, as text.
    pub fn over(&self, now: Millis) -> Option<String> {
        let over = self.rounds.iter().filter(|round| round.is_over(now));
        let over: Vec<_> = over.collect();
        let last = over.iter().filter_map(|round| round.closes_at).max()?;
        Some(match (&over[..], self.rounds.len()) {
            ([round], 2..) => format!("round {} is over: it closed at {last}", round.id),
            (_, all) if all == over.len() => {
                format!("it is over: its last round closed at {last}")
            }
            (over, all) => format!("{} of its {all} rounds are over", over.len()),
        })
    }

    /// Checks that no two rounds are open at once: an application must belong to one round.
    ///
    /// # Errors
    /// Names two rounds that overlap.
    pub fn check_rounds(&self) -> Result<(), Overlap> {
        let mut rounds: Vec<&Round> = self.rounds.iter().collect();
        rounds.sort_by_key(|round| round.opens_at.map_or(0, Millis::get));
        for pair in rounds.windows(2) {
            let (first, second) = (pair[0], pair[1]);
            if first
                .closes_at
                .is_none_or(|closes_at| Some(closes_at) > second.opens_at)
            {
                return Err(Overlap {
                    first: first.id.clone(),
                    second: second.id.clone(),
                });
            }
        }
        Ok(())
    }
}

impl fmt::Display for Campaign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.daily, &self.rounds[..]) {
            (_, [round]) => write!(f, "quota {}, {}", round.quota, window(round))?,
            (Some(daily), rounds) => write!(
                f,
                "quota {}, daily at {} for {:#} in {}, {} to {} ({} rounds)",
                quotas(rounds),
                daily.opens_at,
                daily.open_for,
                daily.timezone,
                daily.first_day,
                daily.last_day,
                rounds.len()
            )?,
            (None, rounds) => write!(f, "quota {}, {} rounds", quotas(rounds), rounds.len())?,
        }
        write!(f, ", one per {}", self.terms.one_per)?;
        if self.terms.user_ids == UserIds::Numeric {
            write!(f, ", user ids {}", self.terms.user_ids)?;
        }
        match (self.terms.waitlist.get(), self.terms.promote_until) {
            (0, _) => {}
            (people, PromoteUntil::Closes) => write!(f, ", waitlist {people}")?,
            (people, PromoteUntil::Forever) => {
                write!(f, ", waitlist {people}, promotes forever")?;
            }
        }
        match self.terms.codes {
            Codes::None => {}
            Codes::Signed(key) => write!(f, ", codes signed with key {key}")?,
            Codes::Pool => write!(f, ", codes from a pool")?,
        }
        if self.terms.self_cancel {
            f.write_str(", self-cancel")?;
        }
        if let Some(at) = self.valid_until {
            write!(f, ", valid until {at}")?;
        }
        match self.terms.show_remaining {
            ShowRemaining::Exact => Ok(()),
            show => write!(f, ", remaining coupons {show}"),
        }
    }
}

/// The error for an id that no campaign has.
pub fn no_such_campaign(id: &CampaignId) -> Refusal {
    Refusal::new(
        ErrorCode::NoSuchCampaign,
        format!("there is no campaign {id}: `rushgate campaign list` lists all"),
    )
}

/// When a round is open, as text.
pub fn window(round: &Round) -> String {
    let shown = |at: Option<Millis>, otherwise: &str| {
        at.map_or_else(|| otherwise.to_owned(), |at| at.to_string())
    };
    format!(
        "opens {}, closes {}",
        shown(round.opens_at, "now"),
        shown(round.closes_at, "never")
    )
}

fn quotas(rounds: &[Round]) -> String {
    let quotas = || rounds.iter().map(|round| round.quota);
    match (quotas().min(), quotas().max()) {
        (Some(least), Some(most)) if least == most => format!("{least} each"),
        (Some(least), Some(most)) => format!("{least} to {most}"),
        _ => Quota::MAX.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rushgate_gate::OnePer;

    fn campaign(windows: &[(Option<i64>, Option<i64>)]) -> Campaign {
        let at = |millis: Option<i64>| millis.map(|at| at.try_into().expect("an instant"));
        let round = |(place, (opens_at, closes_at)): (usize, &(Option<i64>, Option<i64>))| Round {
            id: format!("r{place}").parse().expect("an id"),
            opens_at: at(*opens_at),
            closes_at: at(*closes_at),
            quota: Quota::try_from(10 + place as u32).expect("a quota"),
        };
        Campaign {
            id: "c".parse().expect("an id"),
            state: CampaignState::Running,
            terms: Terms {
                one_per: OnePer::Round,
                waitlist: Waitlist::try_from(5).expect("a waitlist"),
                user_ids: UserIds::Any,
                promote_until: PromoteUntil::Closes,
                ..Terms::default()
            },
            daily: None,
            valid_until: None,
            rounds: windows.iter().enumerate().map(round).collect(),
            projected: true,
        }
    }

    #[test]
    fn rounds_that_touch_do_not_overlap() {
        for (windows, overlap) in [
            (vec![(None, None)], false),
            (vec![(None, Some(5)), (Some(5), None)], false),
            (vec![(Some(5), None), (None, Some(5))], false),
            (vec![(None, Some(6)), (Some(5), None)], true),
            (vec![(None, None), (Some(5), Some(6))], true),
            (vec![(Some(1), Some(9)), (Some(2), Some(3))], true),
        ] {
            let checked = campaign(&windows).check_rounds();
            assert_eq!(checked.is_err(), overlap, "{windows:?}");
        }
    }

    #[test]
    fn rounds_that_are_over_are_told() {
        let (now, later) = (Millis::try_from(6).expect("an instant"), Some(7));
        for (windows, expected) in [
            (vec![(None, None)], None),
            (vec![(Some(1), later)], None),
            (
                vec![(None, Some(6))],
                Some("it is over: its last round closed at 1970-01-01T00:00:00.006Z"),
            ),
            (
                vec![(None, Some(2)), (Some(5), Some(6))],
                Some("it is over: its last round closed at 1970-01-01T00:00:00.006Z"),
            ),
            (
                vec![(None, Some(2)), (Some(5), later)],
                Some("round r0 is over: it closed at 1970-01-01T00:00:00.002Z"),
            ),
            (
                vec![(None, Some(2)), (Some(3), Some(4)), (Some(5), None)],
                Some("2 of its 3 rounds are over"),
            ),
        ] {
            let over = campaign(&windows).over(now);
            assert_eq!(over.as_deref(), expected, "{windows:?}");
        }
    }

    #[test]
    fn a_campaign_older_than_the_rule_for_user_ids_takes_any() {
        let of = |user_ids| {
            let mut campaign = campaign(&[(None, None)]);
            campaign.terms.user_ids = user_ids;
            campaign
        };
        let [unstated, any, numeric] = [UserIds::Unstated, UserIds::Any, UserIds::Numeric].map(of);
        assert!(unstated.has_same_terms(&any) && any.has_same_terms(&unstated));
        assert!(!unstated.has_same_terms(&numeric) && !numeric.has_same_terms(&any));
        assert!(
            numeric
                .to_string()
                .contains("one per round, user ids numeric, waitlist 5")
        );
    }

    #[test]
    fn an_intention_of_an_older_version_leaves_newer_rules_as_they_are() {
        let mut campaign = campaign(&[(None, None)]);
        campaign.terms.self_cancel = true;
        let older = r#"{"waitlist":7,"last_day":null,"rounds":[]}"#;
        let older: RoundsAndRules = serde_json::from_str(older).expect("an older one");
        let changed = campaign.with(&older);
        assert_eq!(changed.terms.waitlist.get(), 7);
        assert_eq!(
            changed.terms,
            Terms {
                waitlist: changed.terms.waitlist,
                ..campaign.terms
            }
        );
        let newer = serde_json::to_string(&campaign.rounds_and_rules()).expect("JSON");
        assert!(
            newer.ends_with(
                r#""self_cancel":true,"promote_until":"closes","show_remaining":"exact"}"#
            ),
            "{newer}"
        );
    }

    #[test]
    fn terms_are_told_in_a_line() {
        let one = campaign(&[(None, Some(1_796_086_800_000))]);
        assert_eq!(
            one.to_string(),
            "quota 10, opens now, closes 2026-12-01T01:00:00.000Z, one per round, waitlist 5"
        );
        let two = campaign(&[(None, Some(5)), (Some(5), None)]);
        assert_eq!(
            two.to_string(),
            "quota 10 to 11, 2 rounds, one per round, waitlist 5"
        );
        let mut all = campaign(&[(None, None)]);
        all.terms.codes = Codes::Signed("00c0ffee".parse().expect("a fingerprint"));
        all.terms.promote_until = PromoteUntil::Forever;
        all.terms.self_cancel = true;
        all.terms.show_remaining = ShowRemaining::Hidden;
        all.valid_until = Some(1_796_086_800_000_i64.try_into().expect("an instant"));
        assert_eq!(
            all.to_string(),
            "quota 10, opens now, closes never, one per round, waitlist 5, promotes forever, \
             codes signed with key 00c0ffee, self-cancel, valid until 2026-12-01T01:00:00.000Z, \
             remaining coupons hidden"
        );
    }
}
