//! The only unsafe code of a program: a file for each reason.

mod arena;
mod bytes;
#[cfg(not(test))]
mod entry;
mod exit;
mod lent;
mod misdeed;
mod pages;
mod syscall;
#[cfg(not(test))]
mod unwind;
mod vector;
mod window;
mod word;

pub use arena::WindowArena;
pub(crate) use exit::touch;
pub use lent::LentPages;
pub use misdeed::{Misdeed, misdeed};
pub use pages::Pages;
pub(crate) use syscall::{Frame, syscall, syscall_keeping, syscall_short};
pub use syscall::{NO_VIEWS, any_call, null_call, ticks};
pub use vector::{Meanwhile, Vectors, hold_vectors};
pub(crate) use window::read_page;
pub use window::{ReadWords, ViewError, Window};
pub use word::{load_word, store_word};
