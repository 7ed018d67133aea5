//! Draws the dashboard: a pure function of the model to a buffer of cells.

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use super::details;
use super::look::{Look, Piece, Tone, columns, wrap};
use super::model::{EventRow, LoginRow, Model};
use super::moments::relative;

/// The smallest window in which the dashboard is of use.
const MIN_WIDTH: u16 = 60;
const MIN_HEIGHT: u16 = 18;
/// The space left and right of all text.
const MARGIN: u16 = 1;
/// The lines that the events keep while a report is shown, if there is room.
const MIN_EVENTS: u16 = 3;
const GAP: usize = 2;

/// The lines of a window, filled from the top and from the bottom.
pub(super) struct Canvas<'a> {
    buffer: &'a mut Buffer,
    look: Look,
    area: Rect,
}

impl Canvas<'_> {
    pub(super) fn width(&self) -> usize {
        usize::from(self.area.width.saturating_sub(2 * MARGIN))
    }

    /// Draws pieces one after the other in a line; what does not fit is cut.
    fn line(&mut self, y: u16, pieces: &[Piece]) {
        let mut x = self.area.x + MARGIN;
        let end = self.area.right().saturating_sub(MARGIN);
        for (text, tone) in pieces {
            let room = usize::from(end.saturating_sub(x));
            let text = self.look.fit(text, room);
            (x, _) = self.buffer.set_stringn(x, y, text, room, self.look.style(*tone));
        }
    }

    /// Draws `text` at the right end of a line.
    fn right(&mut self, y: u16, text: &str, tone: Tone) {
        let text = self.look.fit(text, self.width());
        let width = u16::try_from(columns(&text)).unwrap_or(u16::MAX);
        let x = self.area.right().saturating_sub(MARGIN + width).max(self.area.x);
        self.buffer.set_stringn(x, y, &text, usize::from(width), self.look.style(tone));
    }

    /// Draws a line across the window, with a title.
    fn rule(&mut self, y: u16, title: &str) {
        let mark = self.look.rule();
        let title = self.look.fit(title, self.width().saturating_sub(6));
        let title = if title.is_empty() { title } else { format!(" {title} ") };
        let before = mark.repeat(2);
        let after = mark.repeat(self.width().saturating_sub(2 + columns(&title)));
        self.line(y, &[(before, Tone::Faint), (title, Tone::Strong), (after, Tone::Faint)]);
    }
}

/// Draws `model`. Returns where the cursor is, if it is shown.
pub(super) fn draw(model: &Model, look: Look, area: Rect, buffer: &mut Buffer) -> Option<Position> {
    let mut canvas = Canvas { buffer, look, area };
    if area.width < MIN_WIDTH || area.height < MIN_HEIGHT {
        too_small(&mut canvas);
        return None;
    }
    let (cursor, bottom) = prompt(&mut canvas, model);
    let mut y = area.y;
    title(&mut canvas, y, model);
    y += 2;
    y = logins(&mut canvas, y, bottom, model);
    let report = report_lines(&canvas, model);
    let report_height = u16::try_from(report.len()).unwrap_or(u16::MAX).saturating_add(1);
    let details = model.login().map(|login| details::lines(login, model.now, canvas.width()));
    let details = details.unwrap_or_default();
    let details_height = u16::try_from(details.len()).unwrap_or(u16::MAX).saturating_add(1);
    let left = bottom.saturating_sub(y);
    let wanted = if report.is_empty() { 0 } else { report_height };
    if details_height + wanted.min(left / 2) <= left {
        let active =
            |login: &LoginRow| if login.name.is_some() && login.is_active { " (active)" } else { "" };
        let title = model.login().map(|login| format!("{}{}", login.title(), active(login)));
        let title = title.unwrap_or_default();
        canvas.rule(y, &title);
        for (line, y) in details.iter().zip(y + 1..) {
            canvas.line(y, line);
        }
        y += details_height;
    }
    let left = bottom.saturating_sub(y);
    let events_height =
        if wanted == 0 { left } else { left.saturating_sub(wanted).max(MIN_EVENTS.min(left / 3)) };
    if events_height > 1 {
        events(&mut canvas, y, y + events_height, model);
        y += events_height;
    }
    if wanted > 0 {
        show_report(&mut canvas, y, bottom, model, &report);
    }
    cursor
}

