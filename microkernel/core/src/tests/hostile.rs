//! Records that no kernel would write: refused before anything is made of them.

use super::*;
use crate::{Capability, Notification, State, Thread, World};
use abi::record::{BatchReader, BatchWriter, Table as Kept};
use zerocopy::{FromBytes, IntoBytes};

type Record = (u16, u32, Vec<u8>);

/// A world with a client that waits for the reply of a server, and a notification bound to the server's thread.
fn exported() -> Vec<Record> {
    let (mut rig, _) = Rig::new();
    let endpoint = rig.create(WORLD, Kind::Endpoint, [0; 4], Handle::NULL);
    let bell = rig.create(WORLD, Kind::Notification, [0; 4], Handle::NULL);
    let (server, _) = world_process(&mut rig, 20);
    let (client, _) = world_process(&mut rig, 10);
    let server_end = rig.grant(server, endpoint, Rights::RECEIVE, 0);
    let server_bell = rig.grant(server, bell, Rights::WAIT, 0);
    let client_end = rig.grant(client, endpoint, Rights::SEND, 42);
    rig.call(Call::Resume, EPOCH, |r| r.rdi = abi::Epoch::first_of(1).expect("fits").bits());
    rig.call(Call::Wait, Handle::NULL, |r| {
        r.rax = Control::new(Call::Wait, Handle::NULL).with_timeout(Timeout::from_ns(1_000)).0;
    });
    assert_eq!(rig.call(Call::BindNotification, server_bell, |_| {}), Status::Ok);
    rig.call(Call::Receive, server_end, |_| {});
    rig.call(Call::Call, client_end, |_| {});
    rig.m.now_ns = 2_000_000;
    rig.kernel.timer(&mut rig.m, 0);
    records_of(&mut rig)
}

/// Cuts, and exports everything.
fn records_of(rig: &mut Rig) -> Vec<Record> {
    assert_eq!(rig.call(Call::Cut, EPOCH, |_| {}), Status::Ok);
    let batches = export_all(rig);
    let entries = batches.iter().flat_map(|batch| BatchReader::new(batch).expect("a batch"));
    let entries = entries.map(|entry| entry.expect("an entry"));
    entries.filter(|(.., bytes)| !bytes.is_empty()).map(|(t, i, bytes)| (t, i, bytes.to_vec())).collect()
}

/// What a fresh kernel says to these records: at `Restore` or at `Resume`.
fn verdict(records: &[Record]) -> Status {
    taken(records).1
}

/// The kernel that these records have been given to, and what it said.
fn taken(records: &[Record]) -> (Rig, Status) {
    let (mut rig, _) = Rig::new();
    let mut left = records;
    while !left.is_empty() {
        let mut batch = BatchWriter::new(rig.m.bytes(105));
        while let Some(((table, index, bytes), rest)) = left.split_first() {
            if !batch.push(*table, *index, bytes.len(), |to| to.copy_from_slice(bytes)) {
                break;
            }
            left = rest;
        }
        batch.finish();
        let status = rig.just_call(Call::Restore, EPOCH, |r| (r.rdi, r.caps) = (5, u64::from(MEMORY.0)));
        if status != Status::Ok {
            return (rig, status);
        }
    }
    let status = rig.just_call(Call::Resume, EPOCH, |r| r.rdi = abi::Epoch::first_of(2).expect("fits").bits());
    sound_but_for_budgets(&rig, "taken");
    (rig, status)
}

/// What budgets have left is not checked by a restore.
fn sound_but_for_budgets(rig: &Rig, what: &str) {
    if let Err(violation) = rig.kernel.check(&rig.m) {
        assert!(violation.invariant.starts_with("I6"), "{what}: {violation:?}");
    }
}

