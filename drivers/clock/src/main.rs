//! The clock driver's program: answers the world's clock port.
//!
//! Grants: `port:clock`, `ports:70+2`, `debug`. A machine without a clock is answered for all the same: with no time.
#![no_std]
#![no_main]

use clock::{Rtc, answer};
use libos::abi::protocol::wiring::{NEWS, News, PORTS, WAKE};
use libos::abi::{Handle, Timeout};
use libos::mmio::Ports;
use libos::{Capability, Endpoint, IoPorts, Message, ReadWords, ReceiveError, Received, Startup, println};

libos::program!(main);

/// I/O ports by the kernel's calls.
struct KernelPorts {
    ports: IoPorts,
    first: u16,
    count: u16,
}

impl KernelPorts {
    fn of(handle: Handle) -> Self {
        let Ok(range) = Capability(handle).identify() else { panic!("the ports cannot be identified") };
        Self { ports: IoPorts(handle), first: range.offset as u16, count: range.length as u16 }
    }
}

impl Ports for KernelPorts {
    fn count(&self) -> u16 {
        self.count
    }

    fn read_u8(&self, offset: u16) -> u8 {
        // A port that cannot be read is one without a device.
        self.ports.read(self.first + offset, 1).map_or(u8::MAX, |value| value as u8)
    }

    fn write_u8(&self, offset: u16, value: u8) {
        let _ = self.ports.write(self.first + offset, 1, value.into());
    }
}

fn main(startup: Startup) {
    let rtc = Rtc::new(KernelPorts::of(startup.handle(PORTS))).ok();
    match rtc.as_ref().map(Rtc::read) {
        Some(Ok(date)) => println!("clock: {} seconds since 1970", date.seconds()),
        other => println!("clock: no time: {other:?}"),
    }
    let wake = startup.notification(WAKE);
    if let Err(error) = wake.bind() {
        panic!("the notification cannot be bound: {error:?}");
    }
    let news = startup.window(NEWS).read_words();
    let mut reply = None;
    loop {
        let Some(port) = port_of(&news) else {
            // No world yet, or none any more: init rings when there is one.
            let _ = wake.wait(Timeout::FOREVER);
            continue;
        };
        let received = match reply.take() {
            Some(message) => port.reply_receive(&message, Timeout::FOREVER),
            None => port.receive(Timeout::FOREVER),
        };
        match received {
            Ok(Received::Call { message, .. }) => {
                drop_capabilities(&message);
                let (tag, words) = answer(rtc.as_ref(), message.tag);
                reply = Some(Message { tag, words, ..Message::default() });
            }
            Ok(Received::Message { message, .. }) => drop_capabilities(&message),
            Ok(Received::Notification(_) | Received::Fault(_)) => {}
            Err(ReceiveError::Cancelled | ReceiveError::Restarted | ReceiveError::TimedOut) => {}
            // The world has gone; its news will say where the next one's port is.
            Err(_) => {
                let _ = wake.wait(Timeout::FOREVER);
            }
        }
    }
}

fn port_of(news: &ReadWords) -> Option<Endpoint> {
    let port = News::read(|index| news.load(index)).port;
    (!port.is_null()).then_some(Endpoint(port))
}

/// Nothing in this protocol carries capabilities: what comes all the same must not fill the table.
fn drop_capabilities(message: &Message) {
    for handle in message.caps.into_iter().take_while(|handle| !handle.is_null()) {
        let _ = Capability(handle).drop();
    }
}
