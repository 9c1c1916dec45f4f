//! Reads what the stores still know of the grants of a campaign.

use super::plan::{Entitlement, Known, is_held};
use crate::database::FailedEventFilter;
use crate::kafka::Kafka;
use crate::operation::Operation;
use crate::terms::Campaign;
use anyhow::Result;
use rushgate_gate::restore::{Granted, Standing};
use rushgate_gate::{Assignment, Event, EventType, Ordinal, signature};
use std::collections::{BTreeMap, BTreeSet};

/// Reasons of dead letters that were caused by another grant of the same serial or to the same applicant.
const LOST_TO_RIVAL: [&str; 2] = ["serial_taken", "already_holds"];

/// Reads database, topic and gate. Keeps the operation's reservation meanwhile.
pub(super) async fn known(
    operation: &mut Operation,
    kafka: &Kafka,
    campaign: &Campaign,
) -> Result<Known> {
    let id = &campaign.id;
    let mut rows = operation.database.granted(id).await?;
    let which = FailedEventFilter {
        campaign: Some(id.clone()),
        resolved: true,
        ..FailedEventFilter::default()
    };
    let failed_events = operation.database.failed_events(&which).await?;
    let mut accounted: BTreeSet<_> = rows.iter().map(Granted::assignment).collect();
    let mut entitlements = vec![];
    let mut taken: BTreeSet<Ordinal> = rows.iter().filter_map(|row| row.code_number).collect();
    for failed_event in &failed_events {
        let Ok(event) = failed_event.event() else {
            continue;
        };
        if failed_event.reason == signature::REASON {
            continue;
        }
        let granted = of_event(&event);
        accounted.insert(granted.assignment());
        taken.extend(granted.code_number);
        if failed_event.resolution.is_none() && event.event_type == EventType::Granted {
            entitlements.push(Entitlement {
                failed_event: failed_event.id,
                lost_to_rival: LOST_TO_RIVAL.contains(&failed_event.reason.as_str()),
                granted,
            });
        }
    }
    let events = kafka.events(id);
    let events = operation.database.keep(events).await?;
    let (mut others, mut numbers) = (BTreeMap::new(), BTreeMap::new());
    for (event, _) in &events {
        let granted = of_event(event);
        taken.extend(granted.code_number);
        numbers.extend(
            granted
                .code_number
                .map(|number| (granted.assignment(), number)),
        );
        others.insert(granted.assignment(), granted);
    }
    // Entries that cannot be parsed are dropped by the rebuild.
    let (held, _) = operation.gate.held(id, campaign.terms.one_per).await?;
    for held in &held {
        taken.extend(held.code_number);
        numbers.extend(
            held.code_number
                .map(|number| (held.assignment.clone(), number)),
        );
    }
    // A consumer of an older version writes rows without the numbers of their codes.
    for row in rows.iter_mut().filter(|row| row.code_number.is_none()) {
        row.code_number = numbers.get(&row.assignment()).copied();
    }
    let is_revoked = |place: &Assignment| {
        let mut events = events.iter().map(|(event, _)| event);
        events.any(|event| {
            event.event_type == EventType::Revoked && of_event(event).assignment() == *place
        })
    };
    let at_gate: BTreeSet<&Assignment> = held.iter().map(|held| &held.assignment).collect();
    let (overtaken, rows): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| {
        let place = row.assignment();
        !is_held(row) && at_gate.contains(&place) && !is_revoked(&place)
    });
    for held in held {
        let place = held.assignment.clone();
        others.entry(held.assignment).or_insert(Granted {
            applicant: place.applicant,
            round: place.round,
            serial: place.serial,
            turn: Ordinal::FIRST,
            win: Ordinal::FIRST,
            at: held.at,
            standing: Standing::Held,
            code_number: held.code_number,
        });
    }
    // A grant that was revoked before it had a row belongs to no applicant.
    for (event, _) in &events {
        if event.event_type == EventType::Revoked {
            others.remove(&of_event(event).assignment());
        }
    }
    let mut others: Vec<Granted> = others
        .into_iter()
        .filter(|(place, _)| !accounted.contains(place))
        .map(|(_, granted)| granted)
        .collect();
    others.sort_by_key(|granted| granted.at);
    entitlements.sort_by_key(|entitlement| entitlement.granted.at);
    let rounds = campaign.rounds.iter();
    Ok(Known {
        rows,
        entitlements,
        others,
        overtaken,
        quotas: rounds
            .map(|round| (round.id.clone(), round.quota.get()))
            .collect(),
        codes_taken: taken.last().map_or(0, |number| number.get()),
    })
}

fn of_event(event: &Event) -> Granted {
    Granted {
        applicant: event.applicant.clone(),
        round: event.round.clone(),
        serial: event.serial,
        turn: event.turn,
        win: event.win,
        at: event.at,
        standing: Standing::Held,
        code_number: event.code_number,
    }
}
