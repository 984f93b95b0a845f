//! A report that people read: one self-contained page of HTML, and the same in Markdown.
//!
//! Whatever stands in it is escaped: names of fields, devices and people come from elsewhere. Knows
//! nothing of what is reported.

use std::fmt::Write as _;

use crate::judge::{Gate, Passage};
use crate::plot::{Svg, escape};

/// A report.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What it is about.
    pub title: String,
    /// How it ended, in a sentence.
    pub outcome: String,
    /// Whether that is good.
    pub is_good: bool,
    /// Facts, each with its name.
    pub facts: Vec<(String, String)>,
    /// The gates.
    pub gates: Vec<Gate>,
    /// Figures side by side.
    pub tables: Vec<Table>,
    /// Drawings.
    pub plots: Vec<Plot>,
    /// What else is worth telling, in sentences.
    pub notes: Vec<String>,
}

/// Figures in rows and columns.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// What it shows.
    pub title: String,
    /// Names of the columns.
    pub header: Vec<String>,
    /// The rows, each as long as the header.
    pub rows: Vec<Vec<String>>,
}

/// A drawing with a sentence.
#[derive(Clone, Debug)]
pub struct Plot {
    /// Name of its file, such as `scores.svg`.
    pub file: String,
    /// How to read it.
    pub caption: String,
    /// The drawing.
    pub svg: Svg,
}

const STYLE: &str = "\
:root{color-scheme:light dark}\
body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem;\
color:#1b1f24;background:#fff}\
h1{font-size:1.6rem}h2{font-size:1.2rem;margin-top:2rem}\
table{border-collapse:collapse;width:100%}\
th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #d0d7de;\
overflow-wrap:anywhere;vertical-align:top;min-width:3.5rem}\
.good{color:#116329}.bad{color:#b3261e}.none{color:#57606a}\
.outcome{font-size:1.1rem;font-weight:600;padding:.6rem .8rem;border-left:4px solid}\
figure{margin:1rem 0}svg{max-width:100%;height:auto}\
@media (prefers-color-scheme:dark){body{color:#e6edf3;background:#14181d}\
th,td{border-color:#30363d}.good{color:#56d364}.bad{color:#ff8e86}.none{color:#9aa4af}}";

impl Report {
    /// The report as one page that needs nothing else.
    pub fn html(&self) -> String {
        let title = escape(&self.title);
        let class = if self.is_good { "good" } else { "bad" };
        // No script and nothing from elsewhere, whatever slipped through.
        let mut page = format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
             style-src 'unsafe-inline'\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n\
             <h1>{title}</h1>\n<p class=\"outcome {class}\">{}</p>\n",
            escape(&self.outcome)
        );
        for table in self.all_tables() {
            html_table(&mut page, &table);
        }
        if !self.plots.is_empty() {
            page.push_str("<h2>Plots</h2>\n");
        }
        for plot in &self.plots {
            let caption = escape(&plot.caption);
            add(
                &mut page,
                format_args!("<figure>{}<figcaption>{caption}</figcaption></figure>\n", plot.svg),
            );
        }
        if !self.notes.is_empty() {
            page.push_str("<h2>Notes</h2>\n<ul>\n");
            for note in &self.notes {
                add(&mut page, format_args!("<li>{}</li>\n", escape(note)));
            }
            page.push_str("</ul>\n");
        }
        page.push_str("</main>\n</body>\n</html>\n");
        page
    }

    /// The report in Markdown, whose drawings are files beside it in `plots/`.
    pub fn markdown(&self) -> String {
        let mut text = format!("# {}\n\n**{}**\n", markdown(&self.title), markdown(&self.outcome));
        for table in self.all_tables() {
            markdown_table(&mut text, &table);
        }
        if !self.plots.is_empty() {
            text.push_str("\n## Plots\n");
        }
        for plot in &self.plots {
            let (caption, file) = (markdown(&plot.caption), &plot.file);
            add(&mut text, format_args!("\n![{caption}](plots/{file})\n\n{caption}\n"));
        }
        if !self.notes.is_empty() {
            text.push_str("\n## Notes\n\n");
            for note in &self.notes {
                add(&mut text, format_args!("- {}\n", markdown(note)));
            }
        }
        text
    }

    /// Facts and gates as tables, and the others behind them.
    fn all_tables(&self) -> Vec<Table> {
        let facts = Table {
            title: "Facts".into(),
            header: vec!["fact".into(), "value".into()],
            rows: self
                .facts
                .iter()
                .map(|(name, value)| vec![name.clone(), value.clone()])
                .collect(),
        };
        let gates = Table {
            title: "Gates".into(),
            header: ["gate", "result", "found", "needed"].map(Into::into).into(),
            rows: self.gates.iter().map(gate_row).collect(),
        };
        let all = [gates, facts].into_iter().chain(self.tables.iter().cloned());
        all.filter(|table| !table.rows.is_empty()).collect()
    }
}

