//! Polls the counts of the gate and the database during a test, and checks that they never exceed the quota.

use rushgate_e2e::system::System;
use serde::Deserialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::task::JoinHandle;

#[derive(Deserialize)]
struct Counts {
    round: Option<Round>,
}

#[derive(Deserialize)]
struct Round {
    granted: u32,
    issued: u32,
}

/// Looks at the counts all the time, from [`Watch::begin`] to [`Watch::end`].
pub(crate) struct Watch {
    over: Arc<AtomicBool>,
    task: JoinHandle<u64>,
}

impl Watch {
    /// Starts looking. While the gate returns no counts (it is gone, or has lost the campaign), only at the database.
    pub(crate) fn begin(system: &System, campaign: &str, quota: u32) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let is_over = over.clone();
        let database = system.database.clone();
        let url = format!("{}/v1/campaigns/{campaign}", system.url());
        let campaign = campaign.to_owned();
        let task = tokio::spawn(async move {
            let mut looks = 0;
            while !is_over.load(Ordering::Relaxed) {
                let rows = database.count(&campaign).await.expect("the database");
                assert!(rows <= u64::from(quota), "{rows} rows");
                let response = reqwest::get(&url).await.expect("an answer");
                if response.status().is_success()
                    && let Some(Round { granted, issued }) =
                        response.json::<Counts>().await.expect("counts").round
                {
                    assert!(
                        granted <= quota && issued <= granted,
                        "{granted} granted, {issued} issued"
                    );
                }
                looks += 1;
            }
            looks
        });
        Self { over, task }
    }

    /// Panics if there were ever too many.
    pub(crate) async fn end(self) {
        self.over.store(true, Ordering::Relaxed);
        assert!(self.task.await.expect("never more than the quota") > 0);
    }
}
