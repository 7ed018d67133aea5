//! What the keys do.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::actions::on_screen;
use super::look::wrap;
use super::model::{LoginRow, Model, Report};
use super::prompt::Question;
use super::slash::{SlashCommand, SlashLine};
use crate::screen_line::{LineKind, ScreenLine};

/// The lines by which Page Up and Page Down scroll.
const PAGE: usize = 5;
/// The columns of a report in the narrowest window.
const NARROWEST: usize = 50;

/// What the program does after a key.
#[derive(Debug)]
pub(super) enum KeyEffect {
    /// Draws the screen again.
    Draw,
    Quit,
    /// Stops, as Ctrl-Z asks.
    Stop,
    /// Runs a command, which was confirmed where that is needed.
    Run(SlashLine),
}

/// Handles a key.
pub(super) fn press(model: &mut Model, key: KeyEvent) -> KeyEffect {
    let has_control = key.modifiers.contains(KeyModifiers::CONTROL);
    if has_control && key.code == KeyCode::Char('z') {
        return KeyEffect::Stop;
    }
    if let Some(question) = model.prompt.question.take() {
        return answer(model, question, key, has_control);
    }
    let accounts: Vec<_> = model.logins.iter().filter_map(|login| login.name.clone()).collect();
    let has_line = !model.prompt.line().is_empty();
    let prompt = &mut model.prompt;
    match (key.code, has_control) {
        (KeyCode::Char('c' | 'd'), true) if has_line => drop(prompt.take()),
        (KeyCode::Char('c' | 'd'), true) => return KeyEffect::Quit,
        (KeyCode::Char('w'), true) => prompt.delete_word(&accounts),
        (KeyCode::Char('u'), true) => drop(prompt.take()),
        (KeyCode::Char('a'), true) | (KeyCode::Home, _) => prompt.move_to_start(),
        (KeyCode::Char('e'), true) | (KeyCode::End, _) => prompt.move_to_end(),
        (KeyCode::Char('q'), false) if !has_line => return KeyEffect::Quit,
        (KeyCode::Char(letter), false) if has_line || letter == '/' => prompt.insert(letter, &accounts),
        (KeyCode::Backspace, _) => prompt.delete_back(&accounts),
        (KeyCode::Delete, _) => prompt.delete(&accounts),
        (KeyCode::Left, _) => prompt.left(),
        (KeyCode::Right, _) => prompt.right(),
        (KeyCode::Tab, _) => prompt.complete(&accounts),
        (KeyCode::Up, _) => up_or_down(model, -1),
        (KeyCode::Down, _) => up_or_down(model, 1),
        (KeyCode::PageUp, _) => scroll(model, |line| line.saturating_sub(PAGE)),
        (KeyCode::PageDown, _) => scroll(model, |line| line.saturating_add(PAGE)),
        (KeyCode::Esc, _) if has_line => drop(prompt.take()),
        (KeyCode::Esc, _) => model.report = model.report.take().filter(|report| report.is_running),
        (KeyCode::Enter, _) if has_line => return enter(model, &accounts),
        _ => {}
    }
    KeyEffect::Draw
}

/// Writes pasted text into the line, to its first line break.
pub(super) fn paste(model: &mut Model, text: &str) {
    let accounts: Vec<_> = model.logins.iter().filter_map(|login| login.name.clone()).collect();
    let line = text.lines().next().unwrap_or_default();
    if model.prompt.question.is_none() && (line.starts_with('/') || !model.prompt.line().is_empty()) {
        line.chars().for_each(|letter| model.prompt.insert(letter, &accounts));
    }
}

/// Moves through the suggestions, or else selects another login.
fn up_or_down(model: &mut Model, step: isize) {
    if model.prompt.line().is_empty() {
        let last = model.logins.len().saturating_sub(1);
        model.selected = model.selected.saturating_add_signed(step).min(last);
    } else {
        model.prompt.highlight(step);
    }
}

fn scroll(model: &mut Model, to: impl Fn(usize) -> usize) {
    if let Some(report) = &mut model.report {
        // In the narrowest window; drawing stops at the end of what is shown.
        let rows = report.lines.iter().map(|line| wrap(&line.text, NARROWEST).len()).sum();
        report.scroll = to(report.scroll).min(rows);
    }
}

