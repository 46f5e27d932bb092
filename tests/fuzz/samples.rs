//! Writes the seeds of `opening`, `package` and `arrays` into tests/fuzz/corpus, and sees that the first two are accepted:
//! cargo run --manifest-path tests/fuzz/Cargo.toml --example samples

use std::collections::BTreeMap;
use std::path::Path;

use mixnn::job::Profile;
use mixnn::run::fuzzing::{announcement, opening, package, returned, samples};

fn main() -> std::io::Result<()> {
    let mut counts = BTreeMap::<&str, u32>::new();
    for (what, bytes) in samples() {
        let accepted = match what {
            "opening" => opening(&bytes, 7),
            "announcement" => announcement(&bytes),
            "returned" => returned(&bytes),
            _ => package(&bytes, Profile::Mixed, 3, 7)
                .or_else(|| package(&bytes, Profile::Mixed, 3, 8))
                .or_else(|| package(&bytes, Profile::Sealed, 1, 2)),
        };
        assert_eq!(accepted.as_ref(), Some(&bytes), "{what}");
        let count = counts.entry(what).or_default();
        *count += 1;
        let target = if what == "package" { what } else { "opening" };
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join(format!("{what}-{count}")), bytes)?;
    }
    arrays()
}

/// What NumPy and the Python library of safetensors wrote (tests/reference/arrays.py), and a table, behind the byte that says
/// what is asked of them.
fn arrays() -> std::io::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = root.join("corpus/arrays");
    std::fs::create_dir_all(&folder)?;
    let write = |name: &str, asked: u8, bytes: &[u8]| std::fs::write(folder.join(name), [&[asked], bytes].concat());
    let table = b"a,b,y\n0.5,-1e3,3\n\n 2,4 ,-100\n";
    write("table", 0, table)?;
    write("table-of-values", 4, table)?;
    write("table-with-an-index", 64, b",a,b,y\n0,0.5,-1e3,3.0\n1,2,4,1\n")?;
    for (file, asked) in [
        ("stored.npz", 1 + 8 + 16),
        ("packed.npz", 1),
        ("doubles.safetensors", 2 + 4),
        ("big-endian.npy", 3),
        ("columns.npy", 3),
        ("tokens.npy", 3),
    ] {
        write(file, asked, &std::fs::read(root.join("../reference/arrays").join(file))?)?;
    }
    Ok(())
}
