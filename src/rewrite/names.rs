//! Docker's rules for names of images, in the API server's language.

/// Whether the text of an expression is a host, by Docker's rule, where it stands before the first slash.
fn looks_like_host(it: &str) -> String {
    format!("({it}.matches('[.:A-Z]') || {it} == 'localhost')")
}

/// From a list of names to a list of lists: the name, its repository in full, the tag with its colon, and the digest with its @;
/// either of the last two may be empty. Names are split and completed as Docker does; what Docker's grammar refuses is not.
pub fn in_full(names: &str) -> String {
    let without_digest = "map(it, it.contains('@') ? [it, it.substring(0, it.indexOf('@')), it.substring(it.indexOf('@'))] : [it, it, ''])";
    let first = "it[1].substring(0, it[1].indexOf('/'))";
    let with_host = format!(
        "map(it, it[1].contains('/') && {} ? [it[0], {first}, it[1].substring(it[1].indexOf('/') + 1), it[2]] : [it[0], 'docker.io', it[1], it[2]])",
        looks_like_host(first)
    );
    let lower = looks_like_host("it[1].lowerAscii()");
    let with_tag = format!(
        "map(it, [it[0], {lower} ? (it[1].lowerAscii() == 'index.docker.io' ? 'docker.io' : it[1].lowerAscii()) : it[1], \
         it[2].contains(':') ? it[2].substring(0, it[2].indexOf(':')) : it[2], it[2].contains(':') ? it[2].substring(it[2].indexOf(':')) : '', it[3]])"
    );
    let whole = "map(it, [it[0], it[1] + (it[1] == 'docker.io' && !it[2].contains('/') ? '/library/' : '/') + it[2], it[3], it[4]])";
    format!("{names}.{without_digest}.{with_host}.{with_tag}.{whole}")
}
