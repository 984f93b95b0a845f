//! Types and defaults in plain words.

use crate::reference::source::{Found, Sources, derives, doc, serde, text};
use anyhow::{Context, Result, bail, ensure};
use std::path::Path;
use syn::{
    Attribute, BinOp, Expr, Fields, GenericArgument, Ident, ImplItem, Item, ItemEnum, Lit,
    PathArguments, Stmt, Type, UnOp,
};

/// What a key is worth that is left out.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// It may not be.
    Needed,
    /// Nothing.
    Nothing,
    /// As a doc comment tells it.
    Told(String),
    /// A number, or a word in quotes.
    Literal(String),
    /// A text.
    Text(String),
    /// An empty list or table.
    Empty,
    /// Those of the table itself.
    Inner,
}

impl Value {
    /// As it stands in the page.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Needed => "*needed*".into(),
            // A text that is empty is there to be filled in.
            Self::Text(text) if text.is_empty() => "*needed*".into(),
            Self::Nothing => "–".into(),
            Self::Told(told) if told.contains([' ', '`', '*']) => told.clone(),
            Self::Told(told) => format!("`{told}`"),
            Self::Literal(literal) => format!("`{literal}`"),
            Self::Text(text) => format!("`\"{text}\"`"),
            Self::Empty => "none".into(),
            Self::Inner => "as below".into(),
        }
    }
}

/// The type within `Option<...>`, `Vec<...>` or the like.
fn inside<'t>(ty: &'t Type, outer: &str) -> Option<&'t Type> {
    let Type::Path(path) = ty else { return None };
    let segment = path.path.segments.last()?;
    let PathArguments::AngleBracketed(arguments) = &segment.arguments else { return None };
    if segment.ident != outer {
        return None;
    }
    arguments.args.iter().rev().find_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    })
}

pub(super) fn is_option(ty: &Type) -> bool {
    inside(ty, "Option").is_some()
}

/// Words for types that are not ours.
fn known(ty: &Type) -> Option<(&'static str, Value)> {
    let Type::Path(path) = ty else { return None };
    let zero = || Value::Literal("0".into());
    Some(match path.path.segments.last()?.ident.to_string().as_str() {
        "bool" => ("true or false", Value::Literal("false".into())),
        "u8" | "u16" | "u32" | "u64" | "usize" | "i32" | "i64" => ("whole number", zero()),
        "f32" | "f64" => ("number", zero()),
        "String" => ("text", Value::Text(String::new())),
        "PathBuf" => ("path", Value::Text(String::new())),
        "SocketAddr" => ("address and port", Value::Needed),
        // `toml::Table`: another program's.
        "Table" => ("table", Value::Empty),
        _ => return None,
    })
}

fn found(sources: &Sources, file: &Path, ty: &Type) -> Result<Found> {
    let Type::Path(path) = ty else { bail!("a type that is no path: teach it here") };
    sources.resolve(file, &path.path)
}

/// The table that a key holds, if it does, and whether it may hold several.
pub(super) fn table_of(sources: &Sources, file: &Path, ty: &Type) -> Result<Option<(Found, bool)>> {
    if let Some(inner) = inside(ty, "Option") {
        return table_of(sources, file, inner);
    }
    if let Some(inner) = inside(ty, "Vec") {
        return Ok(table_of(sources, file, inner)?.map(|(table, _)| (table, true)));
    }
    if known(ty).is_some() || inside(ty, "BTreeMap").is_some() {
        return Ok(None);
    }
    let found = found(sources, file, ty)?;
    let is_table =
        matches!(&found.item, Item::Struct(item) if matches!(item.fields, Fields::Named(_)));
    Ok(is_table.then_some((found, false)))
}

