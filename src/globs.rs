//! Globs over names of repositories, as in IAM policies: `*` stands for any characters, `/` included, `?` for one.
//!
//! What one namespace may pull is what two lists of globs have in common. That is told exactly where it can be told by
//! globs again, and refused where it can't: a guess would be too wide or too narrow.

/// The placeholder for the name of a namespace.
const NAMESPACE: &str = "{namespace}";

/// Two globs that have some names in common, and none of them is part of the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlap {
    /// What was granted.
    pub granted: String,
    /// What it was to be narrowed to.
    pub wanted: String,
}

/// The glob for this namespace.
pub fn in_namespace(glob: &str, namespace: &str) -> String {
    glob.replace(NAMESPACE, namespace)
}

/// Whether every name that `inner` matches is matched by `outer` too.
pub fn contains(outer: &str, inner: &str) -> bool {
    let (outer, inner) = (with_room(outer), in_order(inner));
    // The usual matching of a text, with one way to come back to the last `*`. The text is a glob itself: its wildcards
    // are characters that only a wildcard of `outer` takes that stands for no less.
    let takes = |glob: u8, symbol: u8| glob == symbol || (glob == b'?' && symbol != b'*');
    let (mut at, mut next) = (0, 0);
    let mut back = None;
    while next < inner.len() {
        match outer.get(at) {
            Some(b'*') => {
                back = Some((at, next));
                at += 1;
            }
            Some(glob) if takes(*glob, inner[next]) => (at, next) = (at + 1, next + 1),
            _ => {
                let Some((star, from)) = back else { return false };
                back = Some((star, from + 1));
                (at, next) = (star + 1, from + 1);
            }
        }
    }
    outer[at..].iter().all(|glob| *glob == b'*')
}

/// Whether there is a name that both match.
pub fn overlap(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    // Whether what is left of both has a name in common, from the ends to the beginnings; one row for each part of `a`.
    let mut below = vec![false; b.len() + 1];
    for i in (0..=a.len()).rev() {
        let mut row = vec![false; b.len() + 1];
        for j in (0..=b.len()).rev() {
            row[j] = match (a.get(i), b.get(j)) {
                (None, None) => true,
                (Some(b'*'), other) => below[j] || (other.is_some() && row[j + 1]),
                (one, Some(b'*')) => row[j + 1] || (one.is_some() && below[j]),
                (Some(one), Some(other)) => (one == other || *one == b'?' || *other == b'?') && below[j + 1],
                _ => false,
            };
        }
        below = row;
    }
    below[0]
}

/// The same names in as few globs as one glob of the list can replace another, in order: equal rights have equal lists.
pub fn reduced(globs: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    for glob in globs {
        let glob = String::from_utf8(in_order(&glob)).unwrap_or(glob);
        if !kept.iter().any(|other| contains(other, &glob)) {
            kept.retain(|other| !contains(&glob, other));
            kept.push(glob);
        }
    }
    kept.sort();
    kept
}

/// The names that are granted and wanted, as globs.
///
/// # Errors
/// If a granted glob and a wanted one have names in common that can't be told by either of them.
pub fn in_common(granted: &[String], wanted: &[String]) -> Result<Vec<String>, Overlap> {
    let mut common = Vec::new();
    for glob in wanted {
        if granted.iter().any(|outer| contains(outer, glob)) {
            common.push(glob.clone());
            continue;
        }
        for other in granted {
            if contains(glob, other) {
                common.push(other.clone());
            } else if overlap(glob, other) {
                return Err(Overlap { granted: other.clone(), wanted: glob.clone() });
            }
        }
    }
    Ok(reduced(common))
}

/// The same glob, with the `?` of each run of wildcards before its `*`, of which one is left.
fn in_order(glob: &str) -> Vec<u8> {
    let mut ordered = Vec::with_capacity(glob.len());
    let mut star = false;
    for byte in glob.bytes() {
        match byte {
            b'*' => star = true,
            b'?' => ordered.push(b'?'),
            _ => {
                if std::mem::take(&mut star) {
                    ordered.push(b'*');
                }
                ordered.push(byte);
            }
        }
    }
    if star {
        ordered.push(b'*');
    }
    ordered
}

/// The same glob, with a `*` on both sides of each `?` that has one beside it or beyond other `?`: which of the characters
/// of such a run is the one that `?` asks for is open.
fn with_room(glob: &str) -> Vec<u8> {
    let mut wide = Vec::with_capacity(glob.len() * 2);
    let mut questions = 0;
    for byte in in_order(glob) {
        match byte {
            b'?' => questions += 1,
            b'*' => {
                wide.push(b'*');
                wide.extend(std::iter::repeat_n(*b"?*", std::mem::take(&mut questions)).flatten());
            }
            _ => {
                wide.extend(std::iter::repeat_n(b'?', std::mem::take(&mut questions)));
                wide.push(byte);
            }
        }
    }
    wide.extend(std::iter::repeat_n(b'?', questions));
    wide
}

#[cfg(test)]
#[path = "globs_tests.rs"]
mod tests;
