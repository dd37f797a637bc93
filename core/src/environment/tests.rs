use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use proptest::prelude::*;

use super::{CORE, EnvironmentError, EnvironmentProblem, build, validate};
use crate::config::{EnvironmentInherit, EnvironmentPolicy, Origin, Sourced, SourcedList};

fn sourced<T>(value: T) -> Sourced<T> {
    Sourced { value, origin: Origin::Default }
}

fn list(items: &[&str]) -> SourcedList<String> {
    let items = items.iter().map(|item| sourced((*item).to_owned())).collect();
    SourcedList { items, origin: Origin::Default }
}

fn with_set(policy: EnvironmentPolicy, set: &[(&str, &str)]) -> EnvironmentPolicy {
    let set = set.iter().map(|(name, value)| ((*name).to_owned(), sourced((*value).to_owned()))).collect();
    EnvironmentPolicy { set, ..policy }
}

fn inherited(names: &[&str]) -> Vec<(OsString, OsString)> {
    names.iter().map(|name| (OsString::from(name), OsString::from(format!("value of {name}")))).collect()
}

/// The names that come out, in their order.
fn names(policy: &EnvironmentPolicy, from: &[&str]) -> Vec<String> {
    let built = build(policy, inherited(from)).unwrap();
    built.into_iter().map(|(name, _)| name.into_string().unwrap()).collect()
}

#[test]
fn what_git_is_told_by_variables_goes_together() {
    let names = ["GIT_CONFIG_COUNT", "GIT_CONFIG_KEY_0", "GIT_CONFIG_VALUE_0", "GIT_DIR"];
    let inherited = names.map(|name| (OsString::from(name), OsString::from("1")));
    let built = build(&EnvironmentPolicy::default(), inherited).unwrap();
    assert_eq!(built.iter().map(|(name, _)| name.as_os_str()).collect::<Vec<_>>(), ["GIT_DIR"]);
}

#[test]
fn everything_but_secrets_is_inherited_by_default() {
    let secrets = [
        "AWS_SECRET_ACCESS_KEY",
        "GITHUB_TOKEN",
        "npm_config_//registry/:_authToken",
        "PGPASSWORD",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "my_api_key",
    ];
    let plain = ["PATH", "SSH_AUTH_SOCK", "DATABASE_URL", "EDITOR", "_"];
    let all = [secrets.as_slice(), plain.as_slice()].concat();
    assert_eq!(names(&EnvironmentPolicy::default(), &all), plain);

    let keep = EnvironmentPolicy { ignore_default_excludes: sourced(true), ..Default::default() };
    assert_eq!(names(&keep, &all), all);
}

#[test]
fn documented_false_positives_are_what_is_dropped() {
    let policy = EnvironmentPolicy::default();
    let dropped = ["TOKENIZERS_PARALLELISM", "KEYBOARD_LAYOUT", "KEYTIMEOUT", "MONKEY_PATCH", "GPG_KEY"];
    assert_eq!(names(&policy, &dropped), Vec::<String>::new());
}

#[test]
fn core_keeps_the_few_that_programs_need() {
    let policy = EnvironmentPolicy { inherit: sourced(EnvironmentInherit::Core), ..Default::default() };
    assert_eq!(names(&policy, &CORE), CORE);
    assert_eq!(
        names(&policy, &["LC_ALL", "LC_TIME", "LD_PRELOAD", "home", "PATHS", "EDITOR"]),
        ["LC_ALL", "LC_TIME"]
    );
}

#[test]
fn none_leaves_what_is_set() {
    let policy = EnvironmentPolicy { inherit: sourced(EnvironmentInherit::None), ..Default::default() };
    assert_eq!(names(&policy, &["PATH", "HOME"]), Vec::<String>::new());
    assert_eq!(names(&with_set(policy, &[("B", "2"), ("A", "1")]), &["PATH"]), ["A", "B"]);
}

#[test]
fn globs_ignore_letter_case_and_match_the_whole_name() {
    let policy =
        EnvironmentPolicy { exclude: list(&["npm_*", "X?Z", "exact", "a[b]"]), ..Default::default() };
    let from = ["NPM_CONFIG", "my_npm_x", "xyz", "XYYZ", "EXACT", "EXACTLY", "A[B]", "AB", "npm_/a"];
    assert_eq!(names(&policy, &from), ["my_npm_x", "XYYZ", "EXACTLY", "AB"]);
}

#[test]
fn set_survives_the_excludes_and_replaces_in_place() {
    let policy = EnvironmentPolicy { exclude: list(&["GONE"]), ..Default::default() };
    let policy = with_set(policy, &[("API_KEY", "set"), ("GONE", "set"), ("HERE", "set")]);
    let built = build(&policy, inherited(&["HERE", "LAST", "API_KEY"])).unwrap();
    let expected = [("HERE", "set"), ("LAST", "value of LAST"), ("API_KEY", "set"), ("GONE", "set")];
    assert_eq!(built, expected.map(|(name, value)| (OsString::from(name), OsString::from(value))));
}

