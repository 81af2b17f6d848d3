//! Submission queue entries (§4.2, §5, §6), built from numbers that are already known to be good.

/// Dwords in an entry.
pub(crate) const DWORDS: usize = 16;

/// One entry; its command identifier is set when it is queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Command(pub(crate) [u32; DWORDS]);

/// Where the data is: the first page, and the second one or the list of all others (§4.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pages {
    pub(crate) first: u64,
    pub(crate) rest: u64,
}

/// What Identify is to describe (§5.15, `CNS`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    Namespace(u32),
    Controller,
    ActiveNamespaces,
}

impl Command {
    fn new(opcode: u8, namespace: u32, pages: Pages) -> Self {
        let mut dwords = [0; DWORDS];
        dwords[0] = u32::from(opcode);
        dwords[1] = namespace;
        for (at, address) in [(6, pages.first), (8, pages.rest)] {
            dwords[at] = address as u32;
            dwords[at + 1] = (address >> 32) as u32;
        }
        Self(dwords)
    }

    fn with(mut self, at: usize, value: u32) -> Self {
        self.0[at] = value;
        self
    }

    fn at_sector(self, sector: u64) -> Self {
        self.with(10, sector as u32).with(11, (sector >> 32) as u32)
    }

    /// The same with a command identifier.
    pub(crate) fn named(self, identifier: u16) -> Self {
        let first = self.0[0] & 0xffff | u32::from(identifier) << 16;
        self.with(0, first)
    }

    /// Describe `subject` into the page at `page`.
    pub(crate) fn identify(subject: Subject, page: u64) -> Self {
        let (cns, namespace) = match subject {
            Subject::Namespace(namespace) => (0, namespace),
            Subject::Controller => (1, 0),
            Subject::ActiveNamespaces => (2, 0),
        };
        Self::new(0x06, namespace, Pages { first: page, rest: 0 }).with(10, cns)
    }

    /// Turn the volatile write cache on or off (§5.21.1.6).
    pub(crate) fn set_write_cache(on: bool) -> Self {
        Self::new(0x09, 0, Pages::default()).with(10, 0x06).with(11, u32::from(on))
    }

    /// Ask for one submission and one completion queue (§5.21.1.7; both counts are less one).
    pub(crate) fn set_queue_count() -> Self {
        Self::new(0x09, 0, Pages::default()).with(10, 0x07).with(11, 0)
    }

    /// Create I/O completion queue `queue` of `entries` in the page at `page`; with `vector`, it interrupts (§5.3).
    pub(crate) fn create_completion_queue(queue: u16, entries: u32, page: u64, vector: Option<u16>) -> Self {
        const CONTIGUOUS: u32 = 1;
        let interrupt = vector.map_or(0, |vector| 2 | u32::from(vector) << 16);
        Self::new(0x05, 0, Pages { first: page, rest: 0 })
            .with(10, u32::from(queue) | (entries - 1) << 16)
            .with(11, CONTIGUOUS | interrupt)
    }

    /// Create I/O submission queue `queue` of `entries` in the page at `page`, answered in the completion queue of the
    /// same number (§5.4).
    pub(crate) fn create_submission_queue(queue: u16, entries: u32, page: u64) -> Self {
        const CONTIGUOUS: u32 = 1;
        Self::new(0x01, 0, Pages { first: page, rest: 0 })
            .with(10, u32::from(queue) | (entries - 1) << 16)
            .with(11, CONTIGUOUS | u32::from(queue) << 16)
    }

    /// Make all writes durable that were completed before (§6.8).
    pub(crate) fn flush(namespace: u32) -> Self {
        Self::new(0x00, namespace, Pages::default())
    }

    /// Write (§6.15) or read (§6.9) `sectors` (1 to 65,536), with the FUA bit if `durable`.
    pub(crate) fn transfer(
        write: bool,
        namespace: u32,
        pages: Pages,
        sector: u64,
        sectors: u32,
        durable: bool,
    ) -> Self {
        Self::new(if write { 0x01 } else { 0x02 }, namespace, pages)
            .at_sector(sector)
            .with(12, (sectors - 1) | u32::from(durable) << 30)
    }

    /// Make `sectors` (1 to 65,536) read as zeroes (§6.16).
    pub(crate) fn write_zeroes(namespace: u32, sector: u64, sectors: u32, durable: bool) -> Self {
        Self::new(0x08, namespace, Pages::default())
            .at_sector(sector)
            .with(12, (sectors - 1) | u32::from(durable) << 30)
    }

    /// Deallocate the one range described at `list` (§6.7).
    pub(crate) fn deallocate(namespace: u32, list: u64) -> Self {
        const DEALLOCATE: u32 = 1 << 2;
        Self::new(0x09, namespace, Pages { first: list, rest: 0 }).with(10, 0).with(11, DEALLOCATE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_lie_where_the_specification_says() {
        let pages = Pages { first: 0x1_2345_6000, rest: 0x2_0000_7000 };
        let write = Command::transfer(true, 3, pages, 0x5_0000_0009, 8, true).named(0xabcd).0;
        let expected = [0xabcd_0001, 3, 0, 0, 0, 0, 0x2345_6000, 1, 0x7000, 2, 9, 5, 0x4000_0007, 0, 0, 0];
        assert_eq!(write, expected);
        assert_eq!(Command::transfer(false, 3, pages, 9, 1, false).0[..2], [2, 3]);
        let queue = Command::create_completion_queue(1, 64, 0x4000, Some(5)).0;
        assert_eq!([queue[0], queue[6], queue[10], queue[11]], [5, 0x4000, 63 << 16 | 1, 5 << 16 | 3]);
        assert_eq!(Command::create_completion_queue(1, 64, 0x4000, None).0[11], 1);
        let queue = Command::create_submission_queue(1, 2, 0x4000).0;
        assert_eq!([queue[0], queue[10], queue[11]], [1, 1 << 16 | 1, 1 << 16 | 1]);
        assert_eq!(Command::identify(Subject::Namespace(7), 0x1000).0[10], 0);
        assert_eq!(Command::identify(Subject::Controller, 0x1000).0[10], 1);
        assert_eq!(Command::identify(Subject::ActiveNamespaces, 0x1000).0[10], 2);
        assert_eq!(Command::set_write_cache(true).0[10..12], [6, 1]);
        assert_eq!(Command::deallocate(1, 0x400).0[6..12], [0x400, 0, 0, 0, 0, 4]);
    }

    #[test]
    fn naming_replaces_an_older_name() {
        let flush = Command::flush(1).named(0xffff).named(2).0;
        assert_eq!(flush[..2], [0x0002_0000, 1]);
    }
}
