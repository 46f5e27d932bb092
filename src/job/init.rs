//! `[init]`: what the network starts from.

use std::path::PathBuf;

use toml::Table;

use super::JobError;
use super::section::Section;
use super::table::{JobTable, put};
use super::tree::{Node, Value};

/// `[init]`: what the network starts from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Init {
    /// `init.from`: the safetensors file of the initial values. `None`, the default: they are drawn from the job's seed.
    pub from: Option<PathBuf>,
    /// `init.order`: the names of the file's modules in the order of the network's operations. Empty, the default: in the natural order
    /// of their names.
    pub order: Vec<String>,
}

impl JobTable for Init {
    const KEY: &'static str = "init";

    fn read(section: &Section<'_>) -> Result<Self, JobError> {
        const FROM: &str = "a safetensors file, as PyTorch's state_dict is saved";
        const ORDER: &str = "a list of the file's modules, each once, such as [\"conv1\", \"fc1\"]";
        let from = match section.get("from") {
            None => None,
            Some(Node { value: Value::Text(path), .. }) if !path.is_empty() => Some(PathBuf::from(path)),
            Some(node) => return Err(section.wrong("from", node, FROM)),
        };
        let order = match section.get("order") {
            None => Vec::new(),
            Some(node) => names(node).ok_or_else(|| section.wrong("order", node, ORDER))?,
        };
        section.finish()?;
        if from.is_none() && !order.is_empty() {
            let fix = "name the file that has these modules, or leave `order` out";
            return Err(section.conflict("order", "init.order without init.from", fix));
        }
        Ok(Self { from, order })
    }

    fn write(&self) -> Table {
        let mut keys = Table::new();
        if let Some(from) = &self.from {
            put(&mut keys, "from", from.display().to_string());
        }
        if !self.order.is_empty() {
            put(&mut keys, "order", self.order.clone());
        }
        keys
    }
}

/// The strings of the list in `node`. `None` where it is no list of strings, or has one of them twice.
fn names(node: &Node) -> Option<Vec<String>> {
    let Value::Array(items) = &node.value else { return None };
    let mut names = Vec::with_capacity(items.len());
    for item in items {
        match &item.value {
            Value::Text(name) if !names.contains(name) => names.push(name.clone()),
            _ => return None,
        }
    }
    Some(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Job;

    fn parse(init: &str) -> Result<Job, JobError> {
        let job = "name = \"x\"\nseed = 1\ndata.source = \"digits\"\ntrain.epochs = 1\nmix.profile = \"bare\"\n";
        let text = format!("{job}init = {init}\n[[stage]]\nops = [{{ op = \"linear\", out = 10 }}]\n");
        Job::parse("job.toml", &text, &[])
    }

    #[test]
    fn what_is_read_is_written() {
        let order = ["conv1", "fc1"].map(str::to_owned).to_vec();
        for (init, due) in [
            ("{}", Init::default()),
            ("{ from = \"a file\" }", Init { from: Some("a file".into()), order: Vec::new() }),
            ("{ from = \"a\", order = [\"conv1\", \"fc1\"] }", Init { from: Some("a".into()), order }),
        ] {
            let job = parse(init).unwrap();
            assert_eq!(job.init, due);
            assert_eq!(Job::parse("again.toml", &job.to_toml(), &[]).unwrap(), job);
        }
        let sets = ["init.from=model.safetensors".to_owned()];
        let job = Job::parse("job.toml", &parse("{}").unwrap().to_toml(), &sets).unwrap();
        assert_eq!(job.init.from, Some("model.safetensors".into()));
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for (init, words) in [
            ("{ from = \"\" }", "`init.from` is the string \"\"; expected a safetensors file"),
            ("{ from = 1 }", "`init.from` is the integer 1"),
            (
                "{ from = \"a\", order = \"fc1\" }",
                "`init.order` is the string \"fc1\"; expected a list of the file's modules",
            ),
            ("{ from = \"a\", order = [\"fc1\", \"fc1\"] }", "each once"),
            ("{ from = \"a\", order = [1] }", "each once"),
            ("{ order = [\"fc1\"] }", "init.order without init.from; name the file"),
            ("{ form = \"a\" }", "unknown key `form` in [init]; did you mean `from`?"),
        ] {
            let error = parse(init).unwrap_err().to_string();
            assert!(error.starts_with("job.toml:6:") && error.contains(words), "{init}: {error}");
        }
    }
}
