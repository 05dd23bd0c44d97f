//! Figures: what was measured, in several rounds, beside its limit.

use std::time::Duration;

use serde::Serialize;

/// The least, the middle and the largest of several rounds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Spread {
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// The spread of at least one value.
    pub(crate) fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let median = if sorted.len().is_multiple_of(2) {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        } else {
            sorted[middle]
        };
        Self { min: sorted[0], median, max: sorted[sorted.len() - 1] }
    }
}

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Better {
    /// A rate: ours divided by the limit, 100 % is the limit.
    Higher,
    /// A time: ours divided by the limit, 1 is the limit.
    Lower,
}

/// One line of the report: ours and the limit, measured in turn in each round.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    pub(crate) store: &'static str,
    pub(crate) name: String,
    pub(crate) size: Option<u64>,
    pub(crate) unit: &'static str,
    pub(crate) better: Better,
    pub(crate) ours: Spread,
    pub(crate) limit: Spread,
    /// Ours divided by the limit, round by round.
    pub(crate) ratio: Spread,
    /// What the limit is.
    pub(crate) against: &'static str,
    /// What the ratio has to reach, where the project has promised something.
    pub(crate) target: Option<f64>,
    pub(crate) note: Option<String>,
}

impl Figure {
    /// Whether the promise, if any, is kept by the median.
    pub(crate) fn reached(&self) -> Option<bool> {
        self.target.map(|target| match self.better {
            Better::Higher => self.ratio.median >= target,
            Better::Lower => self.ratio.median <= target,
        })
    }
}

/// The rounds of one figure, as they are measured.
#[derive(Clone, Debug)]
pub(crate) struct Rounds {
    figure: Figure,
    ours: Vec<f64>,
    limit: Vec<f64>,
}

impl Rounds {
    pub(crate) fn rate(store: &'static str, name: &str, against: &'static str) -> Self {
        Self::new(store, name, "per second", Better::Higher, against)
    }

    pub(crate) fn time(store: &'static str, name: &str, against: &'static str) -> Self {
        Self::new(store, name, "µs", Better::Lower, against)
    }

    pub(crate) fn bytes(store: &'static str, name: &str, against: &'static str) -> Self {
        Self::new(store, name, "bytes", Better::Lower, against)
    }

    fn new(
        store: &'static str,
        name: &str,
        unit: &'static str,
        better: Better,
        against: &'static str,
    ) -> Self {
        let none = Spread { min: 0.0, median: 0.0, max: 0.0 };
        let figure = Figure {
            store,
            name: name.to_owned(),
            size: None,
            unit,
            better,
            ours: none,
            limit: none,
            ratio: none,
            against,
            target: None,
            note: None,
        };
        Self { figure, ours: Vec::new(), limit: Vec::new() }
    }

    #[must_use]
    pub(crate) fn at_size(mut self, size: u64) -> Self {
        self.figure.size = Some(size);
        self
    }

    #[must_use]
    pub(crate) fn target(mut self, target: f64) -> Self {
        self.figure.target = Some(target);
        self
    }

    pub(crate) fn note(&mut self, note: String) {
        self.figure.note = Some(note);
    }

    /// Adds one round: ours and the limit, measured one after the other.
    pub(crate) fn add(&mut self, ours: f64, limit: f64) {
        self.ours.push(ours);
        self.limit.push(limit);
    }

    pub(crate) fn done(mut self) -> Figure {
        let ratios: Vec<f64> =
            self.ours.iter().zip(&self.limit).map(|(ours, limit)| ours / limit).collect();
        self.figure.ours = Spread::of(&self.ours);
        self.figure.limit = Spread::of(&self.limit);
        self.figure.ratio = Spread::of(&ratios);
        self.figure
    }
}

/// How many of `count` things per second.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
pub(crate) fn per_second(count: usize, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

/// Microseconds for one of `count` things.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
pub(crate) fn micros_each(count: usize, took: Duration) -> f64 {
    took.as_secs_f64() * 1e6 / count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_taken_round_by_round() {
        let mut rounds = Rounds::rate("memory", "capture", "nothing").target(0.5);
        rounds.add(10.0, 20.0);
        rounds.add(30.0, 40.0);
        rounds.add(90.0, 100.0);
        let figure = rounds.done();
        assert!((figure.ratio.median - 0.75).abs() < 1e-9);
        assert!((figure.ours.min - 10.0).abs() < 1e-9);
        assert_eq!(figure.reached(), Some(true));
    }

    #[test]
    fn an_even_number_of_rounds_has_a_median_too() {
        assert!((Spread::of(&[4.0, 1.0, 3.0, 2.0]).median - 2.5).abs() < 1e-9);
    }
}
