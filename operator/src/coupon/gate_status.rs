//! The gate's answer about an applicant, as text and as JSON.

use crate::fields::text_or_null;
use rushgate_gate::status::Status;
use rushgate_gate::{Millis, RoundId, Serial};
use serde::{Serialize, Serializer};
use std::fmt;

/// What the gate knows of an applicant. In JSON it has the fields of the HTTP API.
pub(super) struct GateStatus(pub(super) Status);

/// Fields that a status does not have are left out.
#[derive(Default, Serialize)]
struct Fields<'a> {
    decision: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    round: Option<&'a RoundId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    serial: Option<Serial>,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<u32>,
    #[serde(
        serialize_with = "text_or_null",
        skip_serializing_if = "Option::is_none"
    )]
    granted_at: Option<Millis>,
    #[serde(
        serialize_with = "text_or_null",
        skip_serializing_if = "Option::is_none"
    )]
    redeemed_at: Option<Millis>,
    #[serde(
        serialize_with = "text_or_null",
        skip_serializing_if = "Option::is_none"
    )]
    waitlisted_at: Option<Millis>,
    #[serde(
        serialize_with = "text_or_null",
        skip_serializing_if = "Option::is_none"
    )]
    revoked_at: Option<Millis>,
}

impl Serialize for GateStatus {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let decision = |decision| Fields {
            decision,
            ..Fields::default()
        };
        match &self.0 {
            Status::Granted(grant) => Fields {
                round: Some(&grant.round),
                serial: Some(grant.serial),
                granted_at: Some(grant.at),
                ..decision("granted")
            },
            Status::Issued { grant, redeemed_at } => Fields {
                round: Some(&grant.round),
                serial: Some(grant.serial),
                granted_at: Some(grant.at),
                redeemed_at: *redeemed_at,
                ..decision("issued")
            },
            Status::Waitlisted(waiting) => Fields {
                round: Some(&waiting.round),
                position: Some(waiting.position),
                waitlisted_at: Some(waiting.since),
                ..decision("waitlisted")
            },
            Status::Expired { round, since } => Fields {
                round: Some(round),
                waitlisted_at: Some(*since),
                ..decision("expired")
            },
            Status::Revoked { grant, revoked_at } => Fields {
                round: Some(&grant.round),
                serial: Some(grant.serial),
                granted_at: Some(grant.at),
                revoked_at: Some(*revoked_at),
                ..decision("revoked")
            },
            Status::NotFound | Status::UnknownRound => decision("not_found"),
            Status::Halted => decision("halted"),
            Status::UnknownCampaign => decision("unknown_campaign"),
        }
        .serialize(to)
    }
}

impl fmt::Display for GateStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Status::Granted(grant) => write!(
                f,
                "granted {}/{} at {}, on its way to the database",
                grant.round, grant.serial, grant.at
            ),
            Status::Issued { grant, redeemed_at } => {
                let (round, serial, at) = (&grant.round, grant.serial, grant.at);
                write!(f, "issued {round}/{serial}, granted at {at}")?;
                match redeemed_at {
                    Some(at) => write!(f, ", redeemed at {at}"),
                    None => Ok(()),
                }
            }
            Status::Waitlisted(waiting) => write!(
                f,
                "waitlisted in round {} at position {} since {}",
                waiting.round, waiting.position, waiting.since
            ),
            Status::Expired { round, since } => {
                write!(
                    f,
                    "waited in round {round} since {since}; the round has closed"
                )
            }
            Status::Revoked { grant, revoked_at } => {
                write!(
                    f,
                    "revoked {}/{} at {revoked_at}",
                    grant.round, grant.serial
                )
            }
            Status::NotFound | Status::UnknownRound => {
                f.write_str("they never applied, or were refused")
            }
            Status::Halted => f.write_str(
                "unknown to the gate: Redis has lost grants of this campaign, and it is halted",
            ),
            Status::UnknownCampaign => f.write_str("the gate does not know this campaign"),
        }
    }
}
