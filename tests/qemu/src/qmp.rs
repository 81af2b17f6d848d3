//! QEMU's monitor protocol, as far as it is needed: why did the machine stop, and stop it.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

/// How long QEMU may take to open its socket.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// How long the last words may be under way after QEMU has gone.
const LAST_WORDS_MAX: Duration = Duration::from_secs(1);

/// A connection to a running QEMU's monitor.
#[derive(Debug)]
pub struct Monitor {
    stream: UnixStream,
    reasons: Receiver<String>,
}

impl Monitor {
    /// Connects, retrying until QEMU has opened the socket; `alive` says whether it still runs.
    ///
    /// # Errors
    /// When QEMU is gone, or has not opened it within 10 seconds.
    pub fn connect(socket: &Path, mut alive: impl FnMut() -> bool) -> std::io::Result<Self> {
        let start = Instant::now();
        let mut stream = loop {
            match UnixStream::connect(socket) {
                Ok(stream) => break stream,
                Err(error) if start.elapsed() > CONNECT_MAX || !alive() => return Err(error),
                Err(_) => thread::sleep(Duration::from_millis(5)),
            }
        };
        stream.write_all(b"{\"execute\":\"qmp_capabilities\"}\n")?;
        let reader = BufReader::new(stream.try_clone()?);
        let (sender, reasons) = channel();
        thread::spawn(move || {
            for line in reader.lines().map_while(Result::ok) {
                if let Some(reason) = shutdown_reason(&line)
                    && sender.send(reason).is_err()
                {
                    return;
                }
            }
        });
        Ok(Self { stream, reasons })
    }

    /// Executes a command without arguments, such as `stop` or `quit`. The answer is not awaited.
    ///
    /// # Errors
    /// When QEMU is gone.
    pub fn execute(&mut self, command: &str) -> std::io::Result<()> {
        writeln!(self.stream, "{{\"execute\":\"{command}\"}}")
    }

    /// Why the machine stopped, if it said so. To be asked when QEMU has ended.
    #[must_use]
    pub fn last_reason(&self) -> Option<String> {
        self.reasons.recv_timeout(LAST_WORDS_MAX).ok()
    }
}

fn shutdown_reason(line: &str) -> Option<String> {
    let event: serde_json::Value = serde_json::from_str(line).ok()?;
    if event.get("event")? != "SHUTDOWN" {
        return None;
    }
    Some(event.get("data")?.get("reason")?.as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_shutdowns_are_reasons() {
        let event =
            r#"{"timestamp": {"seconds": 1}, "event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-reset"}}"#;
        assert_eq!(shutdown_reason(event).as_deref(), Some("guest-reset"));
        assert_eq!(shutdown_reason(r#"{"return": {}}"#), None);
        assert_eq!(shutdown_reason("noise"), None);
    }
}
