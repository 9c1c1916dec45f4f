//! The servers that all tests share; `cargo xtask test` starts them.

/// The address in this variable.
///
/// # Panics
/// When it is not set.
pub fn server(variable: &str) -> String {
    std::env::var(variable)
        .unwrap_or_else(|_| panic!("{variable} is not set: run `cargo xtask test`"))
}
