//! The snapshot server as a process: the real conductor and store, over the real link to a disk driver.

use crate::actor::Actor;
use crate::board::{Board, Role};
use abi::protocol::paging::{self, Direction, PagedAs, RING, ToPager, ToStore};
use abi::protocol::ring::{Consumer, Producer};
use abi::protocol::snapshot::{Error, Request};
use abi::protocol::wiring::EpochsPage;
use abi::{Call, Epoch, Event, Handle, Outcome, PAGE_SIZE, Status, Timeout};
use core::sync::atomic::AtomicU64;
use format::BlockBytes;
use snapshot_server::conductor::{Batch, BlockDisk, Conductor, Environment, Note, Policy, Probe, Probed, Refused};
use snapshot_server::{Config, FormatOptions, Memory, PageMemory, PageRef};

/// Longest sleep.
const IDLE_NS_MAX: u64 = 1_000_000;

/// Polls of one turn after which the conductor counts as hung: each does at least one thing, and no epoch has so many.
const POLLS_MAX: u32 = 100_000;

/// The pages that the store and the disk see: the store's own first, then the machine's frames by their numbers.
pub(crate) struct Pages(Vec<BlockBytes>);

impl Pages {
    pub(crate) fn new(count: usize) -> Self {
        Self(vec![[0; PAGE_SIZE]; count])
    }
}

fn index(page: PageRef) -> usize {
    (page.0 & u64::from(u32::MAX)) as usize
}

impl PageMemory for Pages {
    fn bytes(&self, page: PageRef) -> &BlockBytes {
        &self.0[index(page)]
    }

    fn bytes_mut(&mut self, page: PageRef) -> &mut BlockBytes {
        &mut self.0[index(page)]
    }
}

/// How the store is to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StorePlan {
    pub(crate) config: Config,
    pub(crate) policy: Policy,
    pub(crate) options: FormatOptions,
}

type Disk<'a> = BlockDisk<'a, Pages>;

enum Stage<'a> {
    Probing(Box<(Disk<'a>, Probe, Memory<'a>)>),
    Conducting(Box<Conductor<'a, Disk<'a>>>),
    /// Between two stages.
    Turning,
}

/// The snapshot server's end of the link to the pager.
struct Link<'a> {
    area: &'a [AtomicU64],
    to_pager: Producer<'a>,
    from_pager: Consumer<'a>,
}

/// The program.
pub(crate) struct SnapshotProgram<'a> {
    stage: Stage<'a>,
    plan: StorePlan,
    link: Link<'a>,
    bound: bool,
}

impl<'a> SnapshotProgram<'a> {
    pub(crate) fn new(
        plan: StorePlan,
        memory: Memory<'a>,
        pages: Pages,
        paging: &'a [AtomicU64],
        block: &'a [AtomicU64],
    ) -> Self {
        let ring = |direction| paging::ring_memory(paging, direction).expect("the area is large enough");
        let to_pager = Producer::new(ring(Direction::ToPager), RING).expect("large enough");
        let from_pager = Consumer::new(ring(Direction::ToStore), RING).expect("large enough");
        let probe = Probe::new(memory.pages[0]);
        let stage = Stage::Probing(Box::new((BlockDisk::new(block, pages), probe, memory)));
        Self { stage, plan, link: Link { area: paging, to_pager, from_pager }, bound: false }
    }

    pub(crate) fn describe(&mut self) -> String {
        match &mut self.stage {
            Stage::Probing(parts) => format!("probing {:?}, link up {}", parts.1, parts.0.is_up()),
            Stage::Conducting(conductor) => {
                let page = *conductor.page();
                let up = conductor.store_mut().is_some_and(|store| store.host_mut().is_up());
                format!("conducting {page:?}, link up {up}")
            }
            Stage::Turning => String::from("turning"),
        }
    }

    /// The pages that the disk reads and writes.
    pub(crate) fn pages(&mut self) -> &mut dyn PageMemory {
        match &mut self.stage {
            Stage::Probing(parts) => &mut parts.0,
            Stage::Conducting(conductor) => conductor.store_mut().expect("not within a poll").host_mut(),
            Stage::Turning => unreachable!("only within a turn"),
        }
    }

