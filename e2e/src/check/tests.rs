//! Tests of the checker on histories made by hand: each breach of C1 to C7 is reported, and what is allowed is not.

use super::*;
use crate::rows::{FailedEvent, Row, RowCode};
use rushgate_gate::stored_grants::HeldGrant;
use rushgate_gate::{CodeKeys, Event, EventType, Millis, Ordinal};
use std::time::{Duration, Instant};

fn at(serial: u32) -> Place {
    Place::new("once", serial)
}

/// Calls that begin and end one after the other.
fn history(replies: &[(&str, Reply)]) -> History {
    let mut history = History::default();
    let mut now = Instant::now();
    for (user_id, reply) in replies {
        let began = now;
        now += Duration::from_millis(1);
        history.note(Call {
            user_id: (*user_id).to_owned(),
            began,
            ended: now,
            reply: reply.clone(),
        });
    }
    history
}

fn rows(rows: &[(&str, Place)]) -> Vec<Row> {
    rows.iter()
        .map(|(user_id, place)| Row {
            place: place.clone(),
            user_id: (*user_id).to_owned(),
            delay: Duration::ZERO,
        })
        .collect()
}

fn held(user_id: &str, place: &Place) -> HeldGrant {
    HeldGrant {
        assignment: rushgate_gate::Assignment {
            round: place.round.parse().expect("a round"),
            serial: place.serial.to_string().parse().expect("a serial"),
            applicant: user_id.parse().expect("an applicant"),
        },
        at: Millis::try_from(1_i64).expect("a time"),
        redeemed_at: None,
        code_number: None,
        issued: true,
    }
}

fn event(user_id: &str, serial: u32) -> Event {
    let held = held(user_id, &at(serial)).assignment;
    Event {
        event_type: EventType::Granted,
        campaign: "launch".parse().expect("a campaign"),
        round: held.round,
        serial: held.serial,
        turn: Ordinal::FIRST,
        applicant: held.applicant,
        win: Ordinal::FIRST,
        code_number: None,
        at: Millis::try_from(1_i64).expect("a time"),
    }
}

/// These rows, all of which the gate knows.
fn standing(these: &[(&str, Place)]) -> Evidence {
    Evidence {
        rows: rows(these),
        held: these
            .iter()
            .map(|(user_id, place)| held(user_id, place))
            .collect(),
        ..Evidence::default()
    }
}

fn good() -> Vec<(&'static str, Reply)> {
    vec![
        ("a", Reply::Granted(at(1))),
        ("b", Reply::Granted(at(2))),
        ("c", Reply::SoldOut),
        ("a", Reply::AlreadyGranted(at(1))),
    ]
}

fn found(history: &History, evidence: &Evidence) -> Vec<Breach> {
    breaches(&Expected::once(2, 3), history, evidence)
}

#[test]
fn an_exact_rush_has_no_breach() {
    let evidence = standing(&[("a", at(1)), ("b", at(2))]);
    assert_eq!(found(&history(&good()), &evidence), vec![]);
}

#[test]
fn each_wrong_row_is_found() {
    use Breach::*;
    let a = || "a".to_owned();
    let no_row = || NoRow("b".into(), at(2), "it is nowhere".into());
    for (rows, expected) in [
        (vec![("a", at(1))], vec![SerialMissing(at(2)), no_row()]),
        (
            vec![("a", at(1)), ("b", at(2)), ("c", at(3))],
            vec![
                OverQuota {
                    round: "once".into(),
                    store: "the table",
                    held: 3,
                    quota: 2,
                },
                SerialOutOfRange(at(3)),
                OverQuota {
                    round: "once".into(),
                    store: "the gate",
                    held: 3,
                    quota: 2,
                },
                NobodyTold("c".into(), at(3)),
            ],
        ),
        (
            vec![("a", at(1)), ("b", at(1))],
            vec![
                SerialDoubled("the table", at(1)),
                SerialMissing(at(2)),
                SerialDoubled("the gate", at(1)),
                no_row(),
                NobodyTold("b".into(), at(1)),
            ],
        ),
        (
            vec![("a", at(1)), ("a", at(2))],
            vec![PersonDoubled(a()), no_row(), NobodyTold(a(), at(2))],
        ),
    ] {
        assert_eq!(
            found(&history(&good()), &standing(&rows)),
            expected,
            "{rows:?}"
        );
    }
}

