//! The instructions of the simulated CPU, and how programs are written in them. Programs are words in pages of the
//! world, so a restore has to bring back the code as well as the data; all their state is registers and memory.
//!
//! An instruction is 8 bytes: operation, registers a, b, c (a byte each), and a signed 32-bit number. A system call
//! leaves the instruction pointer 2 bytes into it, as on the real machine; the next fetch rounds up.

use abi::{Control, Registers};

/// Operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Op {
    /// a = number.
    Number = 1,
    /// a = b.
    Move = 2,
    /// a = b + c.
    Add = 3,
    /// a = b − c.
    Subtract = 4,
    /// a = b + number.
    AddNumber = 5,
    /// a = b ^ c.
    Xor = 6,
    /// a = b & number.
    And = 7,
    /// a = b << number.
    Left = 8,
    /// a = b >> number.
    Right = 9,
    /// a = the word at b + number.
    Load = 10,
    /// The word at b + number = a.
    Store = 11,
    /// Go to number.
    Jump = 12,
    /// Go to number if a = b.
    IfEqual = 13,
    /// Go to number if a ≠ b.
    IfNot = 14,
    /// System call.
    Call = 15,
    /// Tell the test something (number), with a, b and c: it costs nothing and changes nothing.
    Tell = 16,
}

const OPS: [Op; 16] = [
    Op::Number,
    Op::Move,
    Op::Add,
    Op::Subtract,
    Op::AddNumber,
    Op::Xor,
    Op::And,
    Op::Left,
    Op::Right,
    Op::Load,
    Op::Store,
    Op::Jump,
    Op::IfEqual,
    Op::IfNot,
    Op::Call,
    Op::Tell,
];

/// Registers by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reg(u8);

pub(crate) const RAX: Reg = Reg(0);
/// Tag or first argument.
pub(crate) const TAG: Reg = Reg(1);
/// Words 0 … 7.
pub(crate) const W: [Reg; 8] = [Reg(2), Reg(3), Reg(4), Reg(5), Reg(6), Reg(7), Reg(8), Reg(9)];
pub(crate) const CAPS: Reg = Reg(10);
/// Kept across calls.
pub(crate) const RBX: Reg = Reg(11);
/// Kept across calls.
pub(crate) const RBP: Reg = Reg(12);
/// Kept across calls.
pub(crate) const RSP: Reg = Reg(13);
/// Lost across calls.
pub(crate) const RCX: Reg = Reg(14);
/// Lost across calls.
pub(crate) const R11: Reg = Reg(15);

impl Reg {
    pub(crate) fn of(self, registers: &mut Registers) -> &mut u64 {
        match self.0 {
            0 => &mut registers.rax,
            1 => &mut registers.rdi,
            word @ 2..=9 => &mut registers.words[usize::from(word) - 2],
            10 => &mut registers.caps,
            11 => &mut registers.rbx,
            12 => &mut registers.rbp,
            13 => &mut registers.rsp,
            14 => &mut registers.rcx,
            _ => &mut registers.r11,
        }
    }
}

/// An instruction, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Instruction {
    pub(crate) op: Op,
    pub(crate) a: Reg,
    pub(crate) b: Reg,
    pub(crate) c: Reg,
    pub(crate) number: i32,
}

impl Instruction {
    fn word(self) -> u64 {
        let Self { op, a, b, c, number } = self;
        u64::from(u32::from_le_bytes([op as u8, a.0, b.0, c.0])) | u64::from(number as u32) << 32
    }

    /// `None`: not an instruction.
    pub(crate) fn from_word(word: u64) -> Option<Self> {
        let [op, a, b, c] = (word as u32).to_le_bytes();
        let op = *OPS.get(usize::from(op).checked_sub(1)?)?;
        let valid = a < 16 && b < 16 && c < 16;
        valid.then_some(Self { op, a: Reg(a), b: Reg(b), c: Reg(c), number: (word >> 32) as i32 })
    }
}

/// A place in a text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Label(usize);

/// A program being written. Labels are byte addresses from `base`.
pub(crate) struct Text {
    base: u64,
    code: Vec<Instruction>,
    labels: Vec<Option<u64>>,
    jumps: Vec<(usize, usize)>,
}

impl Text {
    pub(crate) fn new(base: u64) -> Self {
        Self { base, code: Vec::new(), labels: Vec::new(), jumps: Vec::new() }
    }

