//! An NVMe controller in memory: registers, queues fetched from frames, a disk with a volatile cache, and faults to order.
//!
//! It checks the driver as it goes: whatever the specification forbids a host to do is a panic here. It touches memory
//! by physical address only, so a wrong page list shows as wrong data.

mod commands;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::rc::Rc;

use mmio::{DmaMemory, FRAME_BYTES, Registers};

/// What kind of controller.
#[derive(Clone, Copy, Debug)]
pub(super) struct Profile {
    pub(super) sector_bytes: usize,
    pub(super) sectors: u64,
    pub(super) mdts: u8,
    pub(super) entries: u32,
    pub(super) stride: u32,
    pub(super) write_cache: bool,
    /// ONCS.
    pub(super) optional: u16,
    /// The only active namespace.
    pub(super) namespace: u32,
    /// Reads of CSTS until RDY follows EN.
    pub(super) sluggish: u32,
    /// Bytes of metadata for each sector.
    pub(super) metadata_bytes: u16,
    /// Which of its formats, 0 to 2, the namespace has.
    pub(super) format: u8,
    /// DPS.
    pub(super) protection: u8,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            sector_bytes: 512,
            sectors: 8 * 256,
            mdts: 7,
            entries: 2048,
            stride: 0,
            write_cache: true,
            optional: 1 << 2 | 1 << 3,
            namespace: 1,
            sluggish: 2,
            metadata_bytes: 0,
            format: 1,
            protection: 0,
        }
    }
}

/// What goes wrong, until it is taken back.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    /// Registers read as all ones and swallow writes.
    pub(super) removed: bool,
    /// CSTS.CFS.
    pub(super) fatal: bool,
    /// Commands are executed as soon as they are fetched.
    pub(super) instant: bool,
    /// RDY stays what it is.
    pub(super) stuck: bool,
    /// Reset loses the volatile cache.
    pub(super) reset_loses_cache: bool,
    /// Admin commands of this opcode fail with this status (type << 8 | code).
    pub(super) refuse_admin: Option<(u8, u16)>,
    /// Identify of this (CNS) succeeds and writes nothing.
    pub(super) blank_identify: Option<u32>,
}

/// What the controller answers the next I/O command with, beside or instead of the truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// What is true.
    Truth,
    /// This status (type << 8 | code), and nothing done.
    Status(u16),
    /// Done, but never answered.
    Silence,
    /// Neither done nor answered.
    Lost,
    /// Answered twice.
    Twice,
    /// Answered under an identifier that is not under way.
    WrongIdentifier,
    /// The command before is answered once more, and this one not at all.
    PreviousAgain,
    /// Answered in the name of another queue.
    WrongQueue,
    /// An entry with the old phase bit, then the truth in the same place.
    WrongPhaseFirst,
}

struct Queue {
    base: u64,
    entries: u32,
    /// Fetched up to (submission) or written up to (completion).
    at: u32,
    /// The other side's doorbell.
    bell: u32,
    phase: bool,
    created: bool,
}

impl Queue {
    fn none() -> Self {
        Self { base: 0, entries: 0, at: 0, bell: 0, phase: true, created: false }
    }

    fn new(base: u64, entries: u32) -> Self {
        assert_eq!(base % FRAME_BYTES as u64, 0, "queues start at a page");
        assert!(entries >= 2);
        Self { base, entries, at: 0, bell: 0, phase: true, created: true }
    }
}

type Sectors = BTreeMap<u64, Vec<u8>>;

pub(super) struct Inside {
    profile: Profile,
    pub(super) faults: Faults,
    /// For the next I/O commands, in order of execution.
    pub(super) answers: VecDeque<Answer>,
    frames: HashMap<u64, Vec<u8>>,
    registers: HashMap<usize, u32>,
    ready: bool,
    wait: u32,
    shut_down: bool,
    admin: (Queue, Queue),
    io: (Queue, Queue),
    /// I/O commands fetched and not executed.
    pub(super) pending: Vec<[u32; 16]>,
    durable: Sectors,
    cache: Sectors,
    cache_on: bool,
    /// It has answered twice since its reset, so its completion queue may be full for a reason of its own.
    repeated: bool,
    pub(super) bells: u32,
    pub(super) executed: Vec<[u32; 16]>,
    pub(super) resets: u32,
}

/// A controller. Clones are the same one.
#[derive(Clone)]
pub(super) struct Fake(pub(super) Rc<RefCell<Inside>>);

