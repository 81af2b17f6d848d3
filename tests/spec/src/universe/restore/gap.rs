//! Between a cut and the end of its export: whatever happens there, what is exported is the world at the cut, and the
//! world that goes on is the one that would have gone on without an export.
//!
//! Checked beside each state, not as states of their own: how much of an epoch has been exported would multiply them.
//! After a cut every event that can happen does, init exports a batch, every event happens again, and the rest is
//! exported. Beside it the same events happen on a copy that has nothing to export.

use super::{FRAME, call, export, export_batch, wake_init};
use crate::abstraction::abstraction;
use crate::event::{EPOCH_NOW, Event, Frame, Op};
use crate::genesis::{EPOCH, MEMORY};
use crate::refinement::agree;
use crate::sim::{Records, Sim, WRITE_ADDRESS};
use crate::sometimes::Sometimes;
use crate::universe::Universe;
use abi::{Call, FrameState, Kind, MapFlags, Rights, Status};
use kernel_core::State;

/// Pages of init's memory: what a program writes to, and what is donated for the copy of it.
const WRITTEN: u64 = 1;
const DONATED: u64 = 2;
/// Events between the cut and the end of the export, at most.
const EVENTS_MAX: usize = 2;

/// A machine that is exporting, the same machine with nothing to export, and what has been exported.
#[derive(Clone)]
struct Twins {
    exporting: Sim,
    calm: Sim,
    records: Records,
}

/// Checks everything that may happen between a cut in this state and the end of its export.
pub(super) fn check(universe: &Universe, before: &Sim, sometimes: &mut Sometimes) -> Result<(), String> {
    let mut sim = before.clone();
    wake_init(&mut sim);
    lend_a_page(&mut sim)?;
    call(&mut sim, Op::new(Call::Cut, EPOCH))?;
    let mut undisturbed = Records::clone(&sim.store);
    export(&mut sim.clone(), &mut undisturbed)?;
    let mut calm = sim.clone();
    calm.kernel.forget_ended();
    let twins = Twins { exporting: sim, calm, records: Records::clone(&before.store) };
    twins.go_on(universe, &undisturbed, EVENTS_MAX, sometimes)
}

/// Init, as the pager, maps a page for writing into the process of whoever runs next, and donates a frame for its copy.
fn lend_a_page(sim: &mut Sim) -> Result<(), String> {
    let model = abstraction(sim);
    let Some(next) = model.ready.values().next_back().and_then(|queue| queue.front()) else { return Ok(()) };
    let process = model.threads[next].process;
    if !model.is_world_process(process) {
        return Ok(());
    }
    let port = handle_of(sim, Kind::Endpoint, Rights::RECEIVE)?;
    let tracked = Op::new(Call::SetFrames, EPOCH).with(1 | (FrameState::Clean as u64) << 8, &[WRITTEN]);
    call(sim, tracked.objects(&[MEMORY]))?;
    let flags = (MapFlags::WRITE | MapFlags::NOW).bits();
    let map =
        Op::new(Call::Map, port).with(WRITE_ADDRESS, &[WRITTEN, 1, flags, EPOCH_NOW, model.processes[&process].name]);
    let map = map.objects(&[MEMORY]).at(&sim.kernel);
    call(sim, map)?;
    call(sim, Op::new(Call::Donate, EPOCH).with(1, &[DONATED]).objects(&[MEMORY])).map(|_| ())
}

/// Init's handle for an object.
fn handle_of(sim: &Sim, kind: Kind, rights: Rights) -> Result<u16, String> {
    let init = sim.kernel.world_bounds()[0];
    let fits = |held: &kernel_core::Held<'_>| {
        held.process == init && held.capability.kind() == Some(kind) && held.capability.rights().contains(rights)
    };
    let found = sim.kernel.each_capability().find(fits).map(|held| held.handle);
    found.ok_or_else(|| format!("init has no {kind:?}"))
}

impl Twins {
    fn go_on(
        self,
        universe: &Universe,
        undisturbed: &Records,
        events_left: usize,
        sometimes: &mut Sometimes,
    ) -> Result<(), String> {
        if events_left < EVENTS_MAX {
            self.clone().finish(undisturbed)?;
        }
        if events_left == 0 || self.exporting.kernel.pending().0 == 0 {
            return Ok(());
        }
        let mut asleep = self;
        let bell = Op::new(Call::Wait, handle_of(&asleep.exporting, Kind::Notification, Rights::WAIT)?);
        asleep.both(|sim| sim.call(0, bell.frame));
        for event in events(universe, &asleep.exporting) {
            let mut twins = asleep.clone();
            twins.happens(event, sometimes).map_err(|what| format!("between cut and export: {event}: {what}"))?;
            twins
                .go_on(universe, undisturbed, events_left - 1, sometimes)
                .map_err(|what| format!("between cut and export: {event}: {what}"))?;
        }
        Ok(())
    }

    fn both(&mut self, act: impl Fn(&mut Sim)) {
        act(&mut self.exporting);
        act(&mut self.calm);
    }

