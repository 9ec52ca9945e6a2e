//! A program on a terminal, as a person sees it and types.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::num::NonZeroU16;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use vt100::{Parser, Screen};

use crate::wait::wait_for;

/// A terminal with a program on it, which ends with its handle.
#[derive(Debug)]
pub struct Terminal {
    child: Child,
    keyboard: File,
    shown: Arc<Mutex<Shown>>,
}

struct Shown(Parser);

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.screen().contents())
    }
}

impl Terminal {
    /// Starts a program on a terminal of so many lines and columns.
    ///
    /// # Panics
    /// When the system gives no terminal or the program does not start.
    #[must_use]
    pub fn start(mut command: Command, lines: u16, columns: u16) -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&ours).and_then(|()| unlockpt(&ours)).expect("a terminal of our own");
        let name = ptsname(&ours, Vec::new()).expect("its name").into_string().expect("UTF-8");
        let theirs = OpenOptions::new().read(true).write(true).open(name).expect("its other end");
        let size = Winsize { ws_row: lines, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&theirs, size).expect("a size");
        let again = || theirs.try_clone().expect("another handle");
        command.env("TERM", "xterm-256color").stdin(again()).stdout(again()).stderr(again());
        let child = command.spawn().expect("the program starts");
        drop((command, theirs));
        let keyboard = File::from(ours);
        let of = |length| NonZeroU16::new(length).expect("a terminal with room");
        let shown = Arc::new(Mutex::new(Shown(Parser::new(of(lines), of(columns), 0))));
        let mut output = keyboard.try_clone().expect("another handle");
        let told = Arc::clone(&shown);
        // Ends with the program: a terminal that nobody holds any more cannot be read.
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut bytes) {
                let mut shown = told.lock().unwrap_or_else(PoisonError::into_inner);
                shown.0.process(&bytes[..length]);
            }
        });
        Self { child, keyboard, shown }
    }

    /// Types some text.
    ///
    /// # Panics
    /// When the terminal is gone.
    pub fn type_in(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).expect("a terminal");
    }

    /// What it shows, in lines.
    #[must_use]
    pub fn text(&self) -> String {
        self.look(|screen| screen.contents())
    }

    /// Looks at the screen.
    pub fn look<T>(&self, look: impl FnOnce(&Screen) -> T) -> T {
        look(self.shown.lock().unwrap_or_else(PoisonError::into_inner).0.screen())
    }

    /// Waits until the screen shows some text.
    ///
    /// # Panics
    /// When it does not.
    pub fn shows(&self, text: &str) {
        wait_for(&format!("the screen shows {text:?}"), || {
            let shown = self.text();
            if shown.contains(text) { Ok(()) } else { Err(shown) }
        });
    }

    /// Waits for the end of the program.
    ///
    /// # Panics
    /// When it goes on.
    pub fn wait(&mut self) -> ExitStatus {
        wait_for("the program ends", || match self.child.try_wait() {
            Ok(Some(status)) => Ok(status),
            Ok(None) => {
                Err(self.shown.lock().map(|shown| format!("{shown:?}")).unwrap_or_default())
            }
            Err(error) => Err(error.to_string()),
        })
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.child.kill().expect("a running child can be killed");
            self.child.wait().expect("a killed child can be reaped");
        }
    }
}