pub(super) struct FakeRegisters(Fake);

pub(super) struct FakeDma {
    fake: Fake,
    first_frame: u64,
    frames: usize,
}

impl std::fmt::Debug for FakeRegisters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FakeRegisters")
    }
}

impl std::fmt::Debug for FakeDma {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FakeDma")
    }
}

impl Fake {
    pub(super) fn new(profile: Profile) -> Self {
        let inside = Inside {
            profile,
            faults: Faults::default(),
            answers: VecDeque::new(),
            frames: HashMap::new(),
            registers: HashMap::new(),
            ready: false,
            wait: 0,
            shut_down: false,
            admin: (Queue::none(), Queue::none()),
            io: (Queue::none(), Queue::none()),
            pending: Vec::new(),
            durable: Sectors::new(),
            cache: Sectors::new(),
            cache_on: profile.write_cache,
            repeated: false,
            bells: 0,
            executed: Vec::new(),
            resets: 0,
        };
        Self(Rc::new(RefCell::new(inside)))
    }

    pub(super) fn windows(&self, frames: usize) -> (FakeRegisters, FakeDma) {
        // Far above 4 GiB, so that a lost upper half shows.
        let memory = FakeDma { fake: self.clone(), first_frame: 0x12_3456_7000, frames };
        (FakeRegisters(self.clone()), memory)
    }

    /// Executes everything that has been fetched, oldest first.
    pub(super) fn run(&self) {
        while self.run_one(0) {}
    }

    /// Executes the `which`th of the commands that have been fetched (modulo their number).
    pub(super) fn run_one(&self, which: usize) -> bool {
        let mut inside = self.0.borrow_mut();
        if inside.pending.is_empty() || !inside.ready || inside.faults.fatal || inside.faults.removed {
            return false;
        }
        let at = which % inside.pending.len();
        let command = inside.pending.remove(at);
        inside.execute(command);
        true
    }

    pub(super) fn fill(&self, frame: u64, byte: u8) {
        self.0.borrow_mut().frames.insert(frame, vec![byte; FRAME_BYTES]);
    }

    /// The byte that all of the frame holds; panics when it holds several.
    pub(super) fn uniform(&self, frame: u64) -> u8 {
        let inside = self.0.borrow();
        let bytes = inside.frames.get(&frame).map_or(&[0u8][..], |bytes| bytes);
        assert!(bytes.iter().all(|byte| *byte == bytes[0]), "frame {frame:#x} is not uniform");
        bytes[0]
    }

    /// The power fails: the cache is lost.
    pub(super) fn power_cut(&self) {
        self.0.borrow_mut().cache.clear();
    }

    /// The byte that all of a block would hold after a power cut.
    pub(super) fn durable_block(&self, block: u64) -> u8 {
        let cache = std::mem::take(&mut self.0.borrow_mut().cache);
        let byte = self.block(block);
        self.0.borrow_mut().cache = cache;
        byte
    }

    /// The byte that all of a block holds, through the cache.
    pub(super) fn block(&self, block: u64) -> u8 {
        let inside = self.0.borrow();
        let per_block = (FRAME_BYTES / inside.profile.sector_bytes) as u64;
        let bytes: Vec<u8> = (block * per_block..(block + 1) * per_block).flat_map(|at| inside.sector(at)).collect();
        assert!(bytes.iter().all(|byte| *byte == bytes[0]), "block {block} is not uniform");
        bytes[0]
    }
}

impl Inside {
    fn read_memory(&self, address: u64, bytes: &mut [u8]) {
        for (i, byte) in bytes.iter_mut().enumerate() {
            let at = address + i as u64;
            let frame = self.frames.get(&(at / FRAME_BYTES as u64));
            *byte = frame.map_or(0, |frame| frame[(at % FRAME_BYTES as u64) as usize]);
        }
    }

    fn write_memory(&mut self, address: u64, bytes: &[u8]) {
        for (i, byte) in bytes.iter().enumerate() {
            let at = address + i as u64;
            let frame = self.frames.entry(at / FRAME_BYTES as u64).or_insert_with(|| vec![0; FRAME_BYTES]);
            frame[(at % FRAME_BYTES as u64) as usize] = *byte;
        }
    }

