//! The store's disk over the link to a driver ([`abi::protocol::block`]): commands out, completions in, and a driver
//! that may die at any time. What it had not answered then is `Lost`, and the store asks again.

use abi::protocol::block::{BlockError, Client, Link, Op as BlockOp, Request};
use core::sync::atomic::AtomicU64;
use format::BlockBytes;

use crate::{COMMAND_PAGES_MAX, Command, Completion, Disk, DiskError, Full, Op, PageMemory, PageRef};

/// Commands under way at once.
const UNDER_WAY_MAX: usize = 64;

/// A disk behind a driver, and the pages that it reads and writes.
pub struct BlockDisk<'m, P> {
    area: &'m [AtomicU64],
    client: Option<Client<'m>>,
    blocks: u64,
    under_way: [Option<u32>; UNDER_WAY_MAX],
    rung: bool,
    /// Sessions that have ended, and completions that told of a reset: how often the device's cache may have been lost.
    forgotten: u64,
    pages: P,
}

impl<'m, P: PageMemory> BlockDisk<'m, P> {
    /// Over the link's shared area. It has no blocks until [`Self::is_up`].
    pub fn new(area: &'m [AtomicU64], pages: P) -> Self {
        Self { area, client: None, blocks: 0, under_way: [None; UNDER_WAY_MAX], rung: false, forgotten: 0, pages }
    }

    /// Whether a driver has accepted the link and said what the disk is; opens it if need be.
    pub fn is_up(&mut self) -> bool {
        if self.client.is_none() {
            self.client = Client::open(self.area).ok();
            self.rung = self.client.is_some();
        }
        let Some(client) = &mut self.client else { return false };
        match client.link() {
            Link::Up(info) => {
                self.blocks = info.blocks;
                true
            }
            Link::Opening => false,
            // Completions that came before the end are still there; when they are taken the session is given up.
            Link::Lost | Link::DriverBroken => {
                if self.under_way.iter().all(Option::is_none) {
                    self.client = None;
                    self.forgotten += 1;
                }
                false
            }
        }
    }

    /// Whether the driver is to be rung since the last time this was asked.
    pub fn take_ring(&mut self) -> bool {
        core::mem::take(&mut self.rung)
    }

    fn is_lost(&mut self) -> bool {
        self.client.as_mut().is_none_or(|client| matches!(client.link(), Link::Lost | Link::DriverBroken))
    }
}

impl<P: PageMemory> Disk for BlockDisk<'_, P> {
    fn blocks(&self) -> u64 {
        self.blocks
    }

    fn submit(&mut self, command: &Command<'_>) -> Result<(), Full> {
        if !self.is_up() {
            return Err(Full);
        }
        let (Some(client), Some(place)) = (&mut self.client, self.under_way.iter_mut().find(|place| place.is_none()))
        else {
            return Err(Full);
        };
        let mut frames = [0; COMMAND_PAGES_MAX];
        for (frame, page) in frames.iter_mut().zip(command.pages) {
            *frame = page.0 & u64::from(u32::MAX);
        }
        let frames = frames.get(..command.pages.len()).ok_or(Full)?;
        let request = match command.op {
            Op::Read => Request::transfer(u64::from(command.tag), BlockOp::Read, command.block, frames),
            Op::Write => Request::transfer(u64::from(command.tag), BlockOp::Write, command.block, frames),
            Op::Flush => Some(Request::plain(u64::from(command.tag), BlockOp::Flush, 0, 0)),
        };
        let request = request.ok_or(Full)?;
        client.submit(&request).map_err(|_| Full)?;
        *place = Some(command.tag);
        self.rung = true;
        Ok(())
    }

    fn poll(&mut self) -> Option<Completion> {
        if let Some(client) = &mut self.client {
            while let Ok(Some(done)) = client.poll() {
                let place = self.under_way.iter_mut().find(|place| place.map(u64::from) == Some(done.tag));
                // A tag that is not under way was reported lost before: the store has asked again.
                let Some(tag) = place.and_then(Option::take) else { continue };
                // The device was reset behind the driver's back, or by it: what it had in its cache may be gone.
                self.forgotten += u64::from(done.result == Err(BlockError::Unknown));
                return Some(Completion { tag, result: done.result.map_err(disk_error) });
            }
        }
        if self.is_lost()
            && let Some(tag) = self.under_way.iter_mut().find_map(Option::take)
        {
            return Some(Completion { tag, result: Err(DiskError::Lost) });
        }
        None
    }

    /// The next driver begins by resetting the device, and one that resets it meanwhile says so.
    fn resets(&self) -> u64 {
        self.forgotten
    }
}

