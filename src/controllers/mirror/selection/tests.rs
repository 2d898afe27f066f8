//! Selections by example, and the laws that hold for all of them.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Tags as repositories have them.
const TAGS: &[&str] = &[
    "1.24.0",
    "1.25",
    "1.25.0",
    "1.25.4",
    "1.26.1",
    "1.27",
    "1.27.0-rc.1",
    "1.27.0",
    "1.27.3",
    "1.27.3-alpine",
    "1.27.3-alpine-slim",
    "1.28.0-rc.1",
    "v1.28.0",
    "2.0.0",
    "2.1.0-beta.2",
    "7",
    "20240101",
    "latest",
    "stable",
    "stable-alpine",
    "sha-0123456",
];

fn rules(yaml: &str) -> Rules {
    let spec: TagSelection = serde_saphyr::from_str(yaml).expect("YAML of a selection");
    Rules::new(&spec).expect("rules that can be used")
}

fn selected(yaml: &str, tags: &[&str]) -> Vec<String> {
    rules(yaml).judge(tags.iter().copied()).selected.into_keys().collect()
}

#[test]
fn what_every_filter_accepts_is_selected() {
    for (spec, expected) in [
        ("{names: [stable]}", &["stable"][..]),
        ("{names: [missing, stable]}", &["missing", "stable"]),
        ("{include: ['1.27.*']}", &["1.27.0", "1.27.0-rc.1", "1.27.3", "1.27.3-alpine", "1.27.3-alpine-slim"]),
        ("{include: ['1.27.*'], exclude: ['*-*']}", &["1.27.0", "1.27.3"]),
        ("{include: ['1.2?']}", &["1.25", "1.27"]),
        ("{include: ['stable*', 'latest']}", &["latest", "stable", "stable-alpine"]),
        ("{regex: '^stable'}", &["stable", "stable-alpine"]),
        ("{regex: '^stable$'}", &["stable"]),
        ("{regex: 'alpine'}", &["1.27.3-alpine", "1.27.3-alpine-slim", "stable-alpine"]),
        ("{semver: '>=1.26, <2'}", &["1.26.1", "1.27", "1.27.0", "1.27.3", "v1.28.0"]),
        ("{semver: '>=2'}", &["2.0.0"]),
        ("{semver: '>=2', prereleases: true}", &["2.0.0", "2.1.0-beta.2"]),
        ("{semver: '>=1.27.0-rc.1, <1.27.1'}", &["1.27", "1.27.0", "1.27.0-rc.1"]),
        ("{semver: '1.27', exclude: ['1.27']}", &["1.27.0", "1.27.3"]),
        ("{latest: 2}", &["2.0.0", "v1.28.0"]),
        ("{latest: 2, prereleases: true}", &["2.0.0", "2.1.0-beta.2"]),
        ("{latest: 2, semver: '<2'}", &["1.27.3", "v1.28.0"]),
        ("{latest: 1, semver: '1.25'}", &["1.25.4"]),
        ("{latest: 100, include: ['1.25*']}", &["1.25", "1.25.0", "1.25.4"]),
        ("{latest: 1, include: ['stable*', 'latest']}", &["stable-alpine"]),
        ("{latest: 2, include: ['sha-*', '1.24.0']}", &["1.24.0"]),
        ("{names: [stable], latest: 1}", &["2.0.0", "stable"]),
        ("{names: ['1.27.0-rc.1'], semver: '<1.25'}", &["1.24.0", "1.27.0-rc.1"]),
        ("{names: ['2.0.0'], latest: 1}", &["2.0.0"]),
        ("{names: [stable], exclude: ['stable*'], include: ['stable*']}", &["stable"]),
        // Variants: the group says what the version is.
        (r"{regex: '^(?<version>[\d.]+)-alpine$', semver: '>=1.25'}", &["1.27.3-alpine"]),
        (r"{regex: '^(?<version>[\d.]+)-alpine(-slim)?$', latest: 1}", &["1.27.3-alpine-slim"]),
    ] {
        assert_eq!(selected(spec, TAGS), expected, "{spec}");
    }
}