/// Any byte of any record as another: it is refused, or what comes of it is sound, and stays so while the world's
/// threads go on.
#[test]
fn whatever_is_taken_is_sound() {
    let records = records_of(&mut super::invariants::Scene::new().rig);
    assert_eq!(verdict(&records), Status::Ok);
    let (mut refused, mut gone_on) = (0, 0);
    for (which, (table, index, bytes)) in records.iter().enumerate() {
        let told = if *table == Kept::Thread as u16 { 96 } else { bytes.len() };
        let bits = if *table == Kept::Vector as u16 { &[][..] } else { &[0x01, 0x02, 0x80, 0xff][..] };
        for (at, flip) in (0..told).flat_map(|at| bits.iter().map(move |&flip| (at, flip))) {
            let mut spoilt = records.clone();
            spoilt[which].2[at] ^= flip;
            let what = format!("table {table}, record {index}, byte {at} changed by {flip:#x}");
            let (mut rig, status) = taken(&spoilt);
            if status != Status::Ok {
                assert_eq!(status, Status::BadRecord, "{what}");
                refused += 1;
                continue;
            }
            sound_but_for_budgets(&rig, &what);
            gone_on += 1;
            for step in 0..24 {
                if rig.kernel.is_idle(0) {
                    break;
                }
                let call = if step % 3 == 2 { Call::Wait } else { Call::Yield };
                rig.just_call(call, Handle::NULL, |_| {});
                sound_but_for_budgets(&rig, &what);
            }
            rig.m.now_ns += 2_000_000_000;
            rig.kernel.timer(&mut rig.m, 0);
            sound_but_for_budgets(&rig, &what);
        }
    }
    println!("{refused} refused, {gone_on} gone on");
    assert!(refused > 1_000 && gone_on > 500, "{refused} refused, {gone_on} gone on");
}

/// The verdict when the threads, of which `which` holds, are changed.
fn with_threads(which: impl Fn(&Thread) -> bool, change: impl Fn(u32, &mut Thread)) -> Status {
    let mut records = exported();
    let mut changed = 0;
    for (table, index, bytes) in &mut records {
        if *table == Kept::Thread as u16 {
            let mut thread = Thread::read(bytes).expect("a thread");
            if which(&thread) {
                change(*index, &mut thread);
                *bytes = thread.as_bytes().to_vec();
                changed += 1;
            }
        }
    }
    assert!(changed > 0);
    verdict(&records)
}

fn awaits(thread: &Thread) -> bool {
    thread.state == State::AwaitReply
}

fn serves(thread: &Thread) -> bool {
    thread.bound != u32::MAX
}

#[test]
fn what_was_written_is_taken() {
    assert_eq!(verdict(&exported()), Status::Ok);
    assert_eq!(with_threads(awaits, |_, _| {}), Status::Ok);
    assert_eq!(with_threads(serves, |_, _| {}), Status::Ok);
}

/// What a boot would begin a world with is none of a world that is taken back.
#[test]
fn a_world_brings_its_own_record_and_root_budget() {
    const OWN: (u16, u32) = (Kept::World as u16, 0);
    const ROOT: (u16, u32) = (Kept::Budget as u16, 0);
    for missing in [OWN, ROOT] {
        let mut records = exported();
        assert!(records.iter().any(|(table, index, _)| (*table, *index) == missing));
        records.retain(|(table, index, _)| (*table, *index) != missing);
        assert_eq!(verdict(&records), Status::BadRecord, "without {missing:?}");
    }
    let mut records = exported();
    let world = records.iter().find(|(table, ..)| *table == OWN.0).expect("a world").clone();
    records.push((world.0, 1, world.2));
    assert_eq!(verdict(&records), Status::BadRecord, "two of them");
    // What is refused before anything was taken leaves the kernel as it was.
    let (mut rig, status) = taken(&[(OWN.0, 1, vec![0; 56])]);
    assert_eq!(status, Status::BadRecord);
    rig.create(WORLD, Kind::Endpoint, [0; 4], Handle::NULL);
}

/// A world that was refused as a whole can be mended by further records, and is then taken.
#[test]
fn what_was_refused_can_be_mended() {
    let mut records = exported();
    let root = |record: &&Record| {
        record.0 == Kept::Capability as u16 && Capability::read(&record.2).is_ok_and(|held| held.parent == u32::MAX)
    };
    // In a slot that is no process's.
    let stray = (Kept::Capability as u16, CAPACITIES.world.0[5] - 1, records.iter().find(root).expect("one").2.clone());
    records.push(stray.clone());
    let (mut rig, status) = taken(&records);
    assert_eq!(
        (status, rig.kernel.cpus[0].frame.words[..2].to_vec()),
        (Status::BadRecord, vec![stray.0.into(), stray.1.into()])
    );
    let mut batch = BatchWriter::new(rig.m.bytes(105));
    assert!(batch.push(stray.0, stray.1, stray.2.len(), |to| to.copy_from_slice(Capability::EMPTY.as_bytes())));
    batch.finish();
    let whole = |r: &mut Registers| (r.rdi, r.words, r.caps) = (5, [0; 8], u64::from(MEMORY.0));
    assert_eq!(rig.just_call(Call::Restore, EPOCH, whole), Status::Ok);
    let epoch = abi::Epoch::first_of(2).expect("fits").bits();
    assert_eq!(rig.just_call(Call::Resume, EPOCH, |r| (r.rdi, r.words) = (epoch, [0; 8])), Status::Ok);
    sound_but_for_budgets(&rig, "mended");
}

