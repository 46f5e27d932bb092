//! Operations as jobs write them and miswrite them, and what they make of shapes.

use crate::job::tests::{JOB, classes, parse, refused, with_ops};
use crate::job::{Shape, chain};

#[test]
fn operations_learn_from_enough_samples() {
    let fewest = |op: &str, shape: &[u32]| with_ops(op).stages[0].ops[0].fewest(&Shape::new(shape));
    const NORM: &str = "{ op = \"batch_norm\" }";
    for (shape, due) in [(&[8][..], 2), (&[1], 2), (&[8, 1, 1], 2), (&[8, 1, 2], 1), (&[1, 3, 1], 1)] {
        assert_eq!(fewest(NORM, shape), due, "{shape:?}");
        let residual = |ops: &str| format!("{{ op = \"residual\", ops = [{ops}] }}");
        assert_eq!(fewest(&residual(&format!("{{ op = \"relu\" }}, {}", residual(NORM))), shape), due, "{shape:?}");
    }
    assert_eq!(fewest("{ op = \"relu\" }", &[8]), 1);
    // What goes in within it counts, not what goes into it.
    let pooled = "{ op = \"residual\", ops = [{ op = \"global_avg_pool\" }, { op = \"batch_norm\" }] }";
    assert_eq!(fewest(pooled, &[8, 2, 2]), 2);
}

#[test]
fn operations_say_what_they_take_and_what_they_get() {
    let shapes = |ops: &str, count| chain(&with_ops(ops), &classes([1, 8, 8], count)).unwrap()[1].shape.to_string();
    let shape = |ops: &str| shapes(ops, 10);
    assert_eq!(shape("{ op = \"conv2d\", out = 4, kernel = [3, 2], stride = [2, 1], padding = 1 }"), "(4, 4, 9)");
    assert_eq!(shape("{ op = \"max_pool\", kernel = 3 }"), "(1, 2, 2)");
    assert_eq!(shapes("{ op = \"reshape\", shape = [16, 4] }, { op = \"linear\", out = 5 }", 160), "(16, 5)");
    assert_eq!(shape("{ op = \"reshape\", shape = 64 }"), "(64)");
    assert_eq!(shapes("{ op = \"flatten\" }, { op = \"embedding\", vocabulary = 17, width = 4 }", 640), "(64, 4)");
    for (ops, words) in [
        (
            "{ op = \"flatten\" }, { op = \"conv2d\", out = 4, kernel = 3 }",
            "`conv2d` takes an image (channels, height, width), but gets (64); put a `reshape` before it",
        ),
        (
            "{ op = \"conv2d\", out = 4, kernel = 9 }",
            "images of at least 9x9 with their padding, but gets (1, 8, 8); take a smaller `kernel`",
        ),
        (
            "{ op = \"conv2d\", out = 4, kernel = 3, groups = 2 }",
            "channels in 2 equal groups, but gets (1, 8, 8); let `groups` divide 1 and `out`, 4",
        ),
        ("{ op = \"max_pool\", kernel = 3, padding = 2 }", "a padding of at most half its kernel"),
        ("{ op = \"flatten\" }, { op = \"avg_pool\", kernel = 2 }", "`avg_pool` takes an image"),
        ("{ op = \"flatten\" }, { op = \"global_avg_pool\" }", "`global_avg_pool` takes an image"),
        (
            "{ op = \"reshape\", shape = [3, 20] }",
            "60 values a sample to make (3, 20) of them, but gets (1, 8, 8); name a shape of 64 values",
        ),
        (
            "{ op = \"linear\", out = 1 }, { op = \"layer_norm\" }",
            "`layer_norm` takes two values or more, but gets (1); leave it out",
        ),
        (
            "{ op = \"linear\", out = 8 }, { op = \"group_norm\", groups = 8 }",
            "`group_norm` takes two values a group or more, but gets (8); take fewer than 8 groups",
        ),
        (
            "{ op = \"reshape\", shape = [8, 8] }, { op = \"batch_norm\" }",
            "`batch_norm` takes images or vectors, but gets (8, 8)",
        ),
        (
            "{ op = \"reshape\", shape = [8, 8] }, { op = \"group_norm\", groups = 2 }",
            "`group_norm` takes images or vectors",
        ),
        ("{ op = \"position\" }", "`position` takes a sequence (tokens, width), but gets (1, 8, 8); put a `reshape`"),
        (
            "{ op = \"attention\", heads = 2 }",
            "`attention` takes a sequence (tokens, width), but gets (1, 8, 8); put a",
        ),
        (
            "{ op = \"reshape\", shape = [8, 8] }, { op = \"attention\", heads = 3 }",
            "`attention` takes tokens of 3 equal heads, but gets (8, 8); take heads = 2",
        ),
        (
            "{ op = \"reshape\", shape = [8, 8] }, { op = \"attention\", heads = 8, rotary = true }",
            "heads of an even width where `rotary` is true, but gets (8, 8); take heads = 4",
        ),
        (
            "{ op = \"embedding\", vocabulary = 17, width = 4 }",
            "`embedding` takes a vector of tokens, but gets (1, 8, 8); put a `flatten` before it",
        ),
        ("{ op = \"group_norm\", groups = 3 }", "channels in 3 equal groups"),
        (
            "{ op = \"residual\", ops = [{ op = \"linear\", out = 63 }] }",
            "`residual` gets (1, 8, 8), but its operations make (63) of it; let them give 64 values, and end in",
        ),
        (
            "{ op = \"residual\", ops = [{ op = \"flatten\" }, { op = \"max_pool\", kernel = 2 }] }",
            "in `residual`, `max_pool` takes an image",
        ),
        (
            "{ op = \"conv2d\", out = 1000000, kernel = 1 }",
            "`conv2d` gives 64000000 values a sample, (1000000, 8, 8); an operation gives at most 1000000",
        ),
    ] {
        let error = chain(&with_ops(ops), &classes([1, 8, 8], 10)).unwrap_err().to_string();
        assert!(error.starts_with("job.toml:14:1: stage 1: ") && error.contains(words), "{ops}: {error}");
    }
}

