//! The whole verification.

use std::path::Path;

use abi::Epoch;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use snapshot_server::{Dropped, ReadError};
use world::{Access, Contents, Fsck, Problem, Session, Survey, Unsound, Verified, WorldError, judge};

use super::{Done, Output, survey};

impl Output {
    pub(crate) fn fsck(&self, image: &Path) -> Done {
        let (mut host, survey) = survey(image)?;
        let expected: u64 = survey.checkpoints().last().map_or(0, |newest| u64::from(newest.used_blocks));
        let bar = if self.json { ProgressBar::hidden() } else { ProgressBar::new(expected) };
        if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} blocks {per_sec}") {
            bar.set_style(style);
        }
        let mut progress = |verified| bar.set_position(verified);
        let mut verified = Fsck::run(&mut host, &survey, &mut progress);
        bar.finish_and_clear();
        drop(host);
        // And everything that only whole epochs have, through the store itself.
        let mut refused: Vec<(Epoch, String)> = Vec::new();
        for epoch in bootable(&survey) {
            if let Some(why) = survives(self.older(image, epoch, &mut verified))? {
                refused.push((epoch, why));
            }
        }
        let newest = survives(self.newest(image, &mut verified))?;
        let Verified { blocks, problems, .. } = verified;
        let count = problems.len() + refused.len() + usize::from(newest.is_some());
        let rows: Vec<Value> = problems.iter().map(row).collect();
        let older: Vec<Value> =
            refused.iter().map(|(epoch, why)| json!({ "epoch": epoch.to_string(), "why": why })).collect();
        let value = json!({
            "verified_blocks": blocks, "problems": rows, "newest_epoch_refused": newest, "epochs_refused": older,
        });
        self.print(&value, || {
            let mut text = format!("{blocks} blocks verified, {count} problems\n");
            text.extend(problems.iter().map(line));
            text.extend(refused.iter().map(|(epoch, why)| format!("epoch {epoch}: {why}\n")));
            text.extend(newest.iter().map(|why| format!("the newest epoch: {why}\n")));
            text
        })?;
        Ok(count == 0)
    }

    /// Records of an epoch that is kept beside the newest: whoever asks for it gets it.
    fn older(&self, image: &Path, epoch: Epoch, verified: &mut Verified) -> Result<(), WorldError> {
        let mut memory = Session::memory(image)?;
        let mut session = Session::open(&mut memory, image, Access::Read, Some(epoch))?;
        self::records(&session.records()?, epoch, verified);
        Ok(())
    }

    /// Records and pages of the newest epoch.
    fn newest(&self, image: &Path, verified: &mut Verified) -> Result<(), WorldError> {
        let mut memory = Session::memory(image)?;
        let mut session = Session::open(&mut memory, image, Access::Read, None)?;
        let epoch = session.report().epoch;
        if let Some(dropped) = session.report().dropped {
            self::dropped(&dropped, &mut verified.problems);
        }
        let contents = session.contents()?;
        self::records(&contents, epoch, verified);
        let problems = &mut verified.problems;
        for (object, index) in contents.pages {
            let (block, what) = match session.page(object, index) {
                Err(WorldError::Page(_, _, ReadError::Wrong(block))) => (block, "a page is damaged"),
                Err(WorldError::Page(_, _, ReadError::Unreadable(block))) => (block, "a page cannot be read"),
                other => {
                    other?;
                    continue;
                }
            };
            // A page of a checkpoint has been found already.
            let page = Some((object, index));
            if !problems.iter().any(|problem| problem.block == block && problem.page == page) {
                problems.push(Problem { block, what, why: None, epoch, page, record: None });
            }
        }
        Ok(())
    }
}

/// The epochs that can be booted, but the newest, oldest first.
fn bootable(survey: &Survey) -> Vec<Epoch> {
    let kept = survey.checkpoints().iter().map(|kept| kept.epoch);
    let mut epochs: Vec<Epoch> =
        kept.chain(survey.log.iter().filter(|kept| kept.bootable).map(|kept| kept.epoch)).collect();
    epochs.pop();
    epochs
}

/// What is wrong with an epoch as a whole, if that is the image's fault.
fn survives(done: Result<(), WorldError>) -> Result<Option<String>, WorldError> {
    match done {
        Ok(()) => Ok(None),
        Err(error @ (WorldError::Refused(_) | WorldError::Roots(_) | WorldError::Map(..) | WorldError::Page(..))) => {
            Ok(Some(error.to_string()))
        }
        Err(error) => Err(error),
    }
}

/// Judges the records of an epoch. What an older epoch has been reported for is not said again.
fn records(contents: &Contents, epoch: Epoch, verified: &mut Verified) {
    for Unsound { table, index, what } in judge(contents) {
        let record = Some((table, index));
        if verified.problems.iter().any(|problem| problem.record == record && problem.what == what) {
            continue;
        }
        let block = verified.record_block((table, index), epoch).unwrap_or_default();
        verified.problems.push(Problem { block, what, why: None, epoch, page: None, record });
    }
}

/// The epoch that an opening drops. After a power cut that is one which nobody was promised; else a block has rotted.
fn dropped(dropped: &Dropped, problems: &mut Vec<Problem>) {
    let why = format!("epoch {} is dropped for it: never finished before a power cut, or rotten since", dropped.epoch);
    let Dropped { epoch, key, block } = *dropped;
    match problems.iter_mut().find(|problem| problem.block == block && problem.page.is_some()) {
        Some(problem) => problem.why = Some(why),
        None => {
            let page = Some((key.object, key.index));
            problems.push(Problem { block, what: "a page is damaged", why: Some(why), epoch, page, record: None });
        }
    }
}

fn row(problem: &Problem) -> Value {
    json!({
        "block": problem.block.0, "what": problem.what, "why": problem.why, "epoch": problem.epoch.to_string(),
        "object": problem.page.map(|page| page.0), "index": problem.page.map(|page| page.1),
        "table": problem.record.map(|record| record.0), "record": problem.record.map(|record| record.1),
    })
}

fn line(problem: &Problem) -> String {
    let mut text = format!("{}: {}", problem.block, problem.what);
    if let Some(why) = &problem.why {
        text += &format!(": {why}");
    }
    text += &format!(" (epoch {})", problem.epoch);
    if let Some((object, index)) = problem.page {
        text += &format!(", page {index} of object {object:#x}");
    }
    if let Some((table, index)) = problem.record {
        text += &format!(", record {index} of table {table}");
    }
    text + "\n"
}
