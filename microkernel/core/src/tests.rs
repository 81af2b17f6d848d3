//! The core's own story, told once from end to end; everything finer is in tests/spec.

mod alone;
mod boot;
mod cutting;
mod ending;
mod handing;
mod hostile;
mod invariants;
mod limits;
mod machine;
mod meeting;
mod quick;
mod switch;

use crate::{BootProcess, Capacities, Counts, HostMachine, Kernel};
use abi::fault::Access;
use abi::{
    Call, Control, Event, FLAG_MOVE, FLAG_REPEATABLE, FrameState, Handle, Kind, MapFlags, Outcome, Registers, Rights,
    Status, Timeout,
};
use records::HostArena;

const CAPACITIES: Capacities = Capacities {
    world: Counts([4, 6, 4, 3, 3, 128]),
    volatile: Counts([4, 6, 4, 3, 3, 256]),
    cpus: 1,
    tables: 64,
    frames: 1024,
    log: 64,
    donated: 16,
    interrupts: 64,
};

struct Rig {
    kernel: Kernel,
    m: HostMachine,
}

impl Rig {
    fn new() -> (Self, BootProcess) {
        let mut kernel = Kernel::new(&mut HostArena, &CAPACITIES);
        let mut m = HostMachine::default();
        m.remember_translations();
        let boot = kernel.boot_process(&mut m, 64, 0x40_0000, 0x7000_0000, 0).expect("boots");
        kernel.boot_range(boot.process, Handle(16), Kind::Memory, 100..300, true).expect("a free handle");
        kernel.boot_start(&mut m, 0, boot);
        let rig = Self { kernel, m };
        rig.sound();
        (rig, boot)
    }

    fn sound(&self) {
        assert_eq!(self.kernel.check(&self.m), Ok(()));
        assert_eq!(self.m.stale_translation(), None);
    }

    /// A call by whoever runs; what its registers hold afterwards is the next runner's business.
    fn call(&mut self, call: Call, handle: Handle, set: impl FnOnce(&mut Registers)) -> Status {
        let status = self.just_call(call, handle, set);
        self.sound();
        status
    }

    /// The same, and nothing is checked. A `Restore` is made in as many steps as it takes.
    fn just_call(&mut self, call: Call, handle: Handle, set: impl FnOnce(&mut Registers)) -> Status {
        let frame = &mut self.kernel.cpus[0].frame;
        let (control, rip) = (Control::new(call, handle).0, frame.rip);
        frame.rax = control;
        set(frame);
        self.kernel.syscall(&mut self.m, 0);
        while call == Call::Restore && self.kernel.cpus[0].frame.rip != rip {
            self.kernel.cpus[0].frame.rip = rip;
            self.kernel.syscall(&mut self.m, 0);
        }
        self.outcome().status()
    }

    /// Makes a call; whether the thread is about to make it again.
    fn is_to_be_made_again(&mut self, call: Call, handle: Handle) -> bool {
        let before = self.kernel.cpus[0].frame.rip;
        let status = self.call(call, handle, |_| {});
        let again = self.kernel.cpus[0].frame.rip != before;
        assert!(again || status == Status::Ok, "{status:?}");
        again
    }

    fn state(&self, thread: u32) -> crate::State {
        self.kernel.threads.get(thread).state
    }

    /// What a thread that waited was told.
    fn told(&self, thread: u32) -> Outcome {
        Outcome(self.kernel.registers_of(thread).rax)
    }

    fn outcome(&self) -> Outcome {
        Outcome(self.kernel.cpus[0].frame.rax)
    }

    fn made(&self) -> Handle {
        Handle(self.kernel.cpus[0].frame.rdi as u16)
    }

    fn create(&mut self, budget: Handle, kind: Kind, arguments: [u64; 4], cap: Handle) -> Handle {
        let status = self.call(Call::Create, budget, |r| {
            r.rdi = kind as u64;
            r.words[..4].copy_from_slice(&arguments);
            r.caps = u64::from(cap.0);
        });
        assert_eq!(status, Status::Ok, "{kind:?}");
        self.made()
    }