/// Who is no more holds no Reply: not to a thread that cannot be, nor in place of who does.
#[test]
fn who_is_free_serves_nobody() {
    let free = |serving, serving_sequence| {
        let thread = Thread { generation: 1, serving, serving_sequence, ..Thread::FREE };
        (Kept::Thread as u16, 3, thread.as_bytes().to_vec())
    };
    let mut records = exported();
    records.push(free(0xffff_0000, 1));
    assert_eq!(verdict(&records), Status::BadRecord);
    let mut records = exported();
    let mut caller = None;
    for (_, index, bytes) in records.iter_mut().filter(|(table, ..)| *table == Kept::Thread as u16) {
        let mut thread = Thread::read(bytes).expect("a thread");
        if awaits(&thread) {
            caller = Some((*index, thread.call_sequence));
        }
        if serves(&thread) {
            thread.serving = u32::MAX;
        }
        *bytes = thread.as_bytes().to_vec();
    }
    let (caller, sequence) = caller.expect("somebody waits for a reply");
    records.push(free(caller, sequence));
    assert_eq!(verdict(&records), Status::BadRecord);
}

/// Nobody gets to wait in a world that was refused and may yet be mended.
#[test]
fn a_refused_world_has_no_ports() {
    let (mut rig, _) = Rig::new();
    rig.create(WORLD, Kind::Endpoint, [1, 0, 0, 0], Handle::NULL);
    let epoch = |boot| abi::Epoch::first_of(boot).expect("fits").bits();
    assert_eq!(rig.call(Call::BindPort, EPOCH, |r| r.rdi = 1), Status::Ok);
    assert_eq!(rig.call(Call::Resume, EPOCH, |r| (r.rdi, r.words) = (epoch(1), [0; 8])), Status::Ok);
    let mut records = records_of(&mut rig);
    let stray = Capability::root(Kind::Endpoint, 0, 1);
    records.push((Kept::Capability as u16, 40, stray.as_bytes().to_vec()));
    let (mut rig, status) = taken(&records);
    assert_eq!(status, Status::BadRecord);
    assert_eq!(rig.just_call(Call::BindPort, EPOCH, |r| r.rdi = 1), Status::BadArgument);
}

#[test]
fn nobody_answers_his_own_call() {
    let itself = |index, thread: &mut Thread| (thread.serving, thread.serving_sequence) = (index, thread.call_sequence);
    assert_eq!(with_threads(awaits, itself), Status::BadRecord);
}

#[test]
fn tickets_have_been_drawn() {
    for ticket in [0, u64::MAX, 1 << 62] {
        assert_eq!(with_threads(serves, |_, thread| thread.ticket = ticket), Status::BadRecord, "{ticket:x}");
    }
    let mut records = exported();
    let (.., world) = records.iter_mut().find(|(table, ..)| *table == Kept::World as u16).expect("the world");
    let mut changed = World::read_from_bytes(world).expect("the world");
    changed.ticket = u64::MAX - 3;
    *world = changed.as_bytes().to_vec();
    assert_eq!(verdict(&records), Status::BadRecord);
}

#[test]
fn bindings_are_between_those_that_live() {
    // The thread is gone, and its notification does not know.
    let gone =
        |_, thread: &mut Thread| (thread.state, thread.object, thread.serving) = (State::Free, u32::MAX, u32::MAX);
    assert_eq!(with_threads(serves, gone), Status::BadRecord);
    // The notification is gone, and its thread does not know.
    let mut records = exported();
    let bell = records.iter_mut().find(|(table, ..)| *table == Kept::Notification as u16).expect("a notification");
    let mut notification = Notification::read(&bell.2).expect("a notification");
    assert_ne!(notification.bound, u32::MAX);
    notification.life = 0;
    bell.2 = notification.as_bytes().to_vec();
    assert_eq!(verdict(&records), Status::BadRecord);
}

#[test]
fn nothing_is_held_of_what_has_not_been_made() {
    let capabilities = exported().into_iter().filter(|(table, ..)| *table == Kept::Capability as u16).count();
    let mut refused = 0;
    for which in 0..capabilities {
        let mut records = exported();
        let mut held = records.iter_mut().filter(|(table, ..)| *table == Kept::Capability as u16);
        let (.., bytes) = held.nth(which).expect("counted");
        let mut capability = Capability::read(bytes).expect("a capability");
        capability.generation += 1;
        let is_root = capability.parent == u32::MAX;
        *bytes = capability.as_bytes().to_vec();
        let verdict = verdict(&records);
        assert_eq!(verdict, Status::BadRecord, "{capability:?}");
        refused += usize::from(is_root);
    }
    assert!(refused > 0, "what is derived is refused for its parent's sake");
}

