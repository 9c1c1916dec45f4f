//! Lists the operator commands to interrupt, each with the state of the campaign that it needs.

use super::scene::{DeadLetterId, Scene, code_of_the_first};
use std::collections::BTreeMap;

/// A command, with its campaign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum OperatorCommand {
    CreateOnce,
    CreateDaily,
    RaiseQuota,
    LowerQuota,
    AddDays,
    RemoveDays,
    MoveWindow,
    SetWaitlist,
    Pause,
    Resume,
    Close,
    RevokeForNext,
    RevokeForPool,
    RevokeOfRound,
    ReplayOfConsumer,
    DiscardOfConsumer,
    ReturnOfConsumer,
    ReplayOfBridge,
    DiscardOfBridge,
    ReturnOfBridge,
    RepairMissing,
    RepairUnconfirmed,
    RepairStillActive,
    RestoreLost,
    RestoreHalted,
    HaltAndRestore,
    Redeem,
    WriteCodes,
}

/// Three grants, for a, b and c; d and e are on the waitlist.
const SOLD_OUT: [&str; 4] = ["--quota", "3", "--waitlist", "3"];

const DAILY: [&str; 12] = [
    "--quota",
    "100",
    "--from",
    "2126-12-01",
    "--to",
    "2126-12-03",
    "--daily",
    "10:00",
    "--for",
    "2h",
    "--timezone",
    "Asia/Seoul",
];

impl OperatorCommand {
    pub(super) const ALL: [Self; 28] = [
        Self::CreateOnce,
        Self::CreateDaily,
        Self::RaiseQuota,
        Self::LowerQuota,
        Self::AddDays,
        Self::RemoveDays,
        Self::MoveWindow,
        Self::SetWaitlist,
        Self::Pause,
        Self::Resume,
        Self::Close,
        Self::RevokeForNext,
        Self::RevokeForPool,
        Self::RevokeOfRound,
        Self::ReplayOfConsumer,
        Self::DiscardOfConsumer,
        Self::ReturnOfConsumer,
        Self::ReplayOfBridge,
        Self::DiscardOfBridge,
        Self::ReturnOfBridge,
        Self::RepairMissing,
        Self::RepairUnconfirmed,
        Self::RepairStillActive,
        Self::RestoreLost,
        Self::RestoreHalted,
        Self::HaltAndRestore,
        Self::Redeem,
        Self::WriteCodes,
    ];

    /// Whether no campaign exists before it.
    pub(super) fn creates(self) -> bool {
        matches!(self, Self::CreateOnce | Self::CreateDaily)
    }

    /// Whether nothing is granted until it has completed.
    pub(super) fn restores(self) -> bool {
        matches!(
            self,
            Self::RestoreLost | Self::RestoreHalted | Self::HaltAndRestore
        )
    }

    /// Creates the campaign; returns the dead letter, if the command is about one.
    pub(super) async fn prepare(self, scene: &Scene, campaign: &str) -> Option<DeadLetterId> {
        let sold_out = async || {
            let people = ["a", "b", "c", "d", "e"];
            scene.campaign(campaign, &SOLD_OUT, &people).await;
        };
        let with = async |terms: &[&str]| scene.campaign(campaign, terms, &["a", "b"]).await;
        match self {
            Self::CreateOnce | Self::CreateDaily => {}
            Self::AddDays | Self::RemoveDays | Self::MoveWindow => {
                scene.campaign(campaign, &DAILY, &[]).await;
            }
            Self::RaiseQuota | Self::RevokeForNext => sold_out().await,
            Self::LowerQuota
            | Self::SetWaitlist
            | Self::Pause
            | Self::Close
            | Self::RevokeForPool => with(&["--quota", "5"]).await,
            Self::RevokeOfRound => with(&["--quota", "5", "--one-per", "round"]).await,
            Self::Resume => {
                with(&["--quota", "5"]).await;
                let pause = ["campaign", "pause", campaign, "--reason", "before"];
                scene.does(&pause).await;
            }
            Self::ReplayOfConsumer | Self::ReturnOfConsumer => {
                sold_out().await;
                return Some(scene.could_not_insert(campaign, "c").await);
            }
            Self::DiscardOfConsumer => {
                with(&["--quota", "5"]).await;
                let key = format!("{campaign}/once/9");
                return Some(scene.dead_letter(&key, "{").await);
            }
            Self::ReplayOfBridge | Self::ReturnOfBridge => {
                sold_out().await;
                let fields = scene.takes(campaign, "c").await;
                return Some(scene.could_not_publish(campaign, &fields).await);
            }
            Self::DiscardOfBridge => {
                with(&["--quota", "5"]).await;
                let fields = BTreeMap::from([("no".to_owned(), "event".to_owned())]);
                return Some(scene.could_not_publish(campaign, &fields).await);
            }
            Self::Redeem | Self::WriteCodes => {
                with(&["--quota", "5", "--codes", "signed"]).await;
                scene.has_row(campaign, "a", self == Self::WriteCodes).await;
                if self == Self::Redeem {
                    scene
                        .does(&["coupon", "codes", "--campaign", campaign])
                        .await;
                }
            }
            Self::RepairMissing => {
                with(&["--quota", "5"]).await;
                scene.takes(campaign, "a").await;
            }
            Self::RepairUnconfirmed => {
                with(&["--quota", "5"]).await;
                scene.has_row(campaign, "a", false).await;
            }
            Self::RepairStillActive => {
                with(&["--quota", "5"]).await;
                scene.has_row(campaign, "a", true).await;
                let revoke = ["revoke", campaign, "a", "--reason", "before"];
                scene.does(&revoke).await;
                scene.takes(campaign, "a").await;
            }
            Self::RestoreLost | Self::RestoreHalted | Self::HaltAndRestore => {
                with(&["--quota", "5"]).await;
                scene.has_row(campaign, "a", true).await;
                scene.has_row(campaign, "b", true).await;
                match self {
                    Self::RestoreLost => scene.loses_all(campaign).await,
                    _ => scene.loses(campaign, "b").await,
                }
                if self == Self::RestoreHalted {
                    scene.halts(campaign).await;
                }
            }
        }
        None
    }

