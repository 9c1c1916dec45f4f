//! Prints output for the user: results on stdout, progress on stderr.

use std::fmt::Display;
use std::io::{Write, stderr, stdout};

/// Prints a line of the result.
pub fn line(text: impl Display) {
    // stdout may be closed (`… | head`).
    let _ = writeln!(stdout(), "{text}");
}

pub fn note(text: impl Display) {
    let _ = writeln!(stderr(), "{text}");
}
