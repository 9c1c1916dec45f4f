//! Limits the number of different SQL statements: the number of rows or values in a statement is always a power of
//! two, so all statements stay prepared. Preparing a statement for a single use costs 40 ms, because sqlx leaves
//! Nagle's algorithm on: closing a statement has no reply, and the next statement waits behind it.

/// Splits the items into runs. The length of each is a power of two and at most `longest`, which is a power of
/// two itself.
pub(crate) fn powers_of_two<T>(mut items: Vec<T>, longest: usize) -> Vec<Vec<T>> {
    let mut runs = vec![];
    while !items.is_empty() {
        let length = (1 << items.len().ilog2()).min(longest.max(1));
        let rest = items.split_off(length);
        runs.push(std::mem::replace(&mut items, rest));
    }
    runs
}

/// Repeats the last item until the length is a power of two, for conditions in which a repeated value changes
/// nothing.
pub(crate) fn padded<T>(items: &[T]) -> impl Iterator<Item = &T> {
    items
        .iter()
        .chain(items.last().into_iter().cycle())
        .take(items.len().next_power_of_two())
}

/// One placeholder for each item of [`padded`].
pub(crate) fn placeholders<T>(items: &[T], placeholder: &str, separator: &str) -> String {
    vec![placeholder; items.len().next_power_of_two()].join(separator)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn runs_are_powers_of_two_and_lose_nothing(count in 0usize..3_000, longest in 0u32..10) {
            let runs = powers_of_two((0..count).collect(), 1 << longest);
            prop_assert!(runs.iter().all(|run| run.len().is_power_of_two() && run.len() <= 1 << longest));
            prop_assert_eq!(runs.concat(), (0..count).collect::<Vec<_>>());
        }

        #[test]
        fn padding_repeats_the_last_and_fits_its_placeholders(count in 1usize..600) {
            let items: Vec<usize> = (0..count).collect();
            let padded: Vec<usize> = padded(&items).copied().collect();
            prop_assert!(padded.len().is_power_of_two() && padded.len() < 2 * count);
            prop_assert_eq!(&padded[..count], &items);
            prop_assert!(padded[count..].iter().all(|item| *item == count - 1));
            prop_assert_eq!(placeholders(&items, "?", ",").len(), 2 * padded.len() - 1);
        }
    }
}
