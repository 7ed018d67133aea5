//! Draws the dashboard: a pure function of the model to a buffer of cells.

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use super::details;
use super::look::{Look, Tone, columns, wrap};
use super::model::{EventRow, LoginRow, Model};
use super::moments::relative;
use super::times::clock_time;

/// The smallest window in which the dashboard is of use.
const MIN_WIDTH: u16 = 60;
const MIN_HEIGHT: u16 = 18;
/// The space left and right of all text.
const MARGIN: u16 = 1;
/// The lines that the events keep while a report is shown, if there is room.
const MIN_EVENTS: u16 = 3;
const GAP: usize = 2;

/// A text with its tone.
pub(super) type Piece = (String, Tone);

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
        let title = model.login().map(LoginRow::title).unwrap_or_default();
        canvas.rule(y, &title);
        for (line, y) in details.iter().zip(y + 1..) {
            canvas.line(y, line);
        }
        y += details_height;
    }
    let left = bottom.saturating_sub(y);
    let events_height = if wanted == 0 { left } else { left.saturating_sub(wanted).max(MIN_EVENTS.min(left / 3)) };
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
    let text = format!("this window has {width}x{height} characters; the dashboard needs {MIN_WIDTH}x{MIN_HEIGHT}");
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
    let or_dash = |text: &str| if text.is_empty() { ("-".to_owned(), Tone::Faint) } else { (text.to_owned(), Tone::Plain) };
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
        canvas.line(y, &event_line(event, has_names));
    }
}

fn event_line(event: &EventRow, has_names: bool) -> Vec<Piece> {
    let mut pieces = vec![(format!("{}  ", clock_time(event.at)), Tone::Faint)];
    if has_names {
        let name = event.account.as_deref().unwrap_or("-");
        pieces.push((format!("{name:<12}  "), Tone::Plain));
    }
    pieces.push((format!("{:<15}  ", event.what), event.tone));
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
        let keys = keys.iter().flat_map(|(key, what)| {
            [((*key).to_owned(), Tone::Strong), ((*what).to_owned(), Tone::Plain)]
        });
        canvas.line(area.bottom() - 1, &keys.collect::<Vec<_>>());
        return (None, top);
    }
    let (suggestions, highlighted) = model.prompt.suggestions();
    let shown = suggestions.len().min(5);
    let height = 2 + u16::try_from(shown).unwrap_or_default().max(1);
    let top = area.bottom() - height;
    canvas.rule(top, "");
    let line = model.prompt.line();
    let written = if line.is_empty() { ("type / for a command".to_owned(), Tone::Faint) } else { (line.to_owned(), Tone::Plain) };
    canvas.line(top + 1, &[("> ".to_owned(), Tone::Strong), written]);
    let first = (highlighted + 1).saturating_sub(shown);
    for (at, (suggestion, y)) in suggestions.iter().enumerate().skip(first).take(shown).zip(top + 2..).map(|((at, suggestion), y)| (at, (suggestion, y))) {
        let is_marked = at == highlighted;
        let marker = if is_marked { canvas.look.marker() } else { "" };
        let tone = if is_marked { Tone::Strong } else { Tone::Plain };
        let pieces =
            [(format!("{marker:<GAP$}"), Tone::Strong), (format!("{:<12}  ", suggestion.word), tone), (suggestion.about.clone(), Tone::Faint)];
        canvas.line(y, &pieces);
    }
    if shown == 0 {
        let select = if model.logins.len() > 1 { format!("{} select   ", canvas.look.arrows()) } else { String::new() };
        let keys = "/login  /logout  /refresh  /quit";
        canvas.line(top + 2, &[(format!("{select}{keys}   Tab completes, q quits"), Tone::Faint)]);
    }
    let column = columns(model.prompt.before_cursor()).min(canvas.width().saturating_sub(2));
    let x = area.x + MARGIN + 2 + u16::try_from(column).unwrap_or_default();
    (Some(Position { x, y: top + 1 }), top)
}
