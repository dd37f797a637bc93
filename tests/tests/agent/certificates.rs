//! Servers over https: whom they have to be vouched for by, and what is said where they are not.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use codex_tests::harness::{Api, Invocation, Model, Scene, require_tool};
use serde_json::json;

use super::surroundings::base_url;
use super::{events, exec, run_command, say};

/// A certificate and its key.
struct Certificate {
    certificate: PathBuf,
    key: PathBuf,
}

impl Certificate {
    /// Makes one for a name, by an issuer or by itself.
    fn make(openssl: &Path, directory: &Path, name: &str, options: &[&str], issuer: Option<&Self>) -> Self {
        let [certificate, key] = ["certificate", "key"].map(|kind| directory.join(format!("{name}-{kind}")));
        let mut command = Command::new(openssl);
        command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
        command.args(["-days", "2", "-subj", &format!("/CN={name}")]).args(options);
        command.arg("-keyout").arg(&key).arg("-out").arg(&certificate);
        if let Some(issuer) = issuer {
            command.arg("-CA").arg(&issuer.certificate).arg("-CAkey").arg(&issuer.key);
        }
        let made = command.output().expect("run openssl");
        assert!(made.status.success(), "{made:?}");
        Self { certificate, key }
    }
}

/// A model over https.
struct Secure {
    child: Child,
    port: u16,
}

impl Secure {
    fn before(python: &Path, model: &Model, shows: &Certificate) -> Self {
        let url = base_url(model);
        let port = url.trim_end_matches("/v1").rsplit(':').next().unwrap_or_default();
        let mut child = Command::new(python)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/agent/secure.py"))
            .args([&shows.certificate, &shows.key])
            .arg(port)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start the site");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("its output")).read_line(&mut line).expect("its port");
        Self { child, port: line.trim().parse().expect("a port") }
    }
}

impl Drop for Secure {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        drop(self.child.wait());
    }
}

/// A run that asks over https, and trusts whom these variables name.
fn asking(scene: &Scene, model: &Model, host: &str, site: &Secure, trusts: [(&str, &Path); 2]) -> Invocation {
    let base = format!("model_providers.scripted.base_url=https://{host}:{}/v1", site.port);
    let words = ["-c", &base, "--json", "-s", "workspace-write", "x"];
    trusts.into_iter().fold(exec(scene, model, &words), |invocation, (name, path)| invocation.env(name, path))
}

pub(super) fn a_server_is_trusted_by_the_certificates_that_are_named(scene: &Scene) {
    let (Some(openssl), Some(python)) = (require_tool("openssl"), require_tool("python3")) else { return };
    let directory = scene.path("certificates");
    scene.directory("certificates/hashed");
    let make =
        |name: &str, options: &[&str], issuer| Certificate::make(&openssl, &directory, name, options, issuer);
    let authority = make("authority", &[], None);
    let other = make("other", &[], None);
    let named = |san| ["-addext", san, "-addext", "basicConstraints=critical,CA:FALSE"];
    let here = make("here", &named("subjectAltName=IP:127.0.0.1,DNS:localhost"), Some(&authority));
    let elsewhere = make("elsewhere", &named("subjectAltName=DNS:elsewhere.example"), Some(&authority));
    fs::copy(&authority.certificate, scene.path("certificates/hashed/ca.pem")).expect("copy");
    let hashed = Command::new(&openssl).arg("rehash").arg(directory.join("hashed")).output().expect("rehash");
    assert!(hashed.status.success(), "{hashed:?}");
    let nothing = directory.join("nothing");
    let in_file = |path| [("SSL_CERT_FILE", path), ("SSL_CERT_DIR", nothing.as_path())];
    let in_directory = [("SSL_CERT_FILE", nothing.as_path()), ("SSL_CERT_DIR", &directory.join("hashed"))];

    // Whoever is vouched for is asked, with all that a run takes.
    for trusts in [in_file(authority.certificate.as_path()), in_directory] {
        for host in ["127.0.0.1", "localhost"] {
            let model = Model::serve(Api::Responses, vec![run_command("echo x >> ran"), say("done")]);
            let site = Secure::before(&python, &model, &here);
            let run = asking(scene, &model, host, &site, trusts).run().expect_code(0);
            assert_eq!(model.requests().len(), 2, "{}", run.describe());
        }
    }
    assert_eq!(fs::read_to_string(scene.workspace().join("ran")).unwrap_or_default(), "x\nx\nx\nx\n");

    // Nobody else is, nothing is said to them, and no second try is made.
    let model = Model::serve(Api::Responses, vec![say("done")]);
    for (shows, trusts, expected) in [
        (&here, in_file(other.certificate.as_path()), ["UnknownIssuer", "SSL_CERT_FILE"]),
        (&elsewhere, in_file(authority.certificate.as_path()), ["elsewhere.example", "base_url has to name"]),
    ] {
        let site = Secure::before(&python, &model, shows);
        let run = asking(scene, &model, "127.0.0.1", &site, trusts).run().expect_code(1);
        let events = events(&run);
        let last = events.last().unwrap_or_else(|| run.fail("no event"));
        let message = last["error"]["message"].as_str().unwrap_or_default();
        let url = format!("https://127.0.0.1:{}/v1/responses is not trusted: ", site.port);
        assert!(message.starts_with(&url), "{message}");
        assert!(expected.iter().all(|words| message.contains(words)), "{message}");
        assert!(!events.iter().any(|event| event["item"]["type"] == json!("error")), "{}", run.describe());
    }
    assert!(model.requests().is_empty());
}
