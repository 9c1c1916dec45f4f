//! Parses the instants of command lines.

use rushgate_gate::Millis;

/// Parses an instant that has a UTC offset.
pub(super) fn instant(text: &str) -> Result<Millis, String> {
    text.parse::<jiff::Timestamp>()
        .ok()
        .and_then(|instant| Millis::try_from(instant.as_millisecond()).ok())
        .ok_or_else(|| {
            "write date, time and UTC offset, such as 2026-12-01T10:00:00+09:00 or 2026-12-01T01:00:00Z"
                .to_owned()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_needs_its_offset() {
        let at = |text| instant(text).map(Millis::get);
        assert_eq!(at("2026-12-01T10:00:00+09:00"), Ok(1_796_086_800_000));
        assert_eq!(at("2026-12-01T01:00:00Z"), Ok(1_796_086_800_000));
        for bad in [
            "2026-12-01T10:00:00",
            "2026-12-01",
            "tomorrow",
            "1969-12-31T00:00:00Z",
        ] {
            assert!(at(bad).expect_err(bad).contains("such as"), "{bad}");
        }
    }
}
