//! How init wires the volatile servers together: the names in their startup pages, and the bits of their notifications.
//!
//! Every volatile server has **one notification** of its own, [`WAKE`] (rights WAIT), and learns from its bits who wants
//! it: [`Bell`]. Who may ring it holds a capability with the right SIGNAL and just that bit as its badge.
//!
//! A **link** is a shared area, mapped writable into two servers (or one and init) as a window, and a capability to ring
//! the other end, named `<link>-bell`. Init zeroes the area at boot, and never when only one end is restarted: the
//! protocol of the link says how a new end begins. Links: [`link::PAGING`], [`link::BLOCK`], [`link::GENESIS`],
//! [`link::DEVICES`], [`link::LENT`].
//!
//! [`RAM`] is mapped page by page as it is touched (init serves the faults of volatile servers); all else is there from
//! the start.
//!
//! **Ports** exist only with a world, which may begin (or be restored in place) after a server has started. Each server
//! has a read-only window, [`NEWS`], that init writes: see [`News`]. When it changes init rings [`Bell::NEWS`].
//!
//! **Epochs**: the snapshot server writes one page, [`EPOCHS`], which every server sees read-only: [`EpochsPage`]. When it
//! changes the snapshot server rings [`Bell::EPOCHS`] of those that hold a bell for it and of init.

use crate::{Epoch, Handle};
use core::sync::atomic::{AtomicU64, Ordering, fence};

/// Handle of a server's own notification.
pub const WAKE: &str = "wake";
/// Handle of the debug serial port, for servers that may print there.
pub const DEBUG: &str = "debug";
/// Window: what init tells this server.
pub const NEWS: &str = "news";
/// Window: what the snapshot server tells everybody.
pub const EPOCHS: &str = "epochs";
/// Handle of the Epoch object, with the rights the server needs: pager `EPOCH_CUT`, snapshot server `EPOCH_RECORDS`.
pub const EPOCH: &str = "epoch";
/// Window and Memory capability: the memory of the world. The pager maps it writable; the snapshot server read-only.
/// Consecutive frames: page i of the window is frame `first_frame + i`.
pub const RAM: &str = "ram";
/// Window and Memory capability: a server's own buffers, whose frames it may tell a device.
pub const BUFFERS: &str = "buffers";
/// Window: the registers of a driver's device.
pub const REGISTERS: &str = "registers";
/// Handle: the interrupt of a driver's device; signals [`Bell::INTERRUPT`] when bound to [`INTERRUPT_BELL`].
pub const INTERRUPT: &str = "interrupt";
/// Handle: [`WAKE`]'s notification with [`Bell::INTERRUPT`], to bind the interrupt to.
pub const INTERRUPT_BELL: &str = "interrupt-bell";
/// Window: the registers of a driver's device among which its table of message interrupts lies; may show what
/// [`REGISTERS`] shows. Options [`option::MESSAGE_OFFSET`] and [`option::MESSAGE_VECTORS`] say where and how many.
pub const MESSAGES: &str = "messages";
/// Handle: I/O ports of a driver's device.
pub const PORTS: &str = "ports";
/// Handle: the server's own process, right PROCESS_MAP; only for the platform driver, which maps what it finds.
pub const PROCESS: &str = "process";
/// Handle: the Memory of all physical addresses that are not memory; only for the platform driver.
pub const NON_MEMORY: &str = "non-memory";
/// Window: the firmware's area below 1 MiB, read-only; only for the platform driver.
pub const FIRMWARE: &str = "firmware";

/// Options in startup pages.
pub mod option {
    /// Physical address of the ACPI root pointer, hexadecimal with 0x; absent if unknown.
    pub const RSDP: &str = "rsdp";
    /// Byte offset of the table of message interrupts in [`super::MESSAGES`].
    pub const MESSAGE_OFFSET: &str = "message-offset";
    /// Entries of that table.
    pub const MESSAGE_VECTORS: &str = "message-vectors";
    /// Epoch at which the store is to be opened, hexadecimal with 0x; absent: the newest.
    pub const EPOCH: &str = "epoch";
    /// Fingerprint of the programs and the manifest that this build would begin a world with, hexadecimal with 0x.
    pub const PROGRAMS: &str = "programs";
}

