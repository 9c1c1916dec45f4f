//! Draws the screen. It shows no user ids.

use super::keys::Screen;
use super::sample::{CampaignSample, Sample};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Clear, Paragraph, Row, Sparkline, Table, TableState, Wrap};
use rushgate_gate::CampaignState;

/// The accent of the chart and of bars.
const ACCENT: Color = Color::Cyan;

const KEYS: &str = " ↑↓ select   o open now   p pause   r resume   q quit";

/// Rows of the funnel.
const STAGES: u16 = 6;

pub(super) fn draw(frame: &mut Frame<'_>, screen: &Screen) {
    let Some(sample) = &screen.sample else {
        frame.render_widget(
            Paragraph::new("reading Redis, Kafka and the database …"),
            frame.area(),
        );
        return;
    };
    let alarms =
        u16::try_from(2 * sample.alarms.len() + sample.unavailable.len()).unwrap_or(u16::MAX);
    let campaigns = u16::try_from(sample.campaigns.len()).unwrap_or(u16::MAX);
    let [head, table, detail, bottom, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(campaigns.saturating_add(3).min(12)),
        Constraint::Min(STAGES + 3),
        Constraint::Length(alarms.clamp(1, 12) + 2),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(heading(sample), head);
    draw_campaigns(frame, table, screen);
    if let Some(campaign) = screen.selected() {
        draw_campaign(frame, detail, campaign, screen);
    }
    draw_alarms(frame, bottom, sample);
    let status = Line::from(vec![
        KEYS.dark_gray(),
        Span::raw("   "),
        screen.status.as_str().into(),
    ]);
    frame.render_widget(status, keys);
    if let Some((campaign, action)) = &screen.question {
        draw_question(frame, &format!("campaign {campaign}: {action}?"));
    }
}

fn heading(sample: &Sample) -> Line<'static> {
    let mut words = vec![
        " rushgate watch ".bold().black().bg(ACCENT),
        format!("  {}", sample.at.to_string().replace('T', " ")).into(),
    ];
    if let Some(redis) = &sample.redis {
        let used = redis.used_memory_bytes.map_or("?".to_owned(), megabytes);
        let limit = match redis.max_memory_bytes {
            Some(0) | None => "no limit".to_owned(),
            Some(limit) => megabytes(limit),
        };
        words.push(format!("   Redis {used} of {limit}").into());
    }
    if let Some(kafka) = &sample.kafka {
        let consumers = kafka
            .consumers
            .map_or("?".to_owned(), |count| count.to_string());
        let oldest = age(kafka.oldest_seconds);
        let text = format!("   Kafka lag {}{oldest}, {consumers} consumers", kafka.lag);
        words.push(if kafka.lag > 0 {
            text.yellow()
        } else {
            text.into()
        });
    }
    Line::from(words)
}

fn megabytes(bytes: u64) -> String {
    format!("{} MB", bytes / 1_000_000)
}

/// `, oldest 3 s`, if there is one.
fn age(seconds: Option<f64>) -> String {
    seconds.map_or_else(String::new, |seconds| format!(", oldest {seconds:.0} s"))
}

fn count(figure: Option<u64>) -> String {
    figure.map_or_else(|| "?".to_owned(), |figure| figure.to_string())
}

fn state(campaign: &CampaignSample) -> Span<'static> {
    match campaign.state() {
        Some(CampaignState::Running) => "running".green(),
        Some(CampaignState::Paused) => "paused".yellow(),
        Some(CampaignState::Closed) => "closed".dark_gray(),
        Some(CampaignState::Halted) => "halted".red().bold(),
        None => "unknown".red(),
    }
}

fn draw_campaigns(frame: &mut Frame<'_>, area: Rect, screen: &Screen) {
    let names = [
        "CAMPAIGN",
        "STATE",
        "ROUND",
        "QUOTA",
        "GRANTED",
        "STREAM",
        "KAFKA",
        "ROWS",
        "CONFIRMED",
        "DEAD",
    ];
    let right = |text: String| Cell::from(Line::from(text).right_aligned());
    let header = names.iter().enumerate().map(|(place, name)| match place {
        0..=2 => Cell::from(*name),
        _ => right((*name).to_owned()),
    });
    let rows = screen.campaigns().iter().map(|campaign| {
        let funnel = &campaign.funnel;
        let round = campaign
            .counts
            .overview()
            .and_then(|overview| overview.round.as_ref());
        let quota = round.map(|round| u64::from(round.round.quota.get()));
        let dead = [funnel.bridge_dead_letters, funnel.consumer_dead_letters];
        let dead = dead.into_iter().flatten().reduce(|one, other| one + other);
        let figures = [
            quota,
            funnel.granted,
            funnel.in_stream,
            funnel.in_kafka,
            funnel.inserted,
            funnel.confirmed,
            dead,
        ];
        let round = round.map_or_else(|| "-".to_owned(), |round| round.round.id.to_string());
        let words = [
            Cell::from(campaign.campaign.to_string()),
            Cell::from(state(campaign)),
            Cell::from(round),
        ];
        Row::new(
            words
                .into_iter()
                .chain(figures.map(|figure| right(count(figure)))),
        )
    });
    let widths = [
        Constraint::Fill(1),
        Constraint::Length(8),
        Constraint::Length(12),
        Constraint::Length(9),
        Constraint::Length(9),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Length(9),
        Constraint::Length(9),
        Constraint::Length(6),
    ];
    let left_out = screen
        .sample
        .as_ref()
        .map_or(0, |sample| sample.campaigns_left_out);
    let title = match left_out {
        0 => " Campaigns ".to_owned(),
        more => format!(" Campaigns ({more} more: --campaign shows one) "),
    };
    let table = Table::new(rows, widths)
        .header(Row::new(header).style(Style::new().add_modifier(Modifier::DIM)))
        .row_highlight_style(Style::new().add_modifier(Modifier::BOLD))
        .highlight_symbol("▸ ")
        .block(Block::bordered().title(title).border_style(Color::DarkGray));
    let mut selected = TableState::new().with_selected(screen.place());
    frame.render_stateful_widget(table, area, &mut selected);
}

