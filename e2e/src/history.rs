//! Records the replies that applicants got: to their applications, and to their cancellations.

use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Instant;

/// A place in a round.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
pub struct Place {
    pub round: String,
    pub serial: u32,
}

impl Place {
    /// Place `serial` of `round`.
    pub fn new(round: &str, serial: u32) -> Self {
        Self {
            round: round.to_owned(),
            serial,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.round, self.serial)
    }
}

/// The reply to one application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// 201: the applicant has this place.
    Granted(Place),
    /// 200: the applicant already had this place.
    AlreadyGranted(Place),
    /// 202: the position on the waitlist.
    Waitlisted(u32),
    /// 410: no place is left.
    SoldOut,
    /// 410: the applicant's grant was revoked.
    Revoked,
    /// 410: the campaign has ended.
    Closed,
    /// 4xx: the request was invalid, on purpose.
    Rejected,
    /// 503 at every attempt.
    Unavailable,
    Unexplained(String),
}

/// One application, from when it was first sent to its final answer.
#[derive(Clone, Debug)]
pub struct Call {
    pub user_id: String,
    /// When it was first sent: a grant may have been made at any moment since.
    pub began: Instant,
    /// When its answer arrived.
    pub ended: Instant,
    pub reply: Reply,
}

/// The reply to one cancellation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CancelReply {
    /// 200: the applicant was on the waitlist, and is no longer.
    Left,
    /// 200: the applicant has given this place back.
    GivenBack(Place),
    /// 404: the applicant has nothing to cancel.
    NotFound,
    /// 409: the coupon was redeemed.
    Redeemed,
    /// 503 at every attempt.
    Unavailable,
    Unexplained(String),
}

/// One cancellation (DELETE), from when it was first sent to its final answer.
#[derive(Clone, Debug)]
pub struct Cancel {
    pub user_id: String,
    pub began: Instant,
    pub ended: Instant,
    /// Whether it was sent once. Otherwise an attempt without an answer may have cancelled something else.
    pub is_certain: bool,
    pub reply: CancelReply,
}

impl Cancel {
    /// Whether a coupon may have been given back.
    pub(crate) fn may_give_back(&self) -> bool {
        !self.is_certain
            || matches!(
                self.reply,
                CancelReply::GivenBack(_) | CancelReply::Unavailable
            )
    }
}

/// The replies of one rush, counted, and the places that applicants were told.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Answered requests.
    pub sent: u64,
    /// Answers 201.
    pub granted: u64,
    /// Answers 200.
    pub already_granted: u64,
    /// Answers 202.
    pub waitlisted: u64,
    /// Answers 410.
    pub sold_out: u64,
    /// Invalid requests that were refused as they should be.
    pub rejected: u64,
    /// Requests whose every attempt got 503 or a broken connection.
    pub unavailable: u64,
    /// Requests that were sent again after 503 or a broken connection.
    pub retried: u64,
    /// Replies that nothing explains, as text.
    pub unexplained: Vec<String>,
    /// For each applicant, all places that they were told.
    pub places: BTreeMap<String, Vec<Place>>,
    /// For each grant that an applicant was told, the codes that they were told with it.
    pub codes: BTreeMap<(String, Place), BTreeSet<String>>,
    /// Every application, in the order in which they ended within each client.
    pub calls: Vec<Call>,
    /// When each applicant first came, whether or not there was an answer.
    pub came: BTreeMap<String, Instant>,
    pub cancels: Vec<Cancel>,
}

impl History {
    /// The applicants with the places that they were told.
    pub(crate) fn told_places(&self) -> impl Iterator<Item = (&String, &Place)> {
        let people = self.places.iter();
        people.flat_map(|(user_id, places)| places.iter().map(move |place| (user_id, place)))
    }

    /// Records that an applicant came: a grant may have been made at any moment since.
    pub fn note_coming(&mut self, user_id: &str, began: Instant) {
        match self.came.get_mut(user_id) {
            Some(first) => *first = began.min(*first),
            None => {
                self.came.insert(user_id.to_owned(), began);
            }
        }
    }

    /// Records how a call ended.
    pub fn note(&mut self, call: Call) {
        self.sent += 1;
        self.note_coming(&call.user_id, call.began);
        match &call.reply {
            Reply::Granted(place) => {
                self.granted += 1;
                self.note_place(&call.user_id, place.clone());
            }
            Reply::AlreadyGranted(place) => {
                self.already_granted += 1;
                self.note_place(&call.user_id, place.clone());
            }
            Reply::Waitlisted(_) => self.waitlisted += 1,
            Reply::SoldOut => self.sold_out += 1,
            Reply::Revoked | Reply::Closed => {}
            Reply::Rejected => self.rejected += 1,
            Reply::Unavailable => self.unavailable += 1,
            Reply::Unexplained(answer) => self.unexplained.push(answer.clone()),
        }
        self.calls.push(call);
    }

    /// Records the code that an applicant was told with a grant.
    pub fn note_code(&mut self, user_id: &str, place: Place, code: String) {
        let grant = (user_id.to_owned(), place);
        self.codes.entry(grant).or_default().insert(code);
    }

    pub fn note_cancel(&mut self, cancel: Cancel) {
        match &cancel.reply {
            CancelReply::Unexplained(answer) => self.unexplained.push(answer.clone()),
            CancelReply::Unavailable => self.unavailable += 1,
            _ => {}
        }
        self.cancels.push(cancel);
    }

    /// Merges the replies of another history.
    pub fn add(&mut self, other: Self) {
        self.sent += other.sent;
        self.granted += other.granted;
        self.already_granted += other.already_granted;
        self.waitlisted += other.waitlisted;
        self.sold_out += other.sold_out;
        self.rejected += other.rejected;
        self.unavailable += other.unavailable;
        self.retried += other.retried;
        self.unexplained.extend(other.unexplained);
        self.calls.extend(other.calls);
        self.cancels.extend(other.cancels);
        for (grant, codes) in other.codes {
            self.codes.entry(grant).or_default().extend(codes);
        }
        for (user_id, began) in other.came {
            self.note_coming(&user_id, began);
        }
        for (user_id, places) in other.places {
            for place in places {
                self.note_place(&user_id, place);
            }
        }
    }

    fn note_place(&mut self, user_id: &str, place: Place) {
        let places = self.places.entry(user_id.to_owned()).or_default();
        if !places.contains(&place) {
            places.push(place);
        }
    }
}
