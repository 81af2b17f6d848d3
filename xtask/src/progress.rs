//! What a person sees while something takes time: one sentence a step, and a bar or a spinner beside it.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// A step under way. It is finished by [`Step::done`]; one that is dropped vanishes, and the error speaks for it.
pub(crate) struct Step {
    bar: ProgressBar,
    sentence: String,
    start: Instant,
}

impl Step {
    /// Begins a step of unknown length.
    pub(crate) fn begin(sentence: impl Into<String>) -> Self {
        let bar = ProgressBar::new_spinner();
        bar.set_style(style("{spinner} {prefix} {elapsed} {wide_msg:.dim}"));
        Self::start(bar, sentence.into())
    }

    /// Begins a step of `length` parts.
    pub(crate) fn with_length(sentence: impl Into<String>, length: u64) -> Self {
        let bar = ProgressBar::new(length);
        bar.set_style(style("{spinner} {prefix} [{bar:24}] {percent:>3}% {elapsed} {wide_msg:.dim}"));
        Self::start(bar, sentence.into())
    }

    fn start(bar: ProgressBar, sentence: String) -> Self {
        bar.set_prefix(sentence.clone());
        bar.enable_steady_tick(Duration::from_millis(120));
        // Without a terminal no bar is drawn: then the sentence alone says what is going on.
        if bar.is_hidden() {
            eprintln!("{sentence} …");
        }
        Self { bar, sentence, start: Instant::now() }
    }

    /// `parts` are done.
    pub(crate) fn set(&self, parts: u64) {
        self.bar.set_position(parts);
    }

    /// Shows what is being done right now.
    pub(crate) fn detail(&self, text: &str) {
        self.bar.set_message(text.trim().to_owned());
    }

    /// The step is done.
    pub(crate) fn done(self, result: &str) {
        let seconds = self.start.elapsed().as_secs_f64();
        self.bar.finish_and_clear();
        let gap = if result.is_empty() { "" } else { ": " };
        eprintln!("{}{gap}{result} ({seconds:.1} s)", self.sentence);
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner()).progress_chars("=> ")
}
