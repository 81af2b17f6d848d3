//! The cut, and what is mapped when it comes; on one CPU and on two.

use super::*;
use crate::State;
use abi::boot_info::handle::INTERRUPTS;

fn first() -> abi::Epoch {
    abi::Epoch::first_of(1).expect("fits")
}

fn resume(rig: &mut Rig) {
    assert_eq!(rig.call(Call::Resume, EPOCH, |r| (r.rdi, r.words[0]) = (first().bits(), 5_000)), Status::Ok);
}

/// A `Map` of pages of init's memory.
fn map(rig: &mut Rig, process: Handle, address: u64, pages: [u64; 2], flags: MapFlags, epoch: abi::Epoch) -> Status {
    rig.call(Call::Map, process, |r| {
        r.rdi = address;
        r.words = [pages[0], pages[1], flags.bits(), epoch.bits(), 0, 0, 0, 0];
        r.caps = u64::from(MEMORY.0);
    })
}

fn set_frames(rig: &mut Rig, state: FrameState, pages: &[u64]) {
    let status = rig.call(Call::SetFrames, EPOCH, |r| {
        r.rdi = pages.len() as u64 | (state as u64) << 8;
        r.words[..pages.len()].copy_from_slice(pages);
        r.caps = u64::from(MEMORY.0);
    });
    assert_eq!((status, rig.kernel.cpus[0].frame.rdi), (Status::Ok, (1 << pages.len()) - 1));
}

/// Whoever runs elsewhere is cut in the middle of what it does: its registers, its place, its writable pages.
#[test]
fn a_cut_takes_what_runs_on_other_cpus() {
    let mut kernel = Kernel::new(&mut HostArena, &Capacities { cpus: 2, ..CAPACITIES });
    let mut m = HostMachine::default();
    m.remember_translations();
    let boot = kernel.boot_process(&mut m, 64, 0x40_0000, 0x7000_0000, 0).expect("boots");
    kernel.boot_range(boot.process, MEMORY, Kind::Memory, 100..300, true).expect("a free handle");
    kernel.boot_start(&mut m, 0, boot);
    let mut rig = Rig { kernel, m };
    let (process, _) = world_process(&mut rig, 10);
    let (_, handle) = world_process(&mut rig, 10);
    assert_eq!(rig.call(Call::Stop, handle, |_| {}), Status::Ok);
    set_frames(&mut rig, FrameState::Clean, &[7]);
    resume(&mut rig);
    let now = MapFlags::WRITE | MapFlags::NOW;
    assert_eq!(map(&mut rig, process, 0x60_0000, [7, 1], now, first()), Status::Ok);
    rig.kernel.reschedule(&mut rig.m, 1);
    rig.sound();
    let thread = rig.kernel.current(1).expect("the one that is ready");
    let root = rig.kernel.processes.beside(rig.kernel.threads.get(thread).process).root;
    assert_eq!(rig.m.translate(root, 0x60_0000), Some((107, true)));
    let registers = Registers { rip: 0x41_2345, rsp: 0x52_0000, rbx: 77, words: [3; 8], ..rig.kernel.cpus[1].frame };
    rig.kernel.cpus[1].frame = registers;
    // Init's own record is not the world's business: it stays as it was when init last left its CPU.
    let own = rig.kernel.threads.get(boot.thread).registers;
    assert_eq!(rig.call(Call::Cut, EPOCH, |r| r.rbx = 99), Status::Ok);
    assert_eq!(rig.kernel.cpus[0].frame.words[..2], [1, 0], "one first write, and the world has changed");
    assert_eq!(rig.m.translate(root, 0x60_0000), Some((107, false)), "no CPU writes on");
    assert_eq!(rig.kernel.threads.get(thread).registers, registers);
    assert_eq!(rig.kernel.threads.get(boot.thread).registers, own);
    assert_eq!(rig.kernel.current(1), Some(thread));
    let ticket = rig.kernel.threads.get(thread).ticket;
    assert!(rig.kernel.each_thread().all(|(number, other)| number == thread || other.ticket >= ticket || number > 5));
    // What it does next is not in the epoch that ended.
    rig.kernel.cpus[1].frame.rbx = 78;
    let batches = export_all(&mut rig);
    let (mut fresh, _) = Rig::new();
    for batch in &batches {
        *fresh.m.bytes(105) = *batch;
        assert_eq!(fresh.call(Call::Restore, EPOCH, |r| (r.rdi, r.caps) = (5, u64::from(MEMORY.0))), Status::Ok);
    }
    let epoch = abi::Epoch::first_of(2).expect("fits").bits();
    assert_eq!(fresh.call(Call::Resume, EPOCH, |r| (r.rdi, r.words[0]) = (epoch, 0)), Status::Ok);
    fresh.call(Call::Wait, Handle::NULL, |_| {});
    assert_eq!(fresh.running(), thread);
    let Registers { rip, rsp, rbx, words, .. } = fresh.kernel.cpus[0].frame;
    assert_eq!((rip, rsp, rbx, words), (registers.rip, registers.rsp, 77, [3; 8]));
}

