//! A server with a model, and how it is asked.
//!
//! ```text
//! Request ▶ responses | chat ▶ body ▶ HTTP ▶ bytes ▶ sse ▶ events ▶ responses | chat ▶ Answer
//! ```
//!
//! An answer counts when it is whole. Of one that breaks off nothing is used, so that asking again runs nothing twice.

mod chat;
mod client;
mod error;
mod responses;
pub mod sse;
mod trust;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::time::Duration;

use codex_core::config::{ProviderSettings, Settings, WireApi};
use codex_linux_sandbox::shown;

pub use client::{Client, Notice};
pub use error::ModelError;
pub use trust::Distrust;

/// The provider where nobody names one.
pub const DEFAULT_PROVIDER: &str = "openai";
/// The provider of `--oss`.
pub const LOCAL_PROVIDER: &str = "oss";

const REQUEST_MAX_RETRIES: u64 = 4;
const STREAM_MAX_RETRIES: u64 = 5;
const STREAM_IDLE_TIMEOUT_MS: u64 = 300_000;
/// More than this many is no number of retries that somebody means.
const MOST_RETRIES: u64 = 100;

/// A server with a model, and all that a request to it needs.
#[derive(Clone, Debug)]
pub struct Provider {
    /// Its name in the configuration.
    pub id: String,
    /// Its name for people.
    pub name: String,
    /// Where its API begins, without a slash at the end.
    pub base_url: String,
    /// The API that it speaks.
    pub wire_api: WireApi,
    /// The headers of every request. Values may be secrets.
    pub headers: Vec<(String, String)>,
    /// The parameters of every URL.
    pub query: Vec<(String, String)>,
    /// How often a request that failed is tried again.
    pub request_max_retries: u64,
    /// How often an answer that broke off is asked for again.
    pub stream_max_retries: u64,
    /// For how long an answer may pause.
    pub idle_timeout: Duration,
    /// What must not be shown or written down.
    pub secrets: Vec<String>,
    /// How many tokens the model can read at once, where somebody says so.
    pub context_window: Option<u64>,
    /// Variables that hold secrets, which commands must not see.
    pub secret_variables: Vec<String>,
}

/// Why there is no provider to ask.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// Nobody has defined it.
    #[error("model_provider is {name}, and there is no [model_providers.{name}]; there are {known}", name = shown(.name))]
    Unknown {
        /// The name.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// Nowhere to ask.
    #[error("[model_providers.{name}] has no base_url", name = shown(.0))]
    NoUrl(String),
    /// Nobody can be asked there.
    #[error("[model_providers.{name}]: {url} is no http or https URL", name = shown(.name), url = shown(.url))]
    Url {
        /// The provider.
        name: String,
        /// The URL.
        url: String,
    },
    /// The key is missing.
    #[error(
        "the environment variable {variable} is not set: the model provider {name} takes its key from it",
        variable = shown(.variable), name = shown(.name)
    )]
    NoKey {
        /// The provider.
        name: String,
        /// The variable.
        variable: String,
    },
    /// A variable that no header can hold.
    #[error("the environment variable {variable} holds what no HTTP header can", variable = shown(.0))]
    Variable(String),
    /// Nobody named a model.
    #[error("no model is chosen: name one with -m MODEL, or `model` in config.toml")]
    NoModel,
}

