//! What programs send that is to be displayed as it is.

use super::{Dropped, filtered};

/// From terminfo's entry for xterm-256color, and from programs of full-screen kind.
pub(super) const SEEN: [&[u8]; 12] = [
    b"\x1b[?1049h\x1b[1;24r\x1b(B\x1b[m\x1b[4l\x1b[?7h\x1b[?1h\x1b=",
    b"\x1b[H\x1b[2J\x1b[24;80H\x1b[K\x1b[1K\x1b[J",
    b"\x1b[1m\x1b[3m\x1b[4m\x1b[7m\x1b[38;5;202m\x1b[48;2;1;2;3m\x1b[4:3m\x1b[58:2::1:2:3m\x1b[39;49m\x1b[0m",
    b"\x1b[?12l\x1b[?25h\x1b[?25l\x1b[?12;25h",
    b"\x1b(0lqqqk\x1b(B\x0e\x0f\x1b)0",
    b"\x1b[3A\x1b[B\x1b[5C\x1b[D\x1b[10G\x1b[4d\x1b[5L\x1b[2M\x1b[3P\x1b[2@\x1b[4X\x1b[S\x1b[T\x1b[8b",
    b"\x1b7\x1b8\x1bM\x1bD\x1bE\x1b[s\x1b[u",
    b"\x1b[?2004h$ \x1b[?2004l\r",
    b"\x1b[?1000h\x1b[?1002h\x1b[?1006h\x1b[?1006l\x1b[?1002l\x1b[?1000l",
    b"\x1b[2 q\x1b[ q\x1b[?5h\x1b[?5l",
    b"\r\n\x1b[24;1H\x1b[?1049l\x1b[?1l\x1b>",
    "caf\u{e9} \u{2500}\u{2502} \u{1f600} \u{4f60}\u{597d} e\u{301}\t\x08 \x07".as_bytes(),
];

#[test]
fn what_programs_display_is_displayed() {
    for bytes in SEEN {
        assert_eq!(filtered(bytes), (bytes.to_vec(), Dropped::default()), "{}", bytes.escape_ascii());
    }
}