    fn grant(&mut self, process: Handle, cap: Handle, rights: Rights, badge: u64) -> Handle {
        let status = self.call(Call::Grant, process, |r| {
            r.rdi = u64::from(rights.bits());
            r.words[0] = badge;
            r.caps = u64::from(cap.0);
        });
        assert_eq!(status, Status::Ok);
        self.made()
    }

    fn running(&self) -> u32 {
        self.kernel.current(0).expect("somebody runs")
    }
}

const OWN: Handle = abi::boot_info::handle::PROCESS;
const BUDGET: Handle = abi::boot_info::handle::BUDGET;
const WORLD: Handle = abi::boot_info::handle::WORLD_BUDGET;
const EPOCH: Handle = abi::boot_info::handle::EPOCH;
const MEMORY: Handle = Handle(16);

/// A world process with one started thread, its handle, and the handle of its thread.
fn world_process(rig: &mut Rig, priority: u64) -> (Handle, Handle) {
    let process = rig.create(WORLD, Kind::Process, [16, 0, 0, 0], Handle::NULL);
    let thread = rig.create(WORLD, Kind::Thread, [0x40_0000, 0x50_0000, 7, priority], process);
    assert_eq!(rig.call(Call::Start, thread, |_| {}), Status::Ok);
    (process, thread)
}

#[test]
fn the_promised_handles_are_there() {
    let (mut rig, _) = Rig::new();
    for (handle, kind) in [
        (OWN, Kind::Process),
        (abi::boot_info::handle::THREAD, Kind::Thread),
        (BUDGET, Kind::Budget),
        (WORLD, Kind::Budget),
        (EPOCH, Kind::Epoch),
        (abi::boot_info::handle::INTERRUPTS, Kind::Interrupt),
        (abi::boot_info::handle::PORTS, Kind::IoPorts),
        (MEMORY, Kind::Memory),
    ] {
        assert_eq!(rig.call(Call::Identify, handle, |_| {}), Status::Ok);
        assert_eq!(rig.kernel.cpus[0].frame.rdi as u8, kind as u8);
    }
    assert_eq!(rig.call(Call::Identify, Handle(9), |_| {}), Status::BadHandle);
    assert_eq!(rig.call(Call::Signal, OWN, |_| {}), Status::WrongKind);
}

#[test]
fn two_world_processes_call_each_other_across_a_cut_and_a_restore() {
    let (mut rig, boot) = Rig::new();
    let endpoint = rig.create(WORLD, Kind::Endpoint, [0; 4], Handle::NULL);
    let (server, _) = world_process(&mut rig, 20);
    let (client, _) = world_process(&mut rig, 10);
    let server_end = rig.grant(server, endpoint, Rights::RECEIVE, 0);
    let client_end = rig.grant(client, endpoint, Rights::SEND, 42);
    let resume = rig.call(Call::Resume, EPOCH, |r| r.rdi = abi::Epoch::first_of(1).expect("fits").bits());
    assert_eq!(resume, Status::Ok);
    // Init sleeps; the server has the higher priority, then the client calls.
    rig.call(Call::Wait, Handle::NULL, |r| {
        r.rax = Control::new(Call::Wait, Handle::NULL).with_timeout(Timeout::from_ns(1_000)).0;
    });
    let server_thread = rig.running();
    rig.call(Call::Receive, server_end, |_| {});
    let client_thread = rig.running();
    assert_ne!(server_thread, client_thread);
    rig.call(Call::Call, client_end, |r| {
        r.rdi = 5;
        r.words = [1, 2, 3, 4, 5, 6, 7, 8];
    });
    assert_eq!(rig.running(), server_thread);
    assert_eq!((rig.outcome().kind(), rig.outcome().badge()), (Event::Call, 42));
    assert_eq!(rig.kernel.cpus[0].frame.words, [1, 2, 3, 4, 5, 6, 7, 8]);
    // Init wakes, cuts, exports everything.
    rig.m.now_ns = 2_000_000;
    rig.kernel.timer(&mut rig.m, 0);
    assert_eq!(rig.running(), boot.thread);
    assert_eq!(rig.call(Call::Cut, EPOCH, |_| {}), Status::Ok);
    assert_eq!(rig.call(Call::Cut, EPOCH, |_| {}), Status::Busy);
    let batches = export_all(&mut rig);
    // The world goes on: the answer comes, and is forgotten by the restore.
    let restored = restore_all(&batches);
    let mut rig = restored;
    rig.call(Call::Wait, Handle::NULL, |r| {
        r.rax = Control::new(Call::Wait, Handle::NULL).with_timeout(Timeout::from_ns(1_000)).0;
    });
    assert_eq!(rig.running(), server_thread);
    assert_eq!((rig.outcome().kind(), rig.outcome().badge()), (Event::Call, 42));
    rig.call(Call::ReplyReceive, server_end, |r| r.words = [9; 8]);
    assert_eq!(rig.running(), client_thread);
    assert_eq!(rig.outcome().status(), Status::Ok);
    assert_eq!(rig.kernel.cpus[0].frame.words, [9; 8]);
}

