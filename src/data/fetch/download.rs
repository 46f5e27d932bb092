//! Files from mirrors over HTTPS, by a program that the system has: `curl` or `wget`. They know the proxies and certificates of
//! the machine, and spare this program a library of cryptography for four files that are known by their digests.

use std::{
    fs::File,
    io::{ErrorKind, Read, Seek},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::{DataError, Original};

/// Public mirrors of the gzipped originals.
pub(super) const MIRRORS: [&str; 2] =
    ["https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"];

/// How long one file may take: 10 MB over a slow line.
const PATIENCE: Duration = Duration::from_secs(600);

/// A program that writes what stands at an address to its standard output.
///
/// Its options limit to 15 seconds how long it waits for a mirror to be found, to connect and to go on: a host behind a firewall
/// that drops packets must not hold up the user for long.
#[derive(Clone, Copy)]
pub(super) struct Tool {
    pub(super) name: &'static str,
    pub(super) options: &'static [&'static str],
    /// What keeps it to HTTPS, also where a mirror sends it elsewhere.
    pub(super) https: &'static [&'static str],
}

/// The first that is installed is taken.
pub(super) const TOOLS: [Tool; 2] = [
    Tool {
        name: "curl",
        options: &[
            "--silent",
            "--show-error",
            "--fail",
            "--location",
            "--connect-timeout",
            "15",
            "--speed-limit",
            "1",
            "--speed-time",
            "15",
        ],
        https: &["--proto", "=https"],
    },
    Tool {
        name: "wget",
        options: &["--no-verbose", "--output-document=-", "--timeout=15", "--tries=1"],
        https: &["--max-redirect=0"],
    },
];

/// `original`, unpacked and proven, from the first of `mirrors` that delivers it.
///
/// # Errors
/// [`DataError::Download`] with each mirror's failure, and where none of `tools` is installed.
pub(super) fn read(
    tools: &[Tool],
    mirrors: &[&str],
    original: &Original,
    progress: &mut dyn FnMut(&str),
) -> Result<Vec<u8>, DataError> {
    let mut tries = Vec::new();
    for mirror in mirrors {
        let address = format!("{mirror}{}.gz", original.name);
        progress(&format!("{}: downloading {address}", original.name));
        match get(tools, &address, original) {
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
fn get(tools: &[Tool], address: &str, original: &Original) -> Result<Vec<u8>, String> {
    // No gzip file of it is longer than this: deflate adds five bytes to 65,535 that it cannot
    // shrink.
    let limit = original.bytes + original.bytes / 1024 + 1024;
    let failed = |tool: &Tool, error| format!("{address}: {}: {error}", tool.name);
    for tool in tools {
        let mut said = tempfile::tempfile().map_err(|error| failed(tool, error))?;
        let stderr = said.try_clone().map_err(|error| failed(tool, error))?;
        let mut command = Command::new(tool.name);
        command.args(tool.options).args(tool.https).arg(address);
        match command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr).spawn() {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(failed(tool, error)),
            Ok(child) => {
                let raw = Running(child).output(limit, &mut said).map_err(|why| format!("{address}: {why}"))?;
                return original.verified(Path::new(address), raw).map_err(|error| error.to_string());
            }
        }
    }
    let names: Vec<&str> = tools.iter().map(|tool| tool.name).collect();
    Err(format!("{address}: nothing to download with is installed: {}", names.join(" or ")))
}

/// A tool at work, which ends when nobody waits for it any more.
struct Running(Child);

impl Running {
    /// What it writes, at most `limit` bytes; or why it failed, as it has `said` itself.
    fn output(mut self, limit: u64, said: &mut File) -> Result<Vec<u8>, String> {
        let begun = Instant::now();
        let mut output = Vec::new();
        let mut piece = [0; 1 << 16];
        while let Some(stdout) = &mut self.0.stdout {
            match stdout.read(&mut piece) {
                Ok(0) => break,
                Ok(bytes) => output.extend_from_slice(&piece[..bytes]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.to_string()),
            }
            if output.len() as u64 > limit {
                return Err(format!("more than the {limit} bytes that the file can have"));
            }
            if begun.elapsed() > PATIENCE {
                return Err(format!("not done after {} s", PATIENCE.as_secs()));
            }
        }
        let status = self.0.wait().map_err(|error| error.to_string())?;
        if status.success() {
            return Ok(output);
        }
        let mut words = Vec::new();
        let _ = said.rewind().and_then(|()| said.read_to_end(&mut words));
        let words = String::from_utf8_lossy(&words).split_whitespace().collect::<Vec<_>>().join(" ");
        Err(if words.is_empty() { status.to_string() } else { words })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