#[test]
fn include_only_comes_last_and_holds_for_set_too() {
    let policy = EnvironmentPolicy { include_only: list(&["path", "GIT_*"]), ..Default::default() };
    let policy = with_set(policy, &[("GIT_PAGER", "cat"), ("PAGER", "cat")]);
    assert_eq!(names(&policy, &["HOME", "PATH", "GIT_TOKEN", "GIT_DIR"]), ["PATH", "GIT_DIR", "GIT_PAGER"]);
}

#[test]
fn of_a_name_that_comes_twice_the_first_value_counts() {
    let twice = vec![("A".into(), "first".into()), ("B".into(), "b".into()), ("A".into(), "second".into())];
    let built = build(&EnvironmentPolicy::default(), twice).unwrap();
    assert_eq!(built, [("A".into(), "first".into()), ("B".into(), "b".into())]);
}

#[test]
fn bytes_come_out_as_they_went_in() {
    let name = OsStr::from_bytes(b"N\xff").to_owned();
    let values = [b"".to_vec(), b"\xff\xfe\n=\n".to_vec(), vec![b'x'; 3 << 20]];
    for value in values {
        let variable = (name.clone(), OsString::from_vec(value));
        assert_eq!(build(&EnvironmentPolicy::default(), [variable.clone()]).unwrap(), [variable]);
    }
}

#[test]
fn a_name_that_is_not_utf8_is_matched_as_text() {
    let secret = (OsStr::from_bytes(b"\xff_token").to_owned(), OsString::new());
    let short = (OsStr::from_bytes(b"A\xff").to_owned(), OsString::new());
    let policy = EnvironmentPolicy { exclude: list(&["A?"]), ..Default::default() };
    assert_eq!(build(&policy, [secret, short]).unwrap(), []);
}

#[test]
fn names_that_no_program_can_ask_for_are_not_inherited() {
    assert_eq!(names(&EnvironmentPolicy::default(), &["", "=C:", "A=B", "A"]), ["A"]);
}

#[test]
fn what_cannot_be_set_is_an_error_that_says_where() {
    let cases = [
        ("", "v", EnvironmentProblem::EmptyName),
        ("A=B", "v", EnvironmentProblem::EqualsInName),
        ("A\0", "v", EnvironmentProblem::NulInName),
        ("A", "v\0", EnvironmentProblem::NulInValue),
    ];
    for (name, value, problem) in cases {
        let origin = Origin::Override(format!("{name}={value}"));
        let mut policy = EnvironmentPolicy::default();
        policy.set.insert(name.to_owned(), Sourced { value: value.to_owned(), origin: origin.clone() });
        let error = EnvironmentError { name: name.to_owned(), problem, origin };
        assert_eq!(validate(&policy), Err(error.clone()));
        assert_eq!(build(&policy, []), Err(error));
    }
    let error = validate(&with_set(EnvironmentPolicy::default(), &[("A=B", "")])).unwrap_err();
    let line = "can't set the variable \"A=B\" of shell_environment_policy.set: its name contains '=', which ends a \
                name; remove it";
    assert_eq!(error.to_string(), line);
}

fn bytes() -> impl Strategy<Value = OsString> {
    prop::collection::vec(prop_oneof![Just(b'A'), Just(b'_'), Just(b'='), any::<u8>()], 0..6)
        .prop_map(OsString::from_vec)
}

fn globs() -> impl Strategy<Value = SourcedList<String>> {
    let items = prop::collection::vec("[A_*?]{0,4}".prop_map(sourced), 0..4);
    items.prop_map(|items| SourcedList { items, origin: Origin::Default })
}

prop_compose! {
    fn policies()(
        exclude in globs(),
        include_only in globs(),
        ignore in any::<bool>(),
        set in prop::collection::btree_map("[A_]{1,3}", "[a-z]{0,3}".prop_map(sourced), 0..4),
    ) -> EnvironmentPolicy {
        EnvironmentPolicy {
            inherit: sourced(EnvironmentInherit::All),
            ignore_default_excludes: sourced(ignore),
            exclude,
            set,
            include_only,
        }
    }
}

proptest! {
    #[test]
    fn every_variable_has_a_source_a_name_and_no_double(
        policy in policies(),
        from in prop::collection::vec((bytes(), bytes()), 0..20),
    ) {
        let built = build(&policy, from.clone()).unwrap();
        for (place, (name, value)) in built.iter().enumerate() {
            let text = name.as_bytes();
            prop_assert!(!text.is_empty() && !text.contains(&b'=') && !text.contains(&0));
            prop_assert!(built[..place].iter().all(|(other, _)| other != name));
            let set = name.to_str().and_then(|name| policy.set.get(name));
            match set {
                Some(set) => prop_assert_eq!(value, OsStr::new(&set.value)),
                None => {
                    let first = from.iter().find(|(other, value)| other == name && !value.as_bytes().contains(&0));
                    prop_assert_eq!(Some(value), first.map(|(_, value)| value));
                }
            }
        }
    }

    #[test]
    fn building_twice_changes_nothing(policy in policies(), from in prop::collection::vec((bytes(), bytes()), 0..20)) {
        let mut once = build(&policy, from).unwrap();
        let mut twice = build(&policy, once.clone()).unwrap();
        // What is set against an exclude moves to the end.
        once.sort();
        twice.sort();
        prop_assert_eq!(once, twice);
    }
}
