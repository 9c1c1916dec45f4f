//! Defines every error response of the API, as RFC 9457 problem details. Each has a stable `code`, which clients may
//! depend on.

use crate::auth::TokenError;
use crate::gate::GateError;
use crate::response::Response;
use crate::response_body::Details;
use rushgate_gate::RoundId;
use rushgate_gate::applicant::MAX_NUMERIC_USER_ID;
use spin_sdk::http::StatusCode;
use std::ops::RangeInclusive;

/// Retry-After, in seconds, where an operator has to act first.
pub(crate) const RETRY_AFTER_PAUSE: RangeInclusive<i64> = 8..=12;

/// Why a request gets an error response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The host could not parse the request.
    MalformedRequest,
    NoSuchResource,
    CampaignNotFound,
    /// The applicant has no grant and is not on the waitlist.
    ApplicationNotFound {
        /// The round in the request, if there was one.
        round: Option<RoundId>,
    },
    /// The same for a cancellation that names no round: earlier rounds were not looked at.
    NothingToCancel,
    RoundNotFound,
    /// The query parameter `after` is not a campaign id.
    InvalidAfter,
    MethodNotAllowed {
        allow: &'static str,
    },
    /// The Content-Type is not JSON.
    UnsupportedMediaType,
    BodyTooLarge,
    BodyTimeout,
    IncompleteBody,
    EmptyBody,
    /// The body is not JSON. Line and column of the error count from 1.
    InvalidJson {
        line: usize,
        column: usize,
    },
    /// The body is JSON, but not an object in which each field occurs once.
    NotAnObject,
    /// The `user_id` in the body is missing or invalid.
    UserId(InvalidUserId),
    /// The campaign accepts only numeric user ids.
    UserIdNotNumeric,
    /// The token is missing or not accepted.
    Token(TokenError),
    /// The token's subject is not the applicant in the request.
    NotYourApplication,
    /// It is not proven that the request comes from its applicant, so it cannot be carried out.
    IdentityNotProven,
    /// The campaign does not let applicants give their coupon back.
    CancellationNotAllowed,
    /// The coupon has been redeemed, so it cannot be given back.
    CouponRedeemed,
    /// Redis does not reply. It is unknown whether the application was decided; sending it again is safe.
    GateUnavailable,
    /// The gate is overloaded and was not called.
    Overloaded,
    /// Redis may have lost the data that the request is about.
    BooksIncomplete,
    /// A variable of the component is invalid.
    Misconfigured,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidUserId {
    /// Missing or null.
    Missing,
    /// Neither a string nor a number.
    WrongType,
    /// A string with a character that is not allowed, or of the wrong length.
    NotAllowed,
    /// A number that is negative, too large or not an integer.
    NotAnInteger,
}

