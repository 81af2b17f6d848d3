//! The capability graph as a picture: a card for each process, with a line for each capability; between two columns of
//! cards the objects that several processes share, and a curve from each line to what it names.
//!
//! What keeps it readable when there are many: what one process alone holds is a line and no more, and what very many
//! hold ("common") is named in a legend instead of being drawn to. So each line says all, and curves only show who
//! shares what with whom.

use std::collections::BTreeMap;
use std::fmt::Write;

use abi::Kind;

use crate::graph::{Graph, Held, ProcessView, rights_text};

/// A process may show so many lines; the rest is counted.
const LINES_MAX: usize = 24;
/// An object that more processes hold is common, when there are more than a few processes.
const COMMON_MIN: usize = 9;

/// From here on badges are written in hexadecimal.
const BADGE_LARGE: u64 = 100_000;

const CARD_WIDTH: usize = 400;
const LINE: usize = 16;
const HEAD: usize = 24;
const GAP: usize = 14;
const MARGIN: usize = 20;
const MIDDLE: usize = 420;
const NODE_WIDTH: usize = 150;

type Object = (Kind, u32);

/// Where a card is.
struct Card<'g> {
    view: &'g ProcessView,
    left: bool,
    y: usize,
    height: usize,
}

impl Card<'_> {
    fn x(&self) -> usize {
        if self.left { MARGIN } else { MARGIN + CARD_WIDTH + MIDDLE }
    }

    /// Where curves leave it, or reach it.
    fn edge(&self) -> usize {
        if self.left { self.x() + CARD_WIDTH } else { self.x() }
    }

    fn line_y(&self, line: usize) -> usize {
        self.y + HEAD + line * LINE + LINE / 2
    }
}

/// A picture under way.
struct Picture<'g> {
    graph: &'g Graph,
    cards: Vec<Card<'g>>,
    /// Shared objects and the height at which they are drawn.
    hubs: BTreeMap<Object, usize>,
    /// Common objects and how many processes hold them.
    common: BTreeMap<Object, usize>,
    top: usize,
    height: usize,
}

fn object_of(held: &Held) -> Option<Object> {
    held.capability.kind().map(|kind| (kind, held.capability.object))
}

/// A colour for what belongs to a process or object, by its index: neighbours differ clearly.
fn hue(index: u32) -> u32 {
    (u64::from(index) * 137 % 360) as u32
}

/// Draws the graph as SVG.
pub(crate) fn draw(graph: &Graph) -> String {
    let mut picture = Picture::new(graph);
    picture.place_hubs();
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = picture.write(&mut out);
    out
}

impl<'g> Picture<'g> {
    fn new(graph: &'g Graph) -> Self {
        let holders = holders(graph);
        let many = COMMON_MIN.max(graph.processes.len() / 4);
        let common: BTreeMap<Object, usize> = holders
            .iter()
            .filter(|((kind, _), held_by)| *kind != Kind::Process && held_by.len() > many)
            .map(|(object, held_by)| (*object, held_by.len()))
            .collect();
        let legend_rows = common.len().div_ceil(4);
        let top = MARGIN + 30 + if common.is_empty() { 0 } else { 20 + legend_rows * 22 };
        let height_of = |view: &ProcessView| HEAD + lines(view).max(1) * LINE + 6;
        let total: usize = graph.processes.iter().map(|view| height_of(view) + GAP).sum();
        let (mut cards, mut heights, mut placed) = (Vec::new(), [top; 2], 0);
        for view in &graph.processes {
            let height = height_of(view);
            // The left column takes the first half, so that neighbours by index stay neighbours.
            let left = 2 * placed < total;
            let y = heights[usize::from(!left)];
            heights[usize::from(!left)] += height + GAP;
            placed += height + GAP;
            cards.push(Card { view, left, y, height });
        }
        let hubs = holders
            .iter()
            .filter(|(object, held_by)| object.0 != Kind::Process && held_by.len() > 1 && !common.contains_key(object))
            .map(|(object, _)| (*object, 0))
            .collect();
        let height = heights[0].max(heights[1]).max(top + 60) + MARGIN;
        Self { graph, cards, hubs, common, top, height }
    }

