//! Decides when applicants come. This is an open model: an applicant comes at a given time, whether or not the earlier
//! ones were answered.

use super::agenda::{Nanos, micros};
use super::random::Random;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Arrivals {
    /// Arrivals per second, independent of each other (Poisson).
    Steady(f64),
    /// A crowd that waits for the opening: each applicant comes after a time of their own, exponentially distributed
    /// with this mean in milliseconds. Most come at once, and the rate decays.
    Flash(f64),
}

/// Applicants, and when they come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crowd {
    pub(crate) people: u64,
    pub(crate) arrivals: Arrivals,
}

impl Crowd {
    /// The delay before the next arrival after this many; `None` if all have come.
    pub(crate) fn next(&self, come: u64, random: &mut Random) -> Option<Nanos> {
        let left = self.people.checked_sub(come).filter(|left| *left > 0)?;
        let mean = match self.arrivals {
            Arrivals::Steady(per_second) => 1e6 / per_second,
            // The next one of those that are left.
            Arrivals::Flash(mean) => mean * 1e3 / left as f64,
        };
        Some(micros(random.exponential() * mean))
    }
}

#[cfg(test)]
mod tests {
    use super::super::agenda::seconds;
    use super::*;

    fn times(crowd: Crowd) -> Vec<f64> {
        let mut random = Random::new(3);
        let mut times = vec![];
        let mut now = 0;
        while let Some(gap) = crowd.next(times.len() as u64, &mut random) {
            now += gap;
            times.push(seconds(now));
        }
        times
    }

    #[test]
    fn a_flash_decays_by_half_every_ln_2_of_its_mean() {
        let people = 100_000;
        let arrivals = Arrivals::Flash(1_000.0);
        let times = times(Crowd { people, arrivals });
        assert_eq!(times.len(), 100_000);
        assert!(
            (times[50_000] - 2_f64.ln()).abs() < 0.01,
            "{}",
            times[50_000]
        );
    }

    #[test]
    fn steadily_as_many_come_as_are_to() {
        let people = 100_000;
        let arrivals = Arrivals::Steady(50_000.0);
        let last = times(Crowd { people, arrivals })[99_999];
        assert!((last - 2.0).abs() < 0.02, "{last}");
    }
}
