//! Takes entries away whose objects are gone. That needs no finalizer: what is left to do is written on the accounts.

use std::collections::BTreeSet;
use std::sync::Arc;

use kube::ResourceExt as _;
use tracing::Instrument as _;

use super::View;
use super::settle::release;
use crate::controllers::AFTER_ERROR;
use crate::controllers::context::Context;
use crate::telemetry;

/// Looks for such entries whenever there may be some, until the program stops.
pub async fn release_orphans(context: Arc<Context>) {
    loop {
        tokio::select! {
            () = context.accounts.may_be_orphaned.notified() => {}
            () = context.shutdown.cancelled() => return,
        }
        // Without a watch there is nothing to do, and looking at the accounts would start it.
        if !context.accounts.are_watched() {
            continue;
        }
        release_present(&context).instrument(telemetry::task("release orphans", None)).await;
    }
}

async fn release_present(context: &Context) {
    let View::Known(accounts) = context.accounts.look() else { return };
    let living = living(context).await;
    for account in accounts {
        let present = account.present();
        let orphaned = present.claims.keys().filter(|uid| !living.contains(**uid));
        for uid in orphaned {
            let (namespace, name) = (account.namespace(), account.name_any());
            match release(context, &account, uid).await {
                Ok(()) => tracing::info!(namespace, name, "an entry whose pull secret is gone was taken away"),
                Err(failure) => {
                    tracing::warn!(namespace, name, %failure, "an entry whose pull secret is gone stays for now");
                    let accounts = context.accounts.clone();
                    tokio::spawn(async move {
                        tokio::time::sleep(AFTER_ERROR).await;
                        accounts.look_for_orphans();
                    });
                }
            }
        }
    }
}

/// The UIDs of all pull secrets that are there and stay.
async fn living(context: &Context) -> BTreeSet<String> {
    let objects = &context.pull_secrets.objects;
    tokio::join!(objects.namespaced.filled(), objects.cluster.filled());
    let namespaced = objects.namespaced.store.state();
    let cluster = objects.cluster.store.state();
    let metadata = namespaced.iter().map(|it| &it.metadata).chain(cluster.iter().map(|it| &it.metadata));
    metadata.filter(|it| it.deletion_timestamp.is_none()).filter_map(|it| it.uid.clone()).collect()
}
