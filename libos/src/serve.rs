//! The loop of a server: receive, act, answer with the next receive.

use crate::message::{FaultReport, Message, Received};
use crate::{Endpoint, ReceiveError};
use abi::Timeout;

/// How a server leaves a call or fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Answer now.
    Reply(Message),
    /// The server has answered, put the Reply aside, or there was none.
    Nothing,
}

/// What a server does about what it receives. Nothing here may wait in a call to another volatile server.
pub trait Service {
    /// A call (`waits`) or a plain message, through a capability with `badge`.
    fn message(&mut self, badge: u64, message: &Message, waits: bool) -> Answer;

    /// Bits of the notification bound to the thread. Never answered.
    fn signal(&mut self, _bits: u64) {}

    /// A fault of a process whose memory the endpoint serves. Answering lets the thread go on.
    fn fault(&mut self, _fault: &FaultReport) -> Answer {
        Answer::Nothing
    }

    /// How long to wait for the next thing.
    fn timeout(&self) -> Timeout {
        Timeout::FOREVER
    }

    /// Nothing came for [`Self::timeout`].
    fn idle(&mut self) {}
}

/// Serves `endpoint` until a receive fails for a reason that waiting does not mend; returns that reason.
///
/// Blocks. A server of the world goes on here after a restore as if nothing had been: the wait is repeated.
pub fn serve(endpoint: Endpoint, service: &mut impl Service) -> ReceiveError {
    let mut answer = Answer::Nothing;
    loop {
        let received = match answer {
            Answer::Reply(message) => endpoint.reply_receive(&message, service.timeout()),
            Answer::Nothing => endpoint.receive(service.timeout()),
        };
        answer = match received {
            Ok(Received::Call { badge, message }) => service.message(badge, &message, true),
            Ok(Received::Message { badge, message }) => {
                let _ = service.message(badge, &message, false);
                Answer::Nothing
            }
            Ok(Received::Notification(bits)) => {
                service.signal(bits);
                Answer::Nothing
            }
            Ok(Received::Fault(fault)) => service.fault(&fault),
            Err(ReceiveError::TimedOut | ReceiveError::WouldBlock) => {
                service.idle();
                Answer::Nothing
            }
            Err(ReceiveError::Cancelled | ReceiveError::Restarted) => Answer::Nothing,
            Err(reason) => return reason,
        };
    }
}
