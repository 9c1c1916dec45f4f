//! Lists the ways in which an invariant can be broken, each with its evidence and its message.

use crate::history::Place;
use serde::Serialize;
use std::fmt;

/// One breach of an invariant, with its evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub enum Breach {
    /// C1: more coupons than the quota.
    OverQuota {
        round: String,
        store: &'static str,
        /// Active coupons.
        held: u64,
        quota: u32,
    },
    /// C1: one serial with several holders.
    SerialDoubled(&'static str, Place),
    /// C1: a serial above the quota.
    SerialOutOfRange(Place),
    /// Fewer coupons than applicants, although some were left.
    SerialMissing(Place),
    /// C2: one applicant with several rows.
    PersonDoubled(String),
    /// C2: one applicant was told several serials.
    ToldTwo(String, Vec<Place>),
    /// C2: several applicants were told the same serial.
    SharedSerial(Place, Vec<String>),
    /// C3: a grant was told, but has neither its row nor a dead letter. With the last place where it was seen.
    NoRow(String, Place, String),
    /// C4: a row whose grant was told to no applicant.
    NobodyTold(String, Place),
    /// C4: a row that the gate does not hold, or does not know to be committed.
    GateDisagrees(String, Place, &'static str),
    /// C3: an applicant on the waitlist was promoted, and has neither a row nor a dead letter. With the last place
    /// where the grant was seen.
    NoCoupon(String, Place, String),
    /// A serial that was given out, and is now neither held nor free.
    SerialLost(Place),
    /// C4: a revoked coupon, and what is wrong with it.
    TakenBack(String, Place, &'static str),
    /// An operator was told that a coupon was revoked, but it was not.
    NotTakenBack(String),
    /// C5: something is still on its way, or waits for an operator.
    LeftBehind(&'static str, u64),
    /// C6: an applicant was told "sold out" before another one, who came later, was granted a place.
    SoldOutTooEarly {
        loser: String,
        winner: String,
        place: Place,
        /// By how much the winner came later, in microseconds.
        micros: u128,
    },
    /// C6: the last applicant who was told "sold out" got this reply while this many coupons were left, and they still
    /// are.
    SoldOutWithRoom(String, usize),
    /// C7: a grant, and what is wrong with its code.
    Code(String, Place, &'static str),
    /// C7: grants with one code.
    SharedCode(Vec<(String, Place)>),
    /// A coupon that was redeemed, and what contradicts that.
    Redeemed(String, Place, &'static str),
    /// A coupon that was given back, and what contradicts that.
    GivenBack(String, Place, &'static str),
    /// An applicant who had left the waitlist was promoted.
    LeaverPromoted(String, Place),
    /// A grant after the end of its round.
    AfterTheEnd(String, Place),
    /// A reply that nothing explains.
    Unexplained(String),
    /// Applicants who got no answer at all.
    Unanswered(u64),
}

impl Breach {
    pub(super) fn code((user_id, place): (&String, &Place), problem: &'static str) -> Self {
        Self::Code(user_id.clone(), place.clone(), problem)
    }
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OverQuota {
                round,
                store,
                held,
                quota,
            } => {
                write!(
                    f,
                    "C1: {store} holds {held} coupons of round {round} for a quota of {quota}"
                )
            }
            Self::SerialDoubled(store, serial) => {
                write!(f, "C1: {store} holds serial {serial} twice")
            }
            Self::SerialOutOfRange(serial) => {
                write!(f, "C1: serial {serial} is not within the quota")
            }
            Self::SerialMissing(serial) => write!(f, "serial {serial} was due and has no row"),
            Self::PersonDoubled(user_id) => write!(f, "C2: {user_id} holds two coupons"),
            Self::ToldTwo(user_id, serials) => {
                write!(f, "C2: {user_id} was told {}", listed(serials))
            }
            Self::SharedSerial(serial, people) => {
                write!(f, "C2: serial {serial} was told to {people:?}")
            }
            Self::NoRow(user_id, serial, trail) => write!(
                f,
                "C3: {user_id} was told serial {serial} and has no row of it; {trail}"
            ),
            Self::NobodyTold(user_id, serial) => write!(
                f,
                "C4: {user_id} has a row of serial {serial} and was never told"
            ),
            Self::GateDisagrees(user_id, serial, problem) => write!(
                f,
                "C4: {user_id} has a row of serial {serial}, and the gate {problem}"
            ),
            Self::NoCoupon(user_id, serial, trail) => write!(
                f,
                "C3: {user_id} was promoted to serial {serial} and has no row of it; {trail}"
            ),
            Self::SerialLost(serial) => {
                write!(f, "serial {serial} was given, is neither held nor free")
            }
            Self::TakenBack(user_id, serial, problem) => write!(
                f,
                "C4: serial {serial} was taken back from {user_id}, and {problem}"
            ),
            Self::NotTakenBack(user_id) => write!(
                f,
                "the operator was told that {user_id} holds nothing any more, and no coupon was taken back"
            ),
            Self::LeftBehind(what, count) => {
                write!(f, "C5: {count} {what} more or fewer than should be")
            }
            Self::SoldOutTooEarly {
                loser,
                winner,
                place,
                micros,
            } => write!(
                f,
                "C6: {loser} was told that all is sold out, and {winner}, who came {micros} µs after that, got {place}"
            ),
            Self::SoldOutWithRoom(loser, left) => write!(
                f,
                "C6: {loser} was told that all is sold out, and {left} coupons are left"
            ),
            Self::Code(user_id, serial, problem) => {
                write!(f, "C7: serial {serial} of {user_id} {problem}")
            }
            Self::SharedCode(grants) => {
                let grants = grants.iter();
                let grants: Vec<String> = grants
                    .map(|(user_id, serial)| format!("{serial} of {user_id}"))
                    .collect();
                write!(f, "C7: one code for {}", grants.join(" and "))
            }
            Self::Redeemed(user_id, serial, problem) => {
                write!(
                    f,
                    "serial {serial} of {user_id} was redeemed, and {problem}"
                )
            }
            Self::GivenBack(user_id, serial, problem) => {
                write!(f, "{user_id} has given serial {serial} back, and {problem}")
            }
            Self::LeaverPromoted(user_id, serial) => write!(
                f,
                "{user_id} has left the waitlist, and was promoted to serial {serial}"
            ),
            Self::AfterTheEnd(user_id, serial) => write!(
                f,
                "serial {serial} was granted to {user_id} after the end of the round"
            ),
            Self::Unexplained(answer) => write!(f, "an answer that nothing explains: {answer}"),
            Self::Unanswered(requests) => write!(
                f,
                "{requests} requests got no answer, however often they were sent"
            ),
        }
    }
}

fn listed(places: &[Place]) -> String {
    let places: Vec<String> = places.iter().map(Place::to_string).collect();
    places.join(" and ")
}

impl From<Breach> for String {
    fn from(breach: Breach) -> Self {
        breach.to_string()
    }
}
