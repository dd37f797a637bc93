//! The envelope: requests, notifications, answers.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::RpcError;

/// What a request is known by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Id {
    /// A number.
    Number(i64),
    /// A number that needs the last bit.
    Unsigned(u64),
    /// A text.
    Text(String),
}

impl Id {
    /// What is answered where the message has no id that could be understood.
    pub const UNKNOWN: Self = Self::Number(-1);
}

impl fmt::Display for Id {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(formatter),
            Self::Unsigned(number) => number.fmt(formatter),
            Self::Text(text) => write!(formatter, "{text:?}"),
        }
    }
}

/// A message that has come, its parameters not yet looked at.
#[derive(Clone, Debug)]
pub enum Incoming {
    /// Wants an answer.
    Request {
        /// Its id.
        id: Id,
        /// What is asked for.
        method: String,
        /// Nothing where there are none.
        params: Option<Box<RawValue>>,
    },
    /// Wants none.
    Notification {
        /// What is told.
        method: String,
        /// Nothing where there are none.
        params: Option<Box<RawValue>>,
    },
    /// Answers a request of ours.
    Answer {
        /// The request.
        id: Id,
        /// What came of it.
        reply: Reply,
    },
}

/// What comes of a request.
pub type Reply = Result<Box<RawValue>, RpcError>;

/// A message that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed message: {0}")]
pub struct Malformed(pub String);

/// Whether a member is there, which is not the same as being null.
#[derive(Deserialize)]
struct Envelope<'m> {
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'m RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    method: Option<&'m RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    params: Option<&'m RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'m RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    error: Option<&'m RawValue>,
}

/// A member that is there, null included.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

impl Incoming {
    /// Reads a message. What is around its parameters is checked, and these are valid JSON.
    ///
    /// # Errors
    ///
    /// [`Malformed`], in words for the peer.
    pub fn parse(message: &[u8]) -> Result<Self, Malformed> {
        let text = std::str::from_utf8(message).map_err(|error| Malformed(format!("not UTF-8: {error}")))?;
        if !text.trim_start().starts_with('{') {
            return Err(Malformed("not a JSON object".to_owned()));
        }
        let envelope: Envelope<'_> =
            serde_json::from_str(text).map_err(|error| Malformed(error.to_string()))?;
        let id = envelope.id.map(read_id).transpose()?;
        let params = envelope.params.filter(|params| params.get() != "null").map(ToOwned::to_owned);
        let method = envelope.method.map(|method| {
            serde_json::from_str::<String>(method.get())
                .map_err(|_other| Malformed("the member `method` is not a string".to_owned()))
        });
        match (method.transpose()?, id, envelope.result, envelope.error) {
            (Some(method), Some(id), _, _) => Ok(Self::Request { id, method, params }),
            (Some(method), None, _, _) => Ok(Self::Notification { method, params }),
            (None, Some(id), None, Some(error)) => {
                let error = serde_json::from_str(error.get())
                    .map_err(|error| Malformed(format!("the member `error`: {error}")))?;
                Ok(Self::Answer { id, reply: Err(error) })
            }
            (None, Some(id), Some(result), _) => Ok(Self::Answer { id, reply: Ok(result.to_owned()) }),
            (None, _, _, _) => {
                Err(Malformed("neither a request, nor a notification, nor an answer".to_owned()))
            }
        }
    }
}

fn read_id(id: &RawValue) -> Result<Id, Malformed> {
    serde_json::from_str(id.get())
        .map_err(|_other| Malformed("the member `id` is neither an integer nor a string".to_owned()))
}

#[derive(Serialize)]
struct Request<'m, P> {
    id: &'m Id,
    method: &'m str,
    params: P,
}

#[derive(Serialize)]
struct Notification<'m, P> {
    method: &'m str,
    params: P,
}

#[derive(Serialize)]
struct Result_<'m> {
    id: &'m Id,
    result: &'m RawValue,
}

#[derive(Serialize)]
struct Error_<'m> {
    id: &'m Id,
    error: &'m RpcError,
}

