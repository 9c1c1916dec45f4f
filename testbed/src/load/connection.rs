//! A connection of the generator. It opens when a request needs it, and knows the requests in flight on it.

use super::requests::{Answer, Ended};
use anyhow::Result;
use rustix::event::epoll;
use rustix::fd::OwnedFd;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with, sockopt};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Instant;

/// Bytes that are read at once; more, if an answer is longer.
const ROOM: usize = 64 * 1024;

pub(super) struct Connection {
    address: SocketAddr,
    /// None while it is closed.
    stream: Option<TcpStream>,
    /// What the socket did not take yet: while it connects, or with deep pipelines.
    unsent: Vec<u8>,
    received: Vec<u8>,
    /// Received bytes that are not parsed yet: the first ones.
    filled: usize,
    /// In the order in which they were sent.
    pub(super) in_flight: VecDeque<InFlight>,
    /// Requests that will be sent again on it.
    pub(super) paused: usize,
}

#[derive(Clone, Copy)]
pub(super) struct InFlight {
    pub(super) number: u64,
    pub(super) due: Instant,
    pub(super) sent: Instant,
}

impl InFlight {
    pub(super) fn ended(self, at: Instant, answer: Result<Answer<'_>>) -> Ended<'_> {
        Ended {
            number: self.number,
            due: self.due,
            sent: self.sent,
            at,
            answer,
        }
    }
}

impl Connection {
    pub(super) fn to(address: SocketAddr) -> Self {
        Self {
            address,
            stream: None,
            unsent: vec![],
            received: vec![],
            filled: 0,
            in_flight: VecDeque::new(),
            paused: 0,
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.in_flight.is_empty() && self.paused == 0
    }

    /// Sends requests; if it is closed, opens it first, from `source`. Its events at `epoll` have this number.
    pub(super) fn send(
        &mut self,
        bytes: &[u8],
        source: Option<IpAddr>,
        epoll: &OwnedFd,
        number: u64,
    ) -> io::Result<()> {
        if self.stream.is_none() {
            self.open(source, epoll, number)?;
        }
        let taken = if self.unsent.is_empty() {
            self.write(bytes)?
        } else {
            0
        };
        self.unsent.extend_from_slice(&bytes[taken..]);
        Ok(())
    }

    /// Sends what is left to send, and reads what has arrived. Returns whether there may be more to read.
    pub(super) fn receive(&mut self) -> io::Result<bool> {
        if !self.unsent.is_empty() {
            let unsent = std::mem::take(&mut self.unsent);
            let taken = self.write(&unsent)?;
            self.unsent.extend_from_slice(&unsent[taken..]);
        }
        if self.filled == self.received.len() {
            self.received.resize((self.filled * 2).max(ROOM), 0);
        }
        let Some(stream) = &mut self.stream else {
            return Ok(false);
        };
        let room = &mut self.received[self.filled..];
        match stream.read(room) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                self.filled += read;
                // The next event comes with the rest.
                Ok(read == room.len())
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What has arrived and was not taken.
    pub(super) fn received(&self) -> &[u8] {
        &self.received[..self.filled]
    }

    /// Takes this many of the received bytes.
    pub(super) fn take(&mut self, bytes: usize) {
        self.received.copy_within(bytes..self.filled, 0);
        self.filled -= bytes;
    }

    /// Closes it; the next request opens it again.
    pub(super) fn close(&mut self) {
        self.stream = None;
        self.unsent.clear();
        self.filled = 0;
    }

    /// Begins to connect, without waiting.
    fn open(&mut self, source: Option<IpAddr>, epoll: &OwnedFd, number: u64) -> io::Result<()> {
        let family = match self.address {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(family, SocketType::STREAM, flags, None)?;
        sockopt::set_tcp_nodelay(&socket, true)?;
        if let Some(source) = source {
            bind(&socket, &SocketAddr::new(source, 0))?;
        }
        match connect(&socket, &self.address) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        let edges = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
        epoll::add(epoll, &socket, epoll::EventData::new_u64(number), edges)?;
        self.stream = Some(TcpStream::from(socket));
        Ok(())
    }

    /// Writes what the socket takes; returns how much that was.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(stream) = &mut self.stream else {
            return Err(ErrorKind::NotConnected.into());
        };
        let mut taken = 0;
        while taken < bytes.len() {
            match stream.write(&bytes[taken..]) {
                Ok(more) => taken += more,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(taken)
    }
}