fn export_all(rig: &mut Rig) -> Vec<[u8; 4096]> {
    let mut batches = Vec::new();
    loop {
        let status = rig.call(Call::Export, EPOCH, |r| {
            r.rdi = 5;
            r.caps = u64::from(MEMORY.0);
        });
        assert_eq!(status, Status::Ok);
        if rig.kernel.cpus[0].frame.rdi == 0 {
            return batches;
        }
        batches.push(*rig.m.bytes(105));
    }
}

fn restore_all(batches: &[[u8; 4096]]) -> Rig {
    let (mut rig, _) = Rig::new();
    for batch in batches {
        *rig.m.bytes(105) = *batch;
        let status = rig.call(Call::Restore, EPOCH, |r| {
            r.rdi = 5;
            r.caps = u64::from(MEMORY.0);
        });
        assert_eq!(status, Status::Ok);
    }
    let status = rig.call(Call::Resume, EPOCH, |r| {
        r.rdi = abi::Epoch::first_of(2).expect("fits").bits();
        r.words[0] = 2_000_000;
    });
    assert_eq!(status, Status::Ok);
    rig
}

#[test]
fn a_call_in_volatile_hands_is_restarted_or_repeated() {
    for repeatable in [false, true] {
        let (mut rig, boot) = Rig::new();
        let port = rig.create(WORLD, Kind::Endpoint, [1, 0, 0, 0], Handle::NULL);
        let (client, _) = world_process(&mut rig, 10);
        let client_end = rig.grant(client, port, Rights::SEND, 3);
        rig.call(Call::Resume, EPOCH, |r| r.rdi = abi::Epoch::first_of(1).expect("fits").bits());
        // Init itself is the volatile server: it receives, the client calls.
        rig.call(Call::Receive, port, |_| {});
        let client_thread = rig.running();
        let flags = if repeatable { FLAG_REPEATABLE } else { 0 };
        rig.call(Call::Call, client_end, |r| {
            r.rax = Control::new(Call::Call, client_end).with_flags(flags).0;
            r.words[0] = 77;
        });
        assert_eq!(rig.running(), boot.thread);
        rig.call(Call::Cut, EPOCH, |_| {});
        let batches = export_all(&mut rig);
        let mut rig = restore_all(&batches);
        rig.call(Call::BindPort, EPOCH, |r| r.rdi = 1);
        let port = rig.made();
        if repeatable {
            rig.call(Call::Receive, port, |_| {});
            assert_eq!((rig.outcome().kind(), rig.outcome().badge()), (Event::Call, 3));
            assert_eq!(rig.kernel.cpus[0].frame.words[0], 77);
        } else {
            rig.call(Call::Receive, port, |_| {});
            assert_eq!(rig.running(), client_thread);
            assert_eq!(rig.outcome().status(), Status::Restarted);
        }
    }
}