/// A request as text.
///
/// # Errors
///
/// Where the parameters have no form in JSON.
pub fn encode_request(id: &Id, method: &str, params: impl Serialize) -> serde_json::Result<String> {
    serde_json::to_string(&Request { id, method, params })
}

/// A notification as text.
///
/// # Errors
///
/// Where the parameters have no form in JSON.
pub fn encode_notification(method: &str, params: impl Serialize) -> serde_json::Result<String> {
    serde_json::to_string(&Notification { method, params })
}

/// An answer as text.
///
/// # Errors
///
/// Never, for what the types here can hold.
pub fn encode_reply(id: &Id, reply: &Reply) -> serde_json::Result<String> {
    match reply {
        Ok(result) => serde_json::to_string(&Result_ { id, result }),
        Err(error) => serde_json::to_string(&Error_ { id, error }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, proptest};

    use super::{Id, Incoming, RawValue, encode_reply, encode_request};
    use crate::protocol::RpcError;

    #[test]
    fn messages_are_told_apart() {
        let parse = |text: &str| Incoming::parse(text.as_bytes());
        assert!(matches!(
            parse(r#"{"jsonrpc":"2.0","id":1,"method":"m","params":null,"trace":{}}"#),
            Ok(Incoming::Request { id: Id::Number(1), params: None, .. })
        ));
        assert!(matches!(parse(r#" {"method":"m"}"#), Ok(Incoming::Notification { .. })));
        assert!(matches!(
            parse(r#"{"id":"a","result":null}"#),
            Ok(Incoming::Answer { reply: Ok(result), .. }) if result.get() == "null"
        ));
        assert!(matches!(
            parse(r#"{"id":18446744073709551615,"error":{"code":-1,"message":"no"}}"#),
            Ok(Incoming::Answer { id: Id::Unsigned(u64::MAX), reply: Err(_) })
        ));
        for text in [
            "",
            "x",
            "[]",
            "1",
            "null",
            "{}",
            r#"{"id":null,"method":"m"}"#,
            r#"{"id":1.5,"method":"m"}"#,
            r#"{"id":1,"method":2}"#,
            r#"{"id":[],"method":"m"}"#,
            r#"[{"id":1,"method":"m"}]"#,
            r#"{"id":1,"method":"m"} {}"#,
            r#"{"id":1,"id":2,"method":"m"}"#,
            r#"{"id":1,"error":3}"#,
            r#"{"id":1e400,"method":"m"}"#,
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(Incoming::parse(b"{\"method\":\"\xff\"}").is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(number in any::<i64>(), text in any::<String>(), method in any::<String>(), param in any::<String>()) {
            for id in [Id::Number(number), Id::Text(text.clone())] {
                let request = encode_request(&id, &method, [&param]).unwrap();
                assert!(!request.contains('\n'));
                let Ok(Incoming::Request { id: read, method: asked, params: Some(params) }) = Incoming::parse(request.as_bytes()) else { panic!("{request}") };
                assert_eq!((read, asked), (id.clone(), method.clone()));
                assert_eq!(serde_json::from_str::<Vec<String>>(params.get()).unwrap(), std::slice::from_ref(&param));
                let reply = encode_reply(&id, &Err(RpcError::invalid(param.clone()))).unwrap();
                let Ok(Incoming::Answer { id: read, reply: Err(error) }) = Incoming::parse(reply.as_bytes()) else { panic!("{reply}") };
                assert_eq!((read, error.message), (id.clone(), param.clone()));
                let result = RawValue::from_string("[1]".to_owned()).unwrap();
                let reply = encode_reply(&id, &Ok(result)).unwrap();
                assert!(matches!(Incoming::parse(reply.as_bytes()), Ok(Incoming::Answer { reply: Ok(_), .. })));
            }
        }

        #[test]
        fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            if let Err(malformed) = Incoming::parse(&bytes) {
                assert!(!malformed.to_string().is_empty());
            }
        }
    }
}
