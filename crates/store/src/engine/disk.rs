//! Which engine keeps an index on disk. An index directory remembers it.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use super::{EngineError, IndexEngine, LsmEngine, LsmOptions, SledEngine, SledOptions};
use crate::fail_point::{self, Point};
use crate::read::IndexError;

/// Names the engine of the directory that it is in.
const NAME_FILE: &str = "ENGINE";

/// An engine that keeps an index on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DiskEngine {
    /// A log-structured merge tree.
    #[default]
    Lsm,
    /// sled.
    Sled,
}

impl DiskEngine {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Lsm, Self::Sled];

    /// Its name in configurations and in the index directory.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lsm => "lsm",
            Self::Sled => "sled",
        }
    }
}

impl FromStr for DiskEngine {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|engine| engine.name() == name);
        found.ok_or_else(|| format!("{name:?} is no index engine; those are lsm and sled"))
    }
}

/// How an index is kept on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskOptions {
    /// By which engine; `None`: by that of the index which is there, a new one by the default.
    pub engine: Option<DiskEngine>,
    /// Limits of sled, if it is the engine.
    pub sled: SledOptions,
    /// Limits of the LSM tree, if it is the engine.
    pub lsm: LsmOptions,
}

impl DiskOptions {
    /// Opens or creates the index in `directory`.
    ///
    /// # Errors
    /// When it cannot be read or created.
    pub fn open(&self, directory: &Path) -> Result<Arc<dyn IndexEngine>, IndexError> {
        let engine = match found(directory)? {
            Some(engine) => engine,
            None => {
                let engine = self.engine.unwrap_or_default();
                create(directory, engine)
                    .map_err(|source| IndexError::Directory { action: "create", source })?;
                engine
            }
        };
        Ok(match engine {
            DiskEngine::Lsm => Arc::new(LsmEngine::open(directory, self.lsm)?),
            DiskEngine::Sled => Arc::new(SledEngine::open(directory, self.sled)?),
        })
    }

    /// The index that is there is kept by another engine than it should be.
    pub(crate) fn differs(&self, directory: &Path) -> Result<bool, IndexError> {
        let found = found(directory)?;
        Ok(self.engine.is_some_and(|wanted| found.is_some_and(|found| found != wanted)))
    }
}

/// The engine of the index in `directory`, if there is one.
fn found(directory: &Path) -> Result<Option<DiskEngine>, IndexError> {
    let unreadable = |source| IndexError::Directory { action: "read", source };
    match fs::read_to_string(directory.join(NAME_FILE)) {
        Ok(text) => Ok(Some(text.trim_end().parse().map_err(EngineError::Damaged)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => match fs::read_dir(directory) {
            // There was none but sled before engines were named.
            Ok(mut files) => Ok(files.next().is_some().then_some(DiskEngine::Sled)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unreadable(error)),
        },
        Err(error) => Err(unreadable(error)),
    }
}

/// Before anything else is in the directory, its name is.
fn create(directory: &Path, engine: DiskEngine) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let file = File::create(directory.join(NAME_FILE))?;
    let text = format!("{}\n", engine.name());
    fail_point::write(Point::EngineName, text.as_bytes(), |bytes| (&file).write_all(bytes))?;
    file.sync_all()?;
    File::open(directory)?.sync_all()
}