#[test]
fn epochs_are_announced_in_their_order() {
    let (mut rig, _) = Rig::new();
    assert_eq!(rig.call(Call::Cut, EPOCH, |_| {}), Status::WrongState);
    resume(&mut rig);
    let mut epochs = vec![first()];
    for _ in 0..3 {
        assert_eq!(rig.call(Call::Cut, EPOCH, |_| {}), Status::Ok);
        epochs.push(abi::Epoch::from_bits(rig.kernel.cpus[0].frame.rdi));
        export_all(&mut rig);
    }
    assert!(epochs.windows(2).all(|pair| pair[0].next() == Some(pair[1])));
    let mut committed = |epoch: abi::Epoch| rig.call(Call::Committed, EPOCH, |r| r.rdi = epoch.bits());
    assert_eq!(committed(epochs[1]), Status::Ok);
    assert_eq!(committed(epochs[1]), Status::Ok);
    assert_eq!(committed(epochs[0]), Status::BadArgument, "what is durable stays so");
    assert_eq!(committed(epochs[3]), Status::BadArgument, "it has not ended");
    assert_eq!(committed(epochs[3].next().expect("fits")), Status::BadArgument);
    assert_eq!(committed(epochs[2]), Status::Ok);
    rig.m.now_ns = 700;
    assert_eq!(rig.call(Call::Clock, Handle::NULL, |_| {}), Status::Ok);
    let frame = &rig.kernel.cpus[0].frame;
    assert_eq!((frame.rdi, frame.words[0], frame.words[1]), (epochs[3].bits(), epochs[2].bits(), 5_700));
}

/// Before the world runs, what the disk holds may be of any epoch.
#[test]
fn before_it_runs_any_epoch_may_have_been_committed() {
    let (mut rig, _) = Rig::new();
    let far = abi::Epoch::first_of(9).expect("fits");
    assert_eq!(rig.call(Call::Committed, EPOCH, |r| r.rdi = far.bits()), Status::Ok);
    assert_eq!(rig.call(Call::Committed, EPOCH, |r| r.rdi = first().bits()), Status::BadArgument);
}

#[test]
fn a_port_is_bound_with_what_a_server_needs() {
    let (mut rig, _) = Rig::new();
    let port = rig.create(WORLD, Kind::Endpoint, [7, 0, 0, 0], Handle::NULL);
    assert_eq!(rig.call(Call::Identify, port, |_| {}), Status::Ok);
    let name = rig.kernel.cpus[0].frame.words[2];
    for service in [0, 8, u64::MAX, 7 | 1 << 32] {
        assert_eq!(rig.call(Call::BindPort, EPOCH, |r| r.rdi = service), Status::BadArgument, "{service}");
    }
    assert_eq!(rig.call(Call::BindPort, EPOCH, |r| r.rdi = 7), Status::Ok);
    let bound = rig.made();
    assert_eq!(rig.call(Call::Identify, bound, |_| {}), Status::Ok);
    let rights = Rights::RECEIVE | Rights::SEND | Rights::COPY;
    assert_eq!(rig.kernel.cpus[0].frame.words[..3], [u64::from(rights.bits()), 0, name]);
    // A service has one port, of the world.
    for (budget, service) in [(WORLD, 7), (BUDGET, 9), (WORLD, 1 << 32)] {
        let made = rig.call(Call::Create, budget, |r| (r.rdi, r.words[0]) = (Kind::Endpoint as u64, service));
        assert_eq!(made, Status::BadArgument, "{service}");
    }
}