fn gate_row(gate: &Gate) -> Vec<String> {
    let result = match gate.passage {
        Passage::Passed => "passed",
        Passage::Failed => "FAILED",
        Passage::NotJudged => "not judged",
    };
    vec![gate.name.into(), result.into(), gate.found.clone(), gate.needed.clone()]
}

fn html_table(page: &mut String, table: &Table) {
    add(page, format_args!("<h2>{}</h2>\n<table>\n<thead><tr>", escape(&table.title)));
    for cell in &table.header {
        add(page, format_args!("<th scope=\"col\">{}</th>", escape(cell)));
    }
    page.push_str("</tr></thead>\n<tbody>\n");
    for row in &table.rows {
        page.push_str("<tr>");
        for cell in row {
            // The words of a result carry it; the colour only helps.
            let class = match cell.as_str() {
                "passed" => " class=\"good\"",
                "FAILED" => " class=\"bad\"",
                "not judged" => " class=\"none\"",
                _ => "",
            };
            add(page, format_args!("<td{class}>{}</td>", escape(cell)));
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody>\n</table>\n");
}

fn markdown_table(text: &mut String, table: &Table) {
    add(text, format_args!("\n## {}\n\n", markdown(&table.title)));
    let line = |cells: &[String]| {
        let cells: Vec<String> = cells.iter().map(|cell| markdown(cell)).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    text.push_str(&line(&table.header));
    add(text, format_args!("|{}\n", "---|".repeat(table.header.len())));
    for row in &table.rows {
        text.push_str(&line(row));
    }
}

/// A text that Markdown takes for nothing but text, on one line.
fn markdown(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '&' => escaped.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '!' | '~' => {
                escaped.push('\\');
                escaped.push(c);
            }
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

fn add(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("a string takes all");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::{Bar, bars};

    const NASTY: &str = "<script>alert(\"1\")</script> | [x](javascript:1)\n# `y` & 'z'";

    fn report(text: &str) -> Report {
        let bar = [Bar { name: text, value: 0.3 }];
        let gate = Gate {
            name: "agreement",
            passage: Passage::Failed,
            found: text.into(),
            needed: "at least 95 %".into(),
        };
        Report {
            title: text.into(),
            outcome: text.into(),
            is_good: false,
            facts: vec![(text.into(), text.into())],
            gates: vec![gate],
            tables: vec![Table {
                title: text.into(),
                header: vec![text.into()],
                rows: vec![vec![text.into()]],
            }],
            plots: vec![Plot {
                file: "psi.svg".into(),
                caption: text.into(),
                svg: bars(text, "PSI", &bar, &[0.1]),
            }],
            notes: vec![text.into()],
        }
    }

    #[test]
    fn nothing_that_was_written_becomes_markup() {
        let page = report(NASTY).html();
        assert!(!page.contains("<script"), "{page}");
        assert!(!page.contains("href") && !page.contains("src="), "nothing is loaded");
        let text = report(NASTY).markdown();
        assert!(!text.contains("<script") && !text.contains("[x]("), "{text}");
        let rows = text.lines().filter(|line| line.starts_with('|')).collect::<Vec<_>>();
        let columns = |line: &str| line.replace("\\|", "").matches('|').count();
        assert!(rows.iter().all(|line| [2, 3, 5].contains(&columns(line))), "{rows:?}");
    }

    #[test]
    fn it_tells_what_there_is_and_nothing_else() {
        let page = report("pump").html();
        for part in ["FAILED", "at least 95 %", "<svg", "Notes", "class=\"outcome bad\""] {
            assert!(page.contains(part), "{part}");
        }
        let blank = Report { title: "t".into(), outcome: "o".into(), ..Report::default() };
        let (page, text) = (blank.html(), blank.markdown());
        for part in ["Gates", "Plots", "Notes", "<table"] {
            assert!(!page.contains(part) && !text.contains(part), "{part}");
        }
    }
}