    pub(super) fn command(self, campaign: &str, dead_letter: Option<&str>) -> Vec<String> {
        let dead_letter = dead_letter.unwrap_or_default();
        let mut words = match self {
            Self::CreateOnce => {
                let create = ["campaign", "create", "--id", campaign];
                return owned(&[&create[..], &SOLD_OUT].concat());
            }
            Self::CreateDaily => {
                let create = ["campaign", "create", "--id", campaign];
                return owned(&[&create[..], &DAILY].concat());
            }
            Self::RaiseQuota => vec!["campaign", "change", campaign, "--quota", "6"],
            Self::LowerQuota => vec!["campaign", "change", campaign, "--quota", "3"],
            Self::AddDays => vec!["campaign", "change", campaign, "--to", "2126-12-05"],
            Self::RemoveDays => vec!["campaign", "change", campaign, "--to", "2126-12-02"],
            Self::MoveWindow => vec![
                "campaign",
                "change",
                campaign,
                "--round",
                "2126-12-02",
                "--opens-at",
                "2126-12-02T09:00:00+09:00",
                "--closes-at",
                "2126-12-02T13:00:00+09:00",
            ],
            Self::SetWaitlist => vec!["campaign", "change", campaign, "--waitlist", "5"],
            Self::Pause => vec!["campaign", "pause", campaign],
            Self::Resume => vec!["campaign", "resume", campaign],
            Self::Close => vec!["campaign", "close", campaign],
            Self::RevokeForNext | Self::RevokeForPool => vec!["revoke", campaign, "a"],
            Self::RevokeOfRound => vec!["revoke", campaign, "a", "--round", "once"],
            Self::ReplayOfConsumer | Self::ReplayOfBridge => {
                return owned(&["failed", "replay", dead_letter]);
            }
            Self::DiscardOfConsumer | Self::DiscardOfBridge => {
                return owned(&["failed", "discard", dead_letter, "--note", "as agreed"]);
            }
            Self::ReturnOfConsumer | Self::ReturnOfBridge => {
                let discard = ["failed", "discard", dead_letter, "--return-serial"];
                return owned(&[&discard[..], &["--note", "as agreed"]].concat());
            }
            Self::RepairMissing | Self::RepairUnconfirmed | Self::RepairStillActive => {
                return owned(&["audit", campaign, "--repair"]);
            }
            Self::Redeem => {
                let code = code_of_the_first(campaign);
                return owned(&["coupon", "redeem", &code, "--order", "A-1"]);
            }
            Self::WriteCodes => return owned(&["coupon", "codes", "--campaign", campaign]),
            Self::RestoreLost | Self::RestoreHalted => vec!["restore", campaign],
            Self::HaltAndRestore => vec!["restore", campaign, "--halt"],
        };
        words.extend(["--reason", "as agreed"]);
        owned(&words)
    }

    /// A command with another effect, which may follow this one, whether or not this one completed.
    pub(super) fn other(self, campaign: &str) -> Option<Vec<String>> {
        let words = match self {
            Self::CreateOnce | Self::CreateDaily => vec!["campaign", "pause", campaign],
            Self::SetWaitlist => vec![
                "campaign",
                "change",
                campaign,
                "--closes-at",
                "2126-12-01T00:00:00Z",
            ],
            Self::Close => vec!["revoke", campaign, "b"],
            // No other command is possible until the campaign is restored.
            Self::RestoreLost | Self::RestoreHalted | Self::HaltAndRestore => return None,
            // They are about coupons: no other command finishes them, and they stand in the way of none.
            Self::Redeem | Self::WriteCodes => return None,
            _ => vec!["campaign", "change", campaign, "--waitlist", "7"],
        };
        let mut words = owned(&words);
        words.extend(owned(&["--reason", "another time"]));
        Some(words)
    }
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
