//! Each refusal beside the twin that is accepted. Signatures are made here, and by other programs.

use std::os::unix::fs::PermissionsExt as _;

use proptest::prelude::*;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

use super::*;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
/// What was signed with it by Python's `hmac`.
const BY_PYTHON: &str =
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJleHAiOjIwMDB9.k1Q_fapwieckFjaWmwYi-qVhk51aeBCul-z_PQ6FQrQ";
/// A key and what was signed with it by `openssl pkeyutl -sign -rawin`.
const OPENSSL_KEY: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA44KE9jwrhXtt+bbOQCkdhKlK0VGf8Nhtb4EvDgjaQZo=\n-----END PUBLIC KEY-----\n";
const BY_OPENSSL: &str = "eyJhbGciOiJFZERTQSJ9.eyJleHAiOjIwMDB9.yH3BBbvsoyuSgmkxXFXmuzOayDf0VmhFukqTvB9gD796LCSsZuLZpQ7vHT-U-1SymohcEItYAJnNY_Ue-puIAw";

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn tokens() -> SignedTokens {
    let mut tokens = SignedTokens::with_secret(SECRET).unwrap();
    tokens.skew = Duration::ZERO;
    tokens
}

fn signed(header: impl AsRef<[u8]>, claims: impl AsRef<[u8]>) -> String {
    let text = format!("{}.{}", encode(header), encode(claims));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), text.as_bytes());
    format!("{text}.{}", encode(tag))
}

