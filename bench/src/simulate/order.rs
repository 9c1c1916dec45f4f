//! Compares the winners of a run with those of a strict order of arrival.

use super::agenda::{Nanos, seconds};

/// The winners, compared with those of a strict order of arrival.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Order {
    /// Granted places.
    pub(crate) granted: u64,
    /// Places that were not granted although an applicant was refused.
    pub(crate) left_over: u64,
    /// Applicants who were refused although a later one got a place.
    pub(crate) passed_over: u64,
    /// Places that went to applicants beyond the quota in the order of arrival.
    pub(crate) displaced: u64,
    /// How long after the first refused applicant the last winner came, in milliseconds; 0 if no applicant was passed
    /// over.
    pub(crate) longest: f64,
}

impl Order {
    /// Of applicants in the order of arrival: when each came, and whether they got a place.
    pub(crate) fn of(people: impl Iterator<Item = (Nanos, bool)> + Clone, quota: u64) -> Self {
        let granted = people.clone().filter(|(_, granted)| *granted).count() as u64;
        let refused = people.clone().filter(|(_, granted)| !granted).count() as u64;
        let ranked = || people.clone().zip(0_u64..);
        let last = ranked().filter(|((_, granted), _)| *granted).last();
        let Some(((last_came, _), last_rank)) = last else {
            return Self {
                left_over: quota.min(refused),
                ..Self::default()
            };
        };
        let passed_over = || ranked().filter(|((_, granted), rank)| !granted && *rank < last_rank);
        let late = |((_, granted), rank): &((Nanos, bool), u64)| *granted && *rank >= quota;
        let first = passed_over().next();
        Self {
            granted,
            left_over: quota.saturating_sub(granted).min(refused),
            passed_over: passed_over().count() as u64,
            displaced: ranked().filter(late).count() as u64,
            longest: first.map_or(0.0, |((came, _), _)| seconds(last_came - came) * 1e3),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(granted: &str, quota: u64) -> Order {
        let people = granted.chars().zip(0..);
        Order::of(
            people.map(|(who, came)| (came * 1_000_000, who == 'g')),
            quota,
        )
    }

    #[test]
    fn strict_order_passes_no_applicant_over() {
        let strict = Order {
            granted: 3,
            ..Order::default()
        };
        assert_eq!(order("gggrr", 3), strict);
        assert_eq!(order("ggg", 3), strict);
    }

    #[test]
    fn passed_over_applicants_are_counted() {
        let found = order("grrgrgr", 3);
        let expected = Order {
            granted: 3,
            left_over: 0,
            passed_over: 3,
            displaced: 2,
            longest: 4.0,
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn places_are_left_over_only_if_an_applicant_was_refused() {
        assert_eq!(order("grgr", 3).left_over, 1);
        assert_eq!(order("gg", 3).left_over, 0);
        assert_eq!(order("rr", 3).left_over, 2);
    }
}
