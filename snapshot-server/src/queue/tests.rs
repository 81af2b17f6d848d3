//! Tests of the queue and the cache: a disk that does nothing by itself, so that every order can be tried.

use abi::Epoch;
use format::{Checksum, Pointer};

use super::*;
use crate::cache::{Cache, Fetch};
use crate::disk::Full;
use crate::memory::Frame;

/// What was submitted.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sent {
    tag: u32,
    op: Op,
    block: u64,
    pages: Vec<u64>,
}

#[derive(Default)]
struct Slow {
    sent: Vec<Sent>,
    full: bool,
    resets: u64,
}

impl Disk for Slow {
    fn blocks(&self) -> u64 {
        1000
    }
    fn submit(&mut self, command: &Command<'_>) -> Result<(), Full> {
        if self.full {
            return Err(Full);
        }
        let pages = command.pages.iter().map(|page| page.0).collect();
        self.sent.push(Sent { tag: command.tag, op: command.op, block: command.block, pages });
        Ok(())
    }
    fn poll(&mut self) -> Option<Completion> {
        None
    }
    fn resets(&self) -> u64 {
        self.resets
    }
}

impl Slow {
    /// Kinds, first blocks and numbers of pages of what was submitted since last asked; tags beside.
    fn taken(&mut self) -> (Vec<(Op, u64, usize)>, Vec<u32>) {
        let sent = std::mem::take(&mut self.sent);
        (
            sent.iter().map(|sent| (sent.op, sent.block, sent.pages.len())).collect(),
            sent.iter().map(|s| s.tag).collect(),
        )
    }

    fn ends(&self, queue: &mut Queue<'_>, tag: u32, result: Result<(), DiskError>) -> Option<ReadDone> {
        queue.complete(self, Completion { tag, result })
    }
}

fn push(queue: &mut Queue<'_>, blocks: impl IntoIterator<Item = u32>) {
    for block in blocks {
        queue.push(Block(block), PageRef(u64::from(block) + 1000), Owner::Caller);
    }
}

fn released(queue: &mut Queue<'_>) -> Vec<u64> {
    std::iter::from_fn(|| queue.release()).map(|(page, _)| page.0 - 1000).collect()
}

#[test]
fn neighbours_go_in_one_command_and_come_back_in_order_when_durable() {
    let (mut ring, mut disk) = ([Pending::default(); 256], Slow::default());
    let mut queue = Queue::new(&mut ring);
    assert!(!queue.pump(&mut disk) && queue.is_still() && !queue.can_flush());
    push(&mut queue, [10, 11, 12, 20]);
    queue.push(Block(21), PageRef(1021), Owner::Buffer);
    assert_eq!((queue.room(), queue.head()), (251, 5));
    assert!(queue.pump(&mut disk) && !queue.is_still());
    // The last run may still grow, and nobody waits.
    let (sent, first) = disk.taken();
    assert_eq!(sent, [(Op::Write, 10, 3)]);
    assert!(!queue.pump(&mut disk));
    queue.want_flush(4);
    assert!(queue.pump(&mut disk));
    let (sent, second) = disk.taken();
    assert_eq!(sent, [(Op::Write, 20, 2)]);
    assert_eq!(disk.ends(&mut queue, second[0], Ok(())), None);
    assert!(!queue.pump(&mut disk) && !queue.is_still(), "what is before it is not there yet");
    assert_eq!(disk.ends(&mut queue, first[0], Ok(())), None);
    assert!(queue.is_still() && queue.pump(&mut disk));
    let (sent, flush) = disk.taken();
    assert_eq!(sent, [(Op::Flush, 0, 0)]);
    assert!(!queue.pump(&mut disk), "one flush at a time");
    assert_eq!(queue.release(), None);
    disk.ends(&mut queue, flush[0], Ok(()));
    assert_eq!((queue.flushed, queue.room()), (5, 251));
    assert_eq!(queue.find(Block(21)), Some(PageRef(1021)));
    let owners: Vec<_> = std::iter::from_fn(|| queue.release()).map(|(page, owner)| (page.0, owner)).collect();
    let caller = |page| (page, Owner::Caller);
    assert_eq!(owners, [caller(1010), caller(1011), caller(1012), caller(1020), (1021, Owner::Buffer)]);
    assert_eq!((queue.room(), queue.find(Block(21)), queue.pump(&mut disk)), (256, None, false));
}

