//! The program `mixnn`: it runs the command line and exits with its code.

/// The allocator of the program. Where there is no memory for what cannot do without, the program ends with words and
/// an exit code, not by a signal.
#[global_allocator]
static ALLOCATOR: mixnn::memory::Allocator = mixnn::memory::Allocator;

fn main() {
    std::process::exit(mixnn::cli::main());
}