/// What may be written for a type.
pub(super) fn words(sources: &Sources, file: &Path, ty: &Type) -> Result<String> {
    if let Some(inner) = inside(ty, "Option") {
        return words(sources, file, inner);
    }
    if let Some(inner) = inside(ty, "Vec") {
        let inner = words(sources, file, inner)?;
        return Ok(if inner == "table" { "tables".into() } else { format!("list of {inner}") });
    }
    if let Some(inner) = inside(ty, "BTreeMap") {
        return Ok(format!("table, each key {}", words(sources, file, inner)?));
    }
    if let Some((word, _)) = known(ty) {
        return Ok(word.into());
    }
    let found = found(sources, file, ty)?;
    match &found.item {
        Item::Struct(item) if matches!(item.fields, Fields::Named(_)) => Ok("table".into()),
        Item::Struct(item)
            if serde(&item.attrs)?.get("try_from").is_some_and(|from| from == "String") =>
        {
            Ok("text".into())
        }
        Item::Enum(choice) => words_of(sources, &found, choice),
        _ => bail!("there is no word for this type: teach it here"),
    }
}

fn words_of(sources: &Sources, found: &Found, choice: &ItemEnum) -> Result<String> {
    let told = serde(&choice.attrs)?;
    if let Some(from) = told.get("from") {
        return words(sources, &found.file, &syn::parse_str(from)?);
    }
    if told.contains_key("untagged") {
        let mut each: Vec<String> = Vec::new();
        for variant in &choice.variants {
            let inner = variant.fields.iter().next().context("a variant of nothing")?;
            let words = words(sources, &found.file, &inner.ty)?;
            let is_list =
                words.strip_prefix("list of ").is_some_and(|of| each.iter().any(|one| one == of));
            each.push(if is_list { "a list of them".into() } else { words });
        }
        return Ok(each.join(", or "));
    }
    let variants = variants(choice)?;
    let quoted: Vec<_> = variants.iter().map(|(word, _)| format!("\"{word}\"")).collect();
    Ok(match quoted.as_slice() {
        [word] => word.clone(),
        _ => format!("one of {}", quoted.join(", ")),
    })
}

/// The words of a choice, and what each means; nothing for another type.
pub(super) fn values(sources: &Sources, file: &Path, ty: &Type) -> Result<Vec<(String, String)>> {
    if let Some(inner) = inside(ty, "Option").or_else(|| inside(ty, "Vec")) {
        return values(sources, file, inner);
    }
    if known(ty).is_some() || inside(ty, "BTreeMap").is_some() {
        return Ok(Vec::new());
    }
    let found = found(sources, file, ty)?;
    let Item::Enum(choice) = &found.item else { return Ok(Vec::new()) };
    let told = serde(&choice.attrs)?;
    if let Some(from) = told.get("from") {
        return values(sources, &found.file, &syn::parse_str(from)?);
    }
    if !told.contains_key("untagged") {
        return variants(choice);
    }
    let mut all: Vec<(String, String)> = Vec::new();
    for variant in &choice.variants {
        for field in &variant.fields {
            for value in values(sources, &found.file, &field.ty)? {
                if !all.contains(&value) {
                    all.push(value);
                }
            }
        }
    }
    Ok(all)
}

fn variants(choice: &ItemEnum) -> Result<Vec<(String, String)>> {
    // Where reading is written by hand, the words are the names in lower case.
    let by_hand =
        if derives(&choice.attrs, "Deserialize") { None } else { Some("lowercase".to_owned()) };
    let rule = serde(&choice.attrs)?.get("rename_all").cloned().or(by_hand);
    let each = choice.variants.iter().map(|variant| {
        ensure!(
            matches!(variant.fields, Fields::Unit),
            "{} holds fields: teach it here",
            choice.ident
        );
        let name = variant.ident.to_string();
        let renamed = serde(&variant.attrs)?.get("rename").cloned();
        let renamed = renamed.or_else(|| rule.as_ref().map(|rule| rename(&name, rule)));
        Ok((renamed.unwrap_or(name), doc(&variant.attrs)))
    });
    each.collect()
}

/// What serde makes of a name by a rule.
pub(super) fn rename(name: &str, rule: &str) -> String {
    let words = || {
        let mut words = String::new();
        for letter in name.chars() {
            if letter.is_uppercase() && !words.is_empty() {
                words.push('_');
            }
            words.extend(letter.to_lowercase());
        }
        words
    };
    match rule {
        "lowercase" => name.to_lowercase(),
        "kebab-case" => words().replace('_', "-"),
        "snake_case" => words(),
        _ => name.to_owned(),
    }
}

