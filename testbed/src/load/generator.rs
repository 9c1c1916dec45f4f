//! The loop of the load generator: it sends the requests that are due, and reads the responses.

use super::connection::{Connection, InFlight};
use super::plan::{Load, Pace, Until};
use super::requests::{Answer, Requests};
use super::result::{LoadResult, Tally};
use anyhow::{Context, Result, anyhow, bail};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;
use rustix::time::{ClockId, clock_gettime};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::mem::take;
use std::time::{Duration, Instant};

impl<R: Requests> Load<R> {
    /// Sends the load, and waits for the answers. It blocks: call it outside of a runtime.
    ///
    /// # Errors
    /// When [`Requests::ended`] returns one.
    pub fn run(&mut self) -> Result<LoadResult> {
        Generator::new(self)?.run()
    }
}

struct Generator<'a, R> {
    load: &'a mut Load<R>,
    /// The number of all requests.
    all: u64,
    sent: u64,
    /// A load with a closed pace and a duration is over: answers are awaited, so that no work runs into the next
    /// measurement, but they are not counted, because the load declines by then.
    over: bool,
    epoll: OwnedFd,
    connections: Vec<Connection>,
    idle: Vec<usize>,
    /// When and on which connection a request is sent again.
    again: BinaryHeap<Reverse<(Instant, usize, u64)>>,
    /// Connections that failed while a request was sent.
    broken: Vec<(usize, anyhow::Error)>,
    next_look: Instant,
    out: Vec<u8>,
    begun: Instant,
    tally: Tally,
}

