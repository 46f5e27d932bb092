//! Parameters by least squares. A time is a sum of parameters, each taken so many times; no parameter is below 0.

/// A measured time, and how often it holds each parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation<const N: usize> {
    /// How often each parameter is in it.
    pub times: [f64; N],
    /// How many of its seconds are known and no parameter's.
    pub known: f64,
    /// How many seconds were measured.
    pub seconds: f64,
}

impl<const N: usize> Observation<N> {
    /// How many seconds `parameters` come to.
    pub fn predicted(&self, parameters: &[f64; N]) -> f64 {
        self.known + self.times.iter().zip(parameters).map(|(times, parameter)| times * parameter).sum::<f64>()
    }

    /// By how much of what was measured `parameters` are off: 0.1 where they come to 10 % more.
    pub fn off(&self, parameters: &[f64; N]) -> f64 {
        self.predicted(parameters) / self.seconds - 1.0
    }
}

/// The parameters, none below 0, for which the sum of the squares of all [`Observation::off`] is least. So a short time counts as
/// much as a long one. Where several do as well, as many of them are 0 as can be.
///
/// All choices of which parameters are above 0 are tried, so `N` is small.
pub fn least_squares<const N: usize>(observations: &[Observation<N>]) -> [f64; N] {
    let observed = || observations.iter().filter(|observation| observation.seconds > 0.0);
    let rows: Vec<[f64; N]> =
        observed().map(|observation| observation.times.map(|times| times / observation.seconds)).collect();
    let due: Vec<f64> = observed().map(|observation| 1.0 - observation.known / observation.seconds).collect();
    // Parameters differ by many powers of ten: each is measured by how large its column is.
    let mut size = [0.0_f64; N];
    for row in &rows {
        size.iter_mut().zip(row).for_each(|(size, value)| *size = size.max(value.abs()));
    }
    let squares = |parameters: &[f64; N]| -> f64 {
        rows.iter()
            .zip(&due)
            .map(|(row, due)| {
                row.iter().zip(parameters).map(|(value, parameter)| value * parameter).sum::<f64>() - due
            })
            .map(|off| off * off)
            .sum()
    };
    let mut sets: Vec<u32> = (0..1 << N).collect();
    sets.sort_by_key(|set| set.count_ones());
    let mut best = ([0.0; N], squares(&[0.0; N]));
    for set in sets {
        let chosen: Vec<usize> = (0..N).filter(|i| set >> i & 1 == 1 && size[*i] > 0.0).collect();
        let Some(solved) = solved(&rows, &due, &chosen, &size) else { continue };
        let mut parameters = [0.0; N];
        chosen.iter().zip(solved).for_each(|(i, value)| parameters[*i] = value / size[*i]);
        let left = squares(&parameters);
        // Rounding alone is no reason for one more parameter.
        if parameters.iter().all(|parameter| *parameter >= 0.0) && left < best.1 * (1.0 - 1e-9) {
            best = (parameters, left);
        }
    }
    best.0
}

