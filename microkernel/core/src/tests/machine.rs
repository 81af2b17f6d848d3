//! What drivers may do with the machine: ports, interrupts, the debug port, page tables; each at its bounds.

use super::*;
use abi::boot_info::handle::{INTERRUPTS, PORTS};

fn words(register: &mut Registers, rdi: u64, words: &[u64]) {
    register.rdi = rdi;
    register.words[..words.len()].copy_from_slice(words);
}

/// A part of a range: its handle.
fn part(rig: &mut Rig, whole: Handle, offset: u64, length: u64) -> Handle {
    assert_eq!(rig.call(Call::Copy, whole, |r| words(r, u64::MAX, &[0, offset, length])), Status::Ok);
    rig.made()
}

#[test]
fn ports_are_read_and_written_within_their_range() {
    let (mut rig, _) = Rig::new();
    let few = part(&mut rig, PORTS, 0x60, 8);
    rig.m.ports.insert(0x64, 0xabcd);
    let mut read = |port: u64, width: u64| {
        (rig.call(Call::PortRead, few, |r| words(r, port, &[width])), rig.kernel.cpus[0].frame.rdi)
    };
    assert_eq!(read(0x64, 1), (Status::Ok, 0xabcd));
    assert_eq!(read(0x64, 4).0, Status::Ok);
    for (port, width) in [(0x5f, 1), (0x68, 1), (0x65, 4), (0x67, 2), (u64::MAX, 1), (u64::MAX - 1, 4)] {
        assert_eq!(read(port, width).0, Status::BadRange, "{port:x} {width}");
    }
    for width in [0, 3, 8] {
        assert_eq!(read(0x64, width).0, Status::BadArgument);
    }
    assert_eq!(rig.call(Call::PortWrite, few, |r| words(r, 0x67, &[1, 7])), Status::Ok);
    assert_eq!(rig.m.ports.get(&0x67), Some(&7));
    assert_eq!(rig.call(Call::PortWrite, few, |r| words(r, 0x67, &[2, 8])), Status::BadRange);
    assert_eq!(rig.m.ports.get(&0x67), Some(&7));
}

#[test]
fn the_debug_port_takes_up_to_eight_words() {
    let (mut rig, _) = Rig::new();
    let text: Vec<u8> = (0..64).collect();
    let set = |count: u64| {
        move |r: &mut Registers| {
            r.rdi = count;
            r.words = core::array::from_fn(|at| u64::from_le_bytes(core::array::from_fn(|byte| (at * 8 + byte) as u8)));
        }
    };
    assert_eq!(rig.call(Call::DebugWrite, PORTS, set(65)), Status::BadArgument);
    assert_eq!(rig.call(Call::DebugWrite, PORTS, set(64)), Status::Ok);
    assert_eq!(rig.m.debug, text);
    assert_eq!(rig.call(Call::DebugWrite, PORTS, set(3)), Status::Ok);
    assert_eq!(rig.m.debug[64..], text[..3]);
    // A capability must cover the port.
    for (offset, length, status) in
        [(0x3f8, 1, Status::Ok), (0x3f0, 8, Status::BadRange), (0x3f0, 9, Status::Ok), (0x3f9, 8, Status::BadRange)]
    {
        let some = part(&mut rig, PORTS, offset, length);
        assert_eq!(rig.call(Call::DebugWrite, some, set(1)), status, "{offset:x} {length}");
    }
}

