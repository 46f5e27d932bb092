//! The batch script of a job: `slurm/train.sbatch` or `slurm/train-gpu.sbatch`, with the lines filled in that a user would edit.

use std::fmt;

use super::super::shell::{line, quoted};

/// The script that trains on processors.
const TRAIN: &str = include_str!("../../../slurm/train.sbatch");
/// The script that trains with a GPU a rank.
const TRAIN_GPU: &str = include_str!("../../../slurm/train-gpu.sbatch");
/// What the scripts say behind an error that editing would mend. A script that was filled in has nothing to edit.
const EDIT: &str = ": edit the lines that are marked EDIT";
/// What memory is asked for in multiples of, in MiB.
const STEP: u64 = 128;

/// What a batch script asks Slurm for, and what it runs.
pub(super) struct Script {
    /// The command that has made the script.
    pub(super) by: Vec<String>,
    /// The name of the job, of letters, digits, `-`, `_` and `.`.
    pub(super) name: String,
    /// How many ranks there are.
    pub(super) ranks: u16,
    /// How many cores each rank gets.
    pub(super) cores: u16,
    /// How much memory each rank gets, in bytes.
    pub(super) memory: u64,
    /// How many ranks, and GPUs, a node has. `None` where ranks compute on processors.
    pub(super) per_node: Option<u16>,
    /// What else the user asks Slurm for.
    pub(super) more: Vec<String>,
    /// The path of the job's file.
    pub(super) job: String,
    /// The path of this program.
    pub(super) program: String,
    /// What the program is told beside the job: options of `mixnn run`.
    pub(super) options: Vec<String>,
    /// How `srun` brings the ranks together.
    pub(super) mpi: String,
    /// The folder of the run. `None`: by the job's name and id.
    pub(super) out: Option<String>,
}

impl Script {
    /// The template, and what its lines become, by how they begin. What becomes nothing is left out.
    fn lines(&self) -> (&'static str, Vec<(&'static str, String)>) {
        let memory = (self.memory >> 20) / u64::from(self.cores) + 1;
        let mut more = String::new();
        if !self.more.is_empty() {
            more = format!(
                "\n# What sbatch is told beside that.\n#SBATCH {}",
                self.more.iter().map(|word| option(word)).collect::<Vec<_>>().join(" ")
            );
        }
        let mut lines = vec![
            ("#   sbatch slurm/", format!("#   {}", line(&self.by))),
            ("# Edit the three lines", String::new()),
            ("#SBATCH --ntasks=", format!("#SBATCH --ntasks={}", self.ranks)),
            ("#SBATCH --job-name=", format!("#SBATCH --job-name={}", self.name)),
            ("#SBATCH --cpus-per-task=", format!("#SBATCH --cpus-per-task={}", self.cores)),
            ("#SBATCH --mem-per-cpu=", format!("#SBATCH --mem-per-cpu={}M", memory.next_multiple_of(STEP))),
            // Of two lines with one option, sbatch takes the later.
            ("#SBATCH --signal=", format!("#SBATCH --signal=USR1@120{more}")),
            ("JOB=", format!("JOB={}", quoted(&self.job))),
            ("MIXNN=", format!("MIXNN={}", quoted(&self.program))),
            ("OPTIONS=", format!("OPTIONS=({})", line(&self.options))),
            ("MPI=", format!("MPI={}", quoted(&self.mpi))),
        ];
        if let Some(out) = &self.out {
            lines.push(("export MIXNN_OUT=", format!("export MIXNN_OUT={}", quoted(out))));
        }
        let Some(per_node) = self.per_node else { return (TRAIN, lines) };
        lines.push(("#SBATCH --ntasks-per-node=", format!("#SBATCH --ntasks-per-node={per_node}")));
        lines.push(("#SBATCH --gpus-per-node=", format!("#SBATCH --gpus-per-node={per_node}")));
        (TRAIN_GPU, lines)
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (template, lines) = self.lines();
        for found in template.lines() {
            match lines.iter().find(|(begins, _)| found.starts_with(begins)) {
                Some((_, filled)) if filled.is_empty() => {}
                Some((_, filled)) => writeln!(f, "{filled}")?,
                None => writeln!(f, "{}", found.replace(EDIT, ""))?,
            }
        }
        Ok(())
    }
}

/// `word` as `sbatch` reads it in a line of a script: as it stands, or in double quotes, in which a backslash takes the meaning from what
/// follows.
fn option(word: &str) -> String {
    match !word.is_empty() && !word.contains(|c: char| c.is_whitespace() || "#\"'\\".contains(c)) {
        true => word.to_owned(),
        false => format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\"")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(per_node: Option<u16>) -> Script {
        Script {
            by: ["mixnn", "slurm", "my job.toml"].map(str::to_owned).to_vec(),
            name: "night".into(),
            ranks: 12,
            cores: 3,
            memory: 1000 << 20,
            per_node,
            more: ["--time=04:00:00", "-p", "big", "--comment=for \"us\""].map(str::to_owned).to_vec(),
            job: "/home/me/my job.toml".into(),
            program: "/opt/mixnn".into(),
            options: ["--set", "train.lr=0.5"].map(str::to_owned).to_vec(),
            mpi: "pmi2".into(),
            out: Some("/scratch/night".into()),
        }
    }

    /// A template's line that were renamed would stay as it is, and nobody would see it.
    #[test]
    fn each_line_to_fill_in_is_there_once() {
        for per_node in [None, Some(4)] {
            let (template, lines) = script(per_node).lines();
            for (begins, _) in lines {
                let found = template.lines().filter(|line| line.starts_with(begins)).count();
                assert_eq!(found, 1, "{begins}");
            }
            assert!(template.contains(EDIT));
        }
    }

    #[test]
    fn nothing_is_left_to_edit() {
        for per_node in [None, Some(4)] {
            let text = script(per_node).to_string();
            assert!(!text.contains("EDIT") && !text.contains("path/to"), "{text}");
            for line in [
                "#   mixnn slurm 'my job.toml'",
                "#SBATCH --ntasks=12",
                "#SBATCH --mem-per-cpu=384M",
                "#SBATCH --signal=USR1@120",
                "#SBATCH --time=04:00:00 -p big \"--comment=for \\\"us\\\"\"",
                "JOB='/home/me/my job.toml'",
                "OPTIONS=(--set train.lr=0.5)",
                "MPI=pmi2",
                "export MIXNN_OUT=/scratch/night",
            ] {
                assert!(text.lines().any(|found| found == line), "{line}\n{text}");
            }
            assert_eq!(per_node.is_some(), text.contains("#SBATCH --gpus-per-node=4\n"));
            let mut bash = std::process::Command::new("bash").args(["-n", "-c", &text]).spawn().unwrap();
            assert!(bash.wait().unwrap().success(), "{text}");
        }
    }
}
