# List the recipes.
default:
    @just --list

# What must hold before a commit; writes nothing.
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    cargo test --workspace
    -cargo deny check bans licenses sources

# Mend what can be mended by a tool.
fix:
    cargo fmt --all
    cargo clippy --workspace --all-targets --fix --allow-dirty

# All tests, quick.
test *ARGS:
    cargo nextest run --workspace {{ARGS}}

# A rolling upgrade from the oldest release whose data is read, under load.
upgrade *ARGS:
    .ci/upgrade {{ARGS}}

# Write the golden files of formats that have none: of a version directory that is new. Those that
# are there are never written again.
golden:
    FANFARE_GOLDEN=write cargo test -p fanfare-rpc --test golden
    FANFARE_GOLDEN=write cargo test -p fanfare-rpc -p fanfare-cluster --lib release
    FANFARE_GOLDEN=write cargo test -p fanfare-rpc --lib golden
    FANFARE_GOLDEN=write cargo test -p fanfare-consensus --lib -- golden release
    FANFARE_GOLDEN=write cargo test -p fanfare-protocol --test golden

# The model of core: so many seeds from the first.
model SEEDS="2000" FIRST="1":
    FANFARE_MODEL_SEEDS={{SEEDS}} FANFARE_MODEL_FIRST={{FIRST}} cargo test --release -p fanfare-core --test model -- --nocapture

# At each barrier of a move each node that it is about is killed: so many rounds, each of them with
# other shards, nodes and leaders. One round is about forty moves.
barriers ROUNDS="3" FIRST="1":
    for n in $(seq {{FIRST}} $(({{FIRST}} + {{ROUNDS}} - 1))); do FANFARE_DEATHS=all FANFARE_SEED=$n cargo nextest run -p fanfare-tests --test cluster --success-output final a_death || exit 1; done

# Three nodes in one process, with data in .fanfare-dev.
dev *ARGS:
    cargo run --release -- dev {{ARGS}}

# Load on three processes, one of them killed on the way, judged by the checker.
load *ARGS:
    cargo build --release -p fanfare-cli -p fanfare-tests
    target/release/fanfare-load {{ARGS}}

# Figures of this machine, one node and three, into docs/figures.md or the files that are named.
figures *ARGS:
    cargo build --release -p fanfare-cli
    .ci/figures {{ARGS}}
