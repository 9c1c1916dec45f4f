//! The changes of a coupon's state, as text.

use rushgate_gate::Millis;

/// Each change with its time, such as `granted 2026-…, issued 2026-…`.
pub(super) fn history(changes: &[(&str, Option<Millis>)]) -> String {
    let changes = changes.iter();
    let changes: Vec<String> = changes
        .filter_map(|(change, at)| Some(format!("{change} {}", (*at)?)))
        .collect();
    changes.join(", ")
}
