//! What a client of the app-server sends: however the bytes arrive the same lines are read, and no line is read in two ways.
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
            is_read_in_one_way(&line);
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

fn is_read_in_one_way(line: &[u8]) {
    match Message::read(line) {
        Ok(Message::Request { method, .. }) => {
            let moved = message::with_id(line, &RequestId::number(42)).expect("a request has an id");
            let Ok(Message::Request { id, method: same, .. }) = Message::read(&moved) else {
                panic!("another id makes it no other message")
            };
            assert_eq!((id.as_number(), same), (Some(42), method));
        }
        Ok(Message::Answer { id, .. }) => {
            let moved = message::with_id(line, &RequestId::number(42)).expect("an answer has an id");
            assert_eq!(message::with_id(&moved, &id).expect("it still has one"), line);
        }
        Ok(Message::Notification { .. }) => {}
        Err(malformed) => {
            let refusal = RpcError { code: malformed.code, message: malformed.problem.to_owned() };
            let told = message::error(malformed.id.as_ref(), &refusal);
            serde_json::from_slice::<Value>(&told).expect("a refusal is JSON, whatever was refused");
        }
    }
}
