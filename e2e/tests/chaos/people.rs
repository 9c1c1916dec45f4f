//! What the applicants of a campaign know: who has come, what they hold, and who cancels. Applicants and operator share
//! it.
//!
//! It keeps histories decidable. While an applicant cancels, they do not apply. An applicant who has left the waitlist, or
//! does not know what a cancellation has done, does not come again.

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rushgate_e2e::history::{CancelReply, Place, Reply};
use std::sync::{Mutex, MutexGuard, PoisonError};

#[derive(Default)]
pub(crate) struct People(Mutex<Known>);

/// A coupon as its holder knows it.
#[derive(Clone)]
pub(crate) struct Coupon {
    pub(crate) person: u32,
    pub(crate) place: Place,
    pub(crate) code: String,
}

impl Coupon {
    /// Applicant and place.
    pub(crate) fn grant(&self) -> (String, Place) {
        (format!("user-{}", self.person), self.place.clone())
    }
}

#[derive(Default)]
struct Known {
    people: Vec<Person>,
    /// Who got a coupon or a place on the waitlist, in this order.
    winners: Vec<u32>,
    coupons: Vec<Coupon>,
    /// The coupon that the operator redeems next: its holder may want to give it back at the same moment.
    wanted: Option<u32>,
    cancelled: u32,
}

#[derive(Clone, Default)]
struct Person {
    /// Applications under way.
    applying: u32,
    is_cancelling: bool,
    /// Never cancels, because an application without an answer may still be carried out.
    must_stay: bool,
    is_gone: bool,
}

impl People {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many applicants have come.
    pub(crate) fn count(&self) -> u32 {
        self.known().people.len() as u32
    }

    /// How many coupons were given back, and places on the waitlist given up.
    pub(crate) fn cancelled(&self) -> u32 {
        self.known().cancelled
    }

    /// Who applies next: mostly a new applicant; one in ten has applied before.
    pub(crate) fn next(&self, random: &mut StdRng) -> u32 {
        let known = &mut *self.known();
        let count = known.people.len() as u32;
        if count > 0 && random.random_range(0..10) == 0 {
            let again = random.random_range(0..count);
            let person = &mut known.people[again as usize];
            if !person.is_cancelling && !person.is_gone {
                person.applying += 1;
                return again;
            }
        }
        known.people.push(Person {
            applying: 1,
            ..Person::default()
        });
        count
    }

    /// The application has this answer; `tries` tells how often it was sent.
    pub(crate) fn answered(&self, person: u32, tries: u32, reply: &Reply, code: Option<&str>) {
        let known = &mut *self.known();
        let standing = &mut known.people[person as usize];
        standing.applying -= 1;
        let holds = matches!(reply, Reply::Granted(_) | Reply::AlreadyGranted(_));
        standing.must_stay |= tries > 1 && !holds;
        match reply {
            Reply::Waitlisted(_) => known.winners.push(person),
            Reply::Granted(place) => {
                known.winners.push(person);
                known.coupons.extend(code.map(|code| Coupon {
                    person,
                    place: place.clone(),
                    code: code.to_owned(),
                }));
            }
            _ => {}
        }
    }

    /// Who cancels next: sometimes the holder of the coupon that the operator is about to redeem.
    pub(crate) fn next_to_cancel(&self, random: &mut StdRng) -> Option<u32> {
        let known = &mut *self.known();
        let person = match known.wanted.take() {
            Some(person) => person,
            None => *known.winners.choose(random)?,
        };
        let standing = &mut known.people[person as usize];
        let is_free = standing.applying == 0 && !standing.is_cancelling;
        (is_free && !standing.must_stay && !standing.is_gone).then(|| {
            standing.is_cancelling = true;
            person
        })
    }

    pub(crate) fn has_cancelled(&self, person: u32, reply: &CancelReply) {
        let known = &mut *self.known();
        let standing = &mut known.people[person as usize];
        standing.is_cancelling = false;
        // After giving a coupon back, an applicant may still apply: the answer is `revoked`.
        standing.is_gone = !matches!(reply, CancelReply::GivenBack(_) | CancelReply::Redeemed);
        let is_done = matches!(reply, CancelReply::GivenBack(_) | CancelReply::Left);
        known.cancelled += u32::from(is_done);
    }

    /// A coupon to redeem.
    pub(crate) fn coupon(&self, random: &mut StdRng) -> Option<Coupon> {
        let known = &mut *self.known();
        let coupon = known.coupons.choose(random)?.clone();
        if random.random_bool(0.3) {
            known.wanted = Some(coupon.person);
        }
        Some(coupon)
    }
}
