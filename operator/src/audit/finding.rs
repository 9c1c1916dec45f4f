//! A finding of the audit: one disagreement, what it is in words, and what to do about it.

use crate::output::quoted;
use rushgate_gate::balance::Miscount;
use rushgate_gate::{Assignment, CampaignId, CampaignState, RoundId};
use std::fmt;

/// One disagreement.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Finding {
    /// The gate does not know the campaign, although it was projected.
    Unknown,
    Halted,
    /// The campaign is halted in the database, but the gate still grants.
    HaltedHere,
    /// A command was begun and not finished.
    Unfinished(String),
    /// The gate has a grant or a free serial that cannot be parsed.
    Unreadable(String),
    /// A counter of the gate differs from what the gate stores.
    Miscount(Miscount),
    /// The gate would give out a serial that an applicant holds.
    HeldAndFree(Assignment),
    /// Database and gate have different states.
    State {
        database: CampaignState,
        gate: CampaignState,
    },
    /// Database and gate have different terms.
    Terms(String),
    /// The gate holds the grant, but it has no row, no event on its way and no dead letter.
    Missing {
        place: Assignment,
        /// The topic still has its record.
        in_topic: bool,
    },
    /// The gate holds the grant, but an operator has discarded its dead letter.
    Discarded(Assignment),
    /// The row is committed, but the gate does not know it.
    Unconfirmed(Assignment),
    /// The gate has revoked the grant, but its row is still active and no event is on its way.
    StillActive(Assignment),
    /// The row is active, but the gate has no such grant.
    LostByGate(Assignment),
    /// The gate holds the grant, but its row is revoked.
    RevokedInTable(Assignment),
    /// The row is revoked, but the gate has no such grant.
    RevocationLostByGate(Assignment),
    /// The gate holds the grant, and only the log says that it was revoked.
    RevocationLost(Assignment),
    /// The round has more active coupons than its quota.
    OverQuota {
        round: RoundId,
        active: u32,
        quota: u32,
    },
    /// The row of a campaign with codes has no code, or not the number of one.
    NoCode(Assignment),
    /// The row has another code than its grant.
    WrongCode(Assignment),
    /// The row has the code of another row.
    SharedCode(Assignment),
    /// The code of the grant is not loaded yet.
    AwaitsCode(Assignment),
    /// A program that is older than pools has granted it, without a code.
    NeverCoded(Assignment),
    /// The gate has bound the code of another grant to it.
    CodeBoundTwice(Assignment),
    /// The gate has not all codes of the pool, as they are in the database.
    CodesUncopied,
    /// The gate would give codes that are taken.
    CodesSetBack,
    /// The gate knows the coupon to be redeemed, and its row is not.
    HalfRedeemed(Assignment),
    /// The row is redeemed, and the gate does not know it.
    RedemptionLost(Assignment),
    /// A dead letter of the consumer is open.
    FailedEvent {
        id: u64,
        reason: String,
    },
    /// A dead letter of the bridge is open.
    Unpublished(String),
}

impl Finding {
    /// Whether a command was interrupted.
    pub fn is_unfinished(&self) -> bool {
        matches!(self, Self::Unfinished(_))
    }

    /// Whether `--repair` can put it right.
    pub fn is_repairable(&self) -> bool {
        match self {
            Self::Missing { .. } | Self::Unconfirmed(_) | Self::StillActive(_) => true,
            Self::Unfinished(_) | Self::State { .. } | Self::Terms(_) => true,
            Self::HaltedHere => true,
            Self::Discarded(_) | Self::Unreadable(_) => false,
            Self::Miscount(_) | Self::HeldAndFree(_) => false,
            Self::Unknown | Self::Halted | Self::LostByGate(_) => false,
            Self::RevokedInTable(_) | Self::RevocationLostByGate(_) => false,
            Self::RevocationLost(_) | Self::RedemptionLost(_) | Self::HalfRedeemed(_) => false,
            Self::NoCode(_) | Self::WrongCode(_) | Self::SharedCode(_) => false,
            Self::AwaitsCode(_) | Self::NeverCoded(_) | Self::CodeBoundTwice(_) => false,
            Self::CodesUncopied | Self::CodesSetBack => false,
            Self::OverQuota { .. } | Self::FailedEvent { .. } | Self::Unpublished(_) => false,
        }
    }

