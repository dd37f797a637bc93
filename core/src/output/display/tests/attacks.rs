//! What has been done to terminals by showing them something.

use super::{filtered, grammar, shown};

/// What it does, and the bytes that do it.
pub(super) const ATTACKS: [(&str, &[u8]); 68] = [
    // It answers, as if somebody typed.
    ("CVE-2003-0063: xterm types its title", b"\x1b]0;echo pwned\x07\x1b[21t"),
    ("CVE-2003-0065: uxterm types its title", b"\x1b]2;;id;\x1b\\\x1b[21t"),
    ("CVE-2003-0066: rxvt types its title", b"\x1b]0;\nid\n\x07\x1b[21t"),
    ("the icon's name typed", b"\x1b[20t"),
    ("CVE-2008-2383: xterm answers DECRQSS with what was asked", b"\x1bP$q\nid\n\x1b\\"),
    ("CVE-2022-45872: iTerm2 answers DECRQSS", b"\x1bP$qm\nid\n\x1b\\"),
    ("CVE-2022-45063: xterm types the name of a font", b"\x1b]50;i$(touch /tmp/hack)\x07\x1b]50;?\x07"),
    ("CVE-2021-33477: rxvt answers ESC G Q with a newline", b"\x1bGQ;"),
    ("CVE-2024-38396: iTerm2 types a title in tmux mode", b"\x1b]0;id\x07\x1b[>21t\x1b[21t"),
    ("the answerback", b"\x05"),
    ("DA1", b"\x1b[c"),
    ("DA2", b"\x1b[>c"),
    ("DA3", b"\x1b[=c"),
    ("DECID", b"\x1bZ"),
    ("DSR: status", b"\x1b[5n"),
    ("CPR", b"\x1b[6n"),
    ("DECXCPR", b"\x1b[?6n"),
    ("DSR: printer, keys, locator", b"\x1b[?15n\x1b[?25n\x1b[?26n\x1b[?55n"),
    ("XTVERSION", b"\x1b[>q"),
    ("DECRQM", b"\x1b[?2026$p\x1b[4$p"),
    ("DECREQTPARM", b"\x1b[x\x1b[1x"),
    ("DECRQCRA: reads the screen by its checksums", b"\x1b[1;1;1;1;1;1*y"),
    ("DECRQPSR, DECRQTSR", b"\x1b[1$w\x1b[1$u"),
    ("window reports", b"\x1b[11t\x1b[13t\x1b[14t\x1b[18t\x1b[19t"),
    ("XTGETTCAP", b"\x1bP+q544e\x1b\\"),
    ("XTSMGRAPHICS", b"\x1b[?1;1;0S"),
    ("XTQMODKEYS, XTQFMTKEYS", b"\x1b[?4m\x1b[?1g"),
    ("colours asked for", b"\x1b]4;1;?\x07\x1b]10;?\x07\x1b]11;?\x1b\\"),
    ("kitty's keyboard asked for", b"\x1b[?u"),
    ("a locator", b"\x1b[1;2'z\x1b['|"),
    ("highlight tracking, which waits for an answer", b"\x1b[?1001h\x1b[1;1;1;1;9T"),
    ("the focus told", b"\x1b[?1004h"),
    ("sizes and colours told", b"\x1b[?2048h\x1b[?2031h"),
    ("VT52, whose ESC Z answers", b"\x1b[?2l\x1bZ"),
    // It keeps something.
    ("OSC 52: the clipboard written", b"\x1b]52;c;cm0gLXJmIH4K\x07"),
    ("OSC 52: the clipboard read", b"\x1b]52;c;?\x1b\\"),
    ("OSC 5522: kitty's clipboard", b"\x1b]5522;type=write\x1b\\"),
    ("DECUDK: what keys send", b"\x1bP0;1|17/726d202d7266\x1b\\"),
    ("DECDMAC, DECINVM: macros", b"\x1bP1;0;1!z1b5b356e\x1b\\\x1b[1*z"),
    ("DECRSPS", b"\x1bP2$t1/9\x1b\\"),
    ("a soft font", b"\x1bP1;1;1{ @\x1b\\"),
    ("sixel", b"\x1bPq#0;2;0;0;0~~\x1b\\"),
    ("ReGIS", b"\x1bPpS(E)\x1b\\"),
    ("kitty reads and removes a file as a picture", b"\x1b_Gt=t,a=T;L3RtcC94\x1b\\"),
    ("iTerm2 writes a file", b"\x1b]1337;File=name=LnByb2ZpbGU=:cGF5bG9hZA==\x07"),
    ("tab stops", b"\x1bH\x1b[3g\x1b[?5W"),
    ("titles kept", b"\x1b[22;0t\x1b[23;0t"),
    ("modes kept and brought back", b"\x1b[?1001s\x1b[?1001r"),
    // It acts on something else.
    ("titles and icons", b"\x1b]0;root@host\x07\x1b]1;x\x07\x1b]2;x\x1b\\"),
    ("screen's and tmux's titles", b"\x1bkroot@host\x1b\\"),
    ("windows moved, resized, minimised, raised", b"\x1b[3;0;0t\x1b[8;1;1t\x1b[2t\x1b[5t"),
    ("132 columns", b"\x1b[?40h\x1b[?3h"),
    ("OSC 8: a link that says one thing and opens another", b"\x1b]8;;file:///etc/passwd\x1b\\"),
    ("OSC 7: the directory of new windows", b"\x1b]7;file://host/tmp/evil\x1b\\"),
    ("notifications", b"\x1b]9;you won\x07\x1b]777;notify;a;b\x07\x1b]99;;x\x1b\\"),
    ("printing", b"\x1b[5i\x1b[?5i\x1b[i"),
    ("lamps", b"\x1b[1q"),
    ("CVE-2019-9535: tmux's control mode in iTerm2", b"\x1bP1000p%begin\n"),
    ("tmux hands on to the terminal around it", b"\x1bPtmux;\x1b\x1b]52;c;eA==\x07\x1b\\"),
    ("screen hands on to the terminal around it", b"\x1bP\x1b]52;c;eA==\x07\x1b\\"),
    ("kitty's remote control", b"\x1bP@kitty-cmd{\"cmd\":\"launch\"}\x1b\\"),
    ("colours of the whole terminal", b"\x1b]4;0;#ffffff\x07\x1b]11;#000000\x07\x1b]P0000000\x1b]R"),
    ("privacy messages and strings", b"\x1b^hidden\x1b\\\x1bXhidden\x1b\\"),
    // It changes how later bytes or keys are read.
    ("RIS, DECSTR", b"\x1bc\x1b[!p"),
    ("the keyboard locked, echo, line ends", b"\x1b[2h\x1b[12l\x1b[20h"),
    ("8-bit controls, other encodings", b"\x1b G\x1b[62;1\"p\x1b%@\x1b%/I"),
    ("keyboard protocols", b"\x1b[>1u\x1b[=1u\x1b[<u\x1b[>4;2m"),
    (
        "C1, by bytes and by characters",
        b"\x9b5n\x9d0;t\x9c\xc2\x9b5n\xc2\x9d52;c;eA==\xc2\x9c\xc2\x90q\xc2\x85",
    ),
];

