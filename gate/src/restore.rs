//! Rebuilds the grants of a campaign from the database, after Redis has lost some of them.
//!
//! During this, the campaign is halted. [`calls`] deletes all grants in the gate and writes those of the database;
//! [`reassign`] grants another serial to an applicant whose earlier serial now belongs to another applicant.
//! [`project`](crate::project) with [`Origin::Restored`](crate::project::Origin::Restored) ends the halt.

use crate::applicant::Applicant;
use crate::apply::serial;
use crate::campaign::{CampaignId, OnePer};
use crate::event::Ordinal;
use crate::fence::FencingToken;
use crate::keys::Keys;
use crate::round::{RoundId, Serial};
use crate::script::{Call, Reply, ReplyError, Script, Value};
use crate::time::Millis;
use std::collections::{BTreeMap, BTreeSet};

/// See the header of `restore.lua` for keys, arguments and reply.
pub static SCRIPT: Script<10> = Script::new(concat!(
    include_str!("lua/grant.lua"),
    include_str!("lua/restore.lua")
));

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
}

/// The state of a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Held; the coupon is not committed.
    Held,
    /// Held; the coupon is committed.
    Issued,
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

/// The calls after which the gate has exactly these grants. The caller makes them in this order.
///
/// A serial below the highest one ever granted that no applicant holds becomes free.
pub fn calls(
    campaign: &CampaignId,
    one_per: OnePer,
    granted: &[Granted],
    fence: FencingToken,
) -> Vec<Call> {
    let mut grants = vec![];
    let mut revoked: BTreeMap<String, String> = BTreeMap::new();
    let mut last_wins: BTreeMap<&Applicant, &Granted> = BTreeMap::new();
    let mut turns: BTreeMap<(&RoundId, Serial), u32> = BTreeMap::new();
    let mut rounds: BTreeMap<&RoundId, RoundCounts> = BTreeMap::new();
    let mut revokes = 0;
    for grant in granted {
        let Granted {
            applicant,
            round,
            serial,
            ..
        } = grant;
        let counts = rounds.entry(round).or_default();
        counts.highest = counts.highest.max(serial.get());
        let (mark, ended) = match grant.standing {
            Standing::Held => ("", false),
            Standing::Issued => ("/issued", false),
            Standing::Revoked(at) => {
                let past = format!("{serial}/{}/{}", grant.at.get(), at.get());
                revoked.insert(format!("{round}/{applicant}"), past);
                let last = last_wins.entry(applicant).or_insert(grant);
                if grant.win > last.win {
                    *last = grant;
                }
                revokes += 1;
                ("", true)
            }
        };
        // The number of revocations of the serial: all its grants but the one that is held.
        let turn = turns.entry((round, *serial)).or_default();
        *turn = (*turn).max(grant.turn.get() - u32::from(!ended));
        if !ended {
            let holder = match one_per {
                OnePer::Campaign => applicant.to_string(),
                OnePer::Round => format!("{round}/{applicant}"),
            };
            grants.push(holder);
            grants.push(format!("{round}/{serial}/{}{mark}", grant.at.get()));
            counts.held.insert(serial.get());
            counts.issued += u32::from(grant.standing == Standing::Issued);
        }
    }
    for (applicant, last) in last_wins {
        revoked.insert(
            applicant.to_string(),
            format!("{}/{}", last.round, last.win),
        );
    }
    for ((round, serial), turn) in turns {
        if turn > 0 {
            revoked.insert(format!("{round}/#{serial}"), turn.to_string());
        }
    }
    let mut pool = vec![];
    let mut counts = vec![];
    for (id, round) in rounds {
        let free = (1..=round.highest).filter(|serial| !round.held.contains(serial));
        let before = pool.len();
        pool.extend(free.map(|serial| format!("{id}/{serial:09}")));
        let free = pool.len() - before;
        counts.extend([
            id.to_string(),
            round.highest.to_string(),
            free.to_string(),
            round.issued.to_string(),
        ]);
    }
    let revoked: Vec<String> = revoked
        .into_iter()
        .flat_map(|(field, value)| [field, value])
        .collect();

    let mut calls = vec![call(campaign, fence, ["clear".to_owned()])];
    for (step, words) in [
        ("grants", grants),
        ("revoked", revoked),
        ("pool", pool),
        ("rounds", counts),
    ] {
        // A multiple of 4, so that pairs and groups of four stay in one call.
        for chunk in words.chunks(4 * MAX_ITEMS) {
            let words = chunk.iter().cloned();
            calls.push(call(
                campaign,
                fence,
                std::iter::once(step.to_owned()).chain(words),
            ));
        }
    }
    calls.push(call(
        campaign,
        fence,
        ["revokes".to_owned(), revokes.to_string()],
    ));
    calls
}

/// The call that grants `applicant` a serial of `round`, if one is left, before all applicants on the waitlist.
pub fn reassign(
    campaign: &CampaignId,
    round: &RoundId,
    applicant: &Applicant,
    fence: FencingToken,
) -> Call {
    call(
        campaign,
        fence,
        [
            "reassign".to_owned(),
            campaign.to_string(),
            round.to_string(),
            applicant.to_string(),
        ],
    )
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
        "seated" => Ok(RestoreOutcome::Reassigned(serial(number)?)),
        "holds" => Ok(RestoreOutcome::Holds(serial(number)?)),
        "full" => Ok(RestoreOutcome::Full),
        "not_halted" => Ok(RestoreOutcome::NotHalted),
        "superseded" => Ok(RestoreOutcome::Superseded),
        other => Err(ReplyError::new(format_args!("{other:?} is not an outcome"))),
    }
}

#[derive(Default)]
struct RoundCounts {
    highest: u32,
    held: BTreeSet<u32>,
    issued: u32,
}

fn call(
    campaign: &CampaignId,
    fence: FencingToken,
    args: impl IntoIterator<Item = String>,
) -> Call {
    SCRIPT.call(
        Keys::of(campaign).of_grant_scripts(),
        std::iter::once(fence.to_string()).chain(args).collect(),
    )
}
