use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OptionalExtension as _, params};

use crate::{
    event::CellEnd,
    model::{Accelerator, Cell, Millis, Outcome, ReasonId},
};

/// The version of the tables, SQLite's `user_version`.
const VERSION: i64 = 1;

/// How many results are kept of a cell, and how many of its last answers say how long it takes.
const KEPT: u32 = 20;
const EXPECTED_OF: u64 = 3;

/// Most results that are kept in all: cells that no matrix has any more would stay for ever.
const KEPT_IN_ALL: u32 = 1_000_000;

/// How long another process's write is waited for, in the dispatcher's own time.
const BUSY: Duration = Duration::from_millis(200);

/// How much of what is known of a boot's cost the last boot replaces.
const NEWS: f64 = 0.3;

const TABLES: &str = "
    BEGIN IMMEDIATE;
    CREATE TABLE IF NOT EXISTS results (
        id INTEGER PRIMARY KEY,
        matrix TEXT NOT NULL, accelerator TEXT NOT NULL, cell TEXT NOT NULL, start TEXT NOT NULL,
        ended_utc TEXT NOT NULL, outcome TEXT NOT NULL, reason TEXT, took_ms INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX IF NOT EXISTS results_of_a_cell ON results (matrix, accelerator, cell, start, id);
    CREATE TABLE IF NOT EXISTS boots (
        image TEXT NOT NULL, accelerator TEXT NOT NULL, cores REAL NOT NULL,
        PRIMARY KEY (image, accelerator)
    ) STRICT, WITHOUT ROWID;
    PRAGMA user_version = 1;
    COMMIT;";

/// How cells ended in earlier runs and how long they took, kept in the state folder. It orders a run and says how long
/// it takes, and no verdict comes of it: whatever is wrong with it is a warning.
#[derive(Debug, Default)]
pub struct History {
    database: Option<Connection>,
    /// Not written yet: another process was writing.
    unwritten: Vec<Entry>,
}

/// What is known of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// None: it never came to an answer.
    pub took: Option<Millis>,
    /// Its last result was not healthy.
    pub failed: bool,
}

/// What is known of a matrix's cells.
#[derive(Clone, Debug, Default)]
pub struct KnownCells(HashMap<String, HashMap<String, Known>>);

#[derive(Clone, Debug)]
struct Entry {
    matrix: String,
    accelerator: Accelerator,
    cell: String,
    start: &'static str,
    utc: String,
    outcome: &'static str,
    reason: Option<ReasonId>,
    took: Millis,
}

/// Why there is no history: a warning, never more.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    #[error("the history {} cannot be used: {source}; the run goes on without it", .path.display())]
    Unusable { path: PathBuf, source: rusqlite::Error },
    #[error(
        "the history {} was written by a newer bootgate (version {found}, this one knows {VERSION}); the run goes on without it",
        .path.display()
    )]
    Newer { path: PathBuf, found: i64 },
    #[error("the history {} is damaged and was moved to {}; a new one begins", .path.display(), .aside.display())]
    Damaged { path: PathBuf, aside: PathBuf },
    #[error("the history {} is damaged and cannot be moved aside: {source}; the run goes on without it", .path.display())]
    Stuck { path: PathBuf, source: io::Error },
    #[error("this run is not kept in the history: {0}")]
    Unwritten(rusqlite::Error),
}

impl History {
    /// No history, and none is kept.
    pub fn none() -> Self {
        Self::default()
    }

    /// Opens the file or makes it. What is wrong with it is told beside a history that works all the same.
    pub fn open(path: &Path) -> (Self, Option<HistoryError>) {
        match connect(path) {
            Ok(database) => (Self { database: Some(database), unwritten: Vec::new() }, None),
            Err(HistoryError::Unusable { source, .. }) if is_damage(&source) => {
                let aside = with_ending(path, ".corrupt");
                if let Err(source) = fs::rename(path, &aside) {
                    return (Self::none(), Some(HistoryError::Stuck { path: path.to_owned(), source }));
                }
                for ending in ["-wal", "-shm"] {
                    let _ = fs::remove_file(with_ending(path, ending));
                }
                let database = connect(path).ok();
                (Self { database, unwritten: Vec::new() }, Some(HistoryError::Damaged { path: path.to_owned(), aside }))
            }
            Err(error) => (Self::none(), Some(error)),
        }
    }

    /// What is known of a matrix's cells on this accelerator.
    pub fn known(&self, matrix: &str, accelerator: Accelerator) -> KnownCells {
        let read = self.database.as_ref().map(|database| read(database, matrix, accelerator));
        KnownCells(read.and_then(Result::ok).unwrap_or_default())
    }

    /// Keeps how a cell ended. One that was cancelled says nothing, and is not kept.
    ///
    /// # Errors
    /// [`HistoryError::Unwritten`], once: from then on nothing is kept.
    pub fn record(
        &mut self,
        matrix: &str,
        accelerator: Accelerator,
        cell: &Cell,
        end: &CellEnd,
        utc: String,
    ) -> Result<(), HistoryError> {
        let reason = end.verdict.lead().map(|lead| lead.id);
        if self.database.is_none() || reason == Some(ReasonId::Cancelled) {
            return Ok(());
        }
        self.unwritten.push(Entry {
            matrix: matrix.to_owned(),
            accelerator,
            cell: cell.id.0.clone(),
            start: cell.start.as_str(),
            utc,
            outcome: end.verdict.outcome.as_str(),
            reason,
            took: end.took,
        });
        self.write()
    }

