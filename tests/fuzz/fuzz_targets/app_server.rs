//! Input of an app-server client: the lines do not depend on the chunk size, and replacing an id changes nothing else.
#![no_main]

use std::io::{BufReader, Cursor};

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tokio::runtime::Builder;

use self::lines::{InputLine, LineLimit};
use self::message::{Message, RequestId, RpcError};

#[path = "../../../src/bin/codex/app_server/lines.rs"]
#[allow(dead_code, reason = "only the reader is of interest")]
mod lines;
#[path = "../../../src/bin/codex/app_server/message.rs"]
#[allow(dead_code, reason = "only the reader is of interest")]
mod message;
#[path = "../../../src/bin/codex/app_server/queue.rs"]
#[allow(dead_code, reason = "only the reader is of interest")]
mod queue;

fuzz_target!(|input: (u8, u8, &[u8])| {
    let (chunk, limit, bytes) = input;
    let limit = usize::from(limit) * 8;
    let read = lines_of(bytes, usize::from(chunk) + 1, limit);
    let expected: Vec<_> = bytes
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.trim_ascii().is_empty() || line.len() > limit)
        .map(|line| if line.len() > limit { InputLine::TooLong } else { InputLine::Whole(line.to_vec()) })
        .collect();
    assert_eq!(read, expected);
    for line in read {
        if let InputLine::Whole(line) = line {
            check_message(&line);
        }
    }
});

fn lines_of(bytes: &[u8], chunk: usize, limit: usize) -> Vec<InputLine> {
    let input = BufReader::with_capacity(chunk, Cursor::new(bytes.to_vec()));
    let runtime = Builder::new_current_thread().build().expect("a runtime");
    let _entered = runtime.enter();
    let mut lines = lines::read("fuzz", input, LineLimit::new(limit)).expect("a thread");
    std::iter::from_fn(|| lines.recv_blocking().map(|(line, _)| line)).collect()
}

fn check_message(line: &[u8]) {
    match Message::read(line) {
        Ok(Message::Request { method, .. }) => {
            let moved = message::with_id(line, &RequestId::number(42)).expect("a request has an id");
            let Ok(Message::Request { id, method: same, .. }) = Message::read(&moved) else {
                panic!("it is still a request")
            };
            assert_eq!((id.as_number(), same), (Some(42), method));
        }
        Ok(Message::Response { id, .. }) => {
            let moved = message::with_id(line, &RequestId::number(42)).expect("a response has an id");
            assert_eq!(message::with_id(&moved, &id).expect("it still has one"), line);
        }
        Ok(Message::Notification { .. }) => {}
        Err(malformed) => {
            let error = RpcError { code: malformed.code, message: malformed.problem.to_owned() };
            let response = message::error_response(malformed.id.as_ref(), &error);
            serde_json::from_slice::<Value>(&response).expect("every error response is JSON");
        }
    }
}
