//! Runs a tutorial: its commands, in one shell, whose output must be what the page shows.
//!
//! A block `console` has commands, behind `$ `, and what they print. A block `yaml` is the content of the file that is named
//! last before it, as code. Blocks of other sorts are for the reader. What differs from run to run is made the same first.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use regex::Regex;

use crate::markdown;

/// How long what a command shows may take to become what the page shows.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a tutorial does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Puts this text into this file.
    Write {
        /// The file's name.
        file: String,
        /// Its content.
        text: String,
    },
    /// Runs a command.
    Run {
        /// The command.
        command: String,
        /// What the page says that it prints.
        prints: String,
    },
}

/// The steps of a page.
pub fn steps(text: &str) -> Vec<Step> {
    let mut named = text;
    let mut steps = Vec::new();
    let file = Regex::new(r"`([a-z-]+\.yaml)`").expect("the expression is sound");
    for block in markdown::read(text).blocks {
        match block.info.as_str() {
            "yaml" => {
                let before: usize = text.lines().take(block.line - 1).map(|line| line.len() + 1).sum();
                named = file
                    .captures_iter(&text[..before])
                    .last()
                    .and_then(|found| found.get(1))
                    .map_or(named, |name| name.as_str());
                steps.push(Step::Write { file: named.to_owned(), text: block.text });
            }
            "console" => steps.extend(runs(&block.text)),
            _ => {}
        }
    }
    steps
}

fn runs(block: &str) -> Vec<Step> {
    let mut runs: Vec<Step> = Vec::new();
    for line in block.lines() {
        match (line.strip_prefix("$ "), runs.last_mut()) {
            (Some(command), _) => runs.push(Step::Run { command: command.to_owned(), prints: String::new() }),
            (None, Some(Step::Run { prints, .. })) => {
                prints.push_str(line);
                prints.push('\n');
            }
            // Output of a command that is in another block.
            (None, _) => {}
        }
    }
    runs
}

/// What is the same in each run: no digests, numbers and times, no paths, no progress of crane, and spaces that count for one.
pub fn comparable(output: &str) -> String {
    let rules = [
        (r"(?m)^\d{4}/\d\d/\d\d .*$", ""),
        (r"[0-9a-f]{64}", "DIGEST"),
        (r"-[0-9a-f]{8}\b", "-HASH"),
        (r"\S*/docker/config\.json", "CONFIG"),
        (r"(\d+(ms|[smhd]))+\b", "AGE"),
        (r"127\.0\.0\.1:\d+", "HOST"),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME"),
        (r"[ \t]+", " "),
        (r"(?m)^\s+|\s+$", ""),
    ];
    rules.iter().fold(output.to_owned(), |text, (rule, with)| {
        Regex::new(rule).expect("the expression is sound").replace_all(&text, *with).into_owned()
    })
}

/// Runs a page in a folder.
///
/// # Errors
/// The first command that does not print what the page says.
pub fn run(page: &str, folder: &Path) -> Result<usize, String> {
    let steps = steps(page);
    let mut shell = Shell::new(folder).map_err(|error| format!("no shell: {error}"))?;
    for step in &steps {
        match step {
            Step::Write { file, text } => {
                fs::write(folder.join(file), text).map_err(|error| format!("{file}: {error}"))?;
            }
            Step::Run { command, prints } => shell.expect(command, prints)?,
        }
    }
    Ok(steps.len())
}

struct Shell {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Shell {
    fn new(folder: &Path) -> std::io::Result<Self> {
        let mut child = Command::new("bash")
            .args(["--noprofile", "--norc"])
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (input, output) = child.stdin.take().zip(child.stdout.take()).expect("both are pipes");
        Ok(Self { child, input, output: BufReader::new(output) })
    }

    /// Runs a command until it prints what it should. One that changes something is run once.
    fn expect(&mut self, command: &str, prints: &str) -> Result<(), String> {
        let only_looks =
            [" get ", "crane digest", "crane ls", "crane manifest"].iter().any(|word| command.contains(word));
        let started = Instant::now();
        loop {
            let printed = self.run(command).map_err(|error| format!("{command}: {error}"))?;
            if comparable(&printed) == comparable(prints) {
                println!("as the page says: {command}");
                return Ok(());
            }
            if !only_looks || started.elapsed() > PATIENCE {
                return Err(format!("$ {command}\nprints\n{printed}\nand the page says\n{prints}"));
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    fn run(&mut self, command: &str) -> std::io::Result<String> {
        const END: &str = "--- the end of what a command printed";
        writeln!(self.input, "{{ {command}\n}} 2>&1 </dev/null; echo; echo '{END}'")?;
        self.input.flush()?;
        let mut printed = String::new();
        loop {
            let mut line = String::new();
            if self.output.read_line(&mut line)? == 0 {
                return Err(std::io::Error::other("the shell ended"));
            }
            if line.trim_end() == END {
                return Ok(printed);
            }
            printed.push_str(&line);
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "Put this into `a-b.yaml`:\n\n```yaml\nkind: A\n```\n\n```bash\nmake up\n```\n\n```console\n$ export X=1\n$ echo $X \\\nof many\n1 of many\n```\n";

    #[test]
    fn files_and_commands_are_found_and_what_is_for_the_reader_is_not() {
        let [Step::Write { file, text }, Step::Run { command, .. }, Step::Run { prints, .. }] = &steps(PAGE)[..] else {
            panic!("{:?}", steps(PAGE))
        };
        assert_eq!((file.as_str(), text.as_str(), command.as_str()), ("a-b.yaml", "kind: A\n", "export X=1"));
        assert_eq!(prints, "of many\n1 of many\n");
    }

    #[test]
    fn what_differs_from_run_to_run_does_not_count_and_all_else_does() {
        let shown = "busybox-20a2aacd   True   127.0.0.1:29671/a   6s\nuntil 2026-11-26T05:10:48Z\n";
        let printed =
            "2026/11/25 17:10:48 pushed\nbusybox-e54ff3ad True 127.0.0.1:4/a  1m2s\nuntil 2027-01-26T05:10:48Z";
        assert_eq!(comparable(printed), comparable(shown));
        assert_ne!(comparable(&printed.replace("True", "False")), comparable(shown));
    }

    #[test]
    fn commands_share_a_shell_and_one_that_prints_something_else_is_told() {
        let folder = std::env::temp_dir().join(format!("tutorial-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let page = |prints: &str| {
            format!(
                "`x.yaml`\n```yaml\na: 1\n```\n```console\n$ Y=$(cat x.yaml)\n$ echo \"$Y\"; echo b >&2\n{prints}\nb\n```\n"
            )
        };
        let (good, bad) = (run(&page("a: 1"), &folder), run(&page("a: 2"), &folder));
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(good, Ok(3));
        assert!(bad.unwrap_err().contains("and the page says\na: 2"));
    }
}
