//! Models the gate: grants by applicant and serial, and which of them are confirmed.
//!
//! Each decision is one step, like the script. Applicants are interchangeable, so they come in a fixed order; the
//! model only varies which of them apply again because their answer was lost.

use crate::mutation::Mutation;
use std::collections::BTreeSet;

/// An applicant, numbered from 0.
pub(crate) type Person = u8;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Grant {
    pub(crate) serial: u8,
    pub(crate) person: Person,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Granted(Grant),
    AlreadyGranted,
    SoldOut,
    Halted,
    /// A place is left; it will be granted in another step. Only if the quota is checked outside the script.
    Looked,
}

/// What Redis knows of the round, and its history.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Gate {
    /// By serial: 1, 2, 3, …
    grants: Vec<Grant>,
    /// The last serial that was counted.
    counted: u8,
    /// Applicants for whom a place was seen, before it is granted in another step.
    looked: BTreeSet<Person>,
    issued: BTreeSet<Grant>,
    halted: bool,
    /// Applicants who know their decision.
    told: BTreeSet<Person>,
    /// Everything that was ever granted, also if Redis has lost it.
    ever: BTreeSet<Grant>,
    /// Granted, and then lost by Redis.
    lost: BTreeSet<Grant>,
    /// A committed grant was confirmed that the gate does not know.
    met_unknown: bool,
    granted_after_that: bool,
    /// An applicant was told "sold out", and no grant was lost since.
    sold_out: bool,
    /// That happened while a place was left, or before an applicant who came later was granted one.
    turned_away_early: bool,
}

impl Gate {
    pub(crate) fn apply(
        &mut self,
        person: Person,
        quota: u8,
        mutation: Option<Mutation>,
    ) -> Decision {
        if self.halted {
            return Decision::Halted;
        }
        let holds = mutation != Some(Mutation::NoDuplicateCheck) && self.holds(person);
        if holds && mutation != Some(Mutation::DuplicateCheckAfterCount) {
            return Decision::AlreadyGranted;
        }
        if self.counted >= quota && !self.looked.contains(&person) {
            self.sold_out = true;
            self.turned_away_early |= self.grants.len() < usize::from(quota);
            return Decision::SoldOut;
        }
        if mutation == Some(Mutation::QuotaOutsideScript) && self.looked.insert(person) {
            return Decision::Looked;
        }
        self.counted += 1;
        if holds {
            return Decision::AlreadyGranted;
        }
        let grant = Grant {
            serial: self.counted,
            person,
        };
        self.grants.push(grant);
        self.ever.insert(grant);
        self.lost.remove(&grant);
        self.granted_after_that |= self.met_unknown;
        self.turned_away_early |= self.sold_out;
        Decision::Granted(grant)
    }

    /// The answer has reached the applicant.
    pub(crate) fn tell(&mut self, person: Person) {
        self.told.insert(person);
    }

    /// Who may come next: applicants without an answer; of those who have never come, only the first.
    pub(crate) fn comers(&self, people: Person) -> impl Iterator<Item = Person> {
        let has_come = |person: &Person| {
            self.looked.contains(person) || self.ever.iter().any(|grant| grant.person == *person)
        };
        let first_new = (0..people).find(|person| !has_come(person) && !self.told.contains(person));
        (0..people).filter(move |person| {
            !self.told.contains(person) && (has_come(person) || first_new == Some(*person))
        })
    }

    /// These grants are committed. With `looks`, an unknown grant halts the campaign.
    pub(crate) fn confirm(&mut self, grants: impl Iterator<Item = Grant>, looks: bool) {
        for grant in grants {
            if self.grants.contains(&grant) {
                self.issued.insert(grant);
            } else {
                self.met_unknown = true;
                self.halted |= looks;
            }
        }
    }

    /// Redis is rolled back to before its last grant.
    pub(crate) fn lose_last(&mut self) -> Option<Grant> {
        let grant = self.grants.pop()?;
        self.counted = grant.serial - 1;
        // There is a place again, and the gate is not at fault.
        self.sold_out = false;
        self.issued.remove(&grant);
        self.lost.insert(grant);
        Some(grant)
    }

    pub(crate) fn grants(&self) -> &[Grant] {
        &self.grants
    }

    /// Everything that was ever granted.
    pub(crate) fn ever(&self) -> &BTreeSet<Grant> {
        &self.ever
    }

    /// Whether Redis has lost the grant.
    pub(crate) fn has_lost(&self, grant: Grant) -> bool {
        self.lost.contains(&grant)
    }

    /// Whether Redis has lost any grant.
    pub(crate) fn has_lost_any(&self) -> bool {
        !self.lost.is_empty()
    }

    pub(crate) fn is_issued(&self, grant: Grant) -> bool {
        self.issued.contains(&grant)
    }

    pub(crate) fn is_halted(&self) -> bool {
        self.halted
    }

    /// Whether anything was granted after an unknown committed grant was confirmed.
    pub(crate) fn granted_after_unknown(&self) -> bool {
        self.granted_after_that
    }

    /// Whether an applicant was turned away while a place was left, or before one who came later was granted a place.
    pub(crate) fn turned_away_early(&self) -> bool {
        self.turned_away_early
    }

    fn holds(&self, person: Person) -> bool {
        self.grants.iter().any(|grant| grant.person == person)
    }
}