/// The epoch in which a writable mapping was decided counts where the world runs, and nowhere else.
#[test]
fn only_what_the_world_writes_is_decided_in_an_epoch() {
    let (mut rig, _) = Rig::new();
    let (inside, _) = world_process(&mut rig, 1);
    let outside = rig.create(BUDGET, Kind::Process, [16, 0, 0, 0], Handle::NULL);
    let late = first().next().expect("fits");
    let (read, write) = (MapFlags::empty(), MapFlags::WRITE);
    assert_eq!(map(&mut rig, inside, 0x60_0000, [7, 1], write, late), Status::Ok, "nothing runs yet");
    resume(&mut rig);
    for (process, flags, status) in [
        (inside, write, Status::StaleEpoch),
        (inside, read, Status::Ok),
        (outside, write, Status::Ok),
        (outside, read, Status::Ok),
    ] {
        assert_eq!(map(&mut rig, process, 0x60_0000, [7, 1], flags, late), status, "{flags:?}");
    }
    assert_eq!(map(&mut rig, inside, 0x60_0000, [7, 1], write, first()), Status::Ok);
}

/// Of a range, each page is open that may be: the world waits for the first write of a frame that is tracked, others do not.
#[test]
fn pages_of_a_range_are_opened_one_by_one() {
    let (mut rig, boot) = Rig::new();
    let (inside, _) = world_process(&mut rig, 1);
    let number = rig.kernel.threads.get(0).process;
    set_frames(&mut rig, FrameState::Clean, &[8, 10]);
    resume(&mut rig);
    let open = |rig: &Rig, process| {
        let pages = rig.kernel.mappings(&rig.m, process).into_iter();
        pages.map(|page| (page.frame, page.may_write, page.open)).collect::<Vec<_>>()
    };
    assert_eq!(map(&mut rig, inside, 0x60_0000, [7, 4], MapFlags::WRITE, first()), Status::Ok);
    let wanted = [(107, true), (108, false), (109, true), (110, false)];
    assert_eq!(open(&rig, number), wanted.map(|(frame, open)| (frame, true, open)));
    assert_eq!(map(&mut rig, OWN, 0x60_0000, [7, 4], MapFlags::WRITE, first()), Status::Ok);
    assert_eq!(open(&rig, boot.process), wanted.map(|(frame, _)| (frame, true, true)));
    assert_eq!(map(&mut rig, inside, 0x60_0000, [7, 4], MapFlags::empty(), first()), Status::Ok);
    assert_eq!(open(&rig, number), wanted.map(|(frame, _)| (frame, false, false)));
}

#[test]
fn a_page_is_mapped_as_it_was_asked_for() {
    let (mut rig, boot) = Rig::new();
    let all = [
        (MapFlags::empty(), [false, false, false]),
        (MapFlags::WRITE, [true, false, false]),
        (MapFlags::EXECUTE, [false, true, false]),
        (MapFlags::DEVICE, [false, false, true]),
        (MapFlags::DEVICE | MapFlags::WRITE, [true, false, true]),
    ];
    for (flags, wanted) in all {
        assert_eq!(map(&mut rig, OWN, 0x60_0000, [7, 1], flags, first()), Status::Ok);
        let [page] = rig.kernel.mappings(&rig.m, boot.process)[..] else { panic!("one page") };
        assert_eq!((page.address, page.frame), (0x60_0000, 107));
        assert_eq!([page.may_write, page.executable, page.device], wanted, "{flags:?}");
    }
    let device = MapFlags::DEVICE | MapFlags::WRITE | MapFlags::EXECUTE;
    assert_eq!(map(&mut rig, OWN, 0x60_0000, [7, 1], device, first()), Status::BadArgument);
    // Narrowed: what is left of it.
    for (flags, wanted) in [(MapFlags::WRITE, [true, false]), (MapFlags::empty(), [false, false])] {
        let set = |r: &mut Registers| (r.rdi, r.words[0], r.words[1]) = (0x60_0000, 1, flags.bits());
        assert_eq!(rig.call(Call::Protect, OWN, set), Status::Ok);
        let [page] = rig.kernel.mappings(&rig.m, boot.process)[..] else { panic!("one page") };
        assert_eq!([page.may_write, page.open], wanted[..1].repeat(2)[..], "{flags:?}");
        assert_eq!(page.executable, wanted[1]);
    }
}

