//! The command `mixnn`.

/// Whoever cannot do without memory that is not there ends the program with words, not by a signal.
#[global_allocator]
static ALLOCATOR: mixnn::memory::Allocator = mixnn::memory::Allocator;

fn main() {
    std::process::exit(mixnn::cli::main());
}
