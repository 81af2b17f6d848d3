//! The last words of a kernel that cannot go on: what happened, with which registers, called from where.
//!
//! Both ways here, a panic of ours and an exception in the kernel, fill [`PanicRecord`] first, which a debugger or a
//! host tool finds by its symbol or its magic number, then print it. A second failure while reporting stops at once.

use crate::halt::{Halt, claim_end, end, halt};
use crate::layout::{DEVICES, PHYSMAP, cpu_of_stack, text};
use crate::serial::say;
use crate::shared::Shared;
use crate::symbols;
use crate::trap::KernelTrap;
use abi::fault::exception_name;
use core::fmt::Write;
use core::mem::MaybeUninit;
use core::panic::PanicInfo;
use x86_64::VirtAddr;
use x86_64::registers::control::{Cr2, Cr3};
use x86_64::structures::idt::ExceptionVector as Exception;
use x86_64::structures::paging::{OffsetPageTable, Translate};

/// Frames of a backtrace at most.
const FRAMES_MAX: usize = 24;
/// Bytes of a message at most.
const MESSAGE_MAX: usize = 256;
/// "PerPanic".
pub const PANIC_MAGIC: u64 = u64::from_le_bytes(*b"PerPanic");

/// What is known of a failure; layout version 1, little-endian, at the symbol `PERENNIAL_PANIC_RECORD`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct PanicRecord {
    /// [`PANIC_MAGIC`] once the record is filled, 0 before.
    pub magic: u64,
    /// 1.
    pub version: u32,
    /// CPU that failed.
    pub cpu: u32,
    /// Vector of the exception; `u64::MAX` for a panic.
    pub vector: u64,
    /// Error code of the exception.
    pub error: u64,
    /// CR2: the address of the last page fault.
    pub fault_address: u64,
    /// rip, rsp, rflags; then rax rbx rcx rdx rsi rdi rbp r8 … r15. Zeros for a panic.
    pub registers: [u64; 18],
    /// Return addresses, innermost first; zero after the last.
    pub frames: [u64; FRAMES_MAX],
    /// Bytes used of `message`.
    pub message_bytes: u64,
    /// The message of a panic, UTF-8.
    pub message: [u8; MESSAGE_MAX],
}

/// Written by one processor only: the one that ends the run.
#[unsafe(no_mangle)]
static PERENNIAL_PANIC_RECORD: Shared<MaybeUninit<PanicRecord>> = Shared::new(MaybeUninit::zeroed());

impl Write for PanicRecord {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let free = self.message.iter_mut().skip(self.message_bytes as usize);
        for (place, byte) in free.zip(text.bytes()) {
            *place = byte;
            self.message_bytes += 1;
        }
        Ok(())
    }
}

/// The record, for the first processor that fails; any later one stops here, and those that the first one stops.
fn claim(cpu: usize) -> &'static mut PanicRecord {
    claim_end();
    // SAFETY: 1. static memory, and zeros are a record; 2. only one processor gets here, once.
    let record = unsafe { (*PERENNIAL_PANIC_RECORD.get()).assume_init_mut() };
    (record.version, record.cpu, record.vector) = (1, cpu as u32, u64::MAX);
    record.fault_address = Cr2::read_raw();
    record
}

fn frame_pointer() -> u64 {
    let rbp;
    // SAFETY: reads a register.
    unsafe { core::arch::asm!("mov {}, rbp", out(reg) rbp, options(nomem, nostack, preserves_flags)) }
    rbp
}

/// Whether the word at `address` is mapped, in the kernel's half, and no register of a device.
fn is_readable(address: u64) -> bool {
    let root = PHYSMAP + Cr3::read().0.start_address().as_u64();
    // SAFETY: 1. the physmap has all page tables of the kernel's half; 2. nothing changes these any more.
    let tables = unsafe { OffsetPageTable::new(&mut *(root as *mut _), VirtAddr::new(PHYSMAP)) };
    address.is_multiple_of(8)
        && (PHYSMAP..DEVICES).contains(&address)
        && VirtAddr::try_new(address).is_ok_and(|address| tables.translate_addr(address).is_some())
}

/// Follows the chain of frame pointers; stops at the first that is not mapped, does not ascend, or returns to no
/// text.
fn walk(mut frame: u64, frames: &mut [u64]) {
    for place in frames {
        if !is_readable(frame) || !is_readable(frame + 8) {
            return;
        }
        // SAFETY: both words are mapped (`is_readable`) and aligned.
        let [next, back] = unsafe { *(frame as *const [u64; 2]) };
        if !text().contains(&back) {
            return;
        }
        // A return address points behind its call, which may be the last instruction of a function.
        *place = back - 1;
        if next <= frame {
            return;
        }
        frame = next;
    }
}

