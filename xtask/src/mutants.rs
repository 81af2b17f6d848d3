//! `cargo xtask mutants`: the tests are tested. A fault is put into the code, and some test has to notice.
//!
//! cargo-mutants lists what can be changed; a sample is drawn by seed; and instead of building the crate once for each
//! mutant, all of the sample are woven into one build ([`weave`]), each behind a switch that the environment sets: then a
//! mutant costs what running the tests costs. What cannot be woven is built by itself.
//!
//! Each mutant meets the cheapest tests first and is done with when one notices ([`trial`]). Verdicts are kept in
//! `target/mutants` ([`ledger`]), so that the next run goes on where this one stopped, and summed up in
//! `docs/figures/mutants-CRATE.json`.

mod ledger;
mod list;
mod scratch;
mod site;
mod stage;
mod trial;
mod weave;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;

use crate::progress::Step;
use ledger::{Ledger, Verdict};
use list::Mutant;
use scratch::{Scratch, Tried};
use stage::{Ring, Stage, Subject};
use trial::Limits;

/// Options of `mutants`.
#[derive(Args, Debug)]
#[command(
    after_help = "A run ends after --minutes, and the next one goes on from there, until every mutant of the sample has a \
    verdict. After tests or code were changed, --again missed tries those again that nobody noticed.\n\
    Needs cargo-mutants; it is built into target/tools when it is not there."
)]
pub(crate) struct Options {
    /// The crate whose code is changed
    #[arg(long = "crate", value_enum)]
    subject: Subject,
    /// How many mutants are drawn
    #[arg(long, value_name = "N", default_value_t = 300)]
    sample: usize,
    /// What the draw depends on
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// How many are tried at a time
    #[arg(long, value_name = "N", default_value_t = 2)]
    jobs: usize,
    /// Only these tests: `explore` asks what the explorer notices by itself
    #[arg(long, value_enum)]
    ring: Option<Ring>,
    /// Begin nothing new after so many minutes
    #[arg(long, value_name = "N", default_value_t = 10.0)]
    minutes: f64,
    /// Try those again that have this verdict
    #[arg(long, value_enum)]
    again: Option<Verdict>,
    /// Only mutants whose name contains this text
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Say what there is a verdict for, and try nothing
    #[arg(long)]
    list: bool,
}

/// Tries what the sample still lacks, sums up.
pub(crate) fn run(options: &Options) -> Result<()> {
    let deadline = Instant::now() + Duration::try_from_secs_f64(options.minutes * 60.0)?;
    let all = list::all(options.subject)?;
    let sample = list::sample(&all, options.sample, options.seed);
    let mut ledger = Ledger::open(options.subject)?;
    let is_open = |mutant: &&Mutant| {
        let named = options.filter.as_ref().is_none_or(|text| mutant.name.contains(text.as_str()));
        named && ledger.is_open(&mutant.key, options.ring, options.again)
    };
    let open: Vec<&Mutant> = sample.iter().filter(is_open).collect();
    if options.list {
        sample.iter().for_each(|mutant| println!("{}", ledger.line(mutant)));
    } else if !open.is_empty() {
        println!(
            "{} mutants, {} drawn with seed {}, {} to be tried",
            all.len(),
            sample.len(),
            options.seed,
            open.len()
        );
        try_open(options, &sample, &open, &mut ledger, deadline)?;
    }
    let summary = ledger.summary(options.subject, options.seed, all.len(), &sample);
    summary.print();
    summary.keep()
}

/// Weaves the sample, sees that the tests pass without a mutant, and tries what is open. What is further from the crate
/// is built and run only for those that the tests before it have not noticed.
fn try_open(
    options: &Options,
    sample: &[Mutant],
    open: &[&Mutant],
    ledger: &mut Ledger,
    deadline: Instant,
) -> Result<()> {
    let scratch = Scratch::prepare(options.subject, sample)?;
    let anew = options.again == Some(Verdict::Unviable);
    let woven = scratch.weave(sample, |mutant| if anew { Tried::Together } else { ledger.tried(mutant) })?;
    for (mutant, tried) in sample.iter().filter_map(|mutant| Some((mutant, woven.get(&mutant.id)?))) {
        ledger.set_tried(mutant, *tried);
    }
    ledger.save()?;
    let (apart, mut together): (Vec<&Mutant>, Vec<&Mutant>) = open
        .iter()
        .filter(|mutant| woven.get(&mutant.id) != Some(&Tried::DoesNotCompile))
        .partition(|mutant| woven.get(&mutant.id) == Some(&Tried::Apart));
    let mut limits = BTreeMap::new();
    let work = Work { options, ledger: Mutex::new(ledger), deadline };
    let mut groups = stage::groups(options.subject, options.ring);
    let last = groups.len();
    for (position, stages) in groups.iter_mut().enumerate() {
        if together.is_empty() {
            break;
        }
        scratch.find_programs(stages)?;
        limits.extend(baseline(stages)?);
        match work.together(stages, &limits, &together, position + 1 == last)? {
            Some(unnoticed) => together = unnoticed,
            None => return Ok(()),
        }
    }
    work.apart(&scratch, &apart, &limits)
}

