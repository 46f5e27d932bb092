//! The command `mixnn run`: it trains and tests, and leaves a folder.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::errand::{Errand, Lead};
use super::progress::Progress;
use super::{HowArgs, RunArgs, model, shell, signals};
use crate::job::Job;
use crate::report;
use crate::run::keeper::Keeper;
use crate::run::kept::checkpoint::{self, Checkpoint};
use crate::run::kept::folder::{self, Folder, JOB, METRICS, MODEL, RESULT};
use crate::run::kept::lock::{self, Holder};
use crate::run::kept::results::{EpochReport, Outcome};
use crate::run::prepare::Prepared;
use crate::run::slots::SlotKeeper;
use crate::run::{RunError, batch_job, checkpoint_at, hostname};
use crate::terminal;

/// The word behind `--resume` for whatever checkpoint is the newest.
const AUTO: &str = "auto";

/// The command, and when its process began.
pub(super) struct TimedRun {
    pub(super) args: RunArgs,
    pub(super) began: Instant,
}

/// Where a run writes to.
pub(super) struct RunFiles {
    folder: Folder,
    keeper: Keeper,
    slots: SlotKeeper,
}

impl Errand for TimedRun {
    const STOPS: bool = true;
    /// The folder that an earlier start of the run has left, or that this one is to start in.
    type Found = Option<Folder>;
    type Out = RunFiles;

    fn how(&self) -> &HowArgs {
        &self.args.how
    }

    fn prepare(&self, sets: &[String]) -> Result<(Prepared, Option<Folder>), RunError> {
        match self.args.resume.as_deref() {
            None => Ok((model::prepared(Job::load(&self.args.job, sets)?, &self.args.model)?, None)),
            Some(AUTO) => self.resume_newest(Job::load(&self.args.job, sets)?),
            Some(file) => self.resume_file(Job::load(&self.args.job, sets)?, Path::new(file)),
        }
    }

    /// Makes the run's folder and writes the resolved job into it. What an earlier start has left in it behind the checkpoint that this
    /// one goes on from is cut off.
    fn open(&self, prepared: &Prepared, found: Option<Folder>) -> Result<RunFiles, RunError> {
        let job = prepared.job.to_toml();
        let folder = match found {
            Some(folder) => {
                folder.rewrite(JOB, job.as_bytes())?;
                let lines: Vec<String> =
                    prepared.epochs_so_far().iter().map(EpochReport::line).collect::<Result<_, _>>()?;
                folder.rewrite(METRICS, lines.concat().as_bytes())?;
                folder
            }
            None => {
                let folder = Folder::create(self.args.out.as_deref(), &prepared.job.name, &holder())?;
                folder.write(JOB, job.as_bytes())?;
                // No epoch would make it.
                if prepared.job.train.epochs == 0 {
                    folder.write(METRICS, b"")?;
                }
                folder
            }
        };
        let deadline = self.args.max_time.map(|time| self.began + time);
        let keeper = Keeper::new(&folder, prepared, signals::came, deadline)?;
        let slots = SlotKeeper::new(&folder, &prepared.job)?;
        Ok(RunFiles { folder, keeper, slots })
    }

    fn carry_out(&self, prepared: &Prepared, files: RunFiles, lead: &mut Lead<'_>) -> Result<(), RunError> {
        let RunFiles { folder, mut keeper, mut slots } = files;
        if let Some(line) = prepared.resumes() {
            terminal::remark(&line);
        }
        terminal::remark(&keeper.announces(prepared));
        let kept = (&mut keeper, &mut slots);
        let mut progress = Progress::new(&folder, kept, prepared.job.train.epochs, self.args.json);
        let led = lead(&mut progress);
        progress.finish();
        // However the run has ended: its slots are known, and may show why.
        if let Err(error) = slots.close() {
            terminal::note(&format!("warning: {error}; `mixnn report` will not know what slots were like"));
        }
        if let Err(RunError::Paused { .. }) = &led {
            terminal::remark(&format!("to go on: {}", self.again(folder.path())));
        }
        let (outcome, model) = led?;
        if let Some(model) = model {
            model.replace(&folder.path().join(MODEL))?;
        }
        let json = serde_json::to_string_pretty(&outcome).map_err(|error| RunError::Bug(error.to_string()))?;
        folder.rewrite(RESULT, format!("{json}\n").as_bytes())?;
        let printed = self.print(&outcome, json, &prepared.job, folder.path());
        // The last checkpoint may still be on its way.
        keeper.close()?;
        match outcome.test_loss {
            Some(loss) if !loss.is_finite() => Err(RunError::TestLoss { loss, folder: folder.path().to_owned() }),
            _ => printed,
        }
    }
}