fn draw_campaign(frame: &mut Frame<'_>, area: Rect, campaign: &CampaignSample, screen: &Screen) {
    let [left, right] =
        Layout::horizontal([Constraint::Percentage(55), Constraint::Percentage(45)]).areas(area);
    let block = Block::bordered()
        .title(format!(" {}: where the grants are ", campaign.campaign))
        .border_style(Color::DarkGray);
    let inside = block.inner(left);
    frame.render_widget(block, left);
    let funnel = &campaign.funnel;
    let dead = [funnel.bridge_dead_letters, funnel.consumer_dead_letters];
    let dead = dead.into_iter().flatten().reduce(|one, other| one + other);
    let kafka = screen
        .sample
        .as_ref()
        .and_then(|sample| sample.kafka.as_ref());
    let stages = [
        ("granted", funnel.granted, String::new(), ACCENT),
        (
            "in the stream",
            funnel.in_stream,
            age(campaign.stream_oldest_seconds),
            Color::Yellow,
        ),
        (
            "in Kafka",
            funnel.in_kafka,
            // The oldest record of all campaigns.
            age(kafka
                .filter(|_| funnel.in_kafka != Some(0))
                .and_then(|kafka| kafka.oldest_seconds)),
            Color::Yellow,
        ),
        ("inserted", funnel.inserted, String::new(), Color::Blue),
        ("confirmed", funnel.confirmed, String::new(), Color::Green),
        ("dead letters", dead, String::new(), Color::Red),
    ];
    let round = campaign
        .counts
        .overview()
        .and_then(|overview| overview.round.as_ref());
    let quota = round.map_or(1, |round| u64::from(round.round.quota.get()));
    let lines = stages.map(|(name, figure, note, colour)| {
        let bar = bar(
            figure.unwrap_or(0),
            quota,
            usize::from(inside.width).saturating_sub(42),
        );
        Line::from(vec![
            format!(" {name:<14}{:>9}  ", count(figure)).into(),
            Span::styled(bar, colour),
            note.trim_start_matches(", ").to_owned().dark_gray(),
        ])
    });
    let mut lines = Vec::from(lines);
    if let Some(without @ 1..) = funnel.without_row {
        lines.push(
            format!(" {:<14}{without:>9}", "without row")
                .red()
                .bold()
                .into(),
        );
    }
    frame.render_widget(Paragraph::new(lines), inside);
    draw_chart(frame, right, campaign, quota, screen);
}

/// A bar of up to `width` characters; anything above zero shows at least one.
fn bar(figure: u64, whole: u64, width: usize) -> String {
    let cells = u64::try_from(width).unwrap_or(0);
    let length = figure.saturating_mul(cells) / whole.max(1);
    let length = length.max(u64::from(figure > 0)).min(cells);
    "█".repeat(usize::try_from(length).unwrap_or(0)) + if length > 0 { " " } else { "" }
}

/// The granted coupons over time; the top is the quota.
fn draw_chart(
    frame: &mut Frame<'_>,
    area: Rect,
    campaign: &CampaignSample,
    quota: u64,
    screen: &Screen,
) {
    let history = screen.history.get(&campaign.campaign);
    let width = usize::from(area.width.saturating_sub(2));
    let history: Vec<u64> = history
        .into_iter()
        .flat_map(|history| history.iter().rev().take(width).rev().copied())
        .collect();
    let per_second = match history[..] {
        [.., before, last] => last.saturating_sub(before),
        _ => 0,
    };
    let granted = count(campaign.funnel.granted);
    let title = format!(" granted {granted} of {quota}, {per_second} in the last second ");
    let chart = Sparkline::default()
        .data(&history)
        .max(quota)
        .style(ACCENT)
        .block(Block::bordered().title(title).border_style(Color::DarkGray));
    frame.render_widget(chart, area);
}

