use std::io;

use super::place::Place;
use crate::{
    cli::{Context, run::shown, table::table},
    watch::{Entry, Queue, QueueError, QueueFile, State},
};

/// Prints the line and the answers so far.
pub(super) fn print(place: &Place, context: &Context) -> anyhow::Result<u8> {
    let queue = match QueueFile::read(&place.queue()) {
        Err(QueueError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Queue::default(),
        queue => queue?,
    };
    context.print(&told(&queue, place))?;
    Ok(0)
}

fn told(queue: &Queue, place: &Place) -> String {
    if queue.entries().is_empty() {
        let (dir, matrix) = (place.dir.display(), place.matrix.display());
        return format!("no candidate has come into {dir} for {matrix}\n");
    }
    let line: Vec<u64> = queue.line().iter().map(|entry| entry.id).collect();
    let rows: Vec<[String; 5]> = queue.entries().iter().map(|entry| row(entry, &line)).collect();
    table(["FILE", "SHA-256", "COMPLETE SINCE", "STATE", "RUN"], &rows)
}

fn row(entry: &Entry, line: &[u64]) -> [String; 5] {
    let run = entry.run().map(|run| shown(run).display().to_string()).unwrap_or_default();
    let (state, run) = match &entry.state {
        State::Waiting { run: None } => {
            let place = line.iter().position(|id| *id == entry.id).unwrap_or_default() + 1;
            (format!("waiting, number {place}"), run)
        }
        State::Waiting { run: Some(_) } => ("inconclusive, to be tried again".to_owned(), run),
        State::Running { .. } if entry.deaths == 0 => ("stopped, goes on next".to_owned(), run),
        State::Running { .. } => ("running".to_owned(), run),
        State::Ended { decision, approval, .. } => {
            let signed = if approval.is_some() { ", signed" } else { "" };
            (format!("{}{signed}", decision.as_str()), run)
        }
        State::Refused { why, .. } => ("cannot be tested".to_owned(), why.clone()),
        State::Answered { by } => (format!("has the bytes of number {}", by + 1), String::new()),
    };
    [entry.name.clone(), entry.sha256.short().to_owned(), entry.arrived.clone(), state, run]
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::model::StateDir;

    #[test]
    fn the_status_tells_what_waits_and_what_came_of_the_rest() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("queue.jsonl");
        std::fs::write(&path, include_str!("../../watch/queue_file/version-1.jsonl")).unwrap();
        let place = Place::of(Path::new("/srv/vendor"), Path::new("/etc/m.yaml"), &StateDir::new("/state"));
        insta::assert_snapshot!(told(&QueueFile::read(&path).unwrap(), &place));
        assert!(told(&Queue::default(), &place).contains("/srv/vendor for /etc/m.yaml"));
    }
}
