//! One life of the computer: from power on to power off.

use crate::actor::Actor;
use crate::board::{Board, Role};
use crate::chronicle::Chronicle;
use crate::console::ConsoleProgram;
use crate::driver::DriverProgram;
use crate::init::{BATCH, BLANK, INTERRUPT, Init, MEMORY};
use crate::pager::PagerProgram;
use crate::snapshot::{Pages, SnapshotProgram, StorePlan};
use abi::Kind;
use abi::boot_info::{FrameRange, RANGES_MAX};
use abi::protocol::{block, paging};
use core::sync::atomic::AtomicU64;
use kernel_core::{Capacities, Counts};
use pager_server::Config as PagerConfig;
use storesim::{Arena, Random, SimDisk};

/// The frame through which batches of records go.
pub(crate) const BATCH_FRAME: u32 = 60;
/// A frame of zeros.
const BLANK_FRAME: u32 = 61;
/// First of the pager's frames. Page numbers below it are the store's own.
pub(crate) const FIRST_FRAME: u32 = 64;

/// Sizes of the computer and the world on it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) cpus: u32,
    /// Frames of the pager.
    pub(crate) frames: u32,
    /// Page-table pages.
    pub(crate) tables: u32,
    /// Entries of the log of first writes.
    pub(crate) log: u32,
    pub(crate) scribbler_pages: u64,
    pub(crate) store: StorePlan,
    /// Nanoseconds that a step takes at most.
    pub(crate) step_ns_max: u64,
    /// One in so many steps the driver dies; 0: never.
    pub(crate) driver_dies: u64,
    /// One in so many of its turns the console's server dies; 0: never.
    pub(crate) console_dies: u64,
    /// How long programs of the world sleep when they do; 0: never.
    pub(crate) sleep_ns: u64,
    /// Steps from one check of all invariants to the next.
    pub(crate) check_every: u64,
    pub(crate) verbose: bool,
}

impl Plan {
    fn capacities(&self) -> Capacities {
        Capacities {
            world: Counts([8, 8, 8, 4, 2, 128]),
            volatile: Counts([8, 8, 4, 8, 2, 768]),
            cpus: self.cpus,
            tables: self.tables,
            frames: FIRST_FRAME + self.frames,
            log: self.log,
            donated: 16,
            interrupts: 64,
        }
    }

    fn pager(&self) -> PagerConfig {
        let mut ranges = [FrameRange::default(); RANGES_MAX];
        ranges[0] = FrameRange { first: FIRST_FRAME.into(), count: self.frames.into() };
        PagerConfig {
            ranges,
            objects_max: 32,
            regions_max: 32,
            spaces_max: 8,
            donated_frames: 8,
            reserve_frames: 8,
            transient_pages_max: 16,
        }
    }

    /// Pages that disk and store see.
    pub(crate) fn pages(&self) -> usize {
        (FIRST_FRAME + self.frames) as usize
    }
}

/// Memory that two programs share: gone when the power goes.
pub(crate) struct Areas {
    paging: Vec<AtomicU64>,
    block: Vec<AtomicU64>,
}

impl Areas {
    pub(crate) fn new() -> Self {
        let zeroed = |bytes: usize| (0..bytes / 8).map(|_| AtomicU64::new(0)).collect();
        Self { paging: zeroed(paging::AREA_BYTES), block: zeroed(block::AREA_BYTES) }
    }
}

/// A computer that runs.
pub(crate) struct Life<'a> {
    board: Board,
    plan: Plan,
    init: Init,
    pager: PagerProgram<'a>,
    snapshot: SnapshotProgram<'a>,
    driver: DriverProgram<'a>,
    console: ConsoleProgram,
}

