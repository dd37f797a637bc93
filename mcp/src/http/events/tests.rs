use rmcp::model::{EmptyObject, JsonRpcMessage, NumberOrString, ProgressNotificationParam, ServerResult};
use rmcp::model::{Notification, ServerNotification};

use super::log::PROGRESS;
use super::*;

const KIB: usize = 1024;

fn bounds() -> EventBounds {
    EventBounds { session_bytes: 4 * KIB, bytes: 8 * KIB, ended: 4, kept_for: Duration::from_secs(60) }
}

fn session(name: &str, events: &mut Events) -> SessionId {
    let session: SessionId = name.into();
    events.begin(Arc::clone(&session));
    session
}

fn id(number: i64) -> RequestId {
    NumberOrString::Number(number)
}

fn open(events: &mut Events, session: &SessionId, request: i64) -> Reading {
    events.open(session, id(request), Some(ProgressToken(id(request)))).unwrap().unwrap()
}

fn answer(events: &mut Events, session: &SessionId, request: i64, bytes: usize) {
    let message = ServerJsonRpcMessage::response(ServerResult::EmptyResult(EmptyObject {}), id(request));
    assert!(events.tell(session, Route::Answer(id(request)), message, bytes));
}

fn progress(events: &mut Events, session: &SessionId, request: i64, done: f64) {
    let token = ProgressToken(id(request));
    let params = ProgressNotificationParam::new(token.clone(), done);
    let told = ServerNotification::ProgressNotification(Notification::new(params));
    assert!(events.tell(session, Route::Progress(token), ServerJsonRpcMessage::notification(told), 10));
}

