//! A bus in memory: functions with the registers that the library uses, behaving as the specifications say.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::{ConfigSpace, Place};

pub(super) const NVME: u32 = 0x01_0802;
pub(super) const BRIDGE: u32 = 0x06_0400;

/// Where the fake keeps its capabilities.
pub(super) const EXPRESS_AT: u16 = 0x80;
pub(super) const MESSAGES_AT: u16 = 0x40;
pub(super) const ADVANCED_AT: u16 = 0xb0;

#[derive(Clone, Debug)]
pub(super) struct FakeFunction {
    registers: BTreeMap<u16, u32>,
    /// Which bits of which register can be written; others keep their value.
    writable: BTreeMap<u16, u32>,
    /// Reads during which it does not answer, after a reset.
    pub(super) reset_reads: u32,
    pub(super) absent_reads: u32,
    /// Transactions stay pending for so many looks.
    pub(super) pending_looks: u32,
    pub(super) resets: u32,
    /// Bus mastering cannot be turned off.
    pub(super) defiant: bool,
    pub(super) removed: bool,
    /// Every write: register and value.
    pub(super) log: Vec<(u16, u32)>,
}

impl FakeFunction {
    pub(super) fn new(class: u32) -> Self {
        let mut function = Self {
            registers: BTreeMap::new(),
            writable: BTreeMap::new(),
            reset_reads: 0,
            absent_reads: 0,
            pending_looks: 0,
            resets: 0,
            defiant: false,
            removed: false,
            log: Vec::new(),
        };
        function.registers.insert(0, 0x0010_1b36);
        function.registers.insert(8, class << 8 | 2);
        function.writable.insert(4, 0x0547);
        function
    }

    pub(super) fn set(mut self, register: u16, value: u32) -> Self {
        self.registers.insert(register, value);
        self
    }

    /// A window of 2^`power` bytes at register `index`; `wide` takes two.
    pub(super) fn bar(mut self, index: u16, base: u64, power: u32, wide: bool) -> Self {
        let mask = !((1u64 << power) - 1);
        let at = 0x10 + index * 4;
        self.registers.insert(at, base as u32 | if wide { 4 } else { 0 });
        self.writable.insert(at, mask as u32 & !0xf);
        if wide {
            self.registers.insert(at + 4, (base >> 32) as u32);
            self.writable.insert(at + 4, (mask >> 32) as u32);
        }
        self
    }

    /// A list of capabilities: these, in this order.
    pub(super) fn capabilities(mut self, list: &[(u16, u8)]) -> Self {
        self.registers.insert(4, self.register(4) | 1 << 20);
        self.registers.insert(0x34, list.first().map_or(0, |first| u32::from(first.0)));
        for (i, (at, kind)) in list.iter().enumerate() {
            let next = list.get(i + 1).map_or(0, |next| u32::from(next.0));
            let upper = self.register(*at) & 0xffff_0000;
            self.registers.insert(*at, upper | next << 8 | u32::from(*kind));
        }
        self
    }

    /// MSI-X with `vectors` at `offset` of window `bar`.
    pub(super) fn messages(mut self, bar: u32, offset: u32, vectors: u32) -> Self {
        self.registers.insert(MESSAGES_AT, (vectors - 1) << 16);
        self.registers.insert(MESSAGES_AT + 4, offset | bar);
        self.writable.insert(MESSAGES_AT, 0xc000_0000);
        self
    }

    /// PCI Express with a function reset.
    pub(super) fn resettable(mut self) -> Self {
        self.registers.insert(EXPRESS_AT + 4, 1 << 28);
        self.writable.insert(EXPRESS_AT + 8, 0x7fff);
        self
    }

    pub(super) fn register(&self, at: u16) -> u32 {
        self.registers.get(&at).copied().unwrap_or(0)
    }

    fn read(&mut self, at: u16) -> u32 {
        if self.removed {
            return u32::MAX;
        }
        if self.absent_reads > 0 {
            self.absent_reads -= 1;
            // "Retry", as a root complex that makes it visible says.
            return if at == 0 { 0xffff_0001 } else { u32::MAX };
        }
        let value = self.register(at);
        if self.pending_looks > 0 && at == EXPRESS_AT + 8 {
            self.pending_looks -= 1;
            return value | 1 << 21;
        }
        if self.pending_looks > 0 && at == ADVANCED_AT + 4 {
            self.pending_looks -= 1;
            return value | 1 << 8;
        }
        value
    }

    fn write(&mut self, at: u16, value: u32) {
        assert!(self.absent_reads == 0 || self.removed, "written to while it is being reset");
        self.log.push((at, value));
        let express = at == EXPRESS_AT + 8 && value >> 15 & 1 == 1 && self.register(EXPRESS_AT + 4) >> 28 & 1 == 1;
        let advanced = at == ADVANCED_AT + 4 && value & 1 == 1 && self.register(ADVANCED_AT) >> 25 & 1 == 1;
        if express || advanced {
            return self.reset();
        }
        let mut writable = self.writable.get(&at).copied().unwrap_or(0);
        if self.defiant && at == 4 {
            writable &= !4;
        }
        let value = self.register(at) & !writable | value & writable;
        self.registers.insert(at, value);
    }

    fn reset(&mut self) {
        self.resets += 1;
        self.absent_reads = self.reset_reads;
        for (at, writable) in &self.writable {
            if let Some(value) = self.registers.get_mut(at) {
                *value &= !writable;
            }
        }
    }
}

/// Functions by place.
#[derive(Debug, Default)]
pub(super) struct FakeBus(pub(super) RefCell<BTreeMap<Place, FakeFunction>>);

impl FakeBus {
    pub(super) fn with(self, place: Place, function: FakeFunction) -> Self {
        self.0.borrow_mut().insert(place, function);
        self
    }

    pub(super) fn register(&self, place: Place, at: u16) -> u32 {
        self.0.borrow()[&place].register(at)
    }

    pub(super) fn change(&self, place: Place, change: impl FnOnce(&mut FakeFunction)) {
        change(self.0.borrow_mut().get_mut(&place).expect("it is there"));
    }
}

impl ConfigSpace for FakeBus {
    fn read(&self, place: Place, offset: u16) -> u32 {
        assert!(offset.is_multiple_of(4) && offset < 4096);
        self.0.borrow_mut().get_mut(&place).map_or(u32::MAX, |function| function.read(offset))
    }
    fn write(&self, place: Place, offset: u16, value: u32) {
        assert!(offset.is_multiple_of(4) && offset < 4096);
        if let Some(function) = self.0.borrow_mut().get_mut(&place) {
            function.write(offset, value);
        }
    }
}

/// What QEMU's NVMe controller looks like.
pub(super) fn nvme(base: u64) -> FakeFunction {
    FakeFunction::new(NVME)
        .bar(0, base, 14, true)
        .messages(0, 0x2000, 65)
        .resettable()
        .capabilities(&[(MESSAGES_AT, 0x11), (EXPRESS_AT, 0x10)])
}
