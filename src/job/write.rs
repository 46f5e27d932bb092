//! The resolved job as a table of TOML.

use toml::{Table, Value};

use super::keys::table;
use super::{Job, op};

/// All keys of `job`; [`Job::parse`] reads the same job back.
pub(super) fn job(job: &Job) -> Table {
    let mut train = table([
        ("epochs", i64::from(job.train.epochs).into()),
        ("batch", i64::from(job.train.batch).into()),
        ("micro_batch", i64::from(job.train.micro_batch).into()),
        ("drop_last", job.train.drop_last.into()),
        ("loss", job.train.loss.write()),
        ("optimizer", job.train.optimizer.write(job.train.rate.peak)),
        ("schedule", job.train.rate.write()),
    ]);
    if let Some(clip) = job.train.optimizer.clip {
        train.insert("clip".to_owned(), clip.write().into());
    }
    let stages: Vec<Value> = job
        .stages
        .iter()
        .map(|stage| {
            let place = if stage.on_owner { "owner" } else { "rank" };
            table([("at", place.into()), ("ops", stage.ops.iter().map(op::write).collect::<Vec<Value>>().into())])
                .into()
        })
        .collect();
    let mix = table([
        ("profile", job.mix.profile.name().into()),
        ("relays", i64::from(job.mix.relays).into()),
        ("hops", i64::from(job.mix.hops).into()),
        ("cell", i64::from(job.mix.cell).into()),
        ("depth", i64::from(job.mix.depth).into()),
        ("pace", job.mix.pace.to_string().into()),
        ("link", job.mix.link.name().into()),
        ("wire", job.mix.wire.name().into()),
        ("message", i64::from(job.mix.message).into()),
        ("package", i64::from(job.mix.package).into()),
        ("result", i64::try_from(job.mix.result).unwrap_or(i64::MAX).into()),
    ]);
    let timeout = format!("{}ms", job.transport.timeout.as_millis());
    let mut root = table([
        ("name", job.name.clone().into()),
        ("seed", job.seed.clone().into()),
        ("data", job.data.write().into()),
        ("train", train.into()),
        ("stage", stages.into()),
        ("mix", mix.into()),
        ("transport", table([("timeout", timeout.into()), ("windows", job.transport.windows.into())]).into()),
        (
            "compute",
            table([
                ("backend", job.compute.backend.name().into()),
                ("precision", job.compute.precision.name().into()),
                ("threads", i64::from(job.compute.threads).into()),
                ("overlap", job.compute.overlap.into()),
                ("aead", job.compute.aead.name().into()),
            ])
            .into(),
        ),
        ("output", table([("timing", job.output.timing.into())]).into()),
    ]);
    if let Some(init) = job.init.write() {
        root.insert("init".to_owned(), init.into());
    }
    if let Some(ranks) = &job.trust.ranks {
        root.insert("trust".to_owned(), table([("ranks", ranks.display().to_string().into())]).into());
    }
    root
}
