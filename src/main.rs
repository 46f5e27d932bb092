//! The command `mixnn`.

fn main() {
    std::process::exit(mixnn::cli::main());
}
