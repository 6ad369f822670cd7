//! `lifeboat init`: asks a catalog what it is and writes the shortest configuration that works.
//!
//! What must hold: a file is only written if the upstream answered as an Iceberg REST catalog, never over another file
//! unless told so, and never with a secret in it.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use serde_json::Value;

use crate::config::{self, Config, OAuth2, Source, Upstream, UpstreamAuth};
use crate::error::{Error, Kind};
use crate::model::Secret;

use super::Failure;
use super::probe::{Answer, Probe, prefix, routed};

/// Where known catalogs have their Iceberg REST API, tried in this order when it is not at the URI itself.
const BASES: [&str; 5] = ["", "/iceberg", "/api/catalog", "/catalog", "/api/2.1/unity-catalog/iceberg"];

const TOKEN: &str = "LIFEBOAT_UPSTREAM_TOKEN";
const CLIENT_ID: &str = "LIFEBOAT_UPSTREAM_CLIENT_ID";
const CLIENT_SECRET: &str = "LIFEBOAT_UPSTREAM_CLIENT_SECRET";

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// The base URI of an Iceberg REST catalog, or of the server that has one
    uri: String,
    /// The upstream's own warehouse
    #[arg(long, value_name = "NAME")]
    warehouse: Option<String>,
    /// The file to write
    #[arg(long, value_name = "FILE", default_value = config::FILE_NAME)]
    output: PathBuf,
    /// Write it even if the file is there already
    #[arg(long)]
    force: bool,
}

/// Asks, writes, and says what was found.
pub(super) async fn init(options: Options) -> Result<(), Failure> {
    if options.output.exists() && !options.force {
        return Err(Failure::Usage(format!(
            "{} is there already: choose another with --output, or add --force to replace it",
            options.output.display()
        )));
    }
    let mut config = Config::proxy(&options.uri, options.warehouse.as_deref(), None)?;
    let upstream = config.catalogs.values_mut().find_map(|catalog| match &mut catalog.source {
        Source::Upstream(upstream) => Some(upstream),
        Source::Embedded(_) => None,
    });
    let upstream = upstream.expect("a proxy's only catalog has an upstream");
    upstream.auth = auth_from(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
    let found = find(upstream).await?;
    upstream.uri = found.uri.clone();
    write(&options, &config.to_yaml())?;
    println!("{} is an Iceberg REST catalog with {}.", found.uri, found.namespaces);
    if let Some(variable) = found.variable {
        println!("The file refers to ${{{variable}}}: it must be set when Lifeboat starts.");
    }
    println!("Wrote {}. Next:\n  lifeboat serve --config {}", options.output.display(), options.output.display());
    Ok(())
}

/// The credentials of the environment.
fn auth_from(variable: impl Fn(&str) -> Option<String>) -> UpstreamAuth {
    match (variable(TOKEN), variable(CLIENT_ID), variable(CLIENT_SECRET)) {
        (Some(token), _, _) => UpstreamAuth::Bearer(Secret::new(token)),
        (None, Some(client_id), Some(secret)) => UpstreamAuth::OAuth2(OAuth2 {
            client_id,
            client_secret: Secret::new(secret),
            token_uri: None,
            scope: "catalog".into(),
        }),
        _ => UpstreamAuth::None,
    }
}

/// Where the API is, and what is in the catalog.
struct Found {
    uri: String,
    namespaces: String,
    /// The environment variable that the file refers to.
    variable: Option<&'static str>,
}

async fn find(upstream: &Upstream) -> Result<Found, Failure> {
    let mut told = Vec::new();
    for base in BASES {
        let candidate = Upstream { uri: format!("{}{base}", upstream.uri), ..upstream.clone() };
        let asked = async {
            let probe = Probe::new(&candidate).await?;
            let answer = probe.config().await?;
            Ok::<_, String>((probe, answer))
        };
        let (probe, answer) = match asked.await {
            Ok(asked) => asked,
            Err(message) => {
                told.push(format!("{}/v1/config: {message}", candidate.uri));
                // a server that cannot be reached, or refuses the credentials, is the same at every path
                break;
            }
        };
        if let Some(prefix) = prefix(&answer) {
            let namespaces = namespaces(&probe, &prefix).await;
            let variable = match candidate.auth {
                UpstreamAuth::Bearer(_) => Some(TOKEN),
                UpstreamAuth::OAuth2(_) => Some(CLIENT_SECRET),
                UpstreamAuth::None | UpstreamAuth::Caller => None,
            };
            return Ok(Found { uri: candidate.uri, namespaces, variable });
        }
        if answer.is_refusal() {
            return Err(refused(&candidate, &answer));
        }
        if answer.message().is_some() && upstream.warehouse.is_none() && matches!(answer.status, 400 | 404) {
            let message =
                format!("{} wants to know which warehouse: add --warehouse NAME ({})", candidate.uri, answer.said());
            return Err(Failure::Work(Error::new(Kind::BadUpstream, message)));
        }
        told.push(format!("{}/v1/config: {}", candidate.uri, answer.said()));
    }
    let message = format!("no Iceberg REST catalog answers there:\n  {}", told.join("\n  "));
    Err(Failure::Work(Error::new(Kind::BadUpstream, message)))
}

/// How many namespaces there are at the top, in words; not being allowed to ask is no failure of `init`.
async fn namespaces(probe: &Probe, prefix: &str) -> String {
    let answer = match probe.get(&routed(prefix, "namespaces"), &[]).await {
        Ok(answer) => answer,
        Err(message) => return format!("namespaces that could not be listed ({message})"),
    };
    let names = answer.json.as_ref().and_then(|json| json.get("namespaces")).and_then(Value::as_array);
    match names {
        Some(names) if names.len() == 1 => "1 namespace".into(),
        Some(names) => format!("{} namespaces", names.len()),
        None => format!("namespaces that could not be listed ({})", answer.said()),
    }
}

fn refused(upstream: &Upstream, answer: &Answer) -> Failure {
    let message = if matches!(upstream.auth, UpstreamAuth::None) {
        format!(
            "{} wants to know who is asking ({}). Set {TOKEN}, or {CLIENT_ID} and {CLIENT_SECRET}, and run this again; or \
             write one of these under \"upstream\" by hand:\n  auth: {{ bearer: \"${{{TOKEN}}}\" }}\n  auth: {{ oauth2: {{ \
             client-id: ID, client-secret: \"${{{CLIENT_SECRET}}}\" }} }}\n  auth: caller      passes on what each client sends",
            upstream.uri,
            answer.said()
        )
    } else {
        format!("{} does not take the credentials of the environment ({})", upstream.uri, answer.said())
    };
    Failure::Work(Error::new(Kind::NotAuthorized, message))
}

fn write(options: &Options, yaml: &str) -> Result<(), Failure> {
    let file = &options.output;
    let mut how = OpenOptions::new();
    how.write(true);
    // whoever makes the file between the look and here wins
    if options.force {
        how.create(true).truncate(true)
    } else {
        how.create_new(true)
    };
    let written = how.open(file).and_then(|mut open| open.write_all(yaml.as_bytes()));
    written.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => {
            Failure::Usage(format!("{} is there already: add --force to replace it", file.display()))
        }
        _ => Failure::Work(
            Error::new(Kind::Internal, format!("{} cannot be written", file.display())).with_source(error),
        ),
    })
}
