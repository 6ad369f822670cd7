//! Tables that must be of one moment.

use lifeboat::replica::State;

use super::primary::{Primary, Replicator};
use super::standby::Standby;

const LINES: &str = "      settle: 1h\n      max-staleness: 0s\n      wait: 60s\n      \
                     consistency-groups: { sales: \"sales.*\" }\n";

/// Both write in turn, so that at every moment the one is at most one commit ahead; whatever has arrived, what is shown is of one moment.
#[tokio::test]
async fn a_group_is_shown_as_of_one_moment() {
    let standby = Standby::start(LINES).await;
    let mut tables = [Primary::new("sales/orders", 1), Primary::new("sales/lines", 2)];
    let mut clock = 1_000;
    let mut replicators = [Replicator::new(3, false), Replicator::new(4, false)];
    let mut shown = 0;
    for round in 0..12 {
        for table in &mut tables {
            clock += 1;
            table.append_at(clock);
        }
        // the one arrives quickly, the other slowly
        let (quick, slow) = (round % 2, 1 - round % 2);
        for (at, steps) in [(quick, 100), (slow, 4)] {
            for _ in 0..steps {
                let to = standby.arrivals().join(&tables[at].folder);
                if !replicators[at].step(&tables[at].files(), &to) {
                    break;
                }
            }
        }
        let statuses = standby.sync().await;
        let moments: Vec<i64> =
            statuses.iter().filter_map(|status| status.published.as_ref()).map(|version| version.updated_ms).collect();
        if let [one, other] = moments.as_slice() {
            shown += 1;
            assert!((one - other).abs() == 1, "round {round}: {moments:?}");
        }
    }
    for (at, table) in tables.iter().enumerate() {
        replicators[at].finish(&table.files(), &standby.arrivals().join(&table.folder));
    }
    let statuses = standby.sync().await;
    assert!(statuses.iter().all(|status| status.state == State::Level), "{statuses:?}");
    assert!(shown > 2, "{shown}");
}
