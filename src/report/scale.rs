//! Axes: round numbers to write at them, and how numbers with a unit are written.

/// Round numbers from `low` to `high`, about `count` of them: multiples of 1, 2 or 5 times a power of ten. Where nothing lies between, or
/// the ends are no numbers, there is `low` alone.
pub(super) fn ticks(low: f64, high: f64, count: usize) -> Vec<f64> {
    let span = high - low;
    if !(span.is_finite() && span > 0.0 && low.is_finite()) {
        return vec![low];
    }
    let rough = span / count.max(1) as f64;
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|of| of * power).find(|step| *step >= rough * 0.999);
    let step = step.unwrap_or(rough);
    let first = (low / step - 1e-9).ceil();
    (0..=2 * count + 2).map(|at| (first + at as f64) * step).take_while(|tick| *tick <= high + step * 1e-9).collect()
}

/// A number of the axis whose ticks are `ticks`, with as many decimals as tell them apart.
pub(super) fn tick_label(value: f64, ticks: &[f64]) -> String {
    let step = ticks.windows(2).map(|pair| pair[1] - pair[0]).fold(f64::INFINITY, f64::min);
    let decimals = if step.is_finite() { (-(step.log10() + 1e-9).floor()).clamp(0.0, 6.0) as usize } else { 2 };
    let text = format!("{value:.decimals$}");
    // No minus stands before nothing.
    if text.trim_start_matches(['-', '0', '.']).is_empty() { text.trim_start_matches('-').to_owned() } else { text }
}

/// A number with three figures, where it has as many: 0.0123, 1.23, 123, 12,345.
pub(super) fn short(value: f64) -> String {
    let size = value.abs();
    match size {
        _ if !value.is_finite() => value.to_string(),
        0.0 => "0".to_owned(),
        100.0.. => grouped(value),
        ..0.0001 => format!("{value:.1e}"),
        _ => {
            let decimals = (2.0 - size.log10().floor()).clamp(0.0, 6.0) as usize;
            format!("{value:.decimals$}")
        }
    }
}

/// A whole number, its thousands apart.
fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0.0 { format!("-{text}") } else { text }
}

/// A count, its thousands apart.
pub(super) fn count(value: u64) -> String {
    grouped(value as f64)
}

/// A time in the unit in which it reads well: `12.3 µs`, `4.56 ms`, `7.89 s`.
pub(super) fn time(micros: f64) -> String {
    let (unit, of) = unit_of(micros);
    format!("{} {unit}", short(micros / of))
}

/// The unit in which a time of so many microseconds reads well, and how many microseconds it has.
pub(super) fn unit_of(micros: f64) -> (&'static str, f64) {
    match micros.abs() {
        ..1e3 => ("µs", 1.0),
        1e3..1e6 => ("ms", 1e3),
        _ => ("s", 1e6),
    }
}

/// The middle of some numbers, the least and the largest. `None` where there are none.
pub(super) fn middle(values: impl IntoIterator<Item = f64>) -> Option<[f64; 3]> {
    let mut values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
    values.sort_by(f64::total_cmp);
    let (low, high) = (*values.first()?, *values.last()?);
    let half = values.len() / 2;
    let median = if values.len() % 2 == 1 { values[half] } else { (values[half - 1] + values[half]) / 2.0 };
    Some([median, low, high])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within_the_axis() {
        assert_eq!(ticks(0.0, 10.0, 5), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(ticks(0.1, 0.9, 4), [0.2, 0.4, 0.6000000000000001, 0.8]);
        assert_eq!(ticks(3.0, 3.0, 4), [3.0]);
        for (low, high) in
            [(0.0, 1e-9), (-5.0, 1e9), (1.0, 1.0001), (f64::NAN, 1.0), (0.0, f64::INFINITY), (1.0, 0.0)]
        {
            let ticks = ticks(low, high, 5);
            assert!((1..=13).contains(&ticks.len()), "{low} to {high}: {ticks:?}");
        }
    }

    #[test]
    fn labels_tell_ticks_apart() {
        let labels = |ticks: &[f64]| ticks.iter().map(|tick| tick_label(*tick, ticks)).collect::<Vec<_>>();
        assert_eq!(labels(&[0.0, 0.5, 1.0]), ["0.0", "0.5", "1.0"]);
        assert_eq!(labels(&[-20.0, 0.0, 20.0]), ["-20", "0", "20"]);
        assert_eq!(labels(&[0.01, 0.012]), ["0.010", "0.012"]);
        assert_eq!(tick_label(-1e-12, &[0.0, 1.0]), "0");
    }

    #[test]
    fn numbers_have_three_figures() {
        for (value, text) in [
            (0.0, "0"),
            (0.012345, "0.0123"),
            (1.0, "1.00"),
            (12.345, "12.3"),
            (99.96, "100.0"),
            (123.4, "123"),
            (1_234_567.0, "1,234,567"),
            (-1234.0, "-1,234"),
            (0.00001, "1.0e-5"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(short(value), text);
        }
        assert_eq!([time(12.3), time(4560.0), time(7.89e6)], ["12.3 µs", "4.56 ms", "7.89 s"]);
        assert_eq!(count(1024), "1,024");
    }

    #[test]
    fn the_middle_of_nothing_is_none() {
        assert_eq!(middle([]), None);
        assert_eq!(middle([f64::NAN]), None);
        assert_eq!(middle([3.0, 1.0, 2.0]), Some([2.0, 1.0, 3.0]));
        assert_eq!(middle([4.0, 1.0]), Some([2.5, 1.0, 4.0]));
    }
}
