//! The page as steps: its shell blocks in their order, each with what the page says will be seen.

use anyhow::{Context as _, Result, ensure};

/// One shell block of the page, or what the test does out of sight to bring a symptom about.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Line of the page, from 1.
    pub line: usize,
    pub heading: String,
    pub script: String,
    /// Lines that must be printed in this order, `…` standing for anything; none: anything will do.
    pub seen: Vec<String>,
    /// The exit code.
    pub code: i32,
}

/// A page of operations.
#[derive(Debug, Default)]
pub struct Page {
    pub steps: Vec<Step>,
    /// The configuration of a node, as the page has it.
    pub config: String,
    /// The command of the service, as the page has it.
    pub exec_start: String,
}

impl Page {
    /// Reads ```` ```sh ```` blocks, each with the ```` ```text ```` block after it, and
    /// `<!-- sh … -->` for what only the test does.
    pub fn read(text: &str) -> Result<Self> {
        let mut page = Self::default();
        let mut lines = text.lines().enumerate();
        let mut heading = String::new();
        while let Some((at, line)) = lines.next() {
            if line.starts_with('#') {
                heading = line.trim_start_matches('#').trim().to_owned();
            }
            let (kind, end) = match line.trim() {
                "<!-- sh" => ("sh", "-->"),
                fence => match fence.strip_prefix("```") {
                    Some(kind) => (kind, "```"),
                    None => continue,
                },
            };
            let block = lines.by_ref().map(|(_, line)| line);
            let block: Vec<&str> = block.take_while(|line| line.trim() != end).collect();
            match kind {
                "sh" => page.steps.push(Step {
                    line: at + 1,
                    heading: heading.clone(),
                    script: block.join("\n"),
                    ..Step::default()
                }),
                "text" => page.seen(at + 1, &block)?,
                "toml" => page.config = block.join("\n"),
                "ini" => {
                    let exec = block.iter().find_map(|l| l.strip_prefix("ExecStart="));
                    exec.context("the unit has no ExecStart")?
                        .clone_into(&mut page.exec_start);
                }
                other => anyhow::bail!("line {}: nobody knows a block of `{other}`", at + 1),
            }
        }
        Ok(page)
    }

    fn seen(&mut self, line: usize, block: &[&str]) -> Result<()> {
        let step = self.steps.last_mut();
        let step = step.with_context(|| format!("line {line}: seen after no command"))?;
        ensure!(
            step.seen.is_empty(),
            "line {line}: two answers to one command"
        );
        let mut block = block.to_vec();
        if let Some(code) = block.last().and_then(|l| l.strip_prefix("exit code ")) {
            step.code = code.parse()?;
            block.pop();
        }
        step.seen = block.iter().map(|l| (*l).to_owned()).collect();
        Ok(())
    }
}

impl Step {
    /// The first line of the page that was not seen.
    pub fn missing(&self, output: &str) -> Option<&str> {
        let mut printed = output.lines();
        let mut seen = self.seen.iter().filter(|line| line.trim() != "…");
        seen.find(|want| !printed.by_ref().any(|line| matches(want, line)))
            .map(String::as_str)
    }
}

/// True if a printed line is as the page has it: `…` is any text, and any blanks are like any.
fn matches(want: &str, line: &str) -> bool {
    let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (want, line) = (squeeze(want), squeeze(line));
    let parts: Vec<&str> = want.split('…').map(str::trim).collect();
    let [first, middle @ ..] = parts.as_slice() else {
        return false;
    };
    let Some((last, middle)) = middle.split_last() else {
        return *first == line;
    };
    let Some(mut rest) = line.strip_prefix(first) else {
        return false;
    };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[test]
fn a_page_is_its_blocks_in_order() {
    let page = Page::read(
        "## Look\n```sh\nfanfare cluster status\n```\nYou see\n```text\nview …\nexit code 3\n```\n<!-- sh\nbreak it\n-->\n",
    )
    .unwrap();
    let step = Step {
        line: 2,
        heading: "Look".to_owned(),
        script: "fanfare cluster status".to_owned(),
        seen: vec!["view …".to_owned()],
        code: 3,
    };
    assert_eq!(page.steps[0], step);
    assert_eq!(
        (page.steps[1].line, page.steps[1].script.as_str()),
        (10, "break it")
    );
}

#[test]
fn an_answer_may_leave_out_but_not_say_otherwise() {
    let step = Step {
        seen: vec![
            "view …, 4 of 4 shards".to_owned(),
            "…".to_owned(),
            "3 n1 …".to_owned(),
        ],
        ..Step::default()
    };
    assert_eq!(
        step.missing("x\nview 12,  4 of 4 shards\n\n3  n1   n2\n"),
        None
    );
    assert_eq!(
        step.missing("view 12, 3 of 4 shards\n3 n1 n2"),
        Some("view …, 4 of 4 shards")
    );
    assert_eq!(
        step.missing("3 n1 n2\nview 12, 4 of 4 shards\n"),
        Some("3 n1 …")
    );
}
