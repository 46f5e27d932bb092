//! Files from mirrors over HTTPS. The one file of the program that opens a connection to the
//! Internet.

use std::{path::Path, time::Duration};

use super::{DataError, Original};

/// Public mirrors of the gzipped originals.
pub(super) const MIRRORS: [&str; 2] =
    ["https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"];

/// How long a mirror may take to be found, to connect, and to begin its answer; a host behind a
/// firewall that drops packets must not hold up the user for long.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long one file may take: 10 MB over a slow line.
const PATIENCE_FILE: Duration = Duration::from_secs(600);

/// A client that speaks HTTPS only, also after redirects, and never waits for ever.
pub(super) fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .https_only(true)
        .timeout_resolve(Some(PATIENCE))
        .timeout_connect(Some(PATIENCE))
        .timeout_recv_response(Some(PATIENCE))
        .timeout_global(Some(PATIENCE_FILE))
        .build()
        .into()
}

/// `original`, unpacked and proven, from the first of `mirrors` that delivers it.
///
/// # Errors
/// [`DataError::Download`] with each mirror's failure.
pub(super) fn read(
    agent: &ureq::Agent,
    mirrors: &[&str],
    original: &Original,
    progress: &mut dyn FnMut(&str),
) -> Result<Vec<u8>, DataError> {
    let mut tries = Vec::new();
    for mirror in mirrors {
        let address = format!("{mirror}{}.gz", original.name);
        progress(&format!("{}: downloading {address}", original.name));
        match get(agent, &address, original) {
            Ok(bytes) => return Ok(bytes),
            Err(failure) => {
                progress(&format!("{}: {failure}", original.name));
                tries.push(failure);
            }
        }
    }
    Err(DataError::Download { name: original.name, tries: tries.join("; ") })
}

/// `original` from `address`, or in words why not.
fn get(agent: &ureq::Agent, address: &str, original: &Original) -> Result<Vec<u8>, String> {
    let failed = |error: ureq::Error| format!("{address}: {error}");
    // No gzip file of it is longer than this: deflate adds five bytes to 65,535 that it cannot
    // shrink.
    let limit = original.bytes + original.bytes / 1024 + 1024;
    let mut response = agent.get(address).call().map_err(failed)?;
    let raw = response.body_mut().with_config().limit(limit).read_to_vec().map_err(failed)?;
    original.verified(Path::new(address), raw).map_err(|error| error.to_string())
}
