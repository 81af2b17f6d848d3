//! A kernel that fails on demand: it comes up as the real one does and then, as `fault=NAME` on the command line says,
//! does what a kernel never should, so that tests can see each failure end in a readable report and not in silence.
//!
//! It refuses, by a panic that lists them, names that it does not know; a failure that nobody notices is a panic too.
//! Neighbours: `kernel-hal`, whose reports it is about; tests/qemu, which boots it.
#![no_std]
#![no_main]

use core::arch::asm;
use core::hint::black_box;
use kernel_hal::Boot;

kernel_hal::entry!(go_on);

fn go_on(boot: &mut Boot) -> ! {
    boot.open_bundle();
    let clock = boot.start_clock();
    boot.start_processors(&clock);
    boot.make_kernel(clock);
    provoke(boot.firmware.option("fault").unwrap_or_default())
}

/// All RAM, at its physical address; where it is mapped in the image's place.
const PHYSMAP: u64 = 0xffff_8000_0000_0000;
/// Physical address 0 of the kernel's image.
const KERNEL_BASE: u64 = 0xffff_ffff_8000_0000;
/// An address that nothing is mapped at and nothing ever will be.
const NOWHERE: u64 = 0xffff_a000_dead_b000;

unsafe extern "C" {
    static __image_start: u8;
    static __text_start: u8;
    static __text_end: u8;
    static __rodata_end: u8;
}

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
    ("page-null", || read(0x10)),
    ("page-unmapped", || write(NOWHERE)),
    ("page-wild-jump", || jump(NOWHERE)),
    ("page-null-jump", || jump(0)),
    ("page-write-text", || write(&raw const __text_start as u64)),
    ("page-write-rodata", || write(&raw const __text_end as u64)),
    ("page-execute-data", || jump(&raw const __rodata_end as u64)),
    ("page-text-alias", || write(PHYSMAP + &raw const __text_start as u64 - KERNEL_BASE)),
    ("page-identity", || read(&raw const __image_start as u64)),
    ("machine-check", machine_check),
    ("panic", || panic!("as the command line wished")),
];

/// Does what `name` says.
#[inline(never)]
fn provoke(name: &str) -> ! {
    match FAULTS.iter().find(|(known, _)| *known == name) {
        Some((_, act)) => act(),
        None => panic!("no fault is called {name:?}; there are: {:?}", FAULTS.map(|(known, _)| known)),
    }
    panic!("PROVOKED FAULT {name} WENT UNNOTICED")
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
    // Its vector, on the same stack in the same way.
    broken!("int 2");
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
    // A table of segments of its own, with one more that is not there: data, selector 0x38.
    let mut segments = [0_u64; 8];
    let mut pointer = [0_u16; 5];
    broken!("sgdt [{}]", in(reg) pointer.as_mut_ptr());
    let base = (1..5).rev().fold(0, |base, part| base << 16 | u64::from(pointer[part]));
    for (at, segment) in segments.iter_mut().enumerate().take(7) {
        // SAFETY: the processor's own table, which has at least seven entries and is mapped.
        *segment = unsafe { (base as *const u64).add(at).read() };
    }
    segments[7] = 0x00cf_1200_0000_ffff;
    let base = segments.as_ptr() as u64;
    pointer =
        [size_of_val(&segments) as u16 - 1, base as u16, (base >> 16) as u16, (base >> 32) as u16, (base >> 48) as u16];
    broken!("lgdt [{}]", "mov es, {:e}", in(reg) pointer.as_ptr(), in(reg) 0x38);
}

fn stack_segment() {
    broken!("mov rax, [rbp + rax]", inout("rax") 0x4000_0000_0000_0000_u64 => _);
}

fn general_protection() {
    read(0x4000_0000_0000_0000);
}

fn machine_check() {
    // No machine check can be caused by software; its vector can. It arrives on the same stack in the same way.
    broken!("int 18");
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
