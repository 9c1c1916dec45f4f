//! The command `rushgate watch`: it samples the stores once a second, and shows each sample on a screen or prints it as a
//! line of JSON.
//!
//! A store that is away is named and asked again; the others are shown meanwhile. The cost is bounded: one question a second
//! to Redis and to Kafka, and to the database one that takes at most five percent of the time.

mod alarm;
mod keys;
mod readings;
mod sample;
mod view;

use crate::campaign::{Chosen, make};
use crate::config::Config;
use crate::output::{CommandOutput, Format};
use crate::refusal::{Refusal, refuse};
use crate::stderr;
use crate::waiting::wait;
use alarm::{Alarms, ConsumerCommands};
use anyhow::{Context, Result};
use clap::Args;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use keys::{Action, Effect, Screen};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use readings::Reader;
use rushgate_gate::{CampaignId, Millis};
use sample::Sample;
use std::io::{ErrorKind, IsTerminal, Write};
use std::pin::pin;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

pub const EXAMPLES: &str = "Examples:
  rushgate watch                                   all campaigns, on a screen
  rushgate watch --campaign launch --oldest 5s     an alarm when a grant waits for 5 s in the stream or in Kafka
  rushgate watch --output json | jq .alarms        one object a second

Keys: arrows select a campaign; o opens its next round now, p pauses and r resumes it, each after a question; q quits.
The screen shows no user ids.";

/// How often the stores are asked.
const EVERY: Duration = Duration::from_secs(1);

/// The arguments of `watch`.
#[derive(Args)]
pub struct Watch {
    /// Only this campaign; default: all campaigns, at most 50
    #[arg(long)]
    campaign: Option<CampaignId>,
    /// How long the oldest entry of a stream, or record of Kafka, may wait before there is an alarm
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = wait())]
    oldest: Duration,
    /// With --output json: end after this many lines; default: never
    #[arg(long, value_name = "LINES")]
    count: Option<u64>,
    #[command(flatten)]
    commands: ConsumerCommands,
}

impl Watch {
    /// Runs until the operator quits, or the reader of the output is gone.
    ///
    /// # Errors
    /// When there is no such campaign, or stdout is not a terminal.
    pub async fn run(&self, config: &Config, format: Format) -> Result<CommandOutput> {
        let mut reader = Reader::new(config, self.campaign.as_ref()).await?;
        let mut alarms = Alarms::new(self.oldest, self.commands.clone());
        match format {
            Format::Json => self.print(&mut reader, &mut alarms).await?,
            Format::Text if std::io::stdout().is_terminal() => {
                // Lines on stderr would be written over the screen.
                stderr::write_nothing();
                let mut terminal = ratatui::try_init().context("preparing the terminal")?;
                let ended = show(config, reader, alarms, &mut terminal).await;
                ratatui::restore();
                stderr::write_text();
                ended?;
            }
            Format::Text => refuse!(
                Usage,
                "`rushgate watch` needs a terminal: use --output json to print a line a second"
            ),
        }
        Ok(CommandOutput::default())
    }

    /// Prints a line for each sample.
    async fn print(&self, reader: &mut Reader, alarms: &mut Alarms) -> Result<()> {
        let mut ticks = ticks();
        for _ in 0..self.count.unwrap_or(u64::MAX) {
            ticks.tick().await;
            let sample = sampled(reader, alarms).await?;
            let line = serde_json::to_string(&sample)?;
            match writeln!(std::io::stdout(), "{line}") {
                // The reader of the output, such as `head`, is gone.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => break,
                written => written.context("writing the output")?,
            }
        }
        Ok(())
    }
}

fn ticks() -> tokio::time::Interval {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

async fn sampled(reader: &mut Reader, alarms: &mut Alarms) -> Result<Sample> {
    let mut sample = reader.sample(now()?).await;
    sample.alarms = alarms.of(&sample);
    Ok(sample)
}

fn now() -> Result<Millis> {
    Ok(Millis::try_from(jiff::Timestamp::now().as_millisecond())?)
}

/// Shows samples until the operator quits.
async fn show(
    config: &Config,
    mut reader: Reader,
    mut alarms: Alarms,
    terminal: &mut ratatui::DefaultTerminal,
) -> Result<()> {
    let mut screen = Screen::default();
    let (send, mut samples) = mpsc::channel(1);
    let sampling = async {
        let mut ticks = ticks();
        loop {
            ticks.tick().await;
            let sample = sampled(&mut reader, &mut alarms).await;
            if send.send(sample).await.is_err() {
                return;
            }
        }
    };
    let mut sampling = pin!(sampling);
    let mut pressed = pressed_keys();
    let mut actions = FuturesUnordered::new();
    loop {
        terminal
            .draw(|frame| view::draw(frame, &screen))
            .context("drawing the screen")?;
        tokio::select! {
            () = &mut sampling => return Ok(()),
            Some(sample) = samples.recv() => screen.show(sample?),
            Some(status) = actions.next(), if !actions.is_empty() => screen.status = status,
            key = pressed.recv() => match key {
                Some(Some(key)) => match screen.press(key) {
                    Some(Effect::Run(campaign, action)) => {
                        actions.push(perform(config, campaign, action));
                    }
                    Some(Effect::Quit) => return Ok(()),
                    None => {}
                },
                // Another size of the window.
                Some(None) => {}
                None => return Ok(()),
            },
        }
    }
}

/// The keys that are pressed; `None` for an event that is no key, such as another size of the window.
fn pressed_keys() -> mpsc::Receiver<Option<KeyCode>> {
    let (send, pressed) = mpsc::channel(8);
    spawn_blocking(move || {
        while let Ok(event) = event::read() {
            let key = match event {
                Event::Key(key) if key.kind == KeyEventKind::Release => continue,
                Event::Key(key) if key.modifiers.contains(KeyModifiers::CONTROL) => {
                    match key.code {
                        KeyCode::Char('c') => Some(KeyCode::Char('q')),
                        _ => continue,
                    }
                }
                Event::Key(key) => Some(key.code),
                _ => None,
            };
            if send.blocking_send(key).is_err() {
                return;
            }
        }
    });
    pressed
}

/// Does what the operator has chosen; returns what became of it, without user ids.
async fn perform(config: &Config, campaign: CampaignId, action: Action) -> String {
    let chosen = match action {
        Action::Open(round) => Chosen::Open(round),
        Action::Pause => Chosen::Pause,
        Action::Resume => Chosen::Resume,
    };
    match make(config, &campaign, chosen).await {
        Ok(message) => message,
        Err(error) => match error.downcast_ref::<Refusal>() {
            Some(refusal) => refusal.to_string(),
            // Its text may name an applicant, whose revocation was finished first.
            None => format!("that failed: `rushgate campaign log {campaign}` shows what was done"),
        },
    }
}