/// Names of links: of the window; the bell is `<link>-bell`.
pub mod link {
    /// Pager and snapshot server: [`super::super::paging`].
    pub const PAGING: &str = "paging";
    /// Rings the other end of [`PAGING`].
    pub const PAGING_BELL: &str = "paging-bell";
    /// Snapshot server and disk driver: [`super::super::block`].
    pub const BLOCK: &str = "block";
    /// Rings the other end of [`BLOCK`].
    pub const BLOCK_BELL: &str = "block-bell";
    /// Init and pager: [`super::super::genesis`].
    pub const GENESIS: &str = "genesis";
    /// Rings the other end of [`GENESIS`].
    pub const GENESIS_BELL: &str = "genesis-bell";
    /// Init and platform driver: what devices there are, silence one.
    pub const DEVICES: &str = "devices";
    /// Rings the other end of [`DEVICES`].
    pub const DEVICES_BELL: &str = "devices-bell";
    /// Pager and who borrows pages of the world: [`super::super::lent`]. Only the pager writes.
    pub const LENT: &str = "lent";
    /// Rings the other end of [`LENT`].
    pub const LENT_BELL: &str = "lent-bell";
    /// Snapshot server rings init when [`super::EPOCHS`] has changed.
    pub const EPOCHS_BELL: &str = "epochs-bell";
    /// Console driver rings the snapshot server: output waits, a cut would let it out.
    pub const OUTPUT_BELL: &str = "output-bell";
    /// Snapshot server rings the console driver when [`super::EPOCHS`] has changed.
    pub const CONSOLE_BELL: &str = "console-bell";
}

bitflags::bitflags! {
    /// Bits of a server's notification: who rang.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct Bell: u64 {
        /// Init has changed [`NEWS`].
        const NEWS = 1 << 0;
        /// The snapshot server has changed [`EPOCHS`].
        const EPOCHS = 1 << 1;
        /// The device.
        const INTERRUPT = 1 << 2;
        /// The other end of [`link::PAGING`].
        const PAGING = 1 << 3;
        /// The other end of [`link::BLOCK`].
        const BLOCK = 1 << 4;
        /// The other end of [`link::GENESIS`].
        const GENESIS = 1 << 5;
        /// The other end of [`link::DEVICES`].
        const DEVICES = 1 << 6;
        /// Output of the world waits for a commit.
        const OUTPUT = 1 << 7;
        /// The other end of [`link::LENT`].
        const LENT = 1 << 8;
    }
}

/// What init tells one server, in its own page. Words: 0 changes so far, 1 handle of the receiving capability for its
/// port (0: none now), 2 incarnation of the world for which that holds, 3 how often the server has been started, 4 … 6 for
/// the pager: who borrows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// How often init has changed the page.
    pub changes: u64,
    /// The port this server answers now.
    pub port: Handle,
    /// The world's incarnation; 0 before there is a world.
    pub incarnation: u32,
    /// How often this server has been started since the boot, this time included.
    pub life: u32,
    /// For the pager: who sees what is lent.
    pub borrower: Option<Borrower>,
}

/// The process that sees pages which programs of the world lend ([`super::lent`]), as the pager is told of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Borrower {
    /// The pager's capability to it, right PROCESS_MAP. Each life has one of its own; the pager drops it.
    pub process: Handle,
    /// Its [`News::life`].
    pub life: u32,
    /// Where its window of [`super::lent::PAGES`] is.
    pub address: u64,
}

impl News {
    /// From the words of the page, by `load`.
    pub fn read(mut load: impl FnMut(usize) -> u64) -> Self {
        let (changes, port) = (load(0), Handle(load(1) as u16));
        let borrower = Borrower { process: Handle(load(4) as u16), life: load(5) as u32, address: load(6) };
        let borrower = (!borrower.process.is_null()).then_some(borrower);
        Self { changes, port, incarnation: load(2) as u32, life: load(3) as u32, borrower }
    }

    /// Into the page; the count of changes last.
    pub fn write(self, page: &[AtomicU64]) {
        page[1].store(self.port.0.into(), Ordering::Relaxed);
        page[2].store(self.incarnation.into(), Ordering::Relaxed);
        page[3].store(self.life.into(), Ordering::Relaxed);
        let borrower = self.borrower.unwrap_or_default();
        page[4].store(borrower.process.0.into(), Ordering::Relaxed);
        page[5].store(borrower.life.into(), Ordering::Relaxed);
        page[6].store(borrower.address, Ordering::Relaxed);
        page[0].store(self.changes, Ordering::Release);
    }
}

/// How far the world is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(u64)]
pub enum Phase {
    /// The store has not been looked at yet.
    #[default]
    Opening = 0,
    /// The store is empty, the pager has begun a new world: init makes the genesis, calls `Resume`, and the snapshot
    /// server goes on when the kernel's clock names the epoch that runs.
    Empty = 1,
    /// Records are being given back.
    Restoring = 2,
    /// The world runs.
    Running = 3,
    /// The world cannot run, or cannot commit any more; [`EpochsPage::failure`] says why.
    Failed = 4,
}