#[test]
fn a_repeated_call_meets_who_waits_in_the_world() {
    let (mut rig, boot) = Rig::new();
    let port = rig.create(WORLD, Kind::Endpoint, [1, 0, 0, 0], Handle::NULL);
    let (server, _) = world_process(&mut rig, 20);
    let (client, _) = world_process(&mut rig, 10);
    let server_end = rig.grant(server, port, Rights::RECEIVE, 0);
    let client_end = rig.grant(client, port, Rights::SEND, 3);
    rig.call(Call::Resume, EPOCH, |r| r.rdi = abi::Epoch::first_of(1).expect("fits").bits());
    // Init receives first, the server of the world behind it: the call goes to init, and the server still waits.
    rig.call(Call::Receive, port, |_| {});
    let server_thread = rig.running();
    rig.call(Call::Receive, server_end, |_| {});
    rig.call(Call::Call, client_end, |r| {
        r.rax = Control::new(Call::Call, client_end).with_flags(FLAG_REPEATABLE).0;
        r.words[0] = 77;
    });
    assert_eq!(rig.running(), boot.thread);
    rig.call(Call::Cut, EPOCH, |_| {});
    let batches = export_all(&mut rig);
    let mut rig = restore_all(&batches);
    rig.call(Call::Wait, Handle::NULL, |r| {
        r.rax = Control::new(Call::Wait, Handle::NULL).with_timeout(Timeout::from_ns(1_000)).0;
    });
    rig.sound();
    assert_eq!(rig.running(), server_thread);
    assert_eq!((rig.outcome().kind(), rig.outcome().badge()), (Event::Call, 3));
    assert_eq!(rig.kernel.cpus[0].frame.words[0], 77);
}

#[test]
fn the_first_write_after_a_cut_keeps_what_was_frozen() {
    let (mut rig, boot) = Rig::new();
    let port = rig.create(WORLD, Kind::Endpoint, [1, 0, 0, 0], Handle::NULL);
    let (process, _) = world_process(&mut rig, 10);
    let status = rig.call(Call::SetMemoryPort, process, |r| {
        r.rdi = 9;
        r.caps = u64::from(port.0);
    });
    assert_eq!(status, Status::Ok);
    let first = abi::Epoch::first_of(1).expect("fits");
    rig.call(Call::Resume, EPOCH, |r| r.rdi = first.bits());
    rig.call(Call::SetFrames, EPOCH, |r| {
        r.rdi = 1 | (FrameState::Clean as u64) << 8;
        r.words[0] = 7;
        r.caps = u64::from(MEMORY.0);
    });
    rig.call(Call::Receive, port, |_| {});
    // The process touches a page: the fault comes to init, with its badge.
    rig.kernel.page_fault(&mut rig.m, 0, (0x60_0123, Access::WRITE, 6));
    rig.sound();
    assert_eq!((rig.running(), rig.outcome().kind(), rig.outcome().badge()), (boot.thread, Event::Fault, 9));
    let name = rig.kernel.cpus[0].frame.words[2];
    let map = |rig: &mut Rig, flags: MapFlags, epoch: abi::Epoch| {
        rig.call(Call::Map, port, |r| {
            r.rdi = 0x60_0000;
            r.words = [7, 1, flags.bits(), epoch.bits(), name, 0, 0, 0];
            r.caps = u64::from(MEMORY.0);
        })
    };
    assert_eq!(map(&mut rig, MapFlags::WRITE | MapFlags::NOW, first.next().expect("fits")), Status::StaleEpoch);
    assert_eq!(map(&mut rig, MapFlags::WRITE | MapFlags::EXECUTE, first), Status::BadArgument);
    assert_eq!(map(&mut rig, MapFlags::WRITE | MapFlags::NOW, first), Status::Ok);
    let root = rig.kernel.processes.beside(name as u32).root;
    assert_eq!(rig.m.translate(root, 0x60_0000), Some((107, true)));
    rig.m.bytes(107)[0] = 0xaa;
    // Cut: the page is no longer writable once the space is loaded again.
    rig.call(Call::Cut, EPOCH, |_| {});
    rig.call(Call::Donate, EPOCH, |r| {
        r.rdi = 1;
        r.words[0] = 50;
        r.caps = u64::from(MEMORY.0);
    });
    rig.call(Call::ReplyReceive, port, |_| {});
    assert_eq!(rig.m.translate(root, 0x60_0000), Some((107, false)));
    rig.kernel.page_fault(&mut rig.m, 0, (0x60_0123, Access::WRITE | Access::PRESENT, 7));
    rig.sound();
    assert_ne!(rig.running(), boot.thread, "settled without the pager");
    assert_eq!(rig.m.translate(root, 0x60_0000), Some((107, true)));
    rig.m.bytes(107)[0] = 0xbb;
    assert_eq!(rig.m.bytes(150)[0], 0xaa, "the donated frame holds the frozen contents");
    assert_eq!(rig.kernel.log.entries.get(0), Some(107));
    assert_eq!(rig.kernel.log.entries.get(1), Some(107 | 150 << 32));
}

