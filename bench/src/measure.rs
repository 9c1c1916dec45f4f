//! Measures the compared variants in alternation (A, B, A, B, …), so that other load on the machine affects all of
//! them alike.

use crate::say;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// How often a failed turn is repeated.
const FAILURES: usize = 2;

/// A contender: its name, and one turn. A turn does its preparations outside of the measured time.
pub struct Contender<'a, T> {
    name: String,
    turn: Box<dyn FnMut() -> Result<T> + 'a>,
}

/// The results of one contender, turn by turn.
#[derive(Clone, Debug)]
pub struct Turns<T>(pub Vec<T>);

/// A number that was measured several times.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Figure {
    pub median: f64,
    /// In the order of the turns.
    pub samples: Vec<f64>,
}

impl<'a, T> Contender<'a, T> {
    /// A contender with this turn.
    pub fn new(name: impl Into<String>, turn: impl FnMut() -> Result<T> + 'a) -> Self {
        Self {
            name: name.into(),
            turn: Box::new(turn),
        }
    }

    /// One turn; repeated if it fails, because a machine that is busy for half a second makes every contender refuse
    /// requests.
    fn take(&mut self) -> Result<T> {
        let mut failures = 0;
        loop {
            match (self.turn)().with_context(|| self.name.clone()) {
                Err(error) if failures < FAILURES => {
                    failures += 1;
                    say::note(format_args!("a turn failed and is repeated: {error:#}"));
                }
                result => return result,
            }
        }
    }
}

/// A B C, A B C …: one turn of each as a warm-up, unless there is only one round, then `rounds` measured turns.
///
/// # Errors
/// The error of a turn that keeps failing, with the contender's name.
pub fn interleaved<T, const N: usize>(
    rounds: usize,
    mut contenders: [Contender<'_, T>; N],
) -> Result<[Turns<T>; N]> {
    let mut turns = contenders.each_ref().map(|_| Turns(vec![]));
    alternate(rounds, &mut contenders, &mut turns)?;
    Ok(turns)
}

/// The same for any number of contenders.
///
/// # Errors
/// As above.
pub fn interleaved_all<T>(
    rounds: usize,
    mut contenders: Vec<Contender<'_, T>>,
) -> Result<Vec<Turns<T>>> {
    let mut turns: Vec<_> = contenders.iter().map(|_| Turns(vec![])).collect();
    alternate(rounds, &mut contenders, &mut turns)?;
    Ok(turns)
}

fn alternate<T>(
    rounds: usize,
    contenders: &mut [Contender<'_, T>],
    turns: &mut [Turns<T>],
) -> Result<()> {
    let warm_up = usize::from(rounds > 1);
    for round in 0..rounds + warm_up {
        for (contender, turns) in contenders.iter_mut().zip(&mut *turns) {
            let result = contender.take()?;
            if round >= warm_up {
                turns.0.push(result);
            }
        }
    }
    Ok(())
}

impl<T> Turns<T> {
    /// One number of every turn.
    pub fn figure(&self, number: impl Fn(&T) -> f64) -> Figure {
        Figure::of(self.0.iter().map(number).collect())
    }
}

impl Figure {
    /// A figure of these samples.
    pub fn of(samples: Vec<f64>) -> Self {
        let mut sorted = samples.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let median = match sorted.as_slice() {
            [] => f64::NAN,
            sorted if sorted.len() % 2 == 0 => (sorted[middle - 1] + sorted[middle]) / 2.0,
            sorted => sorted[middle],
        };
        Self { median, samples }
    }

    /// A number that is known and not measured.
    pub fn known(number: f64) -> Self {
        Self::of(vec![number])
    }

    /// Half of the distance from the smallest to the largest sample, relative to the median.
    pub fn spread(&self) -> f64 {
        let least = self.samples.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self
            .samples
            .iter()
            .copied()
            .fold(f64::NEG_INFINITY, f64::max);
        (most - least) / 2.0 / self.median
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn turns_alternate_and_the_first_is_not_counted() {
        let order = RefCell::new(String::new());
        let turn = |name: char| {
            let order = &order;
            move || {
                order.borrow_mut().push(name);
                Ok(order.borrow().len() as f64)
            }
        };
        let contenders = [
            Contender::new("a", turn('a')),
            Contender::new("b", turn('b')),
        ];
        let [a, b] = interleaved(2, contenders).unwrap();
        assert_eq!(*order.borrow(), "ababab");
        assert_eq!((a.0, b.0), (vec![3.0, 5.0], vec![4.0, 6.0]));
    }

    #[test]
    fn a_turn_that_fails_is_taken_again_and_one_that_always_does_is_named() {
        let mut failures = FAILURES;
        let turn = || match failures.checked_sub(1) {
            Some(fewer) => {
                failures = fewer;
                anyhow::bail!("not yet")
            }
            None => Ok(7.0),
        };
        let [ours] = interleaved(1, [Contender::new("ours", turn)]).unwrap();
        assert_eq!(ours.0, [7.0]);
        let contenders = [Contender::<()>::new("ours", || anyhow::bail!("no"))];
        let error = interleaved(1, contenders).unwrap_err();
        assert_eq!(format!("{error:#}"), "ours: no");
    }

    #[test]
    fn the_median_is_in_the_middle() {
        for (samples, median) in [
            (vec![3.0, 1.0, 2.0], 2.0),
            (vec![4.0, 1.0, 2.0, 3.0], 2.5),
            (vec![7.0], 7.0),
        ] {
            assert_eq!(Figure::of(samples).median, median);
        }
        assert_eq!(Figure::of(vec![9.0, 10.0, 11.0]).spread(), 0.1);
    }
}
