//! Sending again what failed on the way.

use std::time::{Duration, SystemTime};

use backon::{ExponentialBuilder, Retryable};

use crate::config::RetryConfig;
use crate::error::Error;

/// Runs `attempt` until it succeeds, fails for good, or has failed often enough. A registry's `Retry-After` is kept to,
/// and one that is longer than we wait ends it.
pub(crate) async fn retrying<T, F, Fut>(config: &RetryConfig, attempt: F) -> Result<T, Error>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, Error>>,
{
    retrying_when(config, Error::is_worth_retrying, attempt).await
}

/// The same, with another opinion on which failures pass.
pub(crate) async fn retrying_when<T, F, Fut>(
    config: &RetryConfig,
    when: impl FnMut(&Error) -> bool,
    attempt: F,
) -> Result<T, Error>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, Error>>,
{
    let delays = ExponentialBuilder::default()
        .with_jitter()
        .with_factor(2.0)
        .with_min_delay(config.min_delay)
        .with_max_delay(config.max_delay)
        .with_max_times(config.max_tries.saturating_sub(1));
    attempt
        .retry(delays)
        .sleep(tokio::time::sleep)
        .when(when)
        .adjust(|error, delay| wait_after(error, delay?, config))
        .notify(|error, delay| {
            tracing::debug!(error = %error, delay_ms = delay.as_millis(), "a registry request failed, trying again");
        })
        .await
}

/// How long to wait after a failure, where we would wait for `delay`: at least as long as the registry wants. None if that
/// is longer than we wait.
pub(crate) fn wait_after(error: &Error, delay: Duration, config: &RetryConfig) -> Option<Duration> {
    let Some(at) = error.retry_at() else { return Some(delay) };
    let wait = at.duration_since(SystemTime::now()).unwrap_or_default();
    (wait <= config.max_retry_after).then(|| wait.max(delay))
}

/// A number from 0 up to 1, without any claim to be unpredictable: it only keeps many from doing the same at once.
pub(crate) fn random() -> f64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0) as f64 / (u64::MAX as f64 + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Operation, Place, Refusal};
    use std::cell::Cell;

    fn config() -> RetryConfig {
        RetryConfig { min_delay: Duration::from_millis(10), ..RetryConfig::default() }
    }

    fn refusal(status: u16, retry_after: Option<u64>) -> Error {
        Refusal {
            place: Place::new(Operation::GetBlob, &"x.io/y".parse().unwrap(), None),
            status,
            code: None,
            message: None,
            retry_at: retry_after.map(|seconds| SystemTime::now() + Duration::from_secs(seconds)),
            note: None,
            exhausted: false,
        }
        .into()
    }

    async fn tries(error: impl Fn() -> Error) -> usize {
        let count = Cell::new(0);
        let result = retrying(&config(), || async {
            count.set(count.get() + 1);
            Err::<(), _>(error())
        })
        .await;
        assert!(result.is_err());
        count.get()
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_pass_is_tried_again_a_bounded_number_of_times() {
        for (status, expected) in [(500, 5), (503, 5), (429, 5), (408, 5), (400, 1), (401, 1), (403, 1), (404, 1)] {
            assert_eq!(tries(|| refusal(status, None)).await, expected, "{status}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_retry_after_is_waited_for_unless_it_is_too_long() {
        assert_eq!(tries(|| refusal(429, Some(30))).await, 5);
        assert_eq!(tries(|| refusal(429, Some(3600))).await, 1);
    }
}
