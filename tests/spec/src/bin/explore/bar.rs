//! A progress bar; without a terminal, a line now and then.
//!
//! Without a bound nobody knows how many states there will be. What is known is how many new ones each state brings:
//! while that is more than one, no end is in sight; once it is less, those that wait say how many are still to come.

use indicatif::{ProgressBar, ProgressStyle};
use spec::Progress;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long rates are taken over, and how often a line is printed where there is no bar.
const WINDOW: Duration = Duration::from_secs(5);

/// The bar of one exploration.
pub(crate) struct Bar {
    bar: ProgressBar,
    name: String,
    bytes_max: usize,
    window: Mutex<Window>,
}

/// What the last while has brought.
struct Window {
    since: Instant,
    at: Progress,
    states_per_s: f64,
    /// New states that one expanded state brought.
    brings: Option<f64>,
}

impl Bar {
    pub(crate) fn new(name: &str, states: Option<u64>, bytes_max: usize) -> Self {
        let (bar, template) = match states {
            Some(states) => (ProgressBar::new(states), "{prefix} [{bar:40}] {pos}/{len} states, {msg}"),
            None => (ProgressBar::new_spinner(), "{prefix} {spinner} {pos} states, {msg}"),
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(250));
        let window = Window { since: Instant::now(), at: Progress::default(), states_per_s: 0.0, brings: None };
        let bar = bar.with_prefix(name.to_owned());
        Self { bar, name: name.to_owned(), bytes_max, window: Mutex::new(window) }
    }

    /// Shows how far it is.
    pub(crate) fn show(&self, progress: Progress) {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = window.since.elapsed();
        let told = passed >= WINDOW;
        if told {
            window.move_on(progress, passed);
        }
        let said = window.say(progress, self.bytes_max);
        drop(window);
        if told && self.bar.is_hidden() {
            eprintln!("{}: {} states, {said}", self.name, progress.states);
        }
        self.bar.set_position(progress.states);
        self.bar.set_message(said);
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Window {
    fn move_on(&mut self, now: Progress, passed: Duration) {
        let found = now.states - self.at.states;
        let expanded = (now.states - now.waiting).saturating_sub(self.at.states - self.at.waiting);
        self.states_per_s = found as f64 / passed.as_secs_f64();
        self.brings = (expanded > 0).then(|| found as f64 / expanded as f64);
        (self.since, self.at) = (Instant::now(), now);
    }

    fn say(&self, now: Progress, bytes_max: usize) -> String {
        let mib = |bytes: usize| bytes >> 20;
        let Progress { transitions, waiting, bytes, .. } = now;
        let mut said =
            format!("{transitions} transitions, {waiting} states wait, {} of {} MiB", mib(bytes), mib(bytes_max));
        let Some(brings) = self.brings else { return said };
        // Writing to a string does not fail.
        let _ = write!(said, ", {:.0} states/s, ", self.states_per_s);
        said + &match to_come(waiting, brings) {
            None => "no end in sight".to_owned(),
            Some(more) if self.states_per_s > 0.0 => {
                format!("about {more:.0} more, in {:.0} s", more / self.states_per_s)
            }
            Some(more) => format!("about {more:.0} more"),
        }
    }
}

/// How many states are still to be found, if each brings so many new ones.
fn to_come(waiting: u64, brings: f64) -> Option<f64> {
    (brings < 0.99).then(|| waiting as f64 * brings / (1.0 - brings))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_told_when_it_is_in_sight() {
        assert_eq!(to_come(1_000, 1.2), None);
        assert_eq!(to_come(1_000, 0.5), Some(1_000.0));
        assert_eq!(to_come(0, 0.5), Some(0.0));
        let start = Instant::now();
        let mut window = Window { since: start, at: Progress::default(), states_per_s: 0.0, brings: None };
        let mut now = Progress { states: 1_000, transitions: 9_000, waiting: 600, bytes: 5 << 20 };
        assert_eq!(window.say(now, 10 << 20), "9000 transitions, 600 states wait, 5 of 10 MiB");
        window.move_on(now, Duration::from_secs(5));
        assert!(window.say(now, 10 << 20).ends_with("200 states/s, no end in sight"));
        (now.states, now.waiting) = (1_100, 500);
        window.move_on(now, Duration::from_secs(5));
        assert!(window.say(now, 10 << 20).ends_with("20 states/s, about 500 more, in 25 s"), "{}", window.say(now, 0));
    }
}
