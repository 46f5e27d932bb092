//! Where the model of this machine is, and what a job leaves open until it is known.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clap::Args;

use super::identity::default_place;
use crate::job::Job;
use crate::model::{ModelError, ModelFile, Speeds};
use crate::run::RunError;
use crate::run::prepare::Prepared;
use crate::terminal;

/// The name of the file in the configuration folder.
const NAME: &str = "model.json";

/// Which model of a machine's speed is taken.
#[derive(Debug, Args)]
pub(super) struct ModelArgs {
    /// The model of the machine's speed, which mixnn bench model made; by default mixnn/model.json in the configuration folder
    /// ($XDG_CONFIG_HOME or ~/.config), if it is there
    #[arg(long, value_name = "FILE", env = "MIXNN_MODEL", hide_env_values = true)]
    model: Option<PathBuf>,
}

impl ModelArgs {
    /// The model that the user names, or else the one in the default place, if there is one.
    ///
    /// # Errors
    /// [`ModelError::Read`], [`ModelError::Foreign`].
    pub(super) fn load(&self) -> Result<Option<ModelFile>, ModelError> {
        load(self.model.as_deref())
    }

    /// Whether the user names a file.
    pub(super) fn is_named(&self) -> bool {
        named(self.model.as_deref()).is_some()
    }
}

/// The file that was `named`. An empty name counts as none, as of a variable that was set to nothing.
fn named(path: Option<&Path>) -> Option<&Path> {
    path.filter(|path| !path.as_os_str().is_empty())
}

/// Does what [`ModelArgs::load`] does with the file `path`.
fn load(path: Option<&Path>) -> Result<Option<ModelFile>, ModelError> {
    if let Some(path) = named(path) {
        return ModelFile::read(path).map(Some);
    }
    let Some(path) = place() else { return Ok(None) };
    match path.symlink_metadata() {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        // Where it cannot be told whether there is one, reading it says why.
        _ => ModelFile::read(&path).map(Some),
    }
}

/// Where the model of this machine is by default. `None` where the user has no configuration folder.
pub(super) fn place() -> Option<PathBuf> {
    default_place(NAME)
}

/// Makes `job` ready to run. What it leaves open is chosen by the model, which is read only then; and the user is told.
///
/// # Errors
/// [`RunError`].
pub(super) fn prepared(job: Job, args: &ModelArgs) -> Result<Prepared, RunError> {
    if !job.train.micro_batch_open {
        return Prepared::of(job);
    }
    let model = args.load()?;
    let prepared = Prepared::on(job, &model.as_ref().map_or_else(Speeds::unmeasured, |model| model.speeds))?;
    if let Some(line) = chosen(&prepared, model.as_ref()) {
        terminal::remark(&line);
    }
    Ok(prepared)
}

/// Says in words which micro-batch was chosen for `prepared`, by which `model`. `None` where the job has left nothing open.
pub(super) fn chosen(prepared: &Prepared, model: Option<&ModelFile>) -> Option<String> {
    let choice = prepared.choice()?;
    let by = match model {
        Some(model) => format!("by the model of {} ({})", model.on.processor, model.on.date),
        None => "for a machine that nobody has measured; mixnn bench model measures this one".to_owned(),
    };
    Some(format!(
        "train.micro_batch = {}: of {} that the job allows the one with the least predicted time, {by}",
        choice.micro_batch,
        choice.among.len()
    ))
}

/// The settings `sets` for the job at `path`, and one more where the job leaves something open: what [`prepared`] chooses.
///
/// # Errors
/// [`RunError`].
pub(super) fn settled(path: &Path, sets: &[String]) -> Result<Vec<String>, RunError> {
    let job = Job::load(path, sets)?;
    let open = job.train.micro_batch_open;
    let mut sets = sets.to_vec();
    if open {
        let from_environment = std::env::var_os("MIXNN_MODEL").map(PathBuf::from);
        let chosen = prepared(job, &ModelArgs { model: from_environment })?;
        sets.push(format!("train.micro_batch={}", chosen.job.train.micro_batch));
    }
    Ok(sets)
}
