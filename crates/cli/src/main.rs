//! The `baldur` command.
fn main() {}
