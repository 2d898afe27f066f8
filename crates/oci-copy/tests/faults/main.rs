//! Copies between registries that fail in every way that we know.
//!
//! Every run follows from its seed: the image, the registries' manners, what goes wrong and when. Whatever goes wrong, a
//! run ends in success or a clear error, no tag in the destination ever names anything incomplete or other than the
//! source's, nobody gets credentials that aren't for them, and a second run makes up for what is missing without sending
//! a committed blob again.
//!
//! `FAULT_SEEDS` says which seeds: `17`, `3,5,8` or `0..1000`; the default is a fixed share for every build.
#![allow(clippy::unwrap_used)]

mod check;
mod images;
mod kinds;
mod network;
mod proxy;
mod random;
mod registry;
mod run;

use std::collections::BTreeMap;

use futures::StreamExt;

/// Seeds that run at the same time.
const JOBS: usize = 8;
const DEFAULT_SEEDS: &str = "0..120";

fn seeds() -> Vec<u64> {
    let text = std::env::var("FAULT_SEEDS").unwrap_or_else(|_| DEFAULT_SEEDS.to_owned());
    let number = |text: &str| text.trim().parse::<u64>().unwrap_or_else(|_| panic!("FAULT_SEEDS={text}: not a number"));
    match text.split_once("..") {
        Some((from, to)) => (number(from)..number(to)).collect(),
        None => text.split(',').map(number).collect(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seeded_runs_end_in_success_or_a_clear_error_and_no_tag_names_anything_incomplete() {
    let seeds = seeds();
    let runs = seeds.iter().map(|seed| {
        let run = tokio::spawn(run::run(*seed));
        async move { run.await.unwrap_or_else(|error| Err(format!("seed {seed}: {error}"))) }
    });
    let results: Vec<_> = futures::stream::iter(runs).buffer_unordered(JOBS).collect().await;

    let mut outcomes: BTreeMap<&str, usize> = BTreeMap::new();
    let mut kinds: BTreeMap<kinds::Kind, usize> = BTreeMap::new();
    let mut failures = Vec::new();
    for result in results {
        match result {
            Ok(summary) => {
                *outcomes.entry(summary.outcome).or_default() += 1;
                for kind in summary.fired {
                    *kinds.entry(kind).or_default() += 1;
                }
            }
            Err(failure) => failures.push(failure),
        }
    }
    for failure in &failures {
        println!("FAILED {}", failure.lines().next().unwrap_or_default());
    }
    println!("{} runs: {outcomes:?}, {} kinds of faults: {kinds:?}", seeds.len(), kinds.len());
    assert!(failures.is_empty(), "{} of {} runs failed; the first:\n{}", failures.len(), seeds.len(), failures[0]);
    if seeds.len() >= 100 {
        assert!(kinds.len() >= 24, "only {} kinds of faults took place", kinds.len());
    }
}