#[test]
fn each_wrong_answer_is_found() {
    use Breach::*;
    let evidence = standing(&[("a", at(1)), ("b", at(2))]);
    let nowhere = |user_id: &str, place| NoRow(user_id.into(), place, "it is nowhere".into());
    let early = SoldOutTooEarly {
        loser: "c".into(),
        winner: "d".into(),
        place: at(2),
        micros: 1_000,
    };
    for (reply, expected) in [
        (
            ("b", Reply::Granted(at(1))),
            vec![
                ToldTwo("b".into(), vec![at(2), at(1)]),
                SharedSerial(at(1), vec!["a".into(), "b".into()]),
                nowhere("b", at(1)),
            ],
        ),
        (
            ("d", Reply::Granted(at(2))),
            vec![
                SharedSerial(at(2), vec!["b".into(), "d".into()]),
                nowhere("d", at(2)),
                early,
            ],
        ),
        (
            ("c", Reply::Unexplained("500".into())),
            vec![Unexplained("500".into())],
        ),
        (("c", Reply::Unavailable), vec![Unanswered(1)]),
    ] {
        let case = format!("{reply:?}");
        let mut calls = good();
        calls.push(reply);
        assert_eq!(found(&history(&calls), &evidence), expected, "{case}");
    }
}

#[test]
fn the_first_applicant_may_be_answered_last() {
    let now = Instant::now();
    let mut history = history(&good());
    let mut evidence = standing(&[("a", at(1)), ("b", at(2)), ("d", at(3))]);
    history.note(Call {
        user_id: "d".into(),
        began: now - Duration::from_secs(1),
        ended: now + Duration::from_secs(1),
        reply: Reply::Granted(at(3)),
    });
    assert_eq!(breaches(&Expected::once(3, 3), &history, &evidence), vec![]);
    evidence.rows.clear();
    assert!(!breaches(&Expected::once(3, 3), &history, &evidence).is_empty());
}

#[test]
fn what_gate_and_table_do_not_share_is_found() {
    let mut evidence = standing(&[("a", at(1)), ("b", at(2))]);
    evidence.held[0].issued = false;
    evidence.held.remove(1);
    assert_eq!(
        found(&history(&good()), &evidence),
        [
            Breach::GateDisagrees("a".into(), at(1), "does not know that it is committed"),
            Breach::GateDisagrees("b".into(), at(2), "does not hold it"),
        ]
    );
}

#[test]
fn what_is_left_behind_is_found() {
    let failed_event = FailedEvent {
        key: "launch/once/9".into(),
        event: None,
        reason: "undecodable".into(),
    };
    let evidence = Evidence {
        entries: 1,
        pending: 2,
        lag: 3,
        unpublished: 4,
        failed_events: vec![failed_event],
        ..standing(&[("a", at(1)), ("b", at(2))])
    };
    let left = |what, count| Breach::LeftBehind(what, count);
    assert_eq!(
        found(&history(&good()), &evidence),
        [
            left("entries in the stream", 1),
            left("entries that a bridge has read and not acked", 2),
            left("records that the consumers have not committed", 3),
            left("dead letters of the bridge", 4),
            left("dead letters of the consumer", 1),
        ]
    );
}

#[test]
fn a_grant_without_a_row_is_followed_to_where_it_was_seen_last() {
    let calls = history(&good());
    let mut evidence = standing(&[("a", at(1))]);
    evidence.held.push(held("b", &at(2)));
    evidence.published.push(event("b", 2));
    let expected = Expected {
        due: BTreeMap::new(),
        ..Expected::once(2, 3)
    };
    let trail = "it is held by the gate and in the topic".to_owned();
    let no_row = Breach::NoRow("b".into(), at(2), trail);
    assert_eq!(breaches(&expected, &calls, &evidence), [no_row]);

    // With a dead letter, an operator can see it.
    evidence.failed_events.push(FailedEvent {
        key: "launch/once/2".into(),
        event: Some(event("b", 2)),
        reason: "serial_taken".into(),
    });
    let expected = Expected {
        dead_letters: (1, 0),
        ..expected
    };
    assert_eq!(breaches(&expected, &calls, &evidence), []);
}