impl<'a> Life<'a> {
    /// Power on.
    pub(crate) fn new(
        plan: Plan,
        areas: &'a Areas,
        arena: &'a mut Arena,
        disk: SimDisk,
        random: Random,
        chronicle: Chronicle,
    ) -> Self {
        let mut board = Board::new(&plan.capacities(), random, chronicle);
        board.shared.verbose = plan.verbose;
        let boot = board.kernel.boot_process(&mut board.machine, 128, 0x1000, 0, 0).expect("boots");
        let memory = [(MEMORY, FIRST_FRAME, plan.frames), (BATCH, BATCH_FRAME, 1), (BLANK, BLANK_FRAME, 1)];
        for (handle, first, count) in memory {
            board
                .kernel
                .boot_range(boot.process, handle, Kind::Memory, first..first + count, true)
                .expect("a free handle");
        }
        board.roles.insert(boot.thread, Role::Init);
        board.kernel.boot_start(&mut board.machine, 0, boot);
        let snapshot =
            SnapshotProgram::new(plan.store, arena.memory(), Pages::new(plan.pages()), &areas.paging, &areas.block);
        Self {
            board,
            plan,
            init: Init::new(plan.scribbler_pages, plan.sleep_ns),
            pager: PagerProgram::new(plan.pager(), &areas.paging),
            snapshot,
            driver: DriverProgram::new(&areas.block, disk),
            console: ConsoleProgram::new(plan.console_dies),
        }
    }

    /// Power off: what is left.
    pub(crate) fn end(self) -> (SimDisk, Random, Chronicle) {
        (self.driver.disk, self.board.random, self.board.chronicle)
    }

    /// The computer's disk.
    pub(crate) fn disk(&mut self) -> &mut SimDisk {
        &mut self.driver.disk
    }

    pub(crate) fn board(&mut self) -> &mut Board {
        &mut self.board
    }

    /// How things stand, for who has to find out why nothing moves.
    pub(crate) fn describe(&mut self) -> String {
        let now = self.board.machine.now();
        let phase = self.board.shared.epochs.phase;
        let threads: Vec<_> = self.board.kernel.each_thread().map(|(at, thread)| (at, thread.state)).collect();
        let Self { snapshot, driver, .. } = self;
        format!("at {now} ns, {phase:?}; {}; {}; threads {threads:?}", snapshot.describe(), driver.describe())
    }

    /// Every invariant of kernel and pager.
    pub(crate) fn check(&self) {
        assert_eq!(self.board.kernel.check(self.board.machine.host()), Ok(()), "the kernel");
        assert_eq!(self.pager.check(), Ok(()), "the pager");
    }

    /// One step of one CPU, or of the disk.
    pub(crate) fn step(&mut self) {
        let board = &mut self.board;
        board.chronicle.figures.steps += 1;
        let cpus = u64::from(self.plan.cpus);
        let cpu = if cpus > 1 { board.random.below(cpus) as usize } else { 0 };
        board.machine.advance(board.random.within(1, self.plan.step_ns_max));
        if (0..self.plan.cpus as usize).all(|cpu| board.kernel.is_idle(cpu)) && !self.driver.is_busy() {
            let next = board.machine.next_timer().expect("somebody waits for something");
            board.machine.advance(next.saturating_sub(board.machine.now()));
        }
        if board.machine.take_kick(cpu) {
            board.kernel.reschedule(&mut board.machine, cpu);
        } else if board.machine.take_due_timer(cpu) {
            board.kernel.timer(&mut board.machine, cpu);
        } else if self.driver.is_busy() && board.random.chance(5) {
            board.kernel.interrupt(&mut board.machine, cpu, INTERRUPT);
        }
        if self.plan.driver_dies > 0 && board.random.below(self.plan.driver_dies) == 0 && self.driver.is_busy() {
            board.chronicle.figures.driver_deaths += 1;
            self.driver.die();
            board.kernel.interrupt(&mut board.machine, cpu, INTERRUPT);
        }
        self.run(cpu);
        let orphan = self.board.kernel.orphan.take();
        assert_eq!(orphan, None, "a fault that nobody receives");
        if self.board.chronicle.figures.steps.is_multiple_of(self.plan.check_every) {
            self.check();
        }
    }

    fn run(&mut self, cpu: usize) {
        if self.board.kernel.is_idle(cpu) {
            return;
        }
        let Some(role) = self.board.role_on(cpu) else {
            self.board.execute(cpu);
            return;
        };
        let mut actor = Actor::new(&mut self.board, role, cpu);
        match role {
            Role::Init => self.init.turn(&mut actor),
            Role::Pager => self.pager.turn(&mut actor),
            Role::Snapshot => self.snapshot.turn(&mut actor),
            Role::Driver => self.driver.turn(&mut actor, self.snapshot.pages()),
            Role::Console => self.console.turn(&mut actor),
        }
    }
}
