//! Words as a shell reads them.

/// `word` as a POSIX shell takes it for one word: as it stands, or in quotes.
pub(super) fn quoted(word: &str) -> String {
    match !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_./=,:@+".contains(c)) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

/// `words` as one line, each as [`quoted`].
pub(super) fn line<W: AsRef<str>>(words: impl IntoIterator<Item = W>) -> String {
    words.into_iter().map(|word| quoted(word.as_ref())).collect::<Vec<String>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_the_words_that_were_meant() {
        let words = ["plain-1.2_/=,:@+", "", "a b", "it's", "$HOME", "`id`", "a\"b\\", "*", "ü", "~"];
        let script = format!("printf '<%s>' {}", line(words));
        let printed = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        let meant: String = words.iter().map(|word| format!("<{word}>")).collect();
        assert_eq!(String::from_utf8(printed.stdout).unwrap(), meant);
        assert_eq!(line(["run", "--set", "a=1"]), "run --set a=1");
    }
}
