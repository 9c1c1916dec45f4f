//! Rebuilding what the gate knows of a campaign after Redis has lost grants of it.
//!
//! The campaign is halted while this goes on. [`calls`] forgets all grants and writes down those that the database
//! has; [`reassign`] gives a place to an applicant who lost one to another grant. [`project`](crate::project) with
//! [`Origin::Restored`](crate::project::Origin::Restored) ends the halt.

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

/// `restore.lua`; its header says what it reads, writes and answers.
pub static SCRIPT: Script = Script::new(concat!(
    include_str!("lua/grant.lua"),
    include_str!("lua/restore.lua")
));

/// The most of anything in one call, so that it stays within what Lua hands on at once and holds up nobody for long.
const MAX_ITEMS: usize = 1_000;

/// A grant, as the database has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// To whom.
    pub applicant: Applicant,
    /// The round.
    pub round: RoundId,
    /// The serial.
    pub serial: Serial,
    /// How many times the serial had been given.
    pub turn: Ordinal,
    /// How many times the applicant had won.
    pub win: Ordinal,
    /// When.
    pub at: Millis,
    /// What became of it.
    pub standing: Standing,
}

/// What became of a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is held, and its coupon is not committed.
    Held,
    /// It is held, and its coupon is committed.
    Issued,
    /// It was taken back.
    Revoked(Millis),
}

/// What came of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestoreOutcome {
    /// It was written.
    Done,
    /// He has this serial now.
    Reassigned(Serial),
    /// He holds this serial already.
    Holds(Serial),
    /// No place is left in that round.
    Full,
    /// The campaign is not halted; nothing was changed.
    NotHalted,
    /// Somebody with a higher fencing token restores the campaign since; nothing was changed.
    Superseded,
}

/// The calls that make the gate know exactly these grants, to be made in this order.
///
/// A serial that nobody holds, below the highest one that was ever given, is free to be given again.
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
    let mut rounds: BTreeMap<&RoundId, Round> = BTreeMap::new();
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
        // How many times the serial was taken back: of who holds it now, it was not.
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
        // Twos and fours are not torn apart.
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

/// The call that gives `applicant` a place in `round`, if there is one, before anybody who waits.
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
/// When it is not a reply that `restore.lua` gives.
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

/// What is known of a round's serials.
#[derive(Default)]
struct Round {
    highest: u32,
    held: BTreeSet<u32>,
    issued: u32,
}

fn call(
    campaign: &CampaignId,
    fence: FencingToken,
    args: impl IntoIterator<Item = String>,
) -> Call {
    Call {
        script: &SCRIPT,
        keys: Keys::of(campaign).of_grant_scripts().into(),
        args: std::iter::once(fence.to_string()).chain(args).collect(),
    }
}
