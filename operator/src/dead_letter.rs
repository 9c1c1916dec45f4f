//! A dead letter as operators see it: its id, the bytes of its record, and the error if there is none.

use crate::refusal::{ErrorCode, Refusal};
use rushgate_gate::CampaignId;
use serde::Serialize;
use std::fmt;
use std::str::FromStr;

/// The reason of all dead letters of the bridge.
pub const UNPUBLISHED: &str = "unpublishable";

/// The id of a dead letter: `17`, or `welcome/1796086800123-0`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub enum DeadLetterId {
    /// A dead letter of the consumer, by its number.
    Consumer(u64),
    /// A dead letter of the bridge, by campaign and entry id.
    Bridge(CampaignId, String),
}

impl FromStr for DeadLetterId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let hint = || {
            format!(
                "{text:?} is not the id of a dead letter: write a number such as 17, or CAMPAIGN/ENTRY-ID, as \
                 `rushgate failed list` shows it"
            )
        };
        match text.split_once('/') {
            None => text.parse().map(Self::Consumer).map_err(|_| hint()),
            Some((campaign, entry)) => {
                let (ms, seq) = entry.split_once('-').ok_or_else(hint)?;
                ms.parse::<u64>().map_err(|_| hint())?;
                seq.parse::<u64>().map_err(|_| hint())?;
                let campaign = campaign.parse().map_err(|_| hint())?;
                Ok(Self::Bridge(campaign, entry.to_owned()))
            }
        }
    }
}

impl From<DeadLetterId> for String {
    fn from(id: DeadLetterId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for DeadLetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Consumer(id) => f.pad(&id.to_string()),
            Self::Bridge(campaign, entry) => f.pad(&format!("{campaign}/{entry}")),
        }
    }
}

/// The error for an id that no open dead letter of the campaign has.
pub fn no_such(campaign: &CampaignId) -> Refusal {
    Refusal::new(
        ErrorCode::NoSuchDeadLetter,
        format!(
            "there is no such dead letter, or it was resolved: `rushgate failed list --campaign {campaign}` lists the \
             open ones, `rushgate campaign log {campaign}` shows what was done with others"
        ),
    )
}

/// Bytes as text, or in hexadecimal if they are not UTF-8.
pub fn shown(bytes: Option<&[u8]>) -> String {
    match bytes.map(str::from_utf8) {
        None => "none".to_owned(),
        Some(Ok(text)) if !text.contains(char::is_control) => text.to_owned(),
        Some(_) => {
            let bytes = bytes.unwrap_or_default().iter();
            bytes.fold("0x".to_owned(), |text, byte| format!("{text}{byte:02x}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_dead_letters_are_read_back() {
        for name in ["17", "welcome/1796086800123-0"] {
            let id: DeadLetterId = name.parse().expect(name);
            assert_eq!(id.to_string(), name, "{name}");
        }
        for name in ["", "x", "welcome/", "welcome/5", "WELCOME/5-0", "-1"] {
            let error = name.parse::<DeadLetterId>().expect_err(name);
            assert!(error.contains("failed list"), "{name}: {error}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_shown_all_the_same() {
        assert_eq!(shown(Some(b"a/b/1")), "a/b/1");
        assert_eq!(shown(Some(&[0, 0xff])), "0x00ff");
        assert_eq!(shown(None), "none");
    }
}
