//! Types of a campaign: its id, its state and its rules.

use crate::applicant::Applicant;
use crate::key_fingerprint::KeyFingerprint;
use crate::text::{Rule, checked_text};
use std::fmt;
use std::str::FromStr;

checked_text! {
    /// The name of a campaign: 1 to 48 characters of `a-z 0-9 - _`.
    CampaignId, "campaign", Rule { longest: 48, punctuation: "-_", upper_case: false }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CampaignState {
    Running,
    /// No grants until the operator resumes the campaign.
    Paused,
    /// Ended by the operator. Applicants can still read their grants.
    Closed,
    /// Redis has lost acknowledged grants. No grants until `rushgate restore`.
    Halted,
}

/// How many grants an applicant may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnePer {
    /// One in the whole campaign.
    #[default]
    Campaign,
    /// One in every round.
    Round,
}

/// The user ids that a campaign accepts. It is chosen at creation and never changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UserIds {
    /// The campaign is older than this rule. It accepts every user id.
    #[default]
    Unstated,
    Any,
    /// Only whole numbers from 0 to 2^63-1, as `KAFKA_VALUE_FORMAT=long` requires.
    Numeric,
}

impl UserIds {
    pub fn accepts(self, applicant: &Applicant) -> bool {
        self != Self::Numeric || applicant.as_number().is_some()
    }

    /// Decodes the field in Redis, which is missing in a campaign that is older than this rule.
    pub(crate) fn read(word: &str) -> Result<Self, UnknownWord> {
        match word {
            "" => Ok(Self::Unstated),
            word => word.parse(),
        }
    }
}

/// The maximum length of the waitlist of each round: 0 to [`Waitlist::MAX`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Waitlist(u32);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("waitlist must be a whole number from 0 to {}", Waitlist::MAX)]
pub struct WaitlistTooLong;

impl Waitlist {
    /// One call of a script can promote this many applicants in some tens of milliseconds.
    pub const MAX: u32 = 10_000;

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

/// Where the codes of the coupons come from. It is chosen at creation and never changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Codes {
    /// The coupons have no codes.
    #[default]
    None,
    /// Each code is computed from its grant, with the key of this fingerprint.
    Signed(KeyFingerprint),
    /// The codes were made elsewhere. They are loaded into a pool.
    Pool,
}

impl Codes {
    /// Decodes the field in Redis, which is missing in a campaign without codes.
    pub(crate) fn read(text: &str) -> Result<Self, UnknownWord> {
        let unknown = || UnknownWord {
            found: text.to_owned(),
            expected: "pool, signed/<fingerprint>",
        };
        match text {
            "" => Ok(Self::None),
            "pool" => Ok(Self::Pool),
            signed => {
                let fingerprint = signed.strip_prefix("signed/").ok_or_else(unknown)?;
                Ok(Self::Signed(fingerprint.parse().map_err(|_| unknown())?))
            }
        }
    }

    /// The field in Redis; empty if it is to be missing.
    pub(crate) fn field(self) -> String {
        match self {
            Self::None => String::new(),
            codes => codes.to_string(),
        }
    }

    /// The word in MySQL and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Signed(_) => "signed",
            Self::Pool => "pool",
        }
    }
}

impl FromStr for Codes {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        match text {
            "none" => Ok(Self::None),
            other => Self::read(other),
        }
    }
}

impl fmt::Display for Codes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signed(fingerprint) => write!(f, "signed/{fingerprint}"),
            other => f.write_str(other.as_str()),
        }
    }
}

/// How long serials that become free are passed on to the waitlist of their round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PromoteUntil {
    /// Until the round closes.
    Closes,
    /// As long as applicants wait. Campaigns that are older than this rule have it.
    #[default]
    Forever,
}

/// How much the API tells about the coupons that are left.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum ShowRemaining {
    /// Every count. Campaigns that are older than this rule have it.
    #[default]
    Exact,
    /// Whether many, few or none are left, and no count.
    Rough,
    /// Nothing.
    Hidden,
}

/// The rules of a campaign.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    pub one_per: OnePer,
    pub waitlist: Waitlist,
    pub user_ids: UserIds,
    pub codes: Codes,
    /// Whether applicants may give their coupon back themselves.
    pub self_cancel: bool,
    pub promote_until: PromoteUntil,
    pub show_remaining: ShowRemaining,
}

impl ShowRemaining {
    /// Decodes the field in Redis, which is missing if every count is shown.
    pub(crate) fn read(text: &str) -> Result<Self, UnknownWord> {
        match text {
            "" => Ok(Self::Exact),
            word => word.parse(),
        }
    }

    /// The field in Redis; empty if it is to be missing.
    pub(crate) fn field(self) -> &'static str {
        match self {
            Self::Exact => "",
            other => other.as_str(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not one of {expected}")]
pub struct UnknownWord {
    found: String,
    expected: &'static str,
}

/// Declares the word of each variant in Redis, in MySQL and in the API.
macro_rules! words {
    ($name:ident, $expected:literal, $($variant:ident => $word:literal),+) => {
        impl $name {
            /// The word in Redis, in MySQL and in the API.
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
words!(PromoteUntil, "closes, forever", Closes => "closes", Forever => "forever");
words!(ShowRemaining, "exact, rough, hidden", Exact => "exact", Rough => "rough", Hidden => "hidden");
words!(OnePer, "campaign, round", Campaign => "campaign", Round => "round");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read_as_they_are_written() {
        let fingerprint: KeyFingerprint = "00c0ffee".parse().expect("a fingerprint");
        for (codes, field) in [
            (Codes::None, ""),
            (Codes::Pool, "pool"),
            (Codes::Signed(fingerprint), "signed/00c0ffee"),
        ] {
            assert_eq!(codes.field(), field);
            assert_eq!(Codes::read(field), Ok(codes));
            assert_eq!(codes.to_string().parse(), Ok(codes));
        }
        for bad in ["none", "signed", "signed/", "signed/00C0FFEE", "pool/"] {
            assert!(Codes::read(bad).is_err(), "{bad}");
        }
    }
}