    /// Writes what has not been written yet.
    ///
    /// # Errors
    /// As [`Self::record`].
    pub fn write(&mut self) -> Result<(), HistoryError> {
        let Some(database) = &mut self.database else { return Ok(()) };
        match insert(database, &self.unwritten) {
            Ok(()) => self.unwritten.clear(),
            Err(error) if is_busy(&error) => {}
            Err(error) => {
                self.database = None;
                return Err(HistoryError::Unwritten(error));
            }
        }
        Ok(())
    }

    /// How many cores a boot of this image uses; none: it is not known.
    pub fn share(&self, image: &str, accelerator: Accelerator) -> Option<f64> {
        let query = "SELECT cores FROM boots WHERE image = ?1 AND accelerator = ?2";
        let row = |row: &rusqlite::Row<'_>| row.get(0);
        self.database.as_ref()?.query_row(query, params![image, accelerator.to_string()], row).optional().ok()?
    }

    /// A boot of this image has used so many cores. What is known moves towards that, and is kept if that can be done
    /// at once.
    pub fn learn(&self, image: &str, accelerator: Accelerator, cores: f64) -> f64 {
        let cores = self.share(image, accelerator).map_or(cores, |before| before + NEWS * (cores - before));
        if let Some(database) = &self.database {
            let query = "INSERT OR REPLACE INTO boots (image, accelerator, cores) VALUES (?1, ?2, ?3)";
            if let Err(error) = database.execute(query, params![image, accelerator.to_string(), cores]) {
                tracing::debug!("what a boot costs is not kept: {error}");
            }
        }
        cores
    }
}

impl KnownCells {
    /// None: it never ran.
    pub fn of(&self, cell: &Cell) -> Option<Known> {
        self.0.get(&cell.id.0)?.get(cell.start.as_str()).copied()
    }
}

fn read(
    database: &Connection,
    matrix: &str,
    accelerator: Accelerator,
) -> Result<HashMap<String, HashMap<String, Known>>, rusqlite::Error> {
    let mut query = database.prepare(
        "SELECT cell, start, outcome, took_ms FROM results WHERE matrix = ?1 AND accelerator = ?2 ORDER BY id DESC",
    )?;
    let mut rows = query.query(params![matrix, accelerator.to_string()])?;
    let mut sums: HashMap<String, HashMap<String, Sum>> = HashMap::new();
    while let Some(row) = rows.next()? {
        let (outcome, took): (String, i64) = (row.get(2)?, row.get(3)?);
        let last = Sum { failed: outcome != Outcome::Healthy.as_str(), took: 0, of: 0 };
        let sum = sums.entry(row.get(0)?).or_default().entry(row.get(1)?).or_insert(last);
        // How long the lab took to give up says nothing.
        if outcome != Outcome::Inconclusive.as_str() && sum.of < EXPECTED_OF {
            sum.took += took.max(0).unsigned_abs();
            sum.of += 1;
        }
    }
    let known = |sum: Sum| Known { took: sum.took.checked_div(sum.of).map(Millis), failed: sum.failed };
    let by_start = |sums: HashMap<String, Sum>| sums.into_iter().map(|(start, sum)| (start, known(sum))).collect();
    Ok(sums.into_iter().map(|(cell, sums)| (cell, by_start(sums))).collect())
}

/// Of a cell's last answers.
struct Sum {
    failed: bool,
    took: u64,
    of: u64,
}

fn connect(path: &Path) -> Result<Connection, HistoryError> {
    let failed = |source| HistoryError::Unusable { path: path.to_owned(), source };
    let database = Connection::open(path).map_err(failed)?;
    database.busy_timeout(BUSY).map_err(failed)?;
    let found: i64 = database.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(failed)?;
    if found > VERSION {
        return Err(HistoryError::Newer { path: path.to_owned(), found });
    }
    // Readers and one writer do not wait for each other, and a lost last entry is no loss.
    database.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
    database.pragma_update(None, "synchronous", "NORMAL").map_err(failed)?;
    if found < VERSION {
        database.execute_batch(TABLES).map_err(failed)?;
    }
    let old = "DELETE FROM results WHERE id <= (SELECT MAX(id) FROM results) - ?1";
    match database.execute(old, [KEPT_IN_ALL]) {
        Err(error) if !is_busy(&error) => Err(failed(error)),
        _ => Ok(database),
    }
}

fn insert(database: &mut Connection, entries: &[Entry]) -> Result<(), rusqlite::Error> {
    let all = database.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    for Entry { matrix, accelerator, cell, start, utc, outcome, reason, took } in entries {
        let took = i64::try_from(took.0).unwrap_or(i64::MAX);
        all.execute(
            "INSERT INTO results (matrix, accelerator, cell, start, ended_utc, outcome, reason, took_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![matrix, accelerator.to_string(), cell, start, utc, outcome, reason.map(ReasonId::as_str), took],
        )?;
        all.execute(
            "DELETE FROM results WHERE matrix = ?1 AND accelerator = ?2 AND cell = ?3 AND start = ?4 AND id <= (
                SELECT id FROM results WHERE matrix = ?1 AND accelerator = ?2 AND cell = ?3 AND start = ?4
                ORDER BY id DESC LIMIT 1 OFFSET ?5)",
            params![matrix, accelerator.to_string(), cell, start, KEPT],
        )?;
    }
    all.commit()
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

#[cfg(test)]
mod tests;
