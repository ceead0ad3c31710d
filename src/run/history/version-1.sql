CREATE TABLE results (
    id INTEGER PRIMARY KEY,
    matrix TEXT NOT NULL, accelerator TEXT NOT NULL, cell TEXT NOT NULL, start TEXT NOT NULL,
    ended_utc TEXT NOT NULL, outcome TEXT NOT NULL, reason TEXT, took_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX results_of_a_cell ON results (matrix, accelerator, cell, start, id);
CREATE TABLE boots (
    image TEXT NOT NULL, accelerator TEXT NOT NULL, cores REAL NOT NULL,
    PRIMARY KEY (image, accelerator)
) STRICT, WITHOUT ROWID;
INSERT INTO results VALUES
    (1, 'nightly', 'kvm', 'os-9.p1', 'live', '2026-01-02T03:04:05Z', 'unhealthy', 'stop-error', 62000),
    (2, 'nightly', 'kvm', 'os-9.p1', 'live', '2026-01-03T03:04:05Z', 'healthy', NULL, 61000);
INSERT INTO boots VALUES ('widget', 'kvm', 0.375);
PRAGMA user_version = 1;
