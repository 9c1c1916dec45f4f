//! Reads everything that the stores know about a campaign, for the audit.

use super::findings::{CodeProblems, Seen};
use super::pool::{Numbers, pool_problems};
use crate::database::{Action, CouponRow, Database, FailedEventFilter, Resolution};
use crate::dead_letter::DeadLetterId;
use crate::difference::differing_terms;
use crate::gate::Gate;
use crate::servers::Servers;
use anyhow::Result;
use rushgate_gate::restore::Standing;
use rushgate_gate::{
    Assignment, CampaignId, CampaignState, CodeKeys, CodeOf, Codes, Event, KeyFingerprint, Terms,
};
use std::collections::{BTreeMap, HashMap};

/// What one pass observed, with counts; `None` where a server did not answer.
pub(super) struct Look {
    pub(super) seen: Seen,
    pub(super) held: Option<usize>,
    pub(super) coupons: Option<usize>,
    pub(super) on_the_way: Option<usize>,
}

/// Reads everything, upstream first: a grant that moves on during the pass is then seen at least once. `None` if
/// there is no such campaign.
pub(super) async fn look(servers: &mut Servers, id: &CampaignId, keys: &CodeKeys) -> Option<Look> {
    let mut seen = Seen::default();
    let what = format!("the terms of campaign {id}");
    let question = async |database: &mut Database| {
        // A command that is still running is not interrupted, and it changes what is compared here.
        let is_at_work = database.is_reserved(id).await?;
        let terms = database.campaign(id).await?;
        Ok((is_at_work, terms, database.intention(id).await?))
    };
    let (is_at_work, terms, intention) = match servers.database(&what, question).await {
        Some((_, None, _)) => return None,
        Some(found) => found,
        None => (true, None, None),
    };
    let what = format!("the state of campaign {id} at the gate");
    let projection = servers
        .gate(&what, async |gate| gate.projection(id).await)
        .await;
    if let Some(projection) = &projection {
        let at_gate = projection.as_ref().map(|at_gate| at_gate.state);
        let was_told = terms.as_ref().is_some_and(|terms| terms.projected);
        seen.is_unknown = was_told && at_gate.is_none();
        seen.is_halted = at_gate == Some(CampaignState::Halted);
    }
    if let Some(terms) = &terms {
        let at_gate = projection.as_ref().and_then(Option::as_ref);
        let is_halted = terms.state == CampaignState::Halted;
        seen.is_halted_here =
            is_halted && at_gate.is_some_and(|at_gate| at_gate.state != CampaignState::Halted);
        seen.is_halted |= is_halted;
        if !is_at_work {
            seen.unfinished = match terms.projected {
                true => intention.map(|intention| intention.to_string()),
                false => Some("the creation of the campaign was interrupted".to_owned()),
            };
            if let (Some(at_gate), false) = (at_gate, seen.is_halted || seen.unfinished.is_some()) {
                let states = (terms.state, at_gate.state);
                seen.states = (states.0 != states.1).then_some(states);
                seen.terms = differing_terms(terms, at_gate);
            }
        }
    }
    let what = format!("grants of campaign {id} at the gate");
    let books = match &terms {
        Some(terms) => {
            // The one-per rule is part of each grant's key: use the rule that the gate has.
            let at_gate = projection.as_ref().and_then(Option::as_ref);
            let at_gate = at_gate.and_then(|at_gate| at_gate.terms);
            let one_per = at_gate.unwrap_or(terms.terms).one_per;
            let books = async |gate: &mut Gate| {
                let held = gate.held(id, one_per).await?;
                let unheld = (gate.pool(id).await?, gate.miscounts(id).await?);
                Ok((
                    held,
                    unheld,
                    gate.revoked(id).await?,
                    gate.events(id).await?,
                ))
            };
            servers.gate(&what, books).await
        }
        None => None,
    };
    let held = books.as_ref().map(|((held, _), ..)| held.len());
    let codes = terms.as_ref().map(|terms| terms.terms.codes);
    let is_pool = codes == Some(Codes::Pool);
    let (mut numbers_at_gate, mut numbers_in_table) = (Numbers::new(), BTreeMap::new());
    if let Some(((held, unreadable), ((free, odd), miscounts), revoked, events)) = books {
        seen.unreadable.extend(unreadable.into_iter().chain(odd));
        seen.free = free;
        seen.miscounts.extend(miscounts);
        let held = held.into_iter();
        for held in held {
            if is_pool {
                numbers_at_gate.insert(held.assignment.clone(), held.code_number);
            }
            if held.redeemed_at.is_some() {
                seen.redeemed_at_gate.insert(held.assignment.clone());
            }
            seen.held.insert(held.assignment, held.issued);
        }
        seen.taken_back.extend(revoked);
        for event in events {
            seen.on_the_way.insert((place(&event), event.event_type));
        }
    }
    let what = format!("dead letters of the bridge in campaign {id}");
    let unpublished = servers
        .gate(&what, async |gate| gate.unpublished(id).await)
        .await;
    for unpublished in unpublished.iter().flatten() {
        let about = unpublished.event().ok().map(|event| place(&event));
        let dead_letter = DeadLetterId::Bridge(id.clone(), unpublished.entry_id.clone());
        seen.unpublished.insert(dead_letter.to_string(), about);
    }
    let what = format!("campaign {id} in Kafka");
    let topic = servers
        .kafka(&what, async |kafka| kafka.events(id).await)
        .await;
    for (event, waits) in topic.iter().flatten() {
        let about = place(event);
        if *waits {
            seen.on_the_way.insert((about.clone(), event.event_type));
        }
        seen.in_topic.insert(about);
    }
    let what = format!("coupons and dead letters of campaign {id}");
    let which = FailedEventFilter {
        campaign: Some(id.clone()),
        resolved: true,
        ..FailedEventFilter::default()
    };
    let tables = match &terms {
        Some(_) => {
            let question = async |database: &mut Database| {
                let granted = database.granted(id).await?;
                let failed_events = database.failed_events(&which).await?;
                let discarded = database.grants_of(id, Action::Discarded).await?;
                let revoked = database.grants_of(id, Action::Revoked).await?;
                Ok((granted, failed_events, discarded, revoked))
            };
            servers.database(&what, question).await
        }
        None => None,
    };
    let has_tables = tables.is_some();
    if let Some((granted, failed_events, discarded, revoked)) = tables {
        seen.discarded.extend(discarded);
        seen.revoked_by_log.extend(revoked);
        for granted in granted {
            let active = !matches!(granted.standing, Standing::Revoked(_));
            let about = granted.assignment();
            if is_pool {
                numbers_in_table.insert(about.clone(), (granted.code_number, active));
            }
            if matches!(granted.standing, Standing::Redeemed(_)) {
                seen.redeemed_rows.insert(about.clone());
            }
            seen.rows.insert(about, active);
        }
        for failed_event in failed_events {
            let about = failed_event.place();
            match &failed_event.resolution {
                None => {
                    seen.failed_events
                        .insert(failed_event.id, (about, failed_event.reason));
                }
                Some((word, _)) if word == Resolution::Discarded.as_str() => {
                    seen.discarded.extend(about);
                }
                Some(_) => {}
            }
        }
    }
    if let Some(Terms {
        codes: Codes::Signed(key),
        ..
    }) = terms.as_ref().map(|terms| terms.terms)
    {
        let what = format!("the codes of campaign {id}");
        if keys.contains(key) {
            let question = async |database: &mut Database| problems(database, id, keys, key).await;
            let codes = servers.database(&what, question).await;
            seen.codes = codes.unwrap_or_default();
        } else {
            let why = format!("COUPON_CODE_KEYS lacks the key {key} of this campaign");
            servers.missing.add(&what, &why);
        }
    }
    if is_pool && held.is_some() && has_tables {
        seen.codes = pool_problems(servers, id, &numbers_at_gate, &numbers_in_table).await;
    }
    let rounds = terms.iter().flat_map(|terms| &terms.rounds);
    seen.quotas = rounds
        .map(|round| (round.id.clone(), round.quota.get()))
        .collect();
    let has_all_on_the_way = held.is_some() && topic.is_some();
    seen.is_partial =
        projection.is_none() || unpublished.is_none() || !has_all_on_the_way || !has_tables;
    Some(Look {
        held,
        coupons: has_tables.then(|| seen.rows.values().filter(|active| **active).count()),
        on_the_way: has_all_on_the_way.then_some(seen.on_the_way.len()),
        seen,
    })
}