/// What a type is by default.
pub(super) fn of_type(sources: &Sources, file: &Path, ty: &Type) -> Result<Value> {
    if is_option(ty) {
        return Ok(Value::Nothing);
    }
    if inside(ty, "Vec").is_some() || inside(ty, "BTreeMap").is_some() {
        return Ok(Value::Empty);
    }
    if let Some((_, value)) = known(ty) {
        return Ok(value);
    }
    let found = found(sources, file, ty)?;
    match &found.item {
        Item::Enum(choice) => {
            let is_default = |attribute: &Attribute| attribute.path().is_ident("default");
            let mut all = choice.variants.iter();
            let chosen = all.find(|variant| variant.attrs.iter().any(is_default));
            let chosen = chosen.with_context(|| format!("{} has no default", choice.ident))?;
            word(&found, choice, &chosen.ident)
        }
        _ => Ok(Value::Inner),
    }
}

/// The word of a variant.
fn word(found: &Found, choice: &ItemEnum, name: &Ident) -> Result<Value> {
    let told = serde(&choice.attrs)?;
    if told.contains_key("from") || told.contains_key("untagged") {
        return Ok(Value::Text(rename(&name.to_string(), "kebab-case")));
    }
    let place = choice.variants.iter().position(|variant| variant.ident == *name);
    let place = place.with_context(|| format!("{} has no {name}", found.file.display()))?;
    Ok(Value::Text(variants(choice)?.swap_remove(place).0))
}

/// What a field is in the `Default` that a file implements for its struct.
pub(super) fn of_default(
    sources: &Sources,
    file: &Path,
    structure: &Ident,
    field: &Ident,
) -> Result<Value> {
    for item in &sources.file(file)?.items {
        let Item::Impl(implementation) = item else { continue };
        let of_trait = implementation.trait_.as_ref().and_then(|(_, path, _)| path.segments.last());
        let is_default = of_trait.is_some_and(|segment| segment.ident == "Default");
        let Type::Path(own) = &*implementation.self_ty else { continue };
        if !is_default || !own.path.is_ident(structure) {
            continue;
        }
        for item in &implementation.items {
            let ImplItem::Fn(function) = item else { continue };
            let Some(Stmt::Expr(Expr::Struct(made), None)) = function.block.stmts.last() else {
                bail!("Default of {structure} is no struct at its end: teach it here")
            };
            for value in &made.fields {
                if matches!(&value.member, syn::Member::Named(name) if name == field) {
                    return of_expression(sources, file, &value.expr);
                }
            }
        }
    }
    bail!("{} has no Default of {structure} with {field}", file.display())
}

/// What a function answers with.
pub(super) fn of_function(sources: &Sources, file: &Path, name: &str) -> Result<Value> {
    let function = sources.function(file, name)?;
    match function.block.stmts.last() {
        Some(Stmt::Expr(value, None)) => of_expression(sources, file, value),
        _ => bail!("{name} does more than answer with a value: teach it here"),
    }
}

/// The doc comment and the value of a constant.
pub(super) fn of_constant(sources: &Sources, file: &Path, name: &str) -> Result<(String, Value)> {
    for item in &sources.file(file)?.items {
        if let Item::Const(constant) = item
            && constant.ident == name
        {
            return Ok((doc(&constant.attrs), of_expression(sources, file, &constant.expr)?));
        }
    }
    bail!("{} has no constant {name}", file.display())
}

