//! How busy a disk was: how long how many commands were under way, and how long a flush was.

use std::time::{Duration, Instant};

use snapshot_server::Op;

/// Looks at a disk from where its commands begin and end.
#[derive(Debug)]
pub(crate) struct Meter {
    since: Instant,
    under_way: u32,
    flush_begun: Option<Instant>,
    reading: Reading,
}

/// What it saw.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reading {
    /// Time in which nothing was under way.
    pub(crate) idle: Duration,
    /// Time in which nothing but a flush was.
    pub(crate) only_flush: Duration,
    /// Commands under way, summed over time, in command seconds.
    pub(crate) depth: f64,
    /// Flushes.
    pub(crate) flushes: u32,
    /// Time in which a flush was under way.
    pub(crate) flushing: Duration,
    /// Time in which the caller waited for the disk.
    pub(crate) slept: Duration,
}

impl Reading {
    /// Both together.
    pub(crate) fn add(&mut self, other: &Self) {
        self.idle += other.idle;
        self.only_flush += other.only_flush;
        self.depth += other.depth;
        self.flushes += other.flushes;
        self.flushing += other.flushing;
        self.slept += other.slept;
    }
}

impl Meter {
    pub(crate) fn new() -> Self {
        Self { since: Instant::now(), under_way: 0, flush_begun: None, reading: Reading::default() }
    }

    fn turn(&mut self) {
        let now = Instant::now();
        let time = now - self.since;
        self.since = now;
        match (self.under_way, self.flush_begun) {
            (0, _) => self.reading.idle += time,
            (1, Some(_)) => self.reading.only_flush += time,
            _ => {}
        }
        self.reading.depth += f64::from(self.under_way) * time.as_secs_f64();
    }

    pub(crate) fn begun(&mut self, op: Op) {
        self.turn();
        self.under_way += 1;
        if op == Op::Flush {
            self.flush_begun = Some(self.since);
            self.reading.flushes += 1;
        }
    }

    pub(crate) fn ended(&mut self, op: Op) {
        self.turn();
        self.under_way -= 1;
        if op == Op::Flush
            && let Some(begun) = self.flush_begun.take()
        {
            self.reading.flushing += self.since - begun;
        }
    }

    /// What was seen since the last reading.
    pub(crate) fn read(&mut self) -> Reading {
        self.turn();
        std::mem::take(&mut self.reading)
    }
}
