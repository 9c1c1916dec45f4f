//! The loop of the load generator: it sends the requests that are due, and reads the responses.

use super::{Load, LoadResult, Pace, Template, Until};
use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;
use rustix::time::{ClockId, clock_gettime};
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Most bytes read at once; no answer here is longer.
const ROOM: usize = 64 * 1024;

/// A connection and its requests in flight.
struct Connection {
    stream: TcpStream,
    /// When the requests in flight were due, in order.
    waiting: VecDeque<Instant>,
    /// Received bytes that are not parsed yet: the first `filled` ones.
    received: Box<[u8]>,
    filled: usize,
}

pub(super) struct Generator<'a> {
    load: &'a Load,
    templates: Vec<Template>,
    epoll: OwnedFd,
    connections: Vec<Connection>,
    idle: Vec<usize>,
    out: Vec<u8>,
    sent: u64,
    counts: [u64; 600],
    latency: Histogram<u64>,
    sample: Vec<u8>,
    begun: Instant,
    last_answer: Instant,
}

impl<'a> Generator<'a> {
    pub(super) fn new(load: &'a Load) -> Result<Self> {
        if load.templates.is_empty() || load.connections == 0 || load.depth == 0 {
            bail!("a load needs at least one template, one connection and a depth of one");
        }
        let now = Instant::now();
        Ok(Self {
            load,
            templates: load.templates.clone(),
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC).context("epoll")?,
            connections: vec![],
            idle: vec![],
            out: vec![],
            sent: 0,
            counts: [0; 600],
            latency: Histogram::new_with_bounds(1, 60_000_000, 3).context("a histogram")?,
            sample: vec![],
            begun: now,
            last_answer: now,
        })
    }

    pub(super) fn run(mut self) -> Result<LoadResult> {
        let cpu = thread_cpu();
        for _ in 0..self.load.connections {
            self.connect()?;
        }
        self.begun = Instant::now();
        self.last_answer = self.begun;
        match self.load.pace {
            Pace::Closed => self.closed()?,
            Pace::Open(per_second) => self.open(per_second)?,
        }
        let counts = self
            .counts
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0);
        Ok(LoadResult {
            sent: self.sent,
            answers: counts.map(|(kind, count)| (kind as u16, *count)).collect(),
            latency: self.latency,
            elapsed: self.last_answer - self.begun,
            cpu: thread_cpu().saturating_sub(cpu),
            sample: String::from_utf8_lossy(&self.sample).into_owned(),
        })
    }

    fn closed(&mut self) -> Result<()> {
        for connection in std::mem::take(&mut self.idle) {
            self.send_next(connection)?;
        }
        let mut events = Vec::with_capacity(self.load.connections);
        while self.idle.len() < self.connections.len() {
            self.wait(&mut events, PATIENCE)?;
            if events.is_empty() {
                bail!("no answer within {} s", PATIENCE.as_secs());
            }
            // Answers after the end are awaited, so that no work runs into the next measurement, but they are not
            // counted: the load declines by then.
            let now = Instant::now();
            let over = matches!(self.load.until, Until::Elapsed(time) if now - self.begun >= time)
                && !self.latency.is_empty();
            for event in &events {
                let connection = event.data.u64() as usize;
                if self.receive(connection, now, !over)? {
                    if over {
                        self.idle.push(connection);
                    } else {
                        self.send_next(connection)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Sends the next requests on an idle connection; if none are left, it stays idle.
    fn send_next(&mut self, connection: usize) -> Result<()> {
        let mut count = self.load.depth as u64;
        if let Until::Requests(all) = self.load.until {
            count = count.min(all - self.sent);
        }
        if count == 0 {
            self.idle.push(connection);
            return Ok(());
        }
        let now = Instant::now();
        self.send(connection, count, now)
    }

    fn open(&mut self, per_second: f64) -> Result<()> {
        let all = match self.load.until {
            Until::Requests(all) => all,
            Until::Elapsed(time) => (time.as_secs_f64() * per_second).ceil() as u64,
        };
        let begun = self.begun;
        let due = |number: u64| begun + Duration::from_secs_f64(number as f64 / per_second);
        let mut events = Vec::with_capacity(self.load.connections);
        let mut heard = begun;
        while self.sent < all || self.idle.len() < self.connections.len() {
            let mut now = Instant::now();
            while self.sent < all && due(self.sent) <= now {
                let Some(connection) = self.idle.pop() else {
                    break;
                };
                self.send(connection, 1, due(self.sent))?;
                now = Instant::now();
            }
            // With all connections busy, only an answer can come next; the clocks of due requests go on.
            let patience = if self.sent < all && !self.idle.is_empty() {
                due(self.sent).saturating_duration_since(now)
            } else {
                PATIENCE
            };
            self.wait(&mut events, patience)?;
            let now = Instant::now();
            for event in &events {
                let connection = event.data.u64() as usize;
                if self.receive(connection, now, true)? {
                    self.idle.push(connection);
                }
                heard = now;
            }
            if now - heard > PATIENCE && self.idle.len() < self.connections.len() {
                bail!("no answer within {} s", PATIENCE.as_secs());
            }
        }
        Ok(())
    }

    fn connect(&mut self) -> Result<()> {
        let stream = TcpStream::connect(self.load.address)
            .with_context(|| format!("connecting to {}", self.load.address))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let number = self.connections.len();
        let edges = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(
            &self.epoll,
            &stream,
            epoll::EventData::new_u64(number as u64),
            edges,
        )
        .context("epoll")?;
        self.connections.push(Connection {
            stream,
            waiting: VecDeque::with_capacity(self.load.depth),
            received: vec![0; ROOM].into(),
            filled: 0,
        });
        self.idle.push(number);
        Ok(())
    }

    fn send(&mut self, connection: usize, count: u64, since: Instant) -> Result<()> {
        self.out.clear();
        let connection = &mut self.connections[connection];
        for _ in 0..count {
            let sent = match self.load.people {
                Some(people) => self.sent % people,
                None => self.sent,
            };
            let number = self.load.first + sent;
            let turn = (number % self.templates.len() as u64) as usize;
            self.out.extend_from_slice(self.templates[turn].of(number));
            connection.waiting.push_back(since);
            self.sent += 1;
        }
        let mut rest = self.out.as_slice();
        while !rest.is_empty() {
            match connection.stream.write(rest) {
                Ok(written) => rest = &rest[written..],
                // A full socket: only with deep pipelines, and the other side is reading.
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
                Err(error) => return Err(error).context("sending"),
            }
        }
        Ok(())
    }

    /// Reads what has arrived; returns whether no answer is outstanding on this connection.
    fn receive(&mut self, number: usize, now: Instant, counts: bool) -> Result<bool> {
        let Connection {
            stream,
            waiting,
            received,
            filled,
        } = &mut self.connections[number];
        loop {
            let room = &mut received[*filled..];
            let most = room.len();
            let read = match stream.read(room) {
                Ok(0) => bail!("the connection was closed in the middle of a response"),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                Err(error) => return Err(error).context("reading"),
            };
            *filled += read;
            let mut begin = 0;
            while !waiting.is_empty() {
                let rest = &received[begin..*filled];
                let Some(answer) = self.load.protocol.answer(rest)? else {
                    break;
                };
                begin += answer.length;
                let since = waiting.pop_front().unwrap_or(now);
                if !counts {
                    continue;
                }
                self.last_answer = now;
                let took = now.saturating_duration_since(since).as_micros();
                self.latency.saturating_record(took as u64);
                let count = &mut self.counts[usize::from(answer.kind).min(599)];
                *count += 1;
                if *count == 1 {
                    self.sample = rest[..answer.length].to_vec();
                }
            }
            received.copy_within(begin..*filled, 0);
            *filled -= begin;
            // The next edge comes with the rest.
            if waiting.is_empty() || read < most {
                return Ok(waiting.is_empty());
            }
        }
    }

    fn wait(&self, events: &mut Vec<epoll::Event>, patience: Duration) -> Result<()> {
        events.clear();
        let patience = Timespec {
            tv_sec: patience.as_secs() as i64,
            tv_nsec: patience.subsec_nanos().into(),
        };
        match epoll::wait(&self.epoll, spare_capacity(events), Some(&patience)) {
            Ok(_) => Ok(()),
            Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error).context("epoll"),
        }
    }
}

fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        time.tv_sec.unsigned_abs(),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}