#[test]
fn interrupts_ring_until_masked_and_after_they_are_acknowledged() {
    let (mut rig, boot) = Rig::new();
    let bell = rig.create(BUDGET, Kind::Notification, [0; 4], Handle::NULL);
    assert_eq!(rig.call(Call::Copy, bell, |r| words(r, u64::MAX, &[4])), Status::Ok);
    let badged = rig.made();
    let bind = |rig: &mut Rig, line: Handle, cap: Handle| {
        let status = rig.call(Call::BindInterrupt, line, |r| r.caps = u64::from(cap.0));
        (status, rig.kernel.cpus[0].frame.rdi, rig.kernel.cpus[0].frame.words[0])
    };
    let [line, last_line, message, last] = [5, 23, 24, 63].map(|number| part(&mut rig, INTERRUPTS, number, 1));
    rig.m.masked.insert(5);
    assert_eq!(rig.call(Call::AckInterrupt, line, |_| {}), Status::WrongState);
    assert!(rig.m.masked.contains(&5), "what leads nowhere is not let in");
    assert_eq!(bind(&mut rig, line, bell).0, Status::BadArgument, "a signal without bits");
    assert_eq!(bind(&mut rig, line, badged).0, Status::Ok);
    assert!(!rig.m.masked.contains(&5));
    assert_eq!(bind(&mut rig, message, badged), (Status::Ok, 0xfee0_0000, 24));
    assert_eq!(bind(&mut rig, last, badged), (Status::Ok, 0xfee0_0000, 63));
    assert_eq!(bind(&mut rig, last_line, badged).0, Status::Ok);
    for (number, masks) in [(5, true), (23, true), (24, false), (63, false)] {
        rig.call(Call::Wait, bell, |_| {});
        assert_ne!(rig.kernel.current(0), Some(boot.thread));
        rig.kernel.interrupt(&mut rig.m, 0, number);
        rig.sound();
        assert_eq!(rig.running(), boot.thread);
        assert_eq!((rig.outcome().kind(), rig.outcome().badge()), (Event::Notification, 4), "{number}");
        assert_eq!(rig.m.masked.contains(&number), masks, "{number}");
    }
    assert_eq!(rig.call(Call::AckInterrupt, line, |_| {}), Status::Ok);
    assert!(!rig.m.masked.contains(&5) && rig.m.masked.contains(&23));
    // Nobody is bound to it, or there is none: nothing happens.
    rig.kernel.interrupt(&mut rig.m, 0, 6);
    rig.kernel.interrupt(&mut rig.m, 0, 64);
    rig.sound();
    let poll = |r: &mut Registers| r.rax = Control::new(Call::Wait, bell).with_timeout(Timeout::POLL).0;
    assert_eq!(rig.call(Call::Wait, bell, poll), Status::WouldBlock);
    // A notification that is gone is rung no more, and who takes its number is not rung for it.
    assert_eq!(rig.call(Call::Destroy, bell, |_| {}), Status::Ok);
    assert_eq!(rig.call(Call::AckInterrupt, line, |_| {}), Status::WrongState);
    let other = rig.create(BUDGET, Kind::Notification, [0; 4], Handle::NULL);
    rig.kernel.interrupt(&mut rig.m, 0, 24);
    rig.sound();
    let poll = |r: &mut Registers| r.rax = Control::new(Call::Wait, other).with_timeout(Timeout::POLL).0;
    assert_eq!(rig.call(Call::Wait, other, poll), Status::WouldBlock);
}

fn map(rig: &mut Rig, address: u64, first: u64, pages: u64, flags: MapFlags) -> (Status, u64) {
    let status = rig.call(Call::Map, OWN, |r| {
        words(r, address, &[first, pages, flags.bits()]);
        r.caps = u64::from(MEMORY.0);
    });
    (status, rig.kernel.cpus[0].frame.rdi)
}

