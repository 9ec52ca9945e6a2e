//! Small files that are written anew whenever what they keep changes, without anybody waiting for
//! the disk.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use pentad_whole_file::{DEFAULT_MODE, replace};
use tokio::sync::watch;

/// A file, and a task that writes it.
#[derive(Debug)]
pub(crate) struct KeptFile {
    path: PathBuf,
    text: watch::Sender<String>,
}

impl KeptFile {
    /// The file at `path`, and what has to run so that it is written. It ends once the last text is
    /// on the disk and the file is dropped.
    pub(crate) fn new(path: PathBuf) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (text, texts) = watch::channel(String::new());
        let writing = write(path.clone(), texts);
        (Self { path, text }, writing)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What the file holds; at most `bytes_max` are read.
    pub(crate) fn read(&self, bytes_max: u64) -> io::Result<String> {
        let mut text = String::new();
        File::open(&self.path)?.take(bytes_max).read_to_string(&mut text)?;
        self.text.send_if_modified(|kept| {
            kept.clone_from(&text);
            // It is on the disk.
            false
        });
        Ok(text)
    }

    /// Lets the file hold `text` soon, unless it does already.
    pub(crate) fn keep(&self, text: String) {
        self.text.send_if_modified(|kept| {
            let is_new = *kept != text;
            *kept = text;
            is_new
        });
    }
}

async fn write(path: PathBuf, mut texts: watch::Receiver<String>) {
    while texts.changed().await.is_ok() {
        let text = texts.borrow_and_update().clone();
        let target = path.clone();
        let written =
            tokio::task::spawn_blocking(move || replace(&target, text, DEFAULT_MODE)).await;
        if let Err(error) = written.unwrap_or_else(|error| Err(io::Error::other(error))) {
            tracing::warn!(path = %path.display(), %error, "cannot be written");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test]
    async fn the_last_text_is_written_before_the_end() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file");
        let (file, writing) = KeptFile::new(path.clone());
        assert_eq!(file.read(100).map_err(|error| error.kind()), Err(io::ErrorKind::NotFound));
        for number in 0..10 {
            file.keep(number.to_string());
        }
        drop(file);
        writing.await;
        assert_eq!(fs::read_to_string(&path).expect("written"), "9");
        let (file, writing) = KeptFile::new(path.clone());
        assert_eq!(file.read(100).expect("written"), "9");
        file.keep(String::new());
        drop(file);
        writing.await;
        assert_eq!(fs::read_to_string(&path).expect("written"), "");
    }
}