#[test]
fn a_rejected_tag_has_the_first_rule_that_rejects_it() {
    use RejectedBy::*;
    for (spec, tag, rule) in [
        ("{names: [stable]}", "latest", Names),
        ("{include: ['1.*']}", "latest", Include),
        ("{include: ['1.*'], exclude: ['*-alpine']}", "1.27.3-alpine", Exclude),
        ("{include: ['1.*'], exclude: ['*-alpine']}", "stable-alpine", Include),
        ("{regex: '^1'}", "stable", Regex),
        ("{semver: '>=1.25'}", "latest", NotAVersion),
        ("{semver: '>=1.25'}", "7", NotAVersion),
        ("{semver: '>=1.25'}", "20240101", NotAVersion),
        ("{semver: '>=1.25'}", "1.24.0", Semver),
        ("{semver: '>=1.25'}", "2.1.0-beta.2", Prerelease),
        ("{semver: '<2'}", "2.1.0-beta.2", Semver),
        ("{latest: 1}", "1.27.3-alpine", Prerelease),
        ("{latest: 1}", "1.27.3", Latest),
        ("{latest: 1}", "latest", NotAVersion),
        ("{latest: 1, include: ['stable*', 'latest']}", "stable", Latest),
    ] {
        let rules = rules(spec);
        let verdicts = rules.judge(TAGS.iter().copied());
        let found: Vec<_> = verdicts.rejected.iter().filter(|(rejected, _)| *rejected == tag).collect();
        assert_eq!(found, [&(tag, rule)], "{spec}");
        // What may depend on other tags is judged with them only.
        let alone = rules.rejects(tag);
        assert!(alone == Some(rule) || (alone.is_none() && matches!(rule, Latest | NotAVersion)), "{spec}: {alone:?}");
    }
}

#[test]
fn the_rule_that_selects_a_tag_is_told() {
    let verdicts = rules("{names: ['1.27.3', missing], semver: '1.27'}").judge(TAGS.iter().copied());
    let expected = [
        ("1.27", SelectedBy::Filters),
        ("1.27.0", SelectedBy::Filters),
        ("1.27.3", SelectedBy::Names),
        ("missing", SelectedBy::Names),
    ];
    assert_eq!(verdicts.selected, BTreeMap::from(expected.map(|(tag, by)| (tag.to_owned(), by))));
}

#[test]
fn a_list_is_needed_for_filters_only() {
    assert!(!rules("{names: [stable]}").need_list());
    assert!(!rules("{names: [stable], minAge: 24h}").need_list());
    for filters in ["{include: ['*']}", "{regex: x}", "{semver: '*'}", "{latest: 1}", "{names: [stable], latest: 1}"] {
        assert!(rules(filters).need_list(), "{filters}");
    }
}

#[test]
fn rules_that_can_not_be_used_are_refused_with_their_field() {
    for (spec, words) in [
        ("{regex: '('}", &["spec.tags.regex", "unclosed group"][..]),
        // It would take memory without end.
        (r"{regex: '(\w{1000}){1000}'}", &["spec.tags.regex", "size limit"]),
        ("{semver: 'newest'}", &["spec.tags.semver", "newest"]),
    ] {
        let spec: TagSelection = serde_saphyr::from_str(spec).expect("YAML of a selection");
        let error = Rules::new(&spec).expect_err("refused").to_string();
        for word in words {
            assert!(error.contains(word), "{error}");
        }
    }
}

#[test]
fn the_newest_come_first() {
    let tags = ["1.9.0", "latest", "1.10.0", "build-9", "build-10", "1.10.0-rc.1", "v2.0"];
    assert_eq!(newest_first(tags), ["v2.0", "1.10.0", "1.10.0-rc.1", "1.9.0", "latest", "build-10", "build-9"]);
}

#[test]
fn fifty_thousand_tags_are_judged_and_only_candidates_need_to_be_kept() {
    let tags: Vec<String> = (0..50_000).map(|n| format!("1.{}.{}-build{}", n / 500, n % 500, n % 7)).collect();
    let rules = rules("{regex: '^(?<version>.*)-build3$', latest: 20}");
    let kept: Vec<&str> = tags.iter().map(String::as_str).filter(|tag| rules.rejects(tag).is_none()).collect();
    assert!(kept.len() < 8_000);
    let (of_all, of_kept) = (rules.judge(tags.iter().map(String::as_str)), rules.judge(kept));
    assert_eq!(of_all.selected, of_kept.selected);
    assert_eq!(of_all.selected.len(), 20);
    assert!(of_all.selected.contains_key("1.99.497-build3"));
}

