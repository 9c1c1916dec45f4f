//! What everybody was told.

use std::collections::BTreeMap;

/// What one request was answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// 201: this serial is yours.
    Granted(u32),
    /// 200: this serial was yours already.
    AlreadyGranted(u32),
    /// 410: nothing left.
    SoldOut,
    /// 4xx: the request makes no sense, as was meant.
    Rejected,
    /// 503, over and over.
    Unavailable,
    /// Anything else.
    Unexplained(String),
}

/// The answers of one rush, counted, and who was told which serial.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Requests that were answered.
    pub sent: u64,
    /// Answers 201.
    pub granted: u64,
    /// Answers 200.
    pub already_granted: u64,
    /// Answers 410.
    pub sold_out: u64,
    /// Bad requests that were refused as they should be.
    pub rejected: u64,
    /// Requests that never got another answer than 503 or a broken connection.
    pub unavailable: u64,
    /// Requests that were sent again after a 503 or a broken connection.
    pub retried: u64,
    /// Answers that nothing explains, in words.
    pub unexplained: Vec<String>,
    /// Everybody who was told a serial: all the serials that they were told.
    pub serials: BTreeMap<String, Vec<u32>>,
}

impl History {
    /// Notes what `user_id` was told.
    pub fn note(&mut self, user_id: &str, told: Told) {
        self.sent += 1;
        match told {
            Told::Granted(serial) => {
                self.granted += 1;
                self.note_serial(user_id, serial);
            }
            Told::AlreadyGranted(serial) => {
                self.already_granted += 1;
                self.note_serial(user_id, serial);
            }
            Told::SoldOut => self.sold_out += 1,
            Told::Rejected => self.rejected += 1,
            Told::Unavailable => self.unavailable += 1,
            Told::Unexplained(answer) => self.unexplained.push(answer),
        }
    }

    /// Takes in what others were told.
    pub fn add(&mut self, other: Self) {
        self.sent += other.sent;
        self.granted += other.granted;
        self.already_granted += other.already_granted;
        self.sold_out += other.sold_out;
        self.rejected += other.rejected;
        self.unavailable += other.unavailable;
        self.retried += other.retried;
        self.unexplained.extend(other.unexplained);
        for (user_id, serials) in other.serials {
            for serial in serials {
                self.note_serial(&user_id, serial);
            }
        }
    }

    fn note_serial(&mut self, user_id: &str, serial: u32) {
        let serials = self.serials.entry(user_id.to_owned()).or_default();
        if !serials.contains(&serial) {
            serials.push(serial);
        }
    }
}