#[test]
fn keys_of_operations_have_ranges() {
    let first = "{ op = \"linear\", in = 64, out = 16 }, { op = \"relu\" }";
    for (op, words) in [
        ("{ op = \"conv2d\", kernel = 3 }", "lacks the key `out`"),
        ("{ op = \"conv2d\", out = 3 }", "lacks the key `kernel`"),
        (
            "{ op = \"conv2d\", out = 3, kernel = 3, padding = 3 }",
            "`padding` is the integer 3; expected a whole number from 0",
        ),
        ("{ op = \"conv2d\", out = 3, kernel = [3, 3, 3] }", "`kernel` is a list of 3"),
        ("{ op = \"conv2d\", out = 3, kernel = 3, stride = 0 }", "the integer 0"),
        ("{ op = \"conv2d\", out = 3, kernel = 3, groups = 2 }", "a whole number that divides `out`"),
        ("{ op = \"max_pool\", kernels = 2 }", "did you mean `kernel`?"),
        ("{ op = \"attention\" }", "lacks the key `heads`"),
        ("{ op = \"attention\", heads = 0 }", "`heads` is the integer 0; expected a whole number from 1"),
        ("{ op = \"attention\", heads = 1, causal = 1 }", "true or false"),
        ("{ op = \"embedding\", width = 4 }", "lacks the key `vocabulary`"),
        ("{ op = \"embedding\", vocabulary = 4, width = 1000001 }", "a whole number from 1 to 1000000"),
        ("{ op = \"dropout\", p = 1 }", "a part from 0 up to, not including, 1"),
        ("{ op = \"batch_norm\", eps = 0 }", "a small number above 0"),
        ("{ op = \"batch_norm\", momentum = 2 }", "a part from 0 to 1"),
        ("{ op = \"gelu\", approximate = \"erf\" }", "\"none\" or \"tanh\""),
        ("{ op = \"residual\", ops = [] }", "one or more operations"),
        ("{ op = \"reshape\", shape = [1, 1, 1, 64] }", "one to three whole numbers"),
        ("{ op = \"relu\", p = 1 }", "unknown key `p`"),
    ] {
        let error = refused(&JOB.replace(first, op), &[]);
        assert!(error.starts_with("job.toml:15:") && error.contains(words), "{op}: {error}");
    }
    let deep = |depth: usize| {
        let [open, close] = ["{ op = \"residual\", ops = [", "] }"].map(|part| part.repeat(depth));
        JOB.replace(first, &format!("{open}{{ op = \"relu\" }}{close}"))
    };
    assert!(parse(&deep(8), &[]).is_ok());
    assert!(refused(&deep(9), &[]).contains("9 residual operations stand within each other; 8 may"));
}
