//! What only the program needs: memory by size of the disk, the kernel behind the conductor's environment, the loop.

mod environment;
mod setup;

use libos::abi::Timeout;
use libos::abi::protocol::snapshot::{Error, Request};
use libos::abi::protocol::wiring::{self, Bell, News};
use libos::{Endpoint, Message, ReadWords, Received, Startup, reply, save_reply};

use environment::Machine;
use setup::Conductor;

/// Longest sleep: the link to a driver that comes up by itself rings, so this is only for what nobody rings for.
const IDLE_NS_MAX: u64 = 1_000_000_000;

/// Runs for ever.
pub(crate) fn main(startup: Startup) -> ! {
    let mut machine = Machine::new(&startup);
    let wake = startup.notification(wiring::WAKE);
    // A new thread has nothing bound.
    let _ = wake.bind();
    let mut conductor = setup::conductor(&startup, &machine, wake);
    let news = startup.window(wiring::NEWS).read_words();
    loop {
        // Rung between, too: disk and pager go on while a fold keeps this thread busy.
        let mut more = true;
        while more {
            more = conductor.poll(&mut machine);
            ring_disk(&mut conductor, &machine);
            machine.ring();
        }
        let ns = conductor.due_in(machine.now()).unwrap_or(IDLE_NS_MAX).min(IDLE_NS_MAX);
        let timeout = if ns == 0 { Timeout::POLL } else { Timeout::from_ns(ns) };
        match port(&news) {
            Some(port) => {
                if let Ok(received) = port.receive(timeout) {
                    serve(&mut conductor, &mut machine, received);
                }
            }
            None => {
                if let Ok(bits) = wake.wait(timeout) {
                    rung(&mut conductor, bits);
                }
            }
        }
    }
}

fn ring_disk(conductor: &mut Conductor, machine: &Machine) {
    if conductor.store_mut().is_some_and(|store| store.host_mut().take_ring()) {
        machine.ring_disk();
    }
}

/// The port, as long as there is a world.
fn port(news: &ReadWords) -> Option<Endpoint> {
    let port = News::read(|index| news.load(index)).port;
    (!port.is_null()).then_some(Endpoint(port))
}

fn rung(conductor: &mut Conductor, bits: u64) {
    if Bell::from_bits_truncate(bits).contains(Bell::OUTPUT) {
        conductor.hurry();
    }
}

fn serve(conductor: &mut Conductor, machine: &mut Machine, received: Received) {
    match received {
        Received::Notification(bits) => rung(conductor, bits),
        Received::Call { message, .. } => answer(conductor, machine, &message),
        // Nobody's memory is served here, and nothing is asked without waiting for the answer.
        Received::Message { .. } | Received::Fault(_) => {}
    }
}

fn answer(conductor: &mut Conductor, machine: &mut Machine, message: &Message) {
    // A caller that is gone needs no answer.
    let _ = match Request::from_bits(message.tag) {
        Some(Request::Epochs) => reply(&Message { words: conductor.epochs(machine).words(), ..Message::default() }),
        Some(Request::Sync) if conductor.has_room_for_sync() => match save_reply() {
            Ok(saved) => match conductor.sync(machine, saved.0) {
                Ok(()) => Ok(()),
                Err(error) => saved.reply(&Message::tagged(error as u64)),
            },
            Err(_) => reply(&Message::tagged(Error::Busy as u64)),
        },
        Some(Request::Sync) => reply(&Message::tagged(Error::Busy as u64)),
        None => reply(&Message::tagged(Error::BadRequest as u64)),
    };
}
