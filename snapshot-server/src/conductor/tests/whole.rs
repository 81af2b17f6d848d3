//! Records that are sound one by one and contradict each other: found when the log is folded.

use kernel_core::{Process, State, Thread};

use super::unsound::{capability, endpoint};
use super::*;

/// A process with the sixteen slots from `slots` on.
pub(super) fn process(index: u32, slots: u32) -> (u16, u32, Vec<u8>) {
    let record = Process { slots, slot_count: 16, budget: 0, ..Process::FREE };
    (Table::Process as u16, index, record.as_bytes().to_vec())
}

fn thread(index: u32, change: impl Fn(&mut Thread)) -> (u16, u32, Vec<u8>) {
    let mut record = Thread { ticket: 1 << 63, process: 0, budget: 0, state: State::Ready, ..Thread::FREE };
    change(&mut record);
    (Table::Thread as u16, index, record.as_bytes().to_vec())
}

fn port(index: u32, service: u32) -> (u16, u32, Vec<u8>) {
    (Table::Endpoint as u16, index, Endpoint { budget: 0, life: 1, service, ..Endpoint::FREE }.as_bytes().to_vec())
}

/// A world of two processes, four threads, two ports; the first thread's call waits for the second's answer.
fn peopled() -> Vec<(u16, u32, Vec<u8>)> {
    let world = kernel_core::World { version: 1, components: 3, epoch: 1, ticket: 1, time_ns: 1, capacities: [64; 6] };
    vec![
        (Table::World as u16, 0, world.as_bytes().to_vec()),
        budget(),
        process(0, 0),
        process(1, 16),
        port(1, 7),
        port(2, 8),
        endpoint(3),
        thread(0, |thread| (thread.state, thread.call_sequence) = (State::AwaitReply, 5)),
        thread(1, |thread| (thread.serving, thread.serving_sequence) = (0, 5)),
        thread(2, |thread| (thread.state, thread.object) = (State::Receiving, 3)),
        thread(3, |_| ()),
    ]
}

/// What contradicts another record though each is sound by itself.
#[test]
fn what_only_the_whole_shows_is_found_when_the_log_is_folded() {
    let reply = Capability { kind: abi::Kind::Reply as u8, generation: 5, ..Capability::EMPTY };
    let reply = Capability { rights: abi::Kind::Reply.rights().bits(), ..reply };
    let root = Capability { kind: abi::Kind::Endpoint as u8, object: 3, ..Capability::EMPTY };
    let receives = |thread: &mut Thread| (thread.state, thread.object) = (State::Receiving, 3);
    let serves = |thread: &mut Thread| (thread.serving, thread.serving_sequence) = (0, 5);
    let cases = [
        // Sound: a memory port, a table of its own, a second who receives, the Reply of a call that is over.
        (None, vec![capability(16, Capability { rights: abi::Rights::SEND.bits(), ..root })]),
        (None, vec![process(2, 32), capability(33, root)]),
        (None, vec![thread(3, receives)]),
        (None, vec![thread(0, |thread| thread.call_sequence = 5), capability(3, reply)]),
        // The port moves; the process goes, and another has its slots; the Reply is saved.
        (None, vec![port(1, 0), port(4, 7)]),
        (None, vec![(Table::Process as u16, 1, Process::FREE.as_bytes().to_vec()), process(2, 16)]),
        (None, vec![thread(1, |_| ()), capability(3, reply)]),
        (Some(Conflict::Slots), vec![process(2, 16)]),
        (Some(Conflict::NullHandle), vec![capability(16, root)]),
        (Some(Conflict::Unheld), vec![capability(50, root)]),
        (Some(Conflict::Replies), vec![thread(3, serves)]),
        (Some(Conflict::Replies), vec![capability(3, reply)]),
        (Some(Conflict::Ports), vec![port(3, 8)]),
        (Some(Conflict::Waiting), vec![thread(3, |thread| (thread.state, thread.object) = (State::Sending, 3))]),
    ];
    for (case, (expected, records)) in cases.into_iter().enumerate() {
        let (mut conductor, mut stage) = begun();
        let began = cut_records(&mut conductor, &mut stage, peopled());
        assert_eq!(stage.page.committed, began, "case {case}: {:?}", stage.notes);
        let ended = cut_records(&mut conductor, &mut stage, records);
        assert_eq!((stage.page.committed, stage.page.failure), (ended, None), "case {case}: {:?}", stage.notes);
        conductor.store_mut().expect("a store").want_checkpoint();
        cut_records(&mut conductor, &mut stage, [endpoint(5)]);
        settle(&mut conductor, &mut stage);
        let flaw = stage.notes.iter().find_map(|note| match note {
            Note::Unsound(_, Flaw::Conflict(conflict)) => Some(*conflict),
            _ => None,
        });
        assert_eq!(flaw, expected, "case {case}: {:?}", stage.notes);
        assert_eq!(stage.page.failure.is_some(), expected.is_some(), "case {case}");
    }
}

/// A ticket that nobody drew, and a wait for bits that are there, are refused with the epoch that brings them.
#[test]
fn threads_that_no_kernel_leaves_so_are_refused_before_they_commit() {
    let waits = |thread: &mut Thread| (thread.state, thread.object) = (State::Waiting, 1);
    let cases = [vec![thread(3, |thread| thread.ticket = 3)], vec![notification(4), thread(3, waits)]];
    for (case, records) in cases.into_iter().enumerate() {
        let (mut conductor, mut stage) = begun();
        let last = cut_records(&mut conductor, &mut stage, peopled().into_iter().chain([notification(0)]));
        assert_eq!(stage.page.committed, last, "case {case}: {:?}", stage.notes);
        cut_records(&mut conductor, &mut stage, [thread(3, waits)]);
        let last = stage.page.committed;
        assert_eq!(stage.page.failure, None, "case {case}: {:?}", stage.notes);
        cut_records(&mut conductor, &mut stage, records);
        assert_eq!(stage.page.committed, last, "case {case}");
        assert!(stage.notes.contains(&Note::Unsound((Table::Thread as u16, 3), Flaw::References)), "case {case}");
    }
}
