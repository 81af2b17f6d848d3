//! What can be typed.

/// A command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// Say the counter's value.
    Count,
    /// Say when all so far is durable.
    Sync,
    /// Say how the epochs stand.
    Epochs,
    /// Say what can be typed.
    Help,
    /// Nothing was typed.
    Nothing,
    /// Something else was typed.
    Unknown(&'a str),
}

impl<'a> Command<'a> {
    /// What a line means.
    pub fn parse(line: &'a str) -> Self {
        match line.trim() {
            "" => Self::Nothing,
            "count" => Self::Count,
            "sync" => Self::Sync,
            "epochs" => Self::Epochs,
            "help" | "?" => Self::Help,
            other => Self::Unknown(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_understood() {
        assert_eq!(Command::parse("  sync "), Command::Sync);
        assert_eq!(Command::parse(""), Command::Nothing);
        assert_eq!(Command::parse("synch"), Command::Unknown("synch"));
    }
}
