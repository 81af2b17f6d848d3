//! Endpoints: sending, calling, receiving, answering.

use crate::error::errors;
use crate::message::{Message, Received};
use crate::raw::{Frame, syscall, syscall_short};
use abi::{Call, Control, Event, FLAG_REPEATABLE, Handle, Outcome, Timeout};

errors! {
    /// Why a call got no answer.
    CallError {
        BadHandle, WrongKind, MissingRight, BadArgument, Revoked, WorldClosed, PeerDied, Restarted, Abandoned,
        PeerTableFull, TableFull, TimedOut, WouldBlock, Cancelled, TablesExhausted,
    }
    /// Why a message was not taken.
    SendError {
        BadHandle, WrongKind, MissingRight, BadArgument, Revoked, WorldClosed, PeerDied, Restarted, PeerTableFull,
        TimedOut, WouldBlock, Cancelled, TablesExhausted,
    }
    /// Why nothing was received.
    ReceiveError {
        BadHandle, WrongKind, MissingRight, BadArgument, Revoked, WrongState, PeerDied, TableFull, TimedOut,
        WouldBlock, Cancelled, Restarted, NoReply,
    }
    /// Why a reply was not delivered; the Reply is used up all the same.
    ReplyError {
        BadHandle, WrongKind, MissingRight, BadArgument, Revoked, NoReply, PeerDied, PeerTableFull, WorldClosed,
        TableFull, TablesExhausted,
    }
    /// Why the Reply stays where it is.
    SaveReplyError { NoReply, TableFull }
}

/// A capability to an endpoint or port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint(pub Handle);

/// How a call is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallOptions {
    /// For the whole call.
    pub timeout: Timeout,
    /// The kernel may make this very call again after a restore: the server's answer to a second one is as good.
    pub repeatable: bool,
    /// Capabilities are moved, not copied. Not with `repeatable`.
    pub moves: bool,
}

impl Default for CallOptions {
    fn default() -> Self {
        Self { timeout: Timeout::FOREVER, repeatable: false, moves: false }
    }
}

impl CallOptions {
    /// A call that may be made again, without a time-out.
    pub const REPEATABLE: Self = Self { timeout: Timeout::FOREVER, repeatable: true, moves: false };

    #[inline]
    fn control(self, call: Call, endpoint: Endpoint, message: &Message) -> Control {
        let control = Control::new(call, endpoint.0).with_timeout(self.timeout);
        let control = control.with_flags(if self.repeatable { FLAG_REPEATABLE } else { 0 });
        message.marked(control, if self.moves { Message::moving_flags } else { Message::caps_count })
    }
}

impl Endpoint {
    /// Calls and waits for the answer, however long. Not made again after a restore: that is `Restarted`.
    #[inline]
    pub fn call(self, message: &Message) -> Result<Message, CallError> {
        self.call_with(message, CallOptions::default())
    }

    /// Calls and waits for the answer as `options` say.
    #[inline]
    pub fn call_with(self, message: &Message, options: CallOptions) -> Result<Message, CallError> {
        let control = options.control(Call::Call, self, message);
        let (outcome, frame) = syscall(control, message.frame());
        CallError::check(outcome)?;
        Ok(Message::of(frame))
    }

    /// Sends and waits until a receiver takes it.
    pub fn send(self, message: &Message, options: CallOptions) -> Result<(), SendError> {
        let control = options.control(Call::Send, self, message);
        let (outcome, _) = syscall(control, message.frame());
        SendError::check(outcome)
    }

    /// Receives a message, a call, a fault, or the bits of the bound notification, whichever is first.
    pub fn receive(self, timeout: Timeout) -> Result<Received, ReceiveError> {
        let control = Control::new(Call::Receive, self.0).with_timeout(timeout);
        received(syscall(control, Message::default().frame()))
    }

    /// Answers the call whose Reply the thread holds, if it holds one, and receives the next. A reply that cannot be
    /// delivered is dropped.
    #[inline]
    pub fn reply_receive(self, answer: &Message, timeout: Timeout) -> Result<Received, ReceiveError> {
        self.reply_receive_with(answer, Message::caps_count, timeout)
    }

    /// As [`Self::reply_receive`], but the capabilities of the answer are moved, not copied.
    #[inline]
    pub fn reply_receive_moving(self, answer: &Message, timeout: Timeout) -> Result<Received, ReceiveError> {
        self.reply_receive_with(answer, Message::moving_flags, timeout)
    }

    #[inline(always)]
    fn reply_receive_with(
        self,
        answer: &Message,
        flags: impl FnOnce(&Message) -> u8,
        timeout: Timeout,
    ) -> Result<Received, ReceiveError> {
        let control = Control::new(Call::ReplyReceive, self.0).with_timeout(timeout);
        received(syscall(answer.marked(control, flags), answer.frame()))
    }
}

/// What a receive brought. Servers wait for calls, most of all: one look finds that it is one.
#[inline(always)]
fn received((outcome, frame): (Outcome, Frame)) -> Result<Received, ReceiveError> {
    if outcome.delivers(Event::Call) {
        return Ok(Received::Call { badge: outcome.badge(), message: Message::of(frame) });
    }
    ReceiveError::check(outcome)?;
    Ok(Received::of(outcome, frame))
}

/// Answers the call whose Reply the thread holds. Never blocks.
pub fn reply(answer: &Message) -> Result<(), ReplyError> {
    reply_to(Handle::NULL, answer)
}

fn reply_to(saved: Handle, answer: &Message) -> Result<(), ReplyError> {
    let control = Control::new(Call::Reply, saved).with_flags(answer.caps_count());
    let (outcome, _): (_, Frame) = syscall(control, answer.frame());
    ReplyError::check(outcome)
}

/// Puts the Reply that the thread holds aside, so that it can receive again and answer later.
pub fn save_reply() -> Result<SavedReply, SaveReplyError> {
    let (outcome, handle) = syscall_short(Control::new(Call::SaveReply, Handle::NULL), 0);
    SaveReplyError::check(outcome)?;
    Ok(SavedReply(Handle(handle as u16)))
}

/// A Reply in the process's table. Dropping the capability (`Capability::drop`) abandons the caller.
#[derive(Debug, PartialEq, Eq)]
pub struct SavedReply(pub Handle);

impl SavedReply {
    /// Answers. Never blocks.
    pub fn reply(self, answer: &Message) -> Result<(), ReplyError> {
        reply_to(self.0, answer)
    }
}
