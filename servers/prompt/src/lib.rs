//! # prompt: a line of input that survives a power cut
//!
//! **What it does.** Edits one line (echo, backspace, kill the line) and carries out what was typed: `count`, `sync`,
//! `epochs`, `help`. What has been typed lies in the memory of its process; after a restore it is drawn again, and the
//! typing goes on.
//!
//! **What it refuses.** Lines longer than [`LINE_MAX`]: it rings the bell. Control characters it does not know.
//!
//! **Key types.** [`Editor`] (bytes in, drawing and finished lines out), [`Command`], [`Prompt`] over a [`World`].
//!
//! **Neighbours.** The console port (input, and its output ring), `counter`, the snapshot port; `main.rs` wires them.
//!
//! **Across a restore** a read of the console ends with `Restarted`: [`Prompt::restarted`] draws the line again.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod command;
mod editor;
mod prompt;

pub use command::Command;
pub use editor::{Edited, Editor, LINE_MAX};
pub use prompt::{Prompt, Trouble, World};
