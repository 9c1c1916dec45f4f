//! A promotion and its standing rules.

use crate::applicant::Applicant;
use crate::text::{Rule, checked_text};
use std::fmt;
use std::str::FromStr;

checked_text! {
    /// The name of a campaign: 1 to 48 of `a-z 0-9 - _`.
    CampaignId, "campaign", Rule { longest: 48, punctuation: "-_", upper_case: false }
}

/// Whether a campaign takes applications.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CampaignState {
    /// Applications are decided by window and quota.
    Running,
    /// Nobody is granted anything until the operator resumes it.
    Paused,
    /// Over for good; winners can still read their grants.
    Closed,
    /// The gate has lost acknowledged grants; nobody is granted anything until it is restored.
    Halted,
}

/// How often one person may win.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnePer {
    /// Once in the whole campaign.
    Campaign,
    /// Once in every round.
    Round,
}

/// Which user ids a campaign takes. It is said when the campaign is created, and never changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UserIds {
    /// Nothing was said: the campaign is older than this rule. It takes any user id.
    #[default]
    Unstated,
    /// Every user id.
    Any,
    /// Whole numbers from 0 to 2^63-1 alone, as `KAFKA_VALUE_FORMAT=long` needs.
    Numeric,
}

impl UserIds {
    /// Whether the campaign takes `applicant`.
    pub fn take(self, applicant: &Applicant) -> bool {
        self != Self::Numeric || applicant.as_number().is_some()
    }

    /// What Redis has of it; a campaign of which nothing was said has no such field.
    pub(crate) fn read(word: &str) -> Result<Self, UnknownWord> {
        match word {
            "" => Ok(Self::Unstated),
            word => word.parse(),
        }
    }
}

/// How many people may wait in a round for what is revoked: 0 to [`Waitlist::MAX`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Waitlist(u32);

/// A number that is no length of a waitlist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("waitlist must be a whole number from 0 to {}", Waitlist::MAX)]
pub struct WaitlistTooLong;

impl Waitlist {
    /// So many are promoted by one call of a script in some tens of milliseconds.
    pub const MAX: u32 = 10_000;

    /// The number of people.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for Waitlist {
    type Error = WaitlistTooLong;

    fn try_from(people: u32) -> Result<Self, WaitlistTooLong> {
        (people <= Self::MAX)
            .then_some(Self(people))
            .ok_or(WaitlistTooLong)
    }
}

impl FromStr for Waitlist {
    type Err = WaitlistTooLong;

    fn from_str(text: &str) -> Result<Self, WaitlistTooLong> {
        text.parse::<u32>().map_err(|_| WaitlistTooLong)?.try_into()
    }
}

impl fmt::Display for Waitlist {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The standing rules of a campaign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// How often one person may win.
    pub one_per: OnePer,
    /// How many people may wait in a round.
    pub waitlist: Waitlist,
    /// Which user ids it takes.
    pub user_ids: UserIds,
}

/// A word that is none of those expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not one of {expected}")]
pub struct UnknownWord {
    found: String,
    expected: &'static str,
}

/// Declares the word for each variant, as Redis, MySQL and the API write it.
macro_rules! words {
    ($name:ident, $expected:literal, $($variant:ident => $word:literal),+) => {
        impl $name {
            /// The word that Redis, MySQL and the API write for it.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl FromStr for $name {
            type Err = UnknownWord;

            fn from_str(word: &str) -> Result<Self, UnknownWord> {
                match word {
                    $($word => Ok(Self::$variant),)+
                    other => Err(UnknownWord { found: other.to_owned(), expected: $expected }),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

words!(CampaignState, "running, paused, closed, halted",
    Running => "running", Paused => "paused", Closed => "closed", Halted => "halted");
words!(UserIds, "any, numeric, unstated", Any => "any", Numeric => "numeric", Unstated => "unstated");
words!(OnePer, "campaign, round", Campaign => "campaign", Round => "round");
