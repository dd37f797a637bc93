use super::*;

#[test]
fn ids_of_events_are_read_as_they_are_written_and_no_others() {
    let stream = Uuid::new_v4();
    for number in [0, 1, u64::MAX] {
        assert_eq!(parse_event_id(&event_id(stream, number)), Some((stream, number)));
    }
    let name = stream.simple();
    for wrong in [
        String::new(),
        "0".to_owned(),
        "0/1".to_owned(),
        format!("{name}"),
        format!("{name}-"),
        format!("{name}-+1"),
        format!("{name}--1"),
        format!("{name}-18446744073709551616"),
        format!("{stream}-1"),
        format!("{{{name}}}-1"),
    ] {
        assert_eq!(parse_event_id(&wrong), None, "{wrong}");
    }
}