fn with(claims: &Value) -> String {
    signed(r#"{"alg":"HS256"}"#, claims.to_string())
}

fn check(token: &str, now: u64) -> Result<(), Refused> {
    tokens().check(token.as_bytes(), at(now))
}

#[test]
fn what_others_have_signed_opens() {
    assert_eq!(check(BY_PYTHON, 1999), Ok(()));
    let key = public_key(OPENSSL_KEY.as_bytes()).unwrap();
    let tokens = SignedTokens::with_public_key(key);
    assert_eq!(tokens.check(BY_OPENSSL.as_bytes(), at(1999)), Ok(()));
}

#[test]
fn what_is_not_looked_at_has_to_be_text_as_well() {
    let (header, claims) =
        (br#"{"alg":"HS256","typ":"JWT"}"#.to_vec(), br#"{"exp":2000,"who":"me"}"#.to_vec());
    assert_eq!(check(&signed(&header, &claims), 1), Ok(()));
    let broken = |text: &[u8], letter: u8| {
        let other = |byte: &u8| if *byte == letter { 0xb7 } else { *byte };
        text.iter().map(other).collect::<Vec<_>>()
    };
    assert_eq!(check(&signed(broken(&header, b'J'), &claims), 1), Err(Refused::Form));
    assert_eq!(check(&signed(&header, broken(&claims, b'm')), 1), Err(Refused::Form));
}

#[test]
fn the_algorithm_is_the_servers_choice() {
    let claims = r#"{"exp":2000}"#;
    assert_eq!(
        check(&signed(r#"{"alg":"HS256","typ":"JWT","kid":"x","jku":"http://x"}"#, claims), 1),
        Ok(())
    );
    for alg in ["none", "None", "hs256", "HS384", "HS512", "RS256", "ES256", "EdDSA", ""] {
        let header = json!({ "alg": alg }).to_string();
        assert_eq!(check(&signed(&header, claims), 1), Err(Refused::Algorithm), "{alg}");
        // Without a signature.
        let bare = format!("{}.{}.", encode(header), encode(claims));
        assert_eq!(check(&bare, 1), Err(Refused::Algorithm), "{alg}");
    }
    // A public key is known to everybody: nothing may be opened by using it as a secret.
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let public: [u8; 32] = pair.public_key().as_ref().try_into().unwrap();
    let tokens = SignedTokens::with_public_key(public);
    let text = |header: &str| format!("{}.{}", encode(header), encode(claims));
    let good = text(r#"{"alg":"EdDSA"}"#);
    let good = format!("{good}.{}", encode(pair.sign(good.as_bytes())));
    assert_eq!(tokens.check(good.as_bytes(), at(1)), Ok(()));
    for secret in [&public[..], OPENSSL_KEY.as_bytes()] {
        for (header, refused) in
            [(r#"{"alg":"HS256"}"#, Refused::Algorithm), (r#"{"alg":"EdDSA"}"#, Refused::Signature)]
        {
            let text = text(header);
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), text.as_bytes());
            let token = format!("{text}.{}", encode(tag));
            assert_eq!(tokens.check(token.as_bytes(), at(1)), Err(refused));
        }
    }
}

#[test]
fn what_is_changed_does_not_open() {
    let token = with(&json!({"exp": 2000}));
    assert_eq!(check(&token, 1), Ok(()));
    let (text, tag) = token.rsplit_once('.').unwrap();
    assert_eq!(check(&format!("{text}."), 1), Err(Refused::Signature));
    assert_eq!(check(&format!("{text}.{}", &tag[..40]), 1), Err(Refused::Signature));
    let header = text.split_once('.').unwrap().0;
    let later = format!("{header}.{}.{tag}", encode(r#"{"exp":3000}"#));
    assert_eq!(check(&later, 1), Err(Refused::Signature));
    let other = SignedTokens::with_secret(b"0123456789abcdef0123456789abcdeF").unwrap();
    assert_eq!(other.check(token.as_bytes(), at(1)), Err(Refused::Signature));
    assert_eq!(
        check(&signed(r#"{"alg":"HS256","crit":["exp"]}"#, r#"{"exp":2000}"#), 1),
        Err(Refused::Critical)
    );
    assert_eq!(
        check(&signed(r#"{"alg":"HS256","crit":null}"#, r#"{"exp":2000}"#), 1),
        Err(Refused::Critical)
    );
}

#[test]
fn what_has_another_form_is_no_token() {
    let good = with(&json!({"exp": 2000}));
    let (text, tag) = good.rsplit_once('.').unwrap();
    for token in [
        String::new(),
        "..".to_owned(),
        text.to_owned(),
        format!("{good}.x"),
        format!("{good}="),
        format!("{text}.{tag}\n"),
        format!(" {good}"),
        signed(r#"{"alg":"HS256","alg":"HS256"}"#, r#"{"exp":2000}"#),
        signed(r#"{"alg":"none","alg":"HS256"}"#, r#"{"exp":2000}"#),
        signed(r#"{"alg":["HS256"]}"#, r#"{"exp":2000}"#),
        signed("{}", r#"{"exp":2000}"#),
        signed(r#"{"alg":"HS256"}"#, r#"{"exp":"2000"}"#),
        signed(r#"{"alg":"HS256"}"#, r#"{"exp":2000,"exp":3000}"#),
        signed(r#"{"alg":"HS256"}"#, r#"{"exp":1e999}"#),
        signed(r#"{"alg":"HS256"}"#, "[]"),
        signed(r#"{"alg":"HS256"}"#, ""),
        with(&json!({"exp": 2000, "x": "y".repeat(LONGEST)})),
    ] {
        assert_eq!(check(&token, 1), Err(Refused::Form), "{token}");
    }
    assert_eq!(check(&good, 1), Ok(()));
    assert_eq!(check(&with(&json!({"exp": 2000, "x": "y".repeat(LONGEST / 2)})), 1), Ok(()));
    assert_eq!(tokens().check(b"\xff.\xff.\xff", at(1)), Err(Refused::Form));
}

#[test]
fn it_holds_from_then_until_then() {
    let token = with(&json!({"nbf": 1000, "exp": 2000}));
    for (now, answer) in
        [(999, Err(Refused::Early)), (1000, Ok(())), (1999, Ok(())), (2000, Err(Refused::Expired))]
    {
        assert_eq!(check(&token, now), answer, "{now}");
    }
    let mut patient = tokens();
    patient.skew = Duration::from_secs(10);
    for (now, answer) in
        [(989, Err(Refused::Early)), (990, Ok(())), (2009, Ok(())), (2010, Err(Refused::Expired))]
    {
        assert_eq!(patient.check(token.as_bytes(), at(now)), answer, "{now}");
    }
    // Nobody makes tokens hold for ever by a setting.
    patient.skew = Duration::MAX;
    assert_eq!(patient.check(token.as_bytes(), at(2299)), Ok(()));
    assert_eq!(patient.check(token.as_bytes(), at(2300)), Err(Refused::Expired));
    assert_eq!(check(&with(&json!({})), 1), Err(Refused::Expired), "it has to end");
    assert_eq!(check(&with(&json!({"exp": null})), 1), Err(Refused::Expired));
    assert_eq!(check(&with(&json!({"exp": 1.5})), 1), Ok(()));
    assert_eq!(check(&with(&json!({"exp": -1})), 1), Err(Refused::Expired));
}

#[test]
fn it_is_from_whom_and_for_whom_it_says() {
    let named =
        SignedTokens { issuer: Some("agents".to_owned()), audience: Some("server".to_owned()), ..tokens() };
    let check = |claims: Value| named.check(with(&claims).as_bytes(), at(1));
    assert_eq!(check(json!({"exp": 2, "iss": "agents", "aud": "server"})), Ok(()));
    assert_eq!(check(json!({"exp": 2, "iss": "agents", "aud": ["other", "server"]})), Ok(()));
    for claims in [json!({"exp": 2, "aud": "server"}), json!({"exp": 2, "iss": "Agents", "aud": "server"})] {
        assert_eq!(check(claims.clone()), Err(Refused::Issuer), "{claims}");
    }
    for aud in [json!("other"), json!([]), json!(["server "]), Value::Null] {
        assert_eq!(check(json!({"exp": 2, "iss": "agents", "aud": aud})), Err(Refused::Audience), "{aud}");
    }
    assert_eq!(check(json!({"exp": 2, "iss": "agents", "aud": {"server": 1}})), Err(Refused::Form));
    // Who has no name is nobody's audience.
    assert_eq!(
        tokens().check(with(&json!({"exp": 2, "aud": "x"})).as_bytes(), at(1)),
        Err(Refused::Audience)
    );
    assert_eq!(tokens().check(with(&json!({"exp": 2, "iss": "x"})).as_bytes(), at(1)), Ok(()));
}

#[test]
fn keys_come_from_files_that_are_nobody_elses() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("key");
    let with_mode = |text: &[u8], mode: u32| {
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    for (mode, opens) in [
        (0o600, true),
        (0o440, true),
        (0o400, true),
        (0o604, false),
        (0o620, false),
        (0o666, false),
        (0o601, false),
    ] {
        with_mode(&[SECRET, b"\n"].concat(), mode);
        let tokens = SignedTokens::with_secret_file(&file);
        assert_eq!(tokens.is_ok(), opens, "{mode:o}");
        assert_eq!(matches!(tokens, Err(AuthError::Exposed { .. })), !opens, "{mode:o}");
    }
    with_mode(&SECRET[1..], 0o600);
    assert!(matches!(SignedTokens::with_secret_file(&file), Err(AuthError::ShortSecret(_))));
    for (mode, opens) in [(0o644, true), (0o664, false), (0o646, false)] {
        with_mode(OPENSSL_KEY.as_bytes(), mode);
        assert_eq!(SignedTokens::with_public_key_file(&file).is_ok(), opens, "{mode:o}");
    }
    for text in ["", "x", &OPENSSL_KEY.replace("MCow", "MCox"), &OPENSSL_KEY.replace("QZo=", "")] {
        with_mode(text.as_bytes(), 0o600);
        assert!(matches!(SignedTokens::with_public_key_file(&file), Err(AuthError::PublicKey(_))), "{text}");
    }
    assert!(matches!(
        SignedTokens::with_secret_file(Path::new("/nowhere")),
        Err(AuthError::Unreadable { kind: "key", .. })
    ));
    let debug = format!("{:?}", tokens());
    assert_eq!(debug, "SignedTokens(HS256, None, None, 0ns)");
}

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes in any::<Vec<u8>>(), now in any::<u32>()) {
        assert!(tokens().check(&bytes, at(now.into())).is_err());
    }

    #[test]
    fn no_changed_byte_opens(place in 0..with(&json!({"exp": 2000, "iss": "somebody"})).len(), byte in any::<u8>()) {
        let good = with(&json!({"exp": 2000, "iss": "somebody"})).into_bytes();
        let mut token = good.clone();
        token[place] = byte;
        let opens = tokens().check(&token, at(1)).is_ok();
        assert_eq!(opens, token == good);
    }

    #[test]
    fn what_is_signed_opens_within_its_time(nbf in 0_u32..1000, life in 0_u32..1000, now in 0_u32..2000) {
        let exp = nbf + life;
        let opens = check(&with(&json!({"nbf": nbf, "exp": exp})), now.into()).is_ok();
        assert_eq!(opens, nbf <= now && now < exp);
    }
}
