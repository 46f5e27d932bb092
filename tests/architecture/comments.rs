//! Doc comments stand alone: an editor shows each without the one above it.

use super::crate_sources;
use super::sources::Source;

/// The fewest words of a doc comment.
const FEWEST: usize = 3;
/// Up to so many words a doc comment is short.
const SHORT: usize = 4;
/// How many of a thousand doc comments may be short.
const SHORT_OF_1000: usize = 20;
/// Beginnings that lean on the comment above.
const LEANING: [&str; 4] = ["As above", "The same", "Likewise", "Ditto"];

/// A doc comment, as far as it goes without a break.
#[derive(Debug, PartialEq)]
struct Comment {
    /// The file below `src`, and the comment's first line there.
    place: String,
    /// The words of the comment.
    words: Vec<String>,
}

impl Comment {
    /// The comment, as a failed test prints it.
    fn shown(&self) -> String {
        format!("{}: {}", self.place, self.words.join(" "))
    }

    /// Whether it begins like something that leans on the comment above.
    fn leans(&self) -> bool {
        let text = self.words.join(" ");
        let after = LEANING.iter().filter_map(|beginning| text.strip_prefix(beginning));
        after.into_iter().any(|after| !after.starts_with(|c: char| c.is_alphanumeric()))
    }
}

/// The doc comments of `source`, tests left out.
fn comments(source: &Source) -> Vec<Comment> {
    let tests = source.test_lines();
    let mut comments: Vec<Comment> = Vec::new();
    let mut goes_on = false;
    for (line, number) in source.text.lines().zip(1..) {
        let said = line.trim_start().strip_prefix("///").filter(|_| !tests.iter().any(|test| test.contains(&number)));
        if let Some(said) = said {
            if !goes_on {
                comments.push(Comment { place: format!("{}:{number}", source.file), words: Vec::new() });
            }
            comments.last_mut().unwrap().words.extend(said.split_whitespace().map(str::to_owned));
        }
        goes_on = said.is_some();
    }
    comments
}

/// Help texts of the command line are doc comments, too.
#[test]
fn doc_comments_stand_alone() {
    let sources = crate_sources();
    let all: Vec<Comment> = sources.iter().filter(|source| !source.is_test()).flat_map(comments).collect();
    let those = |is: &dyn Fn(&Comment) -> bool| {
        all.iter().filter(|comment| is(comment)).map(Comment::shown).collect::<Vec<String>>()
    };
    let none = Vec::<String>::new();
    assert_eq!(those(&|comment| comment.words.len() < FEWEST), none, "say it in a sentence");
    assert_eq!(those(&Comment::leans), none, "an editor does not show the comment above: say it in full");
    let short = those(&|comment| comment.words.len() <= SHORT);
    assert!(
        short.len() * 1000 <= all.len() * SHORT_OF_1000,
        "{} of {} doc comments have {SHORT} words or fewer, {SHORT_OF_1000} of 1000 may:\n{}",
        short.len(),
        all.len(),
        short.join("\n")
    );
}

#[test]
fn doc_comments_are_found() {
    let text = "//! Of the file.\n/// One\n/// two.\n#[derive(Debug)]\nstruct A {\n    /// The same.\n    a: u8, // no\n}\n\
                #[cfg(test)]\nmod tests {\n    /// Not here.\n    fn f() {}\n}\n/// The sameness of it.\nfn g() {}\n";
    let found = comments(&Source::new("nn/a.rs", text));
    let shown: Vec<String> = found.iter().map(Comment::shown).collect();
    assert_eq!(shown, ["nn/a.rs:2: One two.", "nn/a.rs:6: The same.", "nn/a.rs:14: The sameness of it."]);
    assert_eq!(found.iter().map(Comment::leans).collect::<Vec<bool>>(), [false, true, false]);
}
