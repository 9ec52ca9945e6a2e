//! `FORMAT`: which network a data directory belongs to and how its files are laid out; and the way
//! from older layouts to this one.
//!
//! A migration changes the files first, then `FORMAT` is replaced with the new version's: a crash
//! in between leaves the old version there, and the next start runs the migration again.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use pentad_primitives::Hash256;

use crate::data_dir::{DataDirError, io_error};
use crate::fail_point::{self, Point};

/// Version of everything below the data directory that is not versioned by itself: the names of
/// files, the kinds of records and the rows of the index.
///
/// History: 1 the first; 2 the block log may hold certified blocks; 3 the index may hold the hash
/// of the UTXO set; 4 the index may be kept by another engine than sled; 5 the block log may hold
/// certificates in records of their own.
pub const DATA_FORMAT: u32 = 5;

const FORMAT_FILE: &str = "FORMAT";
/// The block log's directory.
pub const BLOCKS: &str = "blocks";

/// The way from one version of the layout to the next.
pub struct Migration {
    /// What it starts from.
    pub from: u32,
    /// What it leads to.
    pub to: u32,
    /// What it does, for the log.
    pub what: &'static str,
    /// Changes the files. It must come to the same end when it is run again after it was
    /// interrupted anywhere.
    pub run: fn(&Path) -> io::Result<()>,
}

/// Every migration, oldest first, without a gap. What is there stays as it is in each of them: the
/// new version keeps older programs out.
pub const MIGRATIONS: &[Migration] = &[
    Migration {
        from: 1,
        to: 2,
        what: "allows blocks with a certificate in the block log; older programs would take their \
               records for damage",
        run: |_| Ok(()),
    },
    Migration {
        from: 2,
        to: 3,
        what: "allows the hash of the UTXO set in the index, which is made when the store opens; \
               older programs would leave it behind",
        run: |_| Ok(()),
    },
    Migration {
        from: 3,
        to: 4,
        what: "allows an index that names its engine; older programs would make one of sled's in \
               the same directory",
        run: |_| Ok(()),
    },
    Migration {
        from: 4,
        to: 5,
        what: "allows certificates beside their blocks in the block log; older programs would \
               take their records for damage",
        run: |_| Ok(()),
    },
];

/// Sees to it that `directory` belongs to the network and has the layout that the last of
/// `migrations` leads to.
pub fn bring_up(
    directory: &Path,
    spec_hash: &Hash256,
    migrations: &[Migration],
) -> Result<(), DataDirError> {
    let newest = migrations.last().map_or(1, |migration| migration.to);
    let path = directory.join(FORMAT_FILE);
    let expected = spec_hash.to_string();
    let damaged = |expected| DataDirError::DamagedFormat { path: path.clone(), expected };
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => match error.kind() {
            // The file is made before anything else: blocks without it have lost it.
            io::ErrorKind::NotFound if directory.join(BLOCKS).exists() => {
                return Err(damaged(expected));
            }
            io::ErrorKind::NotFound => return write(directory, newest, spec_hash),
            io::ErrorKind::InvalidData => return Err(damaged(expected)),
            _ => return Err(io_error("read", &path)(error)),
        },
    };
    let found = field(&text, "spec");
    if found.parse::<Hash256>().is_err() {
        return Err(damaged(expected));
    }
    if found != expected {
        let (path, found) = (directory.to_owned(), found.to_owned());
        return Err(DataDirError::OtherSpec { path, found, expected });
    }
    let found = field(&text, "format");
    let unknown = || DataDirError::Format { path: directory.to_owned(), found: found.to_owned() };
    let mut version: u32 = found.parse().map_err(|_| unknown())?;
    while version != newest {
        let due = migrations.iter().find(|migration| migration.from == version);
        let migration = due.ok_or_else(unknown)?;
        version = migration.to;
        migrate(directory, spec_hash, migration)?;
    }
    Ok(())
}

fn migrate(
    directory: &Path,
    spec_hash: &Hash256,
    migration: &Migration,
) -> Result<(), DataDirError> {
    let Migration { from, to, what, run } = migration;
    tracing::info!(path = %directory.display(), from, to, what, "migrating the data directory");
    run(directory).map_err(|source| DataDirError::Migration {
        path: directory.to_owned(),
        from: *from,
        to: *to,
        source,
    })?;
    write(directory, *to, spec_hash)?;
    tracing::info!(format = to, "the data directory has the new format");
    Ok(())
}

/// The value of a line `name = value`; empty if there is none.
fn field<'a>(text: &'a str, name: &str) -> &'a str {
    let mut fields = text.lines().filter_map(|line| line.split_once('='));
    fields.find(|(key, _)| key.trim() == name).map_or("", |(_, value)| value.trim())
}

/// Replaces the file as a whole.
fn write(directory: &Path, version: u32, spec_hash: &Hash256) -> Result<(), DataDirError> {
    let text = format!("format = {version}\nspec = {spec_hash}\n");
    let path = directory.join(FORMAT_FILE);
    let unfinished = path.with_extension("new");
    let write = || {
        let file = File::create(&unfinished)?;
        fail_point::write(Point::FormatWrite, text.as_bytes(), |bytes| (&file).write_all(bytes))?;
        fail_point::at(Point::FormatSync, || file.sync_all())?;
        fail_point::at(Point::FormatRename, || fs::rename(&unfinished, &path))?;
        let directory = File::open(directory)?;
        fail_point::at(Point::FormatDirectorySync, || directory.sync_all())
    };
    write().map_err(io_error("write", &path))
}
