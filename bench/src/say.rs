//! What the person at the keyboard gets to read: results on stdout, progress on stderr.

use std::fmt::Display;
use std::io::{Write, stderr, stdout};

/// Part of the result.
pub fn line(text: impl Display) {
    // Nobody is left to be told when stdout is closed (`… | head`).
    let _ = writeln!(stdout(), "{text}");
}

pub fn note(text: impl Display) {
    let _ = writeln!(stderr(), "{text}");
}
