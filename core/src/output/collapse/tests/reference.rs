//! What collapsing has to come to, written without regard to speed.

/// The rows of a grid of characters after everything was drawn. For ASCII, and drawings of less than 64 rows.
pub(super) fn grid(stream: &str) -> String {
    let mut rows: Vec<(Vec<char>, bool)> = vec![(Vec::new(), false)];
    let (mut row, mut column) = (0, 0);
    let mut chars = stream.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '\n' => {
                row += 1;
                column = 0;
                if row == rows.len() {
                    rows.push((Vec::new(), false));
                }
            }
            '\r' => column = 0,
            '\x08' => column = usize::saturating_sub(column, 1),
            '\x1b' => {
                chars.next();
                let digit = chars.next_if(char::is_ascii_digit).and_then(|digit| digit.to_digit(10));
                let number = digit.unwrap_or(0) as usize;
                let count = number.max(1);
                match chars.next().unwrap() {
                    'A' => row = row.saturating_sub(count),
                    'B' => row = (row + count).min(rows.len() - 1),
                    'C' => column += count,
                    'D' => column = column.saturating_sub(count),
                    'G' => column = count - 1,
                    'K' | 'J' if number == 0 => {
                        let below = stream.len() - chars.clone().collect::<String>().len();
                        cut(&mut rows[row], column);
                        if stream.as_bytes()[below - 1] == b'J' {
                            rows.truncate(row + 1);
                        }
                    }
                    'K' if number == 1 => {
                        let (cells, edited) = &mut rows[row];
                        for cell in cells.iter_mut().take(column + 1) {
                            (*cell, *edited) = (' ', true);
                        }
                    }
                    'K' => cut(&mut rows[row], 0),
                    'J' => {
                        // Ends the drawing.
                        row = rows.len() - 1;
                        if !rows[row].0.is_empty() {
                            rows.push((Vec::new(), false));
                            row += 1;
                        }
                        // What was drawn can't be reached any more.
                        let done: Vec<_> = rows.drain(..row).collect();
                        let before = text(&done, true);
                        let rest: String = chars.collect();
                        return before + &grid(&rest);
                    }
                    other => panic!("{other}"),
                }
            }
            char => {
                let (cells, edited) = &mut rows[row];
                while cells.len() < column {
                    cells.push(' ');
                }
                match cells.get_mut(column) {
                    Some(cell) => (*cell, *edited) = (char, true),
                    None => cells.push(char),
                }
                column += 1;
            }
        }
    }
    text(&rows, false)
}

fn cut((cells, edited): &mut (Vec<char>, bool), column: usize) {
    if column < cells.len() {
        cells.truncate(column);
        *edited = true;
    }
}

fn text(rows: &[(Vec<char>, bool)], end: bool) -> String {
    let lines: Vec<String> = rows
        .iter()
        .map(|(cells, edited)| {
            let line: String = cells.iter().collect();
            if *edited { line.trim_end_matches(' ').to_owned() } else { line }
        })
        .collect();
    let text = lines.join("\n");
    if end && !rows.is_empty() { text + "\n" } else { text }
}

/// Lines, where more than one alike are folded when that saves bytes, or they are ten more.
pub(super) fn folded(lines: &[String]) -> String {
    let mut text = String::new();
    for group in lines.chunk_by(|one, other| one == other) {
        let more = group.len() - 1;
        let instead = format!("[… repeated {more} more times …]\n");
        let saved = more * (group[0].len() + 1) > instead.len();
        text += &format!("{}\n", group[0]);
        if more > 1 && (more >= 10 || saved) {
            text += &instead;
        } else {
            text += &format!("{}\n", group[0]).repeat(more);
        }
    }
    text
}
