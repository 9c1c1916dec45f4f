//! The difference between a command that was refused and one whose effect is unknown.

/// The exit code of a command whose effect is unknown.
pub const UNKNOWN: u8 = 3;

/// No answer came, so the command may have been carried out or not. It is attached to the error that says why, as its
/// context. Any other error means that nothing was done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} may have been done or not, because an answer did not come. {way_out}")]
pub struct Unknown {
    what: String,
    way_out: String,
}

impl Unknown {
    /// `what` was being done; `way_out` is a sentence that names the command to run next.
    pub fn new(what: impl Into<String>, way_out: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            way_out: way_out.into(),
        }
    }
}
