//! Events written so that a person can read them.

use crate::event::{Event, Op};
use abi::Timeout;
use abi::registers::unpack_caps;
use core::fmt;

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let control = self.frame.control();
        write!(f, "{:?}({}", self.call, control.handle().0)?;
        if self.frame.rdi != 0 {
            write!(f, ", {:#x}", self.frame.rdi)?;
        }
        if self.frame.words != [0; 8] {
            write!(f, ", words {:x?}", self.frame.words)?;
        }
        if self.frame.caps != 0 {
            write!(f, ", caps {:?}", unpack_caps(self.frame.caps).map(|handle| handle.0))?;
        }
        if control.flags() != 0 {
            write!(f, ", flags {:#x}", control.flags())?;
        }
        match control.timeout() {
            Timeout::FOREVER => {}
            Timeout::POLL => write!(f, ", poll")?,
            other => write!(f, ", within {} ns", other.ns().unwrap_or_default())?,
        }
        write!(f, ")")
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(cpu, op) => write!(f, "cpu {cpu}: {op}"),
            Self::Again(cpu) => write!(f, "cpu {cpu}: the same call again"),
            Self::Fault(cpu) => write!(f, "cpu {cpu}: page fault"),
            Self::Write(cpu) => write!(f, "cpu {cpu}: write"),
            Self::Timer(cpu) => write!(f, "cpu {cpu}: timer"),
            Self::Reschedule(cpu) => write!(f, "cpu {cpu}: reschedule"),
            Self::Interrupt(cpu, line) => write!(f, "cpu {cpu}: interrupt {line}"),
            Self::Crash => write!(f, "crash and restore"),
        }
    }
}
