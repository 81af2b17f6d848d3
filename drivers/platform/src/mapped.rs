//! Physical addresses that are not memory, mapped when they are asked for and never unmapped: a few tables and a bus or
//! two.

use core::cell::{Cell, RefCell};

use libos::abi::protocol::startup::WINDOWS_END;
use libos::abi::protocol::wiring::{NON_MEMORY, PROCESS};
use libos::abi::{Epoch, MapFlags, PAGE_SIZE};
use libos::mmio::{RegisterWindow, Registers};
use libos::{Capability, Mapping, Memory, Pages, Process, Startup, Window};
use platform::{ConfigRegion, ConfigSpace, PhysicalMemory, Place};

const PAGE: u64 = PAGE_SIZE as u64;
/// Pages of tables that are kept.
const TABLE_PAGES_MAX: usize = 64;
/// Buses whose registers are mapped.
const BUSES_MAX: usize = 16;
/// Pages of a bus's registers.
const BUS_PAGES: u64 = 256;

/// Where tables are mapped: far above the windows that init has made.
const TABLES_AT: u64 = 0x4000_0000_0000;
/// Where configuration registers are mapped.
const BUSES_AT: u64 = 0x4100_0000_0000;

const _: () = assert!(BUSES_AT + BUSES_MAX as u64 * BUS_PAGES * PAGE <= WINDOWS_END);

/// The right to map it.
#[derive(Clone, Copy)]
pub(crate) struct NonMemory {
    process: Process,
    memory: Memory,
    first_frame: u64,
}

impl NonMemory {
    pub(crate) fn of(startup: &Startup) -> Self {
        let memory = startup.memory(NON_MEMORY);
        let Ok(identity) = Capability(memory.0).identify() else { panic!("the capability cannot be identified") };
        Self { process: Process(startup.handle(PROCESS)), memory, first_frame: identity.offset }
    }

    /// Maps `pages` frames from `frame` on at `address`; `None` when some of them are memory.
    fn map(self, address: u64, frame: u64, pages: u64) -> Option<Window> {
        let first_page = frame.checked_sub(self.first_frame)?;
        let flags = MapFlags::DEVICE | MapFlags::WRITE;
        let at = Mapping { address, memory: self.memory, first_page, pages, flags, epoch: Epoch::NONE };
        self.process.map_window(at, false).ok()
    }
}

/// Firmware tables.
pub(crate) struct MappedFirmware {
    non_memory: NonMemory,
    /// What init has mapped: the area below 1 MiB where the root pointer may lie.
    low: Option<Window>,
    pages: RefCell<[Option<(u64, Pages)>; TABLE_PAGES_MAX]>,
    used: Cell<usize>,
}

impl MappedFirmware {
    pub(crate) fn new(non_memory: NonMemory, low: Option<Window>) -> Self {
        Self { non_memory, low, pages: RefCell::new([None; TABLE_PAGES_MAX]), used: Cell::new(0) }
    }

    fn low_page(&self, frame: u64) -> Option<Pages> {
        let low = self.low?;
        let offset = frame.checked_sub(low.first_frame())?.checked_mul(PAGE)?;
        low.part(usize::try_from(offset).ok()?, PAGE_SIZE).ok().map(|part| part.pages())
    }

    fn page(&self, frame: u64) -> Option<Pages> {
        if let Some(page) = self.low_page(frame) {
            return Some(page);
        }
        let mut pages = self.pages.borrow_mut();
        if let Some((_, page)) = pages.iter().flatten().find(|(held, _)| *held == frame) {
            return Some(*page);
        }
        let used = self.used.get();
        let slot = pages.get_mut(used)?;
        let page = self.non_memory.map(TABLES_AT + used as u64 * PAGE, frame, 1)?.pages();
        *slot = Some((frame, page));
        self.used.set(used + 1);
        Some(page)
    }
}

impl PhysicalMemory for MappedFirmware {
    fn read(&self, address: u64, to: &mut [u8]) -> bool {
        let mut at = address;
        let mut rest = to;
        while !rest.is_empty() {
            let offset = (at % PAGE) as usize;
            let count = rest.len().min(PAGE_SIZE - offset);
            let (now, later) = rest.split_at_mut(count);
            let Some(page) = self.page(at / PAGE) else { return false };
            page.read(offset, now);
            let Some(next) = at.checked_add(count as u64) else { return later.is_empty() };
            (at, rest) = (next, later);
        }
        true
    }
}

/// Configuration registers of a region.
pub(crate) struct MappedConfig {
    non_memory: NonMemory,
    region: ConfigRegion,
    buses: RefCell<[Option<(u8, RegisterWindow)>; BUSES_MAX]>,
}

impl MappedConfig {
    pub(crate) fn new(non_memory: NonMemory, region: ConfigRegion) -> Self {
        Self { non_memory, region, buses: RefCell::new([const { None }; BUSES_MAX]) }
    }

    fn with_bus<T>(&self, bus: u8, act: impl FnOnce(&RegisterWindow) -> T) -> Option<T> {
        let mut buses = self.buses.borrow_mut();
        if let Some((_, window)) = buses.iter().flatten().find(|(held, _)| *held == bus) {
            return Some(act(window));
        }
        if !(self.region.first_bus..=self.region.last_bus).contains(&bus) {
            return None;
        }
        let (index, slot) = buses.iter_mut().enumerate().find(|(_, slot)| slot.is_none())?;
        let frame = self.region.base / PAGE + u64::from(bus) * BUS_PAGES;
        let address = BUSES_AT + index as u64 * BUS_PAGES * PAGE;
        let window = self.non_memory.map(address, frame, BUS_PAGES)?.registers().ok()?;
        Some(act(&slot.insert((bus, window)).1))
    }
}

impl ConfigSpace for MappedConfig {
    fn read(&self, place: Place, offset: u16) -> u32 {
        let at = place.offset_in_bus() + usize::from(offset);
        self.with_bus(place.bus(), |window| window.read_u32(at)).unwrap_or(u32::MAX)
    }

    fn write(&self, place: Place, offset: u16, value: u32) {
        let at = place.offset_in_bus() + usize::from(offset);
        // Who reads all ones does not write; and a write to nobody goes nowhere on a bus too.
        let _ = self.with_bus(place.bus(), |window| window.write_u32(at, value));
    }
}
