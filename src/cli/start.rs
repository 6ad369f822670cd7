//! Where the command line meets the server: the only file of `cli/` that calls `app` and `server`.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::app::{self, App};
use crate::config::{self, Config};
use crate::error::{Error, Result};
use crate::jobs::{RelocationJobs, RelocationLimits, Relocations};
use crate::model::CatalogName;
use crate::server::{self, Auth, Served, ServedCatalog, ServerSettings, TlsFiles, TokenRule, TokensFile};
use crate::storage::Storage;
use crate::telemetry::{self, LogFormat, LogSettings};

/// Builds what the configuration says and serves it until SIGINT or SIGTERM and every request in flight is answered.
/// `ready` is called once, with the URI, when the server answers.
pub(super) async fn serve(config: &Config, ready: impl FnOnce(&str) + Send) -> Result<()> {
    serve_app(build(config).await?, config, ready).await
}

/// Builds what the configuration says; logs are as it says from here on.
pub(super) async fn build(config: &Config) -> Result<App> {
    let format = match config.log.format {
        config::LogFormat::Plain => LogFormat::Plain,
        config::LogFormat::Json => LogFormat::Json,
    };
    telemetry::init_logs(&LogSettings { format, filter: config.log.level.clone() })?;
    app::build(config).await
}

/// Serves what is built already.
pub(super) async fn serve_app(mut app: App, config: &Config, ready: impl FnOnce(&str) + Send) -> Result<()> {
    let settings = settings(config)?;
    let _jobs = app.start_jobs();
    let stacks = app.catalogs.iter().map(|(name, catalog)| (name.clone(), catalog.stack.clone())).collect();
    let relocations = Relocations::new(Arc::new(app::storage_for_callers(config)), stacks);
    let relocations = RelocationJobs::new(relocations, RelocationLimits::default());
    let feeds = app.feeds(Arc::new(app::storage_of_tables(config).counted_by(app.metrics.clone())));
    let catalogs = app.catalogs.into_iter().map(|(name, catalog)| {
        let served = ServedCatalog {
            stack: catalog.stack,
            separator: catalog.separator,
            kind: catalog.kind,
            passthrough: catalog.passthrough,
            replica: catalog.replica,
            appends: catalog.appends,
            maintained: catalog.maintained,
        };
        (name, served)
    });
    let served = Served { catalogs: catalogs.collect(), metrics: app.metrics, relocations, feeds };
    server::serve(served, settings, |bound| ready(&bound.uri), server::stop_signal()).await
}

/// What a server would serve, with its databases opened and migrated: for commands that look at it.
pub(super) async fn open(config: &Config) -> Result<App> {
    app::build(config).await
}

/// What relocates with the storage and catalogs of a configuration.
pub(super) async fn relocations(config: &Config) -> Result<Relocations> {
    let app = app::build(config).await?;
    Ok(Relocations::new(app.storage, app.catalogs.into_iter().map(|(name, catalog)| (name, catalog.stack)).collect()))
}

/// Storage as the configuration says.
pub(super) fn storage(config: &Config) -> Storage {
    app::storage(config)
}

fn settings(config: &Config) -> Result<ServerSettings> {
    let limits = &config.limits;
    let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    Ok(ServerSettings {
        listen: config.listen.to_string(),
        auth: auth(config)?,
        tls: config.tls.clone().map(|tls| TlsFiles { certificate: tls.certificate, key: tls.key }),
        metrics_open: config.metrics_open,
        access_log: config.log.requests,
        body_bytes_max: size(limits.body_bytes),
        bodies_bytes_max: size(limits.bodies_bytes),
        requests_in_flight_max: size(limits.concurrent_requests),
        connections_max: size(limits.connections),
        answer_timeout: limits.answer_timeout,
        stop_timeout: limits.stop_timeout,
        ..ServerSettings::default()
    })
}

fn auth(config: &Config) -> Result<Auth> {
    let Some(auth) = &config.auth else {
        // callers of such catalogs prove themselves upstream; our own routes then have no token that opens them
        return Ok(if config.is_open() { Auth::Off } else { Auth::Tokens(Vec::new()) });
    };
    match &auth.tokens_file {
        Some(path) => {
            let catalogs: BTreeSet<CatalogName> = config.catalogs.keys().cloned().collect();
            let read = move |path: &std::path::Path| rules(&app::read_tokens(path, &catalogs)?);
            Ok(Auth::File(TokensFile { path: path.clone(), read: Arc::new(read) }))
        }
        None => rules(&auth.tokens).map(Auth::Tokens),
    }
}

fn rules(tokens: &[config::Token]) -> Result<Vec<TokenRule>, Error> {
    tokens.iter().map(|token| TokenRule::with_digest(&token.name, token.sha256, token.roles.clone())).collect()
}
