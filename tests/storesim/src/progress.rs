//! What a person sees while runs go on, and what is left for the report of the suite. And the watch over runs that hang.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Names the folder into which a test writes the counts that the report of the suite shows.
pub const COUNTS_VARIABLE: &str = "PERENNIAL_COUNTS";
/// A run takes milliseconds; one that takes so long hangs.
const HUNG_MAX: Duration = Duration::from_secs(300);
/// How often a line is written where there is no terminal.
const QUIET_INTERVAL: Duration = Duration::from_secs(30);

/// Hours from a command line: a fraction is fine, up to a million.
///
/// # Errors
/// When it is no such number.
pub fn hours(text: &str) -> Result<f64, String> {
    let hours: f64 = text.parse().map_err(|_| "no number".to_owned())?;
    if (0.0..=1e6).contains(&hours) { Ok(hours) } else { Err("not within 0 and 1,000,000".into()) }
}

/// Leaves a line for the report of the suite, if there is to be one.
pub fn note(title: &str, text: &str) {
    let Some(folder) = std::env::var_os(COUNTS_VARIABLE) else { return };
    let name: String = title.chars().map(|letter| if letter.is_alphanumeric() { letter } else { '-' }).collect();
    // Only the report lacks a line if this fails.
    let _ = std::fs::write(std::path::Path::new(&folder).join(name), format!("{title}: {text}\n"));
}

#[derive(Default)]
struct State {
    runs: AtomicU64,
    cuts: AtomicU64,
    is_over: AtomicU64,
    /// What runs, since when.
    now: Mutex<Option<(String, Instant)>>,
}

/// A line that tells how far the runs have come.
pub struct Progress {
    state: Arc<State>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Progress {
    /// Begins to show it, for runs that go on until `limit` has passed; `None`: for one.
    pub fn start(limit: Option<Duration>) -> Self {
        let state = Arc::new(State::default());
        let shown = Arc::clone(&state);
        let thread = std::thread::spawn(move || show(&shown, limit));
        Self { state, thread: Some(thread) }
    }

    /// A run begins; `replay` says how to see it again.
    pub fn begin(&self, replay: String) {
        if let Ok(mut now) = self.state.now.lock() {
            *now = Some((replay, Instant::now()));
        }
    }

    /// A run has ended with so many cuts.
    pub fn done(&self, cuts: u64) {
        self.state.runs.fetch_add(1, Ordering::Relaxed);
        self.state.cuts.fetch_add(cuts, Ordering::Relaxed);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.state.is_over.store(1, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread that shows is nothing to the runs.
            let _ = thread.join();
        }
    }
}

fn show(state: &State, limit: Option<Duration>) {
    let begun = Instant::now();
    let is_terminal = std::io::stderr().is_terminal();
    let mut next = if is_terminal { Duration::ZERO } else { QUIET_INTERVAL };
    while state.is_over.load(Ordering::Relaxed) == 0 {
        std::thread::sleep(Duration::from_millis(50));
        let took = begun.elapsed();
        let hung = state.now.lock().ok().and_then(|now| {
            now.as_ref().filter(|(_, since)| since.elapsed() > HUNG_MAX).map(|(replay, _)| replay.clone())
        });
        if let Some(replay) = hung {
            eprintln!("a run hangs: {replay}");
            std::process::exit(1);
        }
        if took < next {
            continue;
        }
        next = took + if is_terminal { Duration::from_millis(250) } else { QUIET_INTERVAL };
        let (runs, cuts) = (state.runs.load(Ordering::Relaxed), state.cuts.load(Ordering::Relaxed));
        let of = limit.map_or(String::new(), |limit| format!(" of {}", limit.as_secs()));
        let line = format!("{} s{of}: {runs} runs, {cuts} cuts", took.as_secs());
        if is_terminal {
            eprint!("\r{line} ");
            let _ = std::io::stderr().flush();
        } else {
            eprintln!("{line}");
        }
    }
    if is_terminal {
        eprint!("\r\x1b[K");
    }
}

#[cfg(test)]
mod tests {
    use super::hours;

    #[test]
    fn hours_are_numbers_that_a_clock_can_take() {
        assert_eq!(hours("0.25"), Ok(0.25));
        for wrong in ["", "x", "-1", "nan", "inf", "1e7", "0x10"] {
            assert!(hours(wrong).is_err(), "{wrong:?}");
        }
    }
}
