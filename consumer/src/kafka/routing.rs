//! Decides which writer writes a record. This is a pure function.
//!
//! Writers work in parallel, each with its own connection. All events of one serial go to the same writer, so they are
//! written in the order in which Kafka delivers them. The table would end in the same state in any order
//! ([`judge`](crate::table::judge)), but two transactions that touch the same rows wait for each other, and sometimes the
//! database rolls one of them back.

use crate::rejection::Rejection;
use rushgate_gate::Event;

/// The number of consecutive serials that go to the same writer. With little traffic, neighbouring records then
/// share a transaction, and with much traffic, the writers rarely touch the same pages of an index.
const NEIGHBOURS: usize = 512;

/// The index of a record's writer. Records that could not be decoded go to the first one.
pub(crate) fn writer_of(decoded: &Result<Event, Rejection>, writers: usize) -> usize {
    decoded.as_ref().map_or(0, |event| {
        (event.serial.get() - 1) as usize / NEIGHBOURS % writers.max(1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rejection::Reason;
    use proptest::prelude::*;
    use rushgate_gate::{EventType, Millis, Ordinal, RoundId, Serial};

    fn event(event_type: EventType, serial: u32, turn: u32, user_id: &str) -> Event {
        Event {
            event_type,
            campaign: "welcome".parse().expect("an id"),
            round: RoundId::once(),
            serial: Serial::try_from(serial).expect("in range"),
            turn: Ordinal::try_from(turn).expect("not 0"),
            win: Ordinal::FIRST,
            code_number: None,
            applicant: user_id.parse().expect("an applicant"),
            at: Millis::try_from(0).expect("an instant"),
        }
    }

    #[test]
    fn all_lanes_get_as_much() {
        let mut records = [0; 3];
        for serial in 1..=100_000 {
            let decoded = Ok(event(EventType::Granted, serial, 1, "u"));
            records[writer_of(&decoded, 3)] += 1;
        }
        let least = records.iter().min().expect("three");
        let most = records.iter().max().expect("three");
        assert!(most - least <= NEIGHBOURS, "{records:?}");
    }

    #[test]
    fn records_that_cannot_be_decoded_go_to_the_first_writer() {
        assert_eq!(
            writer_of(&Err(Rejection::new(Reason::Undecodable, "")), 3),
            0
        );
    }

    proptest! {
        #[test]
        fn all_events_of_a_serial_go_to_one_writer(writers in 1usize..9, serial in 1u32..=100_000_000, turn in 2u32..9) {
            let first = writer_of(&Ok(event(EventType::Granted, serial, 1, "a")), writers);
            prop_assert!(first < writers);
            for later in [event(EventType::Revoked, serial, 1, "a"), event(EventType::Granted, serial, turn, "b")] {
                prop_assert_eq!(writer_of(&Ok(later), writers), first);
            }
        }
    }
}
