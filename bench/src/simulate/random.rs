//! Generates reproducible random numbers: the same seed gives the same numbers on every machine and in every version.
//! A general-purpose generator does not promise that.

use super::agenda::Nanos;

/// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// The sequence of this seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform from 0 (inclusive) to 1 (exclusive).
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Exponentially distributed with mean 1.
    pub(crate) fn exponential(&mut self) -> f64 {
        -(1.0 - self.unit()).ln()
    }

    /// A time, exponentially distributed with this mean.
    pub(crate) fn around(&mut self, mean: Nanos) -> Nanos {
        (self.exponential() * mean as f64).round() as Nanos
    }

    /// Uniform below `count`.
    pub(crate) fn below(&mut self, count: usize) -> usize {
        (self.unit() * count as f64) as usize
    }

    /// An index of `weights`, with a probability proportional to its weight.
    pub(crate) fn among(&mut self, weights: &[f64]) -> usize {
        let mut point = self.unit() * weights.iter().sum::<f64>();
        for (place, weight) in weights.iter().enumerate() {
            point -= weight;
            if point < 0.0 {
                return place;
            }
        }
        weights.len() - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_are_what_they_are_to_be() {
        let mut random = Random::new(1);
        let count = 200_000;
        let mean = |sum: f64| sum / f64::from(count);
        let unit = mean((0..count).map(|_| random.unit()).sum());
        let exponential = mean((0..count).map(|_| random.exponential()).sum());
        let third = mean(
            (0..count)
                .map(|_| f64::from(u8::from(random.among(&[1.0, 2.0]) == 0)))
                .sum(),
        );
        for (found, expected) in [(unit, 0.5), (exponential, 1.0), (third, 1.0 / 3.0)] {
            assert!(
                (found / expected - 1.0).abs() < 0.01,
                "{found} for {expected}"
            );
        }
    }

    #[test]
    fn the_sequence_is_the_published_one() {
        let mut random = Random::new(1_234_567);
        let first = [random.next(), random.next()];
        assert_eq!(
            first,
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]
        );
    }
}