/// What each stage takes when nothing is wrong; a stage that fails then is of no use.
fn baseline(stages: &[Stage]) -> Result<BTreeMap<String, Limits>> {
    let mut limits = BTreeMap::new();
    for stage in stages {
        let step = Step::begin(format!("Without a mutant: {}", stage.name));
        let (begun, used) = (Instant::now(), trial::cpu_time()?);
        if trial::run_stage(stage, None, &Limits::NONE)?.is_some() {
            bail!("{} fails without a mutant", stage.name);
        }
        limits.insert(stage.name.clone(), Limits::after(begun.elapsed(), trial::cpu_time()?.saturating_sub(used)));
        step.done("");
    }
    Ok(limits)
}

struct Work<'a> {
    options: &'a Options,
    ledger: Mutex<&'a mut Ledger>,
    deadline: Instant,
}

impl Work<'_> {
    /// Tries those that are in the woven build, several at a time: who is noticed by none of these stages, or `None` when
    /// time was not enough for all.
    fn together<'m>(
        &self,
        stages: &[Stage],
        limits: &BTreeMap<String, Limits>,
        mutants: &[&'m Mutant],
        is_last: bool,
    ) -> Result<Option<Vec<&'m Mutant>>> {
        let step = Step::with_length("Mutants", mutants.len() as u64);
        let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let (failed, unnoticed) = (Mutex::new(None), Mutex::new(Vec::new()));
        std::thread::scope(|scope| {
            for _ in 0..self.options.jobs.max(1) {
                scope.spawn(|| {
                    while Instant::now() < self.deadline
                        && let Some(&mutant) = mutants.get(next.fetch_add(1, Ordering::Relaxed))
                    {
                        match trial::run(stages, Some(mutant.id), limits) {
                            Ok((Verdict::Missed, _)) => {
                                locked(&unnoticed).push(mutant);
                                if is_last {
                                    self.note(mutant, (Verdict::Missed, None));
                                }
                            }
                            Ok(verdict) => self.note(mutant, verdict),
                            Err(error) => *locked(&failed) = Some(error),
                        }
                        step.set(done.fetch_add(1, Ordering::Relaxed) as u64 + 1);
                        step.detail(&mutant.name);
                    }
                });
            }
        });
        let tried = done.into_inner();
        let unnoticed = unnoticed.into_inner().unwrap_or_else(PoisonError::into_inner);
        step.done(&format!("{tried} of {} tried, {} not noticed", mutants.len(), unnoticed.len()));
        failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)?;
        Ok((tried == mutants.len()).then_some(unnoticed))
    }

    /// Tries those that need builds of their own, one after the other.
    fn apart(&self, scratch: &Scratch, mutants: &[&Mutant], limits: &BTreeMap<String, Limits>) -> Result<()> {
        if mutants.is_empty() {
            return Ok(());
        }
        let step = Step::with_length("Mutants built by themselves", mutants.len() as u64);
        let mut tried = 0;
        for mutant in mutants {
            if Instant::now() >= self.deadline {
                break;
            }
            step.detail(&mutant.name);
            self.note(mutant, self.alone(scratch, mutant, limits)?);
            tried += 1;
            step.set(tried);
        }
        step.done(&format!("{tried} of {} tried", mutants.len()));
        Ok(())
    }

    fn alone(
        &self,
        scratch: &Scratch,
        mutant: &Mutant,
        limits: &BTreeMap<String, Limits>,
    ) -> Result<(Verdict, Option<Ring>)> {
        for mut stages in stage::groups(self.options.subject, self.options.ring) {
            if !scratch.build_alone(mutant, &mut stages)? {
                return Ok((Verdict::Unviable, None));
            }
            let verdict = trial::run(&stages, None, limits)?;
            if verdict.0 != Verdict::Missed {
                return Ok(verdict);
            }
        }
        Ok((Verdict::Missed, None))
    }

    /// Notes a verdict and keeps it at once: a run may be ended at any moment. That one ring alone noticed nothing is no
    /// verdict, but for the explorer, which has one of its own.
    fn note(&self, mutant: &Mutant, verdict: (Verdict, Option<Ring>)) {
        let mut ledger = locked(&self.ledger);
        match self.options.ring {
            Some(Ring::Explore) => ledger.set_explored(mutant, verdict.0),
            Some(_) if verdict.0 == Verdict::Missed => {}
            _ => ledger.set(mutant, verdict.0, verdict.1),
        }
        if verdict.0 == Verdict::Missed {
            println!("missed: {}", mutant.name);
        }
        if let Err(error) = ledger.save() {
            eprintln!("the verdict is not kept: {error:#}");
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
