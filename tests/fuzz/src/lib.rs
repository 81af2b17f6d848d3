//! Anything at all into whatever reads what it does not trust. Nothing may panic, loop or allocate without end, no
//! invariant may break, and nothing damaged may be taken for sound.
//!
//! A [`Target`] takes bytes, makes of them what it likes (registers, records, spoilt images), and says what went wrong.
//! [`Campaign`] makes bytes from a seed: some hundred of them a target are part of the ordinary tests, and
//! `cargo xtask fuzz TARGET --seconds N` goes on for as long as one likes. A failure names its seed, and the seed alone
//! repeats it. No coverage guides it: there is no stable compiler that counts it.
//!
//! Neighbours: `spec` (universes and their machine), `storesim` (images of stores), `world` (the tool over images).
#![forbid(unsafe_code)]

mod block;
mod bundle;
mod call;
mod campaign;
mod exported;
mod image;
mod judges;
mod restore;
mod source;
mod spoil;
mod store;
mod target;

pub use campaign::{Campaign, Found};
pub use source::Source;
pub use target::{NAMES, Run, Target, named};
