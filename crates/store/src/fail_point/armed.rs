//! Which fault waits where.

use std::io;
use std::str::FromStr;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::{self, ThreadId};

use rustix::process::{Signal, getpid, kill_process};

use super::Point;

/// The variable that arms a process: `POINT:FAULT:NTH`. Its name does not begin like those of the
/// configuration, which refuses names that it does not know.
pub const ENVIRONMENT: &str = "FAIL_POINT";

/// What happens at a point, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL before the operation.
    KillBefore,
    /// SIGKILL after half of what is to be written.
    KillTorn,
    /// SIGKILL after the operation.
    KillAfter,
    /// EIO instead of the operation.
    Fail,
    /// ENOSPC instead of the operation.
    Full,
    /// ENOSPC after half of what is to be written.
    Short,
}

impl Fault {
    const NAMES: [(&str, Self); 6] = [
        ("kill-before", Self::KillBefore),
        ("kill-torn", Self::KillTorn),
        ("kill-after", Self::KillAfter),
        ("fail", Self::Fail),
        ("full", Self::Full),
        ("short", Self::Short),
    ];

    /// The name by which it is armed.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, fault)| *fault == self).expect("all have names").0
    }
}

/// A fault that waits at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Armed {
    /// Where.
    pub point: Point,
    /// What.
    pub fault: Fault,
    /// Which time the point is reached, counted from 1.
    pub nth: u32,
}

impl Armed {
    /// The value of [`ENVIRONMENT`] that arms a process with it.
    #[must_use]
    pub fn to_variable(self) -> String {
        format!("{}:{}:{}", self.point.name(), self.fault.name(), self.nth)
    }
}

impl FromStr for Armed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (point, rest) = text.split_once(':')?;
            let (fault, nth) = rest.split_once(':')?;
            Some(Self {
                point: *Point::ALL.iter().find(|known| known.name() == point)?,
                fault: Fault::NAMES.iter().find(|(name, _)| *name == fault)?.1,
                nth: nth.parse().ok().filter(|nth| *nth > 0)?,
            })
        };
        parse().ok_or_else(|| format!("{ENVIRONMENT}={text} names no fail point"))
    }
}

struct Waiting {
    armed: Armed,
    /// Who has to reach it; anybody in a process that was armed from outside.
    thread: Option<ThreadId>,
}

fn waiting() -> &'static Mutex<Vec<Waiting>> {
    static WAITING: OnceLock<Mutex<Vec<Waiting>>> = OnceLock::new();
    WAITING.get_or_init(|| {
        let variable = std::env::var(ENVIRONMENT).ok();
        let armed = variable.map(|text| match text.parse() {
            Ok(armed) => Waiting { armed, thread: None },
            Err(problem) => panic!("{problem}"),
        });
        Mutex::new(armed.into_iter().collect())
    })
}

/// Arms a fault for the calling thread.
pub fn arm(armed: Armed) {
    let waiting_one = Waiting { armed, thread: Some(thread::current().id()) };
    waiting().lock().unwrap_or_else(PoisonError::into_inner).push(waiting_one);
}

/// The fault that is due at a point now, if it is one of `faults`; each arrival counts once, on
/// the way to the operation.
fn due(point: Point, of: impl Fn(Fault) -> bool) -> Option<Fault> {
    let mut waiting = waiting().lock().unwrap_or_else(PoisonError::into_inner);
    let here = thread::current().id();
    let at = waiting.iter().position(|one| {
        let Waiting { armed, thread } = one;
        armed.point == point && of(armed.fault) && thread.is_none_or(|thread| thread == here)
    })?;
    let armed = &mut waiting.get_mut(at)?.armed;
    armed.nth -= 1;
    (armed.nth == 0).then(|| waiting.remove(at).armed.fault)
}

/// What is left to do once the operation is over.
#[must_use]
pub(super) struct After(bool);

impl After {
    pub(super) fn reached(self) {
        if self.0 {
            kill();
        }
    }
}

pub(super) fn before(point: Point) -> io::Result<After> {
    let whole = |fault| !matches!(fault, Fault::KillTorn | Fault::Short);
    match due(point, whole) {
        Some(Fault::KillBefore) => kill(),
        Some(Fault::KillAfter) => Ok(After(true)),
        // EIO, ENOSPC: as the system would say it.
        Some(Fault::Fail) => Err(io::Error::from_raw_os_error(5)),
        Some(Fault::Full) => Err(io::Error::from_raw_os_error(28)),
        Some(Fault::KillTorn | Fault::Short) | None => Ok(After(false)),
    }
}

pub(super) fn cut(
    point: Point,
    bytes: &[u8],
    operation: &impl Fn(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let Some(fault) = due(point, |fault| matches!(fault, Fault::KillTorn | Fault::Short)) else {
        return Ok(());
    };
    let (half, _) = bytes.split_at(bytes.len() / 2);
    operation(half)?;
    match fault {
        Fault::KillTorn => kill(),
        _ => Err(io::Error::from_raw_os_error(28)),
    }
}

fn kill() -> ! {
    kill_process(getpid(), Signal::KILL).expect("a process may kill itself");
    loop {
        // The signal is on its way.
        thread::park();
    }
}
