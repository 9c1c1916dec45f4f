//! Stores an intention before the gate is changed, and removes it when its result is recorded.

use super::outcome::is_refused;
use super::running::Operation;
use crate::database::{Action, Entry, Write};
use crate::intention::{Intention, Task};
use crate::unknown::Unknown;
use anyhow::Result;

impl Operation {
    /// Stores the intention, and makes room for it in the database.
    pub(super) async fn intend(&self, task: Task, reason: Option<&str>) -> Result<Intention> {
        let intention = Intention {
            campaign: self.campaign.id.clone(),
            fence: self.fence,
            actor: self.actor.clone(),
            task,
            reason: reason.map(str::to_owned),
        };
        let wanted;
        let mut writes = vec![Write::Begin(&intention)];
        if let Task::Change { after, .. } = &intention.task {
            wanted = self.campaign.with(after);
            writes.push(Write::Room(&wanted));
        }
        let written = self.database.write(&self.campaign.id, &writes).await;
        written.map_err(|error| match is_refused(&error) {
            true => error,
            false => self.unfinished(&intention, error),
        })?;
        Ok(intention)
    }

    /// Ends an intention of which nothing was done.
    pub(super) async fn give_up(&mut self, intention: &Intention) -> Result<()> {
        if let Task::Change { before, .. } = &intention.task {
            self.campaign = self.campaign.with(before);
            let final_terms = [Write::Final(&self.campaign)];
            self.database
                .write(&intention.campaign, &final_terms)
                .await?;
        }
        self.end(intention, None).await
    }

    /// Ends an intention, with a line of the log.
    pub(super) async fn end(
        &self,
        intention: &Intention,
        line: Option<(Action, &str)>,
    ) -> Result<()> {
        let mut writes = vec![Write::End(intention)];
        if let Some((action, detail)) = line {
            writes.push(Write::Log(Entry::of(intention, action, detail)));
        }
        self.database.write(&intention.campaign, &writes).await
    }

    /// The error of a task that may or may not have been carried out, with the command to run next.
    pub(super) fn unfinished(&self, intention: &Intention, error: anyhow::Error) -> anyhow::Error {
        let id = &intention.campaign;
        let again = match &intention.task {
            // The applicant may have won another round meanwhile.
            Task::Revoke { grant } => {
                format!("the same command again with `--round {}`", grant.round)
            }
            _ => "the same command again".to_owned(),
        };
        error.context(Unknown::new(
            format!("campaign {id}: {}", intention.task),
            format!(
                "Run {again}, or `rushgate campaign finish {id}` (with --give-up, if it can never be finished)"
            ),
        ))
    }
}