#[test]
fn what_has_been_accessed_is_told_once() {
    let (mut rig, boot) = Rig::new();
    // Across the end of a leaf table, and of a word of the answer; the last page is not mapped.
    let (at, page) = (0x1_0020_0000 - 100 * 4096, |page: u64| 0x1_0020_0000 - 100 * 4096 + page * 4096);
    assert_eq!(map(&mut rig, at, 0, 150, MapFlags::empty()), (Status::Ok, 150));
    let root = rig.kernel.processes.beside(boot.process).root;
    let ask = |rig: &mut Rig, pages: u64| {
        let status = rig.call(Call::Accessed, OWN, |r| words(r, at, &[pages]));
        (status, rig.kernel.cpus[0].frame.rdi, rig.kernel.cpus[0].frame.words)
    };
    assert_eq!(ask(&mut rig, 151), (Status::Ok, 150, [0; 8]));
    for accessed in [0, 63, 64, 149, 150] {
        rig.m.access(root, page(accessed) + 8);
    }
    assert_eq!(ask(&mut rig, 149), (Status::Ok, 149, [1 | 1 << 63, 1, 0, 0, 0, 0, 0, 0]));
    assert_eq!(ask(&mut rig, 512), (Status::Ok, 150, [0, 0, 1 << (149 - 128), 0, 0, 0, 0, 0]));
    assert_eq!(ask(&mut rig, 512), (Status::Ok, 150, [0; 8]));
    // Mapped anew it has not been accessed, and nothing else of it has changed.
    rig.m.access(root, at);
    assert_eq!(map(&mut rig, at, 9, 1, MapFlags::WRITE), (Status::Ok, 1));
    assert_eq!((ask(&mut rig, 1), seen(&rig, boot, at)), ((Status::Ok, 1, [0; 8]), Some((109, true))));
    assert_eq!((ask(&mut rig, 0).0, ask(&mut rig, 513).0), (Status::BadArgument, Status::BadArgument));
    let outside = rig.call(Call::Accessed, OWN, |r| words(r, abi::USER_END - 4096, &[2]));
    assert_eq!(outside, Status::BadAddress);
    assert_eq!(rig.call(Call::Accessed, MEMORY, |r| words(r, at, &[1])), Status::WrongKind);
}

fn seen(rig: &Rig, boot: BootProcess, address: u64) -> Option<(u32, bool)> {
    rig.m.translate(rig.kernel.processes.beside(boot.process).root, address)
}

#[test]
fn pages_are_mapped_where_and_as_they_should_be() {
    let (mut rig, boot) = Rig::new();
    // Across the end of a leaf table.
    let at = 0x1_0020_0000 - 3 * 4096;
    assert_eq!(map(&mut rig, at, 7, 5, MapFlags::WRITE), (Status::Ok, 5));
    for page in 0..5 {
        assert_eq!(seen(&rig, boot, at + page * 4096 + 8), Some((107 + page as u32, true)));
    }
    assert_eq!((seen(&rig, boot, at - 1), seen(&rig, boot, at + 5 * 4096)), (None, None));
    assert_eq!(map(&mut rig, at, 20, 1, MapFlags::empty()), (Status::Ok, 1));
    assert_eq!(seen(&rig, boot, at), Some((120, false)));
    // Only ever narrower.
    let change = |rig: &mut Rig, call, address, with: &[u64]| {
        let status = rig.call(call, OWN, |r| words(r, address, with));
        (status, rig.kernel.cpus[0].frame.rdi)
    };
    assert_eq!(change(&mut rig, Call::Protect, at, &[3, MapFlags::WRITE.bits()]), (Status::Ok, 3));
    assert_eq!((seen(&rig, boot, at), seen(&rig, boot, at + 4096)), (Some((120, false)), Some((108, true))));
    assert_eq!(change(&mut rig, Call::Protect, at + 4096, &[3, 0]), (Status::Ok, 3));
    assert_eq!(seen(&rig, boot, at + 3 * 4096), Some((110, false)));
    assert_eq!(seen(&rig, boot, at + 4 * 4096), Some((111, true)));
    assert_eq!(change(&mut rig, Call::Protect, at, &[1, 1 << 40]).0, Status::BadArgument);
    assert_eq!(change(&mut rig, Call::Unmap, at - 4096, &[3, 0]), (Status::Ok, 2));
    assert_eq!((seen(&rig, boot, at + 4096), seen(&rig, boot, at + 2 * 4096)), (None, Some((109, false))));
    assert_eq!(change(&mut rig, Call::Unmap, at, &[512, 0]), (Status::Ok, 3));
    assert_eq!(change(&mut rig, Call::Unmap, at, &[512, 0]), (Status::Ok, 0));
}