    /// A label to be placed later.
    pub(crate) fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    /// A label that is here.
    pub(crate) fn here(&mut self) -> Label {
        let label = self.label();
        self.place(label);
        label
    }

    pub(crate) fn place(&mut self, label: Label) {
        self.labels[label.0] = Some(self.base + self.code.len() as u64 * 8);
    }

    pub(crate) fn op(&mut self, op: Op, a: Reg, b: Reg, c: Reg, number: i32) {
        self.code.push(Instruction { op, a, b, c, number });
    }

    pub(crate) fn number(&mut self, a: Reg, number: i32) {
        self.op(Op::Number, a, RAX, RAX, number);
    }

    pub(crate) fn copy(&mut self, a: Reg, b: Reg) {
        self.op(Op::Move, a, b, RAX, 0);
    }

    pub(crate) fn add(&mut self, a: Reg, b: Reg, c: Reg) {
        self.op(Op::Add, a, b, c, 0);
    }

    pub(crate) fn add_number(&mut self, a: Reg, b: Reg, number: i32) {
        self.op(Op::AddNumber, a, b, RAX, number);
    }

    pub(crate) fn load(&mut self, a: Reg, b: Reg, offset: i32) {
        self.op(Op::Load, a, b, RAX, offset);
    }

    pub(crate) fn store(&mut self, a: Reg, b: Reg, offset: i32) {
        self.op(Op::Store, a, b, RAX, offset);
    }

    fn branch(&mut self, op: Op, a: Reg, b: Reg, to: Label) {
        self.jumps.push((self.code.len(), to.0));
        self.op(op, a, b, RAX, 0);
    }

    pub(crate) fn jump(&mut self, to: Label) {
        self.branch(Op::Jump, RAX, RAX, to);
    }

    pub(crate) fn if_equal(&mut self, a: Reg, b: Reg, to: Label) {
        self.branch(Op::IfEqual, a, b, to);
    }

    pub(crate) fn if_not(&mut self, a: Reg, b: Reg, to: Label) {
        self.branch(Op::IfNot, a, b, to);
    }

    /// A call whose control word is known.
    pub(crate) fn call(&mut self, control: Control) {
        self.number(RAX, i32::try_from(control.0).expect("no time-outs here"));
        self.op(Op::Call, RAX, RAX, RAX, 0);
    }

    /// A call that waits no longer than its control word says.
    pub(crate) fn timed_call(&mut self, control: Control) {
        self.number(RAX, (control.0 >> 32) as i32);
        self.op(Op::Left, RAX, RAX, RAX, 32);
        self.number(RCX, control.0 as u32 as i32);
        self.add(RAX, RAX, RCX);
        self.op(Op::Call, RAX, RAX, RAX, 0);
    }

    /// A call through the handle in `handle`.
    pub(crate) fn call_through(&mut self, control: Control, handle: Reg) {
        self.op(Op::Left, RCX, handle, RAX, 16);
        self.number(RAX, i32::try_from(control.0).expect("no time-outs here"));
        self.add(RAX, RAX, RCX);
        self.op(Op::Call, RAX, RAX, RAX, 0);
    }

    /// The words of the program.
    pub(crate) fn finish(mut self) -> Vec<u64> {
        for (at, label) in self.jumps {
            let target = self.labels[label].expect("every label is placed");
            self.code[at].number = i32::try_from(target).expect("texts lie low");
        }
        self.code.into_iter().map(Instruction::word).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_come_back() {
        for op in OPS {
            let instruction = Instruction { op, a: W[7], b: R11, c: RBP, number: -5 };
            assert_eq!(Instruction::from_word(instruction.word()), Some(instruction));
        }
        assert_eq!(Instruction::from_word(0), None);
        assert_eq!(Instruction::from_word(17), None);
        assert_eq!(Instruction::from_word(1 | 16 << 8), None);
    }

    #[test]
    fn jumps_find_their_labels() {
        let mut text = Text::new(0x1000);
        let end = text.label();
        let top = text.here();
        text.jump(end);
        text.jump(top);
        text.place(end);
        let words = text.finish();
        let to = |word| Instruction::from_word(word).map(|instruction| instruction.number);
        assert_eq!((to(words[0]), to(words[1])), (Some(0x1010), Some(0x1000)));
    }
}
