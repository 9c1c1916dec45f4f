//! The commands `rushgate coupon …`: find, show, list and redeem coupons, and write missing codes.

mod codes;
mod find;
mod gate_status;
mod history;
mod list;
mod redeem;
mod show;

use crate::config::Config;
use crate::output::{CommandOutput, Format};
use anyhow::Result;
use clap::Subcommand;

/// The subcommands of `coupon`.
#[derive(Subcommand)]
pub enum CouponCommand {
    /// Show what an applicant has, at the gate and in the database
    #[command(after_help = find::EXAMPLES)]
    Find(find::Find),
    /// Redeem the coupon with a code, once
    #[command(after_help = redeem::EXAMPLES)]
    Redeem(redeem::Redeem),
    /// Show the coupon with a code
    #[command(after_help = show::EXAMPLES)]
    Show(show::Show),
    /// Print all coupons of a campaign with their codes, as CSV or (--output json) one JSON object a line
    #[command(after_help = list::EXAMPLES)]
    List(list::List),
    /// Write the codes that coupons of a campaign lack; with pool codes, also at the gate
    #[command(after_help = codes::EXAMPLES)]
    Codes(codes::WriteCodes),
}

impl CouponCommand {
    /// Runs the command and returns its output.
    ///
    /// # Errors
    /// When a server does not answer or refuses, or there is no such campaign or coupon.
    pub async fn run(&self, config: &Config, format: Format) -> Result<CommandOutput> {
        match self {
            Self::Find(find) => find.run(config).await,
            Self::Redeem(redeem) => Ok(CommandOutput::of(redeem.run(config).await?)),
            Self::Show(show) => show.run(config).await,
            Self::List(list) => list.run(config, format).await,
            Self::Codes(codes) => codes.run(config).await,
        }
    }
}