#[test]
fn after_a_loss_every_winner_is_reassigned_or_a_dead_letter() {
    let mut calls = good();
    calls.push(("d", Reply::Granted(at(2))));
    let calls = history(&calls);
    let mut evidence = standing(&[("a", at(1)), ("b", at(2))]);
    evidence.published = vec![event("a", 1), event("b", 2), event("d", 2)];
    let expected = Expected {
        restored: true,
        ..Expected::once(3, 3)
    };
    let expected = Expected {
        due: BTreeMap::new(),
        ..expected
    };
    let lost = "it is in the topic".to_owned();
    assert_eq!(
        breaches(&expected, &calls, &evidence),
        [Breach::NoRow("d".into(), at(2), lost)]
    );
    assert_eq!(lost_with_redis(&calls, &evidence), []);
    // No other store has ever seen it: it was lost with Redis.
    let published = evidence.published.pop();
    assert_eq!(breaches(&expected, &calls, &evidence), []);
    assert_eq!(
        lost_with_redis(&calls, &evidence),
        [(&"d".to_owned(), &at(2))]
    );
    // Reassigned.
    evidence.published.extend(published);
    evidence.rows.extend(rows(&[("d", at(3))]));
    evidence.held.push(held("d", &at(3)));
    assert_eq!(breaches(&expected, &calls, &evidence), []);
}

#[test]
fn each_round_has_its_own_serials_and_perhaps_its_own_people() {
    let day = |day: &str, serial| Place::new(day, serial);
    let places = [("a", day("1", 1)), ("b", day("1", 2)), ("a", day("2", 1))];
    let calls = places
        .clone()
        .map(|(user_id, place)| (user_id, Reply::Granted(place)));
    let (calls, evidence) = (history(&calls), standing(&places));
    let mut expected = Expected {
        quota: 2,
        one_per_round: true,
        due: [("1".to_owned(), 2), ("2".to_owned(), 1)].into(),
        ..Expected::default()
    };
    assert_eq!(breaches(&expected, &calls, &evidence), vec![]);
    expected.one_per_round = false;
    assert_eq!(
        breaches(&expected, &calls, &evidence),
        vec![
            Breach::PersonDoubled("a".into()),
            Breach::ToldTwo("a".into(), vec![day("1", 1), day("2", 1)]),
        ]
    );
    expected.due.insert("3".to_owned(), 1);
    let missing = Breach::SerialMissing(day("3", 1));
    assert!(breaches(&expected, &calls, &evidence).contains(&missing));
}

/// The stores after a's coupon was revoked and promoted b from the waitlist.
fn passed_on() -> (History, Evidence, Operated) {
    let calls = history(&[
        ("a", Reply::Granted(at(1))),
        ("b", Reply::Waitlisted(1)),
        ("a", Reply::Revoked),
    ]);
    let taken_back = ("a".to_owned(), at(1));
    let evidence = Evidence {
        revoked: [taken_back.clone()].into(),
        taken_back: [taken_back].into(),
        given: [("once".to_owned(), 1)].into(),
        ..standing(&[("b", at(1))])
    };
    let operated = Operated {
        revoked: ["a".to_owned()].into(),
        ..Operated::default()
    };
    (calls, evidence, operated)
}

#[test]
fn a_coupon_that_an_operator_took_back_is_the_next_one_s() {
    let (mut calls, evidence, operated) = passed_on();
    let expected = |operated| Expected {
        operated,
        ..Expected::once(1, 1)
    };
    assert_eq!(breaches(&expected(operated.clone()), &calls, &evidence), []);
    let perhaps = Operated {
        perhaps_revoked: operated.revoked.clone(),
        ..Operated::default()
    };
    assert_eq!(breaches(&expected(perhaps), &calls, &evidence), []);
    calls.places.insert("b".into(), vec![at(1)]);
    assert_eq!(breaches(&expected(operated), &calls, &evidence), []);
}

