//! The parts of the page in their order.

use std::fmt::Write as _;

use super::{Page, Table, distribution, heat, incidents, scores, words::escape};

const STYLE: &str = include_str!("page.css");

/// The whole file.
pub(super) fn html(page: &Page) -> String {
    let title = format!("Backtest of {}", escape(&page.data));
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\" xmlns=\"http://www.w3.org/1999/xhtml\"><head><meta charset=\"utf-8\"/>\n{}\n<meta \
         name=\"viewport\" content=\"width=device-width, initial-scale=1\"/><title>{title}</title>\n<style>{STYLE}</style>\
         </head><body>\n<h1>{title}</h1>\n",
        super::GENERATOR
    );
    out += &groups(&page.figures);
    for warning in &page.warnings {
        let _ = writeln!(out, "<p class=\"note\" role=\"note\">{}</p>", escape(warning));
    }
    suggestions(&mut out, page);
    out += "<h2>Scores</h2>\n";
    for entity in &page.entities {
        out += &scores::picture(page, entity);
        out.push('\n');
    }
    if page.entities.is_empty() {
        out += "<p class=\"soft\">No row has a score.</p>";
    }
    page.table.iter().for_each(|listed| table(&mut out, listed));
    worst(&mut out, page);
    if !page.heat.features.is_empty() {
        let more = match page.heat.more {
            0 => String::new(),
            more => {
                format!("<p class=\"soft\">The features with the largest total error; {more} others are not shown.</p>")
            }
        };
        let _ = writeln!(out, "<h2>Features</h2>\n{}{more}", heat::picture(page));
    }
    let pictures = [distribution::calibration(page), distribution::scores(page)];
    if pictures.iter().any(Option::is_some) {
        let _ = writeln!(
            out,
            "<h2>Calibration and scores</h2>\n<div class=\"pair\">{}</div>",
            pictures.map(Option::unwrap_or_default).concat()
        );
    }
    out + "<footer>Made by strayd backtest. report.json beside this page holds all figures; docs/backtest.md says what each \
           means.</footer>\n</body></html>\n"
}

/// Names and figures, group by group.
fn groups(figures: &[(String, String)]) -> String {
    let mut out = String::from("<div class=\"groups\">");
    for group in figures.split(|(name, _)| name.is_empty()).filter(|group| !group.is_empty()) {
        out += "<dl>";
        for (name, value) in group {
            let _ = write!(out, "<dt>{}</dt><dd>{}</dd>", escape(name), escape(value));
        }
        out += "</dl>";
    }
    out + "</div>\n"
}

fn suggestions(out: &mut String, page: &Page) {
    if page.suggestions.is_empty() {
        return;
    }
    *out += "<h2>Suggestions</h2>\n";
    for (setting, why) in &page.suggestions {
        let _ = writeln!(out, "<p class=\"note advice\"><code>{}</code><br/>{}</p>", escape(setting), escape(why));
    }
    let _ = writeln!(out, "<p class=\"soft\">{}</p>", escape(page.caution));
}

fn table(out: &mut String, table: &Table) {
    *out += "<h2>Entities</h2>\n<div class=\"scroll\"><table><thead><tr>";
    for name in &table.head {
        let _ = write!(out, "<th scope=\"col\">{}</th>", escape(name));
    }
    *out += "</tr></thead><tbody>";
    for row in &table.rows {
        *out += "<tr>";
        for cell in row {
            let _ = write!(out, "<td>{}</td>", escape(cell));
        }
        *out += "</tr>\n";
    }
    *out += "</tbody></table></div>\n";
    if table.more > 0 {
        let _ = writeln!(
            out,
            "<p class=\"soft\">and {} others with no more alarms; report.json has them all</p>",
            table.more
        );
    }
}

fn worst(out: &mut String, page: &Page) {
    *out += "<h2>Worst incidents</h2>\n";
    if page.incidents.is_empty() {
        *out += "<p class=\"soft\">No incident was opened.</p>\n";
        return;
    }
    if page.incidents.len() < page.all_incidents {
        let (shown, all) = (page.incidents.len(), page.all_incidents);
        let _ = writeln!(out, "<p class=\"soft\">The {shown} with the highest peaks, of {all}.</p>");
    }
    for (index, incident) in page.incidents.iter().enumerate() {
        *out += &incidents::section(page, index + 1, incident);
        out.push('\n');
    }
}
