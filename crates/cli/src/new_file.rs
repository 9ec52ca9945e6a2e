//! Files that are made once and never overwritten.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use pentad_whole_file::{DEFAULT_MODE, PRIVATE_MODE};

use crate::fault::Fault;

/// A place for a file, taken before the work that gives its text; given back unless written.
#[derive(Debug)]
pub struct NewFile {
    path: PathBuf,
    file: File,
    is_written: bool,
}

impl NewFile {
    /// Takes the place.
    ///
    /// # Errors
    /// When there is such a file already, or it cannot be made.
    pub fn create(path: &Path) -> Result<Self, Fault> {
        Self::create_with(path, DEFAULT_MODE)
    }

    /// As [`NewFile::create`], for the owner's eyes alone.
    ///
    /// # Errors
    /// As there.
    pub fn create_private(path: &Path) -> Result<Self, Fault> {
        Self::create_with(path, PRIVATE_MODE)
    }

    fn create_with(path: &Path, mode: u32) -> Result<Self, Fault> {
        match OpenOptions::new().write(true).create_new(true).mode(mode).open(path) {
            Ok(file) => Ok(Self { path: path.to_owned(), file, is_written: false }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let text = format!("{} is there already and stays as it is", path.display());
                Err(Fault::refused(text).with_hint("name another file"))
            }
            Err(error) => Err(Fault::unwritable(path, error)),
        }
    }

    /// Writes the whole text.
    ///
    /// # Errors
    /// When the system refuses; then the file is gone.
    pub fn write(mut self, text: &str) -> Result<(), Fault> {
        let written = self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_all());
        written.map_err(|error| Fault::unwritable(&self.path, error))?;
        self.is_written = true;
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_written {
            // What led here is reported already; an empty file left behind harms nobody.
            fs::remove_file(&self.path).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_there_stays_as_it_is() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("chain.toml");
        NewFile::create(&path).expect("room").write("first").expect("written");
        let text = NewFile::create(&path).expect_err("refused").to_text();
        assert!(text.contains("chain.toml"), "{text}");
        assert_eq!(fs::read_to_string(&path).expect("readable"), "first");
    }

    #[test]
    fn a_place_that_was_not_used_is_given_back() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("chain.toml");
        drop(NewFile::create(&path).expect("room"));
        assert!(!path.exists());
    }
}
