//! Downloads files from mirrors over HTTPS with a program that the system has, `curl` or `wget`. These know the machine's
//! proxies and certificates. They save this program a cryptographic library for four files that are known by their digests.

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

/// How long the download of one file may take: enough for 10 MB over a slow line.
const PATIENCE: Duration = Duration::from_secs(600);

/// A program that writes what is at an address to its standard output.
///
/// Its options let it wait at most 15 seconds for a mirror to be found, to connect and to go on. A host behind a firewall that
/// drops packets must not hold up the user for long.
#[derive(Clone, Copy)]
pub(super) struct Tool {
    /// Name of the program, by which it is started.
    pub(super) name: &'static str,
    /// The program's options, without those for HTTPS.
    pub(super) options: &'static [&'static str],
    /// The options that keep it to HTTPS, even if a mirror redirects it.
    pub(super) https: &'static [&'static str],
}

/// The programs that may be used. The first that is installed is taken.
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

/// Downloads `original` from the first of `mirrors` that delivers it. It is unpacked and proven right.
///
/// # Errors
/// [`DataError::Download`] with the failure of each mirror, also if none of `tools` is installed.
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

/// Downloads `original` from `address`, or says in words why it cannot.
fn get(tools: &[Tool], address: &str, original: &Original) -> Result<Vec<u8>, String> {
    // No gzip file of the original is longer than this: deflate adds five bytes to 65,535 that it cannot shrink.
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
                let raw = RunningTool(child).output(limit, &mut said).map_err(|why| format!("{address}: {why}"))?;
                return original.verified(Path::new(address), raw).map_err(|error| error.to_string());
            }
        }
    }
    let names: Vec<&str> = tools.iter().map(|tool| tool.name).collect();
    Err(format!("{address}: nothing to download with is installed: {}", names.join(" or ")))
}

/// A running tool. It is ended on drop.
struct RunningTool(Child);

impl RunningTool {
    /// What the tool writes, at most `limit` bytes. If it fails, the error is what it `said` on its standard error.
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

impl Drop for RunningTool {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
