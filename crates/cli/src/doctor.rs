//! `fanfare doctor`: what is wrong with a stopped node's disk, or with the way to an edge.

mod advice;
mod disk;
mod edge;
mod patience;
mod report;
mod streams;

use crate::args::Doctor;
use crate::failure::Failure;

pub fn run(args: &Doctor) -> Result<(), Failure> {
    if args.target.contains("://") {
        return edge::run(args);
    }
    if args.grpc.is_some() || args.patience.is_some() {
        let text = "--grpc and --patience go with a URL, such as http://127.0.0.1:8080";
        return Err(Failure::Usage(text.to_owned()));
    }
    disk::run(args)
}
