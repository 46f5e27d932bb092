//! The command `mixnn infer`: the testing phase alone, with the model of a run, on new inputs.

use std::path::PathBuf;

use clap::Args;

use super::HowArgs;
use super::errand::{Errand, Lead};
use super::progress::Looking;
use crate::run::RunError;
use crate::run::kept::folder::Pending;
use crate::run::kept::outputs;
use crate::run::prepare::Prepared;
use crate::terminal;

#[derive(Debug, Args)]
pub(super) struct InferArgs {
    /// The folder of a run: its job.toml and model.safetensors are all that is needed; only rank 0 opens it
    run: PathBuf,
    /// What the model is to look at, a .npy file: (samples, the shape of a sample), of the type that it was trained on
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Where to write what comes out, a .npy file that does not exist yet, readable by you alone: float32, (samples, the shape of an output)
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    how: HowArgs,
}

impl Errand for InferArgs {
    type Found = ();
    type Out = Pending;

    fn how(&self) -> &HowArgs {
        &self.how
    }

    fn prepare(&self, sets: &[String]) -> Result<(Prepared, ()), RunError> {
        Ok((Prepared::to_infer(&self.run, sets, &self.input)?, ()))
    }

    fn open(&self, _prepared: &Prepared, (): ()) -> Result<Pending, RunError> {
        Ok(Pending::fresh(&self.output, "--output")?)
    }

    fn carry_out(&self, prepared: &Prepared, out: Pending, lead: &mut Lead<'_>) -> Result<(), RunError> {
        let mut looking = Looking::new();
        let led = lead(&mut looking);
        let values = looking.finish();
        led?;
        let shape = prepared.outputs();
        out.write(&outputs::npy(&shape, &values))?;
        let shape: Vec<String> = shape.iter().map(usize::to_string).collect();
        let (output, shape) = (self.output.display(), shape.join(", "));
        let printed = terminal::print(&format!("{output}: float32 ({shape})"));
        Ok(printed.map_err(|error| error.though(format!("what comes out is in {output}")))?)
    }
}
