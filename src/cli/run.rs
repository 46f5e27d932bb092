//! The command `mixnn run`: it trains and tests, and leaves a folder.

use super::errand::{Errand, Lead};
use super::progress::Progress;
use super::{HowArgs, RunArgs};
use crate::report;
use crate::run::RunError;
use crate::run::kept::folder::{Folder, JOB, MODEL, RESULT};
use crate::run::prepare::Prepared;
use crate::terminal;

impl Errand for RunArgs {
    type Out = Folder;

    fn how(&self) -> &HowArgs {
        &self.how
    }

    fn prepare(&self, sets: &[String]) -> Result<Prepared, RunError> {
        Prepared::load(&self.job, sets)
    }

    /// Makes the run's folder and writes the resolved job into it.
    fn open(&self, prepared: &Prepared) -> Result<Folder, RunError> {
        let folder = Folder::create(self.out.as_deref(), &prepared.job.name)?;
        folder.write(JOB, prepared.job.to_toml().as_bytes())?;
        Ok(folder)
    }

    fn carry_out(&self, prepared: &Prepared, folder: Folder, lead: &mut Lead<'_>) -> Result<(), RunError> {
        let mut progress = Progress::new(&folder, prepared.job.train.epochs, self.json);
        let led = lead(&mut progress);
        progress.finish();
        let (outcome, model) = led?;
        model.write(&folder.path().join(MODEL))?;
        let json = serde_json::to_string_pretty(&outcome).map_err(|error| RunError::Bug(error.to_string()))?;
        folder.write(RESULT, format!("{json}\n").as_bytes())?;
        let printed = terminal::print(&match self.json {
            true => json,
            false => report::summary(&outcome, &prepared.job, folder.path()),
        });
        match outcome.test_loss {
            Some(loss) if !loss.is_finite() => Err(RunError::TestLoss { loss, folder: folder.path().to_owned() }),
            _ => {
                Ok(printed
                    .map_err(|error| error.though(format!("the run is whole, in {}", folder.path().display())))?)
            }
        }
    }
}