/// Compares the codes of all rows with those that are computed from their grants.
async fn problems(
    database: &Database,
    id: &CampaignId,
    keys: &CodeKeys,
    key: KeyFingerprint,
) -> Result<CodeProblems> {
    let (mut problems, mut known) = (CodeProblems::default(), HashMap::new());
    let check = |row: CouponRow| {
        let place = Assignment {
            round: row.round.parse()?,
            serial: row.serial.try_into()?,
            applicant: row.user_id.parse()?,
        };
        let Some(code) = row.code else {
            // The code of a revoked coupon is not needed.
            if row.state == "active" {
                problems.missing.insert(place);
            }
            return Ok(());
        };
        let of = CodeOf {
            campaign: id,
            round: &place.round,
            serial: place.serial,
            turn: row.turn.try_into()?,
            applicant: &place.applicant,
        };
        if keys.code(key, of).map(|code| code.to_string()).as_ref() != Some(&code) {
            problems.wrong.insert(place.clone());
        }
        if let Some(other) = known.insert(code, place.clone()) {
            problems.shared.extend([place, other]);
        }
        Ok(())
    };
    database.each_coupon(id, check).await?;
    Ok(problems)
}

fn place(event: &Event) -> Assignment {
    Assignment {
        round: event.round.clone(),
        serial: event.serial,
        applicant: event.applicant.clone(),
    }
}
