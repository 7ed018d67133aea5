//! The pages of a browser login: self-contained HTML without scripts.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::StatusCode;
use sha2::{Digest as _, Sha256};

const STYLE: &str = include_str!("page.css");
const CHECK: &str = "<path d=\"M5 13l4.5 4.5L19 7\"/>";
const EXCLAMATION: &str = "<path d=\"M12 5v8.5M12 18.5v.01\"/>";
/// The advice after a failed login.
const RETRY: &str = "Nothing was changed on your machine. \
                     Go back to where you started, and sign in again.";
/// The advice on a page that does not concern the waiting login.
const WAITING: &str =
    "The sign-in that was started is still waiting. Finish it in the tab where it began, or start again.";

/// A page and its status.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) status: StatusCode,
    pub(super) html: String,
}

/// Returns a policy that allows the one style and nothing else.
pub(super) fn content_security_policy() -> String {
    let style = STANDARD.encode(Sha256::digest(STYLE));
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

/// The login is stored.
pub(super) fn success() -> Page {
    let body = "<p>You can close this tab and go back to what you were doing.</p>\
                <footer>The sign-in is stored on this machine, for every program that shares it.</footer>";
    page(StatusCode::OK, "You are signed in", "good", CHECK, body)
}

/// The login failed; `what` is a one-line reason.
pub(super) fn failure(what: &str) -> Page {
    let what = escaped(&sentence(what));
    let body = format!("<p class=\"what\">{what}</p><p>{RETRY}</p>");
    page(StatusCode::BAD_REQUEST, "The sign-in did not succeed", "bad", EXCLAMATION, &body)
}

/// A callback with another state.
pub(super) fn other_login() -> Page {
    let what = "This page belongs to another sign-in than the one that is waiting, so it was ignored.";
    refusal(StatusCode::BAD_REQUEST, "Another sign-in", what)
}

/// A callback after another was accepted.
pub(super) fn late() -> Page {
    let what = "Another tab was first, and the sign-in is being completed there.";
    refusal(StatusCode::CONFLICT, "Already in progress", what)
}

/// A later login of the same home has taken over.
pub(super) fn yielded() -> Page {
    refusal(
        StatusCode::OK,
        "This sign-in has ended",
        "Another one was started on this machine and has taken over.",
    )
}

/// An unknown path.
pub(super) fn not_found() -> Page {
    refusal(StatusCode::NOT_FOUND, "Not found", "There is no page at this address.")
}

/// A request of another user of this machine.
pub(super) fn other_user() -> Page {
    let what = "This login belongs to another user of this machine.";
    refusal(StatusCode::FORBIDDEN, "Not your login", what)
}

/// A request whose `Host` is not this machine.
pub(super) fn misdirected() -> Page {
    let what = "Open this address on the machine itself, as localhost or 127.0.0.1.";
    refusal(StatusCode::MISDIRECTED_REQUEST, "Not for this address", what)
}

/// A method other than GET.
pub(super) fn wrong_method() -> Page {
    refusal(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed", "This address accepts GET requests only.")
}

fn refusal(status: StatusCode, title: &str, what: &str) -> Page {
    page(status, title, "bad", EXCLAMATION, &format!("<p>{what}</p><p>{WAITING}</p>"))
}

fn page(status: StatusCode, title: &str, class: &str, sign: &str, body: &str) -> Page {
    let html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"robots\" content=\"noindex\">\n<title>{title} · Codex</title>\n<style>{STYLE}</style>\n\
         </head>\n<body>\n<main class=\"{class}\">\n\
         <div class=\"sign\" aria-hidden=\"true\"><svg viewBox=\"0 0 24 24\" focusable=\"false\">{sign}</svg></div>\n\
         <h1>{title}</h1>\n{body}\n</main>\n</body>\n</html>\n"
    );
    Page { status, html }
}

/// Turns a message into a sentence: upper-case first letter, full stop.
fn sentence(message: &str) -> String {
    let mut letters = message.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
    let sentence = format!("{first}{}", letters.as_str());
    if sentence.ends_with(['.', '!', '?']) { sentence } else { sentence + "." }
}

/// Escapes text for HTML.
fn escaped(text: &str) -> String {
    let mut harmless = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => harmless.push_str("&amp;"),
            '<' => harmless.push_str("&lt;"),
            '>' => harmless.push_str("&gt;"),
            '"' => harmless.push_str("&quot;"),
            '\'' => harmless.push_str("&#39;"),
            letter => harmless.push(letter),
        }
    }
    harmless
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn render_login_error_page_escapes_dynamic_fields() {
        let page = failure("<script>alert('x')</script> & \"more\"");
        assert!(!page.html.contains("<script"), "{}", page.html);
        assert!(
            page.html.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &quot;more&quot;.")
        );
    }

    #[test]
    fn a_page_fetches_nothing_and_runs_nothing() {
        for page in [
            success(),
            failure("no"),
            other_login(),
            late(),
            yielded(),
            not_found(),
            misdirected(),
            other_user(),
        ] {
            for way_out in
                ["<script", "<link", "<img", "<iframe", "<form", "http:", "https:", "url(", "@import"]
            {
                assert!(!page.html.contains(way_out), "{way_out} in {}", page.html);
            }
            assert!(page.html.contains("<html lang=\"en\">") && page.html.matches("<h1>").count() == 1);
            assert!(page.html.len() < 6_000, "{}", page.html.len());
        }
    }

    #[test]
    fn the_policy_allows_the_style_of_the_pages_and_no_other() {
        let page = success();
        let style = page.html.split_once("<style>").unwrap().1.split_once("</style>").unwrap().0;
        let digest = STANDARD.encode(Sha256::digest(style));
        assert!(content_security_policy().contains(&format!("'sha256-{digest}'")));
        assert!(content_security_policy().starts_with("default-src 'none'"));
    }
}
