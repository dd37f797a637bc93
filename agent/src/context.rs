//! How much of the past the model is given: as much as it can read at once.
//!
//! Tokens are estimated as for outputs ([`estimated_tokens`]), and corrected by what the server said that the last request
//! took. Where the next one would not fit, the oldest outputs of tools go first: what was said and asked stays.

use codex_core::output::estimated_tokens;

use crate::conversation::{Item, Tool};

/// What is said of an output that had to go.
const TRIMMED: &str = "[this output was left out to make room; run the command again to see it]";
/// Outputs that are shorter make no room.
const WORTH_TRIMMING: usize = 400;
/// What an image takes, whatever it shows: about as much as the larger ones do.
const IMAGE: u64 = 1500;
/// What every item takes beside its text.
const AROUND: u64 = 8;
/// Room for the answer, at most: a quarter of a small window.
const ANSWER: u64 = 16_384;

/// The model's window, and what is known of how it counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    tokens: Option<u64>,
    /// What the server counted, and what was estimated, of the same request.
    heard: Option<(u64, u64)>,
}

impl Window {
    /// A window of so many tokens, or one of which nobody knows.
    #[must_use]
    pub const fn new(tokens: Option<u64>) -> Self {
        Self { tokens, heard: None }
    }

    /// Notes what the server counted for a request that was estimated at so much.
    pub fn hear(&mut self, estimated: u64, counted: u64) {
        if counted > 0 {
            self.heard = Some((counted, estimated.max(1)));
        }
    }

    /// What was estimated, as the server would count it. Never less than estimated: a server that counts only what it did not
    /// know already must not make a conversation look short.
    fn corrected(&self, estimated: u64) -> u64 {
        match self.heard {
            Some((counted, of)) if counted > of => {
                let corrected = u128::from(estimated) * u128::from(counted) / u128::from(of);
                u64::try_from(corrected).unwrap_or(u64::MAX)
            }
            _ => estimated,
        }
    }

    /// Leaves out the oldest outputs where all of it would not fit, until a quarter of the room is free again: what the server
    /// remembers of a conversation is worth something, and each change costs it. The outputs that the model has not seen stay.
    /// Gives what it took and how many went, where some did.
    pub fn make_room(&self, fixed: u64, items: &mut [Item]) -> Option<(u64, usize)> {
        let window = self.tokens?;
        let room = window - ANSWER.min(window / 4);
        let before = self.corrected(fixed.saturating_add(estimate(items)));
        if before <= room {
            return None;
        }
        let unseen = items.iter().rposition(|item| !matches!(item, Item::Output { .. })).unwrap_or(0);
        let goal = room / 4 * 3;
        let mut count = 0;
        let mut place = 0;
        while place < unseen && self.corrected(fixed.saturating_add(estimate(items))) > goal {
            if let Some(item) = items.get_mut(place) {
                count += usize::from(leave_out(item) > 0);
            }
            place += 1;
        }
        (count > 0).then_some((before, count))
    }
}

/// About how many tokens the tools and the instructions take.
#[must_use]
pub fn fixed(instructions: &str, tools: &[Tool]) -> u64 {
    let tools =
        tools.iter().map(|tool| tokens(tool.description) + tokens(&tool.parameters.to_string()) + AROUND);
    tokens(instructions) + tools.sum::<u64>()
}

/// About how many tokens a conversation takes.
#[must_use]
pub fn estimate(items: &[Item]) -> u64 {
    let size = |item: &Item| {
        AROUND
            + match item {
                Item::User { text, images } => {
                    tokens(text) + IMAGE.saturating_mul(u64::try_from(images.len()).unwrap_or(u64::MAX))
                }
                Item::Assistant { text } | Item::Output { text, .. } => tokens(text),
                Item::Reasoning { text, opaque } => {
                    opaque.as_ref().map_or(0, |opaque| tokens(&opaque.to_string())).max(tokens(text))
                }
                Item::Call(call) => tokens(&call.name) + tokens(&call.arguments),
            }
    };
    items.iter().map(size).sum()
}

