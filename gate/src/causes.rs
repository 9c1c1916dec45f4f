//! An error and its causes on one line, each said once.
//!
//! Clients of databases, Redis and Kafka show their cause and return it as `source()` as well, so a plain chain of them
//! says one thing two or three times.

use std::error::Error;
use std::iter::successors;

/// The error, then whatever its causes add, separated by `: `.
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
    struct Part {
        text: &'static str,
        source: Option<Box<Part>>,
    }

    fn line(texts: &[&'static str]) -> String {
        let error = texts.iter().rev().fold(None, |source, text| {
            let source = source.map(Box::new);
            Some(Part { text, source })
        });
        causes(&error.expect("an error"))
    }

    #[test]
    fn what_an_error_shows_of_its_cause_is_not_said_again() {
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