    /// Each hub goes as near as it can to the middle of the lines that name it, in that order, without overlap.
    fn place_hubs(&mut self) {
        let mut wanted: Vec<(usize, Object)> = Vec::new();
        for object in self.hubs.keys() {
            let places: Vec<usize> = self
                .cards
                .iter()
                .flat_map(|card| {
                    let named = card.view.held.iter().take(LINES_MAX).enumerate();
                    named.filter(|(_, held)| object_of(held) == Some(*object)).map(|(line, _)| card.line_y(line))
                })
                .collect();
            let mean = places.iter().sum::<usize>().checked_div(places.len()).unwrap_or(self.top);
            wanted.push((mean, *object));
        }
        wanted.sort_unstable();
        let step = 26;
        let mut next = self.top;
        for (mean, object) in &wanted {
            let y = (*mean).max(next);
            self.hubs.insert(*object, y);
            next = y + step;
        }
        // Those that were pushed beyond the end move up again.
        let mut end = self.height.max(self.top + wanted.len() * step + MARGIN) - MARGIN;
        self.height = end + MARGIN;
        for (_, object) in wanted.iter().rev() {
            if let Some(y) = self.hubs.get_mut(object) {
                *y = (*y).min(end - step / 2);
                end = *y - step / 2;
            }
        }
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let width = 2 * (MARGIN + CARD_WIDTH) + MIDDLE;
        let height = self.height;
        writeln!(
            out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
             height=\"{height}\" font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" \
             fill=\"white\"/>"
        )?;
        let count = |number: usize, one: &str, many: &str| format!("{number} {}", if number == 1 { one } else { many });
        writeln!(
            out,
            "<text x=\"{MARGIN}\" y=\"{}\" font-size=\"15\" font-weight=\"bold\">{}, {}</text>",
            MARGIN + 14,
            count(self.graph.processes.len(), "process", "processes"),
            count(self.hubs.len(), "shared object", "shared objects")
        )?;
        self.write_legend(out)?;
        for card in &self.cards {
            self.write_curves(out, card)?;
        }
        for (object, y) in &self.hubs {
            let x = MARGIN + CARD_WIDTH + (MIDDLE - NODE_WIDTH) / 2;
            writeln!(
                out,
                "<rect x=\"{x}\" y=\"{}\" width=\"{NODE_WIDTH}\" height=\"20\" rx=\"10\" fill=\"{}\" stroke=\"#555\"/>\
                 <text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                y - 10,
                fill(object.0),
                x + NODE_WIDTH / 2,
                y + 4,
                self.graph.object_name(*object)
            )?;
        }
        for card in &self.cards {
            self.write_card(out, card)?;
        }
        out.push_str("</svg>\n");
        Ok(())
    }

    fn write_legend(&self, out: &mut String) -> std::fmt::Result {
        if self.common.is_empty() {
            return Ok(());
        }
        let y = MARGIN + 34;
        writeln!(out, "<text x=\"{MARGIN}\" y=\"{y}\" fill=\"#555\">held by many, and not drawn to:</text>")?;
        for (position, (object, held_by)) in self.common.iter().enumerate() {
            let (x, y) = (MARGIN + position % 4 * 270, y + 8 + position / 4 * 22);
            writeln!(
                out,
                "<rect x=\"{x}\" y=\"{y}\" width=\"260\" height=\"18\" rx=\"9\" fill=\"{}\" stroke=\"#555\"/>\
                 <text x=\"{}\" y=\"{}\">{}: by {held_by} processes</text>",
                fill(object.0),
                x + 10,
                y + 13,
                self.graph.object_name(*object)
            )?;
        }
        Ok(())
    }

    fn write_curves(&self, out: &mut String, card: &Card<'_>) -> std::fmt::Result {
        let hue = hue(card.view.index);
        for (line, held) in card.view.held.iter().take(LINES_MAX).enumerate() {
            let Some(object) = object_of(held) else { continue };
            let from = card.line_y(line);
            let title = format!(
                "process {} → {}: {}",
                card.view.index,
                self.graph.object_name(object),
                rights_text(held.capability.rights())
            );
            let (x, y) = if let Some(y) = self.hubs.get(&object) {
                let node = MARGIN + CARD_WIDTH + (MIDDLE - NODE_WIDTH) / 2;
                (if card.left { node } else { node + NODE_WIDTH }, *y)
            } else if object.0 == Kind::Process && object.1 != card.view.index {
                let Some(other) = self.cards.iter().find(|card| card.view.index == object.1) else { continue };
                (other.edge(), other.y + HEAD / 2)
            } else {
                continue;
            };
            let start = card.edge();
            let bend = |x: usize, left: bool| if left { x + 70 } else { x - 70 };
            let other_side = if object.0 == Kind::Process { x == MARGIN + CARD_WIDTH } else { !card.left };
            writeln!(
                out,
                "<path d=\"M{start} {from} C {} {from}, {} {y}, {x} {y}\" fill=\"none\" stroke=\"hsl({hue},60%,42%)\" \
                 stroke-opacity=\"0.75\"{}><title>{title}</title></path>",
                bend(start, card.left),
                bend(x, other_side),
                if object.0 == Kind::Process { " stroke-dasharray=\"5 3\"" } else { "" }
            )?;
        }
        Ok(())
    }

