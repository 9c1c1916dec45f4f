//! Rebuilds the grants of a campaign from the database, after Redis has lost some of them.
//!
//! During this, the campaign is halted. [`steps`] deletes all grants in the gate and writes those of the database;
//! [`Step::Reassign`] grants another serial to an applicant whose earlier serial now belongs to another applicant.
//! [`project`](crate::project) with [`Origin::Restored`](crate::project::Origin::Restored) ends the halt.

use crate::applicant::Applicant;
use crate::apply::serial;
use crate::campaign::{CampaignId, OnePer};
use crate::event::Ordinal;
use crate::failpoint::is_active;
use crate::fence::FencingToken;
use crate::keys::Keys;
use crate::round::{RoundId, Serial};
use crate::script::{Call, Reply, ReplyError, Script, Value, script};
use crate::stored_grants::{Assignment, HeldGrant, RevokedEntry, pool_member};
use crate::time::Millis;
use std::collections::{BTreeMap, BTreeSet};

/// See the header of `restore.lua` for keys, arguments and reply.
pub static SCRIPT: Script<10> = script!("shared/granting.lua", "restore.lua");

/// Maximum number of items in one call. It keeps the call short, and below the 8,000 values that Lua's `unpack`
/// accepts.
const MAX_ITEMS: usize = 1_000;

/// A grant in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    pub applicant: Applicant,
    pub round: RoundId,
    pub serial: Serial,
    /// Number of grants of this serial so far, including this one.
    pub turn: Ordinal,
    /// Number of grants of the applicant so far, including this one.
    pub win: Ordinal,
    pub at: Millis,
    pub standing: Standing,
    /// The number of its code, in a campaign with pool codes.
    pub code_number: Option<Ordinal>,
}

impl Granted {
    pub fn assignment(&self) -> Assignment {
        Assignment {
            round: self.round.clone(),
            serial: self.serial,
            applicant: self.applicant.clone(),
        }
    }
}

/// The state of a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Held; the coupon is not committed.
    Held,
    /// Held; the coupon is committed.
    Issued,
    /// Issued, and redeemed at this time.
    Redeemed(Millis),
    Revoked(Millis),
}

/// The result of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestoreOutcome {
    Done,
    /// The applicant holds this serial now.
    Reassigned(Serial),
    /// The applicant held this serial already.
    Holds(Serial),
    /// No serial is left in the round.
    Full,
    /// The campaign is not halted. Nothing was changed.
    NotHalted,
    /// A command with a higher fencing token has taken over the campaign. Nothing was changed.
    Superseded,
}

/// One step of a restore. Each becomes one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Deletes all grants, revocations and free serials, and repairs the waitlist.
    Clear,
    /// Writes grants that applicants hold.
    Grants {
        one_per: OnePer,
        held: Vec<HeldGrant>,
    },
    Revoked(Vec<RevokedEntry>),
    /// Writes free serials.
    Pool(Vec<(RoundId, Serial)>),
    Rounds(Vec<RoundCounters>),
    /// Writes the number of all revocations.
    Revokes(u32),
    /// Writes how many pool codes are taken, unless the gate knows of more.
    Codes(u32),
    /// Grants the applicant a serial of the round, if one is left, before all applicants on the waitlist.
    Reassign {
        round: RoundId,
        applicant: Applicant,
    },
}

/// The counters of a round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoundCounters {
    pub round: RoundId,
    /// The highest serial granted.
    pub granted: u32,
    /// Number of free serials.
    pub free: u32,
    /// Number of issued serials.
    pub issued: u32,
}

impl Step {
    pub fn call(&self, campaign: &CampaignId, fence: FencingToken) -> Call {
        let mut args = vec![fence.to_string(), self.name().to_owned()];
        match self {
            Self::Clear => {}
            Self::Grants { one_per, held } => {
                args.extend(held.iter().flat_map(|held| held.entry(*one_per)));
            }
            Self::Revoked(entries) => args.extend(entries.iter().flat_map(RevokedEntry::entry)),
            Self::Pool(free) => {
                args.extend(
                    free.iter()
                        .map(|(round, serial)| pool_member(round, *serial)),
                );
            }
            Self::Rounds(rounds) => args.extend(rounds.iter().flat_map(|counters| {
                let RoundCounters {
                    round,
                    granted,
                    free,
                    issued,
                } = counters;
                [
                    round.to_string(),
                    granted.to_string(),
                    free.to_string(),
                    issued.to_string(),
                ]
            })),
            Self::Codes(_) if is_active("bug::restore_sets_codes_back") => {
                args.push("0".to_owned())
            }
            Self::Revokes(count) | Self::Codes(count) => args.push(count.to_string()),
            Self::Reassign { round, applicant } => args.extend([
                campaign.to_string(),
                round.to_string(),
                applicant.to_string(),
            ]),
        }
        SCRIPT.call(Keys::of(campaign).of_grant_scripts(), args)
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Clear => "clear",
            Self::Grants { .. } => "grants",
            Self::Revoked(_) => "revoked",
            Self::Pool(_) => "pool",
            Self::Rounds(_) => "rounds",
            Self::Revokes(_) => "revokes",
            Self::Codes(_) => "codes",
            Self::Reassign { .. } => "reassign",
        }
    }
}

