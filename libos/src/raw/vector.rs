//! The registers that a compiler uses without asking, filled and looked at by hand: for programs that try out whether they
//! are a thread's own.

use super::syscall::refuse_views;
use super::word::check;
use abi::PAGE_SIZE;
use core::arch::asm;
use core::mem::offset_of;

/// All vector registers, the x87 stack as integers, and the control words of both units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(32))]
pub struct Vectors {
    /// ymm0 to ymm15.
    pub ymm: [[u64; 4]; 16],
    /// The x87 stack, the first pushed first.
    pub x87: [i64; 8],
    /// MXCSR. Exceptions stay masked whatever it says.
    pub mxcsr: u32,
    /// The x87 control word. Exceptions stay masked whatever it says.
    pub control: u16,
}

const MXCSR_DEFAULT: u32 = 0x1f80;
/// Bits of MXCSR that exist; those that mask exceptions.
const MXCSR_ALL: u32 = 0xffff;
/// Bits of the control word that exist: precision and rounding; those that mask exceptions, and one that is always set.
const CONTROL_ALL: u16 = 0x0f7f;
const CONTROL_MASKS: u16 = 0x007f;

/// What a thread does while it holds [`Vectors`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meanwhile<'a> {
    /// Makes a call with these registers (rax, rdi, words 0 … 7, capabilities).
    Call([u64; 11]),
    /// Counts from so many down to 0.
    Spin(u64),
    /// Loads the word at an address in a window.
    Load(u64),
    /// Stores a word at an address in a window.
    Store(u64, u64),
    /// Loses all registers but these: as a kernel would that gave it another thread's.
    Lose(&'a Vectors),
}

/// Fills all registers from [rcx], and keeps r11 on the stack.
macro_rules! fill {
    () => {
        concat!("push r11\n", fill_again!(),)
    };
}

/// Fills all registers from [rcx].
macro_rules! fill_again {
    () => {
        "
        .set at, 0
        .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
        vmovdqu ymm\\n, [rcx + {ymm} + at]
        .set at, at + 32
        .endr
        ldmxcsr [rcx + {mxcsr}]
        fninit
        fldcw [rcx + {control}]
        .set at, 0
        .rept 8
        fild qword ptr [rcx + {x87} + at]
        .set at, at + 8
        .endr
        "
    };
}

/// Puts all registers where r11 pointed at first, and leaves them as compiled code wants them.
macro_rules! look {
    () => {
        "
        pop rcx
        .set at, 0
        .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
        vmovdqu [rcx + {ymm} + at], ymm\\n
        .set at, at + 32
        .endr
        stmxcsr [rcx + {mxcsr}]
        fnstcw [rcx + {control}]
        .set at, 56
        .rept 8
        fistp qword ptr [rcx + {x87} + at]
        .set at, at - 8
        .endr
        fninit
        push {mxcsr_default}
        ldmxcsr [rsp]
        pop rcx
        vzeroupper
        "
    };
}

/// The block of assembly with `$action` in the middle, and its operands.
macro_rules! hold {
    ($held:expr, $found:expr, $action:expr, $($operands:tt)*) => {
        asm!(
            fill!(),
            $action,
            look!(),
            ymm = const offset_of!(Vectors, ymm),
            x87 = const offset_of!(Vectors, x87),
            mxcsr = const offset_of!(Vectors, mxcsr),
            control = const offset_of!(Vectors, control),
            mxcsr_default = const MXCSR_DEFAULT,
            inlateout("rcx") $held => _,
            inlateout("r11") $found => _,
            clobber_abi("sysv64"),
            $($operands)*
        )
    };
}

/// Fills all registers as `held` says, does what is to be done meanwhile, and tells what was in them then; and the registers
/// after a call. Blocks as what is done does; a restore in the middle of it does not end it.
///
/// # Panics
/// If an address is in no window, or a call maps where views may lie.
pub fn hold_vectors(held: &Vectors, meanwhile: Meanwhile<'_>) -> (Vectors, [u64; 11]) {
    let mut held = *held;
    held.mxcsr = held.mxcsr & MXCSR_ALL | MXCSR_DEFAULT;
    held.control = held.control & CONTROL_ALL | CONTROL_MASKS;
    let (mut found, from) = (Vectors::default(), &raw const held);
    let mut after = [0; 11];
    let to = &raw mut found;
    // SAFETY, of all five: (1) `from` and `to` are whole `Vectors`, mapped, and nobody else's; an access to them faults at
    // most as any other does; (2) everything that is changed is named, and MXCSR, the x87 unit and the upper halves are
    // left as the calling convention wants them, exceptions masked all the while; (3) the stack is used within its red
    // zone's rules, and is as it was. What each does besides is said beside it.
    match meanwhile {
        Meanwhile::Call(registers) => {
            refuse_views(&registers);
            let [mut rax, mut tag, mut w0, mut w1, mut w2, mut w3, mut w4, mut w5, mut w6, mut w7, mut caps] =
                registers;
            // SAFETY: (4) as `syscall`; its rcx and r11 are not needed after it.
            unsafe {
                hold!(from, to, "syscall",
                    inlateout("rax") rax, inlateout("rdi") tag, inlateout("rsi") w0, inlateout("rdx") w1,
                    inlateout("r8") w2, inlateout("r9") w3, inlateout("r10") w4, inlateout("r12") w5,
                    inlateout("r13") w6, inlateout("r14") w7, inlateout("r15") caps,);
            }
            after = [rax, tag, w0, w1, w2, w3, w4, w5, w6, w7, caps];
        }
        Meanwhile::Spin(rounds) => {
            // SAFETY: (4) touches nothing else.
            unsafe { hold!(from, to, "2: dec rax\njnz 2b", inlateout("rax") rounds.max(1) => _,) }
        }
        Meanwhile::Load(address) => {
            check(address);
            // SAFETY: (4) as `load_word`.
            unsafe { hold!(from, to, "mov rax, [rax]", inlateout("rax") address => after[0],) }
        }
        Meanwhile::Store(address, word) => {
            check(address);
            // SAFETY: (4) as `store_word`.
            unsafe { hold!(from, to, "mov [rax], rdx", inlateout("rax") address => _, inlateout("rdx") word => _,) }
        }
        Meanwhile::Lose(other) => {
            let mut other = *other;
            other.mxcsr = other.mxcsr & MXCSR_ALL | MXCSR_DEFAULT;
            other.control = other.control & CONTROL_ALL | CONTROL_MASKS;
            // SAFETY: (4) reads another whole `Vectors`.
            unsafe {
                hold!(from, to, concat!("mov rcx, rax\n", fill_again!()), inlateout("rax") &raw const other => _,);
            }
        }
    }
    (found, after)
}

const _: () = assert!(size_of::<Vectors>() < PAGE_SIZE);
