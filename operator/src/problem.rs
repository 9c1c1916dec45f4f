//! Finds the stable code of an error.

use crate::gate::GateError;
use crate::operation::is_refused;
use crate::refusal::{ErrorCode, Refusal};
use crate::servers::is_away;
use crate::unknown::Unknown;
use anyhow::Error;
use rushgate_startup::BadSetting;

/// The code of the error that a command ended with.
pub fn code(error: &Error) -> ErrorCode {
    if error.is::<Unknown>() {
        return ErrorCode::Interrupted;
    }
    if let Some(refusal) = error.downcast_ref::<Refusal>() {
        return refusal.code;
    }
    match error {
        _ if error.is::<BadSetting>() => ErrorCode::BadSetting,
        _ if is_away(error) || is_without_reply(error) => ErrorCode::ServerUnavailable,
        _ if is_refused(error) => ErrorCode::ServerRefused,
        _ => ErrorCode::Refused,
    }
}

/// Whether Redis has not even replied with an error, such as when it refuses the connection.
fn is_without_reply(error: &Error) -> bool {
    error.chain().any(|cause| match cause.downcast_ref() {
        Some(GateError::Refused { error, .. } | GateError::Unanswered { error, .. }) => {
            error.code().is_none()
        }
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    #[test]
    fn the_code_is_that_of_the_cause_and_an_unknown_effect_hides_it() {
        let refused = || Error::from(Refusal::new(ErrorCode::NoSuchCampaign, "no such"));
        assert_eq!(code(&refused()), ErrorCode::NoSuchCampaign);
        let error = refused().context("campaign x");
        assert_eq!(code(&error), ErrorCode::NoSuchCampaign);
        let error = error.context(Unknown::new("it", "Run it again"));
        assert_eq!(code(&error), ErrorCode::Interrupted);
        let error = Error::from(BadSetting::new("REDIS_URL", "is not set")).context("reading");
        assert_eq!(code(&error), ErrorCode::BadSetting);
        let error = Error::from(sqlx::Error::Protocol("broken".to_owned())).context("reading");
        assert_eq!(code(&error), ErrorCode::ServerUnavailable);
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let error = Error::from(GateError::Refused {
            address: "127.0.0.1:1".to_owned(),
            error: refused.into(),
        });
        let error = error.context("Redis is not ready");
        assert_eq!(code(&error), ErrorCode::ServerUnavailable);
        assert_eq!(code(&anyhow!("no")), ErrorCode::Refused);
    }
}