fn draw_alarms(frame: &mut Frame<'_>, area: Rect, sample: &Sample) {
    let mut lines: Vec<Line<'_>> = vec![];
    for unavailable in &sample.unavailable {
        lines.push(Line::from(vec![
            " unavailable ".black().on_yellow(),
            format!(" {}: {}", unavailable.server, unavailable.message).into(),
        ]));
    }
    for alarm in &sample.alarms {
        lines.push(Line::from(vec![
            " alarm ".white().on_red().bold(),
            format!(" {}", alarm.message).into(),
        ]));
        lines.push(Line::from(vec![
            "         → ".dark_gray(),
            alarm.command.as_str().fg(ACCENT),
        ]));
    }
    if lines.is_empty() {
        lines.push(" no alarm".green().into());
    }
    let colour = match sample.alarms.is_empty() && sample.unavailable.is_empty() {
        true => Color::DarkGray,
        false => Color::Red,
    };
    let block = Block::bordered().title(" Alarms ").border_style(colour);
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn draw_question(frame: &mut Frame<'_>, question: &str) {
    let area = frame.area();
    let wanted = u16::try_from(question.chars().count() + 6).unwrap_or(u16::MAX);
    let width = wanted.max(34).min(area.width);
    let height = 5.min(area.height);
    let place = Rect::new(
        area.x + (area.width - width) / 2,
        area.y + (area.height - height) / 2,
        width,
        height,
    );
    frame.render_widget(Clear, place);
    let text = vec![
        Line::from(question.to_owned()).bold(),
        Line::default(),
        Line::from("y: yes    any other key: no").dark_gray(),
    ];
    let block = Block::bordered()
        .title(" Sure? ")
        .border_style(Color::Yellow);
    let question = Paragraph::new(text).wrap(Wrap { trim: true }).centered();
    frame.render_widget(question.block(block), place);
}

#[cfg(test)]
mod tests {
    use super::super::alarm::{Alarms, ConsumerCommands};
    use super::super::sample::tests::{reading, rows, sampled, topic};
    use super::*;
    use crate::gate::GateReading;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::crossterm::event::KeyCode;
    use std::time::Duration;

    fn drawn(screen: &Screen, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
        terminal.draw(|frame| draw(frame, screen)).expect("drawn");
        terminal.backend().to_string()
    }

    /// A rush while no consumer runs.
    fn screen() -> Screen {
        let gate = GateReading {
            campaigns: vec![
                reading("launch", CampaignState::Running, 80, 20, 10),
                reading("other", CampaignState::Closed, 1, 1, 0),
            ],
            info: Some("used_memory:12000000\nmaxmemory:256000000\naof_enabled:1".to_owned()),
            ..GateReading::default()
        };
        let rows = rows(&gate, 40, &[("launch", 30), ("other", 1)]);
        let mut screen = Screen::default();
        let mut sample = sampled(gate, topic(40, 0), Some(&rows));
        sample.alarms =
            Alarms::new(Duration::from_secs(4), ConsumerCommands::default()).of(&sample);
        screen.show(sample);
        screen
    }

    #[test]
    fn the_funnel_the_lag_and_the_alarms_are_shown() {
        let text = drawn(&screen(), 120, 34);
        for expected in [
            "Redis 12 MB of 256 MB",
            "Kafka lag 40, oldest 5 s, 0 consumers",
            "launch",
            " granted              80",
            " in the stream        10",
            "oldest 7 s",
            " in Kafka             40",
            " inserted             30",
            " confirmed            20",
            "granted 80 of 100",
            "alarm  no consumer is in the group",
            "→ docker compose up --detach consumer",
            "→ rushgate campaign show launch",
        ] {
            assert!(text.contains(expected), "{expected:?} is not in:\n{text}");
        }
    }

    #[test]
    fn a_question_and_a_store_that_is_away_are_shown() {
        let mut screen = screen();
        screen.press(KeyCode::Char('p'));
        assert!(drawn(&screen, 120, 34).contains("campaign launch: pause?"));
        let campaigns = [super::super::sample::tests::id("launch")];
        let readings = super::super::sample::Readings {
            gate: &Err("cannot use Redis".to_owned()),
            kafka: &Ok(topic(0, 1)),
            rows: None,
            no_rows: None,
            campaigns: &campaigns,
            campaigns_left_out: 0,
        };
        let at = super::super::sample::tests::millis(5);
        screen.show(super::super::sample::sample(at, &readings));
        screen.press(KeyCode::Char('n'));
        let text = drawn(&screen, 120, 34);
        assert!(
            text.contains("unavailable  Redis: cannot use Redis"),
            "{text}"
        );
        assert!(text.contains("unknown"), "{text}");
    }

    #[test]
    fn no_size_is_too_small() {
        for (width, height) in [(1, 1), (10, 3), (40, 12), (300, 100)] {
            drawn(&screen(), width, height);
            let mut screen = screen();
            screen.press(KeyCode::Char('p'));
            drawn(&screen, width, height);
            drawn(&Screen::default(), width, height);
        }
    }
}
