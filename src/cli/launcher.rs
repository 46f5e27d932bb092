//! What a launcher of processes leaves in the environment of those that it starts, and what a user is told of it. All
//! that the program knows of launchers stands here.
//!
//! This module knows nothing of MPI. Others compare what MPI shows with what the launcher says.

use std::fmt;

use crate::ids::Rank;

/// Who has started a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Launcher {
    /// No launcher: a shell, a script, a service.
    Nobody,
    /// The `srun` that belongs to Slurm.
    Srun,
    /// The `mpirun` of Open MPI, or of MPICH and its descendants.
    Mpirun,
    /// Another launcher that MPI libraries know.
    Other,
}

impl fmt::Display for Launcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Launcher::Nobody => "nobody",
            Launcher::Srun => "srun",
            Launcher::Mpirun => "mpirun",
            Launcher::Other => "a launcher",
        })
    }
}

/// How this process was started, as its environment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Start {
    /// Who has started this process.
    pub(super) launcher: Launcher,
    /// How many processes were started together, at least.
    pub(super) processes: u32,
    /// The rank of this process among them, where the launcher says it.
    pub(super) rank: Option<Rank>,
    /// Whether the launcher offers MPI libraries a way to bring the processes together.
    wired: bool,
    /// How many tasks the Slurm allocation has in which this process runs alone. `None` where there is no such
    /// allocation.
    allocation: Option<u32>,
}

impl Start {
    /// How this process was started.
    pub(super) fn here() -> Self {
        Self::read(|name| std::env::var(name).ok())
    }

    /// Reads the variables of an environment.
    ///
    /// A launcher may have been started by another one, whose variables are there, too. What is nearest to an MPI
    /// library counts. Where `mpirun` runs in an allocation of Slurm, Slurm's numbers are those of `mpirun`'s own
    /// helpers.
    fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let number = |name: &str| variable(name)?.trim().parse::<u32>().ok();
        let tasks = number("SLURM_STEP_NUM_TASKS");
        // Slurm gives its jobs such names where it speaks PMIx itself. With any other name, another launcher has
        // brought PMIx.
        let by_slurm = variable("PMIX_NAMESPACE").is_none_or(|name| name.starts_with("slurm."));
        let local = number("MPI_LOCALNRANKS");
        let pmi = number("PMI_RANK").or(number("PMIX_RANK"));
        let wired = pmi.is_some() || number("PMI_SIZE").is_some();
        let (launcher, processes, rank) = if let Some(size) = number("OMPI_COMM_WORLD_SIZE") {
            (Launcher::Mpirun, size, number("OMPI_COMM_WORLD_RANK"))
        } else if let Some(local) = local {
            (Launcher::Mpirun, number("PMI_SIZE").unwrap_or(local), pmi)
        } else if let Some(tasks) = tasks.filter(|_| by_slurm) {
            (Launcher::Srun, tasks, number("SLURM_PROCID"))
        } else if wired {
            // PMIx does not leave the number of processes in the environment. There are at least as many as this
            // process's own number says.
            let size = number("PMI_SIZE").or(number("FLUX_JOB_SIZE"));
            (Launcher::Other, size.unwrap_or_else(|| pmi.unwrap_or(0).saturating_add(1)), pmi)
        } else {
            (Launcher::Nobody, 1, None)
        };
        let wired = wired || launcher == Launcher::Mpirun;
        let alone = processes == 1 && !wired;
        Self {
            launcher,
            processes,
            rank: rank.and_then(|rank| u16::try_from(rank).ok()).map(Rank),
            wired,
            allocation: number("SLURM_NTASKS").filter(|tasks| alone && *tasks > 1),
        }
    }

    /// Whether several processes were started together.
    pub(super) fn is_of_several(&self) -> bool {
        self.processes > 1
    }

    /// Whether MPI may know of more ranks than this one.
    #[cfg(any(test, feature = "mpi"))]
    pub(super) fn may_be_mpi(&self) -> bool {
        self.wired || self.is_of_several()
    }

    /// Whether an MPI library of the name `library` cannot bring these processes together, so that it must not be
    /// asked. Open MPI ends a process that asks it for that, with a code and words of its own.
    #[cfg(any(test, feature = "mpi"))]
    pub(super) fn is_beyond(&self, library: &str) -> bool {
        self.launcher == Launcher::Srun && self.is_of_several() && !self.wired && library.contains("Open MPI")
    }

    /// Tells the user what to do where several processes were started and each sees none but itself. `library` is the
    /// name of this program's MPI library, if it has one.
    pub(super) fn split(&self, library: Option<&str>) -> String {
        let Self { launcher, processes, .. } = self;
        let Some(library) = library else {
            return format!(
                "{launcher} has started {processes} processes, but this mixnn is built without MPI (the feature `mpi`): each of \
                 them would run the whole job; start it once, with all ranks as its threads (--local), or build it with MPI"
            );
        };
        let seen =
            format!("{launcher} has started {processes} processes, but MPI ({library}) shows each of them one rank");
        match launcher {
            Launcher::Srun => format!(
                "{seen}; type srun --mpi={} (srun --mpi=list shows what this Slurm knows), or take that library's mpirun",
                pmi_of(library)
            ),
            _ => format!("{seen}; start it with that library's mpirun, or build it for this one"),
        }
    }

    /// Tells the user what to do where this process was to be the only one and is not.
    pub(super) fn not_the_only_one(&self) -> String {
        let Self { launcher, processes, .. } = self;
        let instead = match launcher {
            Launcher::Srun => "take srun -n 1, or leave srun out",
            Launcher::Mpirun => "leave mpirun out",
            Launcher::Nobody | Launcher::Other => "start it once",
        };
        format!("--single and --local run in one process, and {launcher} has started {processes}: {instead}")
    }

    /// Tells the user why all ranks are threads of this process, though nobody has asked for that. `mpi` says whether
    /// this program has MPI.
    pub(super) fn alone(&self, ranks: u16, mpi: bool) -> String {
        let Self { launcher, allocation, .. } = self;
        let threads = format!("running {ranks} ranks as threads of this process, as --local {ranks}");
        match (launcher, allocation) {
            (Launcher::Nobody | Launcher::Srun, Some(tasks)) if mpi => format!(
                "one process in a Slurm allocation of {tasks} tasks: {threads}; srun --mpi=pmix makes each task a rank"
            ),
            (Launcher::Nobody, _) => format!("not started by mpirun or srun: {threads}"),
            (launcher, _) => format!("{launcher} has started one process: {threads}"),
        }
    }

    /// How to start `needed` ranks, where too few were started.
    pub(super) fn more(&self, needed: u16) -> String {
        match self.launcher {
            Launcher::Srun => format!("srun -n {needed}"),
            Launcher::Nobody | Launcher::Mpirun | Launcher::Other => {
                format!("mpirun -n {needed}, or --local {needed}")
            }
        }
    }
}