    /// An event, and a batch.
    fn happens(&mut self, event: Event, sometimes: &mut Sometimes) -> Result<(), String> {
        let revoking = matches!(event, Event::Call(_, op) if op.call == Call::Revoke);
        let (_, shadows) = self.exporting.kernel.pending();
        let copies = copies_of(&self.exporting);
        let (threads, processes, calls) = live(&self.exporting);
        self.both(|sim| sim.apply(event));
        self.exporting.kernel.check(&self.exporting.m).map_err(|violation| format!("{violation:?}"))?;
        let (pending, shadows_now) = self.exporting.kernel.pending();
        sometimes.when(shadows_now > shadows, "export: a shadow slot used");
        sometimes.when(revoking && self.exporting.is_again(0), "export in between a revoke");
        let (threads_now, processes_now, calls_now) = live(&self.exporting);
        sometimes.when(copies_of(&self.exporting) > copies, "export: a first write between");
        sometimes.when(threads_now < threads, "export: a thread died between");
        sometimes.when(processes_now < processes, "export: a process died between");
        sometimes.when(calls_now != calls, "export: a call made or answered between");
        self.both(wake_init);
        if pending > 0 {
            // The next epoch cannot end before this one has been exported, and is not harmed by an attempt.
            let mut early = self.exporting.clone();
            early.call(0, Op::new(Call::Cut, EPOCH).frame);
            let refused = Frame::of(&early.kernel.cpus[0].frame).outcome().status();
            if refused != Status::Busy {
                return Err(format!("a cut before all was exported: {refused:?}"));
            }
            sometimes.when(true, "export: the next cut refused");
        }
        export_batch(&mut self.exporting, &mut self.records)?;
        export_batch(&mut self.calm, &mut Records::new())?;
        Ok(())
    }

    /// Exports the rest: it was the world at the cut; and the world that goes on is the calm one.
    fn finish(mut self, undisturbed: &Records) -> Result<(), String> {
        export(&mut self.exporting, &mut self.records)?;
        export(&mut self.calm, &mut Records::new())?;
        if self.records != *undisturbed {
            let all: std::collections::BTreeSet<_> = self.records.keys().chain(undisturbed.keys()).collect();
            let other = all.into_iter().find(|key| self.records.get(key) != undisturbed.get(key));
            return Err(format!("what is exported is not the world at the cut: {other:?}"));
        }
        self.both(|sim| sim.m.bytes(FRAME).fill(0));
        let (exporting, calm) = (abstraction(&self.exporting), abstraction(&self.calm));
        agree(&calm, &exporting).map_err(|difference| format!("an export is felt: {difference}"))?;
        let same = self.exporting.digest() == self.calm.digest();
        if same { Ok(()) } else { Err("an export changes the future".to_owned()) }
    }
}

/// What can happen while init sleeps.
fn events(universe: &Universe, sim: &Sim) -> Vec<Event> {
    let mut events = universe.events(sim);
    events.retain(|event| *event != Event::Crash);
    if let Some(thread) = sim.kernel.current(0).filter(|_| !sim.is_again(0)) {
        events.extend(universe.between[thread as usize].iter().map(|&op| Event::Call(0, op)));
        events.push(Event::Write(0));
    }
    events
}

/// Threads, processes, and threads that wait for a reply.
fn live(sim: &Sim) -> (usize, usize, usize) {
    let waits = |(_, thread): &(u32, &kernel_core::Thread)| thread.state == State::AwaitReply;
    (
        sim.kernel.each_thread().count(),
        sim.kernel.each_process().count(),
        sim.kernel.each_thread().filter(waits).count(),
    )
}

/// First writes that left a copy.
fn copies_of(sim: &Sim) -> usize {
    sim.kernel.first_writes().1.iter().filter(|&&entry| entry >> 32 != 0).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::universe::named;

    /// What was undisturbed of the first state's export, and its twins.
    fn twins() -> (Twins, Records) {
        let universe = named("restore").expect("it is named");
        let mut sim = universe.start.clone();
        wake_init(&mut sim);
        call(&mut sim, Op::new(Call::Cut, EPOCH)).expect("a cut");
        let mut undisturbed = Records::new();
        export(&mut sim.clone(), &mut undisturbed).expect("an export");
        let mut calm = sim.clone();
        calm.kernel.forget_ended();
        (Twins { exporting: sim, calm, records: Records::new() }, undisturbed)
    }

    #[test]
    fn an_export_of_another_moment_is_found() {
        let (twins, mut undisturbed) = twins();
        assert_eq!(twins.clone().finish(&undisturbed), Ok(()));
        let record = undisturbed.values_mut().find(|bytes| !bytes.is_empty()).expect("there is one");
        record[0] ^= 1;
        assert!(twins.clone().finish(&undisturbed).is_err());
        undisturbed.pop_first();
        assert!(twins.finish(&undisturbed).is_err());
    }

    #[test]
    fn an_export_that_is_felt_is_found() {
        let (mut twins, undisturbed) = twins();
        let bell = handle_of(&twins.exporting, Kind::Notification, Rights::WAIT).expect("the bell");
        twins.both(|sim| sim.call(0, Op::new(Call::Wait, bell).frame));
        let felt = twins.exporting.kernel.current(0);
        // Only one of the two goes on.
        twins.exporting.apply(Event::Call(0, Op::new(Call::Yield, 0)));
        assert_ne!(twins.exporting.kernel.current(0), felt);
        twins.both(wake_init);
        assert!(twins.finish(&undisturbed).is_err_and(|what| what.contains("felt")));
    }
}
