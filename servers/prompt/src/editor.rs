//! One line, edited. Printable ASCII only: the line on the screen has as many columns as bytes.

use core::fmt::{self, Write};

/// Longest line.
pub const LINE_MAX: usize = 72;
/// Before the line.
const PROMPT: &str = "> ";

/// What a byte did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edited {
    /// The line goes on.
    Line,
    /// The line is complete: to be taken with [`Editor::line`], then [`Editor::clear`].
    Complete,
}

/// The line so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Editor {
    bytes: [u8; LINE_MAX],
    count: usize,
    /// A carriage return was last, so that a line feed after it says nothing new.
    after_return: bool,
}

impl Default for Editor {
    fn default() -> Self {
        Self::new()
    }
}

impl Editor {
    /// An empty line.
    pub const fn new() -> Self {
        Self { bytes: [0; LINE_MAX], count: 0, after_return: false }
    }

    /// What has been typed.
    pub fn line(&self) -> &str {
        core::str::from_utf8(&self.bytes[..self.count]).unwrap_or_default()
    }

    /// Begins a new line.
    pub fn clear(&mut self) {
        self.count = 0;
    }

    /// Draws prompt and line.
    pub fn draw(&self, out: &mut impl Write) -> fmt::Result {
        write!(out, "{PROMPT}{}", self.line())
    }

    /// One byte of input; draws what changes on the screen.
    pub fn input(&mut self, byte: u8, out: &mut impl Write) -> Result<Edited, fmt::Error> {
        let after_return = core::mem::replace(&mut self.after_return, byte == b'\r');
        match byte {
            b'\n' if after_return => {}
            b'\r' | b'\n' => {
                out.write_str("\r\n")?;
                return Ok(Edited::Complete);
            }
            // Backspace, as terminals of either habit send it.
            0x08 | 0x7f if self.count > 0 => {
                self.count -= 1;
                out.write_str("\x08 \x08")?;
            }
            // Ctrl-U: kill the line.
            0x15 => {
                for _ in 0..self.count {
                    out.write_str("\x08 \x08")?;
                }
                self.count = 0;
            }
            // Ctrl-L: draw again.
            0x0c => {
                out.write_str("\r\n")?;
                self.draw(out)?;
            }
            b' '..=b'~' if self.count < LINE_MAX => {
                self.bytes[self.count] = byte;
                self.count += 1;
                out.write_char(char::from(byte))?;
            }
            _ => out.write_char('\x07')?,
        }
        Ok(Edited::Line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a terminal shows in its last row: enough of one to check the drawing.
    fn screen(drawn: &str) -> String {
        let (mut row, mut column) = (Vec::new(), 0_usize);
        for character in drawn.chars() {
            match character {
                '\r' => column = 0,
                '\n' => row.clear(),
                '\x08' => column = column.saturating_sub(1),
                '\x07' => {}
                other => {
                    row.resize(row.len().max(column + 1), ' ');
                    row[column] = other;
                    column += 1;
                }
            }
        }
        row.truncate(row.len().max(column));
        String::from_iter(row).trim_end().to_owned()
    }

    #[test]
    fn typing_and_erasing() {
        let mut editor = Editor::new();
        let mut out = String::new();
        for byte in *b"cox\x7funt\r" {
            let edited = editor.input(byte, &mut out).expect("a string takes all");
            assert_eq!(edited == Edited::Complete, byte == b'\r');
        }
        assert_eq!(editor.line(), "count");
        editor.clear();
        assert_eq!(editor.input(b'\n', &mut out), Ok(Edited::Line), "the line feed of a pair");
        assert_eq!(editor.input(b'\n', &mut out), Ok(Edited::Complete), "a line feed alone");
    }

    proptest! {
        #[test]
        fn the_screen_shows_the_line(bytes in prop::collection::vec(prop_oneof![32_u8..127, Just(0x7f), Just(0x15), any::<u8>()], 0..200)) {
            let mut editor = Editor::new();
            let mut out = String::new();
            editor.draw(&mut out).expect("a string takes all");
            for byte in bytes.into_iter().filter(|byte| !matches!(byte, b'\r' | b'\n')) {
                prop_assert_eq!(editor.input(byte, &mut out), Ok(Edited::Line));
                prop_assert!(editor.line().len() <= LINE_MAX);
            }
            let shown = format!("{PROMPT}{}", editor.line());
            prop_assert_eq!(screen(&out), shown.trim_end());
        }

        #[test]
        fn drawn_again_it_looks_the_same(text in "[ -~]{0,72}") {
            let mut editor = Editor::new();
            let mut typed = String::new();
            for byte in text.bytes() { editor.input(byte, &mut typed).expect("a string takes all"); }
            let mut again = String::new();
            editor.draw(&mut again).expect("a string takes all");
            prop_assert_eq!(again, format!("{PROMPT}{text}"));
        }
    }
}