fn a_tag() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "v?[0-3]\\.[0-3](\\.[0-3])?(-(rc|alpine)(\\.[0-2])?)?",
        1 => "[a-z0-9_][a-z0-9._-]{0,8}",
        1 => "[0-9]{1,8}",
    ]
}

fn a_selection() -> impl Strategy<Value = TagSelection> {
    let patterns = || prop::collection::vec("[0-3v*?.]{1,4}", 0..3);
    let regex = prop::option::of(prop_oneof![Just("^v?(?<version>[0-9.]+)"), Just("rc"), Just("[0-9]$")]);
    let semver = prop::option::of(prop_oneof![Just(">=1"), Just("1.2 || ^2"), Just("<2.1.0-rc.1"), Just("!=1.1")]);
    let latest = prop::option::of(1..4_u32);
    let names = prop::collection::vec(a_tag(), 0..3);
    (names, patterns(), patterns(), regex, semver, any::<bool>(), latest).prop_map(
        |(names, include, exclude, regex, semver, prereleases, latest)| TagSelection {
            names,
            include,
            exclude,
            regex: regex.map(str::to_owned),
            semver: semver.map(str::to_owned),
            prereleases,
            latest,
            min_age: None,
        },
    )
}

proptest! {
    #[test]
    fn every_tag_is_selected_or_rejected_by_one_rule(
        spec in a_selection(),
        tags in prop::collection::btree_set(a_tag(), 0..30),
    ) {
        let verdicts = Rules::new(&spec).expect("usable").judge(tags.iter().map(String::as_str));
        for tag in &tags {
            let rejections = verdicts.rejected.iter().filter(|(rejected, _)| rejected == tag).count();
            prop_assert_eq!(rejections + usize::from(verdicts.selected.contains_key(tag)), 1, "{}", tag);
        }
        let known = |tag: &String| tags.contains(tag) || spec.names.contains(tag);
        prop_assert!(verdicts.selected.keys().all(known), "nothing is made up");
        prop_assert!(spec.names.iter().all(|name| verdicts.selected[name] == SelectedBy::Names));
    }

    #[test]
    fn the_order_of_the_tags_does_not_matter(
        spec in a_selection(),
        tags in prop::collection::btree_set(a_tag(), 0..30),
        seed in any::<u64>(),
    ) {
        let rules = Rules::new(&spec).expect("usable");
        let sorted: Vec<&str> = tags.iter().map(String::as_str).collect();
        let mut mixed = sorted.clone();
        for index in (1..mixed.len()).rev() {
            mixed.swap(index, (seed as usize).wrapping_mul(index + 7) % (index + 1));
        }
        let (a, b) = (rules.judge(sorted), rules.judge(mixed));
        prop_assert_eq!(a.selected, b.selected);
        prop_assert_eq!(BTreeMap::from_iter(a.rejected), BTreeMap::from_iter(b.rejected));
    }

    #[test]
    fn leaving_out_what_is_rejected_alone_changes_no_selection(
        spec in a_selection(),
        tags in prop::collection::btree_set(a_tag(), 0..30),
    ) {
        let rules = Rules::new(&spec).expect("usable");
        let kept = tags.iter().map(String::as_str).filter(|tag| rules.rejects(tag).is_none());
        prop_assert_eq!(rules.judge(kept).selected, rules.judge(tags.iter().map(String::as_str)).selected);
    }

    #[test]
    fn latest_takes_no_more_than_it_says(spec in a_selection(), tags in prop::collection::btree_set(a_tag(), 0..30)) {
        let verdicts = Rules::new(&spec).expect("usable").judge(tags.iter().map(String::as_str));
        if let Some(latest) = spec.latest {
            let by_filters = verdicts.selected.values().filter(|by| **by == SelectedBy::Filters).count();
            prop_assert!(by_filters <= latest as usize);
        }
    }

    #[test]
    fn no_text_makes_a_range_or_a_version_panic(text in "[-0-9a-z<>=!~^*x.,| ]{0,20}") {
        let _ = range::Range::parse(&text);
        let _ = TagVersion::read(&text);
    }
}
