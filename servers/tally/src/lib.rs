//! # tally: a program of the world that counts, and checks that the world remembers
//!
//! **What it does.** Asks the counter for one more, again and again, and compares each answer with its own memory of the
//! last: two processes whose numbers must always agree, whatever happens to the machine between two steps. Each
//! thousandth step it prints the number; a disagreement it prints at once, as an alarm. It also writes each printed
//! number into a page of its own, in a persistent memory object, and into a transient one, and checks what it finds there
//! next time: a persistent page holds what was written, in whatever incarnation; a transient one what was written in
//! this incarnation, or zero. Once round, it keeps a copy-on-write copy, which must stay as it was.
//!
//! **What it refuses.** To mend a disagreement silently: it says both numbers, then goes on from the counter's.
//!
//! **Key types.** [`Tally`]; [`Trail`] (the memory objects); what they need is a [`Counting`], [`Slots`], and
//! somewhere to print.
//!
//! **Neighbours.** `counter`; the console port. **Across a restore** it goes on as if nothing had been. A line may then come
//! out twice; that is the console's promise (law 5), and why the lines carry numbers.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod tally;
mod trail;

pub use tally::{Counting, LINE_EVERY, Lost, Tally};
pub use trail::{Doubt, Keepsake, SLOTS, Slots, Trail, Which};
