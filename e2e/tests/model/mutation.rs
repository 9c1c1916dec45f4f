//! Lists known bugs that are planted around the real code, to show that the model finds them.

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Mutation {
    /// Ack before the delivery report.
    AckBeforeReport,
    /// A lost ack is not retried: the bridge treats an unconfirmed ack as done.
    AckNotRetried,
    /// INSERT IGNORE: the consumer ignores collisions.
    InsertIgnore,
    /// MAXLEN 1 on the stream.
    TrimmedStream,
    /// Offsets committed before the transaction.
    CommitBeforeWrite,
    /// Offsets committed after the transaction, but before the gate has confirmed.
    CommitBeforeConfirm,
    /// Offsets committed as soon as one of two writers is done.
    CommitPastOtherWriter,
    /// Quota checked outside the script: checked in one step, granted in another.
    QuotaOutsideScript,
    /// Duplicate check after the count: a winner who applies again uses up a serial.
    DuplicateCheckAfterCount,
    /// No duplicate check: a winner who applies again gets another serial.
    NoDuplicateCheck,
    /// Confirm without looking: the gate accepts the confirmation of grants that it does not know.
    ConfirmBlindly,
}