/// A pager is told that a write met a frame that a device has.
#[test]
fn a_write_to_what_a_device_has_is_told_as_such() {
    let (mut rig, boot) = Rig::new();
    let port = rig.create(WORLD, Kind::Endpoint, [1, 0, 0, 0], Handle::NULL);
    let (process, _) = world_process(&mut rig, 10);
    assert_eq!(rig.call(Call::SetMemoryPort, process, |r| (r.rdi, r.caps) = (9, u64::from(port.0))), Status::Ok);
    set_frames(&mut rig, FrameState::Clean, &[7]);
    resume(&mut rig);
    assert_eq!(map(&mut rig, process, 0x60_0000, [7, 1], MapFlags::WRITE | MapFlags::NOW, first()), Status::Ok);
    assert_eq!(rig.call(Call::Cut, EPOCH, |_| {}), Status::Ok);
    set_frames(&mut rig, FrameState::Claimed, &[7]);
    rig.call(Call::Receive, port, |_| {});
    assert_ne!(rig.running(), boot.thread);
    rig.kernel.page_fault(&mut rig.m, 0, (0x60_0010, Access::WRITE, 6));
    rig.sound();
    assert_eq!((rig.running(), rig.outcome().kind()), (boot.thread, Event::Fault));
    let wanted = (Access::WRITE | Access::FROZEN | Access::PRESENT).bits();
    assert_eq!(rig.kernel.cpus[0].frame.words[..2], [0x60_0010, wanted]);
    assert_eq!(rig.kernel.threads.get(0).state, State::AwaitFault);
}

/// What is seen of the log and the ring from outside is what lies in them.
#[test]
fn the_log_is_shown_as_it_is() {
    let (mut rig, _) = Rig::new();
    assert_eq!((rig.kernel.first_writes(), rig.kernel.donated_frames()), ((0, vec![]), vec![]));
    assert_eq!((rig.kernel.log_sizes(), rig.kernel.log.canonical()), ((64, 16), (vec![], vec![], None)));
    let donated = rig.call(Call::Donate, EPOCH, |r| {
        (r.rdi, r.words[0], r.words[1], r.caps) = (2, 51, 50, u64::from(MEMORY.0));
    });
    assert_eq!(donated, Status::Ok);
    set_frames(&mut rig, FrameState::Clean, &[8, 10, 12]);
    set_frames(&mut rig, FrameState::Dirty, &[10, 8, 12]);
    assert_eq!(rig.call(Call::ReadLog, EPOCH, |r| (r.rdi, r.words[0]) = (1, 9)), Status::Ok);
    assert_eq!(rig.kernel.first_writes(), (3, vec![108, 112]));
    assert_eq!(rig.kernel.donated_frames(), [151, 150]);
    assert_eq!(rig.kernel.first_writes_stop(), 9);
    assert_eq!(rig.kernel.log.canonical(), (vec![108, 112], vec![151, 150], Some(8)));
}

#[test]
fn interrupts_are_shown_with_that_by_which_they_are_bound() {
    let (mut rig, _) = Rig::new();
    let process = rig.kernel.threads.get(rig.kernel.cpus[0].current).process;
    let bells = [0; 2].map(|_| rig.create(BUDGET, Kind::Notification, [0; 4], Handle::NULL));
    let mut wanted = Vec::new();
    for (line, bell) in [(3, bells[0]), (40, bells[1])] {
        assert_eq!(
            rig.call(Call::Copy, bell, |r| (r.rdi, r.words) = (u64::MAX, [line + 1, 0, 0, 0, 0, 0, 0, 0])),
            Status::Ok
        );
        let badged = rig.made();
        let part = |r: &mut Registers| (r.rdi, r.words) = (u64::MAX, [0, line, 1, 0, 0, 0, 0, 0]);
        assert_eq!(rig.call(Call::Copy, INTERRUPTS, part), Status::Ok);
        let one = rig.made();
        assert_eq!(rig.call(Call::BindInterrupt, one, |r| r.caps = u64::from(badged.0)), Status::Ok);
        wanted.push((line as u32, process, one, badged));
    }
    let bound = |rig: &Rig| -> Vec<_> {
        let bindings = rig.kernel.interrupt_bindings();
        bindings.map(|(line, (process, interrupt, bell))| (line, process, interrupt, bell)).collect()
    };
    assert_eq!(bound(&rig), wanted);
    // Whoever comes after the process has bound nothing.
    rig.kernel.processes.change(process).generation += 1;
    assert_eq!(bound(&rig), []);
}

#[test]
fn tables_in_use_are_kept_or_not() {
    use crate::space::TablePool;
    let before = || {
        let mut pool = TablePool::new(&mut HostArena, 4);
        assert_eq!(pool.free.take_first(0, 4), Some(0));
        pool
    };
    let mut after = before();
    assert!(after.keeps_those_of(&before()));
    assert_eq!(after.free.take_first(0, 4), Some(1));
    assert!(after.keeps_those_of(&before()) && !before().keeps_those_of(&after));
}
