//! Turns the decision on an application, its status, and the outcome of a cancellation into an HTTP response.

use crate::polling;
use crate::problem::{Problem, RETRY_AFTER_PAUSE};
use crate::response::Response;
use crate::response_body::{
    Details, GrantBody, NoLongerWaitingBody, RefusalBody, RevokedBody, WaitlistedBody,
};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use rushgate_gate::apply::{Grant, TimedDecision};
use rushgate_gate::cancel::CancelOutcome;
use rushgate_gate::status::Status;
use rushgate_gate::{Applicant, CampaignId, CodeKeys, Decision, Millis, RoundId, Waiting};
use spin_sdk::http::StatusCode;

/// The characters of user ids that a path cannot have (RFC 3986).
const ESCAPED: &AsciiSet = &CONTROLS.add(b'|');

/// The response to an application. `keys` are those of codes; `None` if it must not contain a code.
pub fn decision(
    decided: &TimedDecision,
    campaign: &CampaignId,
    applicant: &Applicant,
    keys: Option<&CodeKeys>,
) -> Response {
    let word = decided.decision.as_str();
    let refused = |status, round, detail: &str| refused(status, word, campaign, round, detail);
    let held = |word, grant| GrantBody::held(word, campaign, applicant, grant, keys);
    let response = match &decided.decision {
        Decision::Granted(grant) => {
            let segment = utf8_percent_encode(applicant.as_str(), ESCAPED);
            let path = format!("/v1/campaigns/{campaign}/applications/{segment}");
            granted(StatusCode::CREATED, held(word, grant))
                .with_text("location", path)
                .retry_within(polling::granted(grant.at, decided.now))
        }
        Decision::AlreadyGranted(grant) => granted(StatusCode::OK, held(word, grant)),
        Decision::Waitlisted(waiting) => {
            waitlisted(StatusCode::ACCEPTED, campaign, applicant, waiting)
        }
        Decision::Revoked { round } => refused(
            StatusCode::GONE,
            Some(round),
            "The coupon was revoked. This round cannot be won again.",
        ),
        Decision::SoldOut { round } => refused(
            StatusCode::GONE,
            Some(round),
            "All coupons of this round have been granted.",
        ),
        Decision::NotOpen { round, opens_at } => {
            let detail = format!("The round opens at {opens_at}.");
            let wait = opens_at.get() - decided.now.get();
            refused(StatusCode::CONFLICT, Some(round), &detail)
                .retry_after(wait.div_euclid(1_000) + 1)
        }
        Decision::Closed => refused(StatusCode::GONE, None, "The campaign has ended."),
        Decision::Paused => refused(
            StatusCode::SERVICE_UNAVAILABLE,
            None,
            "The campaign is paused.",
        )
        .retry_within(RETRY_AFTER_PAUSE),
        Decision::Halted => halted(campaign),
        Decision::UnknownCampaign => return Problem::CampaignNotFound.response(),
        Decision::UserIdNotNumeric => return Problem::UserIdNotNumeric.response(),
    };
    response
        .with("rushgate-decision", word)
        .with("cache-control", "no-store")
}

/// The response to a status request at the time `now`; `round` is the one in the request. `keys` as in [`decision`]. While
/// the status may change, the response says when to ask again.
pub fn status(
    status: &Status,
    now: Millis,
    campaign: &CampaignId,
    applicant: &Applicant,
    round: Option<RoundId>,
    keys: Option<&CodeKeys>,
) -> Response {
    let held = |word, grant| GrantBody::held(word, campaign, applicant, grant, keys);
    let response = match status {
        Status::Granted(grant) => granted(StatusCode::OK, held("granted", grant))
            .retry_within(polling::granted(grant.at, now)),
        Status::Issued { grant, redeemed_at } => {
            let mut body = held("issued", grant);
            body.redeemed_at = redeemed_at
                .filter(|_| keys.is_some())
                .map(|redeemed_at| redeemed_at.to_string());
            let is_final = !body.code_unavailable;
            let response = granted(StatusCode::OK, body);
            match is_final {
                true => response,
                false => response.retry_within(polling::code_unavailable()),
            }
        }
        Status::Waitlisted(waiting) => waitlisted(StatusCode::OK, campaign, applicant, waiting),
        Status::Revoked { grant, revoked_at } => revoked(campaign, applicant, grant, *revoked_at),
        Status::Expired { round, since } => {
            no_longer_waiting("expired", campaign, applicant, round, *since)
        }
        Status::Halted => halted(campaign),
        Status::NotFound => return Problem::ApplicationNotFound { round }.response(),
        Status::UnknownRound => return Problem::RoundNotFound.response(),
        Status::UnknownCampaign => return Problem::CampaignNotFound.response(),
    };
    response.with("cache-control", "no-store")
}

