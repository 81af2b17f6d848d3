//! # libos: what every program of Perennial links
//!
//! **What it does.** Entry point and panic handler; a typed wrapper for each system call, with an error enum per
//! operation that says who is to blame; messages; the startup page; views of memory that is shared with others;
//! [`println!`] for volatile programs; a server loop.
//!
//! **What it refuses.** To allocate, to start threads behind the program's back, to retry what the caller did not
//! mark repeatable, and to hide a restart: `Restarted` reaches the program (law 4).
//!
//! **Key types.** [`Message`], [`Received`], [`Endpoint`], [`Notification`], [`Process`], [`Thread`], [`Memory`],
//! [`Budget`], [`EpochControl`], [`Interrupt`], [`IoPorts`] (each a handle of the calling process and nothing more:
//! copying the Rust value copies the number, not the capability), [`Startup`] and [`Window`].
//!
//! **Neighbours.** Used by the `main.rs` of programs only: their libraries stand over small traits and know nothing of
//! it. Below it is `abi`, and `mmio` for the views. `src/raw` is one of the three places where unsafe is allowed:
//! the `syscall` instruction, the entry point, the memory functions that compiled code calls, and the views.
//!
//! **Building a program.** `build.rs` of any program here shows the pattern (docs: servers/README.md). Programs are
//! built with the feature `program` for `x86_64-unknown-linux-gnu`, freestanding.
#![cfg_attr(not(test), no_std)]

mod budget;
mod capability;
mod clock;
mod console;
mod device;
mod endpoint;
mod epoch;
mod error;
pub use error::Failure;
mod memory;
mod message;
mod notification;
mod print;
mod process;
mod program;
#[allow(unsafe_code)]
mod raw;
mod serve;
mod space;
mod startup;
mod thread;

pub use abi;
pub use budget::{Budget, BudgetCounts, CreateError, SplitError, ThreadStart};
pub use capability::{Capability, CopyError, DestroyError, DropError, IdentifyError, Identity, RangePart, RevokeError};
pub use clock::{Clock, clock, sleep};
pub use console::{Console, ReadError};
pub use device::{AckError, BindInterruptError, Interrupt, IoPorts, MessageInterrupt, PortError};
pub use endpoint::{
    CallError, CallOptions, Endpoint, ReceiveError, ReplyError, SaveReplyError, SavedReply, SendError, reply,
    save_reply,
};
pub use epoch::{
    BindPortError, CommittedError, Copied, CutError, CutPoint, DonateError, EpochControl, ExportError, FirstWrites,
    ReadLogError, RestoreError, RestoreRefusal, ResumeError, SetFramesError,
};
pub use memory::Memory;
pub use message::{FaultReport, Message, Received};
pub use mmio;
pub use notification::{BindError, Notification, SignalError, WaitError};
pub use print::{print_bytes, print_line, set_print};
pub use process::{GrantError, MapError, Mapping, Process, ProcessName, SetMemoryPortError, Space, UnmapError};
pub use program::exit;
pub use raw::{
    LentPages, Meanwhile, Misdeed, NO_VIEWS, Pages, ReadWords, Vectors, ViewError, Window, WindowArena, any_call,
    hold_vectors, load_word, misdeed, null_call, store_word, ticks,
};
pub use serve::{Answer, Service, serve};
pub use space::{Object, OwnSpace, SpaceError, Usage};
pub use startup::{Missing, Startup};
pub use thread::{PriorityError, Thread, ThreadError, yield_now};

#[doc(hidden)]
pub use program::{boot_info_from, startup_from, stop};
