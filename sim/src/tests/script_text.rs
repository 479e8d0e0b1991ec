//! Scripts as text.

use crate::{Gate, Script};

#[test]
fn a_script_is_written_as_it_is_read() {
    let all = [
        "normal",
        "drop",
        "cut",
        "hang",
        "html",
        "empty",
        "wrong-types",
        "accept-without-id",
        "find-nothing",
        "refuse 23000",
        "huge 1000000",
        r#"answer 503 {"message": "try  later"}"#,
        "delay 500 normal",
        "apply-then drop",
        "apply-then delay 500 refuse 23112",
    ];
    for text in all {
        let script: Script = text.parse().expect(text);
        assert_eq!(script.to_string(), text);
    }
}

#[test]
fn spaces_do_not_matter_and_normal_goes_without_saying() {
    let script: Script = "  apply-then   delay  5 ".parse().expect("a script");
    assert_eq!(script.to_string(), "apply-then delay 5 normal");
    let script: Script = "answer 200".parse().expect("a script");
    assert_eq!(script.to_string(), "answer 200 ");
}

#[test]
fn what_is_no_script_gets_a_sentence() {
    let deep = "apply-then ".repeat(8) + "drop";
    let long = format!("answer 200 {}", "x".repeat(4_096));
    let cases = [
        ("", r#""" is no script; write normal, drop"#),
        ("explode", r#""explode" is no script; write normal, drop"#),
        ("drop 5", r#"nothing can follow drop, but there is "5""#),
        ("refuse", r#"refuse needs a number from 1 to 9223372036854775807, not """#),
        ("refuse no", r#"not "no""#),
        ("refuse 0", "refuse needs"),
        ("answer 100 x", "answer needs a number from 200 to 599"),
        ("delay 3600001", "delay needs a number from 0 to 3600000"),
        ("delay -1", "delay needs"),
        ("huge 67108865", "huge needs"),
        ("apply-then", r#""" is no script"#),
        (&deep, "a script has at most 8 steps"),
        (&long, "a script has at most 4096 bytes"),
    ];
    for (text, sentence) in cases {
        let problem = text.parse::<Script>().expect_err(text);
        assert!(problem.contains(sentence), "{text}: {problem}");
    }
}

#[test]
fn a_script_with_a_gate_can_be_shown_but_not_written() {
    assert_eq!(Script::Hold(Gate::new()).to_string(), "hold");
    "hold".parse::<Script>().expect_err("its gate is in a test");
}
