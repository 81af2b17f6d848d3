//! From the loader's first instruction to Rust: PVH entry and the way in of the other processors.
//!
//! `pvh_entry` (32-bit, paging off) ── `low_long` ──▶ `low_first` ──▶ [`first_rust`] ──▶ the start function of the binary
//! `ap_entry` (16-bit, copied to [`AP_PAGE`]) ── `low_long` ──▶ [`crate::processors::join`]
//!
//! What runs here is linked low, beside page tables made by the assembler: 4 GiB of identity, the same again as a
//! physmap, the last 2 GiB of addresses as the kernel. All of it is gone from the address space once
//! [`crate::paging`] has loaded the kernel's own tables; only joining processors still pass through it.
//! Reference: Xen PVH boot ABI (docs/misc/pvh.pandoc), Intel SDM vol. 3A section 9.8.5.

use crate::boot::Boot;
use crate::firmware::Firmware;
use crate::layout::{KERNEL_BASE, PHYSMAP};
use crate::shared::Shared;
use core::arch::global_asm;

/// Physical page on which the other processors start, in real mode; below 1 MiB nothing is ever given away.
pub(crate) const AP_PAGE: u64 = 0x8000;
/// Stack of the first processor until it has its own.
const BOOT_STACK_BYTES: usize = 32 << 10;

const _: () = assert!(KERNEL_BASE == 0xffff_ffff_8000_0000 && PHYSMAP == 0xffff_8000_0000_0000);

/// Only the first processor uses it, as its stack.
static BOOT_STACK: Shared<[u128; BOOT_STACK_BYTES / 16]> = Shared::new([0; BOOT_STACK_BYTES / 16]);

/// Top of the stack on which double faults, NMIs and machine checks are reported before each CPU has stacks of its own:
/// the lower part of the boot stack.
pub(crate) fn boot_emergency_stack() -> u64 {
    BOOT_STACK.get() as u64 + BOOT_STACK_BYTES as u64 / 4
}

/// How a processor goes on, in the kernel's own address space and on a stack there; for one processor at a time, which
/// takes its words in this order.
#[repr(C)]
pub(crate) struct Mailbox {
    pub(crate) root: u64,
    pub(crate) argument: u64,
    /// A function that takes `argument` and never returns.
    pub(crate) next: *const (),
    pub(crate) stack_top: u64,
}

/// Written by the first processor only while no other one is on its way in.
pub(crate) static MAILBOX: Shared<Mailbox> =
    Shared::new(Mailbox { root: 0, argument: 0, next: core::ptr::null(), stack_top: 0 });

unsafe extern "C" {
    static ap_entry: u8;
    static ap_entry_end: u8;
    /// Goes on as [`MAILBOX`] says.
    ///
    /// # Safety
    /// 1. What it says is so, and the image and the memory that `next` uses are mapped there as they are now. 2. Nothing on
    ///    this stack is needed but what `argument` points to.
    pub(crate) fn high_64() -> !;
}

/// Copies the code that processors start with to where they start.
///
/// # Safety
/// The boot tables are loaded, and nothing of ours lies on that page.
pub(crate) unsafe fn prepare_ap_page() {
    let (start, end) = (&raw const ap_entry, &raw const ap_entry_end);
    let (code, page) = ((PHYSMAP + start as u64) as *const u8, (PHYSMAP + AP_PAGE) as *mut u8);
    // SAFETY: 1. both mapped by the boot tables; 2. the code is shorter than a page (assembled so), and elsewhere.
    unsafe { core::ptr::copy_nonoverlapping(code, page, end as usize - start as usize) };
}

#[allow(improper_ctypes, reason = "both sides are Rust")]
unsafe extern "C" {
    /// Defined by [`crate::entry`] in the binary.
    safe fn perennial_start(boot: &mut Boot) -> !;
}

/// First Rust function, on the first processor's boot stack and the assembler's page tables.
extern "C" fn first_rust(start_info: u32) -> ! {
    crate::serial::initialise();
    crate::descriptors::load_boot();
    crate::halt::allow_exit(false);
    // SAFETY: 1. the address comes from the loader in ebx, as PVH says; 2. the boot tables map the first 4 GiB.
    let firmware = unsafe { Firmware::from_pvh(u64::from(start_info)) };
    Boot::survey(firmware).on_own_stack(perennial_start)
}

