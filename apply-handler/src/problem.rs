//! Everything that can be wrong with a request, or keep the gate from answering it: RFC 9457 problem details.

use crate::auth::TokenError;
use crate::response::{RETRY_AFTER_PAUSE, Response};
use rushgate_gate::RoundId;
use rushgate_gate::applicant::MAX_NUMERIC_USER_ID;
use serde::Serialize;
use spin_sdk::http::StatusCode;

/// A request that has no better response than an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The host could not make sense of it.
    MalformedRequest,
    /// Nothing is at that path.
    NoSuchResource,
    /// The gate knows no such campaign.
    CampaignNotFound,
    /// Nobody of that name holds a grant.
    ApplicationNotFound {
        /// In the round that was asked for; `None` if none was.
        round: Option<RoundId>,
    },
    /// The campaign has no round of the name that was asked for.
    RoundNotFound,
    /// The list is asked for from what is no name of a campaign on.
    InvalidAfter,
    /// The resource does not take that method.
    MethodNotAllowed {
        /// The methods it takes.
        allow: &'static str,
    },
    /// The body is not said to be JSON.
    UnsupportedMediaType,
    /// The body is too long.
    BodyTooLarge,
    /// The body did not come in time.
    BodyTimeout,
    /// The body ended before its Content-Length.
    IncompleteBody,
    /// There is no body.
    EmptyBody,
    /// The body is not JSON; where it stops being so, counted from 1.
    InvalidJson {
        /// Line.
        line: usize,
        /// Column.
        column: usize,
    },
    /// The body is JSON, but not an object with each field once.
    NotAnObject,
    /// The body names nobody who can apply.
    UserId(InvalidUserId),
    /// The campaign takes numbers for user ids alone.
    UserIdNotNumeric,
    /// The request has no token to be believed.
    Token(TokenError),
    /// The token names somebody else.
    NotYourApplication,
    /// Redis does not answer. Whether the application was decided is not known; asking again is safe.
    GateUnavailable,
    /// The gate does not keep up: it was not asked.
    Overloaded,
    /// Redis does not know what it would know if it had lost nothing.
    BooksIncomplete,
    /// A variable of the component has a value it cannot work with.
    Misconfigured,
}

/// Why a `user_id` names nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidUserId {
    /// It is not there, or null.
    Missing,
    /// Neither a string nor a number.
    WrongType,
    /// A string with something that an id may not contain, or of the wrong length.
    NotAllowed,
    /// A number that is negative, not whole or too large.
    NotAnInteger,
}

/// The JSON of a problem.
#[derive(Serialize)]
pub(crate) struct Details<'a> {
    #[serde(rename = "type")]
    problem_type: String,
    title: &'a str,
    status: u16,
    code: &'a str,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
}

impl<'a> Details<'a> {
    pub(crate) fn new(status: StatusCode, code: &'a str, detail: &'a str) -> Self {
        Self {
            problem_type: format!("urn:rushgate:problem:{code}"),
            title: status.canonical_reason().unwrap_or_default(),
            status: status.as_u16(),
            code,
            detail,
            field: None,
        }
    }
}

