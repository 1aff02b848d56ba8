//! The binary: hands over to `backstay::cli`.
fn main() {}
