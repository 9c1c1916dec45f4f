//! The command `rushgate codes load`, which loads codes that were made elsewhere into the pool of a campaign.
//!
//! All codes of the input are loaded or none: they are written in one transaction, which is rolled back if one of them is
//! refused. Then they are copied to the gate. After an interruption, the same command again finds all of its codes loaded
//! in their order, or none of them, and completes the copy.

use super::copy::copy;
use super::input::{Input, Line};
use super::show::PoolCounts;
use crate::config::Config;
use crate::database::{CodeLoad, PoolSize};
use crate::operation::{Reserved, is_refused};
use crate::output::CommandOutput;
use crate::refusal::refuse;
use crate::unknown::Unknown;
use anyhow::{Context, Result};
use clap::Args;
use rushgate_gate::failpoint::failpoint;
use rushgate_gate::{CampaignId, CanonicalCode, Codes, PoolCode};
use serde::Serialize;
use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};

pub(super) const EXAMPLES: &str = "Examples:
  rushgate codes load --campaign shop --input codes.csv
  vault kv get -field=codes shop | rushgate codes load --campaign shop

One code a line, or CSV (with commas) with the code in the first column; a first line `code` is a header, and a first line
such as `Coupon code` is refused. A code has 4 to 64 printable ASCII characters, and no semicolon. Upper and lower case,
spaces and hyphens do not matter, nor do O and 0, I, L and 1: two codes that differ only in that are the same code, and are
refused, as is a code of another campaign. Then no code is loaded. The command may be run again after any interruption.";

/// Codes in one statement.
const AT_ONCE: usize = 1_000;

/// Most refused lines that are listed.
const MOST_LISTED: usize = 20;

/// The longest string of Redis, in bytes (`proto-max-bulk-len`). The gate has a copy of all codes in one.
const LONGEST_COPY: u64 = 512 * 1024 * 1024;

/// The arguments of `codes load`.
#[derive(Args)]
pub struct Load {
    /// The campaign
    #[arg(long)]
    campaign: CampaignId,
    /// The file; `-` is standard input
    #[arg(long, value_name = "FILE", default_value = "-")]
    input: String,
}

impl Load {
    pub(super) async fn run(&self, config: &Config) -> Result<CommandOutput> {
        let id = &self.campaign;
        let source: Box<dyn Read> = match self.input.as_str() {
            "-" => Box::new(io::stdin().lock()),
            file => Box::new(File::open(file).with_context(|| format!("opening {file}"))?),
        };
        let mut reserved = Reserved::new(config, id).await?;
        let campaign = reserved.database.existing(id).await?;
        if campaign.terms.codes != Codes::Pool {
            refuse!(
                NoCodes,
                "campaign {id} has no pool of codes: `rushgate campaign create --codes pool` creates one"
            );
        }
        let input = reserved
            .database
            .load_codes(id, async |load| read(id, load, Input::new(source)).await)
            .await?;
        failpoint("operator::codes_committed");
        let copied = copy(&reserved.database, &mut reserved.gate, id, false).await;
        let counts = copied.map_err(|error| {
            let way_out = match is_refused(&error) {
                true => "When that is solved, run the same command again: it copies them",
                false => "Run the same command again: it copies them",
            };
            let what = format!("{input}, and copying them to the gate");
            error.context(Unknown::new(what, way_out))
        })?;
        Ok(CommandOutput::of(Loaded {
            campaign: id.clone(),
            input,
            pool: counts.into(),
        }))
    }
}

/// The pool after the codes of the input are in it.
#[derive(Serialize)]
struct Loaded {
    campaign: CampaignId,
    #[serde(flatten)]
    input: InputCodes,
    pool: PoolCounts,
}

impl fmt::Display for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            campaign,
            input,
            pool,
        } = self;
        write!(f, "campaign {campaign}: {input}; in all {pool}")
    }
}

/// The codes of the input.
#[derive(Serialize)]
struct InputCodes {
    /// False if they were loaded before.
    changed: bool,
    codes: usize,
}

impl fmt::Display for InputCodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.changed {
            true => write!(f, "{} codes were added", self.codes),
            false => write!(f, "all {} codes were loaded before", self.codes),
        }
    }
}

/// Reads all codes into the transaction.
async fn read(
    id: &CampaignId,
    load: &mut CodeLoad<'_>,
    mut input: Input<impl Read>,
) -> Result<InputCodes> {
    let mut reading = Reading {
        before: load.size.loaded,
        ..Reading::default()
    };
    loop {
        let lines = input.next(AT_ONCE)?;
        if lines.is_empty() {
            return reading.end(id);
        }
        reading.take(id, load, lines).await?;
    }
}