    pub(crate) fn turn(&mut self, actor: &mut Actor<'_>) {
        if !self.bound {
            actor.bind();
            self.bound = true;
        }
        self.stage = match core::mem::replace(&mut self.stage, Stage::Turning) {
            Stage::Probing(parts) => self.probe(parts),
            stage => stage,
        };
        let due = self.conduct(actor);
        self.ring_disk(actor);
        let timeout = match due.unwrap_or(IDLE_NS_MAX).min(IDLE_NS_MAX) {
            0 => Timeout::POLL,
            ns => Timeout::from_ns(ns),
        };
        actor.wait(actor.given().port, timeout);
    }

    fn probe(&self, mut parts: Box<(Disk<'a>, Probe, Memory<'a>)>) -> Stage<'a> {
        let (disk, probe, _) = &mut *parts;
        let probed = probe.poll(disk);
        let StorePlan { config, policy, options } = self.plan;
        match probed {
            None => Stage::Probing(parts),
            Some(Probed::Dead) => panic!("the disk is dead"),
            Some(Probed::Blank) => {
                let (disk, _, memory) = *parts;
                Stage::Conducting(Box::new(Conductor::format(memory, disk, config, policy, options)))
            }
            Some(Probed::Written) => {
                let (disk, _, memory) = *parts;
                Stage::Conducting(Box::new(Conductor::open(memory, disk, config, policy, None)))
            }
        }
    }

    /// Lets the conductor do what it can; how long until it wants to be called again.
    fn conduct(&mut self, actor: &mut Actor<'_>) -> Option<u64> {
        let arrived = actor.arrived();
        let Stage::Conducting(conductor) = &mut self.stage else { return Some(IDLE_NS_MAX / 10) };
        let mut env = SnapshotEnvironment { actor: &mut *actor, link: &mut self.link, paged: Vec::new(), rings: false };
        if let Some(store) = conductor.store_mut() {
            // What was handed over does not change until it is released: it is looked at once, and again then.
            for frame in core::mem::take(&mut env.board().shared.handed) {
                *store.host_mut().bytes_mut(PageRef(u64::from(frame))) = *env.board().machine.bytes(frame);
            }
        }
        match arrived.event {
            Event::Call => answer(conductor, &mut env, arrived.tag),
            Event::Notification if arrived.badge >> Role::Console as usize & 1 == 1 => conductor.hurry(),
            _ => {}
        }
        let mut polls = 0;
        while conductor.poll(&mut env) {
            settle(conductor, &mut env);
            polls += 1;
            assert!(polls < POLLS_MAX, "the conductor never rests");
        }
        settle(conductor, &mut env);
        let (now, rings) = (env.now_ns(), env.rings);
        if rings {
            actor.ring(Role::Pager);
        }
        conductor.due_in(now)
    }

    fn ring_disk(&mut self, actor: &mut Actor<'_>) {
        let rings = match &mut self.stage {
            Stage::Probing(parts) => parts.0.take_ring(),
            Stage::Conducting(conductor) => conductor.store_mut().is_some_and(|store| store.host_mut().take_ring()),
            Stage::Turning => false,
        };
        if rings {
            actor.ring(Role::Driver);
        }
    }
}

/// Moves contents between the store's pages and the machine's frames for the messages that were sent.
fn settle<'a>(conductor: &mut Conductor<'a, Disk<'a>>, env: &mut SnapshotEnvironment<'_, '_, '_>) {
    let Some(store) = conductor.store_mut() else { return };
    let disk = store.host_mut();
    for message in core::mem::take(&mut env.paged) {
        match message {
            ToPager::Released { frame, epoch } => {
                let (then, now) = (*disk.bytes(PageRef(u64::from(frame))), *env.board().machine.bytes(frame));
                assert!(then == now, "frame {frame} of epoch {epoch} changed while it was being written");
            }
            ToPager::Paged { frame, outcome: PagedAs::Filled, .. } => {
                *env.board().machine.bytes(frame) = *disk.bytes(PageRef(u64::from(frame)));
                env.board().chronicle.figures.paged_in += 1;
            }
            _ => {}
        }
    }
}

fn answer<'a>(conductor: &mut Conductor<'a, Disk<'a>>, env: &mut SnapshotEnvironment<'_, '_, '_>, tag: u64) {
    // A caller that is gone needs no answer.
    let _ = match Request::from_bits(tag) {
        Some(Request::Epochs) => {
            let words = conductor.epochs(env).words();
            env.actor.reply(Handle::NULL, 0, &words, None)
        }
        Some(Request::Sync) => match env.actor.save_reply() {
            Some(saved) => match conductor.sync(env, saved) {
                Ok(()) => Ok(()),
                Err(error) => env.actor.reply(saved, error as u64, &[], None),
            },
            None => env.actor.reply(Handle::NULL, Error::Busy as u64, &[], None),
        },
        None => env.actor.reply(Handle::NULL, Error::BadRequest as u64, &[], None),
    };
}