impl Problem {
    pub fn status(&self) -> StatusCode {
        match self {
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::MalformedRequest
            | Self::InvalidAfter
            | Self::IncompleteBody
            | Self::EmptyBody
            | Self::InvalidJson { .. } => StatusCode::BAD_REQUEST,
            Self::NoSuchResource
            | Self::CampaignNotFound
            | Self::ApplicationNotFound { .. }
            | Self::NothingToCancel
            | Self::RoundNotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NotAnObject | Self::UserId(_) | Self::UserIdNotNumeric => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            Self::Token(_) => StatusCode::UNAUTHORIZED,
            Self::NotYourApplication | Self::IdentityNotProven => StatusCode::FORBIDDEN,
            Self::CancellationNotAllowed | Self::CouponRedeemed => StatusCode::CONFLICT,
            Self::GateUnavailable | Self::Overloaded | Self::BooksIncomplete => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Misconfigured => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The stable code, on which clients may branch.
    pub fn code(&self) -> &'static str {
        match self {
            Self::MalformedRequest => "malformed_request",
            Self::NoSuchResource => "no_such_resource",
            Self::CampaignNotFound => "campaign_not_found",
            Self::ApplicationNotFound { .. } | Self::NothingToCancel => "application_not_found",
            Self::RoundNotFound => "round_not_found",
            Self::InvalidAfter => "invalid_after",
            Self::MethodNotAllowed { .. } => "method_not_allowed",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::BodyTooLarge => "body_too_large",
            Self::IncompleteBody => "incomplete_body",
            Self::BodyTimeout => "body_timeout",
            Self::EmptyBody => "empty_body",
            Self::InvalidJson { .. } => "invalid_json",
            Self::NotAnObject => "not_an_object",
            Self::UserId(_) => "invalid_user_id",
            Self::UserIdNotNumeric => "user_id_not_numeric",
            Self::Token(error) => error.code(),
            Self::NotYourApplication => "not_your_application",
            Self::IdentityNotProven => "identity_not_proven",
            Self::CancellationNotAllowed => "cancellation_not_allowed",
            Self::CouponRedeemed => "coupon_redeemed",
            Self::GateUnavailable => "gate_unavailable",
            Self::Overloaded => "overloaded",
            Self::BooksIncomplete => "books_incomplete",
            Self::Misconfigured => "misconfigured",
        }
    }

    pub fn response(&self) -> Response {
        let detail = self.detail();
        let mut details = Details::new(self.status(), self.code(), &detail);
        details.field = match self {
            Self::UserId(_) | Self::UserIdNotNumeric => Some("user_id"),
            Self::InvalidAfter => Some("after"),
            _ => None,
        };
        let response = Response::problem(self.status(), &details);
        match self {
            Self::MethodNotAllowed { allow } => response.with("allow", allow),
            Self::Token(error) => response.with_text("www-authenticate", error.challenge()),
            Self::GateUnavailable | Self::Overloaded => response.retry_within(1..=3),
            Self::BooksIncomplete => response.retry_within(RETRY_AFTER_PAUSE),
            _ => response,
        }
    }

    /// For people: what is wrong, and what to do.
    fn detail(&self) -> String {
        match self {
            Self::MalformedRequest => "The request line or a header is malformed.".into(),
            Self::NoSuchResource => "This path does not exist. To apply, use PUT /v1/campaigns/{campaign}/applications/{user_id}.".into(),
            Self::CampaignNotFound => "No campaign has this id. GET /v1/campaigns lists all campaigns.".into(),
            Self::ApplicationNotFound { round: None } => "This applicant has no coupon of the current round, and is not on its waitlist.".into(),
            Self::ApplicationNotFound { round: Some(round) } => {
                format!("This applicant has no coupon of round {round}, and is not on its waitlist.")
            }
            Self::NothingToCancel => "This applicant has no coupon of the current round, and is not on its waitlist. To leave the waitlist of an earlier round, or to give back its coupon, add ?round= with the `round` that GET returns.".into(),
            Self::RoundNotFound => "The campaign has no round with the id in ?round=. GET /v1/campaigns/{campaign} reports the current round and the next.".into(),
            Self::InvalidAfter => "after must be a campaign id, such as the `next` of the page before: 1 to 48 characters of a-z 0-9 - _".into(),
            Self::MethodNotAllowed { allow } => format!("Use one of these methods: {allow}."),
            Self::UnsupportedMediaType => "Send the body with Content-Type: application/json.".into(),
            Self::BodyTooLarge => "The body must have at most 4096 bytes.".into(),
            Self::IncompleteBody => "The body ended before its Content-Length.".into(),
            Self::BodyTimeout => "The body did not arrive in time. Nothing was decided. Send the request again, with the body right after the head.".into(),
            Self::EmptyBody => r#"Send a body such as {"user_id":"42"}."#.into(),
            Self::InvalidJson { line, column } => format!(
                r#"The body is not JSON at line {line} column {column}. Send a body such as {{"user_id":"42"}}."#
            ),
            Self::NotAnObject => {
                r#"The body must be one JSON object in which each field occurs once, such as {"user_id":"42"}."#.into()
            }
            Self::UserId(InvalidUserId::Missing) => "user_id is missing.".into(),
            Self::UserId(InvalidUserId::WrongType) => "user_id must be a string or an integer.".into(),
            Self::UserId(InvalidUserId::NotAllowed) => {
                "user_id must be 1 to 128 characters of A-Z a-z 0-9 . _ : @ - ! $ & ' ( ) * + , ; = | ~, and not . or ..".into()
            }
            Self::UserIdNotNumeric => format!(
                "This campaign accepts only integers from 0 to {MAX_NUMERIC_USER_ID}, without leading zeros, as user ids."
            ),
            Self::UserId(InvalidUserId::NotAnInteger) => {
                format!("A numeric user_id must be an integer from 0 to {MAX_NUMERIC_USER_ID}.")
            }
            Self::Token(error) => error.detail().into(),
            Self::NotYourApplication => "The token's subject does not match `user_id`.".into(),
            Self::IdentityNotProven => {
                "This service does not check who sends a request, so applicants cannot leave the waitlist or give a coupon back here. Its operator can change that: auth_mode = jwt, or identities = upstream.".into()
            }
            Self::CancellationNotAllowed => "This campaign does not let applicants give their coupon back.".into(),
            Self::CouponRedeemed => "The coupon has been redeemed. It cannot be given back.".into(),
            Self::GateUnavailable => {
                "The gate does not answer. The request may or may not have been carried out. Send it again: an application is decided once, however often it is sent.".into()
            }
            Self::Overloaded => {
                "The gate cannot answer more requests at the moment. The request was not queued. Send it again after Retry-After.".into()
            }
            Self::BooksIncomplete => {
                "Redis has lost data, so the service cannot tell whether the campaign exists, or what the status of an application is. Send the request again after Retry-After.".into()
            }
            Self::Misconfigured => "The service is misconfigured. Its log names the variable.".into(),
        }
    }
}

impl From<TokenError> for Problem {
    fn from(error: TokenError) -> Self {
        Self::Token(error)
    }
}

impl From<GateError> for Problem {
    fn from(error: GateError) -> Self {
        match error {
            GateError::Overloaded(_) => Self::Overloaded,
            _ => Self::GateUnavailable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_openapi_describes_every_code_with_its_status() {
        let problems = [
            Problem::MalformedRequest,
            Problem::NoSuchResource,
            Problem::CampaignNotFound,
            Problem::ApplicationNotFound { round: None },
            Problem::NothingToCancel,
            Problem::RoundNotFound,
            Problem::InvalidAfter,
            Problem::MethodNotAllowed { allow: "GET" },
            Problem::UnsupportedMediaType,
            Problem::BodyTooLarge,
            Problem::IncompleteBody,
            Problem::BodyTimeout,
            Problem::EmptyBody,
            Problem::InvalidJson { line: 1, column: 1 },
            Problem::NotAnObject,
            Problem::UserId(InvalidUserId::Missing),
            Problem::UserIdNotNumeric,
            Problem::NotYourApplication,
            Problem::IdentityNotProven,
            Problem::CancellationNotAllowed,
            Problem::CouponRedeemed,
            Problem::GateUnavailable,
            Problem::Overloaded,
            Problem::BooksIncomplete,
            Problem::Misconfigured,
        ]
        .into_iter()
        .chain(TokenError::ALL.map(Problem::Token));
        let decisions = [
            "not_open", "sold_out", "revoked", "closed", "paused", "halted",
        ];
        let mut expected: BTreeSet<String> = decisions.map(str::to_owned).into();
        // Only the edge says this.
        expected.insert("rate_limited".to_owned());

        let description: serde_json::Value =
            serde_json::from_str(include_str!("../openapi.json")).expect("JSON");
        let code = &description["components"]["schemas"]["Code"];
        let words = code["description"].as_str().expect("a text");
        for problem in problems {
            let entry = format!("- `{}` ({}): ", problem.code(), problem.status().as_u16());
            assert!(words.contains(&entry), "{entry}");
            expected.insert(problem.code().to_owned());
        }
        let listed: BTreeSet<String> =
            serde_json::from_value(code["enum"].clone()).expect("a list");
        assert_eq!(listed, expected);
    }
}
