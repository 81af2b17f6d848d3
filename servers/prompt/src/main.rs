//! The prompt on libos.
#![no_std]
#![no_main]

use libos::abi::Epoch;
use libos::abi::protocol::console::CHUNK_BYTES_MAX;
use libos::abi::protocol::counter;
use libos::abi::protocol::snapshot::{self, Epochs, Error};
use libos::{CallError, CallOptions, Console, Endpoint, Message, OwnSpace, ReadError, Startup};
use prompt::{Prompt, Trouble, World};

libos::program!(main);

/// Between two reads of a console that does not answer.
const PAUSE_NS: u64 = 500_000_000;

/// Who answers the commands.
struct Servers {
    counter: Endpoint,
    snapshot: Endpoint,
}

/// What a failed call means to a person.
fn trouble(error: CallError) -> Trouble {
    match error {
        CallError::Restarted | CallError::Abandoned => Trouble::Restarted,
        _ => Trouble::Gone,
    }
}

impl Servers {
    /// Asks the snapshot port; asked again after a restore it answers as well, so the calls are repeatable.
    fn ask(&self, request: snapshot::Request) -> Result<[u64; 8], Trouble> {
        let message = Message::tagged(request as u64);
        let answer = self.snapshot.call_with(&message, CallOptions::REPEATABLE).map_err(trouble)?;
        match (answer.tag, Error::from_bits(answer.tag)) {
            (0, _) => Ok(answer.words),
            (_, Some(Error::Undurable)) => Err(Trouble::Undurable),
            (_, Some(Error::Busy)) => Err(Trouble::Restarted),
            _ => Err(Trouble::Gone),
        }
    }
}

impl World for Servers {
    fn count(&mut self) -> Result<u64, Trouble> {
        let answer = self.counter.call(&Message::tagged(counter::Request::Value as u64)).map_err(trouble)?;
        if answer.tag == 0 { Ok(answer.words[0]) } else { Err(Trouble::Gone) }
    }

    fn sync(&mut self) -> Result<Epoch, Trouble> {
        self.ask(snapshot::Request::Sync).map(|words| Epoch::from_bits(words[0]))
    }

    fn epochs(&mut self) -> Result<Epochs, Trouble> {
        self.ask(snapshot::Request::Epochs).map(Epochs::from_words)
    }
}

/// Which run of the machine this is, as the world counts them.
fn incarnation() -> u32 {
    libos::clock().epoch.incarnation()
}

fn main(startup: Startup) {
    let mut servers = Servers { counter: startup.endpoint("counter"), snapshot: startup.endpoint("snapshot") };
    let console = Console::new(startup.endpoint("console"), &mut OwnSpace::of(&startup));
    let mut console = console.unwrap_or_else(|why| panic!("nothing can be printed: {why:?}"));
    let mut prompt = Prompt::new();
    let mut typed = [0; CHUNK_BYTES_MAX];
    // The run that has seen the line as it is: after a restore that came while the prompt wrote (output is repeated by
    // itself) nothing else says that the screen is a new one.
    let mut drawn = incarnation();
    // The console collects and never fails.
    let _ = prompt.begin(&mut console);
    loop {
        // What is typed next follows what is seen; and what was seen is known, so that a restart repeats none of it.
        console.wait_shown();
        if incarnation() != drawn {
            drawn = incarnation();
            let _ = prompt.restarted(&mut console);
            console.wait_shown();
        }
        match console.read(&mut typed) {
            Ok(count) => {
                for byte in &typed[..count] {
                    let _ = prompt.typed(*byte, &mut servers, &mut console);
                }
            }
            Err(ReadError::Restarted) => {
                drawn = incarnation();
                let _ = prompt.restarted(&mut console);
            }
            Err(ReadError::NoAnswer) => libos::sleep(PAUSE_NS),
        }
    }
}