#[test]
fn a_pool_that_ran_out_has_tables_again_when_pages_are_unmapped() {
    let (mut rig, _) = Rig::new();
    // Each page is 2 MiB from the next, so that each needs a table of its own.
    let address = |page: u64| 0x1_0000_0000 + (page << 21);
    let map = |rig: &mut Rig, page: u64| {
        rig.call(Call::Map, OWN, |r| {
            r.rdi = address(page);
            r.words = [0, 1, 0, 0, 0, 0, 0, 0];
            r.caps = u64::from(MEMORY.0);
        })
    };
    let mapped = (0..).take_while(|&page| map(&mut rig, page) == Status::Ok).count() as u64;
    assert!(mapped > 30 && mapped < u64::from(CAPACITIES.tables));
    assert_eq!(map(&mut rig, mapped), Status::PoolExhausted);
    for page in 0..mapped {
        let status = rig.call(Call::Unmap, OWN, |r| {
            r.rdi = address(page);
            r.words = [1, 0, 0, 0, 0, 0, 0, 0];
        });
        assert_eq!((status, rig.kernel.cpus[0].frame.rdi), (Status::Ok, 1));
    }
    // Elsewhere, where none of the old tables would do.
    for page in 512..512 + mapped {
        assert_eq!(map(&mut rig, page), Status::Ok, "page {page} of {mapped}");
    }
    assert_eq!(map(&mut rig, 512 + mapped), Status::PoolExhausted);
    assert_eq!(map(&mut rig, 512 << 9), Status::PoolExhausted);
}

#[test]
fn faults_carry_no_forged_badge() {
    let (mut rig, _) = Rig::new();
    let port = rig.create(WORLD, Kind::Endpoint, [1, 0, 0, 0], Handle::NULL);
    let (process, _) = world_process(&mut rig, 10);
    assert_eq!(rig.call(Call::Copy, port, |r| (r.rdi, r.words) = (u64::MAX, [5, 0, 0, 0, 0, 0, 0, 0])), Status::Ok);
    let badged = rig.made();
    let mut set = |badge| {
        rig.call(Call::SetMemoryPort, process, |r| {
            r.rdi = badge;
            r.caps = u64::from(badged.0);
        })
    };
    assert_eq!(set(6), Status::BadArgument);
    assert_eq!(set(0), Status::BadArgument);
    assert_eq!(set(5), Status::Ok);
}
