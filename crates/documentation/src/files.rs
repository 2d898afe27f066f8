//! The files of the repository that documents are made of, and are about.

use std::fs;
use std::path::{Component, Path, PathBuf};

/// Folders that hold no documents of ours: what is built, and what tools keep.
const LEFT_OUT: [&str; 5] = ["target", "bin", "dist", "node_modules", "corpus"];

/// The root of the repository.
pub fn root() -> PathBuf {
    normal(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))
}

/// All files below a folder whose names end so, in order.
pub fn ending_with(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    collect(folder, ending, &mut found);
    found.sort();
    found
}

fn collect(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = entry.path();
        if path.is_dir() {
            // A stack that runs keeps its files in run, run-test and so on.
            let left_out = name.starts_with('.') || name.starts_with("run-") || name == "run";
            if !left_out && !LEFT_OUT.contains(&name.as_str()) {
                collect(&path, ending, found);
            }
        } else if name.ends_with(ending) {
            found.push(path);
        }
    }
}

/// A file's text.
///
/// # Panics
/// If it can't be read, and names it.
pub fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A path as messages show it: from the root of the repository.
pub fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// A path without `.` and `..`, whether or not there is such a file.
pub fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                normal.pop();
            }
            part => normal.push(part),
        }
    }
    normal
}
