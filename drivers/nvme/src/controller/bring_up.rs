//! From any state to ready (§7.6.1): disable, enable, ask.

use mmio::{DmaMemory, Registers};

use super::{Controller, Death, Found, Phase, RESETS_IN_ROW_MAX, Step};
use crate::command::{Command, Subject};
use crate::identify::{ControllerFacts, NamespaceFacts, first_active_namespace};
use crate::memory::{
    ADMIN_COMPLETIONS, ADMIN_ENTRIES, ADMIN_SUBMISSIONS, IDENTIFY, IO_COMPLETIONS, IO_ENTRIES_MAX, IO_SUBMISSIONS,
};
use crate::queue::QueuePair;
use crate::registers::{ACQ, AQA, ASQ, CC, CC_ENABLED, CSTS, Capabilities, Condition, INTMS, Missing, is_ready};
use crate::status::Status;

/// Number of the only pair of I/O queues.
const IO_QUEUE: u16 = 1;

impl<R: Registers, D: DmaMemory> Controller<R, D> {
    pub(super) fn fresh_io(memory: &D, capabilities: &Capabilities) -> QueuePair {
        let entries = capabilities.entries_max.min(IO_ENTRIES_MAX);
        QueuePair::new(memory, IO_QUEUE, entries, IO_SUBMISSIONS, IO_COMPLETIONS)
    }

    pub(super) fn step_disabling(&mut self, now_ns: u64, until_ns: u64) -> bool {
        let csts = self.registers.read_u32(CSTS);
        if csts == u32::MAX {
            return self.die(Death::Removed);
        }
        if is_ready(csts) {
            return if now_ns >= until_ns { self.die(Death::NeverStops) } else { false };
        }
        self.ground();
        if self.resets_in_row > RESETS_IN_ROW_MAX {
            return self.die(Death::KeepsFailing);
        }
        self.enable(now_ns);
        true
    }

    fn enable(&mut self, now_ns: u64) {
        self.found = Found { namespace_number: self.settings.namespace.unwrap_or(1), ..Found::default() };
        self.admin = QueuePair::new(&self.memory, 0, ADMIN_ENTRIES, ADMIN_SUBMISSIONS, ADMIN_COMPLETIONS);
        self.io = Self::fresh_io(&self.memory, &self.capabilities);
        if self.settings.vector.is_none() {
            // Pin-based interrupts would come otherwise. Not to be written once MSI-X is on (§3.1.3).
            self.registers.write_u32(INTMS, u32::MAX);
        }
        self.registers.write_u32(AQA, (ADMIN_ENTRIES - 1) << 16 | (ADMIN_ENTRIES - 1));
        self.registers.write_u64(ASQ, self.memory.device_address(ADMIN_SUBMISSIONS));
        self.registers.write_u64(ACQ, self.memory.device_address(ADMIN_COMPLETIONS));
        self.registers.write_u32(CC, CC_ENABLED);
        self.phase = Phase::Enabling { until_ns: now_ns.saturating_add(self.capabilities.ready_ns_max) };
    }

    pub(super) fn step_enabling(&mut self, now_ns: u64, until_ns: u64) -> bool {
        match self.condition() {
            Condition::Removed => self.die(Death::Removed),
            Condition::Fatal => self.restart(now_ns),
            Condition::Ready => {
                self.ask(now_ns, Step::Controller);
                true
            }
            Condition::NotReady if now_ns >= until_ns => self.die(Death::NeverReady),
            Condition::NotReady => false,
        }
    }

    /// Sends the command of `step`.
    fn ask(&mut self, now_ns: u64, step: Step) {
        let page = self.memory.device_address(IDENTIFY);
        let entries = self.io.entries();
        let command = match step {
            Step::Controller => Command::identify(Subject::Controller, page),
            Step::Namespaces => Command::identify(Subject::ActiveNamespaces, page),
            Step::Namespace => Command::identify(Subject::Namespace(self.found.namespace_number), page),
            Step::WriteCache => Command::set_write_cache(self.settings.write_cache.unwrap_or(true)),
            Step::QueueCount => Command::set_queue_count(),
            Step::CompletionQueue => {
                let page = self.memory.device_address(IO_COMPLETIONS);
                Command::create_completion_queue(IO_QUEUE, entries, page, self.settings.vector)
            }
            Step::SubmissionQueue => {
                let page = self.memory.device_address(IO_SUBMISSIONS);
                Command::create_submission_queue(IO_QUEUE, entries, page)
            }
        };
        // The device must fill what is read next: nothing of an earlier answer may be left.
        self.memory.clear(IDENTIFY, mmio::FRAME_BYTES);
        self.admin_identifier = self.admin_identifier.wrapping_add(1);
        self.admin.push(&self.memory, &command.named(self.admin_identifier));
        self.admin.announce(&self.registers, &self.capabilities);
        self.phase = Phase::Asking { step, until_ns: now_ns.saturating_add(self.settings.command_ns_max) };
    }

    pub(super) fn step_asking(&mut self, now_ns: u64, step: Step, until_ns: u64) -> bool {
        let Some(answer) = self.admin.pop(&self.memory) else {
            return match self.condition() {
                Condition::Removed => self.die(Death::Removed),
                Condition::Fatal | Condition::NotReady => self.restart(now_ns),
                Condition::Ready if now_ns >= until_ns => self.restart(now_ns),
                Condition::Ready => false,
            };
        };
        if (answer.queue, answer.identifier) != (self.admin.number(), self.admin_identifier) {
            return self.restart(now_ns);
        }
        match self.answered(step, answer.status) {
            Ok(Some(next)) => self.ask(now_ns, next),
            Ok(None) => {
                self.admin.announce(&self.registers, &self.capabilities);
                self.look_at_ns = now_ns.saturating_add(self.settings.look_ns_max);
                self.phase = Phase::Ready;
            }
            Err(death) => return self.die(death),
        }
        true
    }

    /// Takes in what `step` was answered; the step after it, `None` when that was the last.
    fn answered(&mut self, step: Step, status: Status) -> Result<Option<Step>, Death> {
        // A controller may not know the list of namespaces, nor let its cache be turned off.
        let optional = matches!(step, Step::Namespaces | Step::WriteCache);
        if !status.is_success() && !optional {
            return Err(Death::Refused(step, status));
        }
        Ok(Some(match step {
            Step::Controller => {
                self.found.controller = Some(ControllerFacts::read(&self.memory).map_err(Death::Missing)?);
                if self.settings.namespace.is_some() { Step::Namespace } else { Step::Namespaces }
            }
            Step::Namespaces => {
                if status.is_success() {
                    let first = first_active_namespace(&self.memory);
                    self.found.namespace_number = first.ok_or(Death::Missing(Missing::Namespace))?;
                }
                Step::Namespace
            }
            Step::Namespace => {
                self.found.namespace = Some(NamespaceFacts::read(&self.memory).map_err(Death::Missing)?);
                let cached = self.found.controller.is_some_and(|controller| controller.write_cache);
                if cached && self.settings.write_cache.is_some() { Step::WriteCache } else { Step::QueueCount }
            }
            Step::WriteCache => {
                self.found.cache_is_off = status.is_success() && self.settings.write_cache == Some(false);
                Step::QueueCount
            }
            Step::QueueCount => Step::CompletionQueue,
            Step::CompletionQueue => Step::SubmissionQueue,
            Step::SubmissionQueue => return Ok(None),
        }))
    }
}
