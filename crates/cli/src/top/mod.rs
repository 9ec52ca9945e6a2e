//! `pentad top`: a live view of a network.

mod picture;
mod poll;
mod view;

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use pentad_network_file::NetworkFile;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use crate::args::{Globals, TopArgs};
use crate::context::{Place, What};
use crate::fault::Fault;
use picture::Picture;
use poll::Poller;
use view::{Look, draw};

/// How long the keyboard is waited for before the thread looks whether it is still needed.
const KEY_WAIT: Duration = Duration::from_millis(100);
/// Keys that wait to be looked at.
const KEYS_MAX: usize = 16;

/// Shows the network until `q`.
///
/// # Errors
/// When there is no network or no terminal.
pub async fn top(globals: &Globals, arguments: &TopArgs) -> Result<(), Fault> {
    let place = Place::of(globals)?;
    if !io::stdout().is_terminal() {
        return Err(Fault::usage("top draws on a terminal, and this is none")
            .with_hint("`pentad devnet status --output json` is for scripts"));
    }
    let credentials = &place.credentials;
    let poller = match place.what {
        What::Network(directory) => Poller::new(&NetworkFile::read(&directory)?, credentials),
        What::Node(address) => Poller::of_node(&address, credentials)?,
    };
    let terminal = ratatui::try_init().map_err(|error| terminal_fault(&error))?;
    let period = Duration::from_secs(u64::from(arguments.interval));
    let outcome = show(terminal, poller, period).await;
    ratatui::restore();
    outcome.map_err(|error| terminal_fault(&error))
}

fn terminal_fault(error: &io::Error) -> Fault {
    Fault::refused(format!("the terminal cannot be used: {error}"))
}

async fn show(
    mut terminal: DefaultTerminal,
    mut poller: Poller,
    period: Duration,
) -> io::Result<()> {
    let mut look = Look { has_colors: has_colors(), ..Look::default() };
    let mut picture = Picture::default();
    let mut events = events();
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        terminal.draw(|frame| draw(frame, &picture, look))?;
        tokio::select! {
            event = events.recv() => match event.transpose()? {
                None => return Ok(()),
                Some(Event::Key(key)) if key.kind == KeyEventKind::Press => match act(key, look) {
                    Some(changed) => look = changed,
                    None => return Ok(()),
                },
                // A new size is drawn like everything else.
                Some(_) => {}
            },
            _ = ticks.tick(), if !look.is_paused => picture = poller.picture().await,
        }
    }
}

/// What a key changes; `None`: it ends the view.
fn act(key: KeyEvent, look: Look) -> Option<Look> {
    match key.code {
        KeyCode::Char('q') | KeyCode::Esc => None,
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => None,
        KeyCode::Char('p' | ' ') => Some(Look { is_paused: !look.is_paused, ..look }),
        KeyCode::Char('s') => Some(Look { order: look.order.next(), ..look }),
        _ => Some(look),
    }
}

/// See no-color.org.
fn has_colors() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Reads the keyboard on a thread of its own, which ends with the receiver.
fn events() -> mpsc::Receiver<io::Result<Event>> {
    let (sender, receiver) = mpsc::channel(KEYS_MAX);
    std::thread::spawn(move || {
        while !sender.is_closed() {
            let event = match event::poll(KEY_WAIT) {
                Ok(false) => continue,
                Ok(true) => event::read(),
                Err(error) => Err(error),
            };
            let is_last = event.is_err();
            if sender.blocking_send(event).is_err() || is_last {
                return;
            }
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_pause_sort_and_quit() {
        let look = Look::default();
        let press = |code, modifiers| act(KeyEvent::new(code, modifiers), look);
        let plain = |letter| press(KeyCode::Char(letter), KeyModifiers::NONE);
        assert!(plain('q').is_none());
        assert!(press(KeyCode::Esc, KeyModifiers::NONE).is_none());
        assert!(press(KeyCode::Char('c'), KeyModifiers::CONTROL).is_none());
        assert!(plain('c').is_some());
        assert!(plain('p').expect("goes on").is_paused);
        assert_eq!(plain('s').expect("goes on").order.name(), "height");
    }
}
