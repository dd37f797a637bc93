//! What servers send, in any pieces.

use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use reqwest::header::{HeaderMap, HeaderName};
use serde_json::{Value, json};

use super::client::retry_after;
use super::error::ModelError;
use super::sse::{Event, Reader, TooLong};
use super::{Provider, ProviderError, chat, responses};
use crate::conversation::{Answer, Call, Item, Request, Usage};

fn events(bytes: &[u8], piece: usize) -> Vec<Event> {
    let mut reader = Reader::default();
    bytes.chunks(piece.max(1)).flat_map(|piece| reader.push(piece).unwrap()).collect()
}

#[test]
fn events_are_read_in_every_form() {
    let text = b"\xef\xbb\xbf: hello\r\nevent: a\r\ndata: 1\r\ndata:2\r\rdata\n\nid: 3\n\nevent: b\ndata: \xff\n\ndata: cut";
    let expected = [("a", "1\n2"), ("", ""), ("b", "\u{fffd}")]
        .map(|(event, data)| Event { event: event.into(), data: data.into() });
    for piece in 1..=text.len() {
        assert_eq!(events(text, piece), expected, "{piece}");
    }
}

#[test]
fn an_event_without_an_end_is_given_up() {
    let mut reader = Reader::new(10);
    assert_eq!(reader.push(b"data: 123"), Ok(Vec::new()));
    assert_eq!(reader.push(b"45"), Err(TooLong(10)));
}

proptest! {
    #[test]
    fn pieces_are_no_matter(
        text in prop::collection::vec(prop_oneof![
            Just(b"data: x".to_vec()), Just(b"event: y".to_vec()), Just(b"\n".to_vec()), Just(b"\r".to_vec()),
            Just(b"\r\n".to_vec()), prop::collection::vec(any::<u8>(), 0..6),
        ], 0..20),
        piece in 1_usize..9,
    ) {
        let text = text.concat();
        prop_assert_eq!(events(&text, piece), events(&text, usize::MAX));
    }
}

fn call(id: &str, name: &str, arguments: &str) -> Item {
    Item::Call(Call { call_id: id.into(), name: name.into(), arguments: arguments.into(), custom: false })
}

fn event(data: &Value) -> Event {
    Event { event: String::new(), data: data.to_string() }
}

#[test]
fn an_answer_of_the_responses_api() {
    let items = json!([
        { "type": "reasoning", "id": "r", "summary": [{ "type": "summary_text", "text": "hm" }], "encrypted_content": "e" },
        { "type": "message", "role": "assistant", "content": [{ "type": "output_text", "text": "hi" }] },
        { "type": "function_call", "id": "f", "call_id": "c", "name": "shell", "arguments": "{}" },
        { "type": "web_search_call" },
    ]);
    let usage = json!({
        "input_tokens": 5, "input_tokens_details": { "cached_tokens": 2 },
        "output_tokens": 3, "output_tokens_details": { "reasoning_tokens": 1 },
    });
    let expected = Answer {
        items: vec![
            Item::Reasoning { text: "hm".into(), opaque: Some(items[0].clone()) },
            Item::Assistant { text: "hi".into() },
            call("c", "shell", "{}"),
        ],
        usage: Some(Usage {
            input_tokens: 5,
            cached_input_tokens: 2,
            output_tokens: 3,
            reasoning_output_tokens: 1,
        }),
    };
    let mut assembly = responses::Assembly::default();
    for item in items.as_array().unwrap() {
        let done = json!({ "type": "response.output_item.done", "item": item });
        assert_eq!(assembly.take(&event(&done)), Ok(None));
    }
    let completed = |output: &Value| json!({ "type": "response.completed", "response": { "usage": usage, "output": output } });
    assert_eq!(assembly.take(&event(&completed(&json!([])))), Ok(Some(expected.clone())));
    // A server that lists them only at the end.
    assert_eq!(responses::Assembly::default().take(&event(&completed(&items))), Ok(Some(expected)));
}