/// What there is to read, each by its number, whether something comes behind it, and whether it is the error of a loss.
fn read(events: &mut Events, session: &SessionId, reading: &mut Reading) -> (Vec<u64>, bool, bool) {
    let (mut numbers, mut is_error) = (Vec::new(), false);
    loop {
        match events.next(session, reading) {
            Next::Event(number, message) => {
                is_error |= matches!(*message, JsonRpcMessage::Error(_));
                numbers.push(number);
            }
            Next::Wait => return (numbers, true, is_error),
            Next::End => return (numbers, false, is_error),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_waits_for_who_comes_back_and_is_told_once() {
    let mut events = Events::new(bounds());
    let one = session("one", &mut events);
    let mut reading = open(&mut events, &one, 1);
    progress(&mut events, &one, 1, 1.0);
    assert_eq!(read(&mut events, &one, &mut reading), (vec![1], true, false));
    events.leave(&one, &reading);
    progress(&mut events, &one, 1, 2.0);
    answer(&mut events, &one, 1, 100);
    // Nobody else's.
    let two = session("two", &mut events);
    assert!(events.resume(&two, reading.stream, 0).is_none());
    assert!(events.resume(&one, Uuid::new_v4(), 0).is_none());
    assert!(events.resume(&one, reading.stream, 4).is_none());
    let mut again = events.resume(&one, reading.stream, 1).unwrap();
    assert_eq!(read(&mut events, &one, &mut again), (vec![2, 3], false, false));
    // Who has it has all.
    let mut behind = events.resume(&one, reading.stream, 3).unwrap();
    assert_eq!(read(&mut events, &one, &mut behind), (vec![], false, false));
    // Who has lost it on the way has it again, and after some time nobody.
    let mut lost = events.resume(&one, reading.stream, 2).unwrap();
    assert_eq!(read(&mut events, &one, &mut lost), (vec![3], false, false));
    tokio::time::advance(Duration::from_secs(60)).await;
    assert!(events.resume(&one, reading.stream, 0).is_none());
    assert_eq!((events.bytes, events.take_lost()), (0, 0));
}

#[tokio::test]
async fn the_newest_connection_is_told_and_the_one_before_ends() {
    let mut events = Events::new(bounds());
    let one = session("one", &mut events);
    let mut first = open(&mut events, &one, 1);
    let mut second = events.resume(&one, first.stream, 0).unwrap();
    assert!(first.changed.has_changed().unwrap());
    answer(&mut events, &one, 1, 100);
    assert_eq!(read(&mut events, &one, &mut first), (vec![], false, false));
    // That it goes is no end of the newer one.
    events.leave(&one, &first);
    assert_eq!(read(&mut events, &one, &mut second), (vec![1], false, false));
    // A session's own stream stays open for both, and only one is told.
    let mut first = events.open_common(&one).unwrap();
    let mut second = events.open_common(&one).unwrap();
    let message = || ServerJsonRpcMessage::response(ServerResult::EmptyResult(EmptyObject {}), id(7));
    assert!(events.tell(&one, Route::Common, message(), 10));
    assert_eq!(read(&mut events, &one, &mut first), (vec![], true, false));
    assert_eq!(read(&mut events, &one, &mut second), (vec![1], true, false));
    // The next one goes on where that one was.
    assert!(events.tell(&one, Route::Common, message(), 10));
    let mut third = events.open_common(&one).unwrap();
    assert_eq!(read(&mut events, &one, &mut third), (vec![2], true, false));
}

#[tokio::test]
async fn what_is_too_much_goes_in_its_order_and_is_told_as_lost() {
    let mut events = Events::new(bounds());
    let one = session("one", &mut events);
    let mut readings: Vec<Reading> = (1..=4).map(|request| open(&mut events, &one, request)).collect();
    // One is told at once, one not at all, one has a connection that is slow, and one comes last.
    answer(&mut events, &one, 1, KIB);
    assert_eq!(read(&mut events, &one, &mut readings[0]).0, [1]);
    events.leave(&one, &readings[0]);
    events.leave(&one, &readings[1]);
    answer(&mut events, &one, 2, KIB);
    answer(&mut events, &one, 3, KIB);
    assert_eq!((events.bytes, events.take_lost()), (3 * KIB, 0));
    // What was told goes first, and is no loss.
    answer(&mut events, &one, 4, 2 * KIB);
    assert_eq!((events.bytes, events.take_lost()), (4 * KIB, 0));
    let mut again = events.resume(&one, readings[0].stream, 0).unwrap();
    assert_eq!(read(&mut events, &one, &mut again), (vec![1], false, true));
    // What nobody waits for is next; what somebody is about to be told never goes.
    let fifth = open(&mut events, &one, 5);
    answer(&mut events, &one, 5, 16 * KIB);
    assert_eq!((events.bytes, events.take_lost()), (19 * KIB, 1));
    let mut again = events.resume(&one, readings[1].stream, 0).unwrap();
    assert_eq!(read(&mut events, &one, &mut again), (vec![1], false, true));
    assert_eq!(read(&mut events, &one, &mut readings[2]), (vec![1], false, false));
    assert_eq!(read(&mut events, &one, &mut readings[3]), (vec![1], false, false));
    // Until it is gone.
    events.leave(&one, &fifth);
    assert!(events.bytes <= 4 * KIB);
    assert_eq!(events.take_lost(), 1);
    // The number of those that have ended is bounded as well: the oldest are unknown.
    for request in 6..=9 {
        let mut reading = open(&mut events, &one, request);
        answer(&mut events, &one, request, 1);
        assert_eq!(read(&mut events, &one, &mut reading).0, [1]);
        events.leave(&one, &reading);
    }
    assert!(events.resume(&one, fifth.stream, 0).is_none());
    assert_eq!(events.take_lost(), 0);
}

#[tokio::test]
async fn who_has_most_pays_for_all() {
    let mut events = Events::new(bounds());
    let sessions: Vec<SessionId> =
        ["one", "two", "three"].into_iter().map(|name| session(name, &mut events)).collect();
    let tell = |events: &mut Events, session: &SessionId, request, bytes| {
        let reading = open(events, session, request);
        events.leave(session, &reading);
        answer(events, session, request, bytes);
        reading
    };
    let first = tell(&mut events, &sessions[0], 1, 4 * KIB);
    tell(&mut events, &sessions[1], 1, 3 * KIB);
    let third = tell(&mut events, &sessions[2], 1, 2 * KIB);
    assert_eq!((events.bytes, events.take_lost()), (5 * KIB, 1));
    let mut first = events.resume(&sessions[0], first.stream, 0).unwrap();
    assert_eq!(read(&mut events, &sessions[0], &mut first), (vec![1], false, true));
    let mut third = events.resume(&sessions[2], third.stream, 0).unwrap();
    assert_eq!(read(&mut events, &sessions[2], &mut third), (vec![1], false, false));
    for session in &sessions {
        events.end(session);
    }
    assert_eq!(events.bytes, 0);
}

#[tokio::test]
async fn of_progress_the_newest_is_kept() {
    let mut events = Events::new(bounds());
    let one = session("one", &mut events);
    let reading = open(&mut events, &one, 1);
    events.leave(&one, &reading);
    for done in 1..=100 {
        progress(&mut events, &one, 1, f64::from(done));
    }
    assert_eq!(events.bytes, PROGRESS * 10);
    let mut again = events.resume(&one, reading.stream, 0).unwrap();
    assert_eq!(read(&mut events, &one, &mut again).0, (85..=100).collect::<Vec<u64>>());
}

#[tokio::test]
async fn a_request_that_is_given_up_ends_and_an_id_is_taken_once() {
    let mut events = Events::new(bounds());
    let one = session("one", &mut events);
    let mut reading = open(&mut events, &one, 1);
    assert!(matches!(events.open(&one, id(1), None), Some(Err(Taken))));
    events.cancel(&one, &id(1));
    assert_eq!(read(&mut events, &one, &mut reading), (vec![], false, false));
    // An answer that comes all the same is nobody's, and progress is none.
    answer(&mut events, &one, 1, 100);
    progress(&mut events, &one, 1, 1.0);
    assert_eq!(events.bytes, 0);
    assert!(matches!(events.open(&one, id(1), None), Some(Ok(_))));
}

#[tokio::test]
async fn questions_go_to_who_asked_for_them_and_are_withdrawn_there() {
    let mut events = Events::new(bounds());
    let one = session("one", &mut events);
    let mut reading = open(&mut events, &one, 1);
    let mut common = events.open_common(&one).unwrap();
    let message = || ServerJsonRpcMessage::response(ServerResult::EmptyResult(EmptyObject {}), id(7));
    assert!(events.tell(&one, Route::Question(Some(id(1)), id(50)), message(), 10));
    assert!(events.tell(&one, Route::Withdrawn(id(50)), message(), 10));
    assert_eq!(read(&mut events, &one, &mut reading), (vec![1, 2], true, false));
    assert_eq!(read(&mut events, &one, &mut common).0, [0_u64; 0]);
    // Of nobody's request, they are for whoever listens.
    assert!(events.tell(&one, Route::Question(Some(id(2)), id(51)), message(), 10));
    assert_eq!(read(&mut events, &one, &mut common).0, [1]);
}

#[tokio::test]
async fn at_the_end_of_a_session_its_readers_have_what_is_there() {
    let mut events = Events::new(bounds());
    let one = session("one", &mut events);
    let mut told = open(&mut events, &one, 1);
    let idle = open(&mut events, &one, 2);
    answer(&mut events, &one, 1, 100);
    events.end(&one);
    assert!(!events.has(&one) && events.open_common(&one).is_none());
    assert!(events.resume(&one, told.stream, 0).is_none() && events.open(&one, id(3), None).is_none());
    assert_eq!(read(&mut events, &one, &mut told), (vec![1], false, false));
    events.leave(&one, &told);
    events.leave(&one, &idle);
    assert_eq!((events.sessions.len(), events.bytes), (0, 0));
}