fn enter(model: &mut Model, accounts: &[String]) -> KeyEffect {
    let typed = model.prompt.line().to_owned();
    let (suggestions, _) = model.prompt.suggestions();
    if !typed.contains(' ') && suggestions.len() > 1 {
        // Several commands begin like this.
        model.prompt.complete(accounts);
        return KeyEffect::Draw;
    }
    if model.report.as_ref().is_some_and(|report| report.is_running) {
        // The line stays, to be entered when the command has ended.
        return KeyEffect::Draw;
    }
    model.prompt.take();
    match SlashLine::parse(&typed) {
        Ok(line) => ask(model, line),
        Err(error) => {
            // A line that is wrong may hold a secret: it is not repeated.
            let mut report = Report { is_running: false, ..Report::running("command".to_owned()) };
            let hints = error.hints().iter().map(|hint| (LineKind::Hint, hint.clone()));
            for (kind, text) in [(LineKind::Error, error.to_string())].into_iter().chain(hints) {
                report.add(on_screen(&ScreenLine { kind, text }));
            }
            model.report = Some(report);
            KeyEffect::Draw
        }
    }
}

/// Asks before a command that cannot be undone.
fn ask(model: &mut Model, mut line: SlashLine) -> KeyEffect {
    if line.account.is_none() {
        line.account = model.login().and_then(|login| login.name.clone());
    }
    let SlashCommand::Logout(arguments) = &line.command else {
        return match line.command {
            SlashCommand::Quit => KeyEffect::Quit,
            _ => KeyEffect::Run(line),
        };
    };
    let login = model.logins.iter().find(|login| login.name == line.account);
    let what = match login {
        _ if arguments.all => "every login of this home".to_owned(),
        Some(login) => login.title(),
        None => line.account.clone().unwrap_or_else(|| "the login".to_owned()),
    };
    let programs = if arguments.all {
        model.logins.iter().map(|login| login.programs.len()).sum()
    } else {
        login.map_or(0, |login| login.programs.len())
    };
    let effect = match (arguments.force, arguments.local) {
        (_, true) => "The login is removed from this machine; its tokens stay valid until they expire.",
        (true, _) => "The login is removed from this machine, also if its tokens cannot be revoked.",
        _ => "Its tokens are revoked, so no program can use them any more, and the login is removed.",
    };
    let users = match programs {
        0 => String::new(),
        1 => " 1 program uses it now.".to_owned(),
        count => format!(" {count} programs use it now."),
    };
    let text = format!("Log out of {what}? {effect}{users}");
    model.prompt.question = Some(Question { text, logins: affected(model, &line), command: line });
    KeyEffect::Draw
}

/// Returns the logins that a logout ends, as they are shown.
fn affected(model: &Model, line: &SlashLine) -> Vec<String> {
    let is_all = matches!(&line.command, SlashCommand::Logout(arguments) if arguments.all);
    let affected = model.logins.iter().filter(|login| is_all || login.name == line.account);
    affected.map(LoginRow::title).collect()
}

fn answer(model: &mut Model, question: Question, key: KeyEvent, has_control: bool) -> KeyEffect {
    match (key.code, has_control) {
        // Another login may have taken the place of the one that was named.
        (KeyCode::Char('y' | 'Y'), false) if affected(model, &question.command) != question.logins => {
            ask(model, question.command)
        }
        (KeyCode::Char('y' | 'Y'), false) => KeyEffect::Run(question.command),
        (KeyCode::Char('n' | 'N'), false)
        | (KeyCode::Esc | KeyCode::Enter, _)
        | (KeyCode::Char('c' | 'd'), true) => {
            let mut report = Report { is_running: false, ..Report::running("/logout".to_owned()) };
            report.add(ScreenLine {
                kind: LineKind::Text,
                text: "not confirmed; nothing was changed".to_owned(),
            });
            model.report = Some(report);
            KeyEffect::Draw
        }
        _ => {
            model.prompt.question = Some(question);
            KeyEffect::Draw
        }
    }
}
