//! `lifeboat serve`.

use std::io::Write;

use crate::config::Config;

use super::{Failure, start};

/// Serves until it is told to stop, and prints the URI as soon as it answers.
pub(super) async fn serve(config: Config) -> Result<(), Failure> {
    start::serve(&config, |uri| {
        // scripts wait for this line; that nobody reads it is no reason not to serve
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "Lifeboat is ready at {uri}").and_then(|()| out.flush());
    })
    .await?;
    Ok(())
}
