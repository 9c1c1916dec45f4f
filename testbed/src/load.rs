//! The load generator. It sends raw bytes on keep-alive connections, from one thread, with epoll.
//!
//! It must be much faster than the system on the same machine, so it does almost nothing. A request is what
//! [`Requests`] writes: a [`Template`] overwrites one number. Of a response, it reads only the status and the length.
//! Each request costs one `write` and one `read`. The generator's own cost is part of its [`LoadResult`].
//!
//! There are two paces. With [`Pace::Closed`], every connection sends the next request as soon as it has its answer:
//! this finds the capacity. With [`Pace::Open`], each request is due at a fixed time, whether or not the earlier ones
//! were answered, and its latency counts from that time. So a slow system does not get less load (no coordinated
//! omission).
//!
//! [`Requests`] may also look at each answer, count those that did not come, and send a request again.

mod connection;
mod generator;
mod get;
mod plan;
mod requests;
mod response;
mod result;
mod silent;
mod template;

pub use get::get;
pub use plan::{Load, Pace, Until};
pub use requests::{Answer, Ended, Requests};
pub use response::Protocol;
pub use result::LoadResult;
pub use silent::silent;
pub use template::{MARK, Template};
