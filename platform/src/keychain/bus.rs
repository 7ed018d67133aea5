//! A connection to the session bus, and calls over it.

use serde::Serialize;
use serde::de::DeserializeOwned;
use zbus::blocking::{Connection, MessageIterator};
use zbus::message::{Flags, Message, Type as MessageType};
use zbus::zvariant::{DynamicType, Type};

/// Whether a call may start a service that is not running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ServiceStart {
    Allowed,
    Forbidden,
}

/// The object and method of a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Method<'a> {
    pub(super) destination: &'a str,
    pub(super) path: &'a str,
    pub(super) interface: &'a str,
    pub(super) name: &'a str,
}

/// A reply, and the unique bus name of the process that sent it.
#[derive(Debug)]
pub(super) struct Reply<R> {
    pub(super) value: R,
    pub(super) sender: String,
}

/// Connects to the bus of this session.
///
/// # Panics
/// If the system cannot start another thread. [`std::panic::catch_unwind`] can catch this panic: unwinding does not
/// abort the process.
pub(super) fn session() -> zbus::Result<Connection> {
    // zbus uses async-io, whose first use starts a thread and panics if it cannot. Nothing exists here yet whose drop
    // would use async-io again: a second panic would abort the process.
    async_io::block_on(async {});
    Connection::session()
}

/// Calls a method and waits for its reply. `zbus` offers no call with flags that also names the sender of the reply.
pub(super) fn call<B, R>(
    bus: &Connection,
    method: Method<'_>,
    body: &B,
    start: ServiceStart,
) -> zbus::Result<Reply<R>>
where
    B: Serialize + DynamicType,
    R: DeserializeOwned + Type,
{
    let mut call = Message::method_call(method.path, method.name)?
        .destination(method.destination)?
        .interface(method.interface)?;
    if start == ServiceStart::Forbidden {
        call = call.with_flags(Flags::NoAutoStart)?;
    }
    let call = call.build(body)?;
    let serial = call.primary_header().serial_num();
    // Subscribes before sending, so that the reply cannot be missed.
    let messages = MessageIterator::from(bus);
    bus.send(&call)?;
    for message in messages {
        let message = message?;
        if message.header().reply_serial() != Some(serial) {
            continue;
        }
        return match message.message_type() {
            MessageType::Error => Err(message.into()),
            _ => Ok(Reply {
                value: message.body().deserialize()?,
                sender: message.header().sender().map(ToString::to_string).unwrap_or_default(),
            }),
        };
    }
    Err(zbus::Error::InputOutput(std::sync::Arc::new(std::io::ErrorKind::ConnectionReset.into())))
}
