//! `fanfare cluster upgrade`: the last step of an upgrade, after which older binaries do not start.

use fanfare_client::{Admin, Upgraded};
use serde_json::json;

use crate::args::Upgrade;
use crate::failure::Failure;
use crate::{output, reach};

pub fn run(args: Upgrade) -> Result<(), Failure> {
    let endpoints = reach::endpoints(&args.reach)?;
    let token = args.reach.token.clone();
    reach::with(&token, async move |machine| {
        let admin = Admin::new(machine, &endpoints);
        let upgraded = admin.upgrade().await.map_err(reach::admin(&args.reach))?;
        output::line(&match args.json {
            true => json(upgraded),
            false => text(upgraded),
        })
    })
}

fn json(
    Upgraded {
        level,
        known,
        raised,
    }: Upgraded,
) -> String {
    json!({ "level": level, "known": known, "raised": raised }).to_string()
}

fn text(
    Upgraded {
        level,
        known,
        raised,
    }: Upgraded,
) -> String {
    let done = match raised {
        true => format!("raised to feature level {level}: older binaries do not start any more"),
        false => format!("the cluster is at feature level {level}"),
    };
    match level < known {
        true => format!("{done}; this binary knows level {known}: say it again"),
        false => format!("{done}, the highest this binary knows"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_holds_now_and_whether_there_is_more() {
        let told = |level, raised| {
            text(Upgraded {
                level,
                known: 3,
                raised,
            })
        };
        let highest = "the cluster is at feature level 3, the highest this binary knows";
        assert_eq!(told(3, false), highest);
        assert!(told(2, true).starts_with("raised to feature level 2"));
        assert!(told(2, true).ends_with("say it again"));
    }
}
