//! When a client should ask again what became of an application, in seconds (`Retry-After`). So the service sets the load of
//! all waiting clients, however many they are, and whatever they would do by themselves.
//!
//! With 10,000 applicants on a waitlist, this makes about 270 questions a second.

use rushgate_gate::Millis;
use std::ops::RangeInclusive;

/// The longest time between two questions, before the random part.
const LONGEST: i64 = 60;

/// For an applicant at this place on the waitlist: sooner near the front, where something happens sooner.
pub(crate) fn waitlisted(position: u32) -> RangeInclusive<i64> {
    spread((4 + i64::from(position) / 100).min(LONGEST))
}

/// For a winner whose coupon is not committed yet. This takes moments, unless something is in the way: then the questions
/// become rarer.
pub(crate) fn granted(granted_at: Millis, now: Millis) -> RangeInclusive<i64> {
    let age = (now.get() - granted_at.get()) / 1_000;
    spread((age / 3).clamp(2, LONGEST))
}

/// For a winner whose coupon is committed, and whose code is missing until the operator loads more codes, or gives the handler
/// the key.
pub(crate) fn code_unavailable() -> RangeInclusive<i64> {
    spread(LONGEST / 2)
}

/// A range of seconds, so that clients that asked together do not come back together.
fn spread(seconds: i64) -> RangeInclusive<i64> {
    seconds..=seconds + seconds / 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use rushgate_gate::Waitlist;

    #[test]
    fn the_front_of_the_waitlist_asks_more_often() {
        for (position, range) in [
            (1, 4..=6),
            (99, 4..=6),
            (1_000, 14..=21),
            (Waitlist::MAX, 60..=90),
        ] {
            assert_eq!(waitlisted(position), range, "{position}");
        }
    }

    #[test]
    fn a_full_waitlist_asks_at_most_300_times_a_second() {
        let a_second = |position| {
            let (first, last) = waitlisted(position).into_inner();
            2.0 / (first + last) as f64
        };
        let sum: f64 = (1..=Waitlist::MAX).map(a_second).sum();
        assert!((200.0..300.0).contains(&sum), "{sum}");
    }

    #[test]
    fn a_winner_who_waits_long_asks_less_often() {
        let at = |millis: i64| Millis::try_from(millis).expect("an instant");
        for (age, range) in [
            (0, 2..=3),
            (8_999, 2..=3),
            (30_000, 10..=15),
            (86_400_000, 60..=90),
        ] {
            assert_eq!(granted(at(5_000), at(5_000 + age)), range, "{age}");
        }
        // The clock of Redis was set back.
        assert_eq!(granted(at(5_000), at(0)), 2..=3);
    }
}