fn of_expression(sources: &Sources, file: &Path, value: &Expr) -> Result<Value> {
    if let Some(text) = text(value) {
        return Ok(Value::Text(text));
    }
    if let Some(number) = whole(sources, file, value) {
        return Ok(Value::Literal(number.to_string()));
    }
    match value {
        Expr::Lit(literal) => match &literal.lit {
            Lit::Float(number) => Ok(Value::Literal(number.base10_digits().to_owned())),
            Lit::Bool(bool) => Ok(Value::Literal(bool.value.to_string())),
            _ => bail!("a literal of an unusual kind: teach it here"),
        },
        Expr::Unary(unary) if matches!(unary.op, UnOp::Neg(_)) => {
            match of_expression(sources, file, &unary.expr)? {
                Value::Literal(number) => Ok(Value::Literal(format!("-{number}"))),
                _ => bail!("the negative of no number"),
            }
        }
        // `"text".into()` and the like.
        Expr::MethodCall(call) if call.args.is_empty() => {
            of_expression(sources, file, &call.receiver)
        }
        Expr::Call(call) => of_call(sources, file, call),
        Expr::Path(path) if path.path.is_ident("None") => Ok(Value::Nothing),
        Expr::Path(path) => of_path(sources, file, &path.path),
        _ => bail!("a default that is no literal: teach it here, or tell it as [default: ...]"),
    }
}

fn of_call(sources: &Sources, file: &Path, call: &syn::ExprCall) -> Result<Value> {
    let Expr::Path(function) = &*call.func else { bail!("a call of no function") };
    let segments: Vec<_> =
        function.path.segments.iter().map(|part| part.ident.to_string()).collect();
    match segments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["String" | "PathBuf", "new"] => Ok(Value::Text(String::new())),
        ["Vec" | "BTreeMap", "new"] => Ok(Value::Empty),
        ["String" | "PathBuf", "from"] | ["Some"] => {
            of_expression(sources, file, call.args.first().context("a call of nothing")?)
        }
        [name, "default"] => of_type(sources, file, &syn::parse_str(name)?),
        _ => bail!(
            "a default that calls {}: teach it here, or tell it as [default: ...]",
            segments.join("::")
        ),
    }
}

fn of_path(sources: &Sources, file: &Path, path: &syn::Path) -> Result<Value> {
    let last = path.segments.last().context("an empty path")?;
    if path.segments.len() == 1 {
        return of_expression(sources, file, &sources.constant(file, &last.ident.to_string())?);
    }
    let mut owner = path.clone();
    owner.segments.pop();
    owner.segments.pop_punct();
    let found = sources.resolve(file, &owner)?;
    match &found.item {
        Item::Enum(choice) => word(&found, choice, &last.ident),
        _ => bail!("a default that is part of no enum: teach it here"),
    }
}

/// The value of a whole number, reckoned.
fn whole(sources: &Sources, file: &Path, value: &Expr) -> Option<i128> {
    match value {
        Expr::Lit(literal) => match &literal.lit {
            Lit::Int(number) => number.base10_parse().ok(),
            _ => None,
        },
        Expr::Paren(inner) => whole(sources, file, &inner.expr),
        Expr::Path(path) => {
            let name = path.path.get_ident()?.to_string();
            whole(sources, file, &sources.constant(file, &name).ok()?)
        }
        Expr::Binary(binary) => {
            let (left, right) =
                (whole(sources, file, &binary.left)?, whole(sources, file, &binary.right)?);
            match binary.op {
                BinOp::Add(_) => left.checked_add(right),
                BinOp::Mul(_) => left.checked_mul(right),
                BinOp::Shl(_) => left.checked_shl(u32::try_from(right).ok()?),
                _ => None,
            }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> String {
        let sources = Sources::default();
        let file = Path::new("crates/modbus/src/settings.rs");
        of_expression(&sources, file, &syn::parse_str(text).unwrap()).unwrap().shown()
    }

    #[test]
    fn defaults_are_told_as_they_are_written_in_files() {
        assert_eq!(value("16 << 20"), "`16777216`");
        assert_eq!(value("14 * 24 * 60"), "`20160`");
        assert_eq!(value("0.001"), "`0.001`");
        assert_eq!(value("\"entity\".into()"), "`\"entity\"`");
        assert_eq!(value("String::new()"), "*needed*");
        assert_eq!(value("Order::Big"), "`\"big\"`");
        assert_eq!(value("None"), "–");
    }

    #[test]
    fn names_follow_serdes_rules() {
        assert_eq!(rename("IsolationForest", "kebab-case"), "isolation-forest");
        assert_eq!(rename("IotHub", "lowercase"), "iothub");
        assert_eq!(rename("HeldBack", "snake_case"), "held_back");
    }
}
