//! Tests of the rules about coupons on stories made by hand: one coupon, and one thing that is wrong with it.

use super::*;
use crate::check::{Breach, SignedCodes, breaches};
use crate::history::Cancel;
use crate::rows::Row;
use rushgate_gate::stored_grants::HeldGrant;
use rushgate_gate::{Assignment, CodeKeys, Millis};
use std::time::{Duration, Instant};

/// What is checked.
struct Story {
    expected: Expected,
    history: History,
    evidence: Evidence,
    now: Instant,
}

fn place() -> Place {
    Place::new("once", 1)
}

fn millis(at: i64) -> Millis {
    Millis::try_from(at).expect("a time")
}

impl Story {
    /// a was granted serial 1, told its code, and redeemed it for order 7.
    fn redeemed() -> Self {
        let keys = CodeKeys::new(["a key of codes of more than 32 characters"]);
        let signed = SignedCodes {
            campaign: "launch".parse().expect("a campaign"),
            key: keys.newest().expect("a key"),
            keys,
        };
        let mut story = Self {
            expected: Expected {
                quota: 1,
                codes: Some(signed),
                ..Expected::default()
            },
            history: History::default(),
            evidence: Evidence::default(),
            now: Instant::now(),
        };
        let code = story.code("a", 1);
        story.reply("a", Reply::Granted(place()));
        story.history.note_code("a", place(), code.clone());
        let grant = ("a".to_owned(), place());
        let redeemed = (grant, ["7".to_owned()].into());
        story.expected.operated.redeemed = [redeemed].into();
        story.evidence.given.insert("once".to_owned(), 1);
        story.hold("a", Some(2));
        story.evidence.codes.push(RowCode {
            user_id: "a".to_owned(),
            place: place(),
            is_active: true,
            turn: 1,
            code: Some(code),
            number: None,
            is_redeemed: true,
            order: Some("7".to_owned()),
        });
        story
    }

    /// a gave serial 1 back, and b got it from the waitlist.
    fn given_back() -> Self {
        let mut story = Self::redeemed();
        story.expected.operated.redeemed.clear();
        story.reply("b", Reply::Waitlisted(1));
        story.cancel("a", CancelReply::GivenBack(place()));
        story.reply("a", Reply::Revoked);
        let grant = ("a".to_owned(), place());
        story.evidence.revoked.insert(grant.clone());
        story.evidence.taken_back.insert(grant);
        (story.evidence.rows, story.evidence.held) = (vec![], vec![]);
        story.hold("b", None);
        let code = Some(story.code("b", 2));
        let of_a = &mut story.evidence.codes[0];
        (of_a.is_active, of_a.is_redeemed, of_a.order) = (false, false, None);
        let of_b = RowCode {
            user_id: "b".to_owned(),
            is_active: true,
            turn: 2,
            code,
            ..of_a.clone()
        };
        story.evidence.codes.push(of_b);
        story
    }

    fn code(&self, user_id: &str, turn: u32) -> String {
        let signed = self.expected.codes.as_ref().expect("codes");
        signed.code(user_id, &place(), turn).expect("a code")
    }

    /// This applicant has serial 1, at the gate and in the table.
    fn hold(&mut self, user_id: &str, redeemed_at: Option<i64>) {
        self.evidence.held.push(HeldGrant {
            assignment: Assignment {
                round: "once".parse().expect("a round"),
                serial: 1_u32.try_into().expect("a serial"),
                applicant: user_id.parse().expect("an applicant"),
            },
            at: millis(1),
            issued: true,
            redeemed_at: redeemed_at.map(millis),
            code_number: None,
        });
        self.evidence.rows.push(Row {
            place: place(),
            user_id: user_id.to_owned(),
            delay: Duration::ZERO,
        });
    }

    fn tick(&mut self) -> (Instant, Instant) {
        let began = self.now;
        self.now += Duration::from_millis(1);
        (began, self.now)
    }

    fn reply(&mut self, user_id: &str, reply: Reply) {
        let (began, ended) = self.tick();
        self.history.note(Call {
            user_id: user_id.to_owned(),
            began,
            ended,
            reply,
        });
        self.tick();
    }

    fn cancel(&mut self, user_id: &str, reply: CancelReply) {
        let (began, ended) = self.tick();
        self.history.note_cancel(Cancel {
            user_id: user_id.to_owned(),
            began,
            ended,
            is_certain: true,
            reply,
        });
        self.tick();
    }

