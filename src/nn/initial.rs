//! Initial values of parameters. They follow from the stage's seed, the operation's index and the parameter's name alone.

use crate::compute::precise::{ln, sin_cos};
use crate::memory::{self, OutOfMemory};
use crate::random::{Philox, Seed};

/// What a parameter's initial values are drawn from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Initializer {
    /// Uniform in [-bound, bound) with `bound = 1 / sqrt(fan_in)`. PyTorch's `nn.Linear` and `nn.Conv2d` start so (Kaiming
    /// uniform with a = sqrt(5) for the weight, the same bound for the bias).
    FanIn(usize),
    /// Uniform in [-bound, bound) with `bound = sqrt(6 / (fan_in + fan_out))` (Glorot and Bengio, 2010, equation 16). The
    /// `in_proj_weight` of PyTorch's `nn.MultiheadAttention` starts so.
    Xavier {
        /// Number of inputs that one output depends on.
        fan_in: usize,
        /// Number of outputs that depend on one input.
        fan_out: usize,
    },
    /// Normal around 0 with this standard deviation. PyTorch's `nn.Embedding` starts so, with 1.
    Normal(f32),
    /// This value everywhere, without a draw.
    Is(f32),
}

impl Initializer {
    /// Draws `len` values from `seed`.
    ///
    /// # Errors
    /// [`OutOfMemory`] if there is no memory for them.
    pub(super) fn values(self, seed: &Seed, len: usize) -> Result<Vec<f32>, OutOfMemory> {
        match self {
            Initializer::FanIn(fan_in) => uniform(seed, len, 1.0 / (fan_in as f32).sqrt()),
            Initializer::Xavier { fan_in, fan_out } => uniform(seed, len, (6.0 / (fan_in + fan_out) as f32).sqrt()),
            Initializer::Normal(deviation) => normal(seed, len, deviation),
            Initializer::Is(value) => {
                let mut values = memory::room(len)?;
                values.resize(len, value);
                Ok(values)
            }
        }
    }
}

/// `len` values, uniform in [-bound, bound).
fn uniform(seed: &Seed, len: usize, bound: f32) -> Result<Vec<f32>, OutOfMemory> {
    let mut stream = seed.stream();
    let mut values = memory::room(len)?;
    values.extend((0..len).map(|_| bound * stream.unit_f32().mul_add(2.0, -1.0)));
    Ok(values)
}

