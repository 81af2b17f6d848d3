//! Rust text with its comments and literals blanked out, so that words can be looked for in code alone.

/// One file.
pub(crate) struct Source {
    /// The text as it is.
    pub(crate) text: String,
    /// The same bytes, comments and the contents of literals replaced by spaces; lines stay where they are.
    pub(crate) code: String,
}

impl Source {
    /// Reads `text`.
    pub(crate) fn new(text: &str) -> Self {
        Self { text: text.to_owned(), code: blank(text) }
    }

    /// The numbers of the lines of code (from 1) in which `word` stands by itself.
    pub(crate) fn lines_with_word(&self, word: &str) -> Vec<usize> {
        let has = |line: &str| words(line).any(|found| found == word);
        self.code.lines().zip(1..).filter(|(line, _)| has(line)).map(|(_, number)| number).collect()
    }

    /// The functions with a body: name, first line (from 1), number of lines.
    pub(crate) fn functions(&self) -> Vec<(String, usize, usize)> {
        let mut functions = Vec::new();
        let mut open: Vec<(String, usize, usize)> = Vec::new();
        let mut named: Option<(String, usize)> = None;
        let (mut depth, mut brackets) = (0usize, 0usize);
        for (line, number) in self.code.lines().zip(1..) {
            let mut tokens = tokens(line).peekable();
            while let Some(token) = tokens.next() {
                match token {
                    // A pointer type has no name behind the word.
                    "fn" => {
                        if let Some(name) = tokens.peek().filter(|next| next.starts_with(is_word)) {
                            named = Some(((*name).to_owned(), number));
                            brackets = 0;
                        }
                    }
                    "(" | "[" => brackets += 1,
                    ")" | "]" => brackets = brackets.saturating_sub(1),
                    // Declared without a body; within brackets it belongs to the type of an array.
                    ";" if brackets == 0 => named = None,
                    "{" => {
                        if let Some((name, first)) = named.take() {
                            open.push((name, first, depth));
                        }
                        depth += 1;
                    }
                    "}" => {
                        depth = depth.saturating_sub(1);
                        if let Some((name, first, _)) = open.pop_if(|(_, _, outer)| *outer == depth) {
                            functions.push((name, first, number + 1 - first));
                        }
                    }
                    _ => {}
                }
            }
        }
        functions
    }
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|letter| !is_word(letter)).filter(|word| !word.is_empty())
}

/// Words, brackets and semicolons, in order.
fn tokens(line: &str) -> impl Iterator<Item = &str> {
    let mut rest = line;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches(|letter| !is_word(letter) && !"{}()[];".contains(letter));
        let first = rest.chars().next()?;
        let length = if is_word(first) { rest.find(|letter| !is_word(letter)).unwrap_or(rest.len()) } else { 1 };
        let (token, behind) = rest.split_at(length);
        rest = behind;
        Some(token)
    })
}

/// Replaces comments and the contents of literals by spaces.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let (kept, length) = literal_or_comment(rest, at > 0 && is_word(char::from(bytes[at - 1])));
        for (offset, &byte) in rest[..length].iter().enumerate() {
            code.push(if kept || byte == b'\n' || (offset == 0 && byte == b'"') { byte } else { b' ' });
        }
        at += length;
    }
    String::from_utf8_lossy(&code).into_owned()
}

/// Whether what `rest` begins with is code, and how long it is.
fn literal_or_comment(rest: &[u8], in_word: bool) -> (bool, usize) {
    let until = |end: &[u8], from: usize| {
        let found = rest.get(from..).and_then(|tail| tail.windows(end.len()).position(|window| window == end));
        found.map_or(rest.len(), |position| from + position + end.len())
    };
    match rest {
        [b'/', b'/', ..] => (false, until(b"\n", 0)),
        [b'/', b'*', ..] => (false, nested_comment(rest)),
        [b'r', b'"' | b'#', ..] | [b'b', b'r', ..] if !in_word => {
            let prefix = if rest[0] == b'b' { 2 } else { 1 };
            let hashes = rest[prefix..].iter().take_while(|&&byte| byte == b'#').count();
            if rest.get(prefix + hashes) != Some(&b'"') {
                return (true, 1); // a raw identifier
            }
            let end = [b"\"".as_slice(), &vec![b'#'; hashes]].concat();
            (false, until(&end, prefix + hashes + 1))
        }
        [b'"', ..] => (false, quoted(rest)),
        // A character, or the beginning of a lifetime.
        [b'\'', b'\\', ..] => {
            (false, rest.iter().skip(3).position(|&byte| byte == b'\'').map_or(rest.len(), |end| end + 4))
        }
        [b'\'', ..] => {
            let letter_bytes = std::str::from_utf8(&rest[1..rest.len().min(5)])
                .or_else(|error| std::str::from_utf8(&rest[1..=error.valid_up_to()]))
                .ok()
                .and_then(|text| text.chars().next())
                .map_or(1, char::len_utf8);
            if rest.get(1 + letter_bytes) == Some(&b'\'') { (false, letter_bytes + 2) } else { (true, 1) }
        }
        _ => (true, 1),
    }
}

fn nested_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0usize, 0);
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn quoted(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_not_code() {
        let text = "let a = \"unsafe\"; // unsafe\n/* unsafe /* unsafe */ unsafe */ unsafe { r#\"unsafe\"#; '\\''; 'u'; b\"unsafe\" }\n\
                    fn f<'a>(x: &'a str) {} // '\nunsafe_code";
        assert_eq!(Source::new(text).lines_with_word("unsafe"), [2]);
        assert_eq!(Source::new(text).code.len(), text.len());
    }

    #[test]
    fn functions_are_measured() {
        let text = "fn one() {\n    let f: fn(u32) = two;\n    if a { b }\n}\nfn declared();\nimpl X { fn two(a: [u8; 2]) { 1 } }\n";
        let functions = Source::new(text).functions();
        assert_eq!(functions, [("one".to_owned(), 1, 4), ("two".to_owned(), 6, 1)]);
    }
}
