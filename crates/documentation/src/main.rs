//! `documentation charts` draws the charts from the tables; `documentation site` is a preprocessor for mdBook;
//! `documentation tutorial PAGE FOLDER` runs a tutorial's commands in a folder.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use documentation::files::root;
use documentation::{charts, site, tutorial};

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let done = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["charts"] => draw(),
        ["site"] => preprocess(),
        ["tutorial", page, folder] => follow(page, folder.as_ref()),
        // mdBook asks which renderers there is something to do for.
        ["site", "supports", renderer] => {
            return if *renderer == "html" { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        }
        _ => Err(io::Error::other("usage: documentation charts | site | tutorial PAGE FOLDER")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("documentation: {error}");
            ExitCode::FAILURE
        }
    }
}

fn draw() -> io::Result<()> {
    for (path, svg) in charts::drawn(&root().join("docs")).map_err(io::Error::other)? {
        std::fs::write(path, svg)?;
    }
    Ok(())
}

fn follow(page: &str, folder: &Path) -> io::Result<()> {
    let page = std::fs::read_to_string(page)?;
    std::fs::create_dir_all(folder)?;
    let steps = tutorial::run(&page, folder).map_err(io::Error::other)?;
    println!("all {steps} steps of the tutorial went as it says");
    Ok(())
}

/// Reads the context and the book from standard input, and writes the book.
fn preprocess() -> io::Result<()> {
    let input: serde_json::Value = serde_json::from_reader(io::stdin())?;
    let serde_json::Value::Array(mut parts) = input else {
        return Err(io::Error::other("mdBook gives a list: its context and the book"));
    };
    let mut book = parts.pop().unwrap_or_default();
    site::rewrite(&mut book, &root());
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, &book)?;
    out.flush()
}
