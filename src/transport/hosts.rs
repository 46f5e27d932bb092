//! The hosts on which ranks run, for people who read of ranks. Errors name a rank by its number alone, since nothing
//! that makes them knows hosts. Whoever shows an error to a user adds the hosts.

use crate::terminal::escaped;

/// How many bytes of a host's name travel, with zeros behind a shorter one. No name on Linux is longer.
pub const NAME: usize = 64;

/// The names of all ranks' hosts, by rank.
pub struct Hosts(Vec<String>);

impl Hosts {
    /// The form in which a name travels. A longer name is cut.
    pub fn packed(name: &str) -> [u8; NAME] {
        let mut packed = [0; NAME];
        packed.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
        packed
    }

    /// Reads names that have travelled, one behind the other, by rank.
    pub fn unpacked(names: &[u8]) -> Self {
        let name = |packed: &[u8]| {
            let end = packed.iter().position(|byte| *byte == 0).unwrap_or(packed.len());
            // A peer may have put anything there, and this goes to a terminal.
            escaped(&String::from_utf8_lossy(&packed[..end]))
        };
        Self(names.chunks(NAME).map(name).collect())
    }

    /// Puts the host behind each rank that `text` names, such as "rank 3 (on node-2)". Returns the text as it is if all
    /// ranks are on one host.
    pub fn named(&self, text: &str) -> String {
        const RANK: &str = "rank ";
        if self.0.windows(2).all(|pair| pair[0] == pair[1]) {
            return text.to_owned();
        }
        let mut parts = text.split(RANK);
        let mut named = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let begins_a_word = !named.ends_with(|c: char| c.is_alphanumeric());
            let digits = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
            let (number, rest) = part.split_at(digits);
            let host = number.parse().ok().and_then(|rank: usize| self.0.get(rank)).filter(|_| begins_a_word);
            named.push_str(RANK);
            named.push_str(number);
            if let Some(host) = host {
                named.push_str(&format!(" (on {host})"));
            }
            named.push_str(rest);
        }
        named
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(names: &[&str]) -> Hosts {
        Hosts::unpacked(&names.iter().flat_map(|name| Hosts::packed(name)).collect::<Vec<u8>>())
    }

    #[test]
    fn ranks_are_named_with_their_hosts() {
        let two = hosts(&["node-1", "node-1", "node-2"]);
        for (text, named) in [
            (
                "no answer from rank 1, rank 2; the run",
                "no answer from rank 1 (on node-1), rank 2 (on node-2); the run",
            ),
            ("rank 2", "rank 2 (on node-2)"),
            ("rank 3 of a rank or frank 1, rank", "rank 3 of a rank or frank 1, rank"),
            ("rank 99999999999999999999999", "rank 99999999999999999999999"),
            ("", ""),
        ] {
            assert_eq!(two.named(text), named);
        }
        assert_eq!(hosts(&["node-1", "node-1"]).named("from rank 1"), "from rank 1", "there is one host");
    }

    #[test]
    fn names_travel_whole_or_cut() {
        let long = "n".repeat(NAME + 9);
        assert_eq!(
            hosts(&["a", "", &long, "x\u{1b}[2J\u{202e}"]).0,
            ["a", "", &"n".repeat(NAME), "x\\u{1b}[2J\\u{202e}"]
        );
    }
}
