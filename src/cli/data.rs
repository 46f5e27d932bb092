//! `mixnn data fetch`.

use std::path::PathBuf;

use crate::data::fetch;

/// Brings the data set `name`; the exit code.
pub(super) fn fetch(name: &str, to: Option<PathBuf>, from: Option<PathBuf>) -> i32 {
    let to = to.unwrap_or_else(|| PathBuf::from("data").join(name));
    let bring = match name {
        "cifar10" => fetch::cifar10,
        _ => fetch::mnist,
    };
    match bring(&to, from.as_deref(), &mut |line| eprintln!("{line}")) {
        Ok(files) => {
            for file in files {
                println!("{}  {:>10} bytes  sha256 {}", to.join(file.name).display(), file.bytes, file.sha256);
            }
            0
        }
        Err(error) => {
            eprintln!("mixnn: error: {error}");
            error.exit_code()
        }
    }
}
