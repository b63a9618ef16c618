//! What the README shows can be used as it stands there.

use std::collections::BTreeMap;

use super::*;

const README: &str = include_str!("../../../../../README.md");

/// What a snippet may leave out, by section.
const REST: [(&str, &str); 4] = [
    ("version", "version: v1\n"),
    ("admin", "admin: {identity: disabled}\n"),
    ("tls", "tls: {key: server.key, cert: server.crt}\n"),
    ("keystore", "keystore: {mem: {}}\n"),
];

fn variable_of_the_readme(name: &str) -> Option<String> {
    if name == "APP_IDENTITY" {
        // Another one than the admin's.
        return Some("b".repeat(64));
    }
    variable(match name {
        "ADMIN_IDENTITY" => "APP",
        "NODE_IDENTITY" => "IDENTITY",
        _ => "SECRET",
    })
}

/// The text with recipients where there are placeholders (`sealedge1a...`): for each another one.
fn with_recipients(block: &str) -> String {
    let mut recipients = BTreeMap::new();
    let mut whole = block.to_owned();
    for word in block
        .split_whitespace()
        .filter(|word| word.starts_with("sealedge1"))
    {
        let number = u8::try_from(recipients.len()).unwrap() + 1;
        recipients.entry(word).or_insert_with(|| {
            NodeIdentity::generate(&mut |bytes| bytes.fill(number))
                .recipient()
                .to_string()
        });
    }
    for (word, recipient) in recipients {
        whole = whole.replace(word, &recipient);
    }
    whole
}

/// A block within a list is indented.
fn dedented(block: &str) -> String {
    let indent = block.len() - block.trim_start_matches(' ').len();
    let lines = block.lines();
    lines
        .map(|line| format!("{}\n", line.get(indent..).unwrap_or_default()))
        .collect()
}

#[test]
fn every_configuration_in_the_readme_can_be_used() {
    let blocks = README.split("```yaml\n").skip(1);
    let blocks: Vec<String> = blocks
        .map(|rest| dedented(rest.split_once("```").unwrap().0))
        .collect();
    assert!(blocks.len() >= 4, "{}", blocks.len());
    for block in blocks {
        let mut whole = with_recipients(&block);
        for (section, text) in REST {
            if !whole
                .lines()
                .any(|line| line.starts_with(&format!("{section}:")))
            {
                whole += text;
            }
        }
        if let Err(problems) = parse_for_host(&whole, &variable_of_the_readme) {
            let problems: Vec<String> = problems.iter().map(Problem::to_string).collect();
            panic!("{whole}\n{}", problems.join("\n"));
        }
    }
}

#[test]
fn a_variable_in_braces_without_quotes_is_known() {
    let hint = "`${NAME}` inside `{ }` or `[ ]` needs quotes";
    let errors = |yaml: &str| {
        let problems = parse_for_host(yaml, &variable_of_the_readme).err().unwrap();
        let problems: Vec<String> = problems.iter().map(Problem::to_string).collect();
        problems.join("\n")
    };
    for yaml in [
        "version: v1\napprole: {id: ${ROLE}, secret: ${SECRET}}\n",
        "version: v1\napprole:\n  {\n    id: ${ROLE},\n    secret: ${SECRET}\n  }\n",
        "version: v1\nkeys: [${ROLE}]\n",
        "version: v1\nadmin: {identity: ${ROLE}}\n",
    ] {
        let said = errors(yaml);
        assert!(
            said.contains("not valid YAML") && said.ends_with(hint),
            "{said}"
        );
    }
    for yaml in [
        "address: ${ADDRESS}\nversion: v1\n  admin: x\n",
        "admin: {identity: \"${ROLE}\"}\nversion: v1\n  admin: x\n",
        "admin: {identity: '${ROLE}'\n",
        "admin: {identity: x # ${ROLE}\n",
    ] {
        let said = errors(yaml);
        assert!(
            said.contains("not valid YAML") && !said.contains(hint),
            "{said}"
        );
    }
}
