//! `[[stage]]`: the network, stage by stage.

use toml::{Table, Value};

use super::at::At;
use super::op::{self, Op};
use super::section::Section;
use super::table::{put, table};
use super::tree::Node;
use super::{JobError, MOST_RANKS};

/// The most operations of a stage, each `residual` counted as one.
pub const MOST_OPS: usize = 1024;

/// The key under which the stages stand in a job.
const KEY: &str = "stage";

/// `[[stage]]`: consecutive operations of the network that stand in one place, a rank or the owner.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// `ops`: the operations in order, from 1 to 1024.
    pub ops: Vec<Op>,
    /// `at`: whether the stage stands on the owner (`owner`), not on a rank of its own (`rank`, the default).
    pub on_owner: bool,
    /// Where the stage stands in the job's file, for errors.
    pub at: At,
}

impl Stage {
    /// Reads all stages of the job whose table is `root`, from 1 to 63.
    ///
    /// # Errors
    /// Any error of a stage, and where there are too few or too many.
    pub(super) fn read_all(root: &Section<'_>) -> Result<Vec<Self>, JobError> {
        const STAGES: &str = "one [[stage]] for each rank that is to host layers";
        let found = root.list(KEY, STAGES)?;
        let found = root.required(KEY, found, STAGES)?;
        let most = usize::from(MOST_RANKS) - 1;
        if !(1..=most).contains(&found.len()) {
            return Err(root.unfit(KEY, format!("a list of {}", found.len()), &format!("1 to {most} stages")));
        }
        found.iter().enumerate().map(|(index, node)| Self::read(index + 1, node)).collect()
    }

    /// Puts `stages` into `root`, the job's table.
    pub(super) fn write_all(stages: &[Self], root: &mut Table) {
        put(root, KEY, stages.iter().map(Self::write).collect::<Vec<Value>>());
    }

    /// Reads the stage in `node`, which errors call stage `number`.
    ///
    /// # Errors
    /// An unknown key, a value out of its range, or any error of an operation.
    fn read(number: usize, node: &Node) -> Result<Self, JobError> {
        const OPS: &str = "a list of operations such as { op = \"linear\", out = 10 }";
        let section = Section::new(&format!("[[stage]] {number}"), node)?;
        let found = section.list("ops", OPS)?;
        let found = section.required("ops", found, OPS)?;
        match found.len() {
            0 => return Err(section.unfit("ops", "an empty list", OPS)),
            1..=MOST_OPS => {}
            many => {
                let expected = format!("at most {MOST_OPS} operations");
                return Err(section.unfit("ops", format!("a list of {many}"), &expected));
            }
        }
        let ops = found.iter().map(op::read).collect::<Result<_, _>>()?;
        let on_owner = section.choice("at", &[("rank", false), ("owner", true)])?.unwrap_or(false);
        section.finish()?;
        Ok(Self { ops, on_owner, at: node.at.clone() })
    }

    /// The stage's table, with all its keys.
    fn write(&self) -> Value {
        let place = if self.on_owner { "owner" } else { "rank" };
        let ops: Vec<Value> = self.ops.iter().map(op::write).collect();
        table([("at", place.into()), ("ops", ops.into())]).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::tests::{JOB, parse, refused};

    /// A `--set` of so many equal stages.
    fn stages(number: usize, stage: &str) -> String {
        format!("stage=[{}]", vec![stage; number].join(", "))
    }

    #[test]
    fn every_key_has_its_default_and_is_written_as_it_is_read() {
        let job = parse(JOB, &[&stages(1, "{ ops = [{ op = \"relu\" }, { op = \"tanh\" }] }")]).unwrap();
        let [stage] = &job.stages[..] else { panic!("{:?}", job.stages) };
        assert_eq!((stage.ops.len(), stage.on_owner), (2, false));
        let job = parse(JOB, &[&stages(3, "{ ops = [{ op = \"relu\" }], at = \"owner\" }")]).unwrap();
        assert!(job.stages.len() == 3 && job.stages.iter().all(|stage| stage.on_owner));
        assert_eq!(parse(&job.to_toml(), &[]).unwrap(), job);
    }

    #[test]
    fn there_are_stages_and_operations_but_not_too_many() {
        let with_ops =
            |ops: usize| stages(1, &format!("{{ ops = [{}] }}", vec!["{ op = \"relu\" }"; ops].join(", ")));
        assert!(parse(JOB, &[&with_ops(MOST_OPS)]).is_ok());
        let relu = "{ ops = [{ op = \"relu\" }] }";
        assert!(parse(JOB, &[&stages(511, relu), "mix.profile=bare"]).is_ok());
        for (set, words) in [
            (stages(0, relu), "`stage` is a list of 0; expected 1 to 511 stages"),
            (stages(512, relu), "`stage` is a list of 512; expected 1 to 511 stages"),
            ("stage=1".to_owned(), "`stage` is the integer 1; expected one [[stage]] for each rank"),
            (stages(1, "{}"), "[[stage]] 1 lacks the key `ops`: a list of operations such as"),
            (with_ops(0), "`[[stage]] 1.ops` is an empty list; expected a list of operations such as"),
            (with_ops(MOST_OPS + 1), "`[[stage]] 1.ops` is a list of 1025; expected at most 1024 operations"),
            (stages(1, "{ ops = [{ op = \"relu\" }], at = \"relay\" }"), "expected \"rank\" or \"owner\""),
            (stages(1, "{ ops = [{ op = \"relu\" }], op = 1 }"), "unknown key `op` in [[stage]] 1"),
        ] {
            let found = refused(JOB, &[&set]);
            assert!(found.contains(words), "{found}");
        }
        let none = &JOB[..JOB.find("[[stage]]").unwrap()];
        assert!(refused(none, &[]).contains("lacks the key `stage`"));
    }
}