impl Provider {
    /// What the configuration says of a provider; of the one that it names where `id` does not.
    ///
    /// # Errors
    ///
    /// [`ProviderError`].
    pub fn of(
        settings: &Settings,
        id: Option<&str>,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, ProviderError> {
        let id = id.or(settings.model_provider.value.as_deref()).unwrap_or(DEFAULT_PROVIDER);
        let built_in = matches!(id, DEFAULT_PROVIDER | LOCAL_PROVIDER);
        let nothing = ProviderSettings::default();
        let said = match settings.model_providers.get(id) {
            Some(said) => said,
            None if built_in => &nothing,
            None => {
                let mut known: Vec<String> = settings.model_providers.keys().map(shown).collect();
                known.extend([DEFAULT_PROVIDER, LOCAL_PROVIDER].map(str::to_owned));
                known.sort();
                known.dedup();
                return Err(ProviderError::Unknown { name: id.to_owned(), known: known.join(", ") });
            }
        };
        let (default_url, default_key, default_api) = match id {
            DEFAULT_PROVIDER => {
                (Some("https://api.openai.com/v1"), Some("OPENAI_API_KEY"), WireApi::Responses)
            }
            LOCAL_PROVIDER => (Some("http://localhost:11434/v1"), None, WireApi::Chat),
            _ => (None, None, WireApi::Responses),
        };
        let text =
            |setting: &Option<codex_core::config::Sourced<String>>| setting.as_ref().map(|s| s.value.clone());
        let base_url = text(&said.base_url).or_else(|| default_url.map(str::to_owned));
        let base_url = base_url.ok_or_else(|| ProviderError::NoUrl(id.to_owned()))?;
        let has_host = |scheme: &str| base_url.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty());
        if !has_host("http://") && !has_host("https://") {
            return Err(ProviderError::Url { name: id.to_owned(), url: base_url });
        }
        let mut provider = Self {
            id: id.to_owned(),
            name: text(&said.name).unwrap_or_else(|| id.to_owned()),
            base_url: base_url.trim_end_matches('/').to_owned(),
            wire_api: said.wire_api.as_ref().map_or(default_api, |api| api.value),
            headers: Vec::new(),
            query: said
                .query_params
                .iter()
                .map(|(name, value)| (name.clone(), value.value.clone()))
                .collect(),
            request_max_retries: retries(said.request_max_retries.as_ref(), REQUEST_MAX_RETRIES),
            stream_max_retries: retries(said.stream_max_retries.as_ref(), STREAM_MAX_RETRIES),
            idle_timeout: Duration::from_millis(
                said.stream_idle_timeout_ms
                    .as_ref()
                    .map_or(STREAM_IDLE_TIMEOUT_MS, |timeout| timeout.value.max(1)),
            ),
            context_window: said
                .model_context_window
                .as_ref()
                .map(|window| window.value)
                .or(settings.model_context_window.value),
            secrets: Vec::new(),
            secret_variables: Vec::new(),
        };
        // A server that was put in the place of a built-in one gets that one's key only where the user says so.
        let default_key = default_key.filter(|_| said.base_url.is_none());
        if let Some(name) = text(&said.env_key).or_else(|| default_key.map(str::to_owned)) {
            let Some(key) = variable(&name) else {
                return Err(ProviderError::NoKey { name: provider.name, variable: name });
            };
            let key = header_value(&key).ok_or_else(|| ProviderError::Variable(name.clone()))?;
            provider.headers.push(("Authorization".to_owned(), format!("Bearer {key}")));
            provider.hide(&name, key);
        }
        for (header, value) in &said.http_headers {
            provider.headers.push((header.clone(), value.value.clone()));
            provider.secrets.push(value.value.clone());
        }
        for (header, name) in &said.env_http_headers {
            // A variable that is not set adds nothing: one configuration serves several machines.
            let Some(value) = variable(&name.value) else { continue };
            let value = header_value(&value).ok_or_else(|| ProviderError::Variable(name.value.clone()))?;
            provider.headers.push((header.clone(), value.clone()));
            provider.hide(&name.value, value);
        }
        provider.secrets.extend(provider.query.iter().map(|(_, value)| value.clone()));
        // Short words are no secrets, and would be found everywhere.
        provider.secrets.retain(|secret| secret.len() >= 8);
        Ok(provider)
    }

    fn hide(&mut self, variable: &str, value: String) {
        self.secret_variables.push(variable.to_owned());
        self.secrets.push(value);
    }
}

fn retries(setting: Option<&codex_core::config::Sourced<u64>>, default: u64) -> u64 {
    setting.map_or(default, |setting| setting.value.min(MOST_RETRIES))
}

fn header_value(value: &std::ffi::OsStr) -> Option<String> {
    let value = value.to_str()?.trim();
    value.chars().all(|character| !character.is_control()).then(|| value.to_owned())
}
