//! The devices on the buses.

use abi::protocol::devices::{Device, MessageTable};

use crate::bar::{self, Bar, Hole};
use crate::capability::{self, MESSAGES};
use crate::config::{
    BRIDGE_BUSES, BUS_MASTER, CLASS, COMMAND, ConfigSpace, HEADER_TYPE, IDENTITY, Place, change_command, is_present,
};
use crate::tables::ConfigRegion;

/// Devices that are kept.
pub const DEVICES_MAX: usize = 32;

const CLASS_BRIDGES: u32 = 0x06;
const HEADER_DEVICE: u32 = 0;
const HEADER_BRIDGE: u32 = 1;

/// One function of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function {
    /// What init is told about it.
    pub device: Device,
    /// Where it is.
    pub place: Place,
    /// Its register windows.
    pub bars: [Bar; bar::COUNT],
    /// It has not reached memory since its last reset: it may be allowed to.
    pub clean: bool,
}

/// All devices, in the order of their places.
#[derive(Clone, Debug)]
pub struct Inventory {
    functions: [Option<Function>; DEVICES_MAX],
    count: usize,
    left_out: usize,
}

impl Inventory {
    /// Of a machine without devices.
    #[must_use]
    pub const fn empty() -> Self {
        Self { functions: [None; DEVICES_MAX], count: 0, left_out: 0 }
    }

    /// Looks through the buses of `region`. Takes bus mastering away from every device but bridges: none of them has a
    /// driver yet, and what firmware or a driver before left running must not write to memory.
    pub fn scan(config: &impl ConfigSpace, region: ConfigRegion) -> Self {
        let mut found = Self::empty();
        let mut buses = Buses::new(region);
        while let Some(bus) = buses.next() {
            for device in 0..32 {
                found.scan_device(config, &mut buses, bus, device);
            }
        }
        found
    }

    /// The devices.
    pub fn iter(&self) -> impl Iterator<Item = &Function> {
        self.functions.iter().flatten()
    }

    /// Device `index`.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&Function> {
        self.functions.get(index)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut Function> {
        self.functions.get_mut(index)?.as_mut()
    }

    /// Devices for which there was no room: for the log.
    #[must_use]
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// Finds a place in `hole` for each window that has none; how many have none still.
    pub fn place_windows(&mut self, config: &impl ConfigSpace, hole: Hole) -> usize {
        let mut left = 0;
        for at in 0..self.count {
            for index in 0..bar::COUNT {
                let Some(function) = self.functions[at] else { continue };
                let bar = function.bars[index];
                if bar.bytes == 0 || bar.base != 0 {
                    continue;
                }
                let bars = self.functions.iter().flatten().flat_map(|other| other.bars);
                let taken = bars.filter(|other| other.base != 0 && other.bytes != 0);
                let Some(base) = hole.place(bar.bytes, taken) else {
                    left += 1;
                    continue;
                };
                let bar = Bar { base, ..bar };
                bar::write_one(config, function.place, index, bar);
                if let Some(function) = &mut self.functions[at] {
                    function.bars[index] = bar;
                }
            }
        }
        left
    }

    fn scan_device(&mut self, config: &impl ConfigSpace, buses: &mut Buses, bus: u8, device: u8) {
        let several = |place| config.read(place, HEADER_TYPE) >> 23 & 1 == 1;
        let first = Place::new(bus, device, 0);
        if !is_present(config.read(first, IDENTITY)) {
            return;
        }
        let functions = if several(first) { 8 } else { 1 };
        for function in 0..functions {
            let place = Place::new(bus, device, function);
            if is_present(config.read(place, IDENTITY)) {
                self.scan_function(config, buses, place);
            }
        }
    }

    fn scan_function(&mut self, config: &impl ConfigSpace, buses: &mut Buses, place: Place) {
        let class = config.read(place, CLASS) >> 8;
        match config.read(place, HEADER_TYPE) >> 16 & 0x7f {
            HEADER_BRIDGE => buses.add((config.read(place, BRIDGE_BUSES) >> 8) as u8),
            HEADER_DEVICE if class >> 16 != CLASS_BRIDGES => {
                let clean = config.read(place, COMMAND) & BUS_MASTER == 0;
                change_command(config, place, BUS_MASTER, 0);
                self.keep(read_function(config, place, class, clean));
            }
            _ => {}
        }
    }

    fn keep(&mut self, function: Function) {
        match self.functions.get_mut(self.count) {
            Some(slot) => {
                *slot = Some(function);
                self.count += 1;
            }
            None => self.left_out += 1,
        }
    }
}

fn read_function(config: &impl ConfigSpace, place: Place, class: u32, clean: bool) -> Function {
    let identity = config.read(place, IDENTITY);
    let device = Device {
        place: place.number(),
        vendor: identity as u16,
        product: (identity >> 16) as u16,
        class,
        messages: read_messages(config, place),
    };
    let mut function = Function { device, place, bars: bar::read_all(config, place), clean };
    // A table outside its window would lead a driver elsewhere.
    function.device.messages = function.device.messages.filter(|table| table_fits(&function, *table));
    function
}

fn table_fits(function: &Function, table: MessageTable) -> bool {
    let end = u64::from(table.offset) + u64::from(table.vectors) * 16;
    function.bars.get(usize::from(table.bar)).is_some_and(|bar| end <= bar.bytes)
}

fn read_messages(config: &impl ConfigSpace, place: Place) -> Option<MessageTable> {
    let at = capability::find(config, place, MESSAGES)?;
    let vectors = (config.read(place, at) >> 16 & 0x7ff) as u16 + 1;
    let table = config.read(place, at + 4);
    let bar = (table & 7) as u8;
    (bar < bar::COUNT as u8).then_some(MessageTable { bar, offset: table & !7, vectors })
}

/// Buses still to be looked at, each once: a bridge that leads back to a bus leads nowhere.
struct Buses {
    region: ConfigRegion,
    waiting: [u64; 4],
    seen: [u64; 4],
}

impl Buses {
    fn new(region: ConfigRegion) -> Self {
        let mut buses = Self { region, waiting: [0; 4], seen: [0; 4] };
        buses.add(region.first_bus);
        buses
    }

    fn add(&mut self, bus: u8) {
        let (word, bit) = (usize::from(bus / 64), 1 << (bus % 64));
        let inside = (self.region.first_bus..=self.region.last_bus).contains(&bus);
        if inside && self.seen[word] & bit == 0 {
            self.waiting[word] |= bit;
        }
    }

    fn next(&mut self) -> Option<u8> {
        let word = self.waiting.iter().position(|waiting| *waiting != 0)?;
        let bit = self.waiting[word].trailing_zeros();
        self.waiting[word] &= !(1 << bit);
        self.seen[word] |= 1 << bit;
        Some((word as u32 * 64 + bit) as u8)
    }
}
