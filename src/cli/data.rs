//! The command `mixnn data fetch`.

use std::path::PathBuf;

use super::{complain, fail};
use crate::data::fetch;
use crate::terminal;

/// Brings the data set `name` into the folder `to`, from `from` or the internet. Returns the exit code.
pub(super) fn fetch(name: &str, to: Option<PathBuf>, from: Option<PathBuf>) -> i32 {
    let to = to.unwrap_or_else(|| PathBuf::from("data").join(name));
    let bring = match name {
        "cifar10" => fetch::cifar10,
        _ => fetch::mnist,
    };
    match bring(&to, from.as_deref(), &mut terminal::remark) {
        Ok(files) => {
            let line = |file: &fetch::Fetched| {
                format!("{}  {:>10} bytes  sha256 {}\n", to.join(file.name).display(), file.bytes, file.sha256)
            };
            let printed = terminal::print(&files.iter().map(line).collect::<String>());
            printed.map_or_else(|error| fail(&error.into()), |()| 0)
        }
        Err(error) => {
            complain(&format!("error: {error}"));
            error.exit_code()
        }
    }
}
