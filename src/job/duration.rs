//! Times as they are written, in a job and on the command line.

use std::time::Duration;

/// The longest time that may be written: 366 days.
pub(super) const LONGEST: Duration = Duration::from_secs(366 * 86_400);

/// The time that `text` names: a number and its unit, one of `us`, `ms`, `s`, `m` and `h`, as in "120s" or "1.5m". It is rounded to
/// whole `grains`, because no more is printed, and no more is told to other ranks. `None` where the text is no time, less than
/// half a grain, or more than 366 days.
pub fn duration(text: &str, grain: Duration) -> Option<Duration> {
    let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
    let (number, unit) = text.split_at(digits);
    let unit = match unit {
        "us" => 1.0,
        "ms" => 1e3,
        "s" => 1e6,
        "m" => 60e6,
        "h" => 3600e6,
        _ => return None,
    };
    let grains = (number.parse::<f64>().ok()? * unit / grain.as_micros() as f64).round();
    let most = LONGEST.as_micros() / grain.as_micros();
    (1.0..=most as f64).contains(&grains).then(|| Duration::from_nanos(grain.as_nanos() as u64 * grains as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_number_and_its_unit_in_whole_grains() {
        let [us, ms] = [Duration::from_micros(1), Duration::from_millis(1)];
        for (text, grain, due) in [
            ("500us", us, Duration::from_micros(500)),
            ("1.5ms", us, Duration::from_micros(1500)),
            ("1.4ms", ms, Duration::from_millis(1)),
            ("2m", ms, Duration::from_secs(120)),
            ("8784h", ms, LONGEST),
        ] {
            assert_eq!(duration(text, grain), Some(due), "{text}");
        }
        for text in ["", "s", "2", "0.4ms", "-1ms", "1e3s", "1.2.3s", "1 s", "2d", "8785h"] {
            assert_eq!(duration(text, ms), None, "{text}");
        }
    }
}
