//! How many handlers, bridges and consumers a system has.

#[derive(Clone, Copy)]
pub struct Size {
    pub handlers: usize,
    pub bridges: usize,
    pub consumers: usize,
}

impl Size {
    /// One handler, one bridge, one consumer.
    pub const ONE_OF_EACH: Self = Self {
        handlers: 1,
        bridges: 1,
        consumers: 1,
    };
    /// Two handlers, two bridges, two consumers.
    pub const TWO_OF_EACH: Self = Self {
        handlers: 2,
        bridges: 2,
        consumers: 2,
    };
    /// Only the servers, with tables and topic.
    pub const NONE: Self = Self {
        handlers: 0,
        bridges: 0,
        consumers: 0,
    };
    /// One handler and one bridge; grants stay in Kafka.
    pub const NO_CONSUMER: Self = Self {
        handlers: 1,
        bridges: 1,
        consumers: 0,
    };
    /// One handler; grants stay in the stream.
    pub const ONLY_A_HANDLER: Self = Self {
        handlers: 1,
        bridges: 0,
        consumers: 0,
    };
}