/// What can grow no more goes at once, though nobody waits for it and others are being written.
#[test]
fn only_the_last_run_is_kept_and_only_while_it_can_grow() {
    let (mut ring, mut disk) = ([Pending::default(); 512], Slow::default());
    let mut queue = Queue::new(&mut ring);
    push(&mut queue, [10, 20, 30]);
    assert!(queue.pump(&mut disk));
    assert_eq!(disk.taken().0, [(Op::Write, 10, 1), (Op::Write, 20, 1)]);
    push(&mut queue, 31..30 + COMMAND_PAGES_MAX as u32 - 1);
    assert!(!queue.pump(&mut disk), "one more fits into the command");
    push(&mut queue, [30 + COMMAND_PAGES_MAX as u32 - 1]);
    assert!(queue.pump(&mut disk));
    assert_eq!(disk.taken().0, [(Op::Write, 30, COMMAND_PAGES_MAX)]);
}

/// Who is short of buffers flushes when nothing is being written, or as much as a large command was.
#[test]
fn a_flush_is_worth_it_when_all_is_written_or_much() {
    let (mut ring, mut disk) = ([Pending::default(); 1024], Slow::default());
    let mut queue = Queue::new(&mut ring);
    push(&mut queue, 0..2 * COMMAND_PAGES_MAX as u32);
    assert!(queue.is_worth_a_flush() && queue.pump(&mut disk) && !queue.is_worth_a_flush());
    let (_, tags) = disk.taken();
    disk.ends(&mut queue, tags[0], Ok(()));
    assert!(queue.is_worth_a_flush() && !queue.is_still());
    queue.flush_completed();
    assert!(queue.pump(&mut disk));
    let (_, flush) = disk.taken();
    disk.ends(&mut queue, flush[0], Ok(()));
    assert!(!queue.is_worth_a_flush());
    disk.ends(&mut queue, tags[1], Ok(()));
    assert!(queue.is_worth_a_flush() && queue.is_still());
}

#[test]
fn commands_are_no_larger_than_a_disk_takes_and_a_full_ring_is_flushed_unasked() {
    let (mut ring, mut disk) = ([Pending::default(); 256], Slow::default());
    let mut queue = Queue::new(&mut ring);
    for round in 0..3u32 {
        push(&mut queue, 0..130);
        assert!(queue.pump(&mut disk));
        let (sent, tags) = disk.taken();
        assert_eq!(sent, [(Op::Write, 0, COMMAND_PAGES_MAX)], "round {round}");
        disk.ends(&mut queue, tags[0], Ok(()));
        assert!(queue.can_flush() && queue.pump(&mut disk));
        // Nothing else is being written: what could grow goes, too. A quarter of the ring is worth a flush.
        let (sent, tags) = disk.taken();
        assert_eq!(sent, [(Op::Flush, 0, 0), (Op::Write, 128, 2)]);
        tags.iter().for_each(|tag| assert_eq!(disk.ends(&mut queue, *tag, Ok(())), None));
        assert_eq!(queue.flushed, u64::from(round) * 130 + 128);
        assert!(queue.can_flush());
        queue.flush_completed();
        assert!(!queue.can_flush() && queue.pump(&mut disk));
        let (_, tags) = disk.taken();
        disk.ends(&mut queue, tags[0], Ok(()));
        assert_eq!(released(&mut queue), (0_u32..130).map(u64::from).collect::<Vec<_>>());
    }
}