#[test]
fn nothing_of_an_attack_reaches_the_terminal() {
    for (name, bytes) in ATTACKS {
        let (out, dropped) = filtered(bytes);
        assert!(!dropped.is_nothing(), "{name}");
        assert_eq!(grammar::violation(&out), None, "{name}");
        // No control function at all: what is left of some is text.
        let text = String::from_utf8(out).unwrap();
        let plain = text.replace('\n', "");
        assert!(!plain.contains(|character: char| character.is_control()), "{name}: {text:?}");
    }
}

#[test]
fn nothing_of_most_is_to_be_seen_either() {
    let seen: Vec<_> = ATTACKS
        .iter()
        .filter(|(_, bytes)| !shown(bytes).is_empty())
        .map(|(name, _)| name.split(':').next().unwrap())
        .collect();
    // Their form has no end that an innocent sequence could not have.
    assert_eq!(seen, ["CVE-2021-33477", "C1, by bytes and by characters"]);
}

#[test]
fn what_was_there_before_stays_there() {
    // What has scrolled away is the person's.
    assert_eq!(shown(b"\x1b[3Ja\x1b[22Jb\x1b[?3J"), "ab");
    assert_eq!(shown(b"\x1b[2J"), "\x1b[2J");
}

#[test]
fn no_number_keeps_a_terminal_busy() {
    assert_eq!(shown(b"x\x1b[99999999b\x1b[18446744073709551616@\x1b[10000L"), "x");
    assert_eq!(shown(b"x\x1b[9999b"), "x\x1b[9999b");
}

#[test]
fn a_sequence_cut_by_others_does_not_come_together() {
    for bytes in [
        &b"\x1b\x1b[\x1b[6\x1b[n"[..],
        b"\x1b[6\x18n",
        b"\x1b\x1b]0;t\x07",
        b"\x1b[6\xffn\x1b[\xc2\x9bn",
        b"\x1b]\x1b\x1b[6n",
        b"\x1b\x7f[6n",
        b"\x1b\x00[6n\x1b[6\x00n",
    ] {
        let text = shown(bytes);
        assert!(!text.contains('\x1b'), "{bytes:?} {text:?}");
    }
}
