//! The devices on the buses.

use core::sync::atomic::{AtomicU64, Ordering};

use abi::protocol::devices::{Device, MessageTable, NOTES_WORDS};

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

    /// Looks through the buses of `region`.
    ///
    /// The first platform driver of a boot takes bus mastering away from every device but bridges: none of them has a driver
    /// yet, and what firmware left running must not write to memory. It leaves `notes` for the next one
    /// ([`Answerer::notes`](abi::protocol::devices::Answerer::notes)), which touches no device that it finds in them:
    /// they may be at work.
    pub fn scan(config: &impl ConfigSpace, region: ConfigRegion, notes: &[AtomicU64]) -> Self {
        let mut found = Self::empty();
        let mut buses = Buses::new(region);
        let notes = Notes(notes);
        while let Some(bus) = buses.next() {
            for device in 0..32 {
                found.scan_device(config, &mut buses, &notes, Place::new(bus, device, 0));
            }
        }
        for (index, function) in found.iter().enumerate() {
            notes.write(index, function);
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

    fn scan_device(&mut self, config: &impl ConfigSpace, buses: &mut Buses, notes: &Notes<'_>, first: Place) {
        let several = |place| config.read(place, HEADER_TYPE) >> 23 & 1 == 1;
        if !is_present(config.read(first, IDENTITY)) {
            return;
        }
        let functions = if several(first) { 8 } else { 1 };
        for function in 0..functions {
            let place = first.function(function);
            if is_present(config.read(place, IDENTITY)) {
                self.scan_function(config, buses, notes, place);
            }
        }
    }

    fn scan_function(&mut self, config: &impl ConfigSpace, buses: &mut Buses, notes: &Notes<'_>, place: Place) {
        let class = config.read(place, CLASS) >> 8;
        match config.read(place, HEADER_TYPE) >> 16 & 0x7f {
            HEADER_BRIDGE => buses.add((config.read(place, BRIDGE_BUSES) >> 8) as u8),
            HEADER_DEVICE if class >> 16 != CLASS_BRIDGES => {
                let (bars, clean) = match notes.read(place) {
                    // Whether it has been reset since it last worked is not noted: it will be before it works again.
                    Some(powers) => (bar::read_known(config, place, powers), false),
                    None => {
                        let clean = config.read(place, COMMAND) & BUS_MASTER == 0;
                        change_command(config, place, BUS_MASTER, 0);
                        (bar::read_all(config, place), clean)
                    }
                };
                self.keep(describe(config, place, class, bars, clean));
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

fn describe(config: &impl ConfigSpace, place: Place, class: u32, bars: [Bar; bar::COUNT], clean: bool) -> Function {
    let identity = config.read(place, IDENTITY);
    let device = Device {
        place: place.number(),
        vendor: identity as u16,
        product: (identity >> 16) as u16,
        class,
        messages: read_messages(config, place),
    };
    let mut function = Function { device, place, bars, clean };
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

/// A word for each device: its place (16 bits) and, for each window, the power of two that is its size (8 bits each). A
/// device without windows is noted by its place and a mark in the first power that no window has.
struct Notes<'n>(&'n [AtomicU64]);

const _: () = assert!(DEVICES_MAX <= NOTES_WORDS && bar::COUNT == 6);

/// No window is that large: says that there are none.
const NO_WINDOWS: u8 = 0xff;

impl Notes<'_> {
    /// The sizes of the device at `place`, if it is noted.
    fn read(&self, place: Place) -> Option<[u8; bar::COUNT]> {
        let mut words = self.0.iter().map(|word| word.load(Ordering::Relaxed).to_le_bytes());
        let [_, _, powers @ ..] = words.find(|note| *note != [0; 8] && note[..2] == place.number().to_le_bytes())?;
        Some(powers)
    }

    fn write(&self, index: usize, function: &Function) {
        let mut note = [0; 8];
        note[..2].copy_from_slice(&function.place.number().to_le_bytes());
        for (power, bar) in note[2..].iter_mut().zip(function.bars) {
            *power = bar.bytes.checked_ilog2().unwrap_or(0) as u8;
        }
        if note[2..] == [0; 6] {
            note[2] = NO_WINDOWS;
        }
        if let Some(word) = self.0.get(index) {
            word.store(u64::from_le_bytes(note), Ordering::Relaxed);
        }
    }
}
