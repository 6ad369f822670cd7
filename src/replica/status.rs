//! How a replica's tables stand, for people, scripts and metrics.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::discover::MetadataFile;
use crate::model::Ident;
use crate::table::relocate::Examples;

/// How a table stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// The newest state that is known and believed is published.
    Level,
    /// A newer state is known, and has not arrived wholly.
    Behind,
    /// No state has arrived wholly yet, so nothing is published.
    Waiting,
    /// What is published lost a file, and nothing newer is whole: the table is not served.
    Broken,
    /// Somebody must do something; what is published stays.
    Blocked,
}

/// What a look does, or would do if it was only planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Nothing: the table stays as it is.
    None,
    /// Publishes its first state.
    Create,
    /// Publishes a newer state.
    Advance,
    /// Leaves snapshots out that lost files.
    Prune,
    /// Takes the name away: the table was dropped at the primary.
    Drop,
    /// Gives it another name, as the primary did.
    Rename,
}

/// One state of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Version {
    /// Its metadata file in the replicated storage.
    pub metadata_file: String,
    /// The number in that name.
    pub version: u64,
    /// Its current snapshot.
    pub snapshot_id: Option<i64>,
    /// When it was made at the primary, since 1970.
    pub updated_ms: i64,
}

impl Version {
    pub(super) fn of(file: &MetadataFile, metadata: &Value) -> Version {
        Version {
            metadata_file: file.name.clone(),
            version: file.version,
            snapshot_id: metadata["current-snapshot-id"].as_i64().filter(|id| *id >= 0),
            updated_ms: metadata["last-updated-ms"].as_i64().unwrap_or(0),
        }
    }
}

/// What cannot be read at this site, since its catalog keeps the current snapshot only.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct HistoryLost {
    /// Earlier snapshots, and those of other branches.
    pub snapshots: usize,
    /// Branches and tags.
    pub refs: Vec<String>,
}

impl HistoryLost {
    /// Of a table's metadata.
    pub(super) fn of(metadata: &Value) -> HistoryLost {
        let has_current = metadata["current-snapshot-id"].as_i64().is_some_and(|id| id >= 0);
        let snapshots = metadata["snapshots"].as_array().map_or(0, Vec::len).saturating_sub(usize::from(has_current));
        let refs = metadata["refs"].as_object().into_iter().flatten().map(|(name, _)| name.clone());
        HistoryLost { snapshots, refs: refs.filter(|name| name != "main").collect() }
    }

    /// For people.
    pub(super) fn told(&self) -> String {
        let refs = if self.refs.is_empty() { String::new() } else { format!(" and {}", self.refs.join(", ")) };
        format!(
            "this site's catalog keeps the current snapshot only: {} others{refs} cannot be read here",
            self.snapshots
        )
    }
}

/// How one table stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct TableStatus {
    /// Its name.
    #[serde(serialize_with = "as_text")]
    #[schema(value_type = String)]
    pub table: Ident,
    /// Its folder in the replicated storage.
    pub folder: String,
    /// How it stands.
    pub state: State,
    /// What is published.
    pub published: Option<Version>,
    /// Where that is.
    pub metadata_location: Option<String>,
    /// The newest state that is known here.
    pub newest: Option<Version>,
    /// Whether what is published was named by a newer file; else it was trusted.
    pub is_confirmed: bool,
    /// How long what is published was made before the newest.
    pub lag_ms: i64,
    /// How many commits what is published is behind the newest.
    pub lag_commits: u64,
    /// What the newest lacks.
    pub missing: Examples,
    /// Snapshots that are left out of what is published, since they lack files.
    pub left_out: Vec<i64>,
    /// What of a table's history this site's catalog does not keep, by its design.
    pub history_lost: Option<HistoryLost>,
    /// What the look did.
    pub action: Action,
    /// Data and delete files that it asked for.
    pub files_asked: u64,
    /// What is the matter, and what to do.
    pub reason: Option<String>,
}

impl State {
    /// All of them.
    pub const ALL: [State; 5] = [State::Level, State::Behind, State::Waiting, State::Broken, State::Blocked];

    /// In a word, for metrics.
    pub fn word(self) -> &'static str {
        match self {
            State::Level => "level",
            State::Behind => "behind",
            State::Waiting => "waiting",
            State::Broken => "broken",
            State::Blocked => "blocked",
        }
    }
}

impl TableStatus {
    pub(super) fn new(table: Ident, folder: String) -> TableStatus {
        TableStatus {
            table,
            folder,
            state: State::Waiting,
            published: None,
            metadata_location: None,
            newest: None,
            is_confirmed: true,
            lag_ms: 0,
            lag_commits: 0,
            missing: Examples::default(),
            left_out: Vec::new(),
            history_lost: None,
            action: Action::None,
            files_asked: 0,
            reason: None,
        }
    }

    pub(super) fn set_broken(&mut self, gone: Examples) {
        self.state = State::Broken;
        self.missing = gone;
        self.reason = Some("files of what is published are gone, and nothing newer has arrived wholly".to_owned());
    }

    /// Whether it is as new as can be.
    pub fn is_level(&self) -> bool {
        self.state == State::Level
    }
}

fn as_text<S: serde::Serializer>(ident: &Ident, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(ident)
}
