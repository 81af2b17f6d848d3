//! `vectors-b`: answers calls with what its threads have seen, a pattern in its registers from each answer to the next
//! call.

use crate::holder::Holder;
use crate::spinner::{SPINNER, start_spinner};
use libos::abi::{Call, Control, Event, Outcome};
use libos::{Meanwhile, Startup};

/// Numbers of its threads.
const SERVER: u64 = 10;
const SPINS: u64 = 11;

/// Words of an answer: the caller's first word plus one, then wrong patterns and restores of the server, and of the spinner
/// steps, wrong patterns and restores.
pub(crate) fn run(startup: &Startup) -> ! {
    let endpoint = startup.handle("vectors");
    let mut holder = Holder::new(SERVER);
    assert_eq!(holder.notices(), trials::PARTS, "lost registers go unnoticed");
    start_spinner(SPINS);
    let mut registers = [0; 11];
    loop {
        registers[0] = Control::new(Call::ReplyReceive, endpoint).0;
        let after = holder.hold(Meanwhile::Call(registers));
        let outcome = Outcome(after[0]);
        assert!(outcome.is_ok() && outcome.kind() == Event::Call, "no call: {outcome:?}");
        let [steps, wrong, restored] = SPINNER.read();
        registers = [0, 0, after[2] + 1, holder.wrong, holder.restored, steps, wrong, restored, 0, 0, 0];
    }
}
