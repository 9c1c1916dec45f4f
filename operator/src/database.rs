//! MySQL or MariaDB: the connection, the migrations, and one module for each table or group of tables.

mod campaigns;
mod codes;
mod connection;
mod coupons;
mod failed_events;
mod intentions;
mod log;
mod migrations;
mod pool_codes;
mod rounds;
mod rows;
mod time;
mod write;

pub use codes::{CodedCoupon, Codeless, CouponRow, Redemption};
pub use connection::Database;
pub use coupons::{Arrived, Coupon};
pub use failed_events::{FailedEvent, FailedEventFilter, Resolution};
pub use log::{Action, Entry, LogLine};
pub use pool_codes::{CodeLoad, LoadedCode, PoolSize};
pub use rows::RowCounts;
pub use write::Write;
