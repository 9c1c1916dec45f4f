//! Known bugs, put around the real code to show that the model finds them.

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Mutation {
    /// Ack before the delivery report.
    AckBeforeReport,
    /// Ack lost and not retried: a bridge takes an ack that Redis has not confirmed for done.
    AckNotRetried,
    /// INSERT IGNORE: a consumer passes over what collides.
    InsertIgnore,
    /// MAXLEN on the stream, of one entry.
    TrimmedStream,
    /// Offsets committed before the transaction.
    CommitBeforeWrite,
    /// Offsets committed after the transaction, but before the gate has confirmed.
    CommitBeforeConfirm,
    /// Offsets committed as soon as one writer is done with its own.
    CommitPastOtherWriter,
    /// Quota checked outside the script: looked at in one step, the place given in another.
    QuotaOutsideScript,
    /// Duplicate check after the count: who holds a grant and comes again uses up a serial.
    DuplicateCheckAfterCount,
    /// No duplicate check: who holds a grant and comes again gets another.
    NoDuplicateCheck,
    /// Confirm without looking: the gate is told of grants that it does not know, and goes on.
    ConfirmBlindly,
}
