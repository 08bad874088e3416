//! The `strayd` program: parse the command, hand over, map the result to an exit code.
fn main() {}