    fn read_word(&self, address: u64) -> u64 {
        let mut bytes = [0; 8];
        self.read_memory(address, &mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn sector(&self, at: u64) -> Vec<u8> {
        let held = self.cache.get(&at).or_else(|| self.durable.get(&at));
        held.cloned().unwrap_or_else(|| vec![0; self.profile.sector_bytes])
    }

    fn store(&mut self, at: u64, bytes: Vec<u8>) {
        let into = if self.cache_on { &mut self.cache } else { &mut self.durable };
        into.insert(at, bytes);
    }

    // ---- registers ----------------------------------------------------------------------------------------------

    fn capabilities(&self) -> u64 {
        u64::from(self.profile.entries - 1) | 1 << 16 | 4 << 24 | u64::from(self.profile.stride) << 32 | 1 << 37
    }

    fn read_register(&mut self, offset: usize) -> u32 {
        if self.faults.removed {
            return u32::MAX;
        }
        match offset {
            0x00 => self.capabilities() as u32,
            0x04 => (self.capabilities() >> 32) as u32,
            0x1c => self.read_status(),
            0x08 | 0x0c | 0x10 | 0x14 | 0x20..=0x34 => self.registers.get(&offset).copied().unwrap_or(0),
            _ => panic!("register {offset:#x} is not there to be read"),
        }
    }

    fn read_status(&mut self) -> u32 {
        let enabled = self.registers.get(&0x14).is_some_and(|cc| cc & 1 == 1);
        if self.ready != enabled && !self.faults.stuck {
            if self.wait > 0 {
                self.wait -= 1;
            } else {
                self.ready = enabled;
                if enabled {
                    self.enable();
                }
            }
        }
        u32::from(self.ready) | u32::from(self.faults.fatal) << 1 | if self.shut_down { 2 << 2 } else { 0 }
    }

    fn enable(&mut self) {
        let register = |offset| self.registers.get(&offset).copied().unwrap_or(0);
        let address = |offset| u64::from(register(offset)) | u64::from(register(offset + 4)) << 32;
        let sizes = register(0x24);
        assert_eq!(register(0x14) >> 16 & 0xf, 6, "IOSQES");
        assert_eq!(register(0x14) >> 20 & 0xf, 4, "IOCQES");
        assert_eq!(register(0x14) >> 4 & 0x3ff, 0, "command set, page size and arbitration");
        let submissions = Queue::new(address(0x28), (sizes & 0xfff) + 1);
        let completions = Queue::new(address(0x30), (sizes >> 16 & 0xfff) + 1);
        self.admin = (submissions, completions);
    }

    fn write_register(&mut self, offset: usize, value: u32) {
        if self.faults.removed {
            return;
        }
        match offset {
            0x14 => self.configure(value),
            0x0c => {
                self.registers.insert(offset, value);
            }
            0x24..=0x34 => {
                assert!(!self.ready, "queue registers change only while the controller is disabled");
                self.registers.insert(offset, value);
            }
            0x1000.. => self.ring(offset, value),
            _ => panic!("register {offset:#x} is not there to be written"),
        }
    }

    fn configure(&mut self, value: u32) {
        let before = self.registers.insert(0x14, value).unwrap_or(0);
        if before & 1 == 0 && value & 1 == 1 {
            assert!(!self.ready, "enabled before RDY was clear");
            self.wait = self.profile.sluggish;
        }
        if before & 1 == 1 && value & 1 == 0 {
            self.wait = self.profile.sluggish;
            self.resets += 1;
            self.reset();
        }
        if value >> 14 & 3 == 1 {
            self.flush();
            self.shut_down = true;
        }
    }

    fn reset(&mut self) {
        self.pending.clear();
        self.faults.fatal = false;
        self.repeated = false;
        self.shut_down = false;
        self.io = (Queue::none(), Queue::none());
        self.admin = (Queue::none(), Queue::none());
        if self.faults.reset_loses_cache {
            self.cache.clear();
        }
        self.cache_on = self.profile.write_cache;
    }

    fn ring(&mut self, offset: usize, value: u32) {
        let stride = 4usize << self.profile.stride;
        assert_eq!((offset - 0x1000) % stride, 0, "between doorbells");
        assert!(self.ready, "a doorbell of a disabled controller");
        self.bells += 1;
        let (queue, completion) = ((offset - 0x1000) / stride / 2, (offset - 0x1000) / stride % 2 == 1);
        let pair = match queue {
            0 => &mut self.admin,
            1 => &mut self.io,
            _ => panic!("doorbell of queue {queue}"),
        };
        let queue_of = if completion { &mut pair.1 } else { &mut pair.0 };
        assert!(queue_of.created, "doorbell of a queue that does not exist");
        assert!(value < queue_of.entries, "doorbell beyond the queue");
        queue_of.bell = value;
        if !completion {
            self.fetch(queue);
        }
        while self.faults.instant && !self.pending.is_empty() {
            let command = self.pending.remove(0);
            self.execute(command);
        }
    }

    fn fetch(&mut self, queue: usize) {
        loop {
            let pair = if queue == 0 { &mut self.admin } else { &mut self.io };
            if pair.0.at == pair.0.bell || self.faults.fatal {
                return;
            }
            let from = pair.0.base + u64::from(pair.0.at) * 64;
            pair.0.at = (pair.0.at + 1) % pair.0.entries;
            let mut command = [0; 16];
            for (i, dword) in command.iter_mut().enumerate() {
                *dword = (self.read_word(from + i as u64 / 2 * 8) >> (i % 2 * 32)) as u32;
            }
            if queue == 0 {
                self.execute_admin(command);
            } else {
                self.pending.push(command);
            }
        }
    }

    // ---- completions --------------------------------------------------------------------------------------------

    fn post(&mut self, queue: usize, identifier: u16, named_queue: u16, status: u16) {
        let pair = if queue == 0 { &mut self.admin } else { &mut self.io };
        let head = pair.0.at;
        let completions = &mut pair.1;
        let next = (completions.at + 1) % completions.entries;
        if next == completions.bell {
            assert!(self.repeated, "the completion queue overflows");
            return;
        }
        let to = completions.base + u64::from(completions.at) * 16;
        let last = u32::from(status & 0x7ff) << 17 | u32::from(completions.phase) << 16 | u32::from(identifier);
        completions.at = next;
        if next == 0 {
            completions.phase = !completions.phase;
        }
        let mut entry = [0; 16];
        entry[8..12].copy_from_slice(&(u32::from(named_queue) << 16 | head).to_le_bytes());
        entry[12..].copy_from_slice(&last.to_le_bytes());
        self.write_memory(to, &entry);
    }

    /// Junk in the place of the next completion, with the phase of the last round.
    fn post_stale(&mut self) {
        let completions = &self.io.1;
        let to = completions.base + u64::from(completions.at) * 16;
        let last = u32::from(!completions.phase) << 16 | 0x55;
        let mut entry = [0xaa; 16];
        entry[12..].copy_from_slice(&last.to_le_bytes());
        self.write_memory(to, &entry);
    }
}

impl Registers for FakeRegisters {
    fn size_bytes(&self) -> usize {
        0x2000
    }
    fn read_u32(&self, offset: usize) -> u32 {
        assert!(self.contains(offset, 4));
        self.0.0.borrow_mut().read_register(offset)
    }
    fn write_u32(&self, offset: usize, value: u32) {
        assert!(self.contains(offset, 4));
        self.0.0.borrow_mut().write_register(offset, value);
    }
}

impl DmaMemory for FakeDma {
    fn size_bytes(&self) -> usize {
        self.frames * FRAME_BYTES
    }
    /// The frames lie backwards, so that contiguity across them is never there by chance.
    fn device_address(&self, offset: usize) -> u64 {
        assert!(offset < self.size_bytes());
        let frame = self.first_frame - (offset / FRAME_BYTES) as u64;
        frame * FRAME_BYTES as u64 + (offset % FRAME_BYTES) as u64
    }
    fn read_u32(&self, offset: usize) -> u32 {
        assert_eq!(offset % 4, 0);
        let word = self.fake.0.borrow().read_word(self.device_address(offset / 8 * 8));
        (word >> (offset % 8 * 8)) as u32
    }
    fn write_u32(&self, offset: usize, value: u32) {
        assert_eq!(offset % 4, 0);
        self.fake.0.borrow_mut().write_memory(self.device_address(offset), &value.to_le_bytes());
    }
    fn read_u64(&self, offset: usize) -> u64 {
        assert_eq!(offset % 8, 0);
        self.fake.0.borrow().read_word(self.device_address(offset))
    }
    fn write_u64(&self, offset: usize, value: u64) {
        assert_eq!(offset % 8, 0);
        self.fake.0.borrow_mut().write_memory(self.device_address(offset), &value.to_le_bytes());
    }
}
