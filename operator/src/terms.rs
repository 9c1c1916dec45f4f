//! A campaign as it was meant: its rules, its rounds, and how they are told in a few words.

use crate::schedule::Daily;
use rushgate_gate::{CampaignId, CampaignState, Millis, Quota, Round, RoundId, Terms};
use std::fmt;

/// A campaign as it was meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Campaign {
    /// Its name.
    pub id: CampaignId,
    /// What the gate should be told.
    pub state: CampaignState,
    /// Its standing rules.
    pub terms: Terms,
    /// What its rounds were made of, if there is one a day.
    pub daily: Option<Daily>,
    /// Its rounds, in the order of their names.
    pub rounds: Vec<Round>,
    /// Whether the gate has been told of it; from then on it may have granted.
    pub projected: bool,
}

/// Two rounds that would be open at once.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("round {first} would still be open when round {second} opens: move one of them")]
pub struct Overlap {
    first: RoundId,
    second: RoundId,
}

impl Campaign {
    /// Whether `other` was meant in the same way; their states do not matter.
    pub fn has_same_terms(&self, other: &Self) -> bool {
        (self.terms, &self.daily, &self.rounds) == (other.terms, &other.daily, &other.rounds)
    }

    /// That no two rounds are open at once: which of them somebody applies to must not be a question.
    ///
    /// # Errors
    /// Names two that are.
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
        match self.terms.waitlist.get() {
            0 => Ok(()),
            people => write!(f, ", waitlist {people}"),
        }
    }
}

/// When a round is open, in words.
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
    use rushgate_gate::{OnePer, Waitlist};

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
            },
            daily: None,
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
    }
}
