//! `[model_providers.NAME]`: servers of models.

use std::collections::BTreeMap;

use toml::de::DeValue;

use super::escape::toml_string;
use super::layer::Layer;
use super::reader::{Reader, Value};
use super::sourced::{Origin, Sourced};

/// The API that a server speaks: the value of `wire_api`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WireApi {
    /// `POST /responses`.
    #[default]
    Responses,
    /// `POST /chat/completions`.
    Chat,
}

impl WireApi {
    /// Every choice.
    pub const ALL: [Self; 2] = [Self::Responses, Self::Chat];

    /// The name used in configuration and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Responses => "responses",
            Self::Chat => "chat",
        }
    }
}

/// A key of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProviderKey {
    Name,
    BaseUrl,
    EnvKey,
    WireApi,
    HttpHeaders,
    EnvHttpHeaders,
    QueryParams,
    RequestMaxRetries,
    StreamMaxRetries,
    StreamIdleTimeoutMs,
    ModelContextWindow,
}

impl ProviderKey {
    /// What a value has to be, for messages.
    pub(super) const fn expected(self) -> &'static str {
        match self {
            Self::Name | Self::BaseUrl | Self::EnvKey | Self::WireApi => "a string",
            Self::HttpHeaders | Self::EnvHttpHeaders | Self::QueryParams => "a table",
            Self::RequestMaxRetries
            | Self::StreamMaxRetries
            | Self::StreamIdleTimeoutMs
            | Self::ModelContextWindow => "an integer that is not negative",
        }
    }

    /// Whether it is a table of the user's own names.
    pub(super) const fn is_table(self) -> bool {
        matches!(self, Self::HttpHeaders | Self::EnvHttpHeaders | Self::QueryParams)
    }
}

/// What is said of one server. Anything may be left unsaid.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProviderSettings {
    /// What people call it.
    pub name: Option<Sourced<String>>,
    /// Where its API begins.
    pub base_url: Option<Sourced<String>>,
    /// The variable that holds its key.
    pub env_key: Option<Sourced<String>>,
    /// The API that it speaks.
    pub wire_api: Option<Sourced<WireApi>>,
    /// Headers for every request.
    pub http_headers: BTreeMap<String, Sourced<String>>,
    /// Headers for every request, by the variables that hold their values.
    pub env_http_headers: BTreeMap<String, Sourced<String>>,
    /// Parameters for every URL.
    pub query_params: BTreeMap<String, Sourced<String>>,
    /// How often a request that failed is tried again.
    pub request_max_retries: Option<Sourced<u64>>,
    /// How often an answer that broke off is asked for again.
    pub stream_max_retries: Option<Sourced<u64>>,
    /// For how long an answer may pause, in milliseconds.
    pub stream_idle_timeout_ms: Option<Sourced<u64>>,
    /// How many tokens its model can read at once.
    pub model_context_window: Option<Sourced<u64>>,
}

/// One setting of a server: its key below the server's own, its value as TOML, its origin.
pub(super) type Row<'s> = (Vec<&'s str>, String, &'s Origin);

impl ProviderSettings {
    /// Lays these over others, key by key.
    pub(super) fn lay_over(self, below: &mut Self) {
        fn replace<T>(target: &mut Option<T>, value: Option<T>) {
            if value.is_some() {
                *target = value;
            }
        }
        let Self {
            name,
            base_url,
            env_key,
            wire_api,
            http_headers,
            env_http_headers,
            query_params,
            request_max_retries,
            stream_max_retries,
            stream_idle_timeout_ms,
            model_context_window,
        } = self;
        replace(&mut below.name, name);
        replace(&mut below.base_url, base_url);
        replace(&mut below.env_key, env_key);
        replace(&mut below.wire_api, wire_api);
        below.http_headers.extend(http_headers);
        below.env_http_headers.extend(env_http_headers);
        below.query_params.extend(query_params);
        replace(&mut below.request_max_retries, request_max_retries);
        replace(&mut below.stream_max_retries, stream_max_retries);
        replace(&mut below.stream_idle_timeout_ms, stream_idle_timeout_ms);
        replace(&mut below.model_context_window, model_context_window);
    }