#[test]
fn a_late_block_goes_when_all_before_it_is_durable_and_keeps_nothing_waiting() {
    let (mut ring, mut disk) = ([Pending::default(); 256], Slow::default());
    let mut queue = Queue::new(&mut ring);
    push(&mut queue, [10, 11]);
    queue.want_flush(2);
    queue.hold(Some(1));
    queue.pump(&mut disk);
    assert_eq!(disk.taken().0, [(Op::Write, 10, 1)]);
    queue.hold(None);
    queue.pump(&mut disk);
    assert_eq!(disk.taken().0, [(Op::Write, 11, 1)]);
    assert!(!queue.has_late());
    queue.push_late(Block(50), PageRef(77));
    assert!(queue.has_late());
    push(&mut queue, [12]);
    queue.want_flush(3);
    queue.pump(&mut disk);
    assert_eq!((disk.taken().0, queue.overtaken), (vec![(Op::Write, 12, 1)], 1), "what lies behind it does not wait");
    disk.ends(&mut queue, 0, Ok(()));
    assert!(!queue.pump(&mut disk));
    disk.ends(&mut queue, 1, Ok(()));
    queue.pump(&mut disk);
    let (sent, tags) = disk.taken();
    assert_eq!(sent, [(Op::Flush, 0, 0)], "although what is wanted is more: it lies behind the late block");
    disk.ends(&mut queue, 2, Ok(()));
    disk.ends(&mut queue, tags[0], Ok(()));
    // What lies before it is durable, what lies behind it and is flushed not yet.
    assert_eq!((queue.flushed, queue.is_durable(1), queue.is_durable(2), queue.release_late()), (2, true, false, None));
    queue.pump(&mut disk);
    let (sent, tags) = disk.taken();
    assert_eq!(sent, [(Op::Write, 50, 1), (Op::Flush, 0, 0)], "the flush is that of what came behind");
    disk.ends(&mut queue, tags[1], Ok(()));
    assert_eq!((queue.flushed, queue.is_durable(3)), (3, false), "that flush began before it was written");
    disk.ends(&mut queue, tags[0], Ok(()));
    queue.pump(&mut disk);
    let (sent, tags) = disk.taken();
    assert_eq!(sent, [(Op::Flush, 0, 0)]);
    disk.ends(&mut queue, tags[0], Ok(()));
    assert!(queue.is_durable(3) && queue.has_late());
    assert_eq!((queue.release_late(), queue.has_late(), queue.is_durable(3)), (Some(PageRef(77)), false, true));
}

#[test]
fn a_late_block_that_a_reset_may_have_lost_is_written_again() {
    // The reset comes before the write has ended, before the flush has begun, before the flush has ended.
    for steps in 0..3 {
        let (mut ring, mut disk) = ([Pending::default(); 256], Slow::default());
        let mut queue = Queue::new(&mut ring);
        queue.push_late(Block(50), PageRef(77));
        let pumped = |queue: &mut Queue<'_>, disk: &mut Slow| {
            assert!(queue.pump(disk));
            let (sent, tags) = disk.taken();
            assert_eq!(sent.len(), 1);
            (sent[0].0, tags[0])
        };
        let (op, mut tag) = pumped(&mut queue, &mut disk);
        assert_eq!(op, Op::Write);
        if steps > 0 {
            disk.ends(&mut queue, tag, Ok(()));
        }
        if steps > 1 {
            tag = pumped(&mut queue, &mut disk).1;
        }
        disk.resets = 1;
        if steps != 1 {
            assert!(!queue.pump(&mut disk), "a command from before is under way");
            disk.ends(&mut queue, tag, if steps == 0 { Err(DiskError::Lost) } else { Ok(()) });
        }
        assert_eq!((queue.release_late(), queue.is_durable(0)), (None, false), "step {steps}");
        let (op, tag) = pumped(&mut queue, &mut disk);
        assert_eq!((op, queue.rewritten), (Op::Write, u64::from(steps > 0)), "step {steps}");
        disk.ends(&mut queue, tag, Err(DiskError::Medium));
        let (op, tag) = pumped(&mut queue, &mut disk);
        assert_eq!(op, Op::Write, "what the medium refuses is repeated");
        disk.ends(&mut queue, tag, Ok(()));
        let (op, tag) = pumped(&mut queue, &mut disk);
        assert_eq!(op, Op::Flush);
        disk.ends(&mut queue, tag, Ok(()));
        assert_eq!(queue.release_late(), Some(PageRef(77)));
        // One that the medium never takes is told of by its block.
        queue.push_late(Block(60), PageRef(78));
        for _ in 0..=MEDIUM_RETRIES_MAX {
            let (_, tag) = pumped(&mut queue, &mut disk);
            disk.ends(&mut queue, tag, Err(DiskError::Medium));
        }
        let failed = CommandFailed { op: Op::Write, block: Block(60), error: DiskError::Medium };
        assert_eq!(queue.failed, Some(failed));
    }
}