/// `len` values, normal around 0. The method makes two values of two uniform numbers (Box and Muller, "A note on the generation
/// of random normal deviates", 1958).
fn normal(seed: &Seed, len: usize, deviation: f32) -> Result<Vec<f32>, OutOfMemory> {
    fn pair(stream: &mut Philox, deviation: f32) -> [f32; 2] {
        // 1 minus the number is above 0, so that its logarithm is finite.
        let size = (-2.0 * ln(1.0 - f64::from(stream.unit_f32()))).sqrt();
        let (sin, cos) = sin_cos(std::f64::consts::TAU * f64::from(stream.unit_f32()));
        [cos, sin].map(|part| (f64::from(deviation) * size * part) as f32)
    }
    let mut stream = seed.stream();
    let mut values = memory::room(len.saturating_add(1))?;
    while values.len() < len {
        values.extend(pair(&mut stream, deviation));
    }
    values.truncate(len);
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::cpu::Cpu;
    use crate::float::Float;
    use crate::job::{Job, Op, Optimizer, Shape};
    use crate::nn::{Stage, StageSpec};

    /// The distribution from which PyTorch draws a parameter.
    enum Due {
        /// Uniform between minus this bound and this bound.
        Within(f64),
        /// Normal around 0 with this standard deviation.
        Normal(f64),
        /// Not drawn: this value everywhere.
        Is(f32),
    }
    use Due::{Is, Normal, Within};

    /// An operation, its keys in a job, the shape of a sample that goes in, and its parameters with their distributions.
    type Case = (&'static str, &'static str, &'static [u32], &'static [(&'static str, Due)]);

    fn op(text: &str) -> Op {
        let head = "name = \"x\"\nseed = 1\ndata.source = \"digits\"\ntrain.epochs = 1\n";
        let job = Job::parse("job.toml", &format!("{head}[[stage]]\nops = [{text}]"), &[]).unwrap();
        job.stages[0].ops[0].clone()
    }

    /// The parameters of an operation that is built as a run builds it: their names and values.
    fn drawn(op: Op, input: Shape) -> Vec<(String, Vec<f32>)> {
        let spec = StageSpec {
            output: op.output(&input).unwrap(),
            ops: vec![op],
            input,
            data: None,
            wire: Float::F32,
            micro_batch: 1,
            optimizer: Optimizer::sgd(0.0),
            seed: Seed::from_text("x"),
            loss: None,
            values: None,
        };
        let backend = Cpu::new(1).unwrap();
        let values = Stage::new(&backend, &spec).unwrap().values(&backend).unwrap();
        let mut rest = values.as_slice();
        let part = |(_, declared): (usize, crate::nn::Declared)| {
            let (here, behind) = rest.split_at(declared.values() as usize);
            rest = behind;
            (declared.name, here.to_vec())
        };
        spec.parameters().into_iter().map(part).collect()
    }

    /// Checks that all operations draw their parameters from the distributions of PyTorch's modules (`reset_parameters`). The
    /// bounds are computed by hand. Where PyTorch has no such module, as for `position`, the deviation is our own.
    #[test]
    fn every_operation_starts_as_in_pytorch() {
        let norm: &[_] = &[("weight", Is(1.0)), ("bias", Is(0.0))];
        let cases: [Case; 13] = [
            // The bounds are 1 / sqrt(64), and 1 / sqrt(100) for each token.
            ("linear", "out = 50,", &[64], &[("weight", Within(0.125)), ("bias", Within(0.125))]),
            ("linear", "out = 50,", &[7, 100], &[("weight", Within(0.1)), ("bias", Within(0.1))]),
            // The bounds are 1 / sqrt(4 x 5 x 5), and with two groups 1 / sqrt(8 / 2 x 3 x 3).
            ("conv2d", "out = 90, kernel = 5,", &[4, 8, 8], &[("weight", Within(0.1)), ("bias", Within(0.1))]),
            (
                "conv2d",
                "out = 90, kernel = 3, groups = 2,",
                &[8, 5, 5],
                &[("weight", Within(1.0 / 6.0)), ("bias", Within(1.0 / 6.0))],
            ),
            ("embedding", "vocabulary = 300, width = 20,", &[4], &[("weight", Normal(1.0))]),
            ("position", "", &[80, 30], &[("weight", Normal(0.02))]),
            // The bounds are sqrt(6 / (64 + 192)) and 1 / sqrt(64).
            (
                "attention",
                "heads = 4,",
                &[5, 64],
                &[
                    ("in_proj_weight", Within(0.153_093_1)),
                    ("in_proj_bias", Is(0.0)),
                    ("out_proj.weight", Within(0.125)),
                    ("out_proj.bias", Is(0.0)),
                ],
            ),
            (
                "attention",
                "heads = 2, bias = false,",
                &[5, 24],
                &[("in_proj_weight", Within(0.25)), ("out_proj.weight", Within(0.204_124_1))],
            ),
            (
                "batch_norm",
                "",
                &[6, 3, 3],
                &[("weight", Is(1.0)), ("bias", Is(0.0)), ("running_mean", Is(0.0)), ("running_var", Is(1.0))],
            ),
            ("layer_norm", "", &[4, 6], norm),
            ("group_norm", "groups = 2,", &[6, 3, 3], norm),
            ("rms_norm", "", &[6], &[("weight", Is(1.0))]),
            (
                "residual",
                "ops = [{ op = \"relu\" }, { op = \"linear\", out = 64 }],",
                &[64],
                &[("1.weight", Within(0.125)), ("1.bias", Within(0.125))],
            ),
        ];
        for (name, keys, input, due) in cases {
            let found = drawn(op(&format!("{{ {keys} op = {name:?} }}")), Shape::new(input));
            let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!(names, due.iter().map(|(name, _)| *name).collect::<Vec<&str>>());
            for ((parameter, values), (_, due)) in found.iter().zip(due) {
                is_drawn(values, due, &format!("{name}, {parameter}"));
            }
        }
    }

    /// Compares the largest value and the first moments of `values` with those of the distribution `due`.
    fn is_drawn(values: &[f32], due: &Due, what: &str) {
        let n = values.len() as f64;
        let moment = |power| values.iter().map(|v| f64::from(*v).powi(power)).sum::<f64>() / n;
        // The mean and the deviation of a value's square: b^2 / 3 and b^2 sqrt(4 / 45) if uniform, d^2 and d^2 sqrt(2) if
        // normal.
        let (square, scatter) = match due {
            Is(value) => {
                return assert!(values.iter().all(|v| v == value), "{what}: {values:?}, PyTorch has {value}");
            }
            Within(bound) => {
                let largest = values.iter().fold(0.0, |most: f64, v| most.max(f64::from(v.abs())));
                // The bound may be rounded up in f32. With a chance of e^-20, none of the n values is this near to the bound.
                let near = bound * (1.0 - 20.0 / n)..=bound * (1.0 + 1e-6);
                assert!(near.contains(&largest), "{what}: the largest is {largest}, PyTorch's bound {bound}");
                (bound * bound / 3.0, bound * bound * (4.0_f64 / 45.0).sqrt())
            }
            Normal(deviation) => (deviation * deviation, deviation * deviation * 2.0_f64.sqrt()),
        };
        let (mean, found) = (moment(1), moment(2));
        assert!(mean.abs() < 4.0 * (square / n).sqrt(), "{what}: a mean of {mean}");
        assert!((found - square).abs() < 4.0 * scatter / n.sqrt(), "{what}: a mean square of {found}, not {square}");
    }

    #[test]
    fn normal_values_have_the_moments_of_their_distribution() {
        let values = normal(&Seed::from_text("x"), 40_001, 0.5).unwrap();
        assert_eq!(values.len(), 40_001);
        let moment = |power| values.iter().map(|v| f64::from(*v / 0.5).powi(power)).sum::<f64>() / 40_001.0;
        let moments = [1, 2, 3, 4].map(moment);
        // Each mean may be off by four standard deviations; those of x^p are 1, sqrt(2), sqrt(15) and sqrt(96).
        for ((found, due), deviation) in moments.iter().zip([0.0, 1.0, 0.0, 3.0]).zip([1.0, 1.414, 3.873, 9.798]) {
            assert!((found - due).abs() < 4.0 * deviation / 200.0, "{moments:?}");
        }
    }
}