fn too_small(canvas: &mut Canvas<'_>) {
    let Rect { width, height, y, .. } = canvas.area;
    let text =
        format!("this window has {width}x{height} characters; the dashboard needs {MIN_WIDTH}x{MIN_HEIGHT}");
    let lines = wrap(&text, canvas.width());
    for (line, y) in lines.into_iter().zip(y..y + height) {
        canvas.line(y, &[(line, Tone::Plain)]);
    }
}

fn title(canvas: &mut Canvas<'_>, y: u16, model: &Model) {
    canvas.line(y, &[("codex top".to_owned(), Tone::Strong), (format!("  {}", model.home), Tone::Faint)]);
    if let Some(problem) = &model.problem {
        canvas.line(y + 1, &[(problem.clone(), Tone::Bad)]);
    }
}

/// Draws the table of logins. Returns the line below it.
fn logins(canvas: &mut Canvas<'_>, y: u16, bottom: u16, model: &Model) -> u16 {
    let rows: Vec<_> = model.logins.iter().map(|login| cells(login, model)).collect();
    let has_names = model.logins.iter().any(|login| login.name.is_some());
    let heads = ["ACCOUNT", "LOGIN", "STATE", "EXPIRES", "STORE"].map(str::to_owned);
    let mut widths = [0; 5];
    for (at, width) in widths.iter_mut().enumerate() {
        let cells = rows.iter().map(|row| columns(&row[at].0));
        *width = cells.chain([columns(&heads[at])]).max().unwrap_or_default();
    }
    // The name and the owner give way to the rest.
    widths[0] = if has_names { widths[0].min(18) } else { 0 };
    let others = widths.iter().sum::<usize>() - widths[1] + GAP * (if has_names { 5 } else { 4 });
    widths[1] = widths[1].min(canvas.width().saturating_sub(others)).max(5);
    let look = canvas.look;
    let line = |cells: &[Piece; 5]| -> Vec<Piece> {
        let mut pieces = Vec::new();
        for ((text, tone), width) in cells.iter().zip(widths).filter(|(_, width)| *width > 0) {
            let text = look.fit(text, width);
            let space = " ".repeat(width - columns(&text) + GAP);
            pieces.push((text, *tone));
            pieces.push((space, Tone::Plain));
        }
        pieces
    };
    let indent = |mark: &str| (format!("{mark:<GAP$}"), Tone::Strong);
    let head = line(&heads.map(|head| (head, Tone::Faint)));
    canvas.line(y, &[vec![indent("")], head].concat());
    let room = usize::from((bottom.saturating_sub(y) / 3).max(2));
    let first = (model.selected + 1).saturating_sub(room);
    let mut y = y + 1;
    for (at, cells) in rows.iter().enumerate().skip(first).take(room) {
        let is_marked = at == model.selected && rows.len() > 1;
        canvas.line(y, &[vec![indent(if is_marked { look.marker() } else { "" })], line(cells)].concat());
        y += 1;
    }
    if rows.is_empty() {
        canvas.line(y, &[indent(""), ("reading the logins".to_owned(), Tone::Faint)]);
        y += 1;
    }
    let hidden = rows.len().saturating_sub(room);
    if hidden > 0 {
        canvas.right(y - 1, &format!("{hidden} more: {}", look.arrows()), Tone::Faint);
    }
    y + 1
}

/// Returns the columns of a login.
fn cells(login: &LoginRow, model: &Model) -> [Piece; 5] {
    let active = if login.is_active && login.name.is_some() { " *" } else { "" };
    let name = login.name.as_deref().unwrap_or("(no account)");
    let health = login.health.map(|health| (health.to_string(), Tone::of(health)));
    let or_dash = |text: &str| {
        if text.is_empty() { ("-".to_owned(), Tone::Faint) } else { (text.to_owned(), Tone::Plain) }
    };
    [
        (format!("{name}{active}"), Tone::Strong),
        or_dash(&login.who),
        health.unwrap_or((String::new(), Tone::Plain)),
        or_dash(&login.expires_at.map(|end| relative(end, model.now)).unwrap_or_default()),
        or_dash(&login.store),
    ]
}

