//! The tally on libos.
#![no_std]
#![no_main]

use libos::abi::protocol::counter::Request;
use libos::{Console, Endpoint, Message, Startup};
use tally::{Counting, Lost, Tally};

libos::program!(main);

/// Between two steps: the numbers are to be seen to grow, not to keep the machine busy.
const PAUSE_NS: u64 = 500_000;

/// The counter in its process.
struct Remote(Endpoint);

impl Counting for Remote {
    fn increment(&mut self) -> Result<u64, Lost> {
        let message = Message::tagged(Request::Increment as u64).word(0, 1);
        match self.0.call(&message) {
            Ok(answer) if answer.tag == 0 => Ok(answer.words[0]),
            _ => Err(Lost),
        }
    }
}

fn main(startup: Startup) {
    let mut counter = Remote(startup.endpoint("counter"));
    let mut console = Console::new(startup.endpoint("console"));
    let mut tally = Tally::new();
    loop {
        let stepped = tally.step(&mut counter, &mut console);
        console.flush();
        if stepped == Err(Lost) {
            panic!("the counter is gone");
        }
        libos::sleep(PAUSE_NS);
    }
}