fn tokens(text: &str) -> u64 {
    u64::try_from(estimated_tokens(text)).unwrap_or(u64::MAX)
}

/// Leaves out an output that makes room. Gives its length.
fn leave_out(item: &mut Item) -> usize {
    match item {
        Item::Output { text, .. } if text.len() > WORTH_TRIMMING => {
            let length = text.len();
            TRIMMED.clone_into(text);
            length
        }
        _ => 0,
    }
}

/// Leaves out the oldest outputs, until half of what they take is gone: for a server that says that it is too much. Says how
/// many that were.
pub fn halve(items: &mut [Item]) -> usize {
    let size = |item: &Item| match item {
        Item::Output { text, .. } if text.len() > WORTH_TRIMMING => text.len(),
        _ => 0,
    };
    let all: usize = items.iter().map(size).sum();
    let (mut gone, mut count) = (0, 0);
    for item in items {
        if all == 0 || gone * 2 >= all {
            break;
        }
        let taken = leave_out(item);
        gone += taken;
        count += usize::from(taken > 0);
    }
    count
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Item, TRIMMED, Window, estimate, halve};
    use crate::conversation::Call;

    fn output(length: usize) -> Item {
        Item::Output { call_id: "c".into(), text: "x ".repeat(length / 2), custom: false }
    }

    fn call() -> Item {
        Item::Call(Call { call_id: "c".into(), name: "n".into(), arguments: "{}".into(), custom: false })
    }

    fn is_left_out(item: &Item) -> bool {
        matches!(item, Item::Output { text, .. } if text == TRIMMED)
    }

    #[test]
    fn the_oldest_outputs_go_first_until_there_are_none() {
        let mut items = [output(10), output(1000), output(500), output(900)];
        assert_eq!(halve(&mut items), 2);
        assert!(is_left_out(&items[1]));
        assert_eq!(items[0], output(10));
        assert_eq!(items[3], output(900));
        assert_eq!((halve(&mut items), halve(&mut items)), (1, 0));
    }

    #[test]
    fn room_is_made_before_it_is_needed_and_what_is_new_stays() {
        let items = [call(), output(4000), call(), output(4000), call(), output(4000)];
        let all = estimate(&items);
        assert_eq!(Window::new(None).make_room(0, &mut items.clone()), None);
        assert_eq!(Window::new(Some(all * 2)).make_room(0, &mut items.clone()), None);
        let mut trimmed = items.clone();
        assert_eq!(Window::new(Some(all)).make_room(0, &mut trimmed), Some((all, 2)));
        assert!(is_left_out(&trimmed[1]) && is_left_out(&trimmed[3]) && trimmed[5] == items[5]);
        // A server that counts twice as much.
        let mut window = Window::new(Some(all * 2));
        window.hear(100, 200);
        assert_eq!(window.make_room(0, &mut items.clone()).map(|(took, _)| took), Some(all * 2));
        // One that counts less changes nothing.
        window.hear(100, 1);
        assert_eq!(window.make_room(0, &mut items.clone()), None);
    }

    proptest! {
        #[test]
        fn nothing_but_outputs_is_touched(lengths in prop::collection::vec(0_usize..5000, 0..12), tokens in 0_u64..5000, fixed in 0_u64..2000) {
            let items: Vec<Item> = lengths.iter().flat_map(|length| [call(), output(*length)]).collect();
            let mut trimmed = items.clone();
            let made = Window::new(Some(tokens)).make_room(fixed, &mut trimmed);
            prop_assert_eq!(trimmed.len(), items.len());
            let changed = trimmed.iter().zip(&items).filter(|(after, before)| after != before);
            prop_assert_eq!(changed.clone().count(), made.map_or(0, |(_, count)| count));
            prop_assert!(changed.into_iter().all(|(after, _)| is_left_out(after)));
            prop_assert_eq!(trimmed.last(), items.last());
        }
    }
}
