//! The program `vectors`, twice in its world: as `vectors-a`, which does things and prints, and as `vectors-b`, which it
//! calls.
//!
//! Each has threads of one priority that hold patterns of their own in all vector registers ([`Holder`]). Every few rounds
//! `vectors-a` prints what happened while a pattern was held, and how often one was found changed.
//! It refuses to go on when the other does not answer. Neighbours: `trials::Pattern`, `libos::hold_vectors`.
#![no_std]
#![no_main]

mod caller;
mod holder;
mod server;
mod spinner;

use libos::Startup;

libos::program!(main);

fn main(startup: Startup) {
    if startup.find("console").is_ok() { caller::run(&startup) } else { server::run(&startup) }
}