#[test]
fn ranges_end_where_they_must() {
    let (mut rig, _) = Rig::new();
    let none = MapFlags::empty();
    // Memory has 200 pages.
    for (first, pages, status) in [
        (0, 1, Status::Ok),
        (199, 1, Status::Ok),
        (199, 2, Status::BadRange),
        (200, 1, Status::BadRange),
        (u64::MAX, 1, Status::BadRange),
        (0, 0, Status::BadArgument),
        (0, 513, Status::BadArgument),
        (0, 512, Status::BadRange),
    ] {
        assert_eq!(map(&mut rig, 0x1_0000_0000, first, pages, none).0, status, "{first} {pages}");
    }
    let end = abi::USER_END;
    for (address, pages, status) in [
        (abi::USER_START, 1, Status::Ok),
        (abi::USER_START - 4096, 1, Status::BadAddress),
        (0x1_0000_0800, 1, Status::BadAddress),
        (end - 2 * 4096, 1, Status::Ok),
        (end - 2 * 4096, 2, Status::BadAddress),
        (end - 4096, 1, Status::BadAddress),
        (u64::MAX - 4095, 1, Status::BadAddress),
    ] {
        assert_eq!(map(&mut rig, address, 0, pages, none).0, status, "{address:x} {pages}");
    }
    let both = MapFlags::WRITE | MapFlags::EXECUTE;
    assert_eq!(map(&mut rig, 0x1_0000_0000, 0, 1, both).0, Status::BadArgument);
}

/// A Memory may reach beyond the machine's memory, to a device: the kernel tracks and writes no frame there.
#[test]
fn frames_end_where_memory_does() {
    let (mut rig, boot) = Rig::new();
    let device = Handle(40);
    let end = CAPACITIES.frames;
    rig.kernel.boot_range(boot.process, device, Kind::Memory, end - 4..end + 4, true).expect("a free handle");
    for (page, status) in [(3, Status::Ok), (4, Status::BadRange), (7, Status::BadRange), (8, Status::BadRange)] {
        let told = rig.call(Call::SetFrames, EPOCH, |r| {
            words(r, 1 | (FrameState::Clean as u64) << 8, &[page]);
            r.caps = u64::from(device.0);
        });
        assert_eq!(told, status, "page {page}");
    }
}