#[test]
fn an_answer_of_the_chat_api_with_arguments_in_pieces() {
    let arguments = json!({ "cmd": "echo ä \"q\" \\" }).to_string();
    let mut assembly = chat::Assembly::default();
    let mut delta = |delta: Value| {
        assert_eq!(assembly.take(&event(&json!({ "choices": [{ "index": 0, "delta": delta }] }))), Ok(None));
    };
    delta(json!({ "role": "assistant", "content": "h" }));
    delta(json!({ "content": "i", "reasoning_content": "hm" }));
    delta(json!({ "tool_calls": [{ "index": 1, "id": "b", "function": { "name": "t", "arguments": "" } }] }));
    delta(json!({ "tool_calls": [{ "index": 0, "id": "a", "function": { "name": "s", "arguments": "" } }] }));
    for character in arguments.chars() {
        let piece = json!({ "arguments": character.to_string(), "name": "t" });
        delta(json!({ "tool_calls": [{ "index": 1, "function": piece }] }));
    }
    // Until the model says that it is done, nothing counts.
    assert_eq!(assembly.end(), None);
    let finish = json!({ "choices": [{ "delta": {}, "finish_reason": "tool_calls" }] });
    assert_eq!(assembly.take(&event(&finish)), Ok(None));
    let usage = json!({ "choices": [], "usage": { "prompt_tokens": 4, "completion_tokens": 2 } });
    assert_eq!(assembly.take(&event(&usage)), Ok(None));
    let answer = assembly.take(&Event { event: String::new(), data: "[DONE]".into() }).unwrap().unwrap();
    assert_eq!(
        answer.items,
        [
            Item::Reasoning { text: "hm".into(), opaque: None },
            Item::Assistant { text: "hi".into() },
            call("a", "s", ""),
            call("b", "t", &arguments),
        ]
    );
    assert_eq!(answer.usage.unwrap().total(), 6);
}

#[test]
fn calls_are_told_apart_whatever_their_indices() {
    for (first, second) in [(json!(0), json!(1)), (json!(0), json!(0)), (Value::Null, Value::Null)] {
        let mut assembly = chat::Assembly::default();
        let mut piece = |index: &Value, id: Option<&str>, name: &str, arguments: &str| {
            let call =
                json!({ "index": index, "id": id, "function": { "name": name, "arguments": arguments } });
            let delta = json!({ "choices": [{ "delta": { "tool_calls": [call] } }] });
            assert_eq!(assembly.take(&event(&delta)), Ok(None));
        };
        piece(&first, Some("a"), "s", "{");
        piece(&first, None, "", "}");
        piece(&second, Some("b"), "t", "[");
        piece(&second, Some("b"), "t", "]");
        let finish = json!({ "choices": [{ "delta": {}, "finish_reason": "stop" }] });
        assert_eq!(assembly.take(&event(&finish)), Ok(None));
        assert_eq!(assembly.end().unwrap().items, [call("a", "s", "{}"), call("b", "t", "[]")]);
    }
}

#[test]
fn calls_get_names_of_their_own() {
    let known = [call("c", "x", "")];
    let mut answer = Answer {
        items: vec![call("c", "1", ""), call("c", "2", ""), call("", "3", ""), call("", "4", "")],
        usage: None,
    };
    answer.make_calls_distinct(&known);
    let ids: Vec<&str> = answer.calls().map(|call| call.call_id.as_str()).collect();
    assert_eq!(ids, ["c_2", "c_3", "call_2", "call_3"]);
}

