//! Parses durations such as `60s`, `20ms` or `1m 30s`.

use jiff::{SignedDuration, Span, SpanRelativeTo};
use std::ops::RangeInclusive;
use std::time::Duration;

/// Parses a duration within these limits. A number without a unit is refused.
pub fn duration(
    limits: RangeInclusive<Duration>,
) -> impl Fn(&str) -> Result<Duration, String> + Clone + Send + Sync {
    move |text| parse(text, &limits)
}

/// Like [`duration`], for a setting that used to be a number of `unit`. [`crate::parse`] warns of a number without a
/// unit.
pub fn duration_or_number_of(
    unit: Duration,
    limits: RangeInclusive<Duration>,
) -> impl Fn(&str) -> Result<Duration, String> + Clone + Send + Sync {
    move |text| match number(text) {
        Some(number) => u32::try_from(number)
            .ok()
            .and_then(|number| unit.checked_mul(number))
            .filter(|duration| limits.contains(duration))
            .ok_or_else(|| advice(&limits)),
        None => parse(text, &limits),
    }
}

/// The number, if the text is a number without a unit.
pub(crate) fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// The duration as [`duration`] parses it, such as `1m 30s`.
pub(crate) fn shown(duration: Duration) -> String {
    let duration = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
    format!("{duration:#}")
}

fn parse(text: &str, limits: &RangeInclusive<Duration>) -> Result<Duration, String> {
    if let Some(number) = number(text) {
        return Err(format!("it has no unit: write {number}s or {number}ms"));
    }
    let span = text.trim().parse::<Span>().ok();
    let duration = span.and_then(|span| {
        let signed = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
        Duration::try_from(signed).ok()
    });
    duration
        .filter(|duration| limits.contains(duration))
        .ok_or_else(|| advice(limits))
}

fn advice(limits: &RangeInclusive<Duration>) -> String {
    format!(
        "write a duration from {} to {}, such as 20ms, 60s or 1m 30s",
        shown(*limits.start()),
        shown(*limits.end())
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_hours(24);

    #[test]
    fn a_duration_has_a_unit() {
        for (text, milliseconds) in [
            ("20ms", 20),
            ("60s", 60_000),
            ("1.5s", 1_500),
            ("1m 30s", 90_000),
            ("1440m", 86_400_000),
            ("1 hour", 3_600_000),
            ("1d", 86_400_000),
        ] {
            let expected = Ok(Duration::from_millis(milliseconds));
            assert_eq!(duration(LIMITS)(text), expected, "{text}");
        }
        for text in ["", "s", "-1s", "0s", "25h", "99999999999999999999s", "1mo"] {
            let error = duration(LIMITS)(text).expect_err(text);
            assert_eq!(
                error, "write a duration from 1ms to 24h, such as 20ms, 60s or 1m 30s",
                "{text}"
            );
        }
        let error = duration(LIMITS)("60").expect_err("no unit");
        assert_eq!(error, "it has no unit: write 60s or 60ms");
    }

    #[test]
    fn a_setting_that_used_to_be_a_number_takes_both_forms() {
        let seconds = duration_or_number_of(Duration::from_secs(1), LIMITS);
        for text in ["7", "7s"] {
            assert_eq!(seconds(text), Ok(Duration::from_secs(7)), "{text}");
        }
        for text in ["0", "86401", "99999999999", "-1"] {
            let error = seconds(text).expect_err(text);
            assert!(
                error.starts_with("write a duration from 1ms to 24h"),
                "{text}: {error}"
            );
        }
    }
}