/// The values of the `chosen` parameters, scaled by `size`, for which `rows` come nearest to what is `due`. `None` where the rows do not tell.
fn solved<const N: usize>(rows: &[[f64; N]], due: &[f64], chosen: &[usize], size: &[f64; N]) -> Option<Vec<f64>> {
    let count = chosen.len();
    let at = |row: &[f64; N], i: usize| row[chosen[i]] / size[chosen[i]];
    // The normal equations, with the right side in the last column.
    let mut a: Vec<Vec<f64>> = (0..count)
        .map(|i| {
            let products = (0..count).map(|j| rows.iter().map(|row| at(row, i) * at(row, j)).sum());
            products.chain([rows.iter().zip(due).map(|(row, due)| at(row, i) * due).sum()]).collect()
        })
        .collect();
    for i in 0..count {
        let pivot = (i..count).max_by(|x, y| a[*x][i].abs().total_cmp(&a[*y][i].abs()))?;
        a.swap(i, pivot);
        if a[i][i].abs() < 1e-12 {
            return None;
        }
        let (above, below) = a.split_at_mut(i + 1);
        let pivot = &above[i];
        for row in below {
            let factor = row[i] / pivot[i];
            row.iter_mut().zip(pivot).skip(i).for_each(|(value, above)| *value -= factor * above);
        }
    }
    let mut found = vec![0.0; count];
    for i in (0..count).rev() {
        let known: f64 = (i + 1..count).map(|j| a[i][j] * found[j]).sum();
        found[i] = (a[i][count] - known) / a[i][i];
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observed(parameters: [f64; 3], times: &[[f64; 3]]) -> Vec<Observation<3>> {
        times
            .iter()
            .map(|times| {
                let nothing = Observation { times: *times, known: 0.0, seconds: 0.0 };
                Observation { seconds: nothing.predicted(&parameters), ..nothing }
            })
            .collect()
    }

    /// Lengths and counts as they are: from a few to a million.
    const TIMES: [[f64; 3]; 6] =
        [[1.0, 6.0, 1e3], [1.0, 6.0, 1e6], [3.0, 20.0, 5e4], [3.0, 90.0, 2e5], [2.0, 1.0, 1e4], [9.0, 40.0, 7e5]];

    #[test]
    fn known_parameters_are_found_again() {
        for known in [[1e-5, 2e-6, 3e-10], [1e-5, 0.0, 3e-10], [0.0, 2e-6, 0.0], [5e-3, 1e-9, 1e-12]] {
            let observations = observed(known, &TIMES);
            let found = least_squares(&observations);
            for (known, found) in known.iter().zip(found) {
                assert!((known - found).abs() <= 1e-6 * known + 1e-15, "{known} was taken for {found}");
            }
            assert!(observations.iter().all(|observation| observation.off(&found).abs() < 1e-6));
        }
    }

    #[test]
    fn what_is_known_is_left_out() {
        let parameters = [1e-5, 2e-6, 3e-10];
        let mut observations = observed(parameters, &TIMES);
        for (i, observation) in observations.iter_mut().enumerate() {
            observation.known = 1e-4 * i as f64;
            observation.seconds += observation.known;
        }
        let found = least_squares(&observations);
        assert!(parameters.iter().zip(found).all(|(known, found)| (found / known - 1.0).abs() < 1e-6), "{found:?}");
        assert!(observations.iter().all(|observation| observation.off(&found).abs() < 1e-6));
    }

    #[test]
    fn noise_moves_parameters_a_little_and_none_below_zero() {
        let mut observations = observed([1e-5, 2e-6, 3e-10], &TIMES);
        for (i, observation) in observations.iter_mut().enumerate() {
            observation.seconds *= if i % 2 == 0 { 1.05 } else { 0.95 };
        }
        let found = least_squares(&observations);
        assert!(observations.iter().all(|observation| observation.off(&found).abs() < 0.1), "{found:?}");
        // The more of the second, the less time it took: no machine is like that.
        let backward = [([1.0, 1.0, 0.0], 1e-3), ([1.0, 9.0, 0.0], 1e-4)];
        let observations = backward.map(|(times, seconds)| Observation { times, known: 0.0, seconds });
        assert!(least_squares(&observations).iter().all(|parameter| *parameter >= 0.0));
    }

    /// Where observations do not tell two parameters apart, one of them takes all.
    #[test]
    fn what_cannot_be_told_apart_is_one_parameter() {
        let observations = observed([1e-5, 1e-5, 0.0], &[[3.0, 3.0, 0.0], [4.0, 4.0, 0.0], [9.0, 9.0, 0.0]]);
        let found = least_squares(&observations);
        assert_eq!(found.iter().filter(|parameter| **parameter > 0.0).count(), 1, "{found:?}");
        assert!(observations.iter().all(|observation| observation.off(&found).abs() < 1e-9));
        assert_eq!(least_squares::<3>(&[]), [0.0; 3]);
    }
}