/// After a call to nowhere: the call itself, whose return address is still on top of the stack.
fn caller(rsp: u64) -> Option<u64> {
    // SAFETY: mapped and aligned (`is_readable`).
    let back = is_readable(rsp).then(|| unsafe { *(rsp as *const u64) })?;
    text().contains(&back).then_some(back - 1)
}

fn print_frames(frames: &[u64; FRAMES_MAX]) {
    let symbols = symbols::kernel();
    for (depth, &address) in frames.iter().take_while(|&&address| address != 0).enumerate() {
        match symbols.and_then(|symbols| symbols.find(address)) {
            Some((symbol, offset)) => say!("  #{depth} {address:#018x} {} +{offset:#x}", symbol.name),
            None => say!("  #{depth} {address:#018x}"),
        }
    }
}

const REGISTER_NAMES: [&str; 18] = [
    "rip", "rsp", "rfl", "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "r8 ", "r9 ", "r10", "r11", "r12", "r13",
    "r14", "r15",
];

/// Says in words what a page fault tried.
fn explain_page_fault(address: u64, error: u64) {
    let access = match (error & 2 != 0, error & 16 != 0) {
        (_, true) => "execute",
        (true, _) => "write",
        _ => "read",
    };
    let reason = if error & 1 != 0 { "which its rights forbid" } else { "where nothing is mapped" };
    let place = if address < 0x1000 {
        ", a null pointer"
    } else if cpu_of_stack(address).is_some() {
        ", a guard page or stack: the kernel's stack has overflowed"
    } else if text().contains(&address) {
        ", the kernel's text"
    } else {
        ""
    };
    say!("  tried to {access} {address:#018x}, {reason}{place}");
}

/// An exception of the kernel itself, or one that no program may cause: reports it and stops.
pub(crate) extern "C" fn fatal(trap: &KernelTrap) -> ! {
    // It lies on the stack on which the exception arrived.
    let cpu = cpu_of_stack((&raw const *trap).addr() as u64).unwrap_or(0);
    let record = claim(cpu);
    record.vector = trap.vector;
    record.error = trap.error;
    let frame = &trap.interrupted;
    let (rip, rsp) = (frame.instruction_pointer.as_u64(), frame.stack_pointer.as_u64());
    record.registers[..3].copy_from_slice(&[rip, rsp, frame.cpu_flags.bits()]);
    record.registers[3..].copy_from_slice(&trap.general);
    let lost = !text().contains(&rip);
    let first = if lost { caller(rsp) } else { Some(rip) };
    record.frames[0] = first.unwrap_or_default();
    walk(trap.general[6], &mut record.frames[usize::from(first.is_some())..]);
    record.magic = PANIC_MAGIC;

    let name = exception_name(trap.vector).unwrap_or("exception");
    say!();
    say!("kernel: EXCEPTION {} ({name}), error code {:#x}, on CPU {cpu}", trap.vector, trap.error);
    let overflown = trap.vector == Exception::Double as u64 && cpu_of_stack(record.fault_address).is_some();
    if overflown || trap.vector == Exception::Page as u64 {
        // The code of a double fault says nothing.
        explain_page_fault(record.fault_address, if overflown { 2 } else { trap.error });
    }
    for (index, chunk) in record.registers.chunks(3).enumerate() {
        let names = &REGISTER_NAMES[index * 3..];
        say!("  {} {:#018x}  {} {:#018x}  {} {:#018x}", names[0], chunk[0], names[1], chunk[1], names[2], chunk[2]);
    }
    if lost {
        say!("  (rip is not in the kernel's text)");
    }
    print_frames(&record.frames);
    say!("kernel: stopped");
    end(Halt::Exception)
}

/// A panic of ours: reports it and stops.
pub fn panicked(info: &PanicInfo<'_>) -> ! {
    let cpu = cpu_of_stack(frame_pointer()).unwrap_or(0);
    let record = claim(cpu);
    walk(frame_pointer(), &mut record.frames);
    // Cut off when too long; writing never fails.
    let _ = write!(record, "{}", info.message());
    record.magic = PANIC_MAGIC;
    say!();
    match info.location() {
        Some(place) => say!("kernel: PANIC on CPU {cpu} at {}:{}: {}", place.file(), place.line(), info.message()),
        None => say!("kernel: PANIC on CPU {cpu}: {}", info.message()),
    }
    print_frames(&record.frames);
    say!("kernel: stopped");
    end(Halt::Panic)
}

/// Says in one sentence why this machine, or what was loaded, cannot be used, and stops.
pub(crate) fn refuse(sentence: core::fmt::Arguments<'_>) -> ! {
    say!("kernel: cannot start: {sentence}");
    halt(Halt::Refused)
}