impl TimedRun {
    /// Prints what the run of `job` in `folder` came to; `json` is the same as JSON.
    fn print(&self, outcome: &Outcome, json: String, job: &Job, folder: &Path) -> Result<(), RunError> {
        let printed = terminal::print(&match self.args.json {
            true => json,
            false => report::summary(outcome, job, folder),
        });
        Ok(printed.map_err(|error| error.though(format!("the run is whole, in {}", folder.display())))?)
    }

    /// Makes ready to go on from the newest checkpoint in the folder of the run of `job`, or to start there.
    fn resume_newest(&self, job: Job) -> Result<(Prepared, Option<Folder>), RunError> {
        let path = self.args.out.clone().unwrap_or_else(|| folder::usual(&job.name));
        let folder = Folder::open(&path, &holder(), lock::PATIENCE)?;
        let Some(newest) = checkpoint::newest(&path.join(checkpoint::FOLDER)) else {
            // Without a checkpoint there may still be a run that was through.
            return match folder.is_done() {
                true => Err(self.done(&folder, &job)),
                false => Ok((model::prepared(job, &self.args.model)?, Some(folder))),
            };
        };
        let checkpoint = checkpoint_at(&newest.path, &path, &job)?;
        let is_through = checkpoint.header.reached.epochs >= job.train.epochs;
        if is_through && folder.is_done() {
            return Err(self.done(&folder, &job));
        }
        Ok((Prepared::resumed(job, checkpoint)?, Some(folder)))
    }

    /// Makes ready to go on from the checkpoint `file`, in the folder of its run, or where `--out` says.
    fn resume_file(&self, job: Job, file: &Path) -> Result<(Prepared, Option<Folder>), RunError> {
        let of_file = file.parent().and_then(Path::parent).map_or_else(PathBuf::new, Path::to_owned);
        let of_file = if of_file.as_os_str().is_empty() { PathBuf::from(".") } else { of_file };
        let checkpoint: Checkpoint = checkpoint_at(file, &of_file, &job)?;
        let path = self.args.out.clone().unwrap_or(of_file);
        let folder = Folder::open(&path, &holder(), lock::PATIENCE)?;
        Ok((Prepared::resumed(job, checkpoint)?, Some(folder)))
    }

    /// What a run ends with that is done already. It prints what that came to.
    fn done(&self, folder: &Folder, job: &Job) -> RunError {
        let known = std::fs::read_to_string(folder.path().join(RESULT)).ok();
        let outcome = known.and_then(|json| Some((serde_json::from_str::<Outcome>(&json).ok()?, json)));
        let printed = outcome
            .map_or(Ok(()), |(outcome, json)| self.print(&outcome, json.trim_end().to_owned(), job, folder.path()));
        match printed {
            Ok(()) => RunError::Done { folder: folder.path().to_owned() },
            Err(error) => error,
        }
    }

    /// The command line that goes on with the run in `folder`.
    fn again(&self, folder: &Path) -> String {
        let mut words: Vec<String> = std::env::args().collect();
        if self.args.resume.is_none() {
            if self.args.out.is_none() {
                words.extend(["--out".to_owned(), folder.display().to_string()]);
            }
            words.extend(["--resume".to_owned(), AUTO.to_owned()]);
        }
        shell::line(words)
    }
}

/// This process, as whom it takes the lock on a folder.
fn holder() -> Holder {
    Holder::here(&hostname(), batch_job())
}
