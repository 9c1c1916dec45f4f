//! Decodes and encodes the grants that the gate stores in Redis: serials that applicants hold, revoked serials and free
//! serials. [`Keys`](crate::keys::Keys) describes the layout; on the other side, `prelude.lua` does the same.

use crate::applicant::Applicant;
use crate::campaign::OnePer;
use crate::event::Ordinal;
use crate::round::{RoundId, Serial};
use crate::time::Millis;

/// A serial, and the applicant who holds or held it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Assignment {
    pub round: RoundId,
    pub serial: Serial,
    pub applicant: Applicant,
}

/// An entry of the hash `grants`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldGrant {
    pub assignment: Assignment,
    /// When it was granted.
    pub at: Millis,
    /// Whether the gate knows that the coupon is committed.
    pub issued: bool,
    /// When it was redeemed. A redeemed grant is issued.
    pub redeemed_at: Option<Millis>,
    /// The number of its code, in a campaign with pool codes.
    pub code_number: Option<Ordinal>,
}

impl HeldGrant {
    /// `None` if the entry is malformed.
    pub fn of(one_per: OnePer, field: &str, value: &str) -> Option<Self> {
        let mut parts = value.split('/');
        let round: RoundId = parts.next()?.parse().ok()?;
        let serial = parts.next()?.parse().ok()?;
        let (at, code_number) = at_and_code(parts.next()?)?;
        let issued = match parts.next() {
            None => false,
            Some("issued") => true,
            Some(_) => return None,
        };
        let redeemed_at = match parts.next() {
            None => None,
            Some(at) => Some(Millis::try_from(at.parse::<i64>().ok()?).ok()?),
        };
        if parts.next().is_some() {
            return None;
        }
        let applicant = match one_per {
            OnePer::Campaign => field,
            OnePer::Round => field.strip_prefix(round.as_str())?.strip_prefix('/')?,
        };
        Some(Self {
            assignment: Assignment {
                applicant: applicant.parse().ok()?,
                round,
                serial,
            },
            at,
            issued,
            redeemed_at,
            code_number,
        })
    }

    /// Field and value of the entry.
    pub fn entry(&self, one_per: OnePer) -> [String; 2] {
        let Assignment {
            round,
            serial,
            applicant,
        } = &self.assignment;
        let field = match one_per {
            OnePer::Campaign => applicant.to_string(),
            OnePer::Round => format!("{round}/{applicant}"),
        };
        let mark = match (self.issued, self.redeemed_at) {
            (_, Some(redeemed_at)) => format!("/issued/{}", redeemed_at.get()),
            (true, None) => "/issued".to_owned(),
            (false, None) => String::new(),
        };
        let code = self
            .code_number
            .map_or_else(String::new, |number| format!("#{number}"));
        [
            field,
            format!("{round}/{serial}/{}{code}{mark}", self.at.get()),
        ]
    }
}

/// The third part of an entry of the hash `grants`.
fn at_and_code(part: &str) -> Option<(Millis, Option<Ordinal>)> {
    let (at, number) = match part.split_once('#') {
        None => (part, None),
        Some((at, number)) => (at, Some(number.parse().ok()?)),
    };
    Some((Millis::try_from(at.parse::<i64>().ok()?).ok()?, number))
}

/// An entry of the hash `revoked`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RevokedEntry {
    /// A revoked grant.
    Grant {
        assignment: Assignment,
        at: Millis,
        revoked_at: Millis,
    },
    /// The round of the applicant's last revoked grant, and the number of their revoked grants.
    Wins {
        applicant: Applicant,
        round: RoundId,
        wins: Ordinal,
    },
    /// How often a serial was revoked.
    Turns {
        round: RoundId,
        serial: Serial,
        turns: u32,
    },
}

impl RevokedEntry {
    /// Field and value of the entry.
    pub fn entry(&self) -> [String; 2] {
        match self {
            Self::Grant {
                assignment,
                at,
                revoked_at,
            } => [
                format!("{}/{}", assignment.round, assignment.applicant),
                format!("{}/{}/{}", assignment.serial, at.get(), revoked_at.get()),
            ],
            Self::Wins {
                applicant,
                round,
                wins,
            } => [applicant.to_string(), format!("{round}/{wins}")],
            Self::Turns {
                round,
                serial,
                turns,
            } => [format!("{round}/#{serial}"), turns.to_string()],
        }
    }
}

/// The member of the pool for a free serial.
pub fn pool_member(round: &RoundId, serial: Serial) -> String {
    format!("{round}/{:09}", serial.get())
}

/// Number of grants that are not issued yet, from the counters in the hash `rounds`.
pub fn unissued_count<'a>(counts: impl IntoIterator<Item = (&'a str, &'a str)>) -> i64 {
    let counts = counts.into_iter().filter_map(|(field, count)| {
        let (_, what) = field.split_once('/')?;
        let sign = match what {
            "granted" => 1,
            "free" | "issued" => -1,
            _ => return None,
        };
        Some(sign * count.parse::<i64>().ok()?)
    });
    counts.sum()
}

