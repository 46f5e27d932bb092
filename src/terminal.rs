//! The one writer to stdout and stderr. The standard macros panic where nothing can be written, and no word of this
//! program is worth losing a training.
//!
//! Words of others, such as what ranks say of themselves, are [`escaped`] where they are read. So whatever prints them
//! prints nothing but characters.
//!
//! Stdout gets results, and a result that is lost is an error. Stderr gets everything else. A line there that cannot be
//! written is dropped: the reader may be gone, or the disk behind it full.
//!
//! Architecture invariant: nothing else in the crate writes to stdout or stderr, except [`memory`](crate::memory),
//! whose last words take no memory and wait for no lock. Rust ignores SIGPIPE, and it stays so: a reader that is gone
//! is an error of one call, and not the end of the process.

use std::fmt;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

use thiserror::Error;

/// How long to wait between two tries to write to a stdout that takes nothing just now.
const PAUSE: Duration = Duration::from_millis(10);

/// Whether the user wants results and errors alone. It belongs to the process, as stderr does.
static QUIET: AtomicBool = AtomicBool::new(false);

/// A result cannot be written to stdout.
#[derive(Debug, Error)]
pub struct PrintError {
    /// What the operating system says.
    source: io::Error,
    /// Where the user has the result all the same, in words.
    kept: Option<String>,
}

impl PrintError {
    /// Adds `kept` to the error: where the user has the result all the same.
    pub fn though(self, kept: String) -> Self {
        Self { kept: Some(kept), ..self }
    }
}

impl fmt::Display for PrintError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot write the result to stdout: {}", self.source)?;
        self.kept.as_ref().map_or(Ok(()), |kept| write!(f, "; {kept}"))
    }
}

/// Makes the text of someone else fit to be printed in a line of ours. What a terminal obeys (controls, ends of lines,
/// marks that turn the direction of writing) or does not show becomes its number, such as `\u{1b}`.
pub fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            // These are printed as they are. Only a literal in a program needs them escaped.
            '"' | '\'' | '\\' => shown.push(c),
            c => shown.extend(c.escape_debug()),
        }
    }
    shown
}

/// Writes a line to stderr, in one piece: lines of several ranks must not run into each other. What cannot be written
/// is dropped.
pub fn note(text: &str) {
    draw(&format!("{}\n", text.trim_end()));
}

/// Writes a line to stderr as [`note`] does, unless the user wants quiet. It is for what is neither an error nor a
/// warning.
pub fn remark(text: &str) {
    if !is_quiet() {
        note(text);
    }
}

/// Keeps remarks from being written from now on, as `--quiet` asks.
pub fn be_quiet() {
    QUIET.store(true, Ordering::Relaxed);
}

/// Whether the user wants results and errors alone.
pub fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// Writes `text` to stderr as it is. What cannot be written is dropped.
pub fn draw(text: &str) {
    // If no one reads stderr, there is no one to tell about it.
    let _ = io::stderr().write_all(text.as_bytes());
}

/// Writes a result to stdout, with an end of line behind it. A reader that is gone wants no more, so that is no error.
///
/// # Errors
/// [`PrintError`] where the result cannot be written, as to a full disk.
pub fn print(text: &str) -> Result<(), PrintError> {
    deliver(&mut io::stdout().lock(), text)
}

/// Whether a person may be looking at stdout.
pub fn stdout_is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Whether a person may be looking at stderr.
pub fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Writes `text` to `out`, with an end of line behind it.
fn deliver(out: &mut impl Write, text: &str) -> Result<(), PrintError> {
    let end = if text.ends_with('\n') { "" } else { "\n" };
    let written = [text, end].iter().try_for_each(|part| {
        let mut rest = part.as_bytes();
        while !rest.is_empty() {
            match patiently(|| out.write(rest))? {
                0 => return Err(ErrorKind::WriteZero.into()),
                taken => rest = &rest[taken..],
            }
        }
        Ok(())
    });
    match written.and_then(|()| patiently(|| out.flush())) {
        Err(source) if source.kind() != ErrorKind::BrokenPipe => Err(PrintError { source, kept: None }),
        _ => Ok(()),
    }
}

/// Repeats `call` while it says that it cannot be done just now. Whoever shares a pipe with others may find it set not
/// to wait.
fn patiently<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => sleep(PAUSE),
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A writer that takes three bytes at a time, and answers `says` before each time.
    struct Slow {
        says: Option<ErrorKind>,
        refused: bool,
        got: Vec<u8>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.refused = !self.refused;
            match self.says {
                Some(kind) if self.refused => Err(kind.into()),
                _ => {
                    let taken = bytes.len().min(3);
                    self.got.extend_from_slice(&bytes[..taken]);
                    Ok(taken)
                }
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn delivered(says: Option<ErrorKind>, text: &str) -> (Result<(), PrintError>, String) {
        let mut out = Slow { says, refused: false, got: Vec::new() };
        let result = deliver(&mut out, text);
        (result, String::from_utf8(out.got).unwrap())
    }

    #[test]
    fn what_a_terminal_obeys_is_escaped_and_nothing_else() {
        let plain = "node-1 AMD \"EPYC\" 'x' \\ Zürich 東京 ✓";
        assert_eq!(escaped(plain), plain);
        for (text, shown) in [
            ("\u{1b}[2J\u{7}", "\\u{1b}[2J\\u{7}"),
            ("a\r\nb\t\0\u{7f}", "a\\r\\nb\\t\\0\\u{7f}"),
            // These are single bytes in terminals of eight bits: a control sequence, and a next line.
            ("\u{9b}2J\u{85}", "\\u{9b}2J\\u{85}"),
            ("\u{202e}abc\u{2066}\u{2028}\u{200b}", "\\u{202e}abc\\u{2066}\\u{2028}\\u{200b}"),
        ] {
            assert_eq!(escaped(text), shown);
            assert_eq!(escaped(shown), shown, "twice is once");
        }
    }

    #[test]
    fn a_result_arrives_whole_with_one_line_end() {
        for says in [None, Some(ErrorKind::WouldBlock), Some(ErrorKind::Interrupted)] {
            for text in ["a longer line", "a longer line\n"] {
                let (result, got) = delivered(says, text);
                result.unwrap();
                assert_eq!(got, "a longer line\n");
            }
        }
    }

    #[test]
    fn a_reader_that_is_gone_is_no_error_and_a_full_disk_is_one() {
        assert!(delivered(Some(ErrorKind::BrokenPipe), "text").0.is_ok());
        let full = delivered(Some(ErrorKind::StorageFull), "text").0.unwrap_err();
        assert!(full.to_string().starts_with("cannot write the result to stdout: "), "{full}");
        let kept = full.though("it is in a file".to_owned()).to_string();
        assert!(kept.ends_with("; it is in a file"), "{kept}");
    }
}