/// Names the function that the kernel's binary starts with, once the machine has been surveyed, and makes panics of ours readable.
#[macro_export]
macro_rules! entry {
    ($start:path) => {
        #[allow(unsafe_code)]
        #[unsafe(no_mangle)]
        extern "C" fn perennial_start(boot: &mut $crate::Boot) -> ! {
            $start(boot)
        }

        #[panic_handler]
        fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
            $crate::panicked(info)
        }
    };
}

global_asm!(
    r#"
    .section .note.pvh,"a",@note
    .balign 4
    .long 4, 4, 18              # a name and a word; XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .long pvh_entry

    .section .low.text,"ax",@progbits
    .code32
    .global pvh_entry
pvh_entry:
    cli
    cld
    lgdt low_gdtr
    movl %ebx, %esi
    movl $low_first, %edi

low_long:                       # from low_gdt to long mode with NX, WP and global pages, on at edi; changes eax, ecx, edx
    movl $low_pml4, %eax
    movl %eax, %cr3
    movl %cr4, %eax
    orl $0x6a0, %eax            # PAE, PGE, OSFXSR, OSXMMEXCPT
    movl %eax, %cr4
    movl $0xc0000080, %ecx      # EFER: NXE, LME, SCE
    rdmsr
    orl $0x901, %eax
    wrmsr
    movl %cr0, %eax
    andl $0x9fffffff, %eax      # caches on
    andl $~0xc, %eax            # EM, TS off
    orl $0x80010023, %eax       # PG, WP, NE, MP, PE
    movl %eax, %cr0
    ljmp $0x08, $low_64
    .code64
low_64:
    xorl %eax, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl %eax, %fs
    movl %eax, %gs
    movl %edi, %edi
    jmp *%rdi

low_first:
    movabsq ${boot_stack} + {boot_stack_bytes}, %rsp
    movl %esi, %edi
    xorl %ebp, %ebp
    movabsq ${first_rust}, %rax
    callq *%rax
    ud2

    .code16
    .global ap_entry, ap_entry_end
ap_entry:                       # runs at AP_PAGE, cs = AP_PAGE / 16
    cli
    cld
    xorw %ax, %ax
    movw %ax, %ds
    lgdtl {ap_page} + low_ap_gdtr - ap_entry
    movl %cr0, %eax
    orl $1, %eax
    movl %eax, %cr0
    ljmpl $0x18, $low_ap32
    .balign 8
low_ap_gdtr:
    .word 4 * 8 - 1
    .long low_gdt
ap_entry_end:
    .code32
low_ap32:
    movl $low_ap64, %edi
    jmp low_long
    .code64
low_ap64:
    movabsq $high_64, %rax      # the kernel's own tables do not know this page
    jmp *%rax

    .section .text.high_64,"ax",@progbits
    .global high_64
high_64:
    movabsq ${mailbox}, %rsp
    popq %rax
    movq %rax, %cr3
    popq %rdi
    popq %rax
    popq %rsp
    xorl %ebp, %ebp
    call *%rax
    ud2

    .section .low.data,"aw",@progbits
    .balign 4096
low_pml4:
    .quad low_pdpt + 3
    .fill 255, 8, 0
    .quad low_pdpt + 3          # 256: the physmap
    .fill 254, 8, 0
    .quad low_pdpt_kernel + 3   # 511
low_pdpt:
    .quad low_pd + 0x0003, low_pd + 0x1003, low_pd + 0x2003, low_pd + 0x3003
    .fill 508, 8, 0
low_pdpt_kernel:
    .fill 510, 8, 0
    .quad low_pd + 0x0003, low_pd + 0x1003
low_pd:
    .set page, 0
    .rept 2048
    .quad page * 0x200000 + 0x83
    .set page, page + 1
    .endr
low_gdt:
    .quad 0
    .quad 0x00af9a000000ffff    # 08: 64-bit code
    .quad 0x00cf92000000ffff    # 10: data
    .quad 0x00cf9a000000ffff    # 18: 32-bit code
low_gdtr:
    .word 4 * 8 - 1
    .quad low_gdt
    .section .text,"ax",@progbits
    .code64
    "#,
    boot_stack = sym BOOT_STACK,
    boot_stack_bytes = const BOOT_STACK_BYTES,
    first_rust = sym first_rust,
    ap_page = const AP_PAGE,
    mailbox = sym MAILBOX,
    options(att_syntax)
);
