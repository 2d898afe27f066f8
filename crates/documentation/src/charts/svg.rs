//! Draws a chart as SVG, in the colours of the page that it is shown on.

use std::fmt::Write as _;

use super::{Bar, Chart, Group, Role};

const WIDTH: f64 = 760.0;
/// Where bars begin, right of their labels.
const LEFT: f64 = 110.0;
/// What the longest bar may take; its value stands behind it.
const LONGEST: f64 = 520.0;
const BAR: f64 = 16.0;
const STEP: f64 = 22.0;

const STYLE: &str = r#"  <style>
    text { font-family: system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; font-size: 13px; fill: #1f2328; }
    .page { fill: #ffffff; }
    .title { font-weight: 600; font-size: 15px; }
    .group { font-weight: 600; fill: #57606a; }
    .ours { fill: #0969da; }
    .other { fill: #afb8c1; }
    .floor { fill: #d0d7de; }
    .range { stroke: #1f2328; stroke-width: 1.2; }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6edf3; }
      .page { fill: #0d1117; }
      .group { fill: #9aa4af; }
      .ours { fill: #58a6ff; }
      .other { fill: #6e7681; }
      .floor { fill: #3d444d; }
      .range { stroke: #e6edf3; }
    }
  </style>
"#;

/// The chart as an SVG document.
pub(super) fn draw(chart: &Chart) -> String {
    let bars: usize = chart.groups.iter().map(|group| group.bars.len()).sum();
    let height = 48.0 + chart.groups.len() as f64 * 34.0 + bars as f64 * STEP;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" role=\"img\" aria-label=\"{}\">\n{STYLE}",
        escaped(&chart.title)
    );
    let _ = writeln!(svg, "  <rect class=\"page\" width=\"{WIDTH}\" height=\"{height}\" rx=\"8\"/>");
    let _ = writeln!(svg, "  <text class=\"title\" x=\"16\" y=\"28\">{}</text>", escaped(&chart.title));
    let of_all = most(chart.groups.iter().flat_map(|group| &group.bars));
    let mut y = 42.0;
    for group in &chart.groups {
        let most = if chart.one_scale { of_all } else { most(&group.bars) };
        y = draw_group(&mut svg, group, most, y);
    }
    svg.push_str("</svg>\n");
    svg
}

fn draw_group(svg: &mut String, group: &Group, most: f64, mut y: f64) -> f64 {
    y += 20.0;
    let _ = writeln!(svg, "  <text class=\"group\" x=\"16\" y=\"{y}\">{}</text>", escaped(&group.title));
    y += 8.0;
    for bar in &group.bars {
        draw_bar(svg, bar, &group.unit, most, y);
        y += STEP;
    }
    y + 6.0
}

fn draw_bar(svg: &mut String, bar: &Bar, unit: &str, most: f64, y: f64) {
    let scaled = |value: f64| if most > 0.0 { value / most * LONGEST } else { 0.0 };
    let class = match bar.role {
        Role::Ours => "ours",
        Role::Other => "other",
        Role::Floor => "floor",
    };
    let (width, text) = (scaled(bar.value).max(1.0), y + BAR - 3.5);
    let _ =
        writeln!(svg, "  <text x=\"{}\" y=\"{text}\" text-anchor=\"end\">{}</text>", LEFT - 8.0, escaped(&bar.label));
    let _ = writeln!(
        svg,
        "  <rect class=\"{class}\" x=\"{LEFT}\" y=\"{y}\" width=\"{width:.1}\" height=\"{BAR}\" rx=\"2\"/>"
    );
    let mut end = LEFT + width;
    if let Some((least, most)) = bar.range {
        let (from, to, middle) = (LEFT + scaled(least), LEFT + scaled(most), y + BAR / 2.0);
        let _ = writeln!(
            svg,
            "  <path class=\"range\" d=\"M{from:.1} {middle}H{to:.1}M{from:.1} {0}V{1}M{to:.1} {0}V{1}\"/>",
            middle - 4.0,
            middle + 4.0
        );
        end = end.max(to);
    }
    let value = format!("{} {unit}", shown(bar.value));
    let _ = writeln!(svg, "  <text x=\"{:.1}\" y=\"{text}\">{}</text>", end + 8.0, value.trim_end());
}

fn most<'a>(bars: impl IntoIterator<Item = &'a Bar>) -> f64 {
    bars.into_iter().map(|bar| bar.range.map_or(bar.value, |(_, most)| most.max(bar.value))).fold(0.0, f64::max)
}

/// A number as people write it: no zeros at its end, and commas between thousands.
fn shown(value: f64) -> String {
    if value.fract() != 0.0 {
        return format!("{value}");
    }
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(label: &str, value: f64, range: Option<(f64, f64)>) -> Bar {
        Bar { label: label.into(), value, range, role: Role::Ours }
    }

    #[test]
    fn bars_are_as_long_as_their_values_and_the_longest_range_fits() {
        let bars = vec![bar("a & b", 5.0, None), bar("c", 8.0, Some((7.0, 10.0)))];
        let group = Group { title: "g".into(), unit: "s".into(), bars };
        let svg = draw(&Chart { title: "t".into(), groups: vec![group], one_scale: true });
        assert!(svg.contains("a &amp; b") && svg.contains(">5 s</text>"), "{svg}");
        assert!(svg.contains("width=\"260.0\"") && svg.contains("width=\"416.0\""), "{svg}");
        assert!(svg.contains("H630.0"), "the range ends at the longest: {svg}");
    }

    #[test]
    fn groups_have_one_scale_or_each_its_own() {
        let group = |value| Group { title: String::new(), unit: String::new(), bars: vec![bar("x", value, None)] };
        let mut chart = Chart { title: String::new(), groups: vec![group(1.0), group(2.0)], one_scale: true };
        assert_eq!(draw(&chart).matches("width=\"260.0\"").count(), 1);
        chart.one_scale = false;
        assert_eq!(draw(&chart).matches("width=\"520.0\"").count(), 2);
    }

    #[test]
    fn numbers_are_shown_as_people_write_them() {
        assert_eq!(shown(1083.7), "1083.7");
        assert_eq!(shown(10000.0), "10,000");
        assert_eq!(shown(40.0), "40");
    }
}
