//! From pairs to an estimate.

/// 97.5 % of a normal distribution are below.
const Z: f64 = 1.959_964;

/// A mean, and where it lies with a confidence of 95 %.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Estimate {
    pub(super) mean: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

#[expect(clippy::cast_precision_loss, reason = "some tens of values")]
pub(super) fn estimate(values: &[f64]) -> Estimate {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
    let error = (squares / (count - 1.0) / count).sqrt();
    let reach = error * student(count - 1.0);
    Estimate { mean, low: mean - reach, high: mean + reach }
}

/// Student's distribution at 97.5 %, by its expansion around the normal one; from four degrees of freedom on it is off by less
/// than 1 %.
fn student(freedom: f64) -> f64 {
    let term = |factors: [f64; 4], divisor: f64| {
        factors
            .iter()
            .rev()
            .enumerate()
            .map(|(power, factor)| factor * Z.powi(2 * i32::try_from(power).unwrap_or(0) + 1))
            .sum::<f64>()
            / divisor
    };
    Z + term([0.0, 0.0, 1.0, 1.0], 4.0 * freedom)
        + term([0.0, 5.0, 16.0, 3.0], 96.0 * freedom.powi(2))
        + term([3.0, 19.0, 17.0, -15.0], 384.0 * freedom.powi(3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_as_wide_as_tables_say() {
        for (freedom, quantile) in [(4.0, 2.776), (9.0, 2.262), (19.0, 2.093), (60.0, 2.000)] {
            let found = student(freedom);
            assert!((found / quantile - 1.0_f64).abs() < 0.01, "{freedom}: {found}");
        }
        let found = estimate(&[1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(found.mean, 3.0);
        assert!((found.high - 4.963).abs() < 0.02 && (found.low - 1.037).abs() < 0.02, "{found:?}");
    }
}