    fn write_card(&self, out: &mut String, card: &Card<'_>) -> std::fmt::Result {
        let (view, x, y, hue) = (card.view, card.x(), card.y, hue(card.view.index));
        writeln!(
            out,
            "<rect x=\"{x}\" y=\"{y}\" width=\"{CARD_WIDTH}\" height=\"{}\" rx=\"4\" fill=\"#fbfbfe\" \
             stroke=\"hsl({hue},45%,40%)\"/><rect x=\"{x}\" y=\"{y}\" width=\"{CARD_WIDTH}\" height=\"{}\" rx=\"4\" \
             fill=\"hsl({hue},55%,90%)\"/>",
            card.height,
            HEAD - 4
        )?;
        let states: Vec<String> =
            view.threads.iter().take(3).map(|(_, thread)| format!("{:?}", thread.state)).collect();
        let more = if view.threads.len() > 3 { format!(" and {} more", view.threads.len() - 3) } else { String::new() };
        writeln!(
            out,
            "<text x=\"{}\" y=\"{}\" font-weight=\"bold\">{}</text><text x=\"{}\" y=\"{}\" fill=\"#444\" \
             text-anchor=\"end\">{}{more}</text>",
            x + 8,
            y + 14,
            view.title(),
            x + CARD_WIDTH - 8,
            y + 14,
            if states.is_empty() { "no threads".into() } else { states.join(", ") }
        )?;
        for (line, held) in view.held.iter().take(LINES_MAX).enumerate() {
            let Some(object) = object_of(held) else { continue };
            let y = card.line_y(line) + 4;
            let badge = badge(held.capability.badge);
            let rights = short_rights(held);
            let dying = if held.capability.dying == 1 { " (dying)" } else { "" };
            writeln!(
                out,
                "<text x=\"{}\" y=\"{y}\" fill=\"#888\" text-anchor=\"end\">{}</text><circle cx=\"{}\" cy=\"{}\" \
                 r=\"4\" fill=\"{}\" stroke=\"#555\"/><text x=\"{}\" y=\"{y}\">{}{badge}{dying}</text><text x=\"{}\" \
                 y=\"{y}\" fill=\"#555\" font-size=\"10\" text-anchor=\"end\">{rights}</text>",
                x + 26,
                held.position,
                x + 36,
                y - 4,
                fill(object.0),
                x + 46,
                self.graph.object_name(object),
                x + CARD_WIDTH - 8
            )?;
        }
        if view.held.len() > LINES_MAX {
            let y = card.line_y(LINES_MAX) + 4;
            let more = view.held.len() - LINES_MAX;
            writeln!(out, "<text x=\"{}\" y=\"{y}\" fill=\"#888\">and {more} more</text>", x + 46)?;
        }
        Ok(())
    }
}

/// The rights of a capability as far as a line has room: all of them in one word, or the first few.
fn short_rights(held: &Held) -> String {
    // Large badges take some of the room.
    let characters_max = if held.capability.badge < BADGE_LARGE { 30 } else { 18 };
    let rights = held.capability.rights();
    if held.capability.kind().is_some_and(|kind| kind.rights() == rights) {
        return "all rights".into();
    }
    let text = rights_text(rights);
    match text.char_indices().nth(characters_max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// A badge behind an object's name: small ones are numbers, large ones have fields and are read by digit.
fn badge(badge: u64) -> String {
    match badge {
        0 => String::new(),
        1..BADGE_LARGE => format!(" #{badge}"),
        _ => format!(" #{badge:#x}"),
    }
}

fn lines(view: &ProcessView) -> usize {
    view.held.len().min(LINES_MAX + 1)
}

/// Which processes hold each object.
fn holders(graph: &Graph) -> BTreeMap<Object, Vec<u32>> {
    let mut holders: BTreeMap<Object, Vec<u32>> = BTreeMap::new();
    for view in &graph.processes {
        for object in view.held.iter().filter_map(object_of) {
            let by = holders.entry(object).or_default();
            if by.last() != Some(&view.index) {
                by.push(view.index);
            }
        }
    }
    holders
}

fn fill(kind: Kind) -> &'static str {
    match kind {
        Kind::Process => "#dde6ff",
        Kind::Thread => "#e8ddff",
        Kind::Endpoint => "#d8f3dc",
        Kind::Notification => "#fff3bf",
        Kind::Reply => "#ffe3e3",
        Kind::Budget => "#ffe8cc",
        _ => "#e9ecef",
    }
}
