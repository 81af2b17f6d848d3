//! Failures on demand: `fault=NAME` on the command line makes the kernel do what it never should, so that tests can see
//! each one end in a readable report and not in silence.

use crate::descriptors::ABSENT;
use crate::kernel::local_apic;
use crate::layout::{Image, PHYSMAP};
use crate::serial::say;
use core::arch::asm;
use core::hint::black_box;

/// An address that nothing is mapped at and nothing ever will be.
const NOWHERE: u64 = 0xffff_a000_dead_b000;

/// What can be provoked, by name.
const FAULTS: [(&str, fn()); 20] = [
    ("divide", divide),
    ("debug", debug),
    ("nmi", nmi),
    ("breakpoint", breakpoint),
    ("invalid-opcode", invalid_opcode),
    ("stack-overflow", stack_overflow),
    ("not-present", not_present),
    ("stack-segment", stack_segment),
    ("gp", general_protection),
    ("page-null", page_null),
    ("page-unmapped", page_unmapped),
    ("page-wild-jump", page_wild_jump),
    ("page-null-jump", page_null_jump),
    ("page-write-text", page_write_text),
    ("page-write-rodata", page_write_rodata),
    ("page-execute-data", page_execute_data),
    ("page-text-alias", page_text_alias),
    ("page-identity", page_identity),
    ("machine-check", machine_check),
    ("panic", panic_on_demand),
];

/// Does what `name` says; with an unknown name it lists those there are.
pub(crate) fn provoke(name: &str) {
    match FAULTS.iter().find(|(known, _)| *known == name) {
        Some((_, act)) => {
            say!("kernel: provoking {name}");
            act();
            say!("kernel: PROVOKED FAULT {name} WENT UNNOTICED");
            crate::halt::halt(crate::halt::Halt::Panic);
        }
        None => {
            say!("kernel: no fault is called {name}; there are:");
            FAULTS.iter().for_each(|(known, _)| say!("  fault={known}"));
            crate::halt::halt(crate::halt::Halt::Refused);
        }
    }
}

/// Runs instructions that must not come back.
macro_rules! broken {
    ($($assembly:tt)*) => {
        // SAFETY: none is possible: this is what the test is about, and the machine stops in its report.
        unsafe { asm!($($assembly)*) }
    };
}

fn divide() {
    broken!("xor edx, edx", "xor ecx, ecx", "div ecx", out("eax") _, out("ecx") _, out("edx") _);
}

fn debug() {
    broken!("pushfq", "or qword ptr [rsp], 0x100", "popfq", "nop");
}

fn nmi() {
    local_apic().send_non_maskable(local_apic().id());
    for _ in 0..10_000_000 {
        core::hint::spin_loop();
    }
}

fn breakpoint() {
    broken!("int3");
}

fn invalid_opcode() {
    broken!("ud2");
}

fn stack_overflow() {
    #[inline(never)]
    fn deeper(depth: u64) -> u64 {
        let room = black_box([depth; 64]);
        if depth == u64::MAX { 0 } else { deeper(depth + 1) + black_box(room)[(depth % 64) as usize] }
    }
    black_box(deeper(black_box(0)));
}

fn not_present() {
    broken!("mov es, {:e}", in(reg) u32::from(ABSENT));
}

fn stack_segment() {
    broken!("mov rax, [rbp + rax]", inout("rax") 0x4000_0000_0000_0000u64 => _);
}

fn general_protection() {
    broken!("mov rax, [rax]", inout("rax") 0x4000_0000_0000_0000u64 => _);
}

fn read(address: u64) {
    broken!("mov {0}, [{0}]", inout(reg) address => _);
}

fn write(address: u64) {
    broken!("mov byte ptr [{}], 0x90", in(reg) address);
}

fn jump(address: u64) {
    broken!("call {}", in(reg) address, clobber_abi("C"));
}

fn page_null() {
    read(0x10);
}

fn page_unmapped() {
    write(NOWHERE);
}

fn page_wild_jump() {
    jump(NOWHERE);
}

fn page_null_jump() {
    jump(0);
}

fn page_write_text() {
    write(Image::linked().text);
}

fn page_write_rodata() {
    write(Image::linked().rodata);
}

fn page_execute_data() {
    jump(Image::linked().data);
}

fn page_text_alias() {
    write(PHYSMAP + Image::linked().physical().start);
}

fn page_identity() {
    read(Image::linked().physical().start);
}

fn machine_check() {
    // No machine check can be caused by software; its vector can. It arrives on the same stack in the same way.
    broken!("int 18");
}

fn panic_on_demand() {
    panic!("as the command line wished");
}
