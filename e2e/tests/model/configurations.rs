//! Lists the configurations whose states are searched: parts of the pipeline, each with all of its faults, and the
//! whole pipeline.

use crate::fault::Fault::{self, *};
use crate::pipeline::Pipeline;

/// From the gate to the topic, with two bridges and all faults there.
pub(crate) const FRONT: Pipeline = Pipeline {
    name: "front",
    people: 2,
    quota: 2,
    bridges: 2,
    window: 1,
    partitions: 1,
    consumers: 0,
    writers: 1,
    faults: 2,
    kinds: FRONT_FAULTS,
    mutation: None,
};

/// The same with one bridge that may hold two entries, and an applicant who gets nothing.
pub(crate) const WINDOW: Pipeline = Pipeline {
    name: "window",
    people: 3,
    bridges: 1,
    window: 2,
    ..FRONT
};

/// From the topic to the table and back to the gate, with two consumers and all faults there.
pub(crate) const BACK: Pipeline = Pipeline {
    name: "back",
    bridges: 0,
    partitions: 2,
    consumers: 2,
    kinds: BACK_FAULTS,
    ..FRONT
};

/// The same with one partition, two writers in each consumer, and one fault.
pub(crate) const WRITERS: Pipeline = Pipeline {
    name: "writers",
    people: 3,
    quota: 3,
    partitions: 1,
    writers: 2,
    faults: 1,
    ..BACK
};

/// The whole pipeline, in which one component dies or is expelled.
pub(crate) const WHOLE: Pipeline = Pipeline {
    name: "whole",
    consumers: 1,
    faults: 1,
    kinds: DEATHS,
    ..FRONT
};

/// The same with a single place, and two components that die or are expelled.
pub(crate) const SINGLE: Pipeline = Pipeline {
    name: "single",
    quota: 1,
    faults: 2,
    ..WHOLE
};

/// The whole pipeline, in which Redis loses grants after it has answered.
pub(crate) const LOSS: Pipeline = Pipeline {
    name: "loss",
    people: 3,
    bridges: 1,
    window: 2,
    consumers: 1,
    kinds: LOSSES,
    ..FRONT
};

const ALL: [&Pipeline; 7] = [&FRONT, &WINDOW, &BACK, &WRITERS, &WHOLE, &SINGLE, &LOSS];

/// The smallest configuration of each half of the pipeline.
const SMALLEST: [&Pipeline; 2] = [&WINDOW, &WRITERS];

/// All configurations; with `RUSHGATE_MODEL=smallest`, those that need only some seconds.
pub(crate) fn chosen() -> &'static [&'static Pipeline] {
    match std::env::var("RUSHGATE_MODEL").as_deref() {
        Ok("smallest") => &SMALLEST,
        _ => &ALL,
    }
}

const FRONT_FAULTS: &[Fault] = &[
    AnswerLost,
    BridgeRestarts,
    BridgeGone,
    ReplyLost,
    ReadLate,
    HastyClaim,
    ReportFails,
    RecordLate,
    CompletionRefused,
    CompletionAnswerLost,
    GroupLost,
];

const BACK_FAULTS: &[Fault] = &[
    ConsumerCrashes,
    Rebalance,
    Expelled,
    WriteAnswerLost,
    ConfirmAnswerLost,
    CommitAnswerLost,
    RecordAgain,
];

const DEATHS: &[Fault] = &[
    AnswerLost,
    BridgeRestarts,
    BridgeGone,
    ReportFails,
    ConsumerCrashes,
    Expelled,
];

const LOSSES: &[Fault] = &[GrantLost, AnswerLost, ConsumerCrashes];