/// The steps after which the gate has exactly these grants. The caller makes their calls in this order. `codes_taken` is
/// the highest number of a pool code that any grant is known to have taken; 0 if none has.
///
/// A serial below the highest one ever granted that no applicant holds becomes free.
pub fn steps(one_per: OnePer, granted: &[Granted], codes_taken: u32) -> Vec<Step> {
    let mut held = vec![];
    let mut revoked = vec![];
    let mut last_wins: BTreeMap<&Applicant, &Granted> = BTreeMap::new();
    let mut turns: BTreeMap<(&RoundId, Serial), u32> = BTreeMap::new();
    let mut rounds: BTreeMap<&RoundId, RoundGrants> = BTreeMap::new();
    let mut revokes = 0;
    for grant in granted {
        let assignment = Assignment {
            round: grant.round.clone(),
            serial: grant.serial,
            applicant: grant.applicant.clone(),
        };
        let of_round = rounds.entry(&grant.round).or_default();
        of_round.highest = of_round.highest.max(grant.serial.get());
        // The number of revocations of the serial: all its grants but the one that is held.
        let mut revocations = grant.turn.get();
        if let Standing::Revoked(revoked_at) = grant.standing {
            revoked.push(RevokedEntry::Grant {
                assignment,
                at: grant.at,
                revoked_at,
            });
            let last = last_wins.entry(&grant.applicant).or_insert(grant);
            if grant.win > last.win {
                *last = grant;
            }
            revokes += 1;
        } else {
            revocations -= 1;
            let issued = grant.standing != Standing::Held;
            let redeemed_at = match grant.standing {
                Standing::Redeemed(at) => Some(at),
                _ => None,
            };
            held.push(HeldGrant {
                assignment,
                at: grant.at,
                issued,
                redeemed_at,
                code_number: grant.code_number,
            });
            of_round.held.insert(grant.serial);
            of_round.issued += u32::from(issued);
        }
        let turn = turns.entry((&grant.round, grant.serial)).or_default();
        *turn = (*turn).max(revocations);
    }
    revoked.extend(
        last_wins
            .into_iter()
            .map(|(applicant, last)| RevokedEntry::Wins {
                applicant: applicant.clone(),
                round: last.round.clone(),
                wins: last.win,
            }),
    );
    let turns = turns.into_iter().filter(|(_, turns)| *turns > 0);
    revoked.extend(turns.map(|((round, serial), turns)| RevokedEntry::Turns {
        round: round.clone(),
        serial,
        turns,
    }));
    let mut pool = vec![];
    let mut counters = vec![];
    for (round, grants) in rounds {
        let serials = (1..=grants.highest).filter_map(|serial| Serial::try_from(serial).ok());
        let free = serials.filter(|serial| !grants.held.contains(serial));
        let before = pool.len();
        pool.extend(free.map(|serial| (round.clone(), serial)));
        counters.push(RoundCounters {
            round: round.clone(),
            granted: grants.highest,
            free: u32::try_from(pool.len() - before).unwrap_or(u32::MAX),
            issued: grants.issued,
        });
    }

    let mut steps = vec![Step::Clear];
    if codes_taken > 0 {
        steps.push(Step::Codes(codes_taken));
    }
    steps.extend(held.chunks(MAX_ITEMS).map(|held| Step::Grants {
        one_per,
        held: held.to_vec(),
    }));
    let chunks = revoked.chunks(MAX_ITEMS);
    steps.extend(chunks.map(|entries| Step::Revoked(entries.to_vec())));
    steps.extend(pool.chunks(MAX_ITEMS).map(|free| Step::Pool(free.to_vec())));
    let chunks = counters.chunks(MAX_ITEMS);
    steps.extend(chunks.map(|rounds| Step::Rounds(rounds.to_vec())));
    steps.push(Step::Revokes(revokes));
    steps
}

#[derive(Default)]
struct RoundGrants {
    highest: u32,
    held: BTreeSet<Serial>,
    issued: u32,
}

/// Reads the script's reply.
///
/// # Errors
/// When `restore.lua` cannot have sent this reply.
pub fn outcome(reply: &[Value]) -> Result<RestoreOutcome, ReplyError> {
    let mut reply = Reply::of(reply, 2)?;
    let word = reply.text()?;
    let number = reply.integer()?;
    match word {
        "done" => Ok(RestoreOutcome::Done),
        "reassigned" => Ok(RestoreOutcome::Reassigned(serial(number)?)),
        "holds" => Ok(RestoreOutcome::Holds(serial(number)?)),
        "full" => Ok(RestoreOutcome::Full),
        "not_halted" => Ok(RestoreOutcome::NotHalted),
        "superseded" => Ok(RestoreOutcome::Superseded),
        other => Err(ReplyError::new(format_args!("{other:?} is not an outcome"))),
    }
}
