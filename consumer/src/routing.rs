//! In which writer a record is written: a pure function.
//!
//! Lanes write at the same time, each over its own connection. All events of a serial are of one writer, and so are
//! written in the order in which Kafka has them. Any order comes to the same in the end ([`judge`](crate::judge)), but
//! two transactions that touch the same rows wait for each other, and now and then one of them is rolled back.

use crate::rejection::Rejection;
use rushgate_gate::Event;

/// So many serials in a row are of one writer: when little happens, records share a transaction as they would with one
/// writer, and writers that write at the same time hardly write into the same pages of the table's keys.
const NEIGHBOURS: usize = 512;

/// The writer of a record, among so many. What says nothing is of the first.
pub fn writer_of(decoded: &Result<Event, Rejection>, writers: usize) -> usize {
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
    fn what_says_nothing_is_of_the_first() {
        assert_eq!(
            writer_of(&Err(Rejection::new(Reason::Undecodable, "")), 3),
            0
        );
    }

    proptest! {
        #[test]
        fn what_happens_to_a_serial_is_of_one_lane(writers in 1usize..9, serial in 1u32..=100_000_000, turn in 2u32..9) {
            let first = writer_of(&Ok(event(EventType::Granted, serial, 1, "a")), writers);
            prop_assert!(first < writers);
            for later in [event(EventType::Revoked, serial, 1, "a"), event(EventType::Granted, serial, turn, "b")] {
                prop_assert_eq!(writer_of(&Ok(later), writers), first);
            }
        }
    }
}