    /// Each setting, in the order of the documentation. Values of headers and parameters are often keys, and are not shown.
    pub(super) fn rows(&self) -> Vec<Row<'_>> {
        let mut rows = Vec::new();
        for (key, setting) in [("name", &self.name), ("base_url", &self.base_url), ("env_key", &self.env_key)]
        {
            if let Some(setting) = setting {
                rows.push((vec![key], toml_string(&setting.value), &setting.origin));
            }
        }
        if let Some(wire_api) = &self.wire_api {
            rows.push((vec!["wire_api"], toml_string(wire_api.value.name()), &wire_api.origin));
        }
        let hidden = toml_string("…");
        for (key, table) in [("http_headers", &self.http_headers), ("query_params", &self.query_params)] {
            rows.extend(table.iter().map(|(name, value)| (vec![key, name], hidden.clone(), &value.origin)));
        }
        for (name, value) in &self.env_http_headers {
            rows.push((vec!["env_http_headers", name], toml_string(&value.value), &value.origin));
        }
        for (key, setting) in [
            ("request_max_retries", &self.request_max_retries),
            ("stream_max_retries", &self.stream_max_retries),
            ("stream_idle_timeout_ms", &self.stream_idle_timeout_ms),
            ("model_context_window", &self.model_context_window),
        ] {
            if let Some(setting) = setting {
                rows.push((vec![key], setting.value.to_string(), &setting.origin));
            }
        }
        rows
    }
}

impl Reader<'_> {
    fn provider_in<'l>(&self, layer: &'l mut Layer) -> &'l mut ProviderSettings {
        layer.model_providers.entry(self.provider.clone().unwrap_or_default()).or_default()
    }

    /// Reads one key of the server that is being read.
    pub(super) fn provider_key(&mut self, key: ProviderKey, value: &Value<'_>, layer: &mut Layer) {
        let expected = key.expected();
        match key {
            ProviderKey::Name => self.provider_in(layer).name = self.sourced_text(value, expected),
            ProviderKey::BaseUrl => self.provider_in(layer).base_url = self.sourced_text(value, expected),
            ProviderKey::EnvKey => self.provider_in(layer).env_key = self.sourced_text(value, expected),
            ProviderKey::WireApi => {
                self.provider_in(layer).wire_api = self.word(value, &WireApi::ALL, WireApi::name);
            }
            ProviderKey::RequestMaxRetries => {
                self.provider_in(layer).request_max_retries = self.count(value, expected);
            }
            ProviderKey::StreamMaxRetries => {
                self.provider_in(layer).stream_max_retries = self.count(value, expected);
            }
            ProviderKey::StreamIdleTimeoutMs => {
                self.provider_in(layer).stream_idle_timeout_ms = self.count(value, expected);
            }
            ProviderKey::ModelContextWindow => {
                self.provider_in(layer).model_context_window = self.count(value, expected);
            }
            ProviderKey::HttpHeaders | ProviderKey::EnvHttpHeaders | ProviderKey::QueryParams => {
                let DeValue::Table(table) = value.get_ref() else { return self.wrong_type(value, expected) };
                for (name, value) in table {
                    self.path.push(name.get_ref().clone().into_owned());
                    self.provider_entry(key, name.get_ref(), value, layer);
                    self.path.pop();
                }
            }
        }
    }

    /// Reads one entry of a table of the server that is being read.
    pub(super) fn provider_entry(
        &mut self,
        key: ProviderKey,
        name: &str,
        value: &Value<'_>,
        layer: &mut Layer,
    ) {
        let Some(text) = self.sourced_text(value, "a string") else { return };
        let provider = self.provider_in(layer);
        let table = match key {
            ProviderKey::HttpHeaders => &mut provider.http_headers,
            ProviderKey::EnvHttpHeaders => &mut provider.env_http_headers,
            _ => &mut provider.query_params,
        };
        table.insert(name.to_owned(), text);
    }

    pub(super) fn count(&mut self, value: &Value<'_>, expected: &'static str) -> Option<Sourced<u64>> {
        let number = value
            .get_ref()
            .as_integer()
            .and_then(|integer| u64::from_str_radix(integer.as_str(), integer.radix()).ok());
        if number.is_none() {
            self.wrong_type(value, expected);
        }
        number.map(|number| self.sourced(number, value))
    }
}
