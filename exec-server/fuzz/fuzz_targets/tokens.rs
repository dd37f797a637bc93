//! Arbitrary bytes as a signed token and as a header, and arbitrary text as the parts of a token that is signed as it should be.

#![cfg_attr(fuzzing, no_main)]

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use codex_exec_server::{Credential, LONGEST_SKEW, SignedTokens};
use ring::hmac;
use serde_json::Value;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const NOW: u64 = 1_800_000_000;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW);
    let mut tokens = SignedTokens::with_secret(SECRET).expect("it is long enough");
    let public = SignedTokens::with_public_key([7; 32]);
    // Nobody guesses a signature.
    assert!(tokens.check(data, now).is_err());
    assert!(public.check(data, now).is_err());
    let mut header = b"Bearer ".to_vec();
    header.extend(data);
    for credential in
        [Credential::Signed(Box::new(tokens.clone())), Credential::Signed(Box::new(public.clone()))]
    {
        assert!(!credential.admits(Some(data)) && !credential.admits(Some(&header)));
    }
    // Header and claims, one on each line, signed by who has the secret.
    let (header, claims) = match data.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&data[..end], &data[end + 1..]),
        None => (&br#"{"alg":"HS256"}"#[..], data),
    };
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), signed.as_bytes());
    let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
    // The other algorithm's server never takes it.
    assert!(public.check(token.as_bytes(), now).is_err());
    for audience in [None, Some("here".to_owned())] {
        tokens.audience = audience;
        if tokens.check(token.as_bytes(), now).is_err() {
            continue;
        }
        let header: Value = serde_json::from_slice(header).expect("a header that opens is JSON");
        assert_eq!(header["alg"], "HS256");
        assert!(header.get("crit").is_none());
        let claims: Value = serde_json::from_slice(claims).expect("claims that open are JSON");
        let at = |name: &str| claims[name].as_f64();
        let skew = LONGEST_SKEW.as_secs_f64();
        assert!(at("exp").expect("it says until when") + skew > NOW as f64);
        assert!(at("nbf").is_none_or(|nbf| nbf - skew <= NOW as f64));
        match &tokens.audience {
            None => assert!(claims["aud"].is_null()),
            Some(wanted) => {
                let several = claims["aud"].as_array().cloned().unwrap_or_default();
                assert!(claims["aud"] == **wanted || several.iter().any(|one| *one == **wanted));
            }
        }
        // One byte less or more, and it is another one.
        assert!(tokens.check(&token.as_bytes()[..token.len() - 1], now).is_err());
        assert!(tokens.check(format!("{token}A").as_bytes(), now).is_err());
    }
});

/// Where nobody fuzzes, the target is only checked.
#[cfg(not(fuzzing))]
fn main() {}
