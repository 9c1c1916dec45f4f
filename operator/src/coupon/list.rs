//! The command `rushgate coupon list`, which prints all coupons of a campaign. It holds one row at a time in memory.

use crate::config::Config;
use crate::database::{CouponRow, Database};
use crate::output::{CommandOutput, Format};
use crate::terms::no_such_campaign;
use anyhow::{Context, Result, bail};
use clap::Args;
use rushgate_gate::CampaignId;
use std::io::{self, BufWriter, ErrorKind, Write};

pub(super) const EXAMPLES: &str = "Examples:
  rushgate coupon list --campaign welcome > coupons.csv
  rushgate coupon list --campaign welcome --output json | jq -r .code

The output contains the codes: protect it like the codes themselves.";

/// The arguments of `coupon list`.
#[derive(Args)]
pub struct List {
    /// The campaign
    #[arg(long)]
    campaign: CampaignId,
}

impl List {
    /// Prints CSV (RFC 4180: a line of names, then a line a coupon), or a JSON object a line.
    pub(super) async fn run(&self, config: &Config, format: Format) -> Result<CommandOutput> {
        let database = Database::connect(config).await?;
        if database.campaign(&self.campaign).await?.is_none() {
            bail!(no_such_campaign(&self.campaign));
        }
        let mut printer = Printer::new(format, BufWriter::new(io::stdout().lock()));
        let printed = database
            .each_coupon(&self.campaign, |row| Ok(printer.print(&row)?))
            .await;
        let ended = printed.and_then(|()| Ok(printer.end()?));
        match ended {
            // A reader that has closed stdout, such as `head`, is not a failure.
            Err(error) if is_closed(&error) => Ok(CommandOutput::default()),
            ended => ended
                .map(|()| CommandOutput::default())
                .context("the output is not complete"),
        }
    }
}

/// Prints rows in one format.
struct Printer<W> {
    format: Format,
    out: W,
    is_begun: bool,
}

impl<W: Write> Printer<W> {
    fn new(format: Format, out: W) -> Self {
        Self {
            format,
            out,
            is_begun: false,
        }
    }

    fn print(&mut self, row: &CouponRow) -> io::Result<()> {
        self.begin()?;
        match self.format {
            Format::Text => self.out.write_all(line(row).as_bytes()),
            Format::Json => {
                serde_json::to_writer(&mut self.out, row)?;
                self.out.write_all(b"\n")
            }
        }
    }

    fn end(&mut self) -> io::Result<()> {
        self.begin()?;
        self.out.flush()
    }

    /// Writes the line of names, once.
    fn begin(&mut self) -> io::Result<()> {
        match (self.format, std::mem::replace(&mut self.is_begun, true)) {
            (Format::Text, false) => self.out.write_all(
                b"round,serial,user_id,code,state,granted_at,issued_at,revoked_at,redeemed_at,order_id\r\n",
            ),
            _ => Ok(()),
        }
    }
}

/// A line of CSV.
fn line(row: &CouponRow) -> String {
    let serial = row.serial.to_string();
    let fields = [
        Some(&row.round),
        Some(&serial),
        Some(&row.user_id),
        row.code.as_ref(),
        Some(&row.state),
        row.granted_at.as_ref(),
        row.issued_at.as_ref(),
        row.revoked_at.as_ref(),
        row.redeemed_at.as_ref(),
        row.order_id.as_ref(),
    ];
    let fields = fields.map(|field| field.map_or_else(String::new, |field| quoted(field)));
    fields.join(",") + "\r\n"
}

fn quoted(field: &str) -> String {
    match field.contains([',', '"', '\r', '\n']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => field.to_owned(),
    }
}

fn is_closed(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(format: Format, rows: &[CouponRow]) -> String {
        let mut printer = Printer::new(format, vec![]);
        for row in rows {
            printer.print(row).expect("printed");
        }
        printer.end().expect("printed");
        String::from_utf8(printer.out).expect("UTF-8")
    }

    #[test]
    fn rows_are_csv_or_json_also_if_there_are_none() {
        let row = CouponRow {
            round: "once".to_owned(),
            serial: 7,
            user_id: "kim,2".to_owned(),
            code: None,
            state: "active".to_owned(),
            granted_at: Some("2026-12-01T01:00:00.123Z".to_owned()),
            issued_at: None,
            revoked_at: None,
            redeemed_at: None,
            order_id: Some("a \"b\"".to_owned()),
            turn: 1,
            code_number: None,
        };
        let header = "round,serial,user_id,code,state,granted_at,issued_at,revoked_at,redeemed_at,order_id\r\n";
        assert_eq!(printed(Format::Text, &[]), header);
        assert_eq!(
            printed(Format::Text, std::slice::from_ref(&row)),
            format!(
                "{header}once,7,\"kim,2\",,active,2026-12-01T01:00:00.123Z,,,,\"a \"\"b\"\"\"\r\n"
            )
        );
        for count in 0..3 {
            let text = printed(Format::Json, &vec![row.clone(); count]);
            let lines = text.lines().map(serde_json::from_str);
            let parsed: Vec<serde_json::Value> = lines.collect::<Result<_, _>>().expect(&text);
            assert_eq!(parsed.len(), count);
            assert!(parsed.iter().all(|row| row["order_id"] == "a \"b\""));
        }
    }
}