/// What was read so far.
#[derive(Default)]
struct Reading {
    /// How many codes the campaign had before.
    before: u32,
    /// The lines of the codes that are loaded now.
    lines: Vec<u32>,
    /// Line and number of the codes that this campaign had before.
    known: Vec<(u32, u32)>,
    /// Why lines are refused, as far as they are listed.
    refused: Vec<String>,
    /// Number of refused lines.
    refusals: usize,
}

impl Reading {
    async fn take(
        &mut self,
        id: &CampaignId,
        load: &mut CodeLoad<'_>,
        lines: Vec<Line>,
    ) -> Result<()> {
        let mut codes: Vec<(u32, PoolCode, CanonicalCode)> = vec![];
        let mut seen = HashMap::new();
        for (line, code) in lines {
            let code = match code {
                Ok(code) => code,
                Err(why) => {
                    self.refuse(format!("line {line} {why}"));
                    continue;
                }
            };
            let canonical = code.canonical();
            match seen.insert(canonical.clone(), line) {
                Some(first) => {
                    self.refuse(format!("line {line} has the same code as line {first}"))
                }
                None => codes.push((line, code, canonical)),
            }
        }
        if codes.is_empty() {
            return Ok(());
        }
        let wanted: Vec<CanonicalCode> = codes.iter().map(|(.., code)| code.clone()).collect();
        let loaded = load.find(&wanted).await?;
        let mut fresh = vec![];
        for (line, code, canonical) in codes {
            match loaded.get(&canonical) {
                None => {
                    self.lines.push(line);
                    fresh.push((code, canonical));
                }
                Some(found) if found.campaign != id.as_str() => {
                    self.refuse(format!(
                        "line {line} has a code of campaign {}",
                        found.campaign
                    ));
                }
                Some(found) if found.number <= self.before => self.known.push((line, found.number)),
                Some(found) => {
                    let first = self.lines[(found.number - self.before) as usize - 1];
                    self.refuse(format!("line {line} has the same code as line {first}"));
                }
            }
        }
        load.insert(&fresh).await?;
        fits_the_gate(id, load.size)?;
        failpoint("operator::codes_inserted");
        Ok(())
    }

    fn refuse(&mut self, why: String) {
        self.refusals += 1;
        if self.refused.len() < MOST_LISTED {
            self.refused.push(why);
        }
    }

    /// The codes, if all of them are loaded.
    ///
    /// # Errors
    /// When a line is refused.
    fn end(mut self, id: &CampaignId) -> Result<InputCodes> {
        let is_in_order = self.known.windows(2).all(|pair| pair[0].1 + 1 == pair[1].1);
        let is_again = self.lines.is_empty() && is_in_order;
        let known = std::mem::take(&mut self.known);
        if self.refusals == 0 && is_again && !known.is_empty() {
            return Ok(InputCodes {
                changed: false,
                codes: known.len(),
            });
        }
        for (line, number) in known {
            self.refuse(format!("line {line} has code {number} of this campaign"));
        }
        let hidden = match self.refusals - self.refused.len() {
            0 => String::new(),
            more => format!("; and {more} more lines"),
        };
        if self.refusals > 0 {
            refuse!(
                CodesRefused,
                "campaign {id}: no code was loaded, because {} lines are refused: {}{hidden}",
                self.refusals,
                self.refused.join("; ")
            );
        }
        if self.lines.is_empty() {
            refuse!(CodesRefused, "campaign {id}: the input has no code");
        }
        Ok(InputCodes {
            changed: true,
            codes: self.lines.len(),
        })
    }
}

/// # Errors
/// When this many codes of this width cannot be copied to the gate.
fn fits_the_gate(id: &CampaignId, size: PoolSize) -> Result<()> {
    let width = size.width.max(1) as u64;
    if u64::from(size.loaded) * width > LONGEST_COPY {
        refuse!(
            CodesRefused,
            "campaign {id}: no code was loaded, because the copy of all codes in Redis would be too long: with a longest code \
             of {width} characters, a campaign has at most {} codes. Load fewer or shorter codes, or divide them among \
             campaigns",
            LONGEST_COPY / width
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::code;
    use crate::refusal::ErrorCode;

    #[test]
    fn codes_of_which_redis_cannot_store_a_copy_are_refused() {
        let id = "shop".parse().expect("an id");
        let size = |loaded, width| PoolSize { loaded, width };
        for fits in [size(0, 0), size(1_000_000, 16), size(8_388_608, 64)] {
            fits_the_gate(&id, fits).expect("room");
        }
        for (too_much, most) in [
            (
                size(8_388_609, 64),
                "64 characters, a campaign has at most 8388608 codes",
            ),
            (size(u32::MAX, 64), "at most 8388608 codes"),
            // One long code makes all others take more room.
            (size(30_000_000, 20), "at most 26843545 codes"),
        ] {
            let refused = fits_the_gate(&id, too_much).expect_err("no room");
            assert_eq!(code(&refused), ErrorCode::CodesRefused);
            assert!(refused.to_string().contains(most), "{refused}");
        }
    }
}