/// When the grant was made, from a value of the hash `grants`; `None` if it is issued or malformed.
pub fn unissued_since(value: &str) -> Option<Millis> {
    let mut parts = value.split('/').skip(2);
    let (at, _) = at_and_code(parts.next()?)?;
    match parts.next() {
        None => Some(at),
        Some(_) => None,
    }
}

/// The serial of a member of the pool; `None` if it is malformed.
pub fn free(member: &str) -> Option<(RoundId, Serial)> {
    let (round, serial) = member.split_once('/')?;
    Some((round.parse().ok()?, serial.parse().ok()?))
}

/// The revoked grant of an entry `<round>/<user_id>` of the hash `revoked`; `None` for the other kinds of entries.
pub fn revoked(field: &str, value: &str) -> Option<Assignment> {
    let (round, applicant) = field.split_once('/')?;
    let serial = value.split('/').next()?;
    Some(Assignment {
        round: round.parse().ok()?,
        serial: serial.parse().ok()?,
        // Fails for `<round>/#<serial>`: a user id cannot contain `#`.
        applicant: applicant.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_decoded_as_the_scripts_write_them() {
        let held =
            HeldGrant::of(OnePer::Campaign, "7", "once/42/1796086800123/issued").expect("held");
        let parts_of = |held: &HeldGrant| {
            let Assignment {
                round,
                serial,
                applicant,
            } = held.assignment.clone();
            (round.to_string(), serial.get(), applicant.to_string())
        };
        assert_eq!(parts_of(&held), ("once".to_owned(), 42, "7".to_owned()));
        assert!(held.issued);
        assert_eq!(
            held.entry(OnePer::Campaign),
            ["7", "once/42/1796086800123/issued"]
        );
        let held = HeldGrant::of(OnePer::Round, "r1/7", "r1/42/5").expect("held");
        assert_eq!(parts_of(&held), ("r1".to_owned(), 42, "7".to_owned()));
        assert!(!held.issued);
        assert_eq!(held.entry(OnePer::Round), ["r1/7", "r1/42/5"]);
        let redeemed = ["7", "once/42/5/issued/6"];
        let held = HeldGrant::of(OnePer::Campaign, redeemed[0], redeemed[1]).expect("held");
        let redeemed_at = held.redeemed_at.map(Millis::get);
        assert_eq!((held.issued, redeemed_at), (true, Some(6)));
        assert_eq!(held.entry(OnePer::Campaign), redeemed);
        for coded in [
            "once/42/5#17",
            "once/42/5#17/issued",
            "once/42/5#17/issued/6",
        ] {
            let held = HeldGrant::of(OnePer::Campaign, "7", coded).expect("held");
            let number = held.code_number.map(Ordinal::get);
            assert_eq!((held.at.get(), number), (5, Some(17)));
            assert_eq!(held.entry(OnePer::Campaign), ["7", coded]);
        }
        for (field, value) in [
            ("7", ""),
            ("7", "once/0/5"),
            ("7", "once/1"),
            ("7", "once/1/5/x"),
            ("7", "once/1/5#"),
            ("7", "once/1/5#0"),
        ] {
            assert_eq!(
                HeldGrant::of(OnePer::Campaign, field, value),
                None,
                "{value}"
            );
        }
        assert_eq!(HeldGrant::of(OnePer::Round, "r2/7", "r1/1/5"), None);

        for (value, at) in [
            ("once/42/5", Some(5)),
            ("once/42/5#17", Some(5)),
            ("once/42/5/issued", None),
            ("once", None),
        ] {
            assert_eq!(unissued_since(value).map(Millis::get), at, "{value}");
        }
        let counts = [
            ("r1/quota", "9"),
            ("r1/granted", "5"),
            ("r1/free", "1"),
            ("r1/issued", "2"),
            ("r2/granted", "3"),
            ("r2/closes_at", ""),
        ];
        assert_eq!(unissued_count(counts), 5);

        let (round, serial) = free("once/000000042").expect("free");
        assert_eq!((round.as_str(), serial.get()), ("once", 42));
        assert_eq!(pool_member(&round, serial), "once/000000042");
        assert_eq!(free("once/0"), None);
        let past = revoked("once/7", "42/5/6").expect("revoked");
        assert_eq!((past.serial.get(), past.applicant.as_str()), (42, "7"));
        let millis = |at: i64| Millis::try_from(at).expect("an instant");
        let grant = RevokedEntry::Grant {
            assignment: past,
            at: millis(5),
            revoked_at: millis(6),
        };
        assert_eq!(grant.entry(), ["once/7", "42/5/6"]);
        let turns = RevokedEntry::Turns {
            round,
            serial,
            turns: 2,
        };
        assert_eq!(turns.entry(), ["once/#42", "2"]);
        // The other kinds of entries: revocations of a serial, grants of an applicant.
        assert_eq!(revoked("once/#42", "1"), None);
        assert_eq!(revoked("7", "once/1"), None);
    }
}
