//! Targets, and whether they are met.

/// A target with what was measured.
pub struct Judged {
    what: String,
    bound: String,
    measured: String,
    met: bool,
}

pub fn at_most(what: &str, bound: f64, measured: f64, digits: usize) -> Judged {
    judged(what, format!("≤ {bound:.digits$}"), measured, measured <= bound, digits)
}

pub fn at_least(what: &str, bound: f64, measured: f64, digits: usize) -> Judged {
    judged(what, format!("≥ {bound:.digits$}"), measured, measured >= bound, digits)
}

fn judged(what: &str, bound: String, measured: f64, met: bool, digits: usize) -> Judged {
    Judged { what: what.to_owned(), bound, measured: format!("{measured:.digits$}"), met }
}

impl Judged {
    pub fn print(all: &[Self]) {
        println!("\n| target | bound | measured | |\n| --- | ---: | ---: | --- |");
        for Self { what, bound, measured, met } in all {
            let met = if *met { "met" } else { "missed" };
            println!("| {what} | {bound} | {measured} | {met} |");
        }
    }
}