fn disk_error(error: BlockError) -> DiskError {
    match error {
        BlockError::Caller(_) => DiskError::Refused,
        BlockError::Medium(_) | BlockError::Controller { again: false } => DiskError::Medium,
        BlockError::Controller { again: true } | BlockError::Transport | BlockError::Unknown => DiskError::Lost,
    }
}

impl<P: PageMemory> PageMemory for BlockDisk<'_, P> {
    fn bytes(&self, page: PageRef) -> &BlockBytes {
        self.pages.bytes(page)
    }

    fn bytes_mut(&mut self, page: PageRef) -> &mut BlockBytes {
        self.pages.bytes_mut(page)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Probe, Probed};
    use super::*;
    use abi::protocol::block::{AREA_BYTES, Asked, Completion as BlockCompletion, DiskInfo, Driver};

    #[derive(Default)]
    struct NoPages(Vec<Box<BlockBytes>>);

    impl PageMemory for NoPages {
        fn bytes(&self, page: PageRef) -> &BlockBytes {
            &self.0[page.0 as usize]
        }
        fn bytes_mut(&mut self, page: PageRef) -> &mut BlockBytes {
            &mut self.0[page.0 as usize]
        }
    }

    const INFO: DiskInfo =
        DiskInfo { blocks: 100, request_blocks_max: 128, volatile_cache: true, can_zero: false, can_deallocate: false };

    #[test]
    fn a_probe_outlives_the_driver_it_asked() {
        let area: Vec<AtomicU64> = (0..AREA_BYTES / 8).map(|_| AtomicU64::new(0)).collect();
        let mut disk = BlockDisk::new(&area, NoPages(vec![Box::new([0; 4096])]));
        let mut probe = Probe::new(PageRef(0));
        let mut driver = Driver::new(&area).expect("large enough");
        let mut asked = 0;
        for _ in 0..100 {
            match probe.poll(&mut disk) {
                Some(probed) => {
                    assert_eq!((probed, asked), (Probed::Blank, 3));
                    return;
                }
                None if driver.asked() == Asked::Open => driver.accept(INFO),
                None => {}
            }
            while let Ok(Some(Ok(request))) = driver.peek() {
                driver.taken();
                asked += 1;
                if asked == 1 {
                    driver = Driver::new(&area).expect("large enough");
                } else {
                    let done = BlockCompletion { tag: request.tag, result: Ok(()), device_status: 0 };
                    driver.complete(&done).expect("room");
                }
            }
        }
        panic!("the probe hangs");
    }

    #[test]
    fn a_driver_that_dies_loses_what_it_had_and_the_next_one_serves() {
        let area: Vec<AtomicU64> = (0..AREA_BYTES / 8).map(|_| AtomicU64::new(0)).collect();
        let mut disk = BlockDisk::new(&area, NoPages::default());
        assert!(!disk.is_up());
        // A session that a driver finds when it starts was its predecessor's: refused, and opened anew.
        let flush = Command { tag: 7, op: Op::Flush, block: 0, pages: &[] };
        assert_eq!(disk.submit(&flush), Err(Full));
        let mut driver = Driver::new(&area).expect("large enough");
        assert!(!disk.is_up() && !disk.is_up());
        driver.accept(INFO);
        assert!(disk.is_up() && disk.take_ring());
        assert_eq!(disk.blocks(), 100);
        disk.submit(&flush).expect("room");
        assert!(disk.take_ring());
        assert_eq!(disk.poll(), None);
        // Another driver starts in its place.
        let mut driver = Driver::new(&area).expect("large enough");
        assert_eq!(disk.poll(), Some(Completion { tag: 7, result: Err(DiskError::Lost) }));
        assert!(!disk.is_up());
        let resets = disk.resets();
        assert!(resets > 0);
        assert!(!disk.is_up(), "opens a new session");
        driver.accept(INFO);
        assert!(disk.is_up());
        // The device was reset and says so instead of flushing.
        disk.submit(&flush).expect("room");
        let request = driver.peek().expect("a ring").expect("a request").expect("a sound one");
        driver.taken();
        let unknown = BlockCompletion { tag: request.tag, result: Err(BlockError::Unknown), device_status: 0 };
        driver.complete(&unknown).expect("room");
        assert_eq!(disk.poll(), Some(Completion { tag: 7, result: Err(DiskError::Lost) }));
        assert_eq!(disk.resets(), resets + 1);
        // A driver that dies while nothing is under way has taken its device's cache with it all the same.
        Driver::new(&area).expect("large enough");
        assert_eq!((disk.submit(&flush), disk.resets()), (Err(Full), resets + 2));
    }
}
