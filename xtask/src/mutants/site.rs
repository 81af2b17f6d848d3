//! Where in a source file a change belongs: found by parsing it, keyed as cargo-mutants names places.

use std::collections::HashMap;
use std::ops::Range;

use anyhow::Result;
use proc_macro2::{LineColumn, Span};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use super::list::{Genre, Position};

/// Bytes of the text.
pub(super) type Bytes = Range<usize>;

/// What the text around a change looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Site {
    /// A function's body: where its first statement would go.
    Body(usize),
    /// `left op right`.
    Binary { whole: Bytes, left: Bytes, right: Bytes },
    /// `!operand`, `-operand`.
    Unary { whole: Bytes, operand: Bytes },
    /// An arm without a guard: the end of its pattern.
    Arm(usize),
    /// The guard of an arm.
    Guard(Bytes),
    /// `field: value` of a struct made from `rest`; `path` names its type.
    Field { whole: Bytes, name: String, value: Bytes, path: Bytes, rest: Bytes },
}

/// Places by kind of change and where it begins.
pub(super) type Sites = HashMap<(Genre, Position), Site>;

/// All places of a file where a switch may stand. Constant code and conditions with `let` are left out: no switch can be
/// asked there.
pub(super) fn sites(text: &str) -> Result<Sites> {
    let file = syn::parse_file(text)?;
    let mut finder = Finder { sites: Sites::new(), constant: 0 };
    finder.visit_file(&file);
    Ok(finder.sites)
}

struct Finder {
    sites: Sites,
    constant: u32,
}

fn position(at: LineColumn) -> Position {
    Position { line: at.line, column: at.column + 1 }
}

fn bytes(of: &impl Spanned) -> Bytes {
    of.span().byte_range()
}

impl Finder {
    fn add(&mut self, genre: Genre, at: Span, site: Site) {
        if self.constant == 0 {
            self.sites.insert((genre, position(at.start())), site);
        }
    }

    fn body(&mut self, signature: &syn::Signature, block: &syn::Block, go_on: impl FnOnce(&mut Self)) {
        let constant = u32::from(signature.constness.is_some());
        self.constant += constant;
        if let Some(first) = block.stmts.first() {
            self.add(Genre::FnValue, first.span(), Site::Body(block.brace_token.span.open().byte_range().end));
        }
        go_on(self);
        self.constant -= constant;
    }

    fn constantly(&mut self, go_on: impl FnOnce(&mut Self)) {
        self.constant += 1;
        go_on(self);
        self.constant -= 1;
    }
}

/// Whether a condition has a `let` that binds for what follows.
fn has_let(expression: &syn::Expr) -> bool {
    match expression {
        syn::Expr::Let(_) => true,
        syn::Expr::Binary(binary) if matches!(binary.op, syn::BinOp::And(_)) => {
            has_let(&binary.left) || has_let(&binary.right)
        }
        _ => false,
    }
}

impl<'ast> Visit<'ast> for Finder {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.body(&item.sig, &item.block, |finder| visit::visit_item_fn(finder, item));
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.body(&item.sig, &item.block, |finder| visit::visit_impl_item_fn(finder, item));
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        match &item.default {
            Some(block) => self.body(&item.sig, block, |finder| visit::visit_trait_item_fn(finder, item)),
            None => visit::visit_trait_item_fn(self, item),
        }
    }

    fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
        self.constantly(|finder| visit::visit_item_const(finder, item));
    }

    fn visit_impl_item_const(&mut self, item: &'ast syn::ImplItemConst) {
        self.constantly(|finder| visit::visit_impl_item_const(finder, item));
    }

    fn visit_item_static(&mut self, item: &'ast syn::ItemStatic) {
        self.constantly(|finder| visit::visit_item_static(finder, item));
    }

    fn visit_expr_const(&mut self, block: &'ast syn::ExprConst) {
        self.constantly(|finder| visit::visit_expr_const(finder, block));
    }

    fn visit_type(&mut self, of: &'ast syn::Type) {
        self.constantly(|finder| visit::visit_type(finder, of));
    }

    fn visit_expr_repeat(&mut self, repeat: &'ast syn::ExprRepeat) {
        self.visit_expr(&repeat.expr);
        self.constantly(|finder| finder.visit_expr(&repeat.len));
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.constantly(|finder| visit::visit_item_enum(finder, item));
    }

    fn visit_expr_binary(&mut self, binary: &'ast syn::ExprBinary) {
        if !has_let(&binary.left) && !has_let(&binary.right) {
            let site = Site::Binary { whole: bytes(binary), left: bytes(&binary.left), right: bytes(&binary.right) };
            self.add(Genre::BinaryOperator, binary.op.span(), site);
        }
        visit::visit_expr_binary(self, binary);
    }

    fn visit_expr_unary(&mut self, unary: &'ast syn::ExprUnary) {
        let site = Site::Unary { whole: bytes(unary), operand: bytes(&unary.expr) };
        self.add(Genre::UnaryOperator, unary.op.span(), site);
        visit::visit_expr_unary(self, unary);
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        match &arm.guard {
            None => self.add(Genre::MatchArm, arm.span(), Site::Arm(bytes(&arm.pat).end)),
            Some((_, guard)) if !has_let(guard) => {
                self.add(Genre::MatchArmGuard, guard.span(), Site::Guard(bytes(guard)));
            }
            Some(_) => {}
        }
        visit::visit_arm(self, arm);
    }

    fn visit_expr_struct(&mut self, made: &'ast syn::ExprStruct) {
        if let Some(rest) = &made.rest {
            for field in &made.fields {
                if let syn::Member::Named(name) = &field.member {
                    let site = Site::Field {
                        whole: bytes(field),
                        name: name.to_string(),
                        value: bytes(&field.expr),
                        path: bytes(&made.path),
                        rest: bytes(rest),
                    };
                    self.add(Genre::StructField, field.span(), site);
                }
            }
        }
        visit::visit_expr_struct(self, made);
    }
}
