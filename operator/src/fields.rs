//! Objects in the JSON output that several commands share. Their fields have the names of the HTTP API.

use crate::terms::Campaign;
use rushgate_gate::overview::{Overview, RoundOverview};
use rushgate_gate::{CampaignId, Codes, Millis, PromoteUntil, Round, RoundId};
use serde::{Serialize, Serializer};
use std::fmt::Display;

/// Serializes a value as its text.
pub(crate) fn text<T: Display, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(value)
}

/// Serializes a value as its text, or as null.
pub(crate) fn text_or_null<T: Display, S: Serializer>(
    value: &Option<T>,
    to: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => to.collect_str(value),
        None => to.serialize_none(),
    }
}

/// A round with its terms.
#[derive(Serialize)]
struct RoundFields<'a> {
    round: &'a RoundId,
    #[serde(serialize_with = "text_or_null")]
    opens_at: Option<Millis>,
    #[serde(serialize_with = "text_or_null")]
    closes_at: Option<Millis>,
    quota: u32,
}

impl<'a> From<&'a Round> for RoundFields<'a> {
    fn from(round: &'a Round) -> Self {
        Self {
            round: &round.id,
            opens_at: round.opens_at,
            closes_at: round.closes_at,
            quota: round.quota.get(),
        }
    }
}

#[derive(Serialize)]
struct DailyFields<'a> {
    timezone: &'a str,
    from: String,
    to: String,
    opens_at: String,
    open_for_seconds: i64,
}

/// The terms of a campaign, with its state in the database.
#[derive(Serialize)]
struct CampaignFields<'a> {
    campaign: &'a CampaignId,
    state: &'static str,
    one_per: &'static str,
    waitlist: u32,
    user_ids: &'static str,
    codes: &'static str,
    code_key: Option<String>,
    self_cancel: bool,
    promote_until: PromoteUntil,
    show_remaining: &'static str,
    #[serde(serialize_with = "text_or_null")]
    valid_until: Option<Millis>,
    daily: Option<DailyFields<'a>>,
    rounds: Vec<RoundFields<'a>>,
}

impl Serialize for Campaign {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let terms = &self.terms;
        let daily = self.daily.as_ref().map(|daily| DailyFields {
            timezone: &daily.timezone,
            from: daily.first_day.to_string(),
            to: daily.last_day.to_string(),
            opens_at: daily.opens_at.to_string(),
            open_for_seconds: daily.open_for.as_secs(),
        });
        CampaignFields {
            campaign: &self.id,
            state: self.state.as_str(),
            one_per: terms.one_per.as_str(),
            waitlist: terms.waitlist.get(),
            user_ids: terms.user_ids.as_str(),
            codes: terms.codes.as_str(),
            code_key: match terms.codes {
                Codes::Signed(key) => Some(key.to_string()),
                Codes::None | Codes::Pool => None,
            },
            self_cancel: terms.self_cancel,
            promote_until: terms.promote_until,
            show_remaining: terms.show_remaining.as_str(),
            valid_until: self.valid_until,
            daily,
            rounds: self.rounds.iter().map(RoundFields::from).collect(),
        }
        .serialize(to)
    }
}

/// What the gate answers about a campaign: `None` if it does not answer, `Some(None)` if it does not know the campaign.
pub struct AtGate(pub Option<Option<Overview>>);

impl AtGate {
    /// The counts, if the gate knows the campaign.
    pub fn overview(&self) -> Option<&Overview> {
        self.0.as_ref()?.as_ref()
    }
}

#[derive(Serialize)]
struct GateFields<'a> {
    at_gate: &'static str,
    state: Option<&'static str>,
    round: Option<CountedRound<'a>>,
    next_round: Option<NextRound<'a>>,
    #[serde(serialize_with = "text_or_null")]
    server_time: Option<Millis>,
}

/// A round with its counts.
#[derive(Serialize)]
struct CountedRound<'a> {
    #[serde(flatten)]
    round: RoundFields<'a>,
    granted: u32,
    issued: u32,
    remaining: u32,
    waitlisted: u32,
}

impl<'a> From<&'a RoundOverview> for CountedRound<'a> {
    fn from(counted: &'a RoundOverview) -> Self {
        Self {
            round: RoundFields::from(&counted.round),
            granted: counted.granted,
            issued: counted.issued,
            remaining: counted.remaining(),
            waitlisted: counted.waitlisted,
        }
    }
}

#[derive(Serialize)]
struct NextRound<'a> {
    round: &'a RoundId,
    #[serde(serialize_with = "text")]
    opens_at: Millis,
}

impl Serialize for AtGate {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let overview = self.overview();
        GateFields {
            at_gate: match self.0 {
                None => "unknown",
                Some(None) => "missing",
                Some(Some(_)) => "known",
            },
            state: overview.map(|overview| overview.state.as_str()),
            round: overview
                .and_then(|overview| overview.round.as_ref())
                .map(CountedRound::from),
            next_round: overview.and_then(|overview| overview.next.as_ref()).map(
                |(round, opens_at)| NextRound {
                    round,
                    opens_at: *opens_at,
                },
            ),
            server_time: overview.map(|overview| overview.now),
        }
        .serialize(to)
    }
}
