//! What a console has said so far, and the search for the next thing to be said.

use std::fmt;

/// Longest console that is kept, in bytes; a guest that says more has lost its way.
const TRANSCRIPT_BYTES_MAX: usize = 16 << 20;

/// All that was said, as text, and the place up to which it has been looked at.
#[derive(Clone, Debug, Default)]
pub struct Transcript {
    bytes: Vec<u8>,
    seen: usize,
}

impl Transcript {
    /// Adds what was said. Beyond 16 MiB the rest is dropped.
    pub fn push(&mut self, bytes: &[u8]) {
        let free = TRANSCRIPT_BYTES_MAX - self.bytes.len();
        self.bytes.extend_from_slice(&bytes[..bytes.len().min(free)]);
    }

    /// If `text` stands in what has not been looked at yet, looks past its first occurrence.
    pub fn find(&mut self, text: &str) -> bool {
        let rest = &self.bytes[self.seen..];
        let found = text.is_empty() || rest.windows(text.len()).any(|window| window == text.as_bytes());
        if found {
            let at = rest.windows(text.len().max(1)).position(|window| window == text.as_bytes()).unwrap_or(0);
            self.seen += at + text.len();
        }
        found
    }

    /// All of it.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// The last `count` lines.
    #[must_use]
    pub fn tail(&self, count: usize) -> String {
        let text = self.text();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(count)..].join("\n")
    }
}

impl fmt::Display for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_in_order_and_across_pieces() {
        let mut transcript = Transcript::default();
        transcript.push(b"one tw");
        assert!(transcript.find("one"));
        assert!(!transcript.find("two"));
        transcript.push(b"o three\nfour");
        assert!(transcript.find("two"));
        assert!(!transcript.find("one"), "what was looked past is not found again");
        assert!(transcript.find(""));
        assert_eq!(transcript.tail(1), "four");
    }
}
