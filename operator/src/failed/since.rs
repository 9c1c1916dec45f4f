//! The time in the id of an entry of a stream.

/// When Redis added the entry.
pub(super) fn since(entry_id: &str) -> String {
    let millis = entry_id
        .split('-')
        .next()
        .and_then(|ms| ms.parse::<i64>().ok());
    let instant = millis.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    instant.map_or_else(String::new, |instant| format!("{instant:.0}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_id_says_since_when_it_exists() {
        assert_eq!(since("1796086800123-0"), "2026-12-01T01:00:00Z");
    }
}
