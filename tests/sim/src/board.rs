//! Kernel and hardware together, and the world's instructions on them. One generator of randomness decides everything.

use crate::chronicle::Chronicle;
use crate::machine::Machine;
use crate::shared::Shared;
use crate::text::{Instruction, Op};
use abi::fault::Access;
use kernel_core::{Capacities, Kernel};
use records::HostArena;
use std::collections::BTreeMap;
use storesim::Random;

/// Volatile programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Init = 0,
    Pager = 1,
    Snapshot = 2,
    Driver = 3,
    Console = 4,
}

/// How many there are.
pub(crate) const ROLES: usize = 5;

/// The simulated computer, and what the volatile programs share on it.
pub(crate) struct Board {
    pub(crate) kernel: Kernel,
    pub(crate) machine: Machine,
    pub(crate) random: Random,
    pub(crate) chronicle: Chronicle,
    pub(crate) shared: Shared,
    /// Threads of volatile programs.
    pub(crate) roles: BTreeMap<u32, Role>,
}

impl Board {
    pub(crate) fn new(capacities: &Capacities, random: Random, chronicle: Chronicle) -> Self {
        Self {
            kernel: Kernel::new(&mut HostArena, capacities),
            machine: Machine::new(capacities.cpus as usize),
            random,
            chronicle,
            shared: Shared::default(),
            roles: BTreeMap::new(),
        }
    }

    /// The volatile program that a CPU runs.
    pub(crate) fn role_on(&self, cpu: usize) -> Option<Role> {
        self.roles.get(&self.kernel.current(cpu)?).copied()
    }

    /// While a program of `cpu` is between two instructions, threads of the world get some in on other CPUs.
    pub(crate) fn others_run(&mut self, cpu: usize) {
        for other in (0..self.kernel.cpus.count()).filter(|&other| other != cpu) {
            while self.random.chance(30) && !self.kernel.is_idle(other) && self.role_on(other).is_none() {
                self.execute(other);
            }
        }
    }

    /// One instruction of the world's thread that runs on `cpu`, or its fault.
    pub(crate) fn execute(&mut self, cpu: usize) {
        let Some(thread) = self.kernel.current(cpu) else { return };
        let process = self.chronicle.cast.process_of(thread);
        let rip = self.kernel.cpus[cpu].frame.rip.next_multiple_of(8);
        let Some(word) = self.load(cpu, process, rip, Access::EXECUTE) else { return };
        let Some(instruction) = Instruction::from_word(word) else {
            panic!("thread {thread}: {word:#x} at {rip:#x} is no instruction");
        };
        self.chronicle.figures.instructions += 1;
        self.kernel.cpus[cpu].frame.rip = rip;
        self.perform(cpu, process, instruction);
    }

    fn perform(&mut self, cpu: usize, process: u32, instruction: Instruction) {
        let Instruction { op, a, b, c, number } = instruction;
        let registers = &mut self.kernel.cpus[cpu].frame;
        let (left, right) = (*b.of(registers), *c.of(registers));
        let target = left.wrapping_add_signed(i64::from(number));
        let next = registers.rip + 8;
        let mut go_to = next;
        match op {
            Op::Number => *a.of(registers) = i64::from(number) as u64,
            Op::Move => *a.of(registers) = left,
            Op::Add => *a.of(registers) = left.wrapping_add(right),
            Op::Subtract => *a.of(registers) = left.wrapping_sub(right),
            Op::AddNumber => *a.of(registers) = target,
            Op::Xor => *a.of(registers) = left ^ right,
            Op::And => *a.of(registers) = left & i64::from(number) as u64,
            Op::Left => *a.of(registers) = left << number,
            Op::Right => *a.of(registers) = left >> number,
            Op::Load => match self.load(cpu, process, target, Access::empty()) {
                Some(word) => *a.of(&mut self.kernel.cpus[cpu].frame) = word,
                None => return,
            },
            Op::Store => {
                let value = *a.of(registers);
                if !self.store(cpu, process, target, value) {
                    return;
                }
            }
            Op::Jump => go_to = number as u64,
            Op::IfEqual if *a.of(registers) == left => go_to = number as u64,
            Op::IfNot if *a.of(registers) != left => go_to = number as u64,
            Op::IfEqual | Op::IfNot => {}
            Op::Call => {
                // As the instruction does: these two are lost.
                registers.rip += 2;
                registers.rcx = registers.rip;
                registers.r11 = registers.rflags;
                self.kernel.syscall(&mut self.machine, cpu);
                return;
            }
            Op::Tell => {
                let words = [*a.of(registers), left, right];
                self.chronicle.told(process, number, words);
            }
        }
        self.kernel.cpus[cpu].frame.rip = go_to;
    }

    fn load(&mut self, cpu: usize, process: u32, address: u64, kind: Access) -> Option<u64> {
        match self.machine.access(cpu, address, false) {
            Ok(frame) => {
                let (word, expected) = (self.machine.read(frame, address), self.chronicle.model.read(process, address));
                assert_eq!(Some(word), expected, "process {process} reads {address:#x} (frame {frame})");
                Some(word)
            }
            Err(access) => {
                self.kernel.page_fault(&mut self.machine, cpu, (address, access | kind, 4));
                None
            }
        }
    }

    fn store(&mut self, cpu: usize, process: u32, address: u64, value: u64) -> bool {
        match self.machine.access(cpu, address, true) {
            Ok(frame) => {
                self.machine.write(frame, address, value);
                self.chronicle.model.write(process, address, value);
                true
            }
            Err(access) => {
                self.kernel.page_fault(&mut self.machine, cpu, (address, access, 6));
                false
            }
        }
    }
}