#[test]
fn what_is_wrong_with_a_coupon_that_was_taken_back_is_found() {
    use Breach::*;
    let taken_back = |problem| TakenBack("a".into(), at(1), problem);
    let found = |change: fn(&mut History, &mut Evidence, &mut Operated)| {
        let (mut calls, mut evidence, mut operated) = passed_on();
        change(&mut calls, &mut evidence, &mut operated);
        let expected = Expected {
            operated,
            ..Expected::once(1, 1)
        };
        breaches(&expected, &calls, &evidence)
    };
    assert_eq!(
        found(|_, _, operated| operated.revoked.clear()),
        [taken_back("neither an operator nor the applicant did that")]
    );
    assert_eq!(
        found(|_, evidence, _| evidence.taken_back.clear()),
        [taken_back("the gate does not know")]
    );
    assert_eq!(
        found(|_, evidence, _| evidence.revoked.clear()),
        [
            taken_back("the table does not know"),
            NotTakenBack("a".into()),
            Unexplained("a was told that it was taken back".into()),
            NoRow("a".into(), at(1), "it is nowhere".into()),
        ]
    );
    assert_eq!(
        found(|_, evidence, _| evidence.rows.clear()),
        [
            SerialMissing(at(1)),
            NoCoupon("b".into(), at(1), "it is held by the gate".into()),
        ]
    );
    assert_eq!(
        found(|_, evidence, _| {
            evidence.given.insert("once".into(), 2);
        }),
        [SerialLost(at(2))]
    );
}

#[test]
fn a_refusal_before_a_place_became_free_is_no_breach() {
    // b is turned away, and c gets a place that became free before, in between, or after that.
    let calls = history(&[
        ("a", Reply::Granted(at(1))),
        ("b", Reply::SoldOut),
        ("a", Reply::AlreadyGranted(at(1))),
        ("c", Reply::Granted(at(2))),
    ]);
    let evidence = standing(&[("a", at(1)), ("c", at(2))]);
    let (lost, won) = (&calls.calls[1], &calls.calls[3]);
    let moment = Duration::from_micros(100);
    let long_ago = lost.began - 2 * rushgate_gate::refusal_cache::GRACE_PERIOD;
    for (freed, is_wronged) in [
        (vec![], true),
        (vec![(lost.ended, won.began)], false),
        (vec![(lost.began - moment, lost.began - moment)], false),
        (vec![(long_ago, long_ago + moment)], true),
        (vec![(won.ended + moment, won.ended + moment)], true),
        (
            vec![
                (won.ended + moment, won.ended + moment),
                (lost.ended, lost.ended),
            ],
            false,
        ),
    ] {
        let shown = format!("{freed:?}");
        let expected = Expected {
            operated: Operated {
                freed,
                ..Operated::default()
            },
            ..Expected::once(2, 2)
        };
        let found = breaches(&expected, &calls, &evidence);
        assert_eq!(found.is_empty(), !is_wronged, "{shown}: {found:?}");
    }
}

#[test]
fn no_applicant_is_turned_away_for_good_while_places_are_left() {
    let calls = history(&[("a", Reply::Granted(at(1))), ("b", Reply::SoldOut)]);
    let mut evidence = standing(&[("a", at(1))]);
    evidence.given.insert("once".into(), 1);
    let freed = |freed| Expected {
        operated: Operated {
            freed,
            ..Operated::default()
        },
        ..Expected::once(2, 1)
    };
    let wronged = [Breach::SoldOutWithRoom("b".into(), 1)];
    assert_eq!(breaches(&freed(vec![]), &calls, &evidence), wronged);
    let now = calls.calls[1].ended;
    assert_eq!(breaches(&freed(vec![(now, now)]), &calls, &evidence), []);
}

/// A rush in which a and b won with signed codes, which are told and in the rows.
fn coded() -> (Expected, History, Evidence) {
    let keys = CodeKeys::new(["a key of codes of 32 characters."]);
    let codes = SignedCodes {
        campaign: "launch".parse().expect("a campaign"),
        key: keys.newest().expect("a key"),
        keys,
    };
    let mut calls = history(&good());
    let mut evidence = standing(&[("a", at(1)), ("b", at(2))]);
    for (user_id, serial) in [("a", 1), ("b", 2)] {
        let code = codes.keys.code(codes.key, (&event(user_id, serial)).into());
        let code = code.expect("a code").to_string();
        calls.note_code(user_id, at(serial), code.clone());
        evidence.codes.push(RowCode {
            user_id: user_id.to_owned(),
            place: at(serial),
            turn: 1,
            code: Some(code),
            number: None,
            is_active: true,
            is_redeemed: false,
            order: None,
        });
    }
    let expected = Expected {
        codes: Some(codes),
        ..Expected::once(2, 3)
    };
    (expected, calls, evidence)
}

