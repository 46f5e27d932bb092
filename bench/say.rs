//! How the examples print.

use mixnn::terminal;

/// Prints a line of figures. Where it cannot be written, there is nothing left to measure for.
pub(crate) fn say(text: impl AsRef<str>) {
    if let Err(error) = terminal::print(text.as_ref()) {
        terminal::note(&error.to_string());
        std::process::exit(3);
    }
}