    /// Its stable name, for scripts.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unknown => "campaign_lost",
            Self::Halted => "halted",
            Self::HaltedHere => "halted_in_database",
            Self::Unfinished(_) => "unfinished",
            Self::Unreadable(_) => "unreadable",
            Self::Miscount(_) => "miscount",
            Self::HeldAndFree(_) => "held_and_free",
            Self::State { .. } => "state",
            Self::Terms(_) => "terms",
            Self::Missing { .. } => "missing",
            Self::Discarded(_) => "discarded",
            Self::Unconfirmed(_) => "unconfirmed",
            Self::StillActive(_) => "still_active",
            Self::LostByGate(_) => "lost_by_gate",
            Self::RevokedInTable(_) => "revoked_in_table",
            Self::RevocationLostByGate(_) => "revocation_lost_by_gate",
            Self::RevocationLost(_) => "revocation_lost",
            Self::OverQuota { .. } => "over_quota",
            Self::NoCode(_) => "no_code",
            Self::WrongCode(_) => "wrong_code",
            Self::SharedCode(_) => "shared_code",
            Self::AwaitsCode(_) => "awaits_code",
            Self::NeverCoded(_) => "never_coded",
            Self::CodeBoundTwice(_) => "code_bound_twice",
            Self::CodesUncopied => "codes_uncopied",
            Self::CodesSetBack => "codes_set_back",
            Self::HalfRedeemed(_) => "half_redeemed",
            Self::RedemptionLost(_) => "redemption_lost",
            Self::FailedEvent { .. } => "failed_event",
            Self::Unpublished(_) => "unpublished",
        }
    }

    /// The command that helps, if there is one.
    pub fn command(&self, campaign: &CampaignId) -> Option<String> {
        Some(match self {
            _ if self.is_repairable() => format!("rushgate audit {campaign} --repair"),
            Self::Unknown | Self::Halted => format!("rushgate restore {campaign}"),
            Self::Discarded(place) | Self::RevocationLost(place) => format!(
                "rushgate revoke {campaign} {} --round {}",
                quoted(&place.applicant),
                place.round
            ),
            Self::NoCode(_) | Self::WrongCode(_) | Self::SharedCode(_) | Self::CodesUncopied => {
                format!("rushgate coupon codes --campaign {campaign}")
            }
            Self::AwaitsCode(_) => format!("rushgate codes show --campaign {campaign}"),
            Self::NeverCoded(place) => format!(
                "rushgate revoke {campaign} {} --round {}",
                quoted(&place.applicant),
                place.round
            ),
            Self::HalfRedeemed(_) => format!("rushgate coupon list --campaign {campaign}"),
            Self::FailedEvent { id, .. } => format!("rushgate failed show {id}"),
            Self::Unpublished(id) => format!("rushgate failed show {id}"),
            Self::OverQuota { .. } => return None,
            _ => format!("rushgate restore {campaign} --halt"),
        })
    }

    /// What to do about it, besides `--repair`.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "--repair puts it back on the stream",
            Self::Discarded(_) => "`rushgate revoke` gives its serial back",
            Self::Unconfirmed(_) => "--repair confirms it",
            Self::StillActive(_) => "--repair puts the revocation back on the stream",
            Self::Unknown => "Redis has lost it: `rushgate restore`",
            Self::Halted => "Redis has lost grants: `rushgate restore`",
            Self::Unfinished(_) => "--repair finishes it, and so does `rushgate campaign finish`",
            Self::State { .. } => "--repair sets the gate to the state in the database",
            Self::Terms(_) => {
                "--repair gives the gate the terms of the database, raised to what the gate has granted"
            }
            Self::HaltedHere => "--repair halts the gate; then run `rushgate restore`",
            Self::Unreadable(_) => "`rushgate restore --halt` rebuilds the gate without it",
            Self::Miscount(_) | Self::HeldAndFree(_) => {
                "Redis has lost data: `rushgate restore --halt` rebuilds it"
            }
            Self::LostByGate(_) => "Redis has lost grants: `rushgate restore --halt`",
            Self::RevokedInTable(_) | Self::RevocationLostByGate(_) => {
                "Redis has lost a revocation: `rushgate restore --halt`"
            }
            Self::RevocationLost(_) => {
                "Redis has lost the revocation: `rushgate revoke` revokes it again"
            }
            Self::OverQuota { .. } => {
                "the table's keys do not allow that: were they changed by hand?"
            }
            Self::NoCode(_) => "`rushgate coupon codes` writes it",
            Self::WrongCode(_) | Self::SharedCode(_) => {
                "was the row changed by hand? Set its code (with pool codes: its code_number) to NULL; then `rushgate coupon \
                 codes` writes the right one"
            }
            Self::AwaitsCode(_) => {
                "`rushgate codes load` loads more codes; `rushgate codes show` says how many are needed"
            }
            Self::NeverCoded(_) => {
                "update every handler; then `rushgate revoke` takes the grant back, and a new one has a code"
            }
            Self::CodesUncopied => "`rushgate coupon codes` copies them",
            Self::CodeBoundTwice(_) | Self::CodesSetBack => {
                "Redis has lost data: `rushgate restore --halt` rebuilds it"
            }
            Self::HalfRedeemed(_) => "`rushgate coupon redeem` with its code completes it",
            Self::RedemptionLost(_) => {
                "Redis has lost a redemption: `rushgate restore --halt` rebuilds it"
            }
            Self::FailedEvent { .. } | Self::Unpublished(_) => "`rushgate failed show` shows it",
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("the gate does not know the campaign"),
            Self::Halted => f.write_str("the campaign is halted and grants nothing"),
            Self::HaltedHere => {
                f.write_str("the campaign is halted in the database, and the gate still grants")
            }
            Self::Unfinished(what) => write!(f, "a command was interrupted: {what}"),
            Self::Unreadable(entry) => write!(f, "the gate's entry {entry} cannot be parsed"),
            Self::Miscount(miscount) => miscount.fmt(f),
            Self::HeldAndFree(place) => {
                write!(
                    f,
                    "{} is held, and also free to be given again",
                    shown(place)
                )
            }
            Self::State { database, gate } => {
                write!(
                    f,
                    "the campaign is {database} in the database and {gate} at the gate"
                )
            }
            Self::Terms(difference) => f.write_str(difference),
            Self::Missing { place, in_topic } => {
                // An event that left the stream reached Kafka, unless Redis lost it or it was deleted by hand; Kafka drops
                // records after the topic's retention.
                let kafka = if *in_topic {
                    "its record is in Kafka, and the consumers have committed past it"
                } else {
                    "it has left the stream, and Kafka holds no record of it now"
                };
                write!(
                    f,
                    "{} is held at the gate and has no row: {kafka}",
                    shown(place)
                )
            }
            Self::Discarded(place) => write!(
                f,
                "{} is held at the gate, and its dead letter was discarded",
                shown(place)
            ),
            Self::Unconfirmed(place) => {
                write!(
                    f,
                    "{} has a committed row that the gate does not know of",
                    shown(place)
                )
            }
            Self::RevocationLost(place) => write!(
                f,
                "{} is held at the gate, although the log says that it was revoked",
                shown(place)
            ),
            Self::StillActive(place) => {
                write!(
                    f,
                    "{} is revoked at the gate, and its row is active",
                    shown(place)
                )
            }
            Self::LostByGate(place) => {
                write!(
                    f,
                    "{} has an active row, and the gate does not know it",
                    shown(place)
                )
            }
            Self::RevokedInTable(place) => {
                write!(
                    f,
                    "{} is held at the gate, and its row is revoked",
                    shown(place)
                )
            }
            Self::RevocationLostByGate(place) => {
                write!(
                    f,
                    "{} has a revoked row, and the gate does not know it",
                    shown(place)
                )
            }
            Self::NoCode(place) => write!(f, "{} has a row without its code", shown(place)),
            Self::WrongCode(place) => {
                write!(
                    f,
                    "{} has a row with a code that is not its own",
                    shown(place)
                )
            }
            Self::SharedCode(place) => {
                write!(f, "{} has a row with the code of another row", shown(place))
            }
            Self::AwaitsCode(place) => write!(f, "{} waits for its code", shown(place)),
            Self::NeverCoded(place) => write!(
                f,
                "{} was granted without a code by a handler of an older version",
                shown(place)
            ),
            Self::CodeBoundTwice(place) => {
                write!(
                    f,
                    "{} has the code of another grant at the gate",
                    shown(place)
                )
            }
            Self::CodesUncopied => {
                f.write_str("the gate has not all codes of the pool as they are in the database")
            }
            Self::CodesSetBack => f.write_str("the gate would give codes that are taken"),
            Self::HalfRedeemed(place) => write!(
                f,
                "{} is redeemed at the gate, and its row is not",
                shown(place)
            ),
            Self::RedemptionLost(place) => write!(
                f,
                "{} has a redeemed row, and the gate does not know that",
                shown(place)
            ),
            Self::OverQuota {
                round,
                active,
                quota,
            } => write!(
                f,
                "round {round} has {active} active coupons for a quota of {quota}"
            ),
            Self::FailedEvent { id, reason } => write!(f, "dead letter {id} is open: {reason}"),
            Self::Unpublished(id) => write!(f, "dead letter {id} of the bridge is open"),
        }
    }
}

pub(super) fn shown(place: &Assignment) -> String {
    format!("{}/{} of {}", place.round, place.serial, place.applicant)
}
