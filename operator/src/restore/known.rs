//! Reads what the stores still know of the grants of a campaign.

use super::plan::{self, Entitlement, Known, is_held};
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
    let rows = operation.database.granted(id).await?;
    let which = FailedEventFilter {
        campaign: Some(id.clone()),
        resolved: true,
        ..FailedEventFilter::default()
    };
    let failed_events = operation.database.failed_events(&which).await?;
    let mut accounted: BTreeSet<_> = rows.iter().map(plan::place).collect();
    let mut entitlements = vec![];
    for failed_event in &failed_events {
        let Ok(event) = failed_event.event() else {
            continue;
        };
        if failed_event.reason == signature::REASON {
            continue;
        }
        let granted = of_event(&event);
        accounted.insert(plan::place(&granted));
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
    let mut others = BTreeMap::new();
    for (event, _) in &events {
        let granted = of_event(event);
        others.insert(plan::place(&granted), granted);
    }
    // Entries that cannot be parsed are dropped by the rebuild.
    let (held, _) = operation.gate.held(id, campaign.terms.one_per).await?;
    let is_revoked = |place: &Assignment| {
        let mut events = events.iter().map(|(event, _)| event);
        events.any(|event| {
            event.event_type == EventType::Revoked && plan::place(&of_event(event)) == *place
        })
    };
    let at_gate: BTreeSet<&Assignment> = held.iter().map(|held| &held.assignment).collect();
    let (overtaken, rows): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| {
        let place = plan::place(row);
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
        });
    }
    // A grant that was revoked before it had a row belongs to no applicant.
    for (event, _) in &events {
        if event.event_type == EventType::Revoked {
            others.remove(&plan::place(&of_event(event)));
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
    }
}
