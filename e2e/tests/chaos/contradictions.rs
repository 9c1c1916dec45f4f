//! Checks that what the `rushgate` command reported to the operator is true, once no command is interrupted any more.

use crate::operator::Diary;
use crate::world::World;
use std::collections::BTreeMap;

/// All contradictions. Whether dead letters are left is checked elsewhere.
pub(crate) async fn contradictions(world: &World, campaign: &str, diary: &Diary) -> Vec<String> {
    let mut found = diary.complaints.clone();
    for id in diary.sides.iter().map(String::as_str).chain([campaign]) {
        found.extend(in_terms(world, id, diary).await);
        found.extend(in_log(world, id, diary).await);
    }
    found
}

/// Gate and database have the same terms, and these are what the operator set.
async fn in_terms(world: &World, campaign: &str, diary: &Diary) -> Vec<String> {
    let gate = world.stores().terms_at_gate(campaign).await.expect("Redis");
    let database = world.database.terms(campaign).await.expect("the database");
    let mut found = vec![];
    if gate != database {
        found.push(format!(
            "campaign {campaign} is {gate:?} to the gate, and to the database {database:?}"
        ));
    }
    let Some(terms) = database else { return found };
    if !diary.sides.iter().any(|side| side == campaign) {
        let quota = terms.rounds.values().map(|round| round.quota).next();
        let is_meant = quota.is_some_and(|quota| diary.quotas.contains(&quota))
            && diary.waitlists.contains(&terms.waitlist)
            && terms.state == "running";
        if !is_meant {
            found.push(format!(
                "campaign {campaign} is {terms:?}; its quota should be one of {:?}, its waitlist one of {:?}",
                diary.quotas, diary.waitlists
            ));
        }
    }
    let audit = world.operator.end_of(&["audit", campaign]).await;
    let audit = audit.expect("run");
    // Dead letters are counted elsewhere, and codes are too few.
    let findings = audit.stdout.lines().filter(|line| line.starts_with("  "));
    let others: Vec<&str> = findings
        .filter(|line| !line.contains("dead letter") && !line.contains(" waits for its code"))
        .collect();
    if !matches!(audit.code, Some(0 | 2)) || !others.is_empty() {
        found.push(format!("audit: {}{}", audit.stdout, audit.stderr));
    }
    found
}

/// The log has each change once.
async fn in_log(world: &World, campaign: &str, diary: &Diary) -> Vec<String> {
    let log = world.database.log(campaign).await.expect("the database");
    let mut times: BTreeMap<&str, u32> = BTreeMap::new();
    for (_, reason) in &log {
        *times
            .entry(reason.as_deref().unwrap_or_default())
            .or_default() += 1;
    }
    let of_campaign = |reason: &&String| {
        reason
            .rsplit_once('/')
            .is_some_and(|(about, _)| about == campaign)
    };
    let mut found = vec![];
    for reason in diary.reasons.iter().filter(of_campaign) {
        let times = times.get(reason.as_str()).copied().unwrap_or_default();
        if times > 1 || times == 0 && diary.reported.contains(reason) {
            found.push(format!(
                "the log of {campaign} tells {reason} {times} times: {log:?}"
            ));
        }
    }
    let created = log.iter().filter(|(action, _)| action == "created").count();
    if created > 1 {
        found.push(format!(
            "the log of {campaign} tells {created} times that it was created"
        ));
    }
    found
}