/// Draws the latest events between two lines.
fn events(canvas: &mut Canvas<'_>, y: u16, bottom: u16, model: &Model) {
    canvas.rule(y, "events");
    let room = usize::from(bottom.saturating_sub(y + 1));
    if model.events.is_empty() && room > 0 {
        canvas.line(y + 1, &[("changes of the logins by any program appear here".to_owned(), Tone::Faint)]);
    }
    let has_names = model.events.iter().any(|event| event.account.is_some());
    let first = model.events.len().saturating_sub(room);
    for (event, y) in model.events.iter().skip(first).zip(y + 1..bottom) {
        canvas.line(y, &event_line(event, has_names, &model.today));
    }
}

/// Returns an event with its time, or its day and minute if it is not of `today`.
fn event_line(event: &EventRow, has_names: bool, today: &str) -> Vec<Piece> {
    let shown = if event.time.starts_with(today) { event.time.get(11..) } else { event.time.get(5..16) };
    let mut pieces = vec![(format!("{:<11}  ", shown.unwrap_or(&event.time)), Tone::Faint)];
    if has_names {
        let name = event.account.as_deref().unwrap_or("-");
        pieces.push((format!("{name:<10}  "), Tone::Plain));
    }
    pieces.push((format!("{:<16}  ", event.what), event.tone));
    pieces.push((event.details.clone(), Tone::Plain));
    pieces
}

/// Returns the lines of the last command, wrapped.
fn report_lines(canvas: &Canvas<'_>, model: &Model) -> Vec<Vec<Piece>> {
    let Some(report) = &model.report else { return Vec::new() };
    let mut lines = Vec::new();
    for line in &report.lines {
        let word = line.kind.word();
        let indent = if word.is_empty() { 0 } else { word.len() + 1 };
        for (at, text) in wrap(&line.text, canvas.width().saturating_sub(indent)).into_iter().enumerate() {
            let before = if at == 0 { word } else { "" };
            lines.push(vec![(format!("{before:<indent$}"), line.kind.into()), (text, Tone::Plain)]);
        }
    }
    if report.is_running && lines.is_empty() {
        lines.push(vec![("working; the result appears here".to_owned(), Tone::Faint)]);
    }
    lines
}

fn show_report(canvas: &mut Canvas<'_>, y: u16, bottom: u16, model: &Model, lines: &[Vec<Piece>]) {
    let Some(report) = &model.report else { return };
    canvas.rule(y, &report.title);
    let room = usize::from(bottom.saturating_sub(y + 1));
    let scroll = report.scroll.min(lines.len().saturating_sub(room));
    for (line, y) in lines.iter().skip(scroll).zip(y + 1..bottom) {
        canvas.line(y, line);
    }
    let close = match (report.is_running, lines.len() > room) {
        (true, _) => return,
        (false, true) => " PgUp PgDn  Esc closes ",
        (false, false) => " Esc closes ",
    };
    canvas.right(y, close, Tone::Faint);
}