/// Held by a thread, or saved: a number that is ahead is set behind. A counter that wraps around may have left it there, and
/// that must not make a sound world one that nobody takes.
#[test]
fn a_reply_to_a_call_to_come_is_void() {
    for ahead in [1, 1 << 20, 1 << 31] {
        let to_come = |_, thread: &mut Thread| thread.serving_sequence = thread.serving_sequence.wrapping_add(ahead);
        assert_eq!(with_threads(serves, to_come), Status::Ok, "{ahead}");
        for saved in [false, true] {
            let mut records = exported();
            let threads = records.iter_mut().filter(|(table, ..)| *table == Kept::Thread as u16);
            let (mut caller, mut sequence) = (0, 0);
            for (_, index, bytes) in threads {
                let mut thread = Thread::read(bytes).expect("a thread");
                if awaits(&thread) {
                    (caller, sequence) = (*index, thread.call_sequence);
                }
                if serves(&thread) {
                    thread.serving_sequence = thread.serving_sequence.wrapping_add(ahead);
                    thread.serving = if saved { u32::MAX } else { thread.serving };
                }
                *bytes = thread.as_bytes().to_vec();
            }
            let mut reply = Capability::root(Kind::Reply, caller, sequence.wrapping_add(ahead));
            let slots = records.iter_mut().filter(|(table, ..)| *table == Kept::Capability as u16);
            if let Some((.., bytes)) = slots.last().filter(|_| saved) {
                *bytes = reply.as_bytes().to_vec();
            }
            let (rig, status) = taken(&records);
            assert_eq!(status, Status::Ok, "{ahead} {saved}");
            reply.generation = sequence.wrapping_sub(1);
            let held = rig.kernel.threads.get(1 - caller).serving_sequence;
            let kept = (0..rig.kernel.capabilities.world()).any(|slot| *rig.kernel.capabilities.get(slot) == reply);
            assert!(if saved { kept } else { held == reply.generation }, "{ahead} {saved}");
            // Nobody can answer any more, so the caller was told.
            assert_eq!(rig.kernel.threads.get(caller).state, State::Ready);
            assert_eq!(Outcome(rig.kernel.registers_of(caller).rax).status(), Status::Restarted);
        }
    }
}

#[test]
fn what_lives_was_made_from_a_budget_that_lives() {
    for (table, at) in [(Kept::Process, 28), (Kept::Endpoint, 8), (Kept::Notification, 16)] {
        for budget in [u32::MAX, 1 << 20, 1] {
            let mut records = exported();
            let (.., bytes) = records.iter_mut().find(|record| record.0 == table as u16).expect("one of each");
            assert_eq!(bytes[at..at + 4], [0; 4], "the budget of {table:?}");
            bytes[at..at + 4].copy_from_slice(&u32::to_le_bytes(budget));
            assert_eq!(verdict(&records), Status::BadRecord, "{table:?} from {budget}");
        }
    }
    for budget in [u32::MAX, 1 << 20, 1] {
        assert_eq!(with_threads(awaits, |_, thread| thread.budget = budget), Status::BadRecord, "{budget}");
    }
}

#[test]
fn a_service_has_one_port_that_lives() {
    let (mut rig, _) = Rig::new();
    for service in [1, 2] {
        rig.create(WORLD, Kind::Endpoint, [service, 0, 0, 0], Handle::NULL);
    }
    rig.call(Call::Resume, EPOCH, |r| r.rdi = abi::Epoch::first_of(1).expect("fits").bits());
    let records = records_of(&mut rig);
    let with = |change: fn(&mut crate::Endpoint)| {
        let mut records = records.clone();
        let port = records.iter_mut().find(|(table, index, _)| (*table, *index) == (Kept::Endpoint as u16, 1));
        let (.., bytes) = port.expect("the second");
        let mut endpoint = crate::Endpoint::read(bytes).expect("an endpoint");
        change(&mut endpoint);
        *bytes = endpoint.as_bytes().to_vec();
        verdict(&records)
    };
    assert_eq!(with(|_| {}), Status::Ok);
    assert_eq!(with(|port| port.service = 3), Status::Ok);
    assert_eq!(with(|port| port.service = 1), Status::BadRecord);
    assert_eq!(with(|port| port.life = 0), Status::BadRecord);
    assert_eq!(with(|port| (port.life, port.service) = (0, 0)), Status::Ok);
}