impl Problem {
    /// The HTTP status.
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
            | Self::RoundNotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NotAnObject | Self::UserId(_) | Self::UserIdNotNumeric => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            Self::Token(_) => StatusCode::UNAUTHORIZED,
            Self::NotYourApplication => StatusCode::FORBIDDEN,
            Self::GateUnavailable | Self::Overloaded | Self::BooksIncomplete => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Misconfigured => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The stable word for it, which clients may branch on.
    pub fn code(&self) -> &'static str {
        match self {
            Self::MalformedRequest => "malformed_request",
            Self::NoSuchResource => "no_such_resource",
            Self::CampaignNotFound => "campaign_not_found",
            Self::ApplicationNotFound { .. } => "application_not_found",
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
            Self::GateUnavailable => "gate_unavailable",
            Self::Overloaded => "overloaded",
            Self::BooksIncomplete => "books_incomplete",
            Self::Misconfigured => "misconfigured",
        }
    }

    /// The answer to the request.
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
            Self::Token(error) => response.with_text("www-authenticate", &error.challenge()),
            Self::GateUnavailable | Self::Overloaded => response.retry_within(1..=3),
            Self::BooksIncomplete => response.retry_within(RETRY_AFTER_PAUSE),
            _ => response,
        }
    }

    /// What is wrong and what to do about it.
    fn detail(&self) -> String {
        match self {
            Self::MalformedRequest => "The request line or a header is malformed.".into(),
            Self::NoSuchResource => "Nothing is here. Applications go to POST /v1/campaigns/{campaign}/applications.".into(),
            Self::CampaignNotFound => "There is no campaign of that name. GET /v1/campaigns lists them.".into(),
            Self::ApplicationNotFound { round: None } => "Nobody of that name holds a coupon of the current round.".into(),
            Self::ApplicationNotFound { round: Some(round) } => {
                format!("Nobody of that name holds a coupon of round {round}.")
            }
            Self::RoundNotFound => "The campaign has no round of the name that ?round= gives. GET /v1/campaigns/{campaign} names the current round and the next.".into(),
            Self::InvalidAfter => "after must be the name of a campaign, as `next` of a page says it: 1 to 48 characters of a-z 0-9 - _".into(),
            Self::MethodNotAllowed { allow } => format!("Use one of {allow}."),
            Self::UnsupportedMediaType => "Send the body with Content-Type: application/json.".into(),
            Self::BodyTooLarge => "Send at most 4096 bytes.".into(),
            Self::IncompleteBody => "The body ended before its Content-Length.".into(),
            Self::BodyTimeout => "The body did not come in time. Send head and body together, and again: nothing was decided.".into(),
            Self::EmptyBody => r#"Send a body such as {"user_id":"42"}."#.into(),
            Self::InvalidJson { line, column } => format!(
                r#"The body is not JSON at line {line} column {column}. Send a body such as {{"user_id":"42"}}."#
            ),
            Self::NotAnObject => {
                r#"The body must be one JSON object with each field once, such as {"user_id":"42"}."#.into()
            }
            Self::UserId(InvalidUserId::Missing) => "user_id is missing.".into(),
            Self::UserId(InvalidUserId::WrongType) => "user_id must be a string or an integer.".into(),
            Self::UserId(InvalidUserId::NotAllowed) => {
                "user_id must be 1 to 64 characters of A-Z a-z 0-9 . _ : @ -, and not . or ..".into()
            }
            Self::UserIdNotNumeric => format!(
                "This campaign takes integers from 0 to {MAX_NUMERIC_USER_ID} for user ids, without leading zeros, and nobody else."
            ),
            Self::UserId(InvalidUserId::NotAnInteger) => {
                format!("A numeric user_id must be an integer from 0 to {MAX_NUMERIC_USER_ID}.")
            }
            Self::Token(error) => error.detail().into(),
            Self::NotYourApplication => "The token names somebody else: apply, and ask, for yourself.".into(),
            Self::GateUnavailable => {
                "The gate does not answer just now, so this request may have been carried out or not. Send it again: an application is decided once, however often it is sent.".into()
            }
            Self::Overloaded => {
                "More people are asking than the gate can answer just now, and you were not put in line. Ask again after Retry-After.".into()
            }
            Self::BooksIncomplete => {
                "The gate has lost what it knew, so it cannot tell whether there is that campaign, or what became of an application. Ask again after Retry-After.".into()
            }
            Self::Misconfigured => "The service is misconfigured; its log says how.".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_code_is_described_with_its_status() {
        let problems = [
            Problem::MalformedRequest,
            Problem::NoSuchResource,
            Problem::CampaignNotFound,
            Problem::ApplicationNotFound { round: None },
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

        let description: serde_json::Value =
            serde_json::from_str(include_str!("../openapi.json")).expect("JSON");
        let code = &description["components"]["schemas"]["Code"];
        let words = code["description"].as_str().expect("a text");
        for problem in problems {
            let told = format!("- `{}` ({}): ", problem.code(), problem.status().as_u16());
            assert!(words.contains(&told), "{told}");
            expected.insert(problem.code().to_owned());
        }
        let listed: BTreeSet<String> =
            serde_json::from_value(code["enum"].clone()).expect("a list");
        assert_eq!(listed, expected);
    }
}
