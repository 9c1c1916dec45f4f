//! Distinguishes a command that was refused, so that nothing was done, from a command whose effect is unknown.

/// The exit code of a command whose effect is unknown.
pub const UNKNOWN: u8 = 3;

/// The exit code of a command that ended with `error`: 3 if its effect is unknown, 1 if nothing was done.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    match error.downcast_ref::<Unknown>() {
        Some(_) => UNKNOWN,
        None => 1,
    }
}

/// A command was interrupted, by a missing answer or by an error halfway, so it may or may not have taken effect. It is
/// the context of the error that says why. Any other error means that nothing was done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} was interrupted, and may or may not have taken effect. {way_out}")]
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
