//! The console port's server as a state machine. The program around it receives the calls, puts each one's Reply aside, and
//! hands both in here.
//!
//! Order of things that law 5 hangs on, for each stretch of output:
//! 1. the write index of the ring is read, and the bytes below it are copied;
//! 2. then the running epoch is asked for, which is therefore not earlier than the one of the reading;
//! 3. [`Console::turn`] sends the bytes when that epoch has committed;
//! 4. only then is the caller answered, and the index below which all is shown moves.

use abi::Epoch;
use abi::protocol::console::{Answer, Carried, Error, Request};
use abi::protocol::lent::LentName;

use crate::input::Input;
use crate::output::Output;

/// Readers that wait, at most.
const READERS_MAX: usize = 16;
/// Bytes taken from the line in one turn, at most: whoever types faster is not alone in the world.
const RECEIVED_MAX: usize = 256;
/// Bursts sent to the line in one turn, at most.
const BURSTS_MAX: usize = 64;

/// The world, as far as the port reaches into it.
pub trait World {
    /// A caller that waits, by the Reply that was put aside.
    type Caller;

    /// Answers; false when the caller no longer waits.
    fn answer(&mut self, caller: Self::Caller, answer: &Answer) -> bool;

    /// The epoch that runs now.
    fn running(&mut self) -> Epoch;

    /// Whose page lies in a place of the window of what is lent ([`abi::protocol::lent`]).
    fn lent(&self, place: usize) -> Option<LentName>;

    /// A word of the page in a place: whatever is there.
    fn word(&self, place: usize, index: usize) -> u64;
}

/// The line to the person.
pub trait Line {
    /// Sends some of `bytes`, without waiting; how many.
    fn send(&mut self, bytes: &[u8]) -> usize;

    /// A byte that was typed, if there is one.
    fn receive(&mut self) -> Option<u8>;
}

/// What a turn asks of the program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// Ring the snapshot server: output waits for a cut.
    pub want_cut: bool,
    /// The line is not ready for more: come back soon even if it does not interrupt.
    pub line_busy: bool,
}

impl<T> Default for Console<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// The server. `T` is [`World::Caller`].
#[derive(Debug)]
pub struct Console<T> {
    knows_a_world: bool,
    output: Output<T>,
    input: Input,
    readers: [Option<T>; READERS_MAX],
    /// Newest commit that is known.
    committed: Epoch,
    /// Since the last turn output has begun to wait, or an epoch has committed and some still waits.
    ring: bool,
}

impl<T> Console<T> {
    /// A server that has just started and knows no world. What is typed meanwhile waits.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            knows_a_world: false,
            output: Output::new(),
            input: Input::new(0),
            readers: [const { None }; READERS_MAX],
            committed: Epoch::NONE,
            ring: false,
        }
    }

    /// There is a world, restored from `restored` (or new, or the server is). Whoever waited in an earlier one is not there
    /// any more, and what was to be shown comes again from the world; what was typed since is handed out again.
    ///
    /// `first` numbers the first byte that is typed. It must be greater than any number that was ever used in this world,
    /// with room below the next for every byte that will be typed: nanoseconds of world time are.
    pub fn world_began(&mut self, restored: Epoch, first: u64) {
        self.output.clear();
        self.readers = [const { None }; READERS_MAX];
        if self.knows_a_world {
            self.input.take_back(restored);
        } else {
            // An earlier server may have given out numbers in this world.
            self.input.number_from(first);
        }
        self.knows_a_world = true;
        self.committed = self.committed.max(restored);
        self.ring = false;
    }

    /// Bytes that were typed and dropped because nobody took the ones before: for the log.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.input.dropped()
    }

    /// A call has been received, with a capability to what is called `ring`, if it is one of the memory port. It is
    /// answered now or in a later turn.
    pub fn request<W: World<Caller = T>>(
        &mut self,
        world: &mut W,
        caller: T,
        carried: &Carried,
        ring: Option<LentName>,
    ) {
        let refused = match Request::from_carried(carried) {
            Err(error) => Err((caller, error)),
            Ok(Request::Show { until }) => {
                // It may have been lent a moment ago.
                self.ring |= self.output.look(world);
                self.output.wait(world, caller, ring, until);
                Ok(())
            }
            Ok(Request::Read) => self.read(caller),
        };
        if let Err((caller, error)) = refused {
            // One that no longer waits needs no answer.
            let _ = world.answer(caller, &Answer::Refused(error));
        }
    }

    fn read(&mut self, caller: T) -> Result<(), (T, Error)> {
        match self.readers.iter_mut().find(|reader| reader.is_none()) {
            Some(slot) => {
                *slot = Some(caller);
                Ok(())
            }
            None => Err((caller, Error::Full)),
        }
    }

    /// Does all that can be done now: takes what is new in the rings, sends what has committed, answers who has been shown,
    /// takes what was typed and hands it out. `committed` is the last durable epoch.
    pub fn turn<W: World<Caller = T>>(&mut self, world: &mut W, line: &mut impl Line, committed: Epoch) -> Turn {
        if committed > self.committed {
            self.committed = committed;
            self.input.settle(committed);
            self.ring |= self.output.waits_beyond(committed);
        }
        self.ring |= self.knows_a_world && self.output.look(world);
        let line_busy = self.show(world, line);
        // Where all is sent there may be more.
        self.ring |= self.knows_a_world && self.output.look(world);
        for _ in 0..RECEIVED_MAX {
            let Some(byte) = line.receive() else { break };
            self.input.typed(byte);
        }
        self.hand_out(world);
        let want_cut = core::mem::take(&mut self.ring) && self.output.waits_beyond(self.committed);
        Turn { want_cut, line_busy }
    }

    /// Sends; whether the line could take no more.
    fn show<W: World<Caller = T>>(&mut self, world: &mut W, line: &mut impl Line) -> bool {
        for _ in 0..BURSTS_MAX {
            let Some(bytes) = self.output.sendable(self.committed) else {
                // Tells the line that nothing more comes.
                line.send(&[]);
                return false;
            };
            let count = line.send(bytes);
            if count == 0 {
                return true;
            }
            self.output.sent(world, count);
        }
        true
    }

    /// Gives fresh bytes to those who wait for them, first come, first served.
    fn hand_out<W: World<Caller = T>>(&mut self, world: &mut W) {
        while let Some((number, chunk)) = self.input.fresh() {
            let Some(reader) = self.readers[0].take() else { return };
            self.readers.rotate_left(1);
            if world.answer(reader, &Answer::Typed { number, chunk }) {
                // Asked after the answer: not earlier than the epoch that took the bytes. A cut between the two makes
                // them wait for a commit longer than they need, and come again with numbers that the reader knows.
                self.input.taken(chunk.bytes().len(), world.running());
            }
        }
    }

    /// Whether a world is known: only then may requests come.
    #[must_use]
    pub fn knows_a_world(&self) -> bool {
        self.knows_a_world
    }

    #[cfg(test)]
    pub(crate) fn check(&self) -> bool {
        let waiting = self.readers.iter().take_while(|reader| reader.is_some()).count();
        self.output.check() && self.input.check() && self.readers[waiting..].iter().all(Option::is_none)
    }
}