/// Draws the prompt at the bottom. Returns the cursor and the first line of the prompt.
fn prompt(canvas: &mut Canvas<'_>, model: &Model) -> (Option<Position>, u16) {
    let area = canvas.area;
    if let Some(question) = &model.prompt.question {
        let lines = wrap(&question.text, canvas.width());
        let height = u16::try_from(lines.len()).unwrap_or(u16::MAX).saturating_add(2).min(area.height);
        let top = area.bottom() - height;
        canvas.rule(top, "");
        for (line, y) in lines.into_iter().zip(top + 1..area.bottom()) {
            canvas.line(y, &[(line, Tone::Strong)]);
        }
        let keys = [("y", " yes   "), ("n", " no (Enter, Esc)")];
        let keys = keys
            .iter()
            .flat_map(|(key, what)| [((*key).to_owned(), Tone::Strong), ((*what).to_owned(), Tone::Plain)]);
        canvas.line(area.bottom() - 1, &keys.collect::<Vec<_>>());
        return (None, top);
    }
    let (suggestions, highlighted) = model.prompt.suggestions();
    let shown = suggestions.len().min(5);
    let height = 2 + u16::try_from(shown).unwrap_or_default().max(1);
    let top = area.bottom() - height;
    canvas.rule(top, "");
    let line = model.prompt.line();
    let written = if line.is_empty() {
        ("type / for a command".to_owned(), Tone::Faint)
    } else {
        (line.to_owned(), Tone::Plain)
    };
    canvas.line(top + 1, &[("> ".to_owned(), Tone::Strong), written]);
    let first = (highlighted + 1).saturating_sub(shown);
    let width = suggestions.iter().map(|suggestion| columns(&suggestion.word)).max().unwrap_or_default();
    for ((at, suggestion), y) in suggestions.iter().enumerate().skip(first).take(shown).zip(top + 2..) {
        let (marker, tone) =
            if at == highlighted { (canvas.look.marker(), Tone::Strong) } else { ("", Tone::Plain) };
        let word = format!("{:<width$}  ", suggestion.word);
        let marker = format!("{marker:<GAP$}");
        canvas.line(y, &[(marker, Tone::Strong), (word, tone), (suggestion.about.clone(), Tone::Faint)]);
    }
    if shown == 0 {
        let select = if model.logins.len() > 1 {
            format!("{} select   ", canvas.look.arrows())
        } else {
            String::new()
        };
        let keys = "/login  /logout  /refresh  /why  /quit";
        canvas.line(top + 2, &[(format!("{select}{keys}   Tab completes, q quits"), Tone::Faint)]);
    }
    let column = columns(model.prompt.before_cursor()).min(canvas.width().saturating_sub(2));
    let x = area.x + MARGIN + 2 + u16::try_from(column).unwrap_or_default();
    (Some(Position { x, y: top + 1 }), top)
}

#[cfg(test)]
mod tests {
    use codex_auth::Timestamp;
    use codex_auth::overview::LoginHealth;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::style::Color;

    use super::super::keys::{KeyEffect, paste, press};
    use super::super::model::{KeeperRow, Report};
    use super::*;
    use crate::screen_line::{LineKind, ScreenLine};
    use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

    const DARK: Look = Look { is_coloured: true, is_unicode: true };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn login(name: Option<&str>, who: &str, health: LoginHealth, left: i64) -> LoginRow {
        LoginRow {
            name: name.map(str::to_owned),
            who: who.to_owned(),
            health: Some(health),
            store: "file".to_owned(),
            location: Some("/home/ada/.codex/auth.json".to_owned()),
            expires_at: Some(at(left)),
            ..LoginRow::default()
        }
    }

    fn model() -> Model {
        let mut model = Model::new("/home/ada/.codex", at(0));
        // Whatever the time zone of the test.
        model.today = "2027-01-15".to_owned();
        let mut work = login(Some("work"), "ada@example.com (pro)", LoginHealth::Usable, 11_520);
        work.is_active = true;
        work.workspace = Some("acct-1".to_owned());
        work.programs = vec!["codex (pid 4711)".to_owned(), "codex (pid 4712)".to_owned()];
        work.keeper =
            Some(KeeperRow::Responding { pid: 812, next_refresh_at: Some(at(10_000)), reason: None });
        work.exports = vec!["/home/ada/codex-export".to_owned()];
        let mut old = login(Some("old"), "bob@example.com (plus)", LoginHealth::Poisoned, -2_880);
        old.reason =
            Some("the refresh token was already used, by a program that did not save the new one".to_owned());
        old.hints = vec!["log in again: codex login".to_owned()];
        model.logins = vec![work, old];
        model.add_event(EventRow {
            time: "2027-01-15 07:59:00".to_owned(),
            account: Some("work".to_owned()),
            what: "refreshed".to_owned(),
            details: "by codex (pid 812)".to_owned(),
            tone: Tone::Good,
        });
        model
    }

    fn press_all(model: &mut Model, keys: &str) {
        for key in keys.chars() {
            let code = match key {
                '\n' => KeyCode::Enter,
                '\t' => KeyCode::Tab,
                '↓' => KeyCode::Down,
                letter => KeyCode::Char(letter),
            };
            let _ = press(model, KeyEvent::new(code, KeyModifiers::NONE));
        }
    }