#[test]
fn a_conversation_in_both_forms() {
    let items = [
        Item::User { text: "do".into(), images: vec!["data:image/png;base64,AA==".into()] },
        Item::Reasoning { text: "hm".into(), opaque: None },
        Item::Assistant { text: "ok".into() },
        call("a", "shell", "{}"),
        Item::Call(Call {
            call_id: "b".into(),
            name: "apply_patch".into(),
            arguments: "p".into(),
            custom: true,
        }),
        Item::Output { call_id: "a".into(), text: "1".into(), custom: false },
        Item::Output { call_id: "b".into(), text: "2".into(), custom: true },
    ];
    let request = Request {
        model: "m",
        instructions: "i",
        items: &items,
        tools: &[],
        output_schema: None,
        thread_id: "t",
    };
    let body = responses::body(&request, false);
    let kinds: Vec<&str> =
        body["input"].as_array().unwrap().iter().map(|item| item["type"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        [
            "message",
            "message",
            "function_call",
            "custom_tool_call",
            "function_call_output",
            "custom_tool_call_output"
        ]
    );
    assert_eq!((body["store"].as_bool(), body.get("include")), (Some(false), None));

    let body = chat::body(&request);
    let messages = body["messages"].as_array().unwrap();
    let roles: Vec<&str> = messages.iter().map(|message| message["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["system", "user", "assistant", "tool", "tool"]);
    assert_eq!(messages[2]["tool_calls"].as_array().unwrap().len(), 2);
    assert_eq!(messages[2]["tool_calls"][1]["function"]["arguments"], r#"{"input":"p"}"#);
    assert_eq!(messages[1]["content"][1]["image_url"]["url"], "data:image/png;base64,AA==");
}

#[test]
fn errors_are_told_apart() {
    let overflow = |error: &ModelError| matches!(error, ModelError::ContextOverflow { .. });
    let status = |code: u16, body: &str| ModelError::of_status(code, body, None);
    assert!(overflow(&status(400, r#"{"error":{"code":"context_length_exceeded","message":"too long"}}"#)));
    assert!(overflow(&status(400, r#"{"message":"This model's maximum context length is 8192 tokens"}"#)));
    assert!(!status(400, r#"{"error":"no"}"#).is_passing());
    assert!(status(503, "<html>").is_passing());
    assert!(status(429, "{}").is_passing());
    assert!(!status(429, r#"{"error":{"type":"insufficient_quota"}}"#).is_passing());
    let failed = |code: &str, message: &str| {
        ModelError::of_event(&json!({ "error": { "code": code, "message": message } }))
    };
    assert!(failed("server_error", "x").is_passing());
    assert!(!failed("invalid_prompt", "x").is_passing());
    assert!(overflow(&failed("context_length_exceeded", "")));
    let limit = failed("rate_limit_exceeded", "Please try again in 1.5s. More.");
    assert_eq!(limit.retry_after(), Some(Duration::from_millis(1500)));
    // A server's words stay within their line.
    assert_eq!(status(400, "a\nb\u{1b}[2J").to_string(), "the server answered 400: a b\\u{1b}[2J");
}

#[test]
fn a_server_says_when_it_wants_to_be_asked_again() {
    // 1994-11-06T08:49:30Z.
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_770);
    let told = |name: &'static str, value: &str| {
        retry_after(&HeaderMap::from_iter([(HeaderName::from_static(name), value.parse().unwrap())]), now)
    };
    assert_eq!(told("retry-after", "2"), Some(Duration::from_secs(2)));
    assert_eq!(told("retry-after", "0.25"), Some(Duration::from_millis(250)));
    assert_eq!(told("retry-after-ms", "250"), Some(Duration::from_millis(250)));
    assert_eq!(told("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::from_secs(7)));
    assert_eq!(told("retry-after", "Sat, 05 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
    // Forms of old, which HTTP still has.
    for old in ["Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
        assert_eq!(told("retry-after", old), Some(Duration::from_secs(7)), "{old}");
    }
    for nothing in
        ["", "soon", "-1", "NaN", "inf", "Sun, 31 Feb 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 CET"]
    {
        assert_eq!(told("retry-after", nothing), None, "{nothing}");
    }
}

#[test]
fn a_provider_is_what_the_configuration_says() {
    let variable = |name: &str| (name == "A_KEY").then(|| "secret-key".into());
    let settings = |text: &str| {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("config.toml"), text).unwrap();
        let sources =
            codex_core::config::ConfigSources { codex_home: Some(home.path()), ..Default::default() };
        codex_core::config::load(&sources).unwrap().settings
    };
    let all = settings(
        "model_provider = 'a'\n[model_providers.a]\nbase_url = 'http://h/v1/'\nenv_key = 'A_KEY'\nhttp_headers.X = 'y'\n",
    );
    let provider = Provider::of(&all, None, variable).unwrap();
    assert_eq!(provider.base_url, "http://h/v1");
    assert_eq!(provider.headers[0], ("Authorization".into(), "Bearer secret-key".into()));
    assert_eq!(
        (provider.secrets.as_slice(), provider.secret_variables.as_slice()),
        (&["secret-key".into()][..], &["A_KEY".into()][..])
    );
    assert!(matches!(Provider::of(&all, Some("b"), variable), Err(ProviderError::Unknown { .. })));
    let nothing = settings("");
    assert!(matches!(Provider::of(&nothing, None, variable), Err(ProviderError::NoKey { .. })));
    assert_eq!(Provider::of(&nothing, Some("oss"), variable).unwrap().headers, []);
    // Somebody else's server does not get the key of the one that it stands for.
    let other = settings("model_providers.openai.base_url = 'http://h'");
    assert_eq!(Provider::of(&other, None, variable).unwrap().headers, []);
    for text in ["model_providers.a.name = 'x'", "model_providers.a.base_url = 'ftp://x'"] {
        assert!(Provider::of(&settings(text), Some("a"), variable).is_err());
    }
}