#[test]
fn readers_leave_room_for_writes_and_flushes() {
    let (mut ring, mut disk) = ([Pending::default(); 256], Slow::default());
    let mut queue = Queue::new(&mut ring);
    disk.full = true;
    assert!(!queue.read(&mut disk, Block(5), PageRef(1), Reader::Frame(7)));
    disk.full = false;
    for read in 0..COMMANDS_MAX as u16 - 2 {
        let reader = if read % 2 == 0 { Reader::Frame(read) } else { Reader::Page(read) };
        assert!(queue.read(&mut disk, Block(5 + u32::from(read)), PageRef(1), reader));
    }
    assert!(!queue.read(&mut disk, Block(5), PageRef(1), Reader::Frame(7)));
    push(&mut queue, [10]);
    assert!(queue.pump(&mut disk));
    let (sent, tags) = disk.taken();
    assert_eq!((sent.len(), sent[1], sent[30]), (31, (Op::Read, 6, 1), (Op::Write, 10, 1)));
    disk.ends(&mut queue, tags[30], Ok(()));
    queue.flush_completed();
    assert!(queue.pump(&mut disk));
    let lost = Err(DiskError::Lost);
    assert_eq!(disk.ends(&mut queue, tags[0], Ok(())), Some(ReadDone::Frame(0, Ok(()))));
    assert_eq!(disk.ends(&mut queue, tags[1], lost), Some(ReadDone::Page(1, lost)));
    for unknown in [tags[0], 31, 32, 999] {
        assert_eq!(disk.ends(&mut queue, unknown, Ok(())), None);
    }
    assert!(queue.read(&mut disk, Block(5), PageRef(1), Reader::Frame(7)));
}

#[test]
fn what_the_medium_refuses_is_repeated_and_then_given_up() {
    let (mut ring, mut disk) = ([Pending::default(); 256], Slow::default());
    let mut queue = Queue::new(&mut ring);
    push(&mut queue, [10]);
    queue.want_flush(1);
    queue.pump(&mut disk);
    let tag = disk.taken().1[0];
    // Drivers may die as often as they like.
    for round in 0..40 {
        let error = if round % 8 == 7 { DiskError::Medium } else { DiskError::Lost };
        disk.ends(&mut queue, tag, Err(error));
        disk.ends(&mut queue, tag, Ok(()));
        assert!(!queue.is_still(), "a completion of what is to be repeated means nothing");
        disk.full = true;
        assert!(!queue.pump(&mut disk));
        disk.full = false;
        assert!(queue.pump(&mut disk));
        assert_eq!(disk.taken(), (vec![(Op::Write, 10, 1)], vec![tag]));
        assert_eq!(queue.failed, None);
    }
    disk.ends(&mut queue, tag, Err(DiskError::Medium));
    let failed = CommandFailed { op: Op::Write, block: Block(10), error: DiskError::Medium };
    assert_eq!(queue.failed, Some(failed));
    let mut ring = [Pending::default(); 256];
    let mut queue = Queue::new(&mut ring);
    push(&mut queue, [10]);
    queue.want_flush(1);
    queue.pump(&mut disk);
    disk.ends(&mut queue, disk.sent[0].tag, Ok(()));
    disk.sent.clear();
    queue.pump(&mut disk);
    let flush = disk.taken().1[0];
    disk.ends(&mut queue, flush, Err(DiskError::Refused));
    assert_eq!(queue.failed, Some(CommandFailed { op: Op::Flush, block: Block::NONE, error: DiskError::Refused }));
    assert_eq!(queue.flushed, 0);
}

