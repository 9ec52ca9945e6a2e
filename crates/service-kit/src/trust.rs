//! Whom a service trusts: the files of `[tls]` and of tokens, and a task that looks after them.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pentad_trust::{Refresh, Source, Tls, TlsFiles, TokenFile, TrustError, Watched};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Unit;
use tokio_util::sync::CancellationToken;

use crate::listen::ServerConfig;
use crate::metrics::Metrics;

/// Whom a service trusts besides who holds its cookie.
#[derive(Clone, Debug)]
pub struct Trust {
    /// Certificates.
    pub tls: Option<Tls>,
    /// Tokens.
    pub tokens: Option<Arc<Watched<TokenFile>>>,
    /// Whether the cookie is taken from other machines: the operator said that whoever listens on
    /// the way may have it.
    pub cookie_travels: bool,
    /// Pause between two looks at files, and at the credentials of streams.
    pub(crate) pause: Duration,
    metrics: TrustMetrics,
}

#[derive(Clone, Debug, Default)]
struct TrustMetrics {
    refused: Family<ReasonLabels, Counter>,
    reloads: Family<ReloadLabels, Counter>,
    broken: Family<FilesLabels, Gauge>,
    expiry: Family<KindLabels, Gauge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReloadLabels {
    files: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FilesLabels {
    files: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
}

impl Default for Trust {
    /// Nobody.
    fn default() -> Self {
        Self {
            tls: None,
            tokens: None,
            cookie_travels: false,
            pause: ServerConfig::default().reload_pause(),
            metrics: TrustMetrics::default(),
        }
    }
}

impl Trust {
    /// Reads what the configuration names.
    ///
    /// # Errors
    /// When a file cannot be used.
    pub fn load(
        tls: &TlsFiles,
        server: &ServerConfig,
        metrics: &Metrics,
    ) -> Result<Self, TrustError> {
        let tls = tls.load()?;
        let tokens = server.tokens_file.as_deref().map(|path| TokenFile::new(path).load());
        let has_tls = tls.as_ref().is_some_and(|tls| tls.current().server.is_some());
        let trust = Self {
            tls,
            tokens: tokens.transpose()?,
            cookie_travels: server.insecure_listen && !has_tls,
            pause: server.reload_pause(),
            metrics: TrustMetrics::register(metrics),
        };
        trust.note_expiry();
        if trust.tls.is_some() {
            trust.note_broken("tls", false);
        }
        if trust.tokens.is_some() {
            trust.note_broken("tokens", false);
        }
        Ok(trust)
    }

    pub(crate) fn count_refusal(&self, reason: &'static str) {
        self.metrics.refused.get_or_create(&ReasonLabels { reason }).inc();
    }

    /// Looks at the files again and again until `shutdown`.
    pub async fn watch(self, shutdown: CancellationToken) {
        if self.tls.is_none() && self.tokens.is_none() {
            return;
        }
        while shutdown.run_until_cancelled(tokio::time::sleep(self.pause)).await.is_some() {
            let trust = self.clone();
            let looking = tokio::task::spawn_blocking(move || trust.refresh());
            if let Err(error) = looking.await {
                tracing::error!(%error, "cannot look at certificates and tokens");
            }
        }
    }

    fn refresh(&self) {
        if let Some(tls) = &self.tls {
            self.refresh_one("tls", tls);
            self.note_expiry();
        }
        if let Some(tokens) = &self.tokens {
            self.refresh_one("tokens", tokens);
        }
    }

    fn refresh_one<S: Source>(&self, files: &'static str, watched: &Watched<S>) {
        let in_use = || S::summary(&watched.current());
        let outcome = match watched.refresh() {
            Refresh::Same | Refresh::Unsettled => return,
            Refresh::Restored => {
                tracing::info!(files, in_use = in_use(), "of use again, as they were before");
                return self.note_broken(files, false);
            }
            Refresh::Changed => {
                tracing::info!(files, in_use = in_use(), "read anew, and in use from now on");
                "changed"
            }
            Refresh::Broken(error) => {
                tracing::error!(files, %error, "cannot be used; what was read before stays in use");
                "broken"
            }
        };
        self.note_broken(files, outcome == "broken");
        self.metrics.reloads.get_or_create(&ReloadLabels { files, outcome }).inc();
    }

    fn note_broken(&self, files: &'static str, is_broken: bool) {
        self.metrics.broken.get_or_create(&FilesLabels { files }).set(is_broken.into());
    }

    /// Of several authorities the last to expire counts: the others are on their way out.
    fn note_expiry(&self) {
        let Some(tls) = &self.tls else { return };
        let material = tls.current();
        let own = material.own.as_ref().map(|own| own.not_after);
        let authority = material.authorities.iter().map(|authority| authority.not_after).max();
        for (kind, expiry) in [("own", own), ("authority", authority)] {
            if let Some(expiry) = expiry {
                self.metrics.expiry.get_or_create(&KindLabels { kind }).set(expiry);
            }
        }
    }
}

impl TrustMetrics {
    fn register(metrics: &Metrics) -> Self {
        let own = Self::default();
        metrics.register(|registry| {
            registry.register(
                "calls_refused",
                "Calls refused for want of a credential, a right or a role",
                own.refused.clone(),
            );
            registry.register(
                "trust_reloads",
                "Changes of certificates, authorities and tokens that were seen",
                own.reloads.clone(),
            );
            registry.register(
                "trust_broken",
                "1 while certificates, authorities or tokens changed to what cannot be used",
                own.broken.clone(),
            );
            registry.register_with_unit(
                "certificate_expiry_timestamp",
                "When the own certificate, and the last of the authorities, expires",
                Unit::Seconds,
                own.expiry.clone(),
            );
        });
        own
    }
}

/// Seconds since 1970.
pub(crate) fn unix_time() -> u64 {
    // A clock before 1970 is no clock: then everything has expired.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(u64::MAX, |time| time.as_secs())
}