/// The same rush with the codes of a pool.
fn pooled() -> (Expected, History, Evidence) {
    let (mut expected, calls, mut evidence) = coded();
    (expected.codes, expected.has_pool) = (None, true);
    for (row, held) in evidence.codes.iter_mut().zip(&mut evidence.held) {
        row.number = Some(row.place.serial);
        held.code_number = row.place.serial.try_into().ok();
    }
    (expected, calls, evidence)
}

#[test]
fn each_wrong_pool_code_is_found() {
    type Lie = fn(&mut Expected, &mut History, &mut Evidence);
    let wrong = |problem| Breach::Code("a".into(), at(1), problem);
    let shared = || Breach::SharedCode(vec![("a".into(), at(1)), ("b".into(), at(2))]);
    let cases: [(Lie, Vec<Breach>); 6] = [
        (|_, _, _| {}, vec![]),
        // Neither is loaded yet.
        (
            |_, calls, evidence| {
                calls.codes.clear();
                evidence.codes.iter_mut().for_each(|row| row.code = None);
            },
            vec![],
        ),
        (
            |_, _, evidence| evidence.codes[0].number = None,
            vec![wrong("has no code")],
        ),
        (
            |_, _, evidence| evidence.held[0].code_number = 3_u32.try_into().ok(),
            vec![wrong("has another code at the gate than in its row")],
        ),
        (
            |_, _, evidence| evidence.held[0].code_number = None,
            vec![wrong("has no code at the gate")],
        ),
        // The second grant was told the code of the first, and has no row of it.
        (
            |_, _, evidence| {
                evidence.codes.pop();
                evidence.held[1].code_number = 1_u32.try_into().ok();
            },
            vec![shared()],
        ),
    ];
    for (number, (lie, found)) in cases.into_iter().enumerate() {
        let (mut expected, mut calls, mut evidence) = pooled();
        lie(&mut expected, &mut calls, &mut evidence);
        assert_eq!(breaches(&expected, &calls, &evidence), found, "{number}");
    }
}

#[test]
fn each_wrong_code_is_found() {
    type Lie = fn(&mut Expected, &mut History, &mut Evidence);
    let wrong = |problem| Breach::Code("a".into(), at(1), problem);
    let shared = || Breach::SharedCode(vec![("a".into(), at(1)), ("b".into(), at(2))]);
    const COMPUTED: &str = "has a code that is not computed from it";
    const OTHERWISE: &str = "was told with another code";
    let cases: [(Lie, Vec<Breach>); 7] = [
        (|_, _, _| {}, vec![]),
        (
            |_, _, evidence| evidence.codes[0].code = None,
            vec![wrong("has no code")],
        ),
        // The code of an older turn.
        (
            |_, _, evidence| evidence.codes[0].turn = 2,
            vec![wrong("has the turn of an older grant"), wrong(COMPUTED)],
        ),
        (
            |_, _, evidence| evidence.codes[0].code = Some("0000-0000-0000-0000".into()),
            vec![wrong(COMPUTED), wrong(OTHERWISE)],
        ),
        (
            |_, _, evidence| {
                let of_other = evidence.codes[1].code.clone();
                evidence.codes[0].code = of_other;
            },
            vec![wrong(COMPUTED), wrong(OTHERWISE), shared()],
        ),
        (
            |_, calls, evidence| {
                let of_other = evidence.codes[1].code.clone().expect("a code");
                calls.note_code("a", at(1), of_other);
            },
            vec![
                wrong(OTHERWISE),
                wrong("was told with several codes"),
                shared(),
            ],
        ),
        (
            |expected, calls, evidence| {
                expected.codes = None;
                evidence.codes.clear();
                calls.codes.pop_last();
            },
            vec![wrong("was told with a code")],
        ),
    ];
    for (number, (lie, found)) in cases.into_iter().enumerate() {
        let (mut expected, mut calls, mut evidence) = coded();
        lie(&mut expected, &mut calls, &mut evidence);
        assert_eq!(breaches(&expected, &calls, &evidence), found, "{number}");
    }
}
