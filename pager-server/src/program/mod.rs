//! What only the program needs: the world's memory, the kernel behind the library's environment, the loop.
//!
//! The front of the world's memory holds the pager's tables, the rest is its frames.

mod genesis;
mod machine;

use genesis::GenesisLink;
use libos::abi::boot_info::{FrameRange, RANGES_MAX};
use libos::abi::fault::Fault;
use libos::abi::protocol::startup::exit_code;
use libos::abi::protocol::wiring::{self, News};
use libos::abi::{Handle, PAGE_SIZE, Timeout};
use libos::{Capability, Endpoint, FaultReport, Message, Received, Startup, println};
use machine::Machine;
use pager_server::{Config, FaultMessage, Pager, ProcessName, RequestMessage};

/// Runs for ever.
pub(crate) fn main(startup: Startup) -> ! {
    let (mut pager, blank) = make_pager(&startup);
    let mut machine = Machine::new(&startup, blank);
    let mut genesis = GenesisLink::new(&startup);
    let wake = startup.notification(wiring::WAKE);
    // A new thread has nothing bound.
    let _ = wake.bind();
    let news = startup.window(wiring::NEWS).read_words();
    loop {
        while pager.can_take_store_message(&mut machine) {
            let Some(message) = machine.receive() else { break };
            if let Err(broken) = pager.store_message(&mut machine, message) {
                panic!("the snapshot server said {message:?}: {broken:?}");
            }
        }
        genesis.serve(&mut pager, &mut machine);
        pager.work(&mut machine);
        machine.ring();
        let told = News::read(|index| news.load(index));
        // As long as there is a world.
        machine.port = (!told.port.is_null()).then_some(Endpoint(told.port));
        if machine.borrower_is(told.borrower) {
            pager.borrower_changed(&mut machine);
            machine.ring();
        }
        match machine.port.filter(|_| pager.can_receive()) {
            Some(port) => match machine.receive_from(port) {
                Ok(received) => serve(&mut pager, &mut machine, received),
                // The port is void: there will be news of another.
                Err(_) => {
                    let _ = wake.wait(Timeout::FOREVER);
                }
            },
            None => {
                machine.resume_now();
                let _ = wake.wait(Timeout::FOREVER);
            }
        }
    }
}

/// The pager, and a frame of the world's memory that is not the pager's to use.
fn make_pager(startup: &Startup) -> (Pager, u32) {
    let window = startup.window(wiring::RAM);
    let (first, count) = (window.first_frame(), (window.bytes() / PAGE_SIZE) as u64);
    let mut ranges = [FrameRange::default(); RANGES_MAX];
    ranges[0] = FrameRange { first, count };
    // Sized for all frames: a little more than for those that are left.
    let table_pages = Pager::bytes_needed(&Config::for_frames(ranges)).div_ceil(PAGE_SIZE);
    let tables = window.part(0, table_pages * PAGE_SIZE).and_then(|part| part.arena());
    let mut tables = match tables {
        Ok(arena) => arena,
        Err(error) => panic!("no memory for tables: {error:?}"),
    };
    let blank = first + table_pages as u64;
    ranges[0] = FrameRange { first: blank + 1, count: count - table_pages as u64 - 1 };
    match Pager::new(&mut tables, Config::for_frames(ranges)) {
        Ok(pager) => (pager, blank as u32),
        Err(error) => panic!("{count} frames: {error:?}"),
    }
}

fn serve(pager: &mut Pager, machine: &mut Machine, received: Received) {
    match received {
        // The rings are looked at in any case.
        Received::Notification(_) => {}
        Received::Fault(report) => fault(pager, machine, &report),
        Received::Call { badge, message } => {
            let cap = take_cap(&message);
            pager.request(machine, RequestMessage { badge, tag: message.tag, words: message.words, cap });
        }
        Received::Message { message, .. } => {
            // Who does not wait for the answer gets nothing done.
            if let Some(cap) = take_cap(&message) {
                let _ = Capability(cap).drop();
            }
        }
    }
}

/// The first capability of a message; any others are dropped.
fn take_cap(message: &Message) -> Option<Handle> {
    for &cap in message.caps[1..].iter().filter(|cap| !cap.is_null()) {
        let _ = Capability(cap).drop();
    }
    Some(message.caps[0]).filter(|cap| !cap.is_null())
}

fn fault(pager: &mut Pager, machine: &mut Machine, report: &FaultReport) {
    let FaultReport { badge, address, access, process, thread, instruction, .. } = *report;
    if report.kind == Fault::Exception {
        println!("pager: exception {} of thread {thread} at {instruction:#x}: it stops", report.vector);
        return machine.stop_current();
    }
    if let Some(code) = exit_code(address) {
        println!("pager: thread {thread} has ended with code {code}");
        return machine.stop_current();
    }
    pager.fault(machine, FaultMessage { badge, process: ProcessName(process), address, access });
}