    fn found(&self) -> Vec<String> {
        let found: Vec<Breach> = breaches(&self.expected, &self.history, &self.evidence);
        found.iter().map(ToString::to_string).collect()
    }
}

/// The story, what is changed in it, and the breach; none if the text is empty.
type Case = (fn() -> Story, fn(&mut Story), &'static str);

const CASES: [Case; 20] = [
    (Story::redeemed, |_| {}, ""),
    (Story::given_back, |_| {}, ""),
    (
        Story::redeemed,
        |story| story.evidence.codes[0].code = None,
        "C7: serial once/1 of a has no code",
    ),
    (
        Story::redeemed,
        |story| story.history.codes.clear(),
        "C7: serial once/1 of a was told without a code",
    ),
    (
        Story::redeemed,
        |story| story.evidence.codes[0].code = Some(story.code("b", 1)),
        "C7: serial once/1 of a has a code that is not computed from it",
    ),
    (
        Story::redeemed,
        |story| {
            let code = story.code("a", 2);
            story.history.note_code("a", place(), code);
        },
        "C7: serial once/1 of a was told with another code",
    ),
    (
        Story::given_back,
        |story| story.evidence.codes[1].code = Some(story.code("b", 1)),
        "C7: serial once/1 of b has a code that is not computed from it",
    ),
    (
        Story::given_back,
        |story| {
            let code = story.code("a", 1);
            story.history.note_code("b", place(), code);
        },
        "C7: one code for once/1 of a and once/1 of b",
    ),
    (
        Story::given_back,
        |story| {
            story.evidence.codes[1].turn = 1;
            story.evidence.codes[1].code = Some(story.code("b", 1));
        },
        "C7: serial once/1 of b has the turn of an older grant",
    ),
    (
        Story::redeemed,
        |story| {
            let mut orders = story.expected.operated.redeemed.values_mut();
            orders.next().expect("orders").insert("8".to_owned());
        },
        "serial once/1 of a was redeemed, and a second time, for another order",
    ),
    (
        Story::redeemed,
        |story| story.evidence.codes[0].order = Some("8".to_owned()),
        "was redeemed, and its row has another order",
    ),
    (
        Story::redeemed,
        |story| story.evidence.codes[0].is_redeemed = false,
        "was redeemed, and its row is not redeemed",
    ),
    (
        Story::redeemed,
        |story| story.evidence.held[0].redeemed_at = None,
        "was redeemed, and the gate does not know",
    ),
    (
        Story::redeemed,
        |story| story.expected.operated.redeemed.clear(),
        "was redeemed, and no operator did that",
    ),
    (
        Story::given_back,
        |story| {
            let grant = ("a".to_owned(), place());
            let redeemed = (grant, ["7".to_owned()].into());
            story.expected.operated.redeemed = [redeemed].into();
        },
        "serial once/1 of a was redeemed, and its holder has given it back",
    ),
    (
        Story::given_back,
        |story| story.reply("a", Reply::AlreadyGranted(place())),
        "a has given serial once/1 back, and they were told a coupon of the round afterwards",
    ),
    (
        Story::given_back,
        |story| story.evidence.revoked.clear(),
        "a has given serial once/1 back, and its row is not revoked",
    ),
    (
        Story::given_back,
        |story| story.cancel("b", CancelReply::Left),
        "b has left the waitlist, and was promoted to serial once/1",
    ),
    (
        Story::given_back,
        |story| {
            story.cancel("b", CancelReply::Left);
            story.reply("b", Reply::Waitlisted(1));
        },
        "",
    ),
    (
        Story::given_back,
        |story| story.expected.ends = Some(millis(1)),
        "serial once/1 was granted to b after the end of the round",
    ),
];

#[test]
fn each_wrong_coupon_is_found_and_what_is_right_is_not() {
    for (number, (story, change, says)) in CASES.iter().enumerate() {
        let mut story = story();
        change(&mut story);
        let found = story.found();
        match says.is_empty() {
            true => assert_eq!(found, Vec::<String>::new(), "case {number}"),
            false => assert!(
                found.iter().any(|breach| breach.contains(says)),
                "case {number}: {says:?} is not in {found:#?}"
            ),
        }
    }
}