/// The word for `srun --mpi` that names the interface over which `library` brings processes together.
pub(super) fn pmi_of(library: &str) -> &'static str {
    if library.contains("Open MPI") { "pmix" } else { "pmi2" }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN_MPI: &str = "Open MPI v4.1.4";
    const MPICH: &str = "MPICH Version: 4.0.2";

    /// Reads an environment that is written as "NAME=VALUE NAME=VALUE".
    fn read(variables: &str) -> Start {
        Start::read(|name| {
            let value =
                |pair: &str| pair.split_once('=').filter(|(found, _)| *found == name).map(|(_, v)| v.to_owned());
            variables.split_whitespace().find_map(value)
        })
    }

    /// What srun of Slurm 22.05 sets for any step: here for the third task of three on two nodes.
    const STEP: &str = "SLURM_JOB_ID=3 SLURM_JOB_NUM_NODES=2 SLURM_LOCALID=0 SLURM_NODEID=1 SLURM_NPROCS=3 SLURM_NTASKS=3 \
        SLURM_PROCID=2 SLURM_STEPID=0 SLURM_STEP_ID=0 SLURM_STEP_NUM_NODES=2 SLURM_STEP_NUM_TASKS=3 SLURM_TASK_PID=29733";

    fn started(launcher: Launcher, processes: u32, rank: u16, wired: bool) -> Start {
        Start { launcher, processes, rank: Some(Rank(rank)), wired, allocation: None }
    }

    #[test]
    fn srun_says_how_many_tasks_a_step_has() {
        let none = read(STEP);
        assert_eq!(none, started(Launcher::Srun, 3, 2, false));
        assert!(none.is_of_several() && none.may_be_mpi());
        assert!(none.is_beyond(OPEN_MPI) && !none.is_beyond(MPICH));
        let pmix = read(&format!("{STEP} SLURM_MPI_TYPE=pmix PMIX_NAMESPACE=slurm.pmix.2.0 PMIX_RANK=2"));
        let pmi2 = read(&format!("{STEP} SLURM_MPI_TYPE=pmi2 PMI_FD=11 PMI_JOBID=3.0 PMI_RANK=2 PMI_SIZE=3"));
        for wired in [pmix, pmi2] {
            assert_eq!(wired, started(Launcher::Srun, 3, 2, true));
            assert!(!wired.is_beyond(OPEN_MPI));
        }
    }

    #[test]
    fn a_step_of_one_task_is_one_process() {
        let one = read("SLURM_NTASKS=1 SLURM_STEP_NUM_TASKS=1 SLURM_PROCID=0");
        assert_eq!(one, started(Launcher::Srun, 1, 0, false));
        assert!(!one.is_of_several() && !one.may_be_mpi());
        assert_eq!(
            one.alone(7, true),
            "srun has started one process: running 7 ranks as threads of this process, as --local 7"
        );
        assert!(read("SLURM_STEP_NUM_TASKS=1 PMIX_NAMESPACE=slurm.pmix.1.0 PMIX_RANK=0").may_be_mpi());
    }

    #[test]
    fn an_allocation_without_a_step_gets_a_hint() {
        let salloc =
            read("SLURM_JOB_ID=6 SLURM_JOB_NUM_NODES=1 SLURM_NPROCS=4 SLURM_NTASKS=4 SLURM_TASKS_PER_NODE=4");
        let batch = read("SLURM_JOB_ID=7 SLURM_LOCALID=0 SLURM_NTASKS=4 SLURM_PROCID=0 SLURM_TASK_PID=30109");
        let shell = read("SLURM_JOB_ID=8 SLURM_NTASKS=4 SLURM_STEP_NUM_TASKS=1 SLURM_PROCID=0");
        for start in [salloc, batch, shell] {
            assert!(!start.is_of_several() && !start.may_be_mpi(), "{start:?}");
            let words = start.alone(7, true);
            assert!(words.contains("an allocation") || words.contains("a Slurm allocation of 4 tasks"), "{words}");
            assert!(words.contains("srun --mpi=pmix") && words.contains("--local 7"), "{words}");
            assert!(!start.alone(7, false).contains("srun --mpi"), "it has no MPI");
        }
        let one = read("SLURM_JOB_ID=7 SLURM_NTASKS=1 SLURM_PROCID=0");
        assert!(one.alone(7, true).starts_with("not started by mpirun or srun: running 7"));
    }

    #[test]
    fn the_launcher_next_to_the_library_counts() {
        let open_mpi =
            "OMPI_COMM_WORLD_SIZE=7 OMPI_COMM_WORLD_RANK=4 OMPI_UNIVERSE_SIZE=7 PMIX_NAMESPACE=450887681 PMIX_RANK=4";
        let hydra = "MPI_LOCALNRANKS=2 MPI_LOCALRANKID=0 PMI_FD=6 PMI_RANK=4 PMI_SIZE=7";
        // Within Slurm, mpirun's own helpers are a step of Slurm, with numbers that say nothing of ranks.
        for outside in ["", STEP, "SLURM_JOB_ID=7 SLURM_NTASKS=4"] {
            for inside in [open_mpi, hydra] {
                let start = read(&format!("{outside} {inside}"));
                assert_eq!(start, started(Launcher::Mpirun, 7, 4, true), "{outside} {inside}");
            }
        }
        let one = "OMPI_COMM_WORLD_SIZE=1 OMPI_COMM_WORLD_RANK=0 PMIX_NAMESPACE=450887681 PMIX_RANK=0";
        let one = read(&format!("{STEP} {one}"));
        assert!(!one.is_of_several() && one.may_be_mpi());
        assert!(one.alone(7, true).starts_with("mpirun has started one process: running 7 ranks"));
    }

    #[test]
    fn others_say_less() {
        let prterun = read(&format!("{STEP} PMIX_NAMESPACE=prterun-node-7@1 PMIX_RANK=3"));
        assert_eq!(prterun, started(Launcher::Other, 4, 3, true));
        let first = read("PMIX_NAMESPACE=prterun-node-7@1 PMIX_RANK=0");
        assert!(!first.is_of_several() && first.may_be_mpi(), "more may have been started, which only MPI knows");
        let flux = read("FLUX_JOB_ID=f1 FLUX_JOB_SIZE=7 FLUX_TASK_RANK=5 PMI_RANK=5 PMI_SIZE=7");
        assert_eq!(flux, started(Launcher::Other, 7, 5, true));
    }

    #[test]
    fn without_a_launcher_there_is_one_process() {
        for variables in ["", "HOME=/root PATH=/bin", "OMPI_COMM_WORLD_SIZE=seven"] {
            let start = read(variables);
            assert_eq!((start.launcher, start.processes, start.rank), (Launcher::Nobody, 1, None), "{variables}");
            assert!(!start.may_be_mpi());
        }
    }

    #[test]
    fn words_fit_launcher_and_library() {
        let (srun, mpirun) = (read(STEP), read("OMPI_COMM_WORLD_SIZE=7 OMPI_COMM_WORLD_RANK=4"));
        for (start, library, due) in [
            (srun, Some(OPEN_MPI), ["srun has started 3 processes", "srun --mpi=pmix (srun --mpi=list"]),
            (srun, Some(MPICH), ["srun has started 3 processes", "srun --mpi=pmi2"]),
            (mpirun, Some(MPICH), ["mpirun has started 7 processes", "that library's mpirun"]),
            (srun, None, ["srun has started 3 processes", "built without MPI"]),
            (mpirun, None, ["mpirun has started 7 processes", "--local"]),
        ] {
            let words = start.split(library);
            assert!(due.iter().all(|part| words.contains(part)), "{words}");
        }
        assert!(srun.not_the_only_one().ends_with("srun has started 3: take srun -n 1, or leave srun out"));
        assert!(mpirun.not_the_only_one().ends_with("leave mpirun out"));
        assert_eq!((srun.more(7), mpirun.more(7)), ("srun -n 7".into(), "mpirun -n 7, or --local 7".into()));
    }
}