    fn drawn(model: &Model, look: Look, (width, height): (u16, u16)) -> Terminal<TestBackend> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal
            .draw(|frame| {
                draw(model, look, frame.area(), frame.buffer_mut());
            })
            .unwrap();
        terminal
    }

    fn text(model: &Model, look: Look, size: (u16, u16)) -> String {
        let terminal = drawn(model, look, size);
        let buffer = terminal.backend().buffer();
        let rows = (0..size.1).map(|y| (0..size.0).map(|x| buffer[(x, y)].symbol()).collect::<String>());
        // The first column is empty, which a snapshot would not show.
        rows.map(|row| format!("|{}", row.trim_end())).collect::<Vec<_>>().join("\n")
    }

    fn bottom(model: &Model) -> String {
        text(model, DARK, (80, 24)).lines().skip(20).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_window_of_80x24_shows_all_logins_and_the_selected_one_in_full() {
        let mut model = model();
        insta::assert_snapshot!(text(&model, DARK, (80, 24)), @r"
        | codex top  /home/ada/.codex
        |
        |   ACCOUNT  LOGIN                   STATE     EXPIRES        STORE
        | ▸ work *   ada@example.com (pro)   usable    in 3 h 12 min  file
        |   old      bob@example.com (plus)  poisoned  48 min ago     file
        |
        | ── work, ada@example.com (pro) (active) ──────────────────────────────────────
        | state      usable
        | stored in  file store, /home/ada/.codex/auth.json
        | workspace  acct-1
        | programs   codex (pid 4711), codex (pid 4712)
        | keeper     pid 812, refreshes in 2 h 46 min
        | exports    /home/ada/codex-export
        | ── events ────────────────────────────────────────────────────────────────────
        | 07:59:00     work        refreshed         by codex (pid 812)
        |
        |
        |
        |
        |
        |
        | ──────────────────────────────────────────────────────────────────────────────
        | > type / for a command
        | ↑↓ select   /login  /logout  /refresh  /why  /quit   Tab completes, q quits
        ");
        press_all(&mut model, "↓");
        insta::assert_snapshot!(text(&model, DARK, (80, 24)), @r"
        | codex top  /home/ada/.codex
        |
        |   ACCOUNT  LOGIN                   STATE     EXPIRES        STORE
        |   work *   ada@example.com (pro)   usable    in 3 h 12 min  file
        | ▸ old      bob@example.com (plus)  poisoned  48 min ago     file
        |
        | ── old, bob@example.com (plus) ───────────────────────────────────────────────
        | state      poisoned: the refresh token was already used, by a program that did
        |            not save the new one
        | hint       log in again: /login
        | stored in  file store, /home/ada/.codex/auth.json
        | programs   none
        | keeper     none is running
        | exports    none
        | ── events ────────────────────────────────────────────────────────────────────
        | 07:59:00     work        refreshed         by codex (pid 812)
        |
        |
        |
        |
        |
        | ──────────────────────────────────────────────────────────────────────────────
        | > type / for a command
        | ↑↓ select   /login  /logout  /refresh  /why  /quit   Tab completes, q quits
        ");
    }

    #[test]
    fn a_typed_command_is_completed_and_a_logout_is_confirmed() {
        let mut model = model();
        press_all(&mut model, "/l");
        insta::assert_snapshot!(bottom(&model), @r"
        | ──────────────────────────────────────────────────────────────────────────────
        | > /l
        | ▸ /login   Log in: to the selected account, or again
        |   /logout  Log out: revoke the tokens and remove the login
        ");
        press_all(&mut model, "↓\t\n");
        insta::assert_snapshot!(bottom(&model), @r"
        | ──────────────────────────────────────────────────────────────────────────────
        | Log out of work, ada@example.com (pro)? Its tokens are revoked, so no program
        | can use them any more, and the login is removed. 2 programs use it now.
        | y yes   n no (Enter, Esc)
        ");
        press_all(&mut model, "n");
        assert!(text(&model, DARK, (80, 24)).contains("not confirmed; nothing was changed"));
    }

    #[test]
    fn a_logout_asks_again_if_another_login_has_taken_the_place_of_the_one_it_named() {
        let mut model = model();
        press_all(&mut model, "/logout\n");
        assert!(bottom(&model).contains("Log out of work, ada@example.com (pro)?"));
        model.logins[0].who = "eve@example.com (plus)".to_owned();
        let yes = KeyEvent::new(KeyCode::Char('y'), KeyModifiers::NONE);
        assert!(matches!(press(&mut model, yes), KeyEffect::Draw));
        assert!(bottom(&model).contains("Log out of work, eve@example.com (plus)?"));
        assert!(matches!(press(&mut model, yes), KeyEffect::Run(_)));
    }

    #[test]
    fn a_long_report_leaves_room_for_the_logins_and_can_be_scrolled() {
        let mut model = model();
        let mut report = Report { is_running: false, ..Report::running("/refresh work".to_owned()) };
        for number in 1..=30 {
            report.add(ScreenLine { kind: LineKind::Hint, text: format!("line {number}") });
        }
        model.report = Some(report);
        insta::assert_snapshot!(text(&model, DARK, (80, 24)), @r"
        | codex top  /home/ada/.codex
        |
        |   ACCOUNT  LOGIN                   STATE     EXPIRES        STORE
        | ▸ work *   ada@example.com (pro)   usable    in 3 h 12 min  file
        |   old      bob@example.com (plus)  poisoned  48 min ago     file
        |
        | ── work, ada@example.com (pro) (active) ──────────────────────────────────────
        | state      usable
        | stored in  file store, /home/ada/.codex/auth.json
        | workspace  acct-1
        | programs   codex (pid 4711), codex (pid 4712)
        | keeper     pid 812, refreshes in 2 h 46 min
        | exports    /home/ada/codex-export
        | ── events ────────────────────────────────────────────────────────────────────
        | 07:59:00     work        refreshed         by codex (pid 812)
        | ── /refresh work ────────────────────────────────────── PgUp PgDn  Esc closes
        | hint: line 1
        | hint: line 2
        | hint: line 3
        | hint: line 4
        | hint: line 5
        | ──────────────────────────────────────────────────────────────────────────────
        | > type / for a command
        | ↑↓ select   /login  /logout  /refresh  /why  /quit   Tab completes, q quits
        ");
        let _ = press(&mut model, KeyEvent::new(KeyCode::PageDown, KeyModifiers::NONE));
        assert!(!text(&model, DARK, (80, 24)).contains("line 5\n"));
    }

    #[test]
    fn a_small_window_says_so_and_no_size_is_a_panic() {
        let model = model();
        insta::assert_snapshot!(text(&model, DARK, (50, 4)), @r"
        | this window has 50x4 characters; the dashboard
        | needs 60x18
        |
        |
        ");
        for width in [1, 2, 10, 59, 60, 61, 79, 200] {
            for height in [1, 2, 3, 17, 18, 19, 60] {
                drawn(&model, DARK, (width, height));
            }
        }
    }

    #[test]
    fn without_colours_no_cell_has_one_and_without_unicode_all_is_ascii() {
        let mut model = model();
        press_all(&mut model, "/l");
        let plain = drawn(&model, Look { is_coloured: false, is_unicode: false }, (80, 24));
        let cells = &plain.backend().buffer().content;
        assert!(cells.iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset));
        assert!(cells.iter().all(|cell| cell.symbol().is_ascii()));
        let coloured = drawn(&model, DARK, (80, 24));
        let cells = &coloured.backend().buffer().content;
        // The background is that of the terminal, which may be light or dark.
        assert!(cells.iter().all(|cell| cell.bg == Color::Reset));
        let used = |colour| cells.iter().any(|cell| cell.fg == colour);
        assert!(used(Color::Green) && used(Color::Red) && !used(Color::White) && !used(Color::Black));
    }

    #[test]
    fn pasted_text_is_one_line_and_only_after_a_slash() {
        let mut model = model();
        paste(&mut model, "sk-secret");
        assert_eq!(model.prompt.line(), "");
        paste(&mut model, "/refresh\u{1b}[2J\n/logout\n");
        assert_eq!(model.prompt.line(), "/refresh[2J");
    }
}