/// The response to a cancellation; `round` is the one in the request.
pub fn cancelled(
    outcome: &CancelOutcome,
    campaign: &CampaignId,
    applicant: &Applicant,
    round: Option<RoundId>,
) -> Response {
    let response = match outcome {
        CancelOutcome::Left { round, since } => {
            no_longer_waiting("left", campaign, applicant, round, *since)
        }
        CancelOutcome::Revoked { grant, revoked_at }
        | CancelOutcome::AlreadyRevoked { grant, revoked_at } => {
            revoked(campaign, applicant, grant, *revoked_at)
        }
        CancelOutcome::Halted => halted(campaign),
        CancelOutcome::NotAllowed => return Problem::CancellationNotAllowed.response(),
        CancelOutcome::Redeemed => return Problem::CouponRedeemed.response(),
        CancelOutcome::NotFound => {
            let problem = match round {
                None => Problem::NothingToCancel,
                round => Problem::ApplicationNotFound { round },
            };
            return problem.response();
        }
        CancelOutcome::UnknownRound => return Problem::RoundNotFound.response(),
        CancelOutcome::UnknownCampaign => return Problem::CampaignNotFound.response(),
    };
    response.with("cache-control", "no-store")
}

fn granted(status: StatusCode, body: GrantBody<'_>) -> Response {
    Response::json(status, &body).with_text("rushgate-serial", body.serial.to_string())
}

fn revoked(
    campaign: &CampaignId,
    applicant: &Applicant,
    grant: &Grant,
    revoked_at: Millis,
) -> Response {
    let body = RevokedBody {
        grant: GrantBody::new("revoked", campaign, applicant, grant),
        revoked_at: revoked_at.to_string(),
    };
    Response::json(StatusCode::OK, &body)
}

fn no_longer_waiting(
    word: &'static str,
    campaign: &CampaignId,
    applicant: &Applicant,
    round: &RoundId,
    since: Millis,
) -> Response {
    let body = NoLongerWaitingBody {
        decision: word,
        campaign: campaign.as_str(),
        round: round.as_str(),
        user_id: applicant.as_str(),
        waitlisted_at: since.to_string(),
    };
    Response::json(StatusCode::OK, &body)
}

fn waitlisted(
    status: StatusCode,
    campaign: &CampaignId,
    applicant: &Applicant,
    waiting: &Waiting,
) -> Response {
    let body = WaitlistedBody {
        decision: "waitlisted",
        campaign: campaign.as_str(),
        round: waiting.round.as_str(),
        position: waiting.position,
        user_id: applicant.as_str(),
        waitlisted_at: waiting.since.to_string(),
    };
    Response::json(status, &body)
        .with_text("rushgate-position", waiting.position.to_string())
        .retry_within(polling::waitlisted(waiting.position))
}

fn halted(campaign: &CampaignId) -> Response {
    refused(
        StatusCode::SERVICE_UNAVAILABLE,
        Decision::Halted.as_str(),
        campaign,
        None,
        "The campaign is halted until its grants are restored.",
    )
    .retry_within(RETRY_AFTER_PAUSE)
}

/// A refusal is a problem detail whose `code` is the decision.
fn refused(
    status: StatusCode,
    word: &'static str,
    campaign: &CampaignId,
    round: Option<&RoundId>,
    detail: &str,
) -> Response {
    Response::problem(
        status,
        &RefusalBody {
            problem: Details::new(status, word, detail),
            decision: word,
            campaign: campaign.as_str(),
            round: round.map(RoundId::as_str),
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use rushgate_gate::{GrantCode, Ordinal, PoolCode, Serial};

    fn at(millis: i64) -> Millis {
        Millis::try_from(millis).expect("an instant")
    }

    /// The answer to a question at 5,000 ms: after how many seconds to ask again.
    fn asks_again(found: &Status, keys: Option<&CodeKeys>) -> Option<i64> {
        let campaign: CampaignId = "shop".parse().expect("a campaign");
        let applicant: Applicant = "ann".parse().expect("a user id");
        let response = status(found, at(5_000), &campaign, &applicant, None, keys);
        let seconds = response.header("retry-after")?;
        Some(seconds.parse().expect("a number"))
    }

    #[test]
    fn the_front_of_the_waitlist_is_told_to_ask_sooner() {
        for (position, range) in [(1, 4..=6), (1_000, 14..=21)] {
            let waiting = Waiting {
                round: RoundId::once(),
                position,
                since: at(5_000),
            };
            let seconds = asks_again(&Status::Waitlisted(waiting), None).expect("later");
            assert!(range.contains(&seconds), "{position}: {seconds}");
        }
    }

    #[test]
    fn a_winner_is_told_when_to_ask_again_until_the_coupon_and_its_code_are_there() {
        let keys = CodeKeys::default();
        let with = |keys, code, is_issued| {
            let grant = Grant {
                round: RoundId::once(),
                serial: Serial::try_from(1_u32).expect("a serial"),
                at: at(5_000),
                turn: Ordinal::default(),
                code,
            };
            let found = match is_issued {
                true => Status::Issued {
                    grant,
                    redeemed_at: None,
                },
                false => Status::Granted(grant),
            };
            asks_again(&found, keys)
        };
        let loaded: PoolCode = "TREE-1".parse().expect("a code");
        let missing = GrantCode::Pool(None);
        assert!((2..=3).contains(&with(Some(&keys), missing.clone(), false).expect("soon")));
        let later = with(Some(&keys), missing.clone(), true).expect("later");
        assert!((30..=45).contains(&later), "{later}");
        assert_eq!(with(Some(&keys), GrantCode::Pool(Some(loaded)), true), None);
        assert_eq!(with(Some(&keys), GrantCode::None, true), None);
        // No later answer would have the code.
        assert_eq!(with(None, missing, true), None);
    }
}
