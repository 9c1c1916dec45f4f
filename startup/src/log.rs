//! Sets up logging for the programs that run permanently: the bridge and the consumer.

use crate::parse::is_blank;
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

const VARIABLE: &str = "RUST_LOG";

/// Starts logging to standard error, filtered by `RUST_LOG`. If that is unset, blank or invalid, `info` and
/// above are logged.
pub(crate) fn log_to_stderr() {
    let wanted = std::env::var(VARIABLE).unwrap_or_default();
    let (filter, problem) = match filter(&wanted) {
        Ok(filter) => (filter, None),
        Err(problem) => (EnvFilter::new("info"), Some(problem)),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    if let Some(problem) = problem {
        tracing::warn!(
            "{VARIABLE}: {problem}: write error, warn, info, debug or trace. Until then, info is used"
        );
    }
}

/// `EnvFilter` itself takes a blank text as "errors only".
fn filter(wanted: &str) -> Result<EnvFilter, String> {
    match is_blank(wanted) {
        true => Ok(EnvFilter::new("info")),
        false => EnvFilter::try_new(wanted).map_err(|error| error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blank_filter_counts_as_unset() {
        for (wanted, shown) in [("", "info"), (" ", "info"), ("debug", "debug")] {
            let filter = filter(wanted).expect(wanted);
            assert_eq!(filter.to_string(), shown, "{wanted:?}");
        }
        assert!(filter("rushgate=loud").is_err());
    }
}
