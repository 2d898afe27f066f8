//! What pods have of the mirrored images, in numbers that are brought up to date now and then.

use std::sync::Arc;
use std::time::Duration;

use super::usage::{InUse, Serving};
use super::{Settings, used};
use crate::controllers::context::Context;

/// How often the numbers are brought up to date.
const EVERY: Duration = Duration::from_secs(10);

/// How many mirrors have numbers of their own.
const MIRRORS: usize = 100;

/// Keeps the gauges until the program stops.
pub(in crate::controllers) async fn keep(context: Arc<Context>, settings: Settings) {
    context.mirrors.filled().await;
    context.registries.filled().await;
    context.pull_secrets.namespaces.filled().await;
    loop {
        let mirrors = context.mirrors.store.state();
        if let Some(used) = used(&context, &settings, &mirrors) {
            let (all, each) = summary(&used);
            context.metrics.rewriting(all, each);
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = context.shutdown.cancelled() => return,
        }
    }
}

/// A number for each state.
type Numbers = [(&'static str, u64); 3];

/// All images together, and those of the mirrors that have most which are not rewritten, as `<namespace>/<name>`.
fn summary(used: &[(Serving, InUse)]) -> (Numbers, Vec<(String, Numbers)>) {
    let mut all = InUse::default();
    for (_, InUse { rewritten, next_start, not_mirrored, .. }) in used {
        all.rewritten += rewritten;
        all.next_start += next_start;
        all.not_mirrored += not_mirrored;
    }
    let mut mirrors: Vec<&(Serving, InUse)> =
        used.iter().filter(|(_, used)| numbers(used).iter().any(|it| it.1 > 0)).collect();
    mirrors.sort_by_key(|(serving, used)| {
        (std::cmp::Reverse((used.not_mirrored + used.next_start, used.rewritten)), &serving.namespace, &serving.name)
    });
    let each = mirrors.into_iter().take(MIRRORS);
    let each = each.map(|(serving, used)| (format!("{}/{}", serving.namespace, serving.name), numbers(used)));
    (numbers(&all), each.collect())
}

fn numbers(used: &InUse) -> Numbers {
    [("rewritten", used.rewritten), ("next_start", used.next_start), ("not_mirrored", used.not_mirrored)]
}

#[cfg(test)]
mod tests {
    use super::super::usage::tests::serving;
    use super::*;

    #[test]
    fn mirrors_with_most_to_do_have_numbers_of_their_own_and_all_are_summed_up() {
        let of = |n: u64| {
            let used = InUse { rewritten: 1, not_mirrored: n % 150, ..InUse::default() };
            (serving(&format!("m{n}"), "docker.io/library/nginx", &[], &[]), used)
        };
        let mut used: Vec<_> = (0..150).map(of).collect();
        used.push((serving("unused", "docker.io/library/redis", &[], &[]), InUse::default()));
        let (all, each) = summary(&used);
        assert_eq!(all, [("rewritten", 150), ("next_start", 0), ("not_mirrored", (0..150).sum())]);
        assert_eq!(each.len(), MIRRORS);
        assert_eq!((each[0].0.as_str(), each[0].1[2]), ("platform/m149", ("not_mirrored", 149)));
        assert!(each.iter().all(|(name, _)| name != "platform/unused" && name != "platform/m0"));
    }
}
