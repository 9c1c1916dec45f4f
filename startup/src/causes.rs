//! Formats an error and its causes on one line, and prints each cause only once.
//!
//! The errors of database, Redis and Kafka clients include the cause in their own text and also return it as
//! `source()`. So printing the whole chain would repeat the same cause two or three times.

use std::error::Error;
use std::iter::successors;

/// The error, then each cause whose text is not yet in the line, separated by `: `.
pub fn causes(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    for cause in successors(error.source(), |cause: &&dyn Error| (*cause).source()) {
        let text = cause.to_string();
        if !line.contains(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
    }
    line
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
}
