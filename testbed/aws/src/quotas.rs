//! ECR's rate quotas, where a test sets them.
//! <https://docs.aws.amazon.com/AmazonECR/latest/userguide/service-quotas.html>

use std::collections::HashMap;
use std::time::Instant;

use parking_lot::Mutex;
use serde::Deserialize;

/// What `POST /quotas` takes.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Quota {
    /// An ECR action, such as `CreateRepository`. The registry API's requests count as the actions that they need.
    pub(crate) action: String,
    /// The region that it holds in; every one when left out.
    pub(crate) region: Option<String>,
    /// Requests a second, in each region. As many may come at once.
    pub(crate) per_second: f64,
}

/// The quotas, and what is left of them.
#[derive(Default)]
pub(crate) struct Quotas(Mutex<Limits>);

#[derive(Default)]
struct Limits {
    /// By action and region; a quota of no region is for all that have none of their own.
    per_second: HashMap<(String, Option<String>), f64>,
    left: HashMap<(String, String), Bucket>,
}

struct Bucket {
    tokens: f64,
    since: Instant,
}

impl Quotas {
    pub(crate) fn set(&self, quota: Quota) {
        let mut limits = self.0.lock();
        limits.left.retain(|(_, action), _| *action != quota.action);
        limits.per_second.insert((quota.action, quota.region), quota.per_second);
    }

    pub(crate) fn clear(&self) {
        *self.0.lock() = Limits::default();
    }

    /// Whether a request still fits, and uses it up if it does.
    pub(crate) fn take(&self, region: &str, action: &str, now: Instant) -> bool {
        let mut limits = self.0.lock();
        let mut regions = [Some(region.to_owned()), None].into_iter();
        let rate = regions.find_map(|region| limits.per_second.get(&(action.to_owned(), region)).copied());
        let Some(rate) = rate else { return true };
        let burst = rate.max(1.0);
        let bucket = limits
            .left
            .entry((region.to_owned(), action.to_owned()))
            .or_insert_with(|| Bucket { tokens: burst, since: now });
        let gained = now.saturating_duration_since(bucket.since).as_secs_f64() * rate;
        bucket.tokens = (bucket.tokens + gained).min(burst);
        bucket.since = now;
        let fits = rate > 0.0 && bucket.tokens >= 1.0;
        if fits {
            bucket.tokens -= 1.0;
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_quota_holds_for_its_action_in_each_region_and_refills() {
        let (quotas, now) = (Quotas::default(), Instant::now());
        quotas.set(Quota { action: "PutImage".to_owned(), region: None, per_second: 2.0 });
        let take = |region, action, at| quotas.take(region, action, at);
        assert!(take("eu-west-1", "PutImage", now) && take("eu-west-1", "PutImage", now));
        assert!(!take("eu-west-1", "PutImage", now));
        assert!(take("eu-west-1", "DescribeImages", now), "another action");
        assert!(take("us-east-1", "PutImage", now), "another region");
        assert!(take("eu-west-1", "PutImage", now + Duration::from_millis(500)));
        assert!(!take("eu-west-1", "PutImage", now + Duration::from_millis(500)));
        quotas.clear();
        assert!(take("eu-west-1", "PutImage", now));
    }

    #[test]
    fn a_quota_of_nothing_refuses_everything() {
        let (quotas, now) = (Quotas::default(), Instant::now());
        quotas.set(Quota { action: "PutImage".to_owned(), region: Some("eu-west-1".to_owned()), per_second: 0.0 });
        assert!(!quotas.take("eu-west-1", "PutImage", now + Duration::from_secs(60)));
        assert!(quotas.take("us-east-1", "PutImage", now), "another region");
    }
}
