//! The prompt: an editor, and what its lines do.

use crate::command::Command;
use crate::editor::{Edited, Editor};
use abi::Epoch;
use abi::protocol::snapshot::Epochs;
use core::fmt::{self, Write};

/// Why a command has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The server was restarted, with or without the machine; it may be asked again.
    Restarted,
    /// Nothing can be made durable any more.
    Undurable,
    /// The server is gone, or answers nonsense.
    Gone,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Restarted => "restarted while it was asked; ask again",
            Self::Undurable => "nothing can be made durable any more",
            Self::Gone => "no answer",
        })
    }
}

/// What the prompt can ask.
pub trait World {
    /// The counter's value.
    fn count(&mut self) -> Result<u64, Trouble>;
    /// Waits until all so far is durable; the epoch that made it so.
    fn sync(&mut self) -> Result<Epoch, Trouble>;
    /// How the epochs stand.
    fn epochs(&mut self) -> Result<Epochs, Trouble>;
}

/// The prompt. All of it lies in the memory of the process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prompt {
    editor: Editor,
}

impl Prompt {
    /// With an empty line.
    pub const fn new() -> Self {
        Self { editor: Editor::new() }
    }

    /// Greets and draws the line for the first time.
    pub fn begin(&self, out: &mut impl Write) -> fmt::Result {
        out.write_str("Perennial. `help` says what can be typed.\r\n")?;
        self.editor.draw(out)
    }

    /// The console was restarted, with or without the machine: what was on its screen may be gone.
    pub fn restarted(&self, out: &mut impl Write) -> fmt::Result {
        out.write_str("\r\n")?;
        self.editor.draw(out)
    }

    /// A byte was typed.
    pub fn typed(&mut self, byte: u8, world: &mut impl World, out: &mut impl Write) -> fmt::Result {
        if self.editor.input(byte, out)? == Edited::Complete {
            Self::carry_out(Command::parse(self.editor.line()), world, out)?;
            self.editor.clear();
            self.editor.draw(out)?;
        }
        Ok(())
    }

    fn carry_out(command: Command<'_>, world: &mut impl World, out: &mut impl Write) -> fmt::Result {
        match command {
            Command::Nothing => Ok(()),
            Command::Help => out.write_str(
                "count   the counter's value\r\n\
                 sync    wait until all so far survives a power cut\r\n\
                 epochs  which epoch runs, which is durable, where this run came from\r\n",
            ),
            Command::Unknown(word) => write!(out, "{word}: no such command; try `help`\r\n"),
            Command::Count => match world.count() {
                Ok(value) => write!(out, "{value}\r\n"),
                Err(why) => write!(out, "counter: {why}\r\n"),
            },
            Command::Sync => match world.sync() {
                Ok(epoch) => write!(out, "durable with epoch {epoch}\r\n"),
                Err(why) => write!(out, "sync: {why}\r\n"),
            },
            Command::Epochs => match world.epochs() {
                Ok(epochs) => say_epochs(&epochs, out),
                Err(why) => write!(out, "epochs: {why}\r\n"),
            },
        }
    }
}

fn say_epochs(epochs: &Epochs, out: &mut impl Write) -> fmt::Result {
    write!(out, "running {}, durable {}\r\n", epochs.running, epochs.committed)?;
    match epochs.restored {
        Epoch::NONE => write!(out, "a world that was never restored\r\n"),
        restored => write!(out, "restored from {restored}\r\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fake(Result<u64, Trouble>);

    impl World for Fake {
        fn count(&mut self) -> Result<u64, Trouble> {
            self.0
        }
        fn sync(&mut self) -> Result<Epoch, Trouble> {
            self.0.map(Epoch::from_bits)
        }
        fn epochs(&mut self) -> Result<Epochs, Trouble> {
            self.0.map(|bits| Epochs { running: Epoch::from_bits(bits), ..Epochs::default() })
        }
    }

    fn type_all(prompt: &mut Prompt, text: &str, answer: Result<u64, Trouble>) -> String {
        let mut out = String::new();
        for byte in text.bytes() {
            prompt.typed(byte, &mut Fake(answer), &mut out).expect("a string takes all");
        }
        out
    }

    #[test]
    fn commands_are_answered() {
        let mut prompt = Prompt::new();
        assert_eq!(type_all(&mut prompt, "count\r", Ok(41)), "count\r\n41\r\n> ");
        assert_eq!(type_all(&mut prompt, "sync\r", Ok(3 << 40 | 7)), "sync\r\ndurable with epoch 3.7\r\n> ");
        assert!(type_all(&mut prompt, "epochs\r", Ok(1 << 40 | 2)).contains("running 1.2, durable 0.0"));
        assert!(type_all(&mut prompt, "help\r", Ok(0)).contains("epochs"));
        assert!(type_all(&mut prompt, "fly\r", Ok(0)).contains("fly: no such command"));
        assert_eq!(type_all(&mut prompt, "\r", Ok(0)), "\r\n> ");
    }

    #[test]
    fn trouble_is_said_and_the_prompt_goes_on() {
        let mut prompt = Prompt::new();
        for (command, trouble) in
            [("count", Trouble::Gone), ("sync", Trouble::Undurable), ("epochs", Trouble::Restarted)]
        {
            let out = type_all(&mut prompt, &format!("{command}\r"), Err(trouble));
            assert!(out.contains(&trouble.to_string()) && out.ends_with("> "), "{out:?}");
        }
    }

    #[test]
    fn half_a_line_is_drawn_again_and_goes_on() {
        let mut prompt = Prompt::new();
        type_all(&mut prompt, "cou", Ok(0));
        let mut after = prompt.clone();
        let mut out = String::new();
        after.restarted(&mut out).expect("a string takes all");
        assert_eq!(out, "\r\n> cou");
        assert_eq!(type_all(&mut after, "nt\r", Ok(5)), "nt\r\n5\r\n> ");
    }
}
