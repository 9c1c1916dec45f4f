//! Formats an error and its causes on one line, each cause only once, and adds what to do about it.
//!
//! The errors of database, Redis and Kafka clients include the cause in their own text and also return it as
//! `source()`. So printing the whole chain would repeat the same cause two or three times.

use crate::{database_error, kafka_error, redis_error};
use rdkafka::error::RDKafkaErrorCode;
use redis::RedisError;
use std::error::Error;
use std::iter::successors;

/// The error, then each cause whose text is not yet in the line, then the advice, separated by `: `.
pub fn causes(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    for cause in chain(error).skip(1) {
        add(&mut line, &cause.to_string());
    }
    if let Some(advice) = advice(error) {
        add(&mut line, &advice);
    }
    line
}

/// Which setting or right to change because of an error of Redis, the database or Kafka among the causes, if that is
/// known.
pub fn advice(error: &(dyn Error + 'static)) -> Option<String> {
    chain(error).find_map(|cause| {
        if let Some(error) = cause.downcast_ref::<RedisError>() {
            redis_error::advice(error)
        } else if let Some(error) = cause.downcast_ref::<sqlx::Error>() {
            database_error::advice(error)
        } else {
            let code = cause.downcast_ref::<RDKafkaErrorCode>()?;
            kafka_error::advice(*code).map(str::to_owned)
        }
    })
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    successors(Some(error), |cause: &&(dyn Error + 'static)| {
        (*cause).source()
    })
}

fn add(line: &mut String, text: &str) {
    if !line.contains(text) {
        line.push_str(": ");
        line.push_str(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Cause {
        text: &'static str,
        source: Option<Box<Cause>>,
    }

    fn line(texts: &[&'static str]) -> String {
        let error = texts.iter().rev().fold(None, |source, text| {
            let source = source.map(Box::new);
            Some(Cause { text, source })
        });
        causes(&error.expect("an error"))
    }

    #[test]
    fn a_cause_is_printed_once() {
        assert_eq!(line(&["cannot read"]), "cannot read");
        assert_eq!(
            line(&["cannot read", "the disk is full"]),
            "cannot read: the disk is full"
        );
        assert_eq!(
            line(&["cannot read", "disk error: E5 (full)", "E5 (full)", "E5"]),
            "cannot read: disk error: E5 (full)"
        );
        assert_eq!(
            line(&["cannot read", "disk error: E5", "E5", "sector 7"]),
            "cannot read: disk error: E5: sector 7"
        );
    }

    #[test]
    fn the_advice_of_any_cause_is_added() {
        use RDKafkaErrorCode::GroupAuthorizationFailed;
        let denied = "-NOPERM this user has no permissions to run the 'xadd' command\r\n";
        let denied_in_script =
            "-ERR The user executing the script can't run this command or subcommand\r\n";
        let password = (
            redis::ErrorKind::AuthenticationFailed,
            "Password authentication failed",
        );
        let in_tls = sqlx::Error::Tls("(certificate has expired)".into());
        for (cause, advice) in [
            (
                server(denied),
                "the Redis user lacks a right (NOPERM): give it",
            ),
            (
                server(denied_in_script),
                "the Redis user lacks a right (NOPERM): give it",
            ),
            (
                server("-WRONGPASS invalid\r\n"),
                "check user and password in REDIS_URL",
            ),
            (
                RedisError::from(password).into(),
                "check user and password in REDIS_URL",
            ),
            (
                RedisError::from(std::io::Error::other("Connection reset by peer")).into(),
                "check REDIS_SSL_CERTIFICATE",
            ),
            (anyhow::Error::new(in_tls), "has expired: renew it"),
            (
                anyhow::Error::new(rdkafka::error::KafkaError::Global(GroupAuthorizationFailed)),
                "lacks a right on the consumer group (KAFKA_GROUP)",
            ),
        ] {
            let line = causes(cause.context("reading").as_ref());
            assert!(
                line.starts_with("reading: ") && line.matches(advice).count() == 1,
                "{line}"
            );
        }
        let other = server("-WRONGTYPE Operation against a key\r\n");
        assert_eq!(super::advice(other.as_ref()), None);
    }

    fn server(reply: &str) -> anyhow::Error {
        let reply = redis::parse_redis_value(reply.as_bytes()).expect("a reply");
        reply.extract_error().expect_err("an error").into()
    }
}