/// What a disk could not make durable it may have dropped, and then the next flush ends well all the same.
#[test]
fn what_a_failed_flush_may_have_lost_is_written_again() {
    let (mut ring, mut disk) = ([Pending::default(); 256], Slow::default());
    let mut queue = Queue::new(&mut ring);
    push(&mut queue, [10, 20]);
    queue.want_flush(2);
    queue.pump(&mut disk);
    let mut write_and_fail = |queue: &mut Queue<'_>, error| {
        let (sent, tags) = disk.taken();
        assert_eq!(sent, [(Op::Write, 10, 1), (Op::Write, 20, 1)], "{error:?}");
        tags.iter().for_each(|tag| assert_eq!(disk.ends(queue, *tag, Ok(())), None));
        assert!(queue.pump(&mut disk));
        let (sent, flush) = disk.taken();
        assert_eq!(sent, [(Op::Flush, 0, 0)]);
        disk.ends(queue, flush[0], Err(error));
        assert_eq!((queue.flushed, queue.release()), (0, None));
        assert!(queue.pump(&mut disk) || queue.failed.is_some());
        queue.failed
    };
    for _ in 0..MEDIUM_RETRIES_MAX {
        assert_eq!(write_and_fail(&mut queue, DiskError::Lost), None);
        assert_eq!(write_and_fail(&mut queue, DiskError::Medium), None);
    }
    let failed = CommandFailed { op: Op::Flush, block: Block::NONE, error: DiskError::Medium };
    assert_eq!(write_and_fail(&mut queue, DiskError::Medium), Some(failed));
}

#[test]
fn what_a_reset_may_have_lost_is_written_again() {
    let (mut ring, mut disk) = ([Pending::default(); 256], Slow::default());
    let mut queue = Queue::new(&mut ring);
    push(&mut queue, [10, 20, 30]);
    queue.want_flush(3);
    queue.pump(&mut disk);
    let (sent, tags) = disk.taken();
    assert_eq!(sent.len(), 3);
    disk.ends(&mut queue, tags[0], Ok(()));
    disk.ends(&mut queue, tags[1], Ok(()));
    disk.resets = 1;
    assert!(!queue.pump(&mut disk), "a write from before is under way: it could land on what is written now");
    disk.ends(&mut queue, tags[2], Err(DiskError::Lost));
    assert!(queue.pump(&mut disk));
    let (sent, tags) = disk.taken();
    assert_eq!(sent, [(Op::Write, 10, 1), (Op::Write, 20, 1), (Op::Write, 30, 1)]);
    assert_eq!((queue.rewritten, queue.flushed), (2, 0));
    tags.iter().for_each(|tag| assert_eq!(disk.ends(&mut queue, *tag, Ok(())), None));
    queue.pump(&mut disk);
    let (sent, tags) = disk.taken();
    assert_eq!(sent, [(Op::Flush, 0, 0)]);
    // Of a flush that ends behind a reset nobody knows what it covered.
    disk.resets = 2;
    disk.ends(&mut queue, tags[0], Ok(()));
    assert_eq!((queue.flushed, queue.release()), (0, None));
    assert!(queue.pump(&mut disk));
    let (sent, tags) = disk.taken();
    assert_eq!((sent.len(), queue.rewritten), (3, 5));
    tags.iter().for_each(|tag| assert_eq!(disk.ends(&mut queue, *tag, Ok(())), None));
    queue.pump(&mut disk);
    let (_, tags) = disk.taken();
    disk.ends(&mut queue, tags[0], Ok(()));
    assert_eq!(released(&mut queue), [10, 20, 30]);
}

#[test]
fn the_newest_page_of_a_block_is_found() {
    let mut ring = [Pending::default(); 4];
    let mut queue = Queue::new(&mut ring);
    queue.push(Block(5), PageRef(1), Owner::Caller);
    queue.push(Block(6), PageRef(2), Owner::Caller);
    queue.push(Block(5), PageRef(3), Owner::Caller);
    assert_eq!([5, 6, 7].map(|block| queue.find(Block(block))), [Some(PageRef(3)), Some(PageRef(2)), None]);
}

fn pointer(block: u32, twin: u32) -> Pointer {
    Pointer { block: Block(block), twin: Block(twin), epoch: Epoch::from_bits(1 << 40), sum: Checksum(7) }
}

