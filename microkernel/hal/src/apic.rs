//! Local APICs: this CPU's timer, interrupts between CPUs, end of interrupt. And I/O APICs: interrupt lines.
//!
//! xAPIC alone, through its page of registers: 255 processors are more than the kernel has room for. A processor that comes
//! up in x2APIC mode is taken out of it.
//!
//! | vectors | what |
//! | --- | --- |
//! | 32 + n | line n (0 … 23) or message n (24 … `INTERRUPTS` − 1) |
//! | 0xf0, 0xf1 | timer, another CPU |
//! | 0xff | spurious |
//!
//! Reference: Intel SDM vol. 3A, chapter 11; Intel 82093AA datasheet.

use crate::acpi::{IoApicPlace, Topology};
use crate::layout::LOCAL_APIC;
use abi::boot_info::INTERRUPT_LINES;
use x86_64::registers::model_specific::{ApicBase, ApicBaseFlags};
use x86_64::structures::port::PortWrite;

/// Lines and messages that can be routed.
pub(crate) const INTERRUPTS: u32 = 192;
/// Vector of interrupt number 0.
pub(crate) const FIRST_VECTOR: u32 = 32;
/// One-shot timer of this CPU.
pub(crate) const TIMER: u8 = 0xf0;
/// Another CPU needs this one in the kernel: to look at its queues, or out of user mode.
pub(crate) const ENTER: u8 = 0xf1;
const SPURIOUS: u8 = 0xff;

const _: () = assert!(FIRST_VECTOR + INTERRUPTS <= TIMER as u32);

const ID: u32 = 0x20;
const TASK_PRIORITY: u32 = 0x80;
const END_OF_INTERRUPT: u32 = 0xb0;
const SPURIOUS_VECTOR: u32 = 0xf0;
const COMMAND: u32 = 0x300;
const COMMAND_HIGH: u32 = 0x310;
const TIMER_VECTOR: u32 = 0x320;
const OLD_CONTROLLERS_VECTOR: u32 = 0x350;
const LOCAL_MASKED: u32 = 1 << 16;
const TIMER_INITIAL: u32 = 0x380;
const TIMER_CURRENT: u32 = 0x390;
const TIMER_DIVIDE: u32 = 0x3e0;

/// The timer counts once every 16 ticks of its clock.
const DIVIDE_BY_16: u32 = 0b0011;
const COMMAND_PENDING: u32 = 1 << 12;
const COMMAND_POLLS_MAX: u32 = 1_000_000;
/// Command: interrupt it with the vector in the low byte.
const FIXED: u32 = 0x4000;
/// Command: interrupt it even if it has interrupts off.
pub(crate) const NON_MASKABLE: u32 = 0x4400;
/// Command: reset it, so that it waits for [`STARTUP`].
pub(crate) const INIT: u32 = 0x4500;
/// Command: start it at the page whose number is in the low byte, in real mode.
pub(crate) const STARTUP: u32 = 0x4600;

/// The local APIC of whichever CPU uses it, once its page of registers is mapped.
#[derive(Clone, Copy)]
pub(crate) struct LocalApic;

impl LocalApic {
    /// Physical address of the registers.
    pub(crate) fn physical() -> u64 {
        ApicBase::read().0.start_address().as_u64()
    }

    /// Switches this CPU's on: everything masked but the timer, which stands still.
    pub(crate) fn enable(self) {
        let (base, flags) = ApicBase::read();
        let off = flags - ApicBaseFlags::LAPIC_ENABLE - ApicBaseFlags::X2APIC_ENABLE;
        // SAFETY: exists; interrupts are off. The way from x2APIC to xAPIC leads through off, and only that.
        unsafe {
            if flags.contains(ApicBaseFlags::X2APIC_ENABLE) {
                ApicBase::write(base, off);
            }
            ApicBase::write(base, off | ApicBaseFlags::LAPIC_ENABLE);
        }
        self.write(TASK_PRIORITY, 0);
        self.write(TIMER_DIVIDE, DIVIDE_BY_16);
        self.write(TIMER_VECTOR, u32::from(TIMER));
        self.write(TIMER_INITIAL, 0);
        self.write(OLD_CONTROLLERS_VECTOR, LOCAL_MASKED);
        self.write(SPURIOUS_VECTOR, 1 << 8 | u32::from(SPURIOUS));
    }

    fn write(self, register: u32, value: u32) {
        // SAFETY: uncached and aligned; before it is mapped this faults.
        unsafe { ((LOCAL_APIC + u64::from(register)) as *mut u32).write_volatile(value) }
    }

