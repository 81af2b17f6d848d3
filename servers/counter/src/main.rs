//! The counter on libos.
#![no_std]
#![no_main]

use counter::Counter;
use libos::{Answer, Message, Service, Startup};

libos::program!(main);

/// Answers calls with what the library says.
struct Served(Counter);

impl Service for Served {
    fn message(&mut self, _badge: u64, message: &Message, waits: bool) -> Answer {
        let counter::Answer { tag, word } = self.0.answer(message.tag, message.words[0]);
        if waits { Answer::Reply(Message::tagged(tag).word(0, word)) } else { Answer::Nothing }
    }
}

fn main(startup: Startup) {
    let why = libos::serve(startup.endpoint("counter"), &mut Served(Counter::new()));
    panic!("the counter cannot receive: {why:?}");
}
