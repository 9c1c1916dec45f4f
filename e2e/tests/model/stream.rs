//! Models the campaign's Redis stream and its consumer group, as far as XADD, XREADGROUP, XAUTOCLAIM, XACK and XDEL
//! show them.

use crate::gate::Grant;
use std::collections::{BTreeMap, BTreeSet};

/// The number of an entry. Ids only grow.
pub(crate) type Id = u64;

/// A bridge, by its consumer name in the group.
pub(crate) type BridgeNo = usize;

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Stream {
    added: Id,
    entries: BTreeMap<Id, Grant>,
    group: Option<Group>,
    /// Reads of new entries whose bridges have given up, and which Redis has yet to carry out.
    late: Vec<(BridgeNo, usize)>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Group {
    /// The last entry that was delivered.
    given: Id,
    pending: BTreeMap<Id, BridgeNo>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Claimed {
    pub(crate) entries: Vec<(Id, Option<Grant>)>,
    pub(crate) deleted: Vec<Id>,
    /// Where to continue; 0 at the end.
    pub(crate) next: Id,
}

impl Stream {
    /// XADD; with MAXLEN if `longest` is given.
    pub(crate) fn add(&mut self, grant: Grant, longest: Option<usize>) {
        self.added += 1;
        self.entries.insert(self.added, grant);
        while longest.is_some_and(|longest| self.entries.len() > longest) {
            self.entries.pop_first();
        }
    }

    /// XGROUP CREATE, from the beginning.
    pub(crate) fn create_group(&mut self) {
        self.group.get_or_insert_default();
    }

    /// XREADGROUP with an id: entries pending under this name. `None` if there is no group.
    pub(crate) fn own(
        &self,
        who: BridgeNo,
        after: Id,
        count: usize,
    ) -> Option<Vec<(Id, Option<Grant>)>> {
        let pending = &self.group.as_ref()?.pending;
        let own = pending.iter().filter(|(_, owner)| **owner == who);
        let own = own.filter(|(id, _)| **id > after).take(count);
        Some(
            own.map(|(id, _)| (*id, self.entries.get(id).copied()))
                .collect(),
        )
    }

    /// XREADGROUP with `>`: entries that were never delivered.
    pub(crate) fn new_entries(
        &mut self,
        who: BridgeNo,
        count: usize,
    ) -> Option<Vec<(Id, Option<Grant>)>> {
        let group = self.group.as_mut()?;
        let unseen = self.entries.range(group.given + 1..).take(count);
        let read: Vec<_> = unseen.map(|(id, grant)| (*id, Some(*grant))).collect();
        for (id, _) in &read {
            group.given = *id;
            group.pending.insert(*id, who);
        }
        Some(read)
    }

    /// A bridge gives up on a read before Redis has carried it out.
    pub(crate) fn read_later(&mut self, who: BridgeNo, count: usize) {
        self.late.push((who, count));
    }

    /// Redis carries out the first of those reads. The entries become pending, and no bridge knows.
    pub(crate) fn read_late(&mut self) {
        let (who, count) = self.late.remove(0);
        self.new_entries(who, count);
    }

    pub(crate) fn has_late_reads(&self) -> bool {
        !self.late.is_empty()
    }

    /// XAUTOCLAIM of those among `idle`.
    pub(crate) fn claim(
        &mut self,
        who: BridgeNo,
        from: Id,
        count: usize,
        idle: &BTreeSet<Id>,
    ) -> Option<Claimed> {
        let group = self.group.as_mut()?;
        let mut claimed = Claimed::default();
        let pending: Vec<Id> = group.pending.range(from..).map(|(id, _)| *id).collect();
        for id in pending {
            if claimed.entries.len() == count {
                claimed.next = id;
                break;
            }
            if !idle.contains(&id) {
                continue;
            }
            match self.entries.get(&id) {
                Some(grant) => {
                    group.pending.insert(id, who);
                    claimed.entries.push((id, Some(*grant)));
                }
                None => {
                    group.pending.remove(&id);
                    claimed.deleted.push(id);
                }
            }
        }
        Some(claimed)
    }

    /// XACK and XDEL in one step.
    pub(crate) fn complete(&mut self, ids: &[Id]) {
        for id in ids {
            if let Some(group) = &mut self.group {
                group.pending.remove(id);
            }
            self.entries.remove(id);
        }
    }

    /// The group is destroyed.
    pub(crate) fn lose_group(&mut self) {
        self.group = None;
    }

    /// Redis is rolled back to before this grant was written.
    pub(crate) fn lose(&mut self, grant: Grant) {
        let ids = self.entries.iter().filter(|(_, of)| **of == grant);
        let ids: Vec<Id> = ids.map(|(id, _)| *id).collect();
        self.complete(&ids);
    }

    pub(crate) fn holds(&self, grant: Grant) -> bool {
        self.entries.values().any(|of| *of == grant)
    }

    pub(crate) fn has_group(&self) -> bool {
        self.group.is_some()
    }

    /// Whether there are entries that were never delivered.
    pub(crate) fn has_new(&self) -> bool {
        let given = self.group.as_ref().map_or(0, |group| group.given);
        self.entries.range(given + 1..).next().is_some()
    }

    /// Pending entries and their owners.
    pub(crate) fn pending(&self) -> impl Iterator<Item = (Id, BridgeNo)> {
        let pending = self.group.iter().flat_map(|group| &group.pending);
        pending.map(|(id, owner)| (*id, *owner))
    }

    /// Whether it is empty and nothing is pending.
    pub(crate) fn is_drained(&self) -> bool {
        self.entries.is_empty() && self.pending().next().is_none()
    }
}
