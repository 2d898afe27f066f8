use wildmatch::WildMatch;

use super::*;

fn list(globs: &[&str]) -> Vec<String> {
    globs.iter().map(|glob| (*glob).to_owned()).collect()
}

/// All texts of up to `longest` characters out of these.
fn texts(characters: &str, longest: usize) -> Vec<String> {
    let mut all = vec![String::new()];
    let mut last = all.clone();
    for _ in 0..longest {
        last = last.iter().flat_map(|text| characters.chars().map(move |next| format!("{text}{next}"))).collect();
        all.extend(last.iter().cloned());
    }
    all
}

#[test]
fn a_glob_contains_another_exactly_when_it_matches_all_its_names() {
    // `c` is in no glob: it stands for all other characters. Names are longer than globs, so that `*` has room.
    let (globs, names) = (texts("ab*?", 3), texts("abc", 5));
    let matched: Vec<Vec<bool>> = globs
        .iter()
        .map(|glob| {
            let glob = WildMatch::new(glob);
            names.iter().map(|name| glob.matches(name)).collect()
        })
        .collect();
    for (outer, of_outer) in globs.iter().zip(&matched) {
        for (inner, of_inner) in globs.iter().zip(&matched) {
            let all = of_inner.iter().zip(of_outer).all(|(inner, outer)| !inner || *outer);
            assert_eq!(contains(outer, inner), all, "{outer:?} contains {inner:?}");
            let some = of_inner.iter().zip(of_outer).any(|(inner, outer)| *inner && *outer);
            assert_eq!(overlap(outer, inner), some, "{outer:?} and {inner:?}");
        }
    }
}

#[test]
fn what_another_glob_covers_is_left_out_and_the_order_is_always_the_same() {
    assert_eq!(reduced(list(&["b/*", "a/x", "a/*", "a/?", "b/*"])), ["a/*", "b/*"]);
    assert_eq!(reduced(list(&["a/**?", "a/?*"])), ["a/?*"]);
    assert_eq!(reduced(list(&["a/x", "*"])), ["*"]);
}

#[test]
fn narrowing_gives_the_narrower_of_two_globs() {
    let granted = list(&["team-a/*", "base/*"]);
    assert_eq!(in_common(&granted, &list(&["team-a/api", "base/*"])), Ok(list(&["base/*", "team-a/api"])));
    assert_eq!(in_common(&granted, &list(&["*"])), Ok(list(&["base/*", "team-a/*"])));
    assert_eq!(in_common(&granted, &list(&["team-b/*"])), Ok(Vec::new()), "nothing is in common");
}

#[test]
fn what_neither_glob_can_tell_is_refused_unless_another_one_tells_it() {
    let overlap = Overlap { granted: "team-*/api".into(), wanted: "team-a/*".into() };
    assert_eq!(in_common(&list(&["team-*/api"]), &list(&["team-a/*"])), Err(overlap));
    let both = list(&["team-*/api", "team-a/*"]);
    assert_eq!(in_common(&both, &list(&["team-a/*"])), Ok(list(&["team-a/*"])));
}

#[test]
fn the_namespace_is_put_into_a_glob_wherever_it_asks_for_it() {
    assert_eq!(in_namespace("{namespace}/x-{namespace}*", "team-a"), "team-a/x-team-a*");
}
