//! Segments, task state and the interrupt table: what makes each exception arrive on a stack that works.
//!
//! Each CPU has its own GDT and TSS; the interrupt table is shared. Double faults, NMIs and machine checks switch to
//! a stack of their own (IST 1), everything else arrives on the CPU's main stack.
//! Reference: Intel SDM vol. 3A, chapters 3.4.5, 6.14 and 7.7.

use crate::layout::CPUS_MAX;
use crate::shared::Shared;
use crate::trap;
use x86_64::VirtAddr;
use x86_64::instructions::segmentation::{CS, SS, Segment};
use x86_64::instructions::tables::{lidt, load_tss};
use x86_64::structures::DescriptorTablePointer;
use x86_64::structures::gdt::{Descriptor, GlobalDescriptorTable, SegmentSelector};
use x86_64::structures::idt::ExceptionVector as Exception;
use x86_64::structures::tss::TaskStateSegment;

/// 64-bit code of the kernel.
pub(crate) const KERNEL_CODE: u16 = 0x08;
/// Data and stack of the kernel.
pub(crate) const KERNEL_DATA: u16 = 0x10;
/// Data and stack of programs, with the privilege level they run at.
pub(crate) const USER_DATA: u16 = 0x18 | 3;
/// 64-bit code of programs.
pub(crate) const USER_CODE: u16 = 0x20 | 3;
const TASK: u16 = 0x28;

// What `syscall` and `sysret` make of them.
const _: () = assert!(USER_CODE == (KERNEL_DATA | 3) + 16 && USER_DATA == (KERNEL_DATA | 3) + 8);

#[repr(C, align(64))]
struct PerCpu {
    segments: GlobalDescriptorTable,
    task: TaskStateSegment,
}

/// An entry of the interrupt table.
type Gate = [u64; 2];

/// An entry is written only by its CPU, while it starts.
static PER_CPU: Shared<[PerCpu; CPUS_MAX]> =
    Shared::new([const { PerCpu { segments: GlobalDescriptorTable::new(), task: TaskStateSegment::new() } }; CPUS_MAX]);
/// Written once, before any other processor runs.
static GATES: Shared<[Gate; 256]> = Shared::new([[0; 2]; 256]);

fn gate(vector: usize, address: u64) -> Gate {
    let own_stack = [Exception::NonMaskableInterrupt, Exception::Double, Exception::MachineCheck];
    let stack = u64::from(own_stack.iter().any(|&own| own as usize == vector));
    // Programs may call it with `int`.
    let level: u64 = if vector == Exception::Breakpoint as usize { 3 } else { 0 };
    let low = address & 0xffff | u64::from(KERNEL_CODE) << 16 | stack << 32 | (0x8e | level << 5) << 40;
    [low | (address >> 16 & 0xffff) << 48, address >> 32]
}

/// Loads tables that report exceptions while the first processor still runs on its boot stack.
pub(crate) fn load_boot() {
    for vector in 0..256 {
        // SAFETY: 1. in bounds; 2. the only processor that runs.
        unsafe { (*GATES.get())[vector] = gate(vector, trap::stub_address(vector)) };
    }
    // SAFETY: the only processor that runs.
    unsafe { set_page_fault(trap::page_fault_0) };
    let stack = crate::start::boot_emergency_stack();
    load(0, stack, stack);
}

/// Page faults go this way of the edge's.
///
/// # Safety
/// No other processor runs; that of the only CPU: and none ever will.
pub(crate) unsafe fn set_page_fault(way: unsafe extern "C" fn()) {
    let vector = Exception::Page as usize;
    // SAFETY: 1. in bounds; 2. the only processor that runs (caller).
    unsafe { (*GATES.get())[vector] = gate(vector, way as *const () as u64) };
}

/// Loads the tables of `cpu`, which is the one that runs, with these stacks (which are mapped).
pub(crate) fn load(cpu: usize, main: u64, emergency: u64) {
    // SAFETY: 1. a CPU's own entry; 2. `cpu` < CPUS_MAX, else this panics.
    let tables = unsafe { &mut (*PER_CPU.get())[cpu] };
    // No program has any I/O port: their map lies beyond the segment.
    tables.task = TaskStateSegment::new();
    tables.task.privilege_stack_table[0] = VirtAddr::new(main);
    tables.task.interrupt_stack_table[0] = VirtAddr::new(emergency);
    tables.segments = GlobalDescriptorTable::new();
    tables.segments.append(Descriptor::kernel_code_segment());
    tables.segments.append(Descriptor::kernel_data_segment());
    tables.segments.append(Descriptor::user_data_segment());
    tables.segments.append(Descriptor::user_code_segment());
    // SAFETY: it lives for ever.
    tables.segments.append(unsafe { Descriptor::tss_segment_unchecked(&raw const tables.task) });
    let gates =
        DescriptorTablePointer { limit: size_of::<[Gate; 256]>() as u16 - 1, base: VirtAddr::from_ptr(GATES.get()) };
    // The data segments are null since the first instructions in long mode.
    // SAFETY: 1. both tables live for ever; 2. the code segment has the kernel's selector in the new table as in the old
    // one; 3. the task state is there, not busy, with stacks that are mapped (caller).
    unsafe {
        tables.segments.load_unsafe();
        CS::set_reg(SegmentSelector(KERNEL_CODE));
        SS::set_reg(SegmentSelector(KERNEL_DATA));
        load_tss(SegmentSelector(TASK));
        lidt(&gates);
    }
}
