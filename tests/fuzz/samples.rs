//! Writes the seeds of `opening` and `package` into tests/fuzz/corpus, and sees that they are accepted:
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
    Ok(())
}