#[test]
fn a_block_is_read_once_and_the_least_used_gives_way() {
    let (mut ring, mut disk) = ([Pending::default(); 4], Slow::default());
    let mut queue = Queue::new(&mut ring);
    let mut frames = [Frame::default(); 3];
    let mut cache = Cache::new(&mut frames, &[PageRef(50), PageRef(51), PageRef(52)]);
    let mut fetch = |cache: &mut Cache<'_>, block: u32| {
        let got = cache.fetch(&mut queue, &mut disk, &pointer(block, 0));
        (got, disk.taken().0)
    };
    let read = |block| (Fetch::Pending, vec![(Op::Read, block, 1)]);
    let here = |frame: u16, verified| (Fetch::Ready(PageRef(50 + u64::from(frame)), frame, verified), vec![]);
    assert_eq!(fetch(&mut cache, 100), read(100));
    assert_eq!(fetch(&mut cache, 100), (Fetch::Pending, vec![]));
    assert_eq!((fetch(&mut cache, 101), fetch(&mut cache, 102)), (read(101), read(102)));
    assert_eq!(fetch(&mut cache, 103), (Fetch::Pending, vec![]), "all frames are being read into");
    (0..3).for_each(|frame| cache.loaded(frame, Ok(())));
    assert_eq!(fetch(&mut cache, 100), here(0, false));
    cache.verified(0, true);
    assert_eq!(fetch(&mut cache, 100), here(0, true));
    assert_eq!(fetch(&mut cache, 102), here(2, false));
    assert_eq!(fetch(&mut cache, 103), read(103), "in the place of 101");
    cache.loaded(1, Ok(()));
    assert_eq!((fetch(&mut cache, 103), fetch(&mut cache, 101)), (here(1, false), read(101)));
    assert_eq!(fetch(&mut cache, 102), here(2, false));
    // What is not what its pointer says is forgotten, and its frame is the first to be used.
    cache.verified(2, false);
    assert_eq!(fetch(&mut cache, 104), read(104));
    cache.loaded(2, Ok(()));
    assert_eq!(fetch(&mut cache, 104), here(2, false));
}

#[test]
fn a_block_that_cannot_be_had_is_said_so_once_or_remembered() {
    let (mut ring, mut disk) = ([Pending::default(); 4], Slow::default());
    let mut queue = Queue::new(&mut ring);
    let mut frames = [Frame::default(); 1];
    let mut cache = Cache::new(&mut frames, &[PageRef(50)]);
    let mut fetch = |cache: &mut Cache<'_>, twin: u32| {
        let got = cache.fetch(&mut queue, &mut disk, &pointer(100, twin));
        let (_, tags) = disk.taken();
        tags.iter().for_each(|tag| assert!(disk.ends(&mut queue, *tag, Ok(())).is_some()));
        (got, tags.len())
    };
    for _ in 0..20 {
        assert_eq!(fetch(&mut cache, 0), (Fetch::Pending, 1), "a driver may die as often as it likes");
        cache.loaded(0, Err(DiskError::Lost));
    }
    for _ in 0..2 {
        for _ in 0..5 {
            assert_eq!(fetch(&mut cache, 0), (Fetch::Pending, 1));
            cache.loaded(0, Err(DiskError::Medium));
        }
        assert_eq!(fetch(&mut cache, 0), (Fetch::Pending, 1));
        cache.loaded(0, Err(DiskError::Medium));
        assert_eq!(fetch(&mut cache, 0), (Fetch::Unreadable, 0));
    }
    assert_eq!(fetch(&mut cache, 0), (Fetch::Pending, 1), "asked for anew");
    cache.loaded(0, Ok(()));
    // With a second copy it is remembered until that one is no better.
    assert_eq!(fetch(&mut cache, 9), (Fetch::Pending, 1));
    cache.loaded(0, Ok(()));
    cache.verified(0, false);
    assert_eq!([fetch(&mut cache, 9), fetch(&mut cache, 9)], [(Fetch::Unreadable, 0); 2]);
    cache.forget_bad(&pointer(101, 9));
    assert_eq!(fetch(&mut cache, 9), (Fetch::Unreadable, 0));
    cache.forget_bad(&pointer(100, 9));
    assert_eq!(fetch(&mut cache, 9), (Fetch::Pending, 1));
}
