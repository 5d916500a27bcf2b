//! `fanfare cluster init` and `status`: makes the cluster once, and shows its nodes and shards.

mod nodes;
mod repair;
mod show;
mod upgrade;

use std::time::Duration;

use fanfare_client::{Admin, AdminError, Machine, Made, Overview, init_cluster};

use crate::args::{Cluster, ClusterCommand, Init, Reach, Status};
use crate::failure::Failure;
use crate::{calm, health, output, reach};
pub(crate) use show::{name_of, state};
use show::{status_json, status_text};

pub fn run(args: Cluster) -> Result<(), Failure> {
    match args.command {
        ClusterCommand::Init(args) => init(args),
        ClusterCommand::Status(args) => status(args),
        ClusterCommand::Shards(args) => nodes::shards(args),
        ClusterCommand::Drain(args) => nodes::drain(args),
        ClusterCommand::Remove(args) => nodes::remove(args),
        ClusterCommand::Replace(args) => nodes::replace(args),
        ClusterCommand::Transfer(args) => nodes::transfer(args),
        ClusterCommand::Upgrade(args) => upgrade::run(args),
        ClusterCommand::Repair(args) => repair::run(args),
    }
}

fn init(args: Init) -> Result<(), Failure> {
    let ops = health::address(&args.ops)?;
    reach::run(async move |machine| {
        let Some(limit) = args.wait else {
            let made = init_cluster(&machine, &ops, args.shards).await;
            let made = made.map_err(|error| init_failure(error, &args.ops))?;
            tell_made(&made, args.json)?;
            output::note("look at it: fanfare cluster status");
            return Ok(());
        };
        let mut made = false;
        health::again(&machine, limit, async || {
            let ready = health::look(&machine, &ops, "/readyz").await;
            if made || ready.is_ok() {
                return ready;
            }
            match init_cluster(&machine, &ops, args.shards).await {
                Ok(cluster) => {
                    made = true;
                    tell_made(&cluster, args.json)?;
                    Err(Failure::No("the node is not ready yet".to_owned()))
                }
                // Of two reasons the one of the act: a member says so here.
                Err(error) => Err(init_failure(error, &args.ops)),
            }
        })
        .await?;
        output::note(match made {
            true => "the node is ready",
            false => "the node is ready, its cluster was made before",
        });
        Ok(())
    })
}

fn tell_made(made: &Made, json: bool) -> Result<(), Failure> {
    if json {
        return output::line(&made.answer);
    }
    output::line(&format!(
        "cluster {} with {} shards",
        made.cluster, made.shards
    ))
}

fn init_failure(error: AdminError, ops: &str) -> Failure {
    match error {
        AdminError::Refused(told) => reach::refused(&told),
        AdminError::Unreachable(why) => reach::unreachable("--ops", &[ops.to_owned()], &why),
        AdminError::NoAnswer(why) => Failure::Unreachable(format!(
            "{ops} did not answer: {why}\nThe cluster may be made or not: look with `fanfare cluster status`"
        )),
    }
}

fn status(args: Status) -> Result<(), Failure> {
    let endpoints = reach::endpoints(&args.reach)?;
    let token = args.reach.token.clone();
    reach::with(&token, async move |machine: Machine| {
        let admin = Admin::new(machine.clone(), &endpoints);
        let failed = reach::admin(&args.reach);
        if let Some(limit) = args.wait {
            return show(&calm::wait(&machine, &admin, limit).await?, args.json);
        }
        show(&admin.joined().await.map_err(&failed)?, args.json)?;
        if !args.watch {
            return Ok(());
        }
        loop {
            match follow(&admin, &args.reach, args.json).await {
                Err(Failure::Unreachable(why)) => output::note(&format!("{why}; asking again")),
                Err(failure) => return Err(failure),
                Ok(()) => output::note("the node ended; asking again"),
            }
            machine.clock.sleep(Duration::from_secs(1)).await;
        }
    })
}

/// Shows the cluster again on each change, until the node that tells them ends.
async fn follow(admin: &Admin, reach: &Reach, json: bool) -> Result<(), Failure> {
    let mut changes = admin.watch().await.map_err(reach::admin(reach))?;
    // The first is what was shown.
    let mut first = true;
    while let Ok(Some(_)) = changes.next().await {
        if !std::mem::take(&mut first) {
            show(&admin.joined().await.map_err(reach::admin(reach))?, json)?;
        }
    }
    Ok(())
}

fn show(overview: &Overview, json: bool) -> Result<(), Failure> {
    output::line(&match json {
        true => status_json(overview).to_string(),
        false => status_text(overview),
    })
}