impl Phase {
    const fn from_bits(bits: u64) -> Self {
        match bits {
            1 => Self::Empty,
            2 => Self::Restoring,
            3 => Self::Running,
            4 => Self::Failed,
            _ => Self::Opening,
        }
    }
}

/// Why there is no world, or no durable one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Failure {
    /// There is no disk, or its driver does not come up.
    NoDisk = 1,
    /// The disk holds something that is not a store of ours; it has not been touched.
    Foreign = 2,
    /// The world was made by a build with other layouts or capacities.
    Version = 3,
    /// No kept epoch can be read.
    Damaged = 4,
    /// The records of the epoch do not make a world.
    BadRecords = 5,
    /// The store is full.
    Full = 6,
    /// The disk fails.
    DiskDead = 7,
    /// The machine is too small for this world, or lacks vector components it uses.
    Machine = 8,
}

impl Failure {
    /// From its number.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Option<Self> {
        Some(match bits {
            1 => Self::NoDisk,
            2 => Self::Foreign,
            3 => Self::Version,
            4 => Self::Damaged,
            5 => Self::BadRecords,
            6 => Self::Full,
            7 => Self::DiskDead,
            8 => Self::Machine,
            _ => return None,
        })
    }
}

/// What the snapshot server tells everybody. Words: 0 sequence (odd while the page changes), 1 committed epoch, 2 phase,
/// 3 first epoch of this incarnation, 4 epoch that was restored (0: a new world), 5 failure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EpochsPage {
    /// The last epoch that is durable.
    pub committed: Epoch,
    /// How far the world is.
    pub phase: Phase,
    /// The first epoch of this incarnation.
    pub first: Epoch,
    /// The epoch from which the world came back.
    pub restored: Epoch,
    /// Why it failed.
    pub failure: Option<Failure>,
}

/// Reads of a page that changes all the while, at most; the writer changes it a few times a second.
const READS_MAX: u32 = 1000;

impl EpochsPage {
    /// From the words of the page, by `load` (acquiring). `None` when it never held still: its writer died in the middle.
    pub fn read(mut load: impl FnMut(usize) -> u64) -> Option<Self> {
        for _ in 0..READS_MAX {
            let before = load(0);
            let page = Self {
                committed: Epoch::from_bits(load(1)),
                phase: Phase::from_bits(load(2)),
                first: Epoch::from_bits(load(3)),
                restored: Epoch::from_bits(load(4)),
                failure: Failure::from_bits(load(5)),
            };
            if before.is_multiple_of(2) && load(0) == before {
                return Some(page);
            }
        }
        None
    }

    /// Into the page. One writer only.
    pub fn write(&self, page: &[AtomicU64]) {
        let before = page[0].load(Ordering::Relaxed) & !1;
        page[0].store(before + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        page[1].store(self.committed.bits(), Ordering::Relaxed);
        page[2].store(self.phase as u64, Ordering::Relaxed);
        page[3].store(self.first.bits(), Ordering::Relaxed);
        page[4].store(self.restored.bits(), Ordering::Relaxed);
        page[5].store(self.failure.map_or(0, |failure| failure as u64), Ordering::Relaxed);
        page[0].store(before + 2, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> Vec<AtomicU64> {
        (0..8).map(|_| AtomicU64::new(0)).collect()
    }

    #[test]
    fn pages_come_back() {
        let words = page();
        let load = |index: usize| words[index].load(Ordering::Acquire);
        assert_eq!(EpochsPage::read(load), Some(EpochsPage::default()));
        let said = EpochsPage {
            committed: Epoch::from_bits(7),
            phase: Phase::Failed,
            first: Epoch::from_bits(5),
            restored: Epoch::from_bits(4),
            failure: Some(Failure::Full),
        };
        said.write(&words);
        assert_eq!(EpochsPage::read(load), Some(said));
        words[0].store(3, Ordering::Relaxed);
        assert_eq!(EpochsPage::read(load), None);
        said.write(&words);
        assert_eq!(EpochsPage::read(load), Some(said), "a new writer mends what the last one left");
        let borrower = Some(Borrower { process: Handle(7), life: 5, address: 1 << 40 });
        let news = News { changes: 3, port: Handle(9), incarnation: 2, life: 4, borrower };
        news.write(&words);
        assert_eq!(News::read(load), news);
    }

    #[test]
    fn failures_come_back() {
        for bits in 1..=8 {
            assert_eq!(Failure::from_bits(bits).map(|failure| failure as u64), Some(bits));
        }
        assert_eq!(Failure::from_bits(0), None);
    }
}
