//! A reader that follows a table's changes at a standby.

use std::collections::BTreeSet;
use std::sync::Arc;

use lifeboat::changes::{Ask, History, MAIN, To};
use lifeboat::error::Kind;
use lifeboat::storage::Storage;

use super::primary::{Primary, Replicator};
use super::standby::Standby;
use crate::relocation::PROD;

const EAGER: &str = "      settle: 0s\n      max-staleness: 0s\n      wait: 60s\n      confirm: trust-newest\n";
const COMMITS: usize = 60;

/// Snapshots expire at the primary all the time, so that it begins anew where it has fallen behind.
#[tokio::test]
async fn a_reader_at_a_standby_has_the_files_of_each_published_state() {
    let standby = Standby::start(EAGER).await;
    let changes = standby.feeds(Arc::new(Storage::new(Vec::new()))).changes;
    let (mut primary, mut replicator) = (Primary::new("sales/t0", 21), Replicator::new(21, false));
    let (mut files, mut position): (BTreeSet<String>, Option<String>) = (BTreeSet::new(), None);
    let (mut pages, mut begun) = (0, 0);
    for commit in 0..COMMITS {
        primary.commit();
        replicator.finish(&primary.lake.copy(), &standby.arrivals());
        standby.sync().await;
        if commit % 3 == 1 {
            continue; // some states it never sees
        }
        let table = standby.load_of(&primary.folder).await;
        let history = History::read(&table["metadata"]).expect("a history");
        loop {
            let at = position.as_ref().map(|text| history.position(text).expect("a position of this table"));
            let ask = Ask { position: at, to: To::Branch(MAIN.into()), limit: 2, skip_replace: false };
            let page = match changes.page(&history, &ask).await {
                Err(e) if e.kind() == Kind::Gone => {
                    (files, position, begun) = (BTreeSet::new(), None, begun + 1);
                    continue;
                }
                page => page.expect("a page"),
            };
            for (came, file) in page.changes.iter().flat_map(|change| change.files()) {
                if file.content == "data" {
                    let path = file.file_path.clone();
                    assert!(if came { files.insert(path) } else { files.remove(&path) }, "{came} {file:?}");
                }
            }
            position = Some(history.text(page.next));
            pages += 1;
            if page.is_level {
                break;
            }
        }
        let state = primary.states.values().next_back().expect("a state");
        let here = |path: &String| path.replace(PROD, &standby.arrivals().display().to_string());
        assert_eq!(files, state.iter().map(here).collect(), "after {commit} commits");
    }
    assert!(pages > COMMITS / 2 && begun < COMMITS / 4, "{pages} pages, begun anew {begun} times");
}
