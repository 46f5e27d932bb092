//! Labels: what a loss wants of them, and what files hold.

use super::{IGNORED, Targets};

/// Number of classes that are read at most, if nobody says how many there are.
pub(super) const MOST_CLASSES: u32 = 1_000_000;

/// What a loss wants of the labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Classes, which are whole numbers from 0.
    Classes {
        /// The label that does not count, if there is one.
        ignored: Option<i64>,
        /// Number of classes. `None`: one more than the largest label.
        classes: Option<u32>,
    },
    /// Numbers of any size, for a loss that compares with numbers.
    Values,
    /// Numbers from 0 to 1: probabilities.
    Chances,
}

impl Wanted {
    /// The number of classes that was asked for, if any.
    pub(super) fn classes(self) -> Option<u32> {
        match self {
            Wanted::Classes { classes, .. } => classes,
            Wanted::Values | Wanted::Chances => None,
        }
    }

    /// Targets of no samples yet, to which `width` labels a sample are to be added. The number of classes is set later, by
    /// [`Loaded::of`](super::Loaded::of).
    pub(super) fn none(self, width: usize) -> Targets {
        match self {
            Wanted::Classes { .. } => Targets::Classes { labels: Vec::new(), places: width, classes: 0 },
            Wanted::Values | Wanted::Chances => Targets::Values { values: Vec::new(), width },
        }
    }

    /// The label `number` as an f32, if the loss takes it.
    ///
    /// # Errors
    /// What the label should be, in words.
    pub(super) fn number(self, number: f64) -> Result<f32, String> {
        match (self, value(number)) {
            // Outside 0 to 1, binary cross entropy falls without end.
            (Wanted::Chances, single) => single
                .ok()
                .filter(|single| (0.0..=1.0).contains(single))
                .ok_or_else(|| "a number from 0 to 1, as loss = \"binary_cross_entropy\" wants".to_owned()),
            (_, single) => single,
        }
    }
}

/// The class that the whole number `label` names, or [`IGNORED`] if it is the label that does not count.
///
/// # Errors
/// What the label should be, in words.
pub(super) fn class(label: i128, ignored: Option<i64>, classes: Option<u32>) -> Result<u32, String> {
    if ignored.is_some_and(|ignored| label == i128::from(ignored)) {
        return Ok(IGNORED);
    }
    let most = classes.unwrap_or(MOST_CLASSES);
    match u32::try_from(label) {
        Ok(class) if class < most => Ok(class),
        _ => {
            let more = match (ignored, classes) {
                (Some(ignored), _) => format!(", or {ignored}, which is ignored: number classes from 0 up"),
                (None, _) if label < 0 => format!(
                    ": number classes from 0 up, or, where {label} counts for nothing, write train.loss = {{ kind = \
                     \"cross_entropy\", ignore_index = {label} }}"
                ),
                (None, Some(classes)) => {
                    format!(
                        ", as data.classes = {classes} says: number classes from 0 up, or say that there are more"
                    )
                }
                (None, None) => ": number classes from 0 up".to_owned(),
            };
            Err(format!("{}{more}", classes_below(most)))
        }
    }
}

/// What a label is if there are so many `classes`, in words.
pub(super) fn classes_below(classes: u32) -> String {
    format!("a class, a whole number from 0 to {}", classes.saturating_sub(1))
}

/// `number` as a whole number, if it is one.
///
/// # Errors
/// What it should be, in words.
pub(super) fn whole(number: f64) -> Result<i128, String> {
    // Beyond 9e15, f64 skips whole numbers. No class is so large.
    if number.fract() == 0.0 && number.abs() <= 9e15 {
        return Ok(number as i128);
    }
    let classes = classes_below(MOST_CLASSES);
    Err(format!("{classes}; where labels are numbers to be foretold, take loss = \"mean_squared_error\""))
}

/// `number` as an f32, if that is finite.
///
/// # Errors
/// What it should be, in words.
pub(super) fn value(number: f64) -> Result<f32, String> {
    let single = number as f32;
    if single.is_finite() { Ok(single) } else { Err("a finite number that an f32 holds".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_below_their_number_or_ignored() {
        assert_eq!(class(0, None, Some(3)), Ok(0));
        assert_eq!(class(2, None, Some(3)), Ok(2));
        assert_eq!(class(-100, Some(-100), Some(3)), Ok(IGNORED));
        assert_eq!(class(7, Some(7), Some(3)), Ok(IGNORED));
        assert_eq!(class(999_999, None, None), Ok(999_999));
        assert_eq!(
            class(3, None, Some(3)),
            Err("a class, a whole number from 0 to 2, as data.classes = 3 says: number classes from 0 up, or say that there are \
                 more"
                .to_owned())
        );
        assert!(
            class(-1, None, None).unwrap_err().contains("where -1 counts for nothing, write train.loss = { kind =")
        );
        assert_eq!(
            class(-1, Some(-100), Some(3)),
            Err("a class, a whole number from 0 to 2, or -100, which is ignored: number classes from 0 up".to_owned())
        );
        assert!(class(1_000_000, None, None).is_err());
        assert!(class(i128::from(u64::MAX), None, None).is_err());
    }

    #[test]
    fn a_whole_number_may_be_written_as_a_float() {
        for (number, due) in [(1.0, 1), (-100.0, -100), (0.0, 0), (-0.0, 0), (999_999.0, 999_999)] {
            assert_eq!(whole(number), Ok(due));
        }
        for number in [0.5, 1e300, f64::NAN, f64::INFINITY] {
            let error = whole(number).unwrap_err();
            assert!(error.contains("loss = \"mean_squared_error\"") && !error.contains("ignore_index"), "{error}");
        }
    }

    #[test]
    fn chances_are_from_0_to_1() {
        for number in [0.0, 0.25, 1.0] {
            assert_eq!(Wanted::Chances.number(number), Ok(number as f32));
        }
        for number in [-0.1, 1.5, f64::NAN, f64::INFINITY] {
            let error = Wanted::Chances.number(number).unwrap_err();
            assert_eq!(error, "a number from 0 to 1, as loss = \"binary_cross_entropy\" wants");
        }
        assert_eq!(Wanted::Values.number(1.5), Ok(1.5));
    }

    #[test]
    fn values_are_finite_singles() {
        assert_eq!(value(0.1), Ok(0.1));
        for number in [f64::NAN, f64::INFINITY, 1e39] {
            assert!(value(number).is_err());
        }
    }
}