/// What the conductor needs of the outside.
struct SnapshotEnvironment<'e, 'b, 'a> {
    actor: &'e mut Actor<'b>,
    link: &'e mut Link<'a>,
    /// Messages about frames, sent in this poll.
    paged: Vec<ToPager>,
    rings: bool,
}

impl SnapshotEnvironment<'_, '_, '_> {
    fn board(&mut self) -> &mut Board {
        self.actor.board
    }

    /// A call whose record may be refused.
    fn refusable(&mut self, call: Call, first: u64) -> Result<(), Refused> {
        let given = self.actor.given();
        let frame = self.actor.call(call, given.epoch, |r| {
            r.rdi = first;
            r.words = [0; 8];
            r.caps = u64::from(given.memory.0);
        });
        match Outcome(frame.rax).status() {
            Status::Ok => Ok(()),
            Status::BadRecord => Err((frame.words[0] as u16, frame.words[1] as u32)),
            status => panic!("{call:?}: {status:?}"),
        }
    }

    fn batch(&mut self) -> &mut Batch {
        self.board().machine.bytes(crate::life::BATCH_FRAME)
    }
}

impl Environment for SnapshotEnvironment<'_, '_, '_> {
    fn now_ns(&mut self) -> u64 {
        self.board().machine.now()
    }

    fn export(&mut self, to: &mut Batch) -> usize {
        let given = self.actor.given();
        let frame = self.actor.must(Call::Export, given.epoch, |r| {
            r.rdi = 0;
            r.caps = u64::from(given.memory.0);
        });
        *to = *self.batch();
        frame.rdi as usize
    }

    fn restore(&mut self, batch: &Batch) -> Result<(), Refused> {
        *self.batch() = *batch;
        self.refusable(Call::Restore, 0)
    }

    fn resume(&mut self, first: Epoch) -> Result<(), Refused> {
        self.refusable(Call::Resume, first.bits())?;
        let board = self.board();
        let from = board.shared.epochs.restored;
        board.chronicle.restored(&board.kernel, from);
        Ok(())
    }

    fn running(&mut self) -> Epoch {
        self.actor.epoch()
    }

    fn announce(&mut self, epoch: Epoch) {
        let given = self.actor.given();
        self.actor.must(Call::Committed, given.epoch, |r| r.rdi = epoch.bits());
        self.board().chronicle.announce(epoch);
    }

    fn receive(&mut self) -> Option<ToStore> {
        let entry = self.link.from_pager.pop().expect("a sound ring")?;
        self.rings = true;
        Some(ToStore::from_entry(&entry).expect("a message of a pager"))
    }

    fn room(&mut self) -> usize {
        self.link.to_pager.room().expect("a sound ring") as usize
    }

    fn send(&mut self, message: ToPager) {
        self.paged.push(message);
        self.link.to_pager.push(&message.entry()).expect("there is room");
        self.rings = true;
    }

    fn put_batch(&mut self, slot: u32, batch: &[u8]) {
        assert!(paging::put_batch(self.link.area, Direction::ToPager, slot, batch));
    }

    fn get_batch(&mut self, slot: u32, to: &mut [u8]) {
        assert!(paging::get_batch(self.link.area, Direction::ToStore, slot, to));
    }

    fn publish(&mut self, page: &EpochsPage) {
        self.board().shared.epochs = *page;
        self.actor.ring(Role::Init);
        self.actor.ring(Role::Console);
    }

    fn answer(&mut self, caller: Handle, result: Result<Epoch, Error>) {
        let (tag, words) = match result {
            Ok(epoch) => {
                assert!(self.board().chronicle.is_durable(epoch), "a sync is answered before {epoch} is durable");
                (0, [epoch.bits()])
            }
            Err(error) => (error as u64, [0]),
        };
        // A caller that has died since needs no answer.
        let _ = self.actor.reply(caller, tag, &words, None);
    }

    fn note(&mut self, note: Note) {
        match note {
            Note::Opened(_) | Note::Restored(..) | Note::Began(_) | Note::FirstCommit(_) | Note::Short(..) => {
                if self.board().shared.verbose {
                    println!("{note:?}");
                }
            }
            _ => panic!("the conductor says {note:?}"),
        }
    }
}