#[test]
fn the_log_and_the_ring_hold_what_they_have_room_for() {
    let (mut rig, _) = Rig::new();
    let donate = |rig: &mut Rig, count: u64| {
        let status = rig.call(Call::Donate, EPOCH, |r| {
            words(r, count, &[1, 2, 3, 4, 5, 6, 7, 8]);
            r.caps = u64::from(MEMORY.0);
        });
        (status, rig.kernel.cpus[0].frame.rdi)
    };
    for count in [0, 9, u64::MAX, 1 << 32 | 1] {
        assert_eq!(donate(&mut rig, count).0, Status::BadArgument, "{count:x}");
    }
    // Sixteen places.
    assert_eq!(donate(&mut rig, 8), (Status::Ok, 8));
    assert_eq!(donate(&mut rig, 7), (Status::Ok, 7));
    assert_eq!(donate(&mut rig, 8), (Status::Ok, 1));
    assert_eq!(donate(&mut rig, 8), (Status::Ok, 0));
    let set = |rig: &mut Rig, state: u64, pages: &[u64]| {
        let status = rig.call(Call::SetFrames, EPOCH, |r| {
            words(r, pages.len() as u64 | state << 8, pages);
            r.caps = u64::from(MEMORY.0);
        });
        (status, rig.kernel.cpus[0].frame.rdi)
    };
    let (clean, dirty, claimed) = (FrameState::Clean as u64, FrameState::Dirty as u64, FrameState::Claimed as u64);
    assert_eq!(set(&mut rig, clean, &[50, 51, 52]), (Status::Ok, 0b111));
    // Only clean frames become dirty, each with an entry in the log; a dirty one of this epoch is not touched.
    assert_eq!(set(&mut rig, dirty, &[50, 60, 52]), (Status::Ok, 0b101));
    assert_eq!(set(&mut rig, clean, &[50, 51]), (Status::Ok, 0b10));
    assert_eq!(set(&mut rig, claimed, &[50, 51, 60]), (Status::Ok, 0));
    assert_eq!(set(&mut rig, 4, &[50]).0, Status::BadArgument);
    assert_eq!(set(&mut rig, 256, &[50]).0, Status::BadArgument);
    assert_eq!(set(&mut rig, clean, &[]).0, Status::BadArgument);
    assert_eq!(set(&mut rig, clean, &[200]).0, Status::BadRange);
    let read = |rig: &mut Rig, position: u64| {
        // First writes stop nowhere.
        let empty = [u64::MAX, 9, 9, 9, 9, 9, 9, 9];
        assert_eq!(rig.call(Call::ReadLog, EPOCH, |r| words(r, position, &empty)), Status::Ok);
        let frame = &rig.kernel.cpus[0].frame;
        (frame.rdi, frame.words[0], frame.words[1])
    };
    assert_eq!(read(&mut rig, 0), (2, 150, 152));
    assert_eq!(read(&mut rig, 1), (1, 152, 9));
    assert_eq!(rig.kernel.log.entries.get(0), None, "what lies before the position is released");
    // Beyond the end there is nothing, and nothing before it is kept.
    assert_eq!(read(&mut rig, 1000), (0, u64::MAX, 9));
    // Sixty-four places: the log is full when they are taken, and has room again when it was read.
    for page in 0..64 {
        assert_eq!(set(&mut rig, clean, &[70 + page]), (Status::Ok, 1));
        assert_eq!(set(&mut rig, dirty, &[70 + page]), (Status::Ok, 1), "{page}");
    }
    assert_eq!(set(&mut rig, dirty, &[51]), (Status::Ok, 0));
    assert_eq!(read(&mut rig, 3), (8, 171, 172));
    assert_eq!(set(&mut rig, dirty, &[51]), (Status::Ok, 1));
}

/// Whoever serves a process's memory may ask for anything between two steps of its end, however many tables it has.
#[test]
fn the_pages_of_a_dying_process_can_be_asked_about() {
    for tables in 1..12 {
        for world in [false, true] {
            let (mut rig, _) = Rig::new();
            let budget = if world { WORLD } else { BUDGET };
            let process = rig.create(budget, Kind::Process, [16, 0, 0, 0], Handle::NULL);
            // The first page takes three tables below the root, each further 2 MiB one.
            for stretch in 0..tables {
                let status = rig.call(Call::Map, process, |r| {
                    words(r, 0x1_0000_0000 + stretch * (2 << 20), &[0, 1, 0]);
                    r.caps = u64::from(MEMORY.0);
                });
                assert_eq!(status, Status::Ok);
            }
            for _ in 0..100 {
                for call in [Call::Protect, Call::Unmap] {
                    // Where nothing is mapped: so that there is something left to tear down.
                    let status = rig.call(call, process, |r| words(r, 0x2_0000_0000, &[1, 0]));
                    assert!(matches!(status, Status::Ok | Status::PeerDied), "{tables} {status:?}");
                }
                let rip = rig.kernel.cpus[0].frame.rip;
                rig.call(Call::Destroy, process, |_| {});
                if rig.kernel.cpus[0].frame.rip == rip {
                    break;
                }
                rig.kernel.cpus[0].frame.rip = rip;
            }
            assert_eq!(rig.call(Call::Identify, process, |_| {}), Status::PeerDied, "{tables}");
        }
    }
}