impl<'a, R: Requests> Generator<'a, R> {
    fn new(load: &'a mut Load<R>) -> Result<Self> {
        if load.addresses.is_empty() || load.connections == 0 || load.depth == 0 {
            bail!("a load needs at least one address, one connection and a depth of one");
        }
        let all = match (load.until, load.pace) {
            (Until::Requests(all), _) => all,
            (Until::Elapsed(time), Pace::Open(rate)) => (time.as_secs_f64() * rate).ceil() as u64,
            (Until::Elapsed(_), Pace::Closed) => u64::MAX,
        };
        let addresses = load.addresses.iter().cycle().take(load.connections);
        let begun = Instant::now();
        Ok(Self {
            all,
            sent: 0,
            over: false,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC).context("epoll")?,
            connections: addresses.copied().map(Connection::to).collect(),
            idle: (0..load.connections).rev().collect(),
            again: BinaryHeap::new(),
            broken: vec![],
            next_look: begun + load.patience,
            out: vec![],
            begun,
            tally: Tally::since(begun)?,
            load,
        })
    }

    fn run(mut self) -> Result<LoadResult> {
        let cpu = thread_cpu();
        let mut events = Vec::with_capacity(self.connections.len());
        loop {
            self.send_due();
            self.end_broken()?;
            if self.left() == 0 && self.idle.len() == self.connections.len() {
                break;
            }
            self.wait(&mut events)?;
            self.over = self.is_over();
            for event in events.drain(..) {
                let connection = event.data.u64() as usize;
                if self.receive(connection)? {
                    self.next_on(connection);
                }
            }
            self.end_late()?;
        }
        let cpu = thread_cpu().saturating_sub(cpu);
        Ok(self.tally.result(self.sent, cpu))
    }

    /// The number of requests that are not sent yet.
    fn left(&self) -> u64 {
        if self.over { 0 } else { self.all - self.sent }
    }

    fn is_over(&self) -> bool {
        match (self.load.until, self.load.pace) {
            (Until::Elapsed(time), Pace::Closed) => {
                self.begun.elapsed() >= time && !self.tally.is_empty()
            }
            _ => false,
        }
    }

    /// Sends what is due, as far as connections are idle.
    fn send_due(&mut self) {
        let mut now = Instant::now();
        while let Some(Reverse((at, connection, number))) = self.again.peek().copied()
            && at <= now
        {
            self.again.pop();
            self.connections[connection].paused -= 1;
            self.out.clear();
            self.add(connection, number, now, now);
            self.send(connection);
        }
        while let Some(due) = self.next_due()
            && due <= now
            && let Some(connection) = self.idle.pop()
        {
            let due = match self.load.pace {
                Pace::Closed => now,
                Pace::Open(_) => due,
            };
            self.send_next(connection, due, now);
            now = Instant::now();
        }
    }

    /// When an idle connection is to send; with a closed pace, always. With all connections busy, the clock of due
    /// requests goes on.
    fn next_due(&self) -> Option<Instant> {
        let due = match self.load.pace {
            Pace::Closed => self.begun,
            Pace::Open(rate) => self.begun + Duration::from_secs_f64(self.sent as f64 / rate),
        };
        (self.left() > 0 && !self.idle.is_empty()).then_some(due)
    }

    /// When something is to be done without an answer.
    fn next_event(&self) -> Instant {
        let again = self.again.peek().map(|Reverse((at, ..))| *at);
        let next = again.into_iter().chain(self.next_due());
        next.fold(self.next_look, Instant::min)
    }

    /// Goes on with a connection that has become idle.
    fn next_on(&mut self, connection: usize) {
        if matches!(self.load.pace, Pace::Closed) && self.left() > 0 {
            let now = Instant::now();
            self.send_next(connection, now, now);
        } else {
            self.idle.push(connection);
        }
    }

    /// Sends the next requests on an idle connection: one, or with a closed pace as many as may be in flight.
    fn send_next(&mut self, connection: usize, due: Instant, now: Instant) {
        let count = match self.load.pace {
            Pace::Closed => self.left().min(self.load.depth as u64),
            Pace::Open(_) => 1,
        };
        self.out.clear();
        for _ in 0..count {
            let number = self
                .load
                .people
                .map_or(self.sent, |people| self.sent % people);
            self.add(connection, self.load.first + number, due, now);
            self.sent += 1;
        }
        self.send(connection);
    }

    fn add(&mut self, connection: usize, number: u64, due: Instant, sent: Instant) {
        self.load.requests.write(number, &mut self.out);
        let in_flight = &mut self.connections[connection].in_flight;
        in_flight.push_back(InFlight { number, due, sent });
    }

    fn send(&mut self, connection: usize) {
        let sources = &self.load.sources;
        let source = sources
            .get(self.sent as usize % sources.len().max(1))
            .copied();
        let sent =
            self.connections[connection].send(&self.out, source, &self.epoll, connection as u64);
        if let Err(error) = sent {
            self.broken
                .push((connection, anyhow!(error).context("sending")));
        }
    }

    /// Reads what has arrived; returns whether the connection has become idle.
    fn receive(&mut self, number: usize) -> Result<bool> {
        let was_idle = self.connections[number].is_idle();
        loop {
            let connection = &mut self.connections[number];
            let more = match connection.receive() {
                Ok(more) => more,
                Err(error) => return self.fail(number, &anyhow!(error).context("reading")),
            };
            let at = Instant::now();
            let (mut begin, mut closes) = (0, false);
            while let Some(request) = connection.in_flight.front().copied() {
                let rest = &connection.received()[begin..];
                let response = match self.load.protocol.response(rest) {
                    Ok(None) => break,
                    Ok(Some(response)) => response,
                    Err(error) => return self.fail(number, &error),
                };
                let bytes = &rest[..response.length];
                if !self.over {
                    self.tally.note(response.kind, request.due, at, bytes);
                }
                let (head, body) = bytes.split_at(response.head);
                let status = response.kind;
                let answer = Ok(Answer { status, head, body });
                let again = self.load.requests.ended(request.ended(at, answer))?;
                begin += response.length;
                closes |= response.closes;
                connection.in_flight.pop_front();
                if let Some(pause) = again {
                    connection.paused += 1;
                    self.again
                        .push(Reverse((at + pause, number, request.number)));
                }
            }
            connection.take(begin);
            if closes {
                let closed = anyhow!("the server closed the connection");
                return Ok(self.fail(number, &closed)? || (!was_idle && self.is_idle(number)));
            }
            if !more {
                return Ok(!was_idle && connection.is_idle());
            }
        }
    }

    fn is_idle(&self, connection: usize) -> bool {
        self.connections[connection].is_idle()
    }

    /// Closes a connection: what became of its requests is unknown. Returns whether it has become idle.
    fn fail(&mut self, number: usize, why: &anyhow::Error) -> Result<bool> {
        let connection = &mut self.connections[number];
        let was_idle = connection.is_idle();
        connection.close();
        let at = Instant::now();
        for request in take(&mut connection.in_flight) {
            let unknown = Err(anyhow!("{why:#}"));
            let again = self.load.requests.ended(request.ended(at, unknown))?;
            if let Some(pause) = again {
                connection.paused += 1;
                self.again
                    .push(Reverse((at + pause, number, request.number)));
            }
        }
        Ok(!was_idle && connection.is_idle())
    }

    fn end_broken(&mut self) -> Result<()> {
        for (connection, why) in take(&mut self.broken) {
            if self.fail(connection, &why)? {
                self.idle.push(connection);
            }
        }
        Ok(())
    }

    /// Ends the requests whose answers take too long.
    fn end_late(&mut self) -> Result<()> {
        let now = Instant::now();
        if now < self.next_look {
            return Ok(());
        }
        let patience = self.load.patience;
        self.next_look = now + patience / 20;
        for connection in 0..self.connections.len() {
            let oldest = self.connections[connection].in_flight.front();
            if oldest.is_some_and(|request| now.saturating_duration_since(request.sent) >= patience)
            {
                let late = anyhow!("no answer within {patience:?}");
                if self.fail(connection, &late)? {
                    self.idle.push(connection);
                }
            }
        }
        Ok(())
    }

    fn wait(&self, events: &mut Vec<epoll::Event>) -> Result<()> {
        let patience = self.next_event().saturating_duration_since(Instant::now());
        let patience = Timespec {
            tv_sec: patience.as_secs() as i64,
            tv_nsec: patience.subsec_nanos().into(),
        };
        match epoll::wait(&self.epoll, spare_capacity(events), Some(&patience)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
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
