//! Many mutants in one text, each behind a switch.
//!
//! `a < b` with the mutants 7 (`<=`) and 8 (`>`) becomes
//! `(if on(7) { a <= b } else if on(8) { a > b } else { a < b })`; bodies get an early `return`, arms a guard. The tree of
//! an expression stays what it was, whatever the precedence of the other operator.

use std::collections::BTreeMap;
use std::ops::Range;

use anyhow::Result;

use super::list::Mutant;
use super::site::{Bytes, Site, sites};

/// The crate's module of switches.
const MODULE: &str = "mutant_switch";
/// The variable that names the mutant that is on.
pub(super) const VARIABLE: &str = "PERENNIAL_MUTANT";

/// What the root of the crate gets.
pub(super) fn switches() -> String {
    format!(
        "\n/// Switches of mutants.\n#[doc(hidden)]\npub mod {MODULE} {{\n    extern crate std;\n\
         \x20   static ON: std::sync::LazyLock<u32> = std::sync::LazyLock::new(|| {{\n\
         \x20       std::env::var(\"{VARIABLE}\").ok().and_then(|text| text.parse().ok()).unwrap_or(u32::MAX)\n    }});\n\
         \x20   /// Whether this mutant is on.\n    pub fn on(mutant: u32) -> bool {{\n        *ON == mutant\n    }}\n}}\n"
    )
}

/// A text with switches in it.
pub(super) struct Woven {
    pub(super) text: String,
    /// Which bytes of it came in for which mutants: inner ones come before those around them.
    places: Vec<(Range<usize>, Vec<u32>)>,
    /// Those that have no place where a switch may stand.
    pub(super) homeless: Vec<u32>,
}

impl Woven {
    /// The mutants to whose code the bytes `start .. end` belong: of the smallest place that is larger than they are.
    pub(super) fn blamed(&self, start: usize, end: usize) -> Option<&[u32]> {
        let holds = |range: &Range<usize>| range.start <= start && end <= range.end && range.len() > end - start;
        let place = self.places.iter().filter(|(range, _)| holds(range)).min_by_key(|(range, _)| range.len())?;
        Some(&place.1)
    }
}

/// Weaves the mutants of one file into its text.
pub(super) fn weave(text: &str, mutants: &[&Mutant]) -> Result<Woven> {
    let sites = sites(text)?;
    let (mut nodes, mut homeless): (BTreeMap<(usize, usize), Node>, _) = (BTreeMap::new(), Vec::new());
    for mutant in mutants {
        match sites.get(&(mutant.genre, mutant.span.start)) {
            Some(site) => {
                let whole = whole(site);
                // Outer ranges come before inner ones that begin with them.
                let node = nodes.entry((whole.start, usize::MAX - whole.end));
                node.or_insert_with(|| Node { site: site.clone(), whole, mutants: Vec::new() }).mutants.push(mutant);
            }
            None => homeless.push(mutant.id),
        }
    }
    let nodes: Vec<Node> = nodes.into_values().collect();
    let mut weaver = Weaver { text, nodes: &nodes, out: String::new(), places: Vec::new() };
    weaver.copy(0..text.len(), 0);
    Ok(Woven { text: weaver.out, places: weaver.places, homeless })
}

fn whole(site: &Site) -> Bytes {
    match site {
        Site::Body(at) | Site::Arm(at) => *at..*at,
        Site::Binary { whole, .. } | Site::Unary { whole, .. } | Site::Field { whole, .. } | Site::Guard(whole) => {
            whole.clone()
        }
    }
}

struct Node<'m> {
    site: Site,
    whole: Bytes,
    mutants: Vec<&'m Mutant>,
}

struct Weaver<'a> {
    text: &'a str,
    nodes: &'a [Node<'a>],
    out: String,
    places: Vec<(Range<usize>, Vec<u32>)>,
}

fn on(mutant: &Mutant) -> String {
    format!("crate::{MODULE}::on({})", mutant.id)
}

impl<'a> Weaver<'a> {
    /// Copies a range with all that belongs inside it; nodes before `from` are around it or done.
    fn copy(&mut self, range: Bytes, from: usize) {
        let mut at = range.start;
        let mut next = from;
        while let Some(node) = self.nodes.get(next) {
            if node.whole.start > range.end || node.whole.end > range.end {
                break;
            }
            if node.whole.start < at {
                next += 1;
                continue;
            }
            self.out.push_str(&self.text[at..node.whole.start]);
            let begin = self.out.len();
            self.node(node, next + 1);
            self.places.push((begin..self.out.len(), node.mutants.iter().map(|mutant| mutant.id).collect()));
            at = node.whole.end;
            next += 1;
        }
        self.out.push_str(&self.text[at..range.end]);
    }