    fn read(self, register: u32) -> u32 {
        // SAFETY: as `write`.
        unsafe { ((LOCAL_APIC + u64::from(register)) as *const u32).read_volatile() }
    }

    /// This CPU's id.
    pub(crate) fn id(self) -> u32 {
        self.read(ID) >> 24
    }

    /// The interrupt being handled is done with.
    pub(crate) fn end_of_interrupt(self) {
        self.write(END_OF_INTERRUPT, 0);
    }

    /// Starts the one-shot timer, or stops it with 0.
    pub(crate) fn start_timer(self, ticks: u32) {
        self.write(TIMER_INITIAL, ticks);
    }

    /// Ticks until the timer fires.
    pub(crate) fn timer_left(self) -> u32 {
        self.read(TIMER_CURRENT)
    }

    /// Tells the CPU with this id.
    pub(crate) fn command(self, id: u32, what: u32) {
        for _ in 0..COMMAND_POLLS_MAX {
            if self.read(COMMAND) & COMMAND_PENDING == 0 {
                break;
            }
            core::hint::spin_loop();
        }
        self.write(COMMAND_HIGH, id << 24);
        self.write(COMMAND, what);
    }

    /// Interrupts the CPU with this id.
    pub(crate) fn send(self, id: u32, vector: u8) {
        self.command(id, FIXED | u32::from(vector));
    }
}

/// Silences the two old interrupt controllers.
pub(crate) fn silence_old_controllers() {
    for port in [0x21, 0xa1] {
        // SAFETY: a mask register; no access to memory.
        unsafe { u8::write_to_port(port, 0xff) }
    }
}

const LEVEL: u64 = 1 << 15;
const ACTIVE_LOW: u64 = 1 << 13;
const MASKED: u64 = 1 << 16;

/// All I/O APICs, and how lines are wired to them.
pub(crate) struct IoApics {
    /// Each place is where it is mapped.
    topology: Topology,
    /// Id of the CPU that all interrupts go to.
    target: u32,
}

impl IoApics {
    /// Those of `topology`, each mapped where `map` says; all lines masked; interrupts go to the CPU with id `target`.
    pub(crate) fn new(mut topology: Topology, target: u32, mut map: impl FnMut(u64) -> u64) -> Self {
        for place in &mut topology.io_apics {
            place.address = map(place.address);
            (0..Self::entries(place)).for_each(|entry| Self::set(place, entry, MASKED));
        }
        Self { topology, target }
    }

    /// The window on this register, for one CPU at a time (kernel lock).
    fn window(place: &IoApicPlace, register: u32) -> *mut u32 {
        // SAFETY: mapped, uncached, aligned (`new`).
        unsafe { (place.address as *mut u32).write_volatile(register) };
        (place.address + 0x10) as *mut u32
    }

    fn entries(place: &IoApicPlace) -> u32 {
        // SAFETY: as `window`.
        (unsafe { Self::window(place, 1).read_volatile() } >> 16 & 0xff) + 1
    }

    fn set(place: &IoApicPlace, entry: u32, value: u64) {
        for (register, half) in [(0x11 + entry * 2, value >> 32), (0x10 + entry * 2, value)] {
            // SAFETY: as `window`.
            unsafe { Self::window(place, register).write_volatile(half as u32) }
        }
    }

    fn find(&self, number: u32) -> Option<(&IoApicPlace, u32)> {
        self.topology.io_apics.iter().find_map(|place| {
            let entry = number.checked_sub(place.first)?;
            (entry < Self::entries(place)).then_some((place, entry))
        })
    }

    /// Routes a line to this kernel, masked; for a message the address and data that a device must write.
    pub(crate) fn route(&self, interrupt: u32) -> (u64, u64) {
        if interrupt >= INTERRUPT_LINES {
            let address = 0xfee0_0000 | u64::from(self.target & 0xff) << 12;
            return (address, u64::from(FIRST_VECTOR + interrupt));
        }
        self.mask(interrupt, true);
        (0, 0)
    }

    /// Masks or unmasks a line that leads to this kernel; messages are not affected.
    pub(crate) fn mask(&self, interrupt: u32, masked: bool) {
        let wiring = self.topology.wiring(interrupt);
        if let Some((place, entry)) = self.find(wiring.number).filter(|_| interrupt < INTERRUPT_LINES) {
            let mut value = u64::from(FIRST_VECTOR + interrupt) | u64::from(self.target) << 56;
            value |= if wiring.level { LEVEL } else { 0 } | if wiring.active_low { ACTIVE_LOW } else { 0 };
            Self::set(place, entry, value | if masked { MASKED } else { 0 });
        }
    }
}