/// Worlds of before say in a process's record who serves its memory: it becomes the capability that it now is.
#[test]
fn an_older_world_keeps_its_memory_ports() {
    let (mut rig, _) = Rig::new();
    let port = rig.create(WORLD, Kind::Endpoint, [0; 4], Handle::NULL);
    let (process, _) = world_process(&mut rig, 10);
    assert_eq!(rig.call(Call::SetMemoryPort, process, |r| (r.rdi, r.caps) = (9, u64::from(port.0))), Status::Ok);
    rig.call(Call::Resume, EPOCH, |r| r.rdi = abi::Epoch::first_of(1).expect("fits").bits());
    let told = rig.kernel.memory_port(0).expect("it is set");
    let records = records_of(&mut rig);
    let older = |port: u32, generation: u32| {
        let mut records = records.clone();
        records.retain(|&(table, slot, _)| table != Kept::Capability as u16 || slot != 0);
        let process = records.iter_mut().find(|(table, index, _)| (*table, *index) == (Kept::Process as u16, 0));
        let (.., bytes) = process.expect("a process");
        let process = crate::Process::read(bytes).expect("a process");
        let older = crate::Process { port, port_generation: generation, port_badge: 9, ..process };
        *bytes = older.as_bytes().to_vec();
        taken(&records)
    };
    let (rig, status) = taken(&records);
    assert_eq!((status, rig.kernel.memory_port(0)), (Status::Ok, Some(told)));
    let (rig, status) = older(told.object, told.generation);
    assert_eq!((status, rig.kernel.memory_port(0)), (Status::Ok, Some(told)));
    assert_eq!(rig.kernel.processes.get(0).port, u32::MAX);
    let (rig, status) = older(told.object, told.generation + 1);
    assert_eq!((status, rig.kernel.memory_port(0)), (Status::Ok, None));
    assert_eq!(older(u32::MAX - 1, 1).1, Status::BadRecord);
    let spoilt = |change: fn(&mut Capability)| {
        let mut records = records.clone();
        let slot = records.iter_mut().find(|(table, slot, _)| (*table, *slot) == (Kept::Capability as u16, 0));
        let (.., bytes) = slot.expect("the port");
        let mut capability = Capability::read(bytes).expect("a capability");
        change(&mut capability);
        *bytes = capability.as_bytes().to_vec();
        verdict(&records)
    };
    assert_eq!(spoilt(|_| {}), Status::Ok);
    assert_eq!(spoilt(|port| port.rights |= Rights::RECEIVE.bits()), Status::BadRecord);
    assert_eq!(spoilt(|port| (port.kind, port.rights) = (Kind::Budget as u8, 0)), Status::BadRecord);
}

/// A batch of many records goes in steps, between which anybody may run; what is refused is named in any of them.
#[test]
fn a_batch_is_taken_in_steps() {
    for spoilt in [None, Some(30)] {
        let (mut rig, _) = Rig::new();
        let mut batch = BatchWriter::new(rig.m.bytes(105));
        for number in 0..40 {
            let life = if spoilt == Some(number) { 3 } else { 0 };
            let endpoint = crate::Endpoint { generation: number + 1, life, ..crate::Endpoint::FREE };
            assert!(batch.push(Kept::Endpoint as u16, number % 4, size_of_val(&endpoint), |to| {
                to.copy_from_slice(endpoint.as_bytes());
            }));
        }
        batch.finish();
        let mut taken = Vec::new();
        let frame = &mut rig.kernel.cpus[0].frame;
        let rip = frame.rip;
        (frame.rax, frame.rdi, frame.caps) = (Control::new(Call::Restore, EPOCH).0, 5, u64::from(MEMORY.0));
        frame.words = [0; 8];
        loop {
            rig.kernel.syscall(&mut rig.m, 0);
            taken.extend((0..4).map(|endpoint| rig.kernel.endpoints.get(endpoint).generation).max());
            if rig.kernel.cpus[0].frame.rip == rip {
                break;
            }
            rig.kernel.cpus[0].frame.rip = rip;
        }
        let (status, frame) = (rig.outcome().status(), rig.kernel.cpus[0].frame);
        if spoilt.is_some() {
            assert_eq!((status, &taken[..]), (Status::BadRecord, &[16, 30][..]));
            assert_eq!(frame.words[..2], [Kept::Endpoint as u64, 30 % 4]);
        } else {
            assert_eq!((status, frame.rdi, &taken[..]), (Status::Ok, 40, &[16, 32, 40][..]));
        }
    }
}
