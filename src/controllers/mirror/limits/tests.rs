//! Who waits for whom.

use super::*;

const SETTINGS: CopyLimits = CopyLimits { at_once: 4, from_one: 2, to_one: 3, long_after: Duration::from_secs(60) };

fn limits() -> Limits {
    Limits::new(SETTINGS)
}

/// Gives what a future has after all others have had their turn; none if it still waits.
async fn soon<T>(future: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(Duration::from_millis(100), future).await.ok()
}

async fn copy(limits: &Limits, source: &str, destination: &str) -> Option<Place> {
    soon(limits.copy(source, destination)).await.map(|place| place.expect("it is not closed"))
}

#[tokio::test(start_paused = true)]
async fn copies_are_limited_for_each_source_for_each_destination_and_in_all() {
    let limits = limits();
    let _a = [copy(&limits, "a", "x").await, copy(&limits, "a", "x").await];
    assert!(_a.iter().all(Option::is_some));
    assert!(copy(&limits, "a", "y").await.is_none(), "two from one source");
    let third = copy(&limits, "b", "x").await;
    assert!(third.is_some());
    assert!(copy(&limits, "b", "x").await.is_none(), "three to one registry");
    let fourth = copy(&limits, "b", "y").await;
    assert!(fourth.is_some());
    assert!(copy(&limits, "c", "z").await.is_none(), "four in all");
    drop(third);
    assert!(copy(&limits, "c", "x").await.is_some());
}

#[tokio::test(start_paused = true)]
async fn long_copies_make_room_for_others_and_not_without_end() {
    let limits = limits();
    let mut long = Vec::new();
    for _ in 0..2 {
        long.push(copy(&limits, "a", "x").await.expect("room"));
    }
    assert!(copy(&limits, "a", "x").await.is_none());
    tokio::time::sleep(SETTINGS.long_after + Duration::from_secs(1)).await;
    for _ in 0..2 {
        long.push(copy(&limits, "a", "x").await.expect("the first two are long by now"));
    }
    tokio::time::sleep(SETTINGS.long_after * 2).await;
    assert!(copy(&limits, "a", "x").await.is_none(), "one source has half of the places for long copies");
    assert!(copy(&limits, "b", "x").await.is_some());
    long.remove(0);
    tokio::time::sleep(SETTINGS.long_after).await;
    assert!(copy(&limits, "a", "x").await.is_some());
}

#[tokio::test(start_paused = true)]
async fn looks_at_a_source_that_does_not_answer_hold_up_no_others() {
    let limits = limits();
    let mut stuck = Vec::new();
    for host in 0..LOOKS / LOOKS_AT_ONE {
        for _ in 0..LOOKS_AT_ONE {
            stuck.push(soon(limits.look(&format!("dead-{host}"))).await.expect("room").expect("open"));
        }
    }
    assert!(soon(limits.look("healthy")).await.is_none(), "all places are taken");
    tokio::time::sleep(PATIENCE).await;
    assert!(soon(limits.look("healthy")).await.is_some(), "who is held up gives its place among all back");
    assert!(soon(limits.look("dead-0")).await.is_none(), "and keeps its place at the source");
}

#[tokio::test(start_paused = true)]
async fn mirrors_of_one_source_begin_one_after_another_and_who_takes_long_lets_others_begin() {
    let limits = limits();
    let begin = |source: &'static str| soon(limits.begin(source, std::future::ready(())));
    let mut begun = Vec::new();
    for _ in 0..BEGUN_AT_ONE {
        begun.push(begin("a").await.expect("room"));
    }
    let told = std::sync::atomic::AtomicBool::new(false);
    let tell = async { told.store(true, std::sync::atomic::Ordering::Relaxed) };
    assert!(soon(limits.begin("a", tell)).await.is_none(), "others come first");
    assert!(told.into_inner(), "and it is told");
    let at_another = soon(limits.begin("b", async { unreachable!("nobody waits here") })).await;
    assert!(at_another.is_some(), "mirrors of other sources begin");
    begun.pop();
    assert!(begin("a").await.is_some(), "one is done");
    tokio::time::sleep(BEGUN_FOR).await;
    assert!(begin("a").await.is_some(), "the others take long");
    drop(begun);
}

fn guard(limits: &Arc<Limits>) -> SourceGuard {
    SourceGuard { limits: limits.clone(), source: "a".to_owned() }
}

fn timeout() -> Error {
    let reference = |text: &str| Box::new(text.parse().expect("a reference"));
    Error::DeadlineExceeded {
        origin: reference("a/b:1"),
        destination: reference("c/d:1"),
        after: Duration::from_secs(60),
    }
}

#[tokio::test]
async fn a_source_that_fell_silent_is_told_and_looked_at_by_one() {
    let limits = Arc::new(limits());
    assert!(guard(&limits).admit("a").is_ok());
    for _ in 0..3 {
        guard(&limits).failed("a", &timeout());
    }
    assert_eq!(guard(&limits).admit("a").map_err(|closed| closed.kind), Err(ErrorKind::Unreachable));
    let failure = limits.look("a").await.err().expect("closed");
    assert_eq!(failure.reason, Reason::Unreachable);
    assert!(matches!(failure.retry, Retry::At(_)) && failure.message.contains("did not answer"), "{failure}");
    assert!(limits.copy("a", "x").await.is_err(), "and nothing is copied from it");
    assert!(limits.look("b").await.is_ok() && limits.copy("b", "a").await.is_ok());
    guard(&limits).answered("a");
    assert!(limits.look("a").await.is_ok());
}

#[test]
fn what_other_registries_answer_is_not_the_sources_matter() {
    let limits = Arc::new(limits());
    for _ in 0..3 {
        guard(&limits).failed("other", &timeout());
    }
    assert!(limits.closed("other").is_none());
}
