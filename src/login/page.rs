//! The pages that a browser is shown at the end of a login: one document each, with nothing fetched and no script.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::StatusCode;
use sha2::{Digest as _, Sha256};

const STYLE: &str = include_str!("page.css");
const CHECK: &str = "<path d=\"M5 13l4.5 4.5L19 7\"/>";
const MARK: &str = "<path d=\"M12 5v8.5M12 18.5v.01\"/>";
/// What to do after anything that ends a login without success.
const AGAIN: &str = "Nothing was changed on your machine: whoever was signed in still is. \
                     Go back to where you started, and sign in once more.";
/// What to do after a request that has nothing to do with the login that waits.
const WAITING: &str =
    "The sign-in that was started is still waiting. Finish it in the tab where it began, or start again.";

/// A page, and the status that it goes out under.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) status: StatusCode,
    pub(super) html: String,
}

/// What the pages may do: be shown, in this one style.
pub(super) fn content_security_policy() -> String {
    let style = STANDARD.encode(Sha256::digest(STYLE));
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

/// The login is kept.
pub(super) fn success() -> Page {
    let body = "<p>You can close this tab and go back to what you were doing.</p>\
                <footer>The sign-in is kept on this machine, for every program here that shares it.</footer>";
    page(StatusCode::OK, "You are signed in", "good", CHECK, body)
}

/// The login did not come about, and `what` says why in one line.
pub(super) fn failure(what: &str) -> Page {
    let what = escaped(&sentence(what));
    let body = format!("<p class=\"what\">{what}</p><p>{AGAIN}</p>");
    page(StatusCode::BAD_REQUEST, "The sign-in did not succeed", "bad", MARK, &body)
}

/// A callback of another login.
pub(super) fn stranger() -> Page {
    let what = "This page belongs to another sign-in than the one that is waiting here, so nothing was done.";
    refusal(StatusCode::BAD_REQUEST, "Not the sign-in that was started", what)
}

/// A callback when one has come already.
pub(super) fn late() -> Page {
    let what = "Another tab was first, and the sign-in is being completed there.";
    refusal(StatusCode::CONFLICT, "Already taken care of", what)
}

/// Another login of the same place has taken over.
pub(super) fn yielded() -> Page {
    refusal(
        StatusCode::OK,
        "This sign-in has ended",
        "Another one was started on this machine and has taken over.",
    )
}

/// An address that is none.
pub(super) fn nothing_here() -> Page {
    refusal(StatusCode::NOT_FOUND, "Nothing here", "There is no page at this address.")
}

/// A request that was sent to another machine by its name.
pub(super) fn misdirected() -> Page {
    let what =
        "This address is only for a browser on the machine itself, by the name localhost or 127.0.0.1.";
    refusal(StatusCode::MISDIRECTED_REQUEST, "Not for this address", what)
}

/// A request that is no visit.
pub(super) fn wrong_method() -> Page {
    refusal(
        StatusCode::METHOD_NOT_ALLOWED,
        "Not understood",
        "This address can be visited, and nothing else.",
    )
}

fn refusal(status: StatusCode, title: &str, what: &str) -> Page {
    page(status, title, "bad", MARK, &format!("<p>{what}</p><p>{WAITING}</p>"))
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

/// A message as a sentence: a capital at its beginning, and a full stop.
fn sentence(message: &str) -> String {
    let mut letters = message.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
    let sentence = format!("{first}{}", letters.as_str());
    if sentence.ends_with(['.', '!', '?']) { sentence } else { sentence + "." }
}

/// Text made harmless inside HTML.
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
        for page in [success(), failure("no"), stranger(), late(), yielded(), nothing_here(), misdirected()] {
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