    fn node(&mut self, node: &Node<'a>, inner: usize) {
        match &node.site {
            Site::Body(_) => {
                for mutant in &node.mutants {
                    let begin = self.out.len();
                    self.out.push_str(&format!(" if {} {{ return {}; }} ", on(mutant), mutant.replacement));
                    self.places.push((begin..self.out.len(), vec![mutant.id]));
                }
            }
            Site::Arm(_) => {
                for (position, mutant) in node.mutants.iter().enumerate() {
                    let word = if position == 0 { " if" } else { " &&" };
                    self.out.push_str(&format!("{word} !{}", on(mutant)));
                }
            }
            Site::Guard(guard) => self.guard(node, guard.clone(), inner),
            Site::Binary { left, right, .. } => {
                let operator = self.text[left.end..right.start].to_owned();
                self.choice(node, |weaver, mutant| {
                    weaver.copy(left.clone(), inner);
                    // What lies between the operands holds comments and blanks too: only the original keeps them.
                    match mutant {
                        Some(mutant) => weaver.out.push_str(&format!(" {} ", mutant.replacement)),
                        None => weaver.out.push_str(&operator),
                    }
                    weaver.copy(right.clone(), inner);
                });
            }
            Site::Unary { operand, whole } => {
                let operator = self.text[whole.start..operand.start].to_owned();
                self.choice(node, |weaver, mutant| {
                    if mutant.is_none() {
                        weaver.out.push_str(&operator);
                    }
                    weaver.copy(operand.clone(), inner);
                });
            }
            Site::Field { name, value, path, rest, .. } => {
                let (path, rest) = (self.text[path.clone()].to_owned(), self.text[rest.clone()].to_owned());
                self.out.push_str(&format!("{name}: "));
                self.choice(node, |weaver, mutant| match mutant {
                    Some(_) => weaver.out.push_str(&format!("let rest: {path} = {rest}; rest.{name}")),
                    None => weaver.copy(value.clone(), inner),
                });
            }
        }
    }

    fn guard(&mut self, node: &Node<'a>, guard: Bytes, inner: usize) {
        let (always, never): (Vec<&Mutant>, Vec<&Mutant>) =
            node.mutants.iter().partition(|mutant| mutant.replacement == "true");
        self.out.push('(');
        always.iter().for_each(|mutant| self.out.push_str(&format!("{} || ", on(mutant))));
        self.out.push('(');
        self.copy(guard, inner);
        self.out.push_str("))");
        never.iter().for_each(|mutant| self.out.push_str(&format!(" && !{}", on(mutant))));
    }

    /// `(if on(…) { … } else { … })`, the last without a mutant.
    fn choice(&mut self, node: &Node<'a>, mut way: impl FnMut(&mut Self, Option<&Mutant>)) {
        self.out.push('(');
        for mutant in &node.mutants {
            self.out.push_str(&format!("if {} ", on(mutant)));
            let begin = self.out.len();
            self.out.push_str("{ ");
            way(self, Some(mutant));
            self.out.push_str(" }");
            self.places.push((begin..self.out.len(), vec![mutant.id]));
            self.out.push_str(" else ");
        }
        self.out.push_str("{ ");
        way(self, None);
        self.out.push_str(" })");
    }
}

#[cfg(test)]
mod tests {
    use super::super::list::{Genre, Position, Span};
    use super::*;

    fn mutant(text: &str, id: u32, genre: Genre, what: &str, replacement: &str) -> Mutant {
        let at = text.find(what).expect("it is there");
        let line = text[..at].matches('\n').count() + 1;
        let column = at - text[..at].rfind('\n').map_or(0, |n| n + 1) + 1;
        let start = Position { line, column };
        let span = Span { start, end: start };
        let replacement = replacement.to_owned();
        let (name, key, file) = (String::new(), String::new(), String::new());
        Mutant { id, name, key, file, span, replacement, genre, returns_impl: false }
    }

    const TEXT: &str = "fn f(a: u8, b: u8) -> bool {\n    !g(a) && a + 1 < b\n}\n\
        fn h(a: u8) -> u8 {\n    match a {\n        0 | 1 => 5,\n        n if n < 9 => n,\n        _ => 0,\n    }\n}\n\
        const K: u8 = 3 * 4;\n";

    #[test]
    fn nested_changes_each_get_a_switch() {
        let mutants = [
            mutant(TEXT, 1, Genre::BinaryOperator, "&&", "||"),
            mutant(TEXT, 2, Genre::BinaryOperator, "+", "-"),
            mutant(TEXT, 3, Genre::BinaryOperator, "+", "*"),
            mutant(TEXT, 4, Genre::UnaryOperator, "!g", ""),
            mutant(TEXT, 5, Genre::FnValue, "!g", "true"),
            mutant(TEXT, 6, Genre::MatchArm, "0 | 1", ""),
            mutant(TEXT, 7, Genre::MatchArmGuard, "n < 9", "true"),
            mutant(TEXT, 8, Genre::MatchArmGuard, "n < 9", "false"),
            mutant(TEXT, 9, Genre::BinaryOperator, "* 4", "+"),
        ];
        let woven = weave(TEXT, &mutants.iter().collect::<Vec<_>>()).expect("weaves");
        let text = woven.text.replace("crate::mutant_switch::", "");
        assert!(syn::parse_file(&text).is_ok(), "{text}");
        for part in [
            "{ if on(5) { return true; } ",
            "(if on(4) { g(a) } else { !g(a) }) || (if on(2) { a - 1 } else if on(3) { a * 1 } else { a + 1 }) < b",
            "0 | 1 if !on(6) => 5",
            "n if (on(7) || (n < 9)) && !on(8) => n",
            "const K: u8 = 3 * 4;",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
        assert_eq!(woven.homeless, [9]);
        let at = woven.text.find("a - 1").expect("there");
        assert_eq!(woven.blamed(at, at + 5), Some(&[2][..]));
        let whole = woven.text.find("(if crate::mutant_switch::on(2)").expect("there");
        assert_eq!(woven.blamed(whole, whole + 3), Some(&[2, 3][..]));
        assert_eq!(woven.blamed(0, 1), None);
    }

    #[test]
    fn the_switches_are_a_module() {
        assert!(syn::parse_file(&switches()).is_ok());
    }
}
