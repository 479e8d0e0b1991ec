//! HTML that cannot be injected into: fixed text goes in as it is, everything else is escaped.

/// A page that is being written.
pub(super) struct Html(String);

impl Html {
    pub(super) fn new() -> Self {
        Self(String::with_capacity(16 * 1024))
    }

    /// Markup. Only what stands in this program can get here.
    pub(super) fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Text, or the value of an attribute in double quotes.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        for character in text.chars() {
            match character {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                other => self.0.push(other),
            }
        }
        self
    }

    /// A row of a table.
    pub(super) fn row(&mut self, cells: &[&str]) -> &mut Self {
        self.raw("<tr>");
        for cell in cells {
            self.raw("<td>").text(cell).raw("</td>");
        }
        self.raw("</tr>\n")
    }

    /// A labelled text field with what it says now.
    pub(super) fn field(&mut self, name: &'static str, value: &str) -> &mut Self {
        self.raw("<label>").raw(name).raw(" <input name=\"").raw(name).raw("\" value=\"");
        self.text(value).raw("\"></label>\n")
    }

    /// A labelled choice between words. An empty word leaves things as they are.
    pub(super) fn select(&mut self, name: &'static str, words: &[&str], chosen: &str) -> &mut Self {
        self.raw("<label>").raw(name).raw(" <select name=\"").raw(name).raw("\">");
        for word in words {
            self.raw(if *word == chosen { "<option selected>" } else { "<option>" });
            self.text(word).raw("</option>");
        }
        self.raw("</select></label>\n")
    }

    pub(super) fn finish(self) -> String {
        self.0
    }
}
