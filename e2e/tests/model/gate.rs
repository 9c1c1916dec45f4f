//! The gate: who was granted which serial, and which grants it was told are committed.
//!
//! Each decision is one step, as the script's is. People are alike, so they come in a fixed order; what matters
//! is who comes again because no answer reached him.

use crate::mutation::Mutation;
use std::collections::BTreeSet;

/// A person, from 0.
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
    /// There is a place left; it will be given in a step of its own. Only if the quota is checked outside the script.
    Looked,
}

/// What Redis knows of the round, and what was once true of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Gate {
    /// In the order of their serials: 1, 2, 3, …
    grants: Vec<Grant>,
    /// The last serial that was counted.
    counted: u8,
    /// Who was seen to find a place, before he gets it in another step.
    looked: BTreeSet<Person>,
    issued: BTreeSet<Grant>,
    halted: bool,
    /// Who has been told the decision.
    told: BTreeSet<Person>,
    /// Everything that was ever granted: what the world knows, and Redis may have lost.
    ever: BTreeSet<Grant>,
    /// Granted, and lost by Redis since.
    lost: BTreeSet<Grant>,
    /// It was told of a committed grant that it does not know.
    met_unknown: bool,
    granted_after_that: bool,
    /// Somebody was told that all is sold out, and no grant was lost since.
    sold_out: bool,
    /// That was so while a place was left, or somebody who came later was granted one.
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

    /// The answer has reached the person.
    pub(crate) fn tell(&mut self, person: Person) {
        self.told.insert(person);
    }

    /// Who may come next: those who have not been told, of those who have never come only the first.
    pub(crate) fn comers(&self, people: Person) -> impl Iterator<Item = Person> {
        let has_come = |person: &Person| {
            self.looked.contains(person) || self.ever.iter().any(|grant| grant.person == *person)
        };
        let first_new = (0..people).find(|person| !has_come(person) && !self.told.contains(person));
        (0..people).filter(move |person| {
            !self.told.contains(person) && (has_come(person) || first_new == Some(*person))
        })
    }

    /// These grants are committed. With `looks`, an unknown one halts the campaign.
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

    /// Redis goes back to before its last grant.
    pub(crate) fn lose_last(&mut self) -> Option<Grant> {
        let grant = self.grants.pop()?;
        self.counted = grant.serial - 1;
        // There is a place again, by no fault of the gate's.
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

    /// Whether Redis has lost any.
    pub(crate) fn has_lost_any(&self) -> bool {
        !self.lost.is_empty()
    }

    pub(crate) fn is_issued(&self, grant: Grant) -> bool {
        self.issued.contains(&grant)
    }

    pub(crate) fn is_halted(&self) -> bool {
        self.halted
    }

    /// Whether anything was granted after it was told of a committed grant that it does not know.
    pub(crate) fn granted_after_unknown(&self) -> bool {
        self.granted_after_that
    }

    /// Whether anybody was turned away while a place was left, or before somebody who came later was granted one.
    pub(crate) fn turned_away_early(&self) -> bool {
        self.turned_away_early
    }

    fn holds(&self, person: Person) -> bool {
        self.grants.iter().any(|grant| grant.person == person)
    }
}
